"""Metrics of a sweep for Prometheus, through Ray's own exporter on every node.

Ray puts `ray_` before every name and its own tags beside these. Metrics are an aid: whatever fails
here turns them off and never fails a sweep.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from ray.util.metrics import Counter as Sum
from ray.util.metrics import Gauge

TRIALS = "dream_sweep_trials"
"""Gauge: trials of this run by `state`: waiting, running, or the status that they ended with."""

PART_SECONDS = "dream_sweep_part_seconds"
"""Counter: seconds of each `part` of all finished trials (clustering, …, total), by `kind`.

Not a histogram: Ray exports the sum of one only as its buckets allow, a third off.
"""

FINISHED = "dream_sweep_finished"
"""Counter: finished trials by `kind`; with the seconds, it gives means."""

ACCURACY = "dream_sweep_accuracy"
"""Gauge: accuracy of the trial that finished last, in [0, 1], by `split` (test or val)."""

NAMES = {
    TRIALS: "trials of this run by state",
    PART_SECONDS: "seconds of each part of all finished trials",
    FINISHED: "finished trials",
    ACCURACY: "accuracy of the trial that finished last",
}
"""Metric → description."""

WAITING, RUNNING = "waiting", "running"

_SUFFIX = "_seconds"


class SweepMetrics:
    """The metrics of one run, set where the driver hears of its trials.

    Args:
        sweep: name of the sweep, a tag of every metric.
        n_planned: trials of this run; None: unknown, as of a search.
        on_problem: called with a line where metrics cannot be exported; once.
    """

    def __init__(
        self, sweep: str, n_planned: int | None, on_problem: Callable[[str], None]
    ) -> None:
        self._on_problem = on_problem
        self._n_planned = n_planned
        self._running: set[str] = set()
        self._ended: dict[str, str] = {}
        self._states: set[str] = set()
        self._works = True
        self._tags = {"sweep": sweep}
        self._safely(self._create)

    def started(self, trial_id: str) -> None:
        """Notes that a trial runs, for the first time or again."""
        self._running.add(trial_id)
        self._ended.pop(trial_id, None)
        self._safely(self._set_states)

    def reported(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Notes a trial's report; only the last one, with its status and numbers, counts."""
        status = result.get("status")
        if status in (None, RUNNING):
            return
        self._ended[trial_id] = str(status)
        numbers = result.get("numbers")
        if isinstance(numbers, Mapping) and numbers:
            self._safely(lambda: self._set_numbers(numbers))

    def ended(self, trial_id: str) -> None:
        """Notes the end of a trial."""
        self._running.discard(trial_id)
        self._safely(self._set_states)

    def close(self) -> None:
        """Sets the states once more: nothing runs or waits any longer."""
        self._running.clear()
        self._n_planned = None
        self._safely(self._set_states)

    def _create(self) -> None:
        self._trials = Gauge(TRIALS, NAMES[TRIALS], ("sweep", "state"))
        self._seconds = Sum(PART_SECONDS, NAMES[PART_SECONDS], ("sweep", "kind", "part"))
        self._finished = Sum(FINISHED, NAMES[FINISHED], ("sweep", "kind"))
        self._accuracy = Gauge(ACCURACY, NAMES[ACCURACY], ("sweep", "split"))

    def _set_states(self) -> None:
        counts = Counter(dict.fromkeys(self._states, 0))
        counts.update(self._ended.values())
        counts[RUNNING] = len(self._running - self._ended.keys())
        n_known = counts.total()
        counts[WAITING] = max(0, (self._n_planned or n_known) - n_known)
        self._states |= counts.keys()
        for state, n_trials in counts.items():
            self._trials.set(n_trials, {**self._tags, "state": state})

    def _set_numbers(self, numbers: Mapping[str, Any]) -> None:
        tags = {**self._tags, "kind": str(numbers.get("kind"))}
        self._finished.inc(1.0, tags)
        for name, value in numbers.items():
            if not value:  # unknown, or a part of no time: counters take no zero
                continue
            if name.endswith(_SUFFIX):
                self._seconds.inc(float(value), {**tags, "part": name.removesuffix(_SUFFIX)})
            elif name.endswith("_accuracy_mean"):
                split = name.removesuffix("_accuracy_mean")
                self._accuracy.set(float(value), {**self._tags, "split": split})

    def _safely(self, function: Callable[[], None]) -> None:
        """Calls a function; any exception turns the metrics off."""
        if not self._works:
            return
        try:
            function()
        except Exception as error:
            self._works = False
            self._on_problem(f"metrics are off: {type(error).__name__}: {error}")
