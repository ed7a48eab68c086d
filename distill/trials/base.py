"""What a trial of any kind is, what it reports and what it leaves behind.

A trial is a chain of small units of work; between any two of them its whole state can be saved.
`distill.trials.runner.run` runs it to its end.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
from torch import Tensor

from distill.config.base import Config
from distill.datasets import ImageData
from distill.errors import UserError
from distill.runtime.execution import AUTOMATIC, Execution

Warn = Callable[[str], None]
"""Takes a warning, one line."""


def ignore(message: str) -> None:
    """Takes a warning and drops it."""
    del message


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a trial is.

    Attributes:
        step: steps finished: outer iterations of a distillation, epochs of a selection.
        n_steps: how many there are.
        fraction: share of the estimated work that is done, in [0, 1].
        loss: of the last finished step; None before there is one.
        accuracy: mean of the last finished evaluation, in [0, 1]; None before there is one.
        accuracy_step: the step that evaluation was made after.
        evaluating: whether networks are being trained on the synthetic images right now.
        seconds_per_step: mean seconds of a step so far.
        seconds_left: estimate of the time to the end.

    Example:
        >>> from distill import DistillationConfig, run
        >>> config = DistillationConfig(n_outer=1, n_inner=1, n_eval=1, eval_epochs=1)
        >>> seen = []
        >>> result = run(config, on_progress=lambda progress: seen.append(progress.fraction))
        >>> seen[-1]
        1.0
    """

    step: int
    n_steps: int
    fraction: float
    loss: float | None = None
    accuracy: float | None = None
    accuracy_step: int | None = None
    evaluating: bool = False
    seconds_per_step: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a trial leaves behind.

    Attributes:
        row: one record: configuration, status, scores, losses, seconds, versions
            (`distill.kinds.COMMON_COLUMNS` and the columns of the kind). None: not known.
        curve: one record per step, by the `curve_columns` of the kind.
        artifacts: name → table, such as `distilled` (images in the Hub's layout); empty unless the
            status is `ok`.
        network: content of the file of the network of the best epoch, where it was asked for
            (`distill.evaluation.saved_network`).

    Example:
        >>> from distill import DistillationConfig, read_distilled, run
        >>> result = run(DistillationConfig(n_outer=0, n_eval=1, eval_epochs=1))
        >>> result.row["status"], read_distilled(result.artifacts["distilled"]).images.shape
        ('ok', torch.Size([10, 1, 8, 8]))
    """

    row: dict[str, Any]
    curve: list[dict[str, Any]]
    artifacts: dict[str, pa.Table]
    network: bytes | None = None


class Trial(ABC):
    """A trial as a chain of units of work.

    Args:
        config: resolved, of the kind's type.
        data: the images of the classes that the configuration keeps, on the device to run on.
        execution: how the arithmetic is carried out.
        on_warning: called with what the user should know, one line each.

    Raises:
        InfeasibleClusteringError: a clustering leaves nothing to choose from.

    Attributes:
        unused_execution: options of `Execution` that have no meaning for trials of the kind.
        reference_phase: what a single run shows during `reference_accuracies`; None: there are
            none.

    Example:
        >>> from distill import DistillationConfig, load_dataset
        >>> from distill.trials.distillation import DistillationTrial
        >>> config = DistillationConfig(n_outer=2, n_inner=1, eval_every=0).resolve()
        >>> trial = DistillationTrial(config, load_dataset("digits"))
        >>> trial.advance()  # one inner loop
        >>> trial.place, trial.done
        ('outer iteration 2 of 2', False)
    """

    unused_execution: ClassVar[tuple[str, ...]] = ()
    reference_phase: ClassVar[str | None] = None

    @abstractmethod
    def __init__(
        self,
        config: Any,
        data: ImageData,
        *,
        execution: Execution = AUTOMATIC,
        on_warning: Warn = ignore,
    ) -> None: ...

    @classmethod
    def check(cls, config: Any, data: ImageData) -> None:
        """Checks, before any work, that a configuration can be run on a data set.

        Args:
            config: resolved.
            data: of the classes that it keeps.

        Raises:
            UserError: it cannot.
        """
        del config, data

    @classmethod
    def notices(cls, config: Any, data: ImageData) -> list[str]:
        """Returns what the user should know about a trial on a data set, one line each.

        Args:
            config: resolved.
            data: of the classes that it keeps.
        """
        del config, data
        return []

    @classmethod
    def unused_execution_options(cls, config: Config) -> tuple[str, ...]:
        """Returns the options of `Execution` that have no meaning for a trial."""
        del config
        return cls.unused_execution

    @classmethod
    def check_network_saving(cls, config: Config, data: ImageData | None) -> None:
        """Checks that a trial has a network of a best epoch, which can be saved.

        Args:
            config: resolved.
            data: of the classes that it keeps; None: not read yet, the configuration alone counts.

        Raises:
            UserError: it has none; so for most kinds.
        """
        del data
        raise UserError(
            f"--save-network does not apply to a {config.kind}: none of its networks has a best "
            "epoch; leave it out"
        )

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether nothing is left to do."""

    @property
    @abstractmethod
    def place(self) -> str:
        """The step it is in, for messages: `outer iteration 3 of 10`."""

    @abstractmethod
    def advance(self) -> None:
        """Does one unit of work.

        Raises:
            InfeasibleClusteringError: a clustering leaves nothing to choose from.
            DivergedError: a loss is not a finite number.
        """

    @abstractmethod
    def progress(self) -> Progress:
        """Returns how far it is."""

    @property
    def curve(self) -> list[dict[str, Any]]:
        """One record per step, by the `curve_columns` of the kind."""
        return []

    @abstractmethod
    def result_columns(self, *, is_ok: bool) -> dict[str, Any]:
        """Returns its columns of the row; those that are left out are None.

        Args:
            is_ok: whether it came to its end.
        """

    def final_notices(self) -> list[str]:
        """Returns what the user should know about the result of a trial that came to its end."""
        return []

    def artifacts(self) -> dict[str, pa.Table]:
        """Returns what it leaves as tables, by name; called once it came to its end."""
        return {}

    def saved_network(self) -> bytes | None:
        """Returns the file of the network of the best epoch, see `Result.network`."""
        return None

    @classmethod
    def extra_files(cls, config: Any, result: Result) -> dict[str, bytes]:
        """Returns further files for the folder of a single run, by name: pictures and the like.

        Args:
            config: resolved.
            result: of a trial that came to its end.
        """
        del config, result
        return {}

    @classmethod
    def reference_accuracies(
        cls, config: Any, data: ImageData, should_stop: Callable[[], bool]
    ) -> list[float]:
        """Returns accuracies that a single run is compared with; none for most kinds.

        Args:
            config: resolved.
            data: of the classes that it keeps.
            should_stop: asked now and then.

        Raises:
            InterruptedTrialError: `should_stop` returned True.
        """
        del config, data, should_stop
        return []

    @abstractmethod
    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns what is needed to resume, as tensors and as values that JSON can hold."""

    @abstractmethod
    def load_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Resumes from what `state` returned for an equal configuration and data set."""


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors with a prefix before their names."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors whose names have the prefix, under the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
