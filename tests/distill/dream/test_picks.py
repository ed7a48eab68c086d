"""Picks in the loop: what is picked, by which difficulty, and what picks leave as it is."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from distill.config.distillation import ResolvedDistillation
from distill.datasets import ImageData
from distill.dream.loop import Dream
from distill.selection.registry import DIFFICULTIES

Tiny = Callable[..., ResolvedDistillation]


def dream_of(digits: ImageData, tiny: Tiny, **changes: Any) -> Dream:
    """A distillation after its first clustering, from random images."""
    values = {"init": "random", "cluster_interval": 2, "el2n_networks": 2, "el2n_epochs": 1}
    needs = changes.get("pick") in ("hard", "easy", "middle")
    needs |= changes.get("quota") == "stratified"
    if not needs or changes.get("difficulty", "el2n") != "el2n":
        values = {name: value for name, value in values.items() if "el2n" not in name}
    dream = Dream(tiny(**values | changes), digits)
    dream.prepare_loop()
    return dream


def outputs_of(dream: Dream, label: int) -> torch.Tensor:
    images = dream.data.train_images[dream.data.class_indices[label]]
    with torch.no_grad():
        dream.network.eval()
        outputs: torch.Tensor = dream.network(dream.data.normalize(images.float() / 255))
    return outputs.double()


@pytest.mark.parametrize("embedding", ["features", "pixels"])
@pytest.mark.parametrize("difficulty", ["loss", "margin"])
def test_the_hardest_of_each_cluster_under_the_current_network(
    digits: ImageData, tiny: Tiny, difficulty: str, embedding: str
) -> None:
    dream = dream_of(digits, tiny, pick="hard", difficulty=difficulty, embedding=embedding)
    for label in (0, 3):
        outputs = outputs_of(dream, label)
        if difficulty == "loss":
            targets = torch.full((len(outputs),), label)
            scores = F.cross_entropy(outputs, targets, reduction="none")
        else:
            others = torch.cat([outputs[:, :label], outputs[:, label + 1 :]], dim=1)
            scores = others.max(dim=1).values - outputs[:, label]
        labels = dream._last_labels[label]
        chosen, _ = dream.representatives[label]
        assert len(chosen) == 8
        positions = [dream.data.class_indices[label].tolist().index(i) for i in chosen.tolist()]
        for position in positions:
            of_cluster = scores[labels == labels[position]]
            assert float(scores[position]) == pytest.approx(float(of_cluster.max()), abs=1e-5)


def test_easy_middle_and_hard_are_in_order_of_the_same_scores(
    digits: ImageData, tiny: Tiny
) -> None:
    means = {}
    for pick in ("easy", "middle", "hard"):
        dream = dream_of(digits, tiny, pick=pick)
        assert dream._error_norms is not None
        chosen = torch.cat([indices for indices, _ in dream.representatives])
        means[pick] = float(dream._error_norms[chosen].mean())
    assert means["easy"] < means["middle"] < means["hard"]


def test_error_norms_are_of_networks_that_learn(digits: ImageData, tiny: Tiny) -> None:
    few, many = (
        dream_of(digits, tiny, pick="hard", el2n_epochs=epochs, net_lr=0.05, depth=2)._error_norms
        for epochs in (1, 6)
    )
    assert few is not None
    assert many is not None
    assert few.shape == (len(digits.train_images),)
    assert float(few.min()) >= 0
    assert float(few.max()) <= 2**0.5
    assert float(many.mean()) < float(few.mean())


def test_picks_leave_clusterings_networks_and_the_global_generator_alone(
    digits: ImageData, tiny: Tiny
) -> None:
    before = torch.random.get_rng_state()
    plain = dream_of(digits, tiny)
    for changes in ({"pick": "random"}, {"pick": "hard"}, {"quota": "stratified"}):
        picked = dream_of(digits, tiny, **changes)
        torch.testing.assert_close(picked._last_labels, plain._last_labels, rtol=0, atol=0)
        for name, parameter in plain.network.state_dict().items():
            assert torch.equal(picked.network.state_dict()[name], parameter)
        for purpose, generator in plain.generators.items():
            assert torch.equal(picked.generators[purpose].get_state(), generator.get_state())
        assert not torch.equal(
            torch.cat([i for i, _ in picked.representatives]),
            torch.cat([i for i, _ in plain.representatives]),
        )
    assert "pick" not in plain.generators
    assert torch.equal(torch.random.get_rng_state(), before)


def test_random_picks_differ_from_clustering_to_clustering(digits: ImageData, tiny: Tiny) -> None:
    dream = dream_of(digits, tiny, pick="random", embedding="pixels", clusterer="agglomerative")
    first = torch.cat([indices for indices, _ in dream.representatives])
    dream._choose_representatives()
    second = torch.cat([indices for indices, _ in dream.representatives])
    assert not torch.equal(first, second), "of the same clusters: pixels and ward do not change"


def test_the_start_is_picked_from_clusters_but_not_from_those_of_k_means(
    digits: ImageData, tiny: Tiny
) -> None:
    plain, picked = (
        Dream(tiny(init="clusters", match="none", pick=pick, ipc=3), digits).images
        for pick in ("nearest", "random")
    )
    assert not torch.equal(plain, picked)
    plain, picked = (
        Dream(tiny(init="kmeans", pick=pick, ipc=3), digits).images
        for pick in ("nearest", "random")
    )
    assert torch.equal(plain, picked)


def test_proportional_quotas_give_as_many_representatives(digits: ImageData, tiny: Tiny) -> None:
    dream = dream_of(digits, tiny, quota="proportional", weights="size")
    for label, (indices, weights) in enumerate(dream.representatives):
        assert len(indices) == 8
        assert float(weights.mean()) == pytest.approx(1)
        positions = [dream.data.class_indices[label].tolist().index(i) for i in indices.tolist()]
        taken = torch.bincount(dream._last_labels[label][positions], minlength=8)
        sizes = dream.cluster_sizes[label]
        exact = sizes.double() * 8 / sizes.sum()
        assert ((taken - exact).abs() < 1).all(), "the largest remainder"


def test_every_difficulty_is_tested() -> None:
    assert set(DIFFICULTIES) == {"el2n", "loss", "margin"}
