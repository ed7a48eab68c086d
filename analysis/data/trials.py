"""Paper 1's trials as tables and figures want them: finished, failed and planned in one frame.

A trial belongs to a setting (data set, images a class, embedding and all sizes: what trials must
share to be compared), in it to a row (method, its hyper-parameters, weights), and in that to a
protocol and a seed. Search trials take no part: their hyper-parameters were chosen by their scores.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.data.methods import Options, method_of, weights_of
from distill.config.distillation import (
    CLUSTERER_OPTION_NAMES,
    CLUSTERER_OPTIONS,
    Config,
    DistillationConfig,
    field_type,
    fields_of,
)
from distill.config.selection import KINDS
from distill.errors import UserError

PHASES = ("grid", "confirm")
"""Phases of a sweep whose trials enter tables."""

CONFIG_COLUMNS = tuple(DistillationConfig().to_dict())

ROW_COLUMNS = ("clusterer", *CLUSTERER_OPTION_NAMES, "weights", "protocol", "seed")
"""What may differ between the trials of one table."""

SETTING_COLUMNS = tuple(name for name in CONFIG_COLUMNS if name not in ROW_COLUMNS)
"""What must not."""

_LIST_COLUMNS = {
    name
    for config in KINDS.values()
    for name in fields_of(config)
    if field_type(name, config)[0] is tuple
}

Plan = Mapping[str, Mapping[str, Any]]
"""Trials that should be there in the end: trial_id → what `to_dict` of its configuration gives.

With its `kind`, unless it is a distillation.

A configuration takes some time to be built and named, so only those that are missing are.
"""

Objects = NDArray[np.object_]
"""(n,) values of any type."""

RESULT_COLUMNS = (
    "test_accuracy_mean",
    "test_accuracy_best_mean",
    "matching_loss",
    "total_seconds",
    "gpu_share",
)


def plan_of(configs: Iterable[Config]) -> Plan:
    """Returns configurations as a plan."""
    return {config.trial_id: {"kind": config.kind, **config.to_dict()} for config in configs}


def paper1_trials(
    results: pd.DataFrame,
    plan: Plan | None = None,
    failures: Mapping[str, Mapping[str, Any]] | None = None,
) -> pd.DataFrame:
    """Returns the trials of paper 1's kind that are scored on test images, one row a trial.

    Args:
        results: finished trials, as `sweeps.load_results` gives them; of a trial that is
            there twice (several stores merged) the first counts.
        plan: what should be there in the end; None: nothing is called missing.
        failures: records of trials without a result, by trial_id, as `Store.failures` gives them.

    Returns:
        A frame in an order that does not depend on that of the results, with the columns
        `trial_id`; `state` (`ok`, `failed`, `missing`) and `status` (the row's, `failed` for one
        without a row, empty for a missing one); `SETTING_COLUMNS`, `protocol`, `seed`; `method`,
        `options` (tuples, see `analysis.data.methods.Options`), `weights` (`T`, `F`, `inert`);
        `accuracy` and `accuracy_best` (after the last epoch and best of four tests, fractions in
        [0, 1], NaN unless `ok`), `matching_loss`, `seconds`, `gpu_seconds`, `fingerprint`.
    """
    finished = _finished(results)
    known = set(results["trial_id"])
    failed = _configured(failed_configs(failures or {}, known), "failed")
    known |= set(failed["trial_id"])
    missing = _configured(
        {trial_id: values for trial_id, values in (plan or {}).items() if trial_id not in known},
        "missing",
    )
    parts = [part for part in (finished, failed, missing) if len(part)]
    trials = pd.concat(parts, ignore_index=True) if parts else finished
    trials = trials.reindex(columns=finished.columns)
    trials = trials.sort_values(["seed", "trial_id"], kind="stable", ignore_index=True)
    return _with_row_names(trials)


def _finished(results: pd.DataFrame) -> pd.DataFrame:
    of_ours = (
        (results["kind"] == "distillation")
        & results["phase"].isin(PHASES)
        & (results["eval_split"] == "test")
    )
    rows = results[of_ours.to_numpy(dtype=bool, na_value=False)].drop_duplicates("trial_id")
    numbers = {name: _floats(rows[name]) for name in RESULT_COLUMNS}
    ok = (rows["status"] == "ok").to_numpy(dtype=bool, na_value=False)
    ok = ok & ~np.isnan(numbers["test_accuracy_mean"])
    columns: dict[str, Any] = {name: rows[name].to_numpy(dtype=object) for name in CONFIG_COLUMNS}
    return pd.DataFrame(
        {
            "trial_id": rows["trial_id"].to_numpy(dtype=object),
            "state": np.where(ok, "ok", "failed").astype(object),
            "status": rows["status"].to_numpy(dtype=object),
            **columns,
            "accuracy": np.where(ok, numbers["test_accuracy_mean"], np.nan),
            "accuracy_best": np.where(ok, numbers["test_accuracy_best_mean"], np.nan),
            "matching_loss": numbers["matching_loss"],
            "seconds": numbers["total_seconds"],
            "gpu_seconds": numbers["total_seconds"] * numbers["gpu_share"],
            "fingerprint": rows["fingerprint"].to_numpy(dtype=object),
        }
    )


def _floats(values: pd.Series) -> np.ndarray[Any, np.dtype[np.float64]]:
    return pd.to_numeric(values).to_numpy(dtype=np.float64, na_value=np.nan)


def failed_configs(
    failures: Mapping[str, Mapping[str, Any]], known: set[str]
) -> dict[str, Mapping[str, Any]]:
    """Returns the configurations of recorded failures that would have entered a table."""
    return {
        trial_id: record["config"]
        for trial_id, record in failures.items()
        if trial_id not in known
        and record.get("phase", "grid") in PHASES
        and isinstance(record.get("config"), dict)
        and record["config"]
    }


def _configured(configs: Mapping[str, Mapping[str, Any]], state: str) -> pd.DataFrame:
    """Returns trials of which no more than the configuration is known.

    Left out are those of other papers and of other versions of this code, with which there is
    nothing to compare, and those that are not scored on test images.
    """
    rows = []
    resolved: dict[str, Mapping[str, Any] | None] = {}
    for trial_id, values in configs.items():
        # Seeds differ and nothing follows from them: each setting is resolved once.
        shared = {k: v for k, v in values.items() if k != "seed"}
        key = json.dumps(shared, sort_keys=True)
        if key not in resolved:
            resolved[key] = _resolved(shared)
        full = resolved[key]
        if full is not None:
            seed = {"seed": values.get("seed", full["seed"])}
            rows.append({"trial_id": trial_id, "state": state, **full, **seed})
    names = ["trial_id", "state", "status", *CONFIG_COLUMNS]
    frame = pd.DataFrame(rows, columns=names, dtype=object)
    frame["status"] = "failed" if state == "failed" else ""
    return frame


def _resolved(values: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Returns all fields of a configuration of paper 1 that is scored on test images; else None."""
    if values.get("kind", "distillation") != "distillation":
        return None
    try:
        config = DistillationConfig.from_dict({k: v for k, v in values.items() if k != "kind"})
    except UserError:
        return None
    return config.resolved().to_dict() if config.eval_split == "test" else None


