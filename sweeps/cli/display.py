"""The progress of a sweep: one live display on a terminal, plain lines in a job's log."""

import time
from collections.abc import Callable, Iterable
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
from sweeps.cli.time_left import TimeLeft

PLAIN_SECONDS = 15.0
"""Seconds between two plain lines."""

MOST_SHOWN = 8
"""Running trials that are shown with a line each."""

NAME_WIDTH = 20
"""Characters of the sweep's name that the live display shows."""

LABEL_WIDTH = 24
"""Characters that the live display keeps for the label of a trial."""


class SweepState:
    """The state of a run's trials, without a terminal.

    Args:
        name: of the sweep.
        n_planned: trials of the plan, the finished ones included; None: unknown.
        n_finished_before: those that were finished before this run.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        name: str,
        n_planned: int | None,
        n_finished_before: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.n_planned = n_planned
        self.n_finished_before = n_finished_before
        self.running: dict[str, dict[str, Any]] = {}
        self.statuses: dict[str, str] = {}
        self.best: tuple[float, str] | None = None
        self._labels: dict[str, str] = {}
        self._clock = clock
        self._time_left = TimeLeft()

    def planned(self, configs: Iterable[Config]) -> None:
        """Takes the trials that are to run, in the order of their start, for the time left."""
        self._time_left.planned(configs)

    def started(self, config: Config) -> None:
        """Notes a trial that runs, for the first time or again."""
        self._labels[config.trial_id] = trial_label(config)
        self.running[config.trial_id] = {}
        self._time_left.started(config, self._clock())

    def reported(self, result: dict[str, Any]) -> None:
        """Takes a trial's report; a missing number leaves the one before it."""
        trial_id = result.get("trial_id")
        if trial_id is None:
            return
        known = {k: v for k, v in result.items() if v is not None}
        if trial_id in self.running:
            self.running[trial_id].update(known)
        self._time_left.reported(trial_id, result, self._clock())
        if result.get("status") not in (None, "running"):
            self.statuses[trial_id] = str(result["status"])
            self._time_left.finished(trial_id, result.get("part_seconds"), self._clock())
        accuracy = result.get("curve_accuracy")
        if accuracy is not None and (self.best is None or accuracy > self.best[0]):
            self.best = (accuracy, self.label(trial_id))

    def ended(self, trial_id: str) -> None:
        """Notes the end of a trial."""
        self.running.pop(trial_id, None)
        self._time_left.finished(trial_id, None, self._clock())

    def lost(self, config: Config) -> None:
        """Notes that the process of a trial was lost; the trial runs again later."""
        self._time_left.lost(config)
        self.ended(config.trial_id)

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
        live = (known for i, known in list(self.running.items()) if i not in self.statuses)
        return sum(float(known.get("fraction", 0.0)) for known in live)

    @property
    def n_running(self) -> int:
        """Trials that are running."""
        return sum(trial_id not in self.statuses for trial_id in list(self.running))

    def seconds_left(self) -> float | None:
        """Returns an estimate of the time to the end; None: unknown (see `TimeLeft`)."""
        if not self.n_planned:
            return None
        n_waiting = max(0, self.n_planned - self.n_ended - self.n_running)
        if self._time_left.is_warming_up(n_waiting, self._clock()):
            return None
        return self._time_left.seconds(n_waiting, self._clock())

    @property
    def best_text(self) -> str | None:
        """The best accuracy so far and the label of its trial; None: there is none yet."""
        return None if self.best is None else f"best {100 * self.best[0]:.1f} % ({self.best[1]})"

    def summary(self) -> str:
        """Returns the state in one line."""
        parts = self.counts()
        if self.best_text is not None:
            parts.append(self.best_text)
        return " · ".join([*parts, *self._left()])

    def short_summary(self) -> str:
        """Returns the state without the best trial, what matters most first."""
        done, *others = self.counts()
        return " · ".join([done, *self._left(), *others])

    def _left(self) -> list[str]:
        left = self.seconds_left()
        return [] if left is None else [f"{duration(left)} left"]

    def counts(self) -> list[str]:
        """Returns how many trials are in which state, a text for each."""
        n_planned = "" if self.n_planned is None else f"/{self.n_planned}"
        parts = [f"{self.n_ended}{n_planned} done", f"{self.n_running} running"]
        parts.append(f"{self.count('failed', 'out_of_memory')} failed")
        others = {status: self.count(status) for status in ("infeasible", "diverged", "pruned")}
        return parts + [f"{n} {status}" for status, n in others.items() if n]

    def trial_line(self, trial_id: str) -> str:
        """Returns the progress of a running trial in one line."""
        return " · ".join(self.trial_parts(trial_id))

    def trial_parts(self, trial_id: str) -> list[str]:
        """Returns what is known of the progress of a running trial; a text at least."""
        known = self.running.get(trial_id, {})
        parts = []
        if "step" in known:
            parts.append(f"step {known['step']}/{known['n_steps']}")
        if "loss" in known:
            parts.append(f"loss {known['loss']:.4g}")
        if "curve_accuracy" in known:
            parts.append(f"{100 * known['curve_accuracy']:.1f} %")
        if "seconds_left" in known:
            parts.append(f"{duration(known['seconds_left'])} left")
        return parts or ["starting"]


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
        self._is_live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._has_started = False
        self._last_line = time.monotonic()
        self._shown: set[str] = set()
        self._live = Live(
            console=self._console,
            transient=True,
            refresh_per_second=4,
            get_renderable=self._picture,
        )

    def __enter__(self) -> Self:
        if self._is_live:
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
        if not self._is_live:
            self._print(text)

    def planned(self, configs: Iterable[Config]) -> None:
        """Takes the trials that are to run, in the order of their start, for the time left."""
        self.state.planned(configs)

    def started(self, config: Config) -> None:
        """Shows a trial that runs."""
        self._has_started = True
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
        self.state.lost(config)
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
        due = self._has_started and now - self._last_line >= PLAIN_SECONDS
        if due and not self._is_live:
            self._last_line = now
            self._print(self.state.summary())

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def _picture(self) -> RenderableType:
        if not self._has_started:
            return Group(_line(f"{self.state.name}: {self._phase}"), Text(""))
        return picture(self.state, self._console.width)


