"""The status of sweeps as text of at most 80 columns."""

import datetime as dt
import shlex
import textwrap
from collections.abc import Iterable

from sweeps.cli.labels import rough_duration
from sweeps.monitor.status import SavedProgress, Status, TimeLeft
from sweeps.monitor.summary import SPLITS, FailureReason

WIDTH = 80
"""Columns of the text, where the terminal has as many."""

MOST_TRIALS = 10
"""Trials that are shown with a line each."""

MOST_REASONS = 5
"""Reasons of failures that are shown."""

LONGEST_MESSAGE = 300
"""Characters of a reason; `dream-sweep logs` prints all."""

_INDENT = 9
_SPLIT_NAMES = dict(zip(SPLITS, ("test", "validation"), strict=True))


def status_text(status: Status, results: str, *, width: int = WIDTH) -> str:
    """Returns the status as plain text.

    Args:
        status: to print.
        results: the results as they were given, for the commands in the text.
        width: most columns; only commands and paths may be longer.
    """
    lines = [_headline(status, width)]
    for sweep in status.sweeps:
        kind = "search" if sweep.search else "grid"
        text = (
            f"{sweep.name}: {kind} of {sweep.planned:,} trials, started {_clock(sweep.started_at)}"
        )
        lines += _entry("sweep", text, width)
    if status.finished:
        counts = ", ".join(f"{n:,} {name}" for name, n in status.finished.items())
        lines += _entry("done", counts, width)
    lines += _trials("running", status.running, width)
    lines += _trials("resumable", status.interrupted, width)
    lines += _failures(status.failed, status.n_failed, results, width)
    for best in status.best:
        accuracy = f"{100 * best.accuracy:.1f} % on {_SPLIT_NAMES[best.split]} images"
        lines += _entry("best", f"{accuracy}: {best.label}", width)
    lines += _entry("left", _left(status.left), width)
    if status.last_activity is not None:
        lines += _entry("activity", _activity(status), width)
    if status.n_others:
        lines += _entry("others", f"{status.n_others:,} finished trials of other plans", width)
    return "\n".join(lines) + "\n"


def _headline(status: Status, width: int) -> str:
    planned = "" if status.planned is None else f" of {status.planned:,}"
    parts = [f"{status.n_finished:,}{planned} trials done", f"{len(status.running)} running"]
    parts.append(f"{status.n_failed} failed")
    if status.left.seconds is not None and 2 * status.left.n_unknown <= status.left.n_trials:
        parts.append(f"{_sum(status.left)} left")
    return "\n".join(_wrapped(" · ".join(parts), width))


def _left(left: TimeLeft) -> str:
    if not left.n_trials:
        return "nothing"
    parts = [f"{left.n_trials:,} trial{'' if left.n_trials == 1 else 's'}"]
    if left.seconds is not None:
        parts.append(f"{_sum(left)} with {left.n_at_once:,} at once, as now")
    elif left.trial_seconds is not None:
        parts.append(f"{rough_duration(left.trial_seconds)} one after another; nothing runs now")
    else:
        parts.append("time unknown: no trial like these has finished yet")
    if left.n_unknown and left.trial_seconds is not None:
        parts.append(f"{left.n_unknown:,} of them unknown: none like them has finished yet")
    return "; ".join(parts)


def _sum(left: TimeLeft) -> str:
    more = "more than" if left.n_unknown else "about"
    return f"{more} {rough_duration(left.seconds or 0.0)}"


def _activity(status: Status) -> str:
    last = dt.datetime.fromisoformat(str(status.last_activity))
    age = (dt.datetime.fromisoformat(status.time) - last).total_seconds()
    return f"a trial last saved or finished {_ago(age)}"


def _trials(name: str, trials: list[SavedProgress], width: int) -> list[str]:
    """Returns a line for each trial, those that were saved last first."""
    newest = sorted(trials, key=lambda trial: trial.age_seconds)
    lines = []
    for number, trial in enumerate(newest[:MOST_TRIALS]):
        head = f"{name if number == 0 else '':<{_INDENT}}"
        facts = " · ".join(_facts(trial))
        room = width - len(head) - len(facts) - 2
        label = trial.label if len(trial.label) <= room else f"{trial.label[: max(room - 1, 8)]}…"
        lines.append(f"{head}{label}  {facts}"[:width])
    if len(newest) > MOST_TRIALS:
        lines += _entry("", f"and {len(newest) - MOST_TRIALS:,} more", width)
    return lines


def _facts(trial: SavedProgress) -> Iterable[str]:
    if trial.fraction is not None:
        yield f"{100 * trial.fraction:.0f} %"
    if trial.step is not None and trial.n_steps is not None:
        yield f"step {trial.step:g}/{trial.n_steps:g}"
    if trial.accuracy is not None:
        yield f"{100 * trial.accuracy:.1f} % right"
    yield f"saved {_ago(trial.age_seconds)}"


def _failures(
    reasons: list[FailureReason], n_failed: int, results: str, width: int
) -> Iterable[str]:
    """Yields the reasons of failures, each with the command that prints one of them whole."""
    if not reasons:
        return
    yield from _entry("failed", f"{n_failed:,}", width)
    for reason in reasons[:MOST_REASONS]:
        message = reason.message
        if len(message) > LONGEST_MESSAGE:
            message = f"{message[:LONGEST_MESSAGE]}…"
        text = f"{reason.n_trials:,} × {message}"
        yield from _wrapped(text, width, first=" " * 2, rest=" " * 6)
        command = ["dream-sweep", "logs", results, reason.trial_ids[0]]
        yield f"      {shlex.join(command)}"
    if len(reasons) > MOST_REASONS:
        yield f"  and {len(reasons) - MOST_REASONS:,} other reasons"


def _entry(name: str, text: str, width: int) -> list[str]:
    return _wrapped(text, width, first=f"{name:<{_INDENT}}", rest=" " * _INDENT)


def _wrapped(text: str, width: int, *, first: str = "", rest: str = "  ") -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )


def _clock(time: str) -> str:
    return f"{dt.datetime.fromisoformat(time):%Y-%m-%d %H:%M} UTC"


def _ago(seconds: float) -> str:
    return f"{rough_duration(max(0.0, seconds))} ago"
