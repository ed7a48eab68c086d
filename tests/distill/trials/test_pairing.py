"""Pairing by seed: what all methods share bit for bit at one seed, which paired tests rest on."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from distill.config.distillation import ResolvedDistillation
from distill.datasets import ImageData
from distill.dream.loop import Dream
from distill.evaluation.recipe import evaluation_of, network_for
from distill.evaluation.scores import Evaluation
from distill.trials import distillation
from distill.trials.runner import run

Tiny = Callable[..., ResolvedDistillation]


class Step(NamedTuple):
    """What a step of the network update starts from."""

    parameters: Tensor
    batch: Tensor
    augmentation: Tensor


def steps_of(
    config: ResolvedDistillation, data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Step], Tensor]:
    """All steps of the network updates of two outer iterations, and the images in the end."""
    dream = Dream(config, data)
    steps: list[Step] = []
    train = dream.trainer.train

    def recorded(batches: Sequence[Tensor], generator: torch.Generator) -> None:
        for batch in batches:
            parameters = torch.cat([p.detach().flatten() for p in dream.network.parameters()])
            steps.append(Step(parameters, batch.clone(), generator.get_state()))
            train([batch], generator)

    monkeypatch.setattr(dream.trainer, "train", recorded)
    while dream.outer < 2:
        dream.inner_loop()
    return steps, dream.images


def are_equal(first: list[Step], second: list[Step]) -> bool:
    assert len(first) == len(second) == 4
    pairs = [pair for steps in zip(first, second, strict=True) for pair in zip(*steps, strict=True)]
    return all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize(
    "changes",
    [
        {"clusterer": "random"},
        {"clusterer": "kmedoids", "weights": "size"},
        {"clusterer": "dbscan"},
        {"clusterer": "agglomerative", "init": "random"},
    ],
    ids=["random", "kmedoids-weighted", "dbscan", "agglomerative-random-start"],
)
def test_at_one_seed_all_methods_share_networks_batches_and_augmentation(
    digits: ImageData, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    """Initial weights, real batches and augmentation of every step, in both outer iterations."""
    baseline, baseline_images = steps_of(tiny(clusterer="kmeans"), digits, monkeypatch)

    steps, images = steps_of(tiny(**{"clusterer": "kmeans", **changes}), digits, monkeypatch)

    assert are_equal(steps, baseline)
    assert not torch.equal(images, baseline_images), "the methods differ in their images"


def test_another_seed_shares_nothing(
    digits: ImageData, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (steps_of(tiny(seed=seed), digits, monkeypatch)[0] for seed in (0, 1))

    assert not torch.equal(first[0].parameters, second[0].parameters)
    assert not torch.equal(first[0].batch, second[0].batch)
    assert not torch.equal(first[0].augmentation, second[0].augmentation)


def test_at_one_seed_the_networks_that_score_start_alike(digits: ImageData, tiny: Tiny) -> None:
    """Two methods' images are scored by networks with the same initial weights and shuffles."""
    starts = []
    for method in ("kmeans", "random"):
        config = tiny(clusterer=method)
        network = network_for(config, digits, config.network, torch.Generator().manual_seed(9))
        images, labels = digits.train_images[:10].float() / 255, digits.train_labels[:10]
        evaluation = evaluation_of(
            config, digits, network, images, labels, n_networks=2, purpose="evaluation"
        )
        parameters = torch.cat([p.detach().flatten() for p in network.parameters()])
        starts.append((parameters, evaluation.generator.get_state()))

    assert torch.equal(starts[0][0], starts[1][0])
    assert torch.equal(starts[0][1], starts[1][1])


def test_a_start_is_scored_by_the_networks_of_the_matched_images(
    digits: ImageData, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[str]] = {}

    def note(config: ResolvedDistillation, *args: Any, purpose: str, **options: Any) -> Evaluation:
        seen.setdefault(config.match, []).append(purpose)
        return evaluation_of(config, *args, purpose=purpose, **options)

    monkeypatch.setattr(distillation, "evaluation_of", note)
    for match in ("none", "gradients"):
        run(tiny(match=match, n_outer=1, n_inner=1, n_eval=1, eval_epochs=1, eval_every=0), digits)

    assert seen["none"] == seen["gradients"] == ["evaluation of convnet at 1"]
