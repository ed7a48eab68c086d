"""The results of a search as text, for the terminal and for the log of a job."""

import shlex
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from distill.config.base import Config
from sweeps.optuna_search.study import Found, SearchStudy, confirm_plan, shown_storage
from sweeps.store.store import Store

_STATUSES = {"ok": "complete", "pruned": "stopped early", None: "running"}
MOST_SHOWN = 10
"""Lines of the best, where there is one objective; a front is shown whole."""


def describe_search(
    study: SearchStudy, store: Store, *, n_trials: int, n_confirmed: int, n_seeds: int
) -> str:
    """Returns the results of a search so far: counts, the best, and confirmed accuracies.

    Args:
        study: of the search.
        store: with the rows of the confirmed trials.
        n_trials: the search's budget.
        n_confirmed: how many of the best are confirmed.
        n_seeds: with how many seeds each.
    """
    counted = study.counted
    counts = Counter(_status(trial) for trial in counted)
    lines = [
        "",
        f"search {study.study.study_name}: {len(counted)} of {n_trials} trials: "
        + (", ".join(f"{n} {status}" for status, n in counts.most_common()) or "none yet"),
    ]
    several = len(study.objectives) > 1
    best = study.best(len(counted) if several else max(MOST_SHOWN, n_confirmed))
    if not best:
        return "\n".join([*lines, "no trial has come to a value yet"])
    what = f"best compromises of {' and '.join(study.objectives)}" if several else "the best"
    lines += [f"{what}, by {study.objectives[0]}:", ""]
    header = ["", *(_HEADERS[name] for name in study.objectives), "test"]
    table = [[*header, "parameters"]]
    for rank, found in enumerate(best, start=1):
        confirmed = confirm_plan([found.config], n_seeds) if rank <= n_confirmed else []
        table.append(
            [
                str(rank),
                *(_value(name, found.values[name]) for name in study.objectives),
                _test_accuracy(store, confirmed),
                _parameters(found),
            ]
        )
    note = (
        "validation: one trial each; "
        f"test: mean ± standard deviation over fresh seeds ({n_seeds} each)"
    )
    return "\n".join([*lines, *_aligned(table), "", note])


def search_document(
    study: SearchStudy, store: Store, *, n_trials: int, n_confirmed: int, n_seeds: int
) -> dict[str, Any]:
    """Returns the results of a search so far, for `--json`.

    Args:
        study: of the search.
        store: with the rows of the confirmed trials.
        n_trials: the search's budget.
        n_confirmed: how many of the best are confirmed.
        n_seeds: with how many seeds each.
    """
    counted = study.counted
    best = []
    for rank, found in enumerate(study.best(len(counted)), start=1):
        confirmed = confirm_plan([found.config], n_seeds) if rank <= n_confirmed else []
        values = _test_accuracies(store, confirmed)
        best.append(
            {
                "trial_id": found.config.trial_id,
                "values": found.values,
                "parameters": found.parameters,
                "n_confirmed": len(values),
                "test_accuracy_mean": statistics.fmean(values) if values else None,
                "test_accuracy_std": statistics.stdev(values) if len(values) > 1 else None,
            }
        )
    return {
        "planned": n_trials,
        "n_finished": len(counted),
        "finished": dict(Counter(map(_status, counted)).most_common()),
        "objectives": list(study.objectives),
        "best": best,
    }


_HEADERS = {"accuracy": "validation", "seconds": "seconds"}


def _status(trial: FrozenTrial) -> str:
    status = trial.user_attrs.get("status")
    return str(_STATUSES.get(status, status))


def _value(objective: str, value: float) -> str:
    return f"{100 * value:.1f} %" if objective == "accuracy" else f"{value:.0f}"


def _test_accuracy(store: Store, configs: Iterable[Config]) -> str:
    """Returns mean ± standard deviation of the test accuracies, and how many are missing."""
    configs = list(configs)
    values = [100 * value for value in _test_accuracies(store, configs)]
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    missing = f" ({len(values)} of {len(configs)})" if len(values) < len(configs) else ""
    return f"{statistics.fmean(values):.1f}{spread} %{missing}"


def _test_accuracies(store: Store, configs: Iterable[Config]) -> list[float]:
    """Returns the test accuracies of those trials that are finished and have one."""
    rows = [store.read_row(config.trial_id) for config in configs]
    found = [row["test_accuracy_mean"] for row in rows if row is not None]
    return [value for value in found if value is not None]


def _parameters(found: Found) -> str:
    def text(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    return ", ".join(f"{name} {text(value)}" for name, value in found.parameters.items())


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Returns lines whose columns are as wide as they need; all but the last stand to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join([*(c.rjust(w) for c, w in zip(row[:-1], widths[:-1], strict=True)), row[-1]])
        for row in table
    ]


def failure_counts(study: SearchStudy, store: Store, confirmed: Iterable[Config]) -> Counter[str]:
    """Returns how many trials of the search or its confirmation failed for each reason."""
    reasons = Counter(
        str(trial.user_attrs.get("message", "unknown"))
        for trial in study.counted
        if trial.state == TrialState.FAIL
    )
    failures = store.failures(lambda message: print(f"warning: {message}", file=sys.stderr))
    reasons.update(
        str(failures[config.trial_id].get("message", "unknown"))
        for config in confirmed
        if config.trial_id in failures
    )
    return reasons


def dashboard_command(storage: str) -> str:
    """Returns the command that shows a study in the browser."""
    return shlex.join(["uv", "run", "optuna-dashboard", shown_storage(storage)])
