"""Running, saving and resuming a trial of any kind, also where saving fails or is slow."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distill.config.distillation import DistillationConfig
from distill.config.selection import SelectionConfig
from distill.datasets import ImageData
from distill.errors import InterruptedTrialError, UserError
from distill.kinds import KINDS, Kind
from distill.runtime.checkpoint import LocalFolder
from distill.runtime.execution import Execution
from distill.trials.base import Progress, Trial
from distill.trials.runner import SAVING_SHARE, check_execution, run_to_end
from distill.trials.runner import run as run_trial


class Counting(Trial):
    """A trial that counts its units of work."""

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
        return Progress(step=self.n_done, n_steps=self.n_units, fraction=self.n_done / self.n_units)

    def result_columns(self, *, is_ok: bool) -> dict[str, Any]:
        return {"n_networks": self.n_done if is_ok else 0}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"n_done": torch.tensor(self.n_done)}, {}

    def load_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self.n_done = int(tensors["n_done"])


class SlowFolder(LocalFolder):
    """A folder whose writes take long."""

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
    """Runs the work; returns the number of processes that resumed it."""
    return run_to_end(
        lambda: work,
        {"trial_id": "counting"},
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


def test_a_failing_save_warns_once_and_the_work_continues(
    unwritable: LocalFolder,
) -> None:
    work, warnings = Counting(10), list[str]()

    run(work, unwritable, warnings=warnings)

    assert work.done
    assert len(warnings) == 1
    assert warnings[0].startswith("the state of the trial cannot be saved: [Errno 20]")


def test_an_interrupted_trial_warns_again_of_a_failed_save(unwritable: LocalFolder) -> None:
    work, warnings = Counting(10), list[str]()

    with pytest.raises(InterruptedTrialError, match="stopped in unit 4"):
        run(work, unwritable, warnings=warnings, should_stop=lambda: work.n_done == 4)

    assert len(warnings) == 2
    assert warnings[0] == warnings[1]


def test_each_reason_is_a_warning_and_a_later_save_succeeds(tmp_path: Path) -> None:
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


def test_slow_saving_takes_a_small_share_of_the_time(tmp_path: Path) -> None:
    work, folder = Counting(300, seconds=0.002), SlowFolder(tmp_path)
    start = time.monotonic()

    run(work, folder, warnings=[], checkpoint_seconds=1e-6)

    at_least_apart = folder.seconds / SAVING_SHARE
    assert 1 <= folder.n_writes <= 1 + (time.monotonic() - start) / at_least_apart


def test_zero_seconds_save_after_every_unit(tmp_path: Path) -> None:
    folder = SlowFolder(tmp_path)

    run(Counting(10), folder, warnings=[], checkpoint_seconds=0)

    assert folder.n_writes == 10


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """Starting again beside an existing checkpoint would discard hours of work."""
    folder = LocalFolder(tmp_path)
    run(Counting(2), folder, warnings=[])
    for name in folder.names():
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()

    with pytest.raises(OSError, match="Is a directory"):
        run(Counting(2), folder, warnings=[])


class Undeclared(Counting):
    """A trial that returns a column which its kind does not declare."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(n_units=1)

    def result_columns(self, *, is_ok: bool) -> dict[str, Any]:
        return {"n_networks": 0, "n_netwroks": 1}


def test_columns_that_a_kind_does_not_declare_are_refused(digits: ImageData) -> None:
    class CountingConfig(SelectionConfig):
        kind = "counting"

        def resolve(self) -> Any:
            return self

    kind = Kind(config=CountingConfig, trial=Undeclared, layout=None)

    with KINDS.registered(kind), pytest.raises(ValueError, match=r"does not declare: n_netwroks;"):
        run_trial(CountingConfig(), digits)


@pytest.mark.parametrize(
    ("config", "execution", "message"),
    [
        (
            SelectionConfig(),
            Execution(precision="bfloat16"),
            "--precision bfloat16 does not apply to a selection with selector 'random', "
            "recipe 'classifier', network 'photo_cnn': nothing in it",
        ),
        (SelectionConfig(), Execution(graphs="on"), "--graphs on does not apply to a selection"),
        (SelectionConfig(), Execution(batching="all"), "--batching all does not apply"),
        (
            SelectionConfig(recipe="distillation", network="convnet"),
            Execution(batching="class"),
            "--batching class does not apply to a selection with selector 'random', "
            "recipe 'distillation', network 'convnet'",
        ),
    ],
)
def test_execution_options_without_meaning_are_refused(
    config: SelectionConfig, execution: Execution, message: str
) -> None:
    with pytest.raises(UserError) as error:
        check_execution(config, execution)

    assert message in str(error.value)


def test_execution_options_with_a_meaning_are_accepted() -> None:
    recipe = SelectionConfig(recipe="distillation", network="convnet")

    check_execution(recipe, Execution(precision="bfloat16", graphs="on"))
    check_execution(
        DistillationConfig(), Execution(batching="class", precision="bfloat16", graphs="on")
    )
    check_execution(SelectionConfig(), Execution())
