"""Recorded steps on an emulated GPU: how many are kept, and which are dropped."""

import warnings
from collections.abc import Callable, Hashable

import pytest
import torch
from torch import Tensor

from distill.config.distillation import ResolvedDistillation
from distill.datasets import ImageData
from distill.dream.loop import Dream
from distill.errors import SlowerWarning
from distill.runtime.execution import Execution
from distill.runtime.graphs import MOST_RECORDINGS, WARM_UP, StepGraphs
from tests.gpu.cuda import emulated_cuda


class Adding:
    """A step that adds its input to a total, with at most so many recordings."""

    def __init__(self, most_recordings: int) -> None:
        self.total = torch.zeros(1, device="cuda")
        self.steps = StepGraphs(
            self.step, self.total.device, enabled=True, most_recordings=most_recordings
        )
        self.expected = 0.0

    def step(self, key: Hashable, number: Tensor) -> None:
        self.total.add_(number)

    def __call__(self, key: Hashable) -> None:
        self.expected += 1
        self.steps(key, torch.ones(1))

    def recorded(self) -> list[Hashable]:
        """The keys that have a recording, the most recently used last."""
        return [full_key[0] for full_key in self.steps._recordings]  # type: ignore[index]

    def take_turns(self, n_keys: int, n_turns: int) -> None:
        """Runs the steps 0 … n_keys − 1 one after the other, so many times."""
        for _ in range(n_turns):
            for key in range(n_keys):
                self(key)


def test_as_many_steps_as_recordings_are_all_replayed() -> None:
    with emulated_cuda() as gpu:
        adding = Adding(40)
        adding.take_turns(40, WARM_UP + 1 + 3)

        assert gpu.counts.replays == 40 * (1 + 3)  # a recording is replayed once at first
        assert float(adding.total) == adding.expected


def test_too_many_steps_in_turns_stop_recording_with_a_warning() -> None:
    """Each of 5 steps would be recorded again in every turn, for nothing, with room for 4."""
    with emulated_cuda() as gpu:
        adding = Adding(4)
        with pytest.warns(SlowerWarning, match="more than 4 different steps take turns"):
            adding.take_turns(5, WARM_UP + 2)
        gpu.reset()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            adding.take_turns(5, 10)

        assert gpu.counts.replays == 4 * 10  # those that are there go on
        assert gpu.counts.n_syncs == 0  # nothing is recorded
        assert float(adding.total) == adding.expected


def test_steps_that_change_for_good_never_stop_recording() -> None:
    with emulated_cuda():
        adding = Adding(2)
        for key in range(10):
            for _ in range(WARM_UP + 2):
                adding(key)

        assert adding.recorded() == [8, 9]
        assert float(adding.total) == adding.expected


def test_the_least_recently_used_recording_is_dropped() -> None:
    with emulated_cuda():
        adding = Adding(2)
        for key in ("a", "b", "a", "c"):
            for _ in range(WARM_UP + 2):
                adding(key)

        assert adding.recorded() == ["a", "c"]


@pytest.mark.lengthy
def test_classes_matched_one_by_one_have_a_recording_each(
    digits: ImageData, tiny: Callable[..., ResolvedDistillation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the old bound of 32 (here of 4), a tenth class threw out the first, and so on."""
    monkeypatch.setattr("distill.dream.loop.MOST_RECORDINGS", 4)
    assert MOST_RECORDINGS == 32
    with emulated_cuda() as gpu:
        execution = Execution(batching="class")
        dream = Dream(tiny(clusterer="random"), digits.to("cuda"), execution=execution)
        dream.prepare_loop()
        for _ in range(WARM_UP + 1):
            dream.match_all()
        gpu.reset()
        dream.match_all()

        assert gpu.counts.replays == 10
