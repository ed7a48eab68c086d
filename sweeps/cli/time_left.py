"""Estimate the time left of a sweep from what its trials have measured so far.

A running trial measures its own time left. A waiting trial is priced by the parts of finished
trials that cost the same (`sweeps.cost`), else by running trials that differ in the seed only, else
by the mean over all different configurations measured so far. Waiting trials then take the free
places in the order of the plan. A mean over the trials that finished first would be biased: those
are the short ones.
"""

import heapq
import json
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from distill.config.base import Config
from sweeps.cost import estimate

MAX_ROWS = 5
"""Finished trials that price those that differ in the seed only."""

WARM_UP_SECONDS = 60.0
"""Trials shorter than this say little of others if they are the first of their process, which
imports and compiles in their time."""

PRICING_SHARE = 0.05
"""Largest share of the time that is spent on estimates."""


MIN_FRACTION = 0.1
"""Progress that tells the time left without the trial's own estimate: before, it is a guess of
what an epoch costs beside a matching step."""


@dataclass
class _Run:
    """A running trial, with times in seconds of one clock.

    Attributes:
        key: of its configuration without the seed.
        started: when it was started.
        is_first: whether it was started before any trial had ended: the first of its process.
        first_reported: when it first reported its progress, after its process was set up.
        first_fraction: its progress at that report: above 0 for one that resumes.
        reported: when it last reported its progress; None: never.
        fraction: its progress at the last report, in [0, 1].
        own_estimate: its own estimate of its seconds left, at the last report.
    """

    key: str
    started: float
    is_first: bool
    first_reported: float = 0.0
    first_fraction: float = 0.0
    reported: float | None = None
    fraction: float = 0.0
    own_estimate: float | None = None

    def left(self, now: float) -> float | None:
        """Returns the seconds to its end; None: not known yet."""
        if self.reported is None:
            return None
        if self.own_estimate is not None:
            return max(0.0, self.own_estimate - (now - self.reported))
        done = self.fraction - self.first_fraction
        if done < MIN_FRACTION:
            return None
        left = (self.reported - self.first_reported) / done * (1 - self.fraction)
        return max(0.0, left - (now - self.reported))

    def total(self, now: float) -> float | None:
        """Returns the seconds that the whole trial takes, from its start; None: not known yet."""
        left = self.left(now)
        if left is None or self.first_fraction == 1:
            return None
        setup, since = self.first_reported - self.started, now - self.first_reported
        return setup + (since + left) / (1 - self.first_fraction)