def _with_row_names(trials: pd.DataFrame) -> pd.DataFrame:
    """Adds method, options and the tables' weights; settings become plain values or None."""
    columns = {name: plain(trials[name]) for name in CONFIG_COLUMNS}
    protocols = columns["protocol"]
    derived = {
        "method": _each(method_of, columns["clusterer"], protocols),
        "options": _options(columns),
        "weights": _each(weights_of, columns["weights"], protocols),
    }
    kept = {name: columns[name] for name in (*SETTING_COLUMNS, "protocol", "seed")}
    rest = "trial_id state status accuracy accuracy_best matching_loss seconds gpu_seconds".split()
    rest.append("fingerprint")
    added = pd.DataFrame(kept | derived, index=trials.index, dtype=object)
    return pd.concat([trials[rest], added], axis="columns")


def plain(values: pd.Series) -> Objects:
    """Returns values that compare and hash: lists as comma-separated text, missing ones as None."""
    if values.name in _LIST_COLUMNS:
        values = values.map(",".join, na_action="ignore")
    # Few values differ: each is looked at once.
    codes, unique = pd.factorize(values, use_na_sentinel=False)
    plain = [None if pd.isna(value) else value for value in unique.tolist()]
    return np.array(plain, dtype=object)[codes]


def _each(function: Callable[[Any, Any], Any], first: Objects, second: Objects) -> list[Any]:
    """Returns a function's values of pairs; of equal pairs it is asked once."""
    known = {pair: function(*pair) for pair in set(zip(first, second, strict=True))}
    return [known[pair] for pair in zip(first, second, strict=True)]


def _options(columns: Mapping[str, Objects]) -> list[Options]:
    """Returns the hyper-parameters of every trial's clusterer that are not None."""
    given = zip(*(columns[name] for name in CLUSTERER_OPTION_NAMES), strict=True)
    keys = list(zip(columns["clusterer"], given, strict=True))
    options = {}
    for clusterer, values in set(keys):
        by_name = dict(zip(CLUSTERER_OPTION_NAMES, values, strict=True))
        options[clusterer, values] = tuple(
            (name, by_name[name])
            for name in CLUSTERER_OPTIONS.get(clusterer, ())
            if by_name[name] is not None
        )
    return [options[key] for key in keys]