def picture(state: SweepState, width: int) -> RenderableType:
    """Returns the live display: lines that are cut, never wrapped, where the terminal is narrow.

    Args:
        state: of the sweep.
        width: characters a line.
    """
    bar = ProgressBar(total=1.0, completed=state.fraction or 0.0)
    head = Table.grid(expand=True, padding=(0, 1))
    head.add_column(no_wrap=True, overflow="ellipsis", max_width=NAME_WIDTH)
    head.add_column(ratio=1)
    head.add_column(no_wrap=True, overflow="ellipsis")
    head.add_row(Text(state.name, style="bold"), bar, Text(state.short_summary()))
    shown = list(state.running)
    trials = [_trial_line(state, trial_id, width) for trial_id in shown[:MOST_SHOWN]]
    lines = [_line(state.best_text)] if state.best_text is not None else []
    more = [_line(f"  and {len(shown) - MOST_SHOWN} more")] if len(shown) > MOST_SHOWN else []
    # The cursor waits in a line of its own: the `^C` of a terminal would wrap in a full one.
    return Group(head, *lines, *trials, *more, Text(""))


def _trial_line(state: SweepState, trial_id: str, width: int) -> Text:
    """Returns a label, cut in the middle (the seed is at its end), and the progress on the right.

    Where little room is left for the label, the first part of the progress is left out.
    """
    parts = state.trial_parts(trial_id)
    while len(parts) > 1 and width - len(" · ".join(parts)) < LABEL_WIDTH:
        parts.pop(0)
    progress = " · ".join(parts)
    label, room = state.label(trial_id), max(width - len(progress) - 4, 1)
    if len(label) > room:
        end = min(8, room // 2)
        label = f"{label[: room - end - 1]}…{label[len(label) - end :]}"
    line = _line(f"  {label.ljust(room)}  ")
    return line.append(progress, style="dim")


def _line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")
