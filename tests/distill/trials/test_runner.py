"""The loop that runs, saves and resumes: what happens when saving fails or is slow."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distill.errors import InterruptedTrialError
from distill.runtime.checkpoint import LocalFolder
from distill.trials.runner import SAVING_SHARE, Progress, run_to_end


class Counting:
    """Work that counts its units."""

    def __init__(self, n_units: int, seconds: float = 0.0) -> None:
        self.n_units = n_units
        self.seconds = seconds
        self.n_done = 0

    @property
    def done(self) -> bool:
        return self.n_done == self.n_units

    @property
    def place(self) -> str:
        return f"unit {self.n_done}"

    def advance(self) -> None:
        time.sleep(self.seconds)
        self.n_done += 1

    def progress(self) -> Progress:
        return Progress(
            outer=self.n_done,
            n_outer=self.n_units,
            fraction=self.n_done / self.n_units,
            matching_loss=None,
            accuracy=None,
            accuracy_outer=None,
            evaluating=False,
            seconds_per_outer=None,
            seconds_left=None,
        )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"n_done": torch.tensor(self.n_done)}, {}

    def load_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self.n_done = int(tensors["n_done"])


class SlowFolder(LocalFolder):
    """A folder far away."""

    seconds = 0.02
    n_writes = 0

    def write(self, name: str, data: bytes) -> None:
        time.sleep(self.seconds)
        self.n_writes += 1
        super().write(name, data)


def run(
    work: Counting,
    folder: LocalFolder,
    *,
    warnings: list[str],
    checkpoint_seconds: float = 0,
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Runs the work; returns how many processes took it on after the first."""
    return run_to_end(
        lambda: work,
        checkpoint_folder=folder,
        checkpoint_seconds=checkpoint_seconds,
        on_progress=lambda _: None,
        should_stop=should_stop,
        on_warning=warnings.append,
    ).n_resumes


@pytest.fixture
def unwritable(tmp_path: Path) -> LocalFolder:
    """A folder that can never be made: there is a file in its place."""
    (tmp_path / "file").write_text("")
    return LocalFolder(tmp_path / "file" / "checkpoints")


def test_a_state_that_cannot_be_saved_is_told_once_and_the_work_goes_on(
    unwritable: LocalFolder,
) -> None:
    work, warnings = Counting(10), list[str]()

    run(work, unwritable, warnings=warnings)

    assert work.done
    assert len(warnings) == 1
    assert warnings[0].startswith("the state of the trial cannot be saved: [Errno 20]")


def test_when_it_stops_it_tells_again_that_the_state_is_not_saved(unwritable: LocalFolder) -> None:
    work, warnings = Counting(10), list[str]()

    with pytest.raises(InterruptedTrialError, match="stopped in unit 4"):
        run(work, unwritable, warnings=warnings, should_stop=lambda: work.n_done == 4)

    assert len(warnings) == 2
    assert warnings[0] == warnings[1]


def test_each_reason_is_told_and_a_later_save_succeeds(tmp_path: Path) -> None:
    work, warnings = Counting(6), list[str]()
    folder = LocalFolder(tmp_path / "a" / "b")

    def change_the_disk() -> bool:
        """Called before each save: a file is in the way, then a folder, then nothing."""
        if work.n_done == 1:
            (tmp_path / "a").write_text("")
        elif work.n_done == 3:
            (tmp_path / "a").unlink()
            (tmp_path / "a").mkdir()
            (tmp_path / "a" / "b").write_text("")
        elif work.n_done == 5:
            (tmp_path / "a" / "b").unlink()
        return work.n_done == 6

    run(work, folder, warnings=warnings, should_stop=change_the_disk)

    assert [warning.split("] ")[1].split(":")[0] for warning in warnings] == [
        "Not a directory",
        "File exists",
    ]
    assert len(folder.names()) == 2
    resumed = Counting(6)
    assert run(resumed, folder, warnings=warnings) == 1


def test_saving_takes_a_small_share_of_the_time_however_slow_it_is(tmp_path: Path) -> None:
    work, folder = Counting(300, seconds=0.002), SlowFolder(tmp_path)
    start = time.monotonic()

    run(work, folder, warnings=[], checkpoint_seconds=1e-6)

    at_least_apart = folder.seconds / SAVING_SHARE
    assert 1 <= folder.n_writes <= 1 + (time.monotonic() - start) / at_least_apart


def test_zero_seconds_mean_after_every_unit_however_slow_it_is(tmp_path: Path) -> None:
    folder = SlowFolder(tmp_path)

    run(Counting(10), folder, warnings=[], checkpoint_seconds=0)

    assert folder.n_writes == 10


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """Starting anew beside a checkpoint that is there would be hours of work thrown away."""
    folder = LocalFolder(tmp_path)
    run(Counting(2), folder, warnings=[])
    for name in folder.names():
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()

    with pytest.raises(OSError, match="Is a directory"):
        run(Counting(2), folder, warnings=[])
