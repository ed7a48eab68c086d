"""The progress of a sweep: one live display on a terminal, plain lines in a job's log."""

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from distill.cli.display import duration
from distill.config.base import Config
from sweeps.cli.labels import trial_label

PLAIN_SECONDS = 15.0
"""Seconds between two plain lines."""

MOST_SHOWN = 8
"""Running trials that are shown with a line each."""


class SweepState:
    """The state of a run's trials, without a terminal.

    Args:
        name: of the sweep.
        n_planned: trials of the plan, the finished ones included; None: unknown.
        n_finished_before: those that were finished before this run.
    """

    def __init__(self, name: str, n_planned: int | None, n_finished_before: int) -> None:
        self.name = name
        self.n_planned = n_planned
        self.n_finished_before = n_finished_before
        self.running: dict[str, dict[str, Any]] = {}
        self.statuses: dict[str, str] = {}
        self.best: tuple[float, str] | None = None
        self._labels: dict[str, str] = {}

    def started(self, config: Config) -> None:
        """Notes a trial that runs, for the first time or again."""
        self._labels[config.trial_id] = trial_label(config)
        self.running[config.trial_id] = {}

    def reported(self, result: dict[str, Any]) -> None:
        """Takes a trial's report; a missing number leaves the one before it."""
        trial_id = result.get("trial_id")
        if trial_id is None:
            return
        known = {k: v for k, v in result.items() if v is not None}
        if trial_id in self.running:
            self.running[trial_id].update(known)
        if result.get("status") not in (None, "running"):
            self.statuses[trial_id] = str(result["status"])
        accuracy = result.get("curve_accuracy")
        if accuracy is not None and (self.best is None or accuracy > self.best[0]):
            self.best = (accuracy, self.label(trial_id))

    def ended(self, trial_id: str) -> None:
        """Notes the end of a trial."""
        self.running.pop(trial_id, None)

    def label(self, trial_id: str) -> str:
        """Returns the label of a trial."""
        return self._labels.get(trial_id, trial_id)

    def count(self, *statuses: str) -> int:
        """Returns how many trials of this run ended with one of the statuses."""
        return sum(status in statuses for status in self.statuses.values())

    @property
    def n_ended(self) -> int:
        """Trials that are finished, before or in this run, or failed in it."""
        return self.n_finished_before + len(self.statuses)

    @property
    def fraction(self) -> float | None:
        """Share of the plan that is done, in [0, 1]; None without a plan."""
        if not self.n_planned:
            return None
        return min(1.0, (self.n_ended + self._fractions_running) / self.n_planned)

    @property
    def _fractions_running(self) -> float:
        live = (known for i, known in self.running.items() if i not in self.statuses)
        return sum(float(known.get("fraction", 0.0)) for known in live)

    def seconds_left(self, elapsed: float) -> float | None:
        """Returns an estimate of the time to the end, as if all trials took equally long.

        Args:
            elapsed: seconds since the trials of this run were begun.
        """
        done = len(self.statuses) + self._fractions_running
        if not self.n_planned or done <= 0:
            return None
        return elapsed * (self.n_planned - self.n_finished_before - done) / done

    def summary(self, elapsed: float) -> str:
        """Returns the state in one line."""
        n_planned = "" if self.n_planned is None else f"/{self.n_planned}"
        n_running = sum(trial_id not in self.statuses for trial_id in self.running)
        parts = [f"{self.n_ended}{n_planned} done", f"{n_running} running"]
        parts.append(f"{self.count('failed', 'out_of_memory')} failed")
        others = {status: self.count(status) for status in ("infeasible", "diverged", "pruned")}
        parts += [f"{n} {status}" for status, n in others.items() if n]
        if self.best is not None:
            parts.append(f"best {100 * self.best[0]:.1f} % ({self.best[1]})")
        left = self.seconds_left(elapsed)
        if left is not None:
            parts.append(f"{duration(left)} left")
        return " · ".join(parts)

    def trial_line(self, trial_id: str) -> str:
        """Returns the progress of a running trial in one line."""
        known = self.running[trial_id]
        parts = []
        if "step" in known:
            parts.append(f"step {known['step']}/{known['n_steps']}")
        if "loss" in known:
            parts.append(f"loss {known['loss']:.4g}")
        if "curve_accuracy" in known:
            parts.append(f"{100 * known['curve_accuracy']:.1f} %")
        if "seconds_left" in known:
            parts.append(f"{duration(known['seconds_left'])} left")
        return " · ".join(parts) or "starting"


