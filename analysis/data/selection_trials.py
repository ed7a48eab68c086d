"""Paper 2's trials as tables want them: finished, failed and planned, one value each.

Like `analysis.data.trials`, for choices of real images (`distill.config.selection`).
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.data.trials import PHASES, Plan, failed_configs, plain
from distill.config.selection import SelectionConfig
from distill.errors import UserError

CONFIG_COLUMNS = tuple(SelectionConfig().to_dict())

RESULT_COLUMNS = {
    "test_accuracy_mean": "accuracy",
    "test_loss_mean": "loss",
    "test_seen_accuracy_mean": "seen_accuracy",
    "test_unseen_accuracy_mean": "unseen_accuracy",
    "n_pool": "n_pool",
    "n_test_selected": "n_test_selected",
    "n_trained_on": "n_trained_on",
    "total_seconds": "seconds",
    "gpu_share": "gpu_share",
}
"""Columns of the results → attributes of `SelectionTrial`."""


@dataclass(frozen=True, kw_only=True)
class SelectionTrial:
    """A trial of the second paper. Numbers are NaN where there are none.

    Attributes:
        trial_id: its name.
        state: `ok`, `failed` or `missing` (planned and not there).
        status: the row's, `failed` for one without a row, empty for a missing one.
        config: all fields, resolved, as plain values: lists as comma-separated text.
        accuracy: after the last epoch, of the test images, a fraction in [0, 1] like all of them.
        loss: of the same.
        seen_accuracy: of those test images that were trained on (published protocol only).
        unseen_accuracy: of the others.
        n_pool: images to choose from.
        n_test_selected: test images among those chosen.
        n_trained_on: images, with repetitions and transformed ones.
        seconds: that it took.
        gpu_share: of a GPU, meanwhile.
    """

    trial_id: str
    state: str
    status: str
    config: Mapping[str, Any]
    accuracy: float = math.nan
    loss: float = math.nan
    seen_accuracy: float = math.nan
    unseen_accuracy: float = math.nan
    n_pool: float = math.nan
    n_test_selected: float = math.nan
    n_trained_on: float = math.nan
    seconds: float = math.nan
    gpu_share: float = math.nan

    @property
    def protocol(self) -> str:
        """`sound` or `published`."""
        return str(self.config["protocol"])

    @property
    def seed(self) -> int:
        """Of the configuration."""
        return int(self.config["seed"])

    @property
    def gpu_seconds(self) -> float:
        """Seconds times the share of a GPU."""
        return self.seconds * self.gpu_share


def selection_trials(
    results: pd.DataFrame,
    plan: Plan | None = None,
    failures: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[SelectionTrial]:
    """Returns the trials of paper 2's kind that are scored on test images, by seed and trial_id.

    Args:
        results: finished trials, as `sweeps.store.store.load_results` gives them.
        plan: what should be there in the end; None: nothing is called missing.
        failures: records of trials without a result, by trial_id, as `Store.failures` gives them.
    """
    known = set(results["trial_id"])
    failed = failed_configs(failures or {}, known)
    missing = {k: v for k, v in (plan or {}).items() if k not in known and k not in failed}
    found = [
        *_finished(results),
        *_configured(failed, "failed", "failed"),
        *_configured(missing, "missing", ""),
    ]
    return sorted(found, key=lambda trial: (trial.seed, trial.trial_id))


def _finished(results: pd.DataFrame) -> Iterable[SelectionTrial]:
    is_ours = (
        (results["kind"] == SelectionConfig.kind)
        & results["phase"].isin(PHASES)
        & (results["eval_split"] == "test")
    )
    rows = results[is_ours.to_numpy(dtype=bool, na_value=False)].drop_duplicates("trial_id")
    names = ("trial_id", "status", *CONFIG_COLUMNS, *RESULT_COLUMNS)
    columns = [plain(rows[name]) for name in names]
    for values in zip(*columns, strict=True):
        row = dict(zip(names, values, strict=True))
        ok = row["status"] == "ok" and row["test_accuracy_mean"] is not None
        numbers = {
            attribute: math.nan if row[name] is None else float(row[name])
            for name, attribute in RESULT_COLUMNS.items()
        }
        yield SelectionTrial(
            trial_id=row["trial_id"],
            state="ok" if ok else "failed",
            status=row["status"],
            config={name: row[name] for name in CONFIG_COLUMNS},
            **numbers,
        )


def _configured(
    configs: Mapping[str, Mapping[str, Any]], state: str, status: str
) -> Iterable[SelectionTrial]:
    """Yields trials of which no more than the configuration is known, without those of paper 1."""
    resolved: dict[str, Mapping[str, Any] | None] = {}
    for trial_id, values in configs.items():
        # Seeds differ and nothing follows from them: each setting is resolved once.
        shared = {k: v for k, v in values.items() if k not in ("seed", "kind")}
        key = json.dumps(shared, sort_keys=True)
        if key not in resolved:
            resolved[key] = _resolved(shared) if _is_subset(values) else None
        full = resolved[key]
        if full is not None:
            config = {**full, "seed": values.get("seed", full["seed"])}
            yield SelectionTrial(trial_id=trial_id, state=state, status=status, config=config)


def _is_subset(values: Mapping[str, Any]) -> bool:
    # Records of failures do not name the kind; no other kind of trial has selectors.
    return bool(
        values.get("kind", SelectionConfig.kind) == SelectionConfig.kind and "selector" in values
    )


def _resolved(values: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Returns all fields of a configuration that is scored on test images; else None."""
    try:
        config = SelectionConfig.from_dict(values)
    except UserError:  # of another version of this code
        return None
    if config.eval_split != "test":
        return None
    fields = config.resolved().to_dict()
    return {k: ",".join(v) if isinstance(v, list) else v for k, v in fields.items()}
