"""CUDA graphs: without a GPU, steps are traced into their operations and replayed.

A trace contains the same as a CUDA graph: the operations of one call on fixed tensors, with all
numbers of the host as constants. A step that cannot be recorded fails in both.
"""

import dataclasses
from collections.abc import Callable, Hashable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

import distill.dream.loop
import distill.networks.layers.norm_relu_pool
from distill.augment.siamese import Augmentation
from distill.config.distillation import ResolvedDistillation
from distill.datasets import ImageData
from distill.dream.loop import Dream
from distill.errors import SlowerWarning
from distill.evaluation.sgd import NetworkTrainer
from distill.runtime.execution import Execution
from distill.runtime.graphs import WARM_UP, Step, StepGraphs
from tests.distill.evaluation.test_scores import RECIPE, evaluation, run

pytestmark = pytest.mark.lengthy

Tiny = Callable[..., ResolvedDistillation]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _without_compiled_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the compiled loops of a CPU, which a trace does not contain, by PyTorch's layers."""
    monkeypatch.setattr(distill.networks.layers.norm_relu_pool, "kernels", lambda: None)


class TracedSteps(StepGraphs):
    """Steps as on a GPU: two calls run directly, the third is recorded, the others replayed.

    Args:
        step: the step.
        state: returns the tensors that the step changes, to undo the effects of tracing.
    """

    def __init__(self, step: Step, state: Callable[[], list[Tensor]]) -> None:
        super().__init__(step, CPU, enabled=True)
        self.state = state
        self.n_replayed = 0

    def _run_aside(self, key: Hashable, inputs: list[Tensor]) -> None:
        self.step(key, *inputs)

    def _new_graph(self, key: Hashable, inputs: list[Tensor]) -> Any:
        saved = [tensor.detach().clone() for tensor in self.state()]
        traced = make_fx(lambda *args: self.step(key, *args))(*inputs)
        with torch.no_grad():
            for tensor, before in zip(self.state(), saved, strict=True):
                tensor.copy_(before)

        def replay() -> None:
            self.n_replayed += 1
            with torch.no_grad():
                traced(*inputs)

        return SimpleNamespace(replay=replay)


def traced_trainer(trainer: NetworkTrainer) -> TracedSteps:
    def state() -> list[Tensor]:
        buffers = [state["momentum_buffer"] for state in trainer.optimizer.state.values()]
        return [*trainer.network.parameters(), *buffers]

    trainer._steps = TracedSteps(trainer._train_on, state)
    return trainer._steps


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": "size", "metric": "mse"},
        {"weights": "none", "metric": "l1", "factor": 1, "ipc": 3, "batch_syn_max": 2},
        {"match": "both", "metric": "cosine", "net_augment": "none"},
    ],
)
def test_a_replayed_trial_equals_one_without_graphs(
    digits: ImageData, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """Covers clusterings, a fresh network, CutMix batches and three passes over the classes."""
    monkeypatch.setattr(distill.dream.loop, "PASS_VALUES", {"cpu": 4 * 12 * 64 * 8})
    config = tiny(
        **{"n_inner": 8, "n_outer": 2, "cluster_interval": 3, "lr_img": 0.05, "n_net_batches": 3}
        | changes
    )
    plain = Dream(config, digits, dtype=torch.float64, execution=Execution(batching="class"))
    replayed = Dream(config, digits, dtype=torch.float64, execution=Execution(batching="all"))
    matching = TracedSteps(
        replayed._match,
        lambda: [replayed.images, replayed.image_optimizer.buffer, replayed._loss_sum],
    )
    replayed._matching_step = matching
    training = traced_trainer(replayed.trainer)
    assert len(replayed._passes) >= 2

    for _ in range(14):
        plain.inner_loop()
        replayed.inner_loop()
    assert matching.n_replayed >= (14 - WARM_UP) * len(replayed._passes)
    assert training.n_replayed == 14 - WARM_UP  # all batches of a network update in one
    torch.testing.assert_close(replayed.images, plain.images, rtol=0, atol=1e-10)
    pairs = zip(replayed.network.parameters(), plain.network.parameters(), strict=True)
    for parameter, expected in pairs:
        torch.testing.assert_close(parameter, expected, rtol=0, atol=1e-10)
    assert float(replayed._loss_sum) == pytest.approx(float(plain._loss_sum), rel=1e-10)


def test_a_replayed_evaluation_has_equal_scores(digits: ImageData) -> None:
    """Covers two networks, three learning rates and a smaller last batch.

    With one geometric transform: on a CPU, where nothing is recorded but here, the host reads which
    of several is drawn. `tests/gpu/test_loop.py` has the others.
    """
    recipe = dataclasses.replace(RECIPE, augment=Augmentation(strategy="flip_color_crop"))
    plain = run(evaluation(digits, recipe, n=40))
    replayed = evaluation(digits, recipe, n=40)
    steps = traced_trainer(replayed._trainer)
    run(replayed)

    assert steps.n_replayed == 2 * RECIPE.epochs - 3 * WARM_UP  # an epoch at a time
    assert replayed.scores.losses == pytest.approx(plain.scores.losses, rel=1e-4)


def test_a_step_that_reads_a_value_runs_without_a_graph() -> None:
    total = torch.zeros(())

    def step(key: Hashable, number: Tensor) -> None:
        total.add_(float(number))

    steps = TracedSteps(step, lambda: [total])
    for _ in range(WARM_UP):
        steps("key", torch.tensor(2.0))
    with pytest.warns(SlowerWarning, match="a step cannot be recorded as a CUDA graph"):
        steps("key", torch.tensor(3.0))
    steps("key", torch.tensor(4.0))

    assert not steps.enabled
    assert float(total) == 2 * WARM_UP + 3 + 4


def test_without_graphs_a_step_is_called_directly() -> None:
    seen: list[Any] = []
    steps = StepGraphs(lambda key, x: seen.append((key, float(x))), CPU, enabled=False)
    for value in range(4):
        steps("key", torch.tensor(float(value)))

    assert seen == [("key", float(value)) for value in range(4)]
    assert not Execution().uses_graphs(CPU)
    with pytest.warns(SlowerWarning, match="there are no CUDA graphs on cpu"):
        assert not Execution(graphs="on").uses_graphs(CPU)


def test_batch_norm_is_matched_by_class_with_a_warning(digits: ImageData, tiny: Tiny) -> None:
    with pytest.warns(SlowerWarning, match="classes are matched one by one"):
        dream = Dream(tiny(norm="batch"), digits, execution=Execution(batching="all"))
    dream.inner_loop()

    assert dream._passes == [slice(i, i + 1) for i in range(10)]
