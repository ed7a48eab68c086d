"""The status of the sweeps of a store, from its files alone: also while nothing runs.

A trial counts as *running* while its checkpoints are young for their rhythm, else as *interrupted*.
Trials that have not saved a checkpoint yet cannot be told from waiting ones.

Free of torch and Ray.
"""

import datetime as dt
import functools
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distill.config.base import Config
from distill.errors import UserError
from distill.kinds import config_from_dict
from sweeps.cli.labels import trial_label
from sweeps.cost.estimate import estimate, longest_first
from sweeps.monitor.studies import PRUNED, StudyCounts, study_counts
from sweeps.monitor.summary import (
    Best,
    FailureReason,
    Row,
    best_trials,
    failure_reasons,
    number,
    status_counts,
)
from sweeps.store.checkpoints import SavedTrial
from sweeps.store.rows import is_trial_id
from sweeps.store.store import Store

if TYPE_CHECKING:
    from sweeps.store.files import Stamp

ACTIVE_SECONDS = 60.0
"""Age up to which a checkpoint is always one of a running trial."""

ACTIVE_GAPS = 3.0
"""The same, as a multiple of the time between the last two checkpoints."""

LONGEST_GAP = 600.0
"""Seconds above which that time is not a rhythm but an interruption."""

RECENT_SECONDS = 300.0
"""Age of finished trials that still tell how many run at once."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep that was started, one or more times.

    Attributes:
        name: of the sweep.
        search: whether it is a search, else a grid.
        planned: trials of all its plans; of a search its budget and what has been confirmed.
        started_at: when it was last started, ISO 8601, UTC.
        command: that started it last.
    """

    name: str
    search: bool
    planned: int
    started_at: str
    command: str


@dataclass(frozen=True, kw_only=True)
class SavedProgress:
    """A trial that is not finished, as its newest checkpoint shows it.

    Attributes:
        trial_id: of the trial.
        label: its method and what distinguishes it; the trial_id where that is unknown.
        step: steps finished; None where the checkpoint does not say, as for the next four.
        n_steps: how many there are.
        fraction: share of the estimated work that is done, in [0, 1].
        loss: of the last finished step.
        accuracy: of the last finished evaluation, in [0, 1].
        seconds: of work so far, in all processes.
        age_seconds: since the checkpoint was saved.
    """

    trial_id: str
    label: str
    step: float | None
    n_steps: float | None
    fraction: float | None
    loss: float | None
    accuracy: float | None
    seconds: float | None
    age_seconds: float


@dataclass(frozen=True, kw_only=True)
class TimeLeft:
    """What is left to do, estimated from finished trials.

    Attributes:
        n_trials: planned, and neither finished nor failed.
        n_at_once: trials that progress at once, as their checkpoints show; 0: nothing runs.
        seconds: to the end at that pace; None where nothing runs or no trial is known.
        trial_seconds: of all these trials one after another; None where none is known.
        n_unknown: trials in neither sum: none like them has been measured.
    """

    n_trials: int
    n_at_once: int
    seconds: float | None
    trial_seconds: float | None
    n_unknown: int


@dataclass(frozen=True, kw_only=True)
class Status:
    """The status of the sweeps of a store.

    Attributes:
        results: where they are, without passwords.
        time: of this status, ISO 8601, UTC.
        sweeps: that were started, the newest first.
        planned: trials of all these sweeps; None where no start is recorded.
        n_finished: trials with a row, and trials of searches that were stopped early.
        finished: status → how many of them.
        running: trials whose checkpoints are young.
        interrupted: trials with older checkpoints, which they resume from.
        n_failed: trials without a result, whose failure is recorded.
        failed: the reasons.
        best: best finished trial on each split.
        left: what is left to do.
        n_others: finished trials of this store that no recorded start has planned.
        last_activity: when a trial last saved or finished, ISO 8601, UTC; None: never.
    """

    results: str
    time: str
    sweeps: list[Sweep]
    planned: int | None
    n_finished: int
    finished: dict[str, int]
    running: list[SavedProgress]
    interrupted: list[SavedProgress]
    n_failed: int
    failed: list[FailureReason]
    best: list[Best]
    left: TimeLeft
    n_others: int
    last_activity: str | None