class TimeLeft:
    """The estimate of the time left. All times are seconds of one clock."""

    def __init__(self) -> None:
        self._waiting: dict[str, str] = {}
        self._running: dict[str, _Run] = {}
        self._examples: dict[str, Config] = {}
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._durations: dict[str, list[float]] = {}
        self._overheads: list[float] = []
        self._n_finished = 0
        self._has_warm_ups = self._is_warm = False
        self._n_places = 0
        self._prices: dict[str, float] = {}
        self._priced_rows = 0
        self._next_pricing = float("-inf")

    def planned(self, configs: Iterable[Config]) -> None:
        """Notes trials that are to run, in the order of their start."""
        self._waiting |= {config.trial_id: self._key(config) for config in configs}

    def started(self, config: Config, now: float) -> None:
        """Notes a trial that runs, for the first time or again."""
        self._waiting.pop(config.trial_id, None)
        self._running[config.trial_id] = _Run(
            key=self._key(config), started=now, is_first=self._n_finished == 0
        )
        self._n_places = max(self._n_places, len(self._running))

    def reported(self, trial_id: str, result: Mapping[str, Any], now: float) -> None:
        """Takes the progress of a running trial."""
        run = self._running.get(trial_id)
        fraction = result.get("fraction")
        if run is None or fraction is None:
            return
        if run.reported is None:
            run.first_reported, run.first_fraction = now, fraction
        run.reported, run.fraction = now, fraction
        run.own_estimate = result.get("seconds_left")

    def finished(self, trial_id: str, part_seconds: Mapping[str, Any] | None, now: float) -> None:
        """Takes the end of a trial.

        Args:
            trial_id: of the trial.
            part_seconds: its row's columns of seconds; None: it has no row of status `ok`.
            now: the time.
        """
        run = self._running.pop(trial_id, None)
        if run is None:
            return
        self._n_finished += 1
        if run.is_first and now - run.started < WARM_UP_SECONDS:
            if self._is_warm:
                return
            self._has_warm_ups = True
        elif self._has_warm_ups:
            self._forget()
        self._durations.setdefault(run.key, []).append(now - run.started)
        total = (part_seconds or {}).get("total_seconds")
        if part_seconds is None or total is None:
            return
        self._overheads.append(max(0.0, now - run.started - total))
        config = self._examples[run.key]
        row = config.resolve().to_dict() | {"kind": config.kind, "status": "ok"}
        rows = self._rows.setdefault(run.key, [])
        rows.append(row | dict(part_seconds))
        del rows[:-MAX_ROWS]

    def _forget(self) -> None:
        """Drops what first trials measured, now that there is better."""
        self._is_warm, self._has_warm_ups = True, False
        for measured in (self._durations, self._rows, self._overheads, self._prices):
            measured.clear()
        self._priced_rows = 0

    def lost(self, config: Config) -> None:
        """Notes that the process of a trial was lost: the trial waits again."""
        if self._running.pop(config.trial_id, None) is not None:
            self._waiting[config.trial_id] = self._key(config)

    def is_warming_up(self, n_waiting: int, now: float) -> bool:
        """Whether trials wait of which only short first trials of processes could tell the time.

        What `seconds` returns is then several times too long where trials take seconds.

        Args:
            n_waiting: trials that have not been started.
            now: the time.
        """
        if self._is_warm or not n_waiting or (self._durations and not self._has_warm_ups):
            return False
        totals = (run.total(now) for run in self._running.values())
        return all(total is None or total < WARM_UP_SECONDS for total in totals)

    def seconds(self, n_waiting: int, now: float) -> float | None:
        """Returns the seconds to the end of the last trial; None while nothing is measured.

        Args:
            n_waiting: trials that have not been started, also those that are not known yet.
            now: the time.
        """
        runs = list(self._running.values())
        running_totals: dict[str, list[float]] = {}
        for run in runs:
            total = run.total(now)
            if total is not None:
                running_totals.setdefault(run.key, []).append(total)
        self._price(now)
        overhead = statistics.median(self._overheads) if self._overheads else 0.0
        known = {key: statistics.fmean(totals) for key, totals in running_totals.items()}
        known |= {key: statistics.fmean(totals) for key, totals in self._durations.items()}
        if not known:
            return None
        mean = statistics.fmean(known.values())
        known |= {key: seconds + overhead for key, seconds in self._prices.items()}
        ends = []
        for run in runs:
            left = run.left(now)
            expected = max(0.0, known.get(run.key, mean) - (now - run.started))
            ends.append(expected if left is None else left)
        ends += [0.0] * (max(self._n_places, 1) - len(ends))
        heapq.heapify(ends)
        waiting = [known.get(key, mean) for key in list(self._waiting.values())[:n_waiting]]
        waiting += [mean] * (n_waiting - len(waiting))
        for expected in waiting:
            heapq.heapreplace(ends, ends[0] + expected)
        return max(ends)

    def _price(self, now: float) -> None:
        """Prices the configurations of the plan by the rows of finished trials, not too often."""
        n_rows = len(self._overheads)
        if n_rows == self._priced_rows or now < self._next_pricing:
            return
        begun = time.monotonic()
        rows = [row for some in list(self._rows.values()) for row in some]
        examples = {key: self._examples[key] for key in {*self._waiting.values()}}
        seconds = estimate(examples.values(), rows).seconds
        prices = {key: seconds[config.trial_id] for key, config in examples.items()}
        self._prices = {key: price for key, price in prices.items() if price is not None}
        self._priced_rows = n_rows
        self._next_pricing = now + (time.monotonic() - begun) / PRICING_SHARE

    def _key(self, config: Config) -> str:
        """Returns what trials that differ in the seed only have in common."""
        key = json.dumps({"kind": config.kind, **config.to_dict(), "seed": None})
        self._examples.setdefault(key, config)
        return key