class SweepDisplay:
    """Shows a sweep on standard error while it runs. Use as a context manager.

    Args:
        name: of the sweep.
        n_planned: trials of the plan; None: unknown.
        n_finished_before: those that were finished before.
    """

    def __init__(self, name: str, n_planned: int | None, n_finished_before: int) -> None:
        self.state = SweepState(name, n_planned, n_finished_before)
        self._console = Console(stderr=True, highlight=False)
        self._phase = "starting"
        self._started: float | None = None
        self._last_line = time.monotonic()
        self._shown: set[str] = set()
        self._live = Live(
            console=self._console,
            transient=True,
            refresh_per_second=4,
            get_renderable=self._picture,
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del kind, error, trace
        self._live.stop()

    def phase(self, text: str) -> None:
        """Shows a phase that comes before the trials."""
        self._phase = text
        if not self._console.is_terminal:
            self._print(text)

    def started(self, config: Config) -> None:
        """Shows a trial that runs."""
        if self._started is None:
            self._started = time.monotonic()
        self.state.started(config)

    def reported(self, result: dict[str, Any]) -> None:
        """Shows a trial's report; failures and warnings stay on the terminal."""
        self.state.reported(result)
        status, message = result.get("status"), result.get("message")
        if not message or status == "ok":
            return
        label = self.state.label(str(result.get("trial_id")))
        prefix = "" if status in (None, "running") else f"{status}: "
        self.warn(f"{label}: {prefix}{message}")

    def ended(self, trial_id: str) -> None:
        """Takes an ended trial off the display."""
        self.state.ended(trial_id)

    def lost(self, config: Config) -> None:
        """Shows that a trial's process was lost; another one resumes it, maybe after a while."""
        self.state.ended(config.trial_id)
        label = trial_label(config)
        self._print(f"{label}: its process was lost; it resumes from its last checkpoint")

    def warn(self, message: str) -> None:
        """Prints a line that stays; the same line only once."""
        if message not in self._shown:
            self._shown.add(message)
            self._print(message)

    def refresh(self) -> None:
        """Prints a plain line when it is due, where the output is not a terminal."""
        now = time.monotonic()
        due = self._started is not None and now - self._last_line >= PLAIN_SECONDS
        if due and not self._console.is_terminal:
            self._last_line = now
            self._print(self.state.summary(self._elapsed))

    @property
    def _elapsed(self) -> float:
        return 0.0 if self._started is None else time.monotonic() - self._started

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def _picture(self) -> RenderableType:
        if self._started is None:
            return Text(f"{self.state.name}: {self._phase}")
        head = Table.grid(padding=(0, 1))
        head.add_row(
            Text(self.state.name, style="bold"),
            ProgressBar(total=1.0, completed=self.state.fraction or 0.0, width=24),
            Text(self.state.summary(self._elapsed)),
        )
        trials = Table.grid(padding=(0, 2))
        shown = list(self.state.running)
        for trial_id in shown[:MOST_SHOWN]:
            trials.add_row(
                Text(f"  {self.state.label(trial_id)}"),
                Text(self.state.trial_line(trial_id), style="dim"),
            )
        if len(shown) > MOST_SHOWN:
            trials.add_row(Text(f"  and {len(shown) - MOST_SHOWN} more", style="dim"), Text(""))
        return Group(head, trials)