class StatusReader:
    """Reads the status of a store, again and again: rows that did not change are read once.

    Args:
        store: the results.
        last_only: whether only the sweep that was started last counts.
        on_invalid: called with a line for every file that is left out, once for each line.
    """

    def __init__(
        self,
        store: Store,
        *,
        last_only: bool = False,
        on_invalid: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._on_invalid = functools.cache(on_invalid)
        self._last_only = last_only
        self._stamps: dict[str, Stamp] | None = None
        self._rows: dict[str, Row] = {}
        self._configs = _Configs()

    def read(self, now: float | None = None) -> Status:
        """Returns the status.

        Args:
            now: seconds since 1970; None: the clock of this machine.

        Raises:
            UserError: there is no store, it cannot be read, or it is of another schema.
        """
        try:
            return self._read(time.time() if now is None else now)
        except OSError as error:
            raise UserError(f"results {self._store.shown} cannot be read: {error}") from None

    def _read(self, now: float) -> Status:
        store = self._store
        store.check()
        # The rows last: a trial that finishes meanwhile is then finished, not gone.
        saved, failures = store.checkpoints(), store.failures(self._on_invalid)
        submissions = store.dated_submissions(self._on_invalid)
        plans = _Plans(submissions, store, last_only=self._last_only)
        self._update_rows()
        self._configs.add(plans.points)
        self._configs.add({i: trial.values.get("config") for i, trial in saved.items()})
        trials = _Trials(plans, self._rows, saved, failures, now)
        rows = list(trials.rows.values())
        finished = Counter(status_counts(rows))
        finished.update(plans.n_pruned)
        progress = [
            _saved_progress(trial, self._configs.get(trial_id), now)
            for trial_id, trial in sorted(trials.unfinished.items())
        ]
        last = trials.last_activity
        return Status(
            results=store.shown,
            time=_iso(now),
            sweeps=plans.sweeps(rows),
            planned=plans.n_planned(rows),
            n_finished=sum(finished.values()),
            finished=dict(finished.most_common()),
            running=[trial for trial in progress if trial.trial_id in trials.active],
            interrupted=[trial for trial in progress if trial.trial_id not in trials.active],
            n_failed=len(trials.failures),
            failed=failure_reasons(trials.failures),
            best=best_trials(rows, self._configs.get),
            left=self._left(plans, trials, now),
            n_others=len(self._rows) - len(rows),
            last_activity=None if last is None else _iso(last),
        )

    def _update_rows(self) -> None:
        """Reads the rows that are new or were replaced since the last time."""
        stamps = self._store.row_stamps()
        if self._stamps is None:
            frame = self._store.results(self._on_invalid)
            self._rows = {row["trial_id"]: row for row in frame.to_dict("records")}
            self._stamps = stamps
            return
        for trial_id, stamp in stamps.items():
            if self._stamps.get(trial_id) != stamp:
                self._rows.pop(trial_id, None)
                if is_trial_id(trial_id):
                    row = self._store.read_row(trial_id, self._on_invalid)
                    if row is not None:
                        self._rows[trial_id] = row
        self._rows = {i: row for i, row in self._rows.items() if i in stamps}
        self._stamps = stamps

    def _left(self, plans: "_Plans", trials: "_Trials", now: float) -> TimeLeft:
        to_do = [trial_id for trial_id in plans.points if not trials.has_ended(trial_id)]
        configs = [config for i in to_do if (config := self._configs.get(i)) is not None]
        seconds = estimate(configs, self._rows.values()).seconds if configs else {}
        remaining = [
            _seconds_left(
                seconds.get(i), trials.unfinished.get(i), now, is_active=i in trials.active
            )
            for i in to_do
        ]
        remaining += plans.seconds_of_searches(trials.rows.values())
        measured = [value for value in remaining if value is not None]
        n_at_once = max(len(trials.active), _most_at_once(self._rows.values(), now))
        return TimeLeft(
            n_trials=len(remaining),
            n_at_once=n_at_once,
            seconds=longest_first(measured, n_at_once) if measured and n_at_once else None,
            trial_seconds=sum(measured) if measured else None,
            n_unknown=len(remaining) - len(measured),
        )


class _Configs:
    """Configurations by trial id, made when they are needed: plans may have thousands."""

    def __init__(self) -> None:
        self._points: dict[str, Any] = {}
        self._made: dict[str, Config | None] = {}

    def add(self, points: Mapping[str, Any]) -> None:
        """Adds configurations as dictionaries; None: not known."""
        self._points |= {i: point for i, point in points.items() if point is not None}

    def get(self, trial_id: str) -> Config | None:
        """Returns a configuration; None where it is not known or of another version."""
        if trial_id not in self._made and trial_id in self._points:
            try:
                self._made[trial_id] = config_from_dict(self._points[trial_id])
            except (ValueError, TypeError, AttributeError, RecursionError):
                self._made[trial_id] = None
        return self._made.get(trial_id)


class _Trials:
    """The trials of some plans by their state.

    Args:
        plans: whose trials count.
        rows: all rows of the store.
        saved: all checkpoints.
        failures: all failures.
        now: seconds since 1970.

    Attributes:
        rows: of the finished trials of the plans.
        unfinished: checkpoints of the trials that are not finished and have not failed since.
        failures: of the trials that have neither.
        active: ids of the unfinished trials that run.
        last_activity: when any trial last saved or finished, in seconds since 1970.
    """

    def __init__(
        self,
        plans: "_Plans",
        rows: Mapping[str, Row],
        saved: Mapping[str, SavedTrial],
        failures: Mapping[str, Mapping[str, Any]],
        now: float,
    ) -> None:
        self.rows = {i: row for i, row in rows.items() if plans.has(i, row.get("sweep"))}
        left = {i: trial for i, trial in saved.items() if i not in rows.keys() | plans.pruned_ids}
        self.unfinished = {
            trial_id: trial
            for trial_id, trial in left.items()
            if plans.has(trial_id, None) and not _failed_since(failures.get(trial_id), trial)
        }
        self.failures = {
            trial_id: record
            for trial_id, record in failures.items()
            if trial_id not in rows.keys() | self.unfinished.keys()
            and plans.has(trial_id, record.get("sweep"))
        }
        self.active = {i for i, trial in self.unfinished.items() if _is_active(trial, now)}
        times = [trial.saved_at for trial in saved.values()]
        times += [t for row in rows.values() if (t := _time_of(row.get("finished_at"))) is not None]
        self.last_activity = max(times, default=None)

    def has_ended(self, trial_id: str) -> bool:
        """Whether a trial is finished or failed."""
        return trial_id in self.rows or trial_id in self.failures


class _Plans:
    """What the recorded starts of sweeps have planned.

    Args:
        submissions: when each was started, and its record, oldest first.
        store: the results.
        last_only: whether only the last one counts.
    """

    def __init__(
        self,
        submissions: Sequence[tuple[dt.datetime, Mapping[str, Any]]],
        store: Store,
        *,
        last_only: bool,
    ) -> None:
        self._newest: dict[tuple[str, bool], tuple[dt.datetime, Mapping[str, Any]]] = {}
        self._ids: dict[str, set[str]] = {}
        self.points: dict[str, Any] = {}
        for started_at, record in submissions[-1:] if last_only else submissions:
            name, ids = str(record.get("name")), record.get("trial_ids")
            is_search = ids is None
            self._newest[name, is_search] = started_at, record
            if ids is not None:
                points = record.get("plan") or [None] * len(ids)
                self._ids.setdefault(name, set()).update(ids)
                self.points.update(zip(ids, points, strict=False))
        self._searches = {name: found for (name, search), found in self._newest.items() if search}
        self._studies: dict[str, StudyCounts] = {}
        for name in self._searches:
            counts = study_counts(store, name)
            if counts is not None:
                self._studies[name] = counts
        self.pruned_ids = {i for counts in self._studies.values() for i in counts.pruned_ids}

    @property
    def n_pruned(self) -> dict[str, int]:
        """Trials of searches that were stopped early and have no row."""
        n_pruned = sum(counts.ended.get(PRUNED, 0) for counts in self._studies.values())
        return {PRUNED: n_pruned} if n_pruned else {}

    def has(self, trial_id: str, sweep: Any) -> bool:
        """Whether a trial is of these plans.

        Args:
            trial_id: of the trial.
            sweep: name of its sweep; None: not known.
        """
        if not self._newest or trial_id in self.points:
            return True
        return bool(self._searches) and (sweep is None or sweep in self._searches)

    def n_planned(self, rows: Iterable[Row]) -> int | None:
        """Returns the trials of all plans; None where no start is recorded."""
        if not self._newest:
            return None
        rows = list(rows)
        searched = (self._n_searched(name, rows) for name in self._searches)
        return len(self.points) + sum(searched)

    def _n_searched(self, name: str, rows: Iterable[Row]) -> int:
        """Returns the budget of a search and the number of its finished confirmations."""
        confirmed = (r for r in rows if r.get("sweep") == name and r.get("phase") == "confirm")
        n_confirmed = len(list(confirmed))
        return int(self._searches[name][1].get("n_trials") or 0) + n_confirmed

    def sweeps(self, rows: Iterable[Row]) -> list[Sweep]:
        """Returns the sweeps, the newest first."""
        rows = list(rows)
        newest = sorted(self._newest.items(), key=lambda item: item[1][0], reverse=True)
        return [
            Sweep(
                name=name,
                search=is_search,
                planned=self._n_searched(name, rows) if is_search else len(self._ids[name]),
                started_at=started_at.isoformat(timespec="seconds"),
                command=_command(record),
            )
            for (name, is_search), (started_at, record) in newest
        ]

    def seconds_of_searches(self, rows: Iterable[Row]) -> list[float | None]:
        """Returns the expected seconds of every trial that searches have left: a mean."""
        rows = list(rows)
        seconds: list[float | None] = []
        for name, (_, record) in self._searches.items():
            found = [r for r in rows if r.get("sweep") == name and r.get("phase") == "search"]
            known = [s for row in found if (s := number(row.get("total_seconds"))) is not None]
            counts = self._studies.get(name)
            n_ended = sum(counts.ended.values()) if counts is not None else len(found)
            n_left = max(0, int(record.get("n_trials") or 0) - n_ended)
            seconds += [sum(known) / len(known) if known else None] * n_left
        return seconds


def _command(record: Mapping[str, Any]) -> str:
    words = [str(word) for word in (record.get("script"), *(record.get("command") or ())) if word]
    return shlex.join(words)


def _failed_since(record: Mapping[str, Any] | None, trial: SavedTrial) -> bool:
    """Whether a trial failed after it saved its newest checkpoint."""
    failed_at = _time_of(record.get("time")) if record is not None else None
    return failed_at is not None and failed_at + 1.0 >= trial.saved_at  # whole seconds


def _is_active(trial: SavedTrial, now: float) -> bool:
    rhythm = min(trial.gap_seconds or 0.0, LONGEST_GAP)
    return now - trial.saved_at <= max(ACTIVE_SECONDS, ACTIVE_GAPS * rhythm)


def _saved_progress(trial: SavedTrial, config: Config | None, now: float) -> SavedProgress:
    progress = trial.progress
    names = ("step", "n_steps", "fraction", "loss", "accuracy")
    numbers = {name: number(progress.get(name)) for name in names}
    return SavedProgress(
        trial_id=trial.trial_id,
        label=trial.trial_id if config is None else trial_label(config),
        seconds=number(trial.values.get("total_seconds")),
        age_seconds=max(0.0, now - trial.saved_at),
        **numbers,
    )


def _seconds_left(
    expected: float | None, trial: SavedTrial | None, now: float, *, is_active: bool
) -> float | None:
    """Returns the seconds that a trial has left.

    Args:
        expected: of the whole trial, from finished ones like it; None: there are none.
        trial: its newest checkpoint, where it has begun.
        now: seconds since 1970.
        is_active: whether it has worked on since the checkpoint.
    """
    if trial is None:
        return expected
    since = max(0.0, now - trial.saved_at) if is_active else 0.0
    fraction = number(trial.progress.get("fraction"))
    if expected is not None and fraction is not None:
        return max(0.0, expected * (1 - fraction) - since)
    left = number(trial.progress.get("seconds_left"))
    return expected if left is None else max(0.0, left - since)


def _most_at_once(rows: Iterable[Row], now: float) -> int:
    """Returns how many of the trials that finished lately ran at once; 0 where none finished now.

    Trials that end before they save a checkpoint show only so that they run.
    """
    spans = []
    for row in rows:
        begin, end = _time_of(row.get("started_at")), _time_of(row.get("finished_at"))
        if begin is not None and end is not None and now - end <= RECENT_SECONDS:
            spans.append((begin, end))
    if not spans or now - max(end for _, end in spans) > ACTIVE_SECONDS:
        return 0
    # Where one ends in the second in which the next begins, the end comes first.
    events = sorted([(t, 1) for t, _ in spans] + [(t, -1) for _, t in spans])
    most, at_once = 0, 0
    for _, change in events:
        at_once += change
        most = max(most, at_once)
    return max(1, most)


def _time_of(text: Any) -> float | None:
    """Returns seconds since 1970 of a time in ISO 8601; None where there is none."""
    if not isinstance(text, str):
        return None
    try:
        return dt.datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _iso(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")
