"""The progress of a trial: one quiet live line on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from distill.trials.base import Progress as TrialProgress

PLAIN_SECONDS = 10.0
"""Seconds between two plain lines."""

PATIENCE_SECONDS = 2.0
"""Loading that is done sooner shows nothing."""


class _Bar(Progress):
    """A progress bar with the cursor below it: in a full line, a terminal's `^C` would wrap."""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Returns the bar and an empty line."""
        return [*super().get_renderables(), ""]


class Display:
    """Shows what a trial is doing, on standard error. Use as a context manager."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._bar = _Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            transient=True,
            refresh_per_second=4,
            disable=not self._live,
        )
        self._task = self._bar.add_task("starting", total=1.0, left="")
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del kind, error, trace
        self._bar.stop()

    def loading(self, n_done: int, n_total: int) -> None:
        """Shows how many images are decoded, once it takes long."""
        if time.monotonic() - self._started > PATIENCE_SECONDS:
            self._show(f"decoding image {n_done:,} of {n_total:,}", n_done / max(n_total, 1), "")

    def trial(self, progress: TrialProgress) -> None:
        """Shows how far the trial is."""
        parts = [f"step {min(progress.step + 1, progress.n_steps)}/{progress.n_steps}"]
        if progress.evaluating:
            parts[0] = f"testing after {progress.step}/{progress.n_steps}"
        if progress.loss is not None:
            parts.append(f"loss {progress.loss:.4g}")
        if progress.seconds_per_step is not None:
            parts.append(f"{progress.seconds_per_step:.3g} s/step")
        if progress.accuracy is not None:
            parts.append(f"accuracy {100 * progress.accuracy:.1f} %")
        left = "" if progress.seconds_left is None else f"{duration(progress.seconds_left)} left"
        self._show(" · ".join(parts), progress.fraction, left)

    def phase(self, text: str) -> None:
        """Shows a step that has no measure of its own."""
        self._bar.update(self._task, description=text, left="")
        if not self._live:
            self._console.print(text, soft_wrap=True)

    def warn(self, message: str) -> None:
        """Prints a line that stays."""
        self._console.print(message, markup=False, soft_wrap=True)

    def _show(self, text: str, fraction: float, left: str) -> None:
        self._bar.update(self._task, description=text, completed=fraction, left=left)
        if not self._live and time.monotonic() - self._last_line >= PLAIN_SECONDS:
            self._last_line = time.monotonic()
            line = f"{text} · {100 * fraction:.0f} %" + (f" · {left}" if left else "")
            self._console.print(line, markup=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """Returns minutes and seconds, with hours where there are any: 2:05 or 1:02:05."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
