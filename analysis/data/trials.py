"""Trials of any kind as tables and figures need them: finished, failed and planned.

Search trials are left out: their hyper-parameters were chosen by their scores. So are trials that
are not scored on test images.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.data.configs import plain_values
from distill.config.base import NEUTRAL_VALUES, Config
from distill.errors import UserError
from distill.kinds import COMMON_COLUMNS, KINDS, Kind, config_from_dict

PHASES = ("grid", "confirm")
"""Phases of a sweep whose trials enter tables."""

Plan = Mapping[str, Mapping[str, Any]]
"""Planned trials: trial_id → kind and fields of the configuration.

Building a configuration takes a millisecond, so it is built for missing trials only.
"""

Objects = NDArray[np.object_]
"""(n,) values of any type."""

COSTS = ("seconds", "gpu_seconds", "clustering_seconds", "evaluation_seconds")
"""Numbers of every trial that are no scores."""

PROVENANCE = (
    *("device", "processor", "precision", "python_version", "torch_version"),
    *("torchvision_version", "numpy_version", "numba_version"),
    *("scikit_learn_version", "git_commit"),
)
"""Columns in which compared trials may differ without being different experiments."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRecord:
    """A trial of any kind.

    Attributes:
        trial_id: its identity.
        state: `ok`, `failed` or `missing` (planned, without a result).
        status: status of its row; `failed` without a row, empty for a missing trial.
        seed: trials of two rows of a table are paired by it.
        config: all other fields and options of the resolved configuration, as plain values: lists
            as comma-separated text, None where there is no value. Shared by equal configurations.
        numbers: scores by the names of `score_columns`, and `COSTS`; NaN where there is none.
            Accuracies are fractions in [0, 1].
        fingerprint: of the images it ran on; None where that is unknown.
        resolution: step between two possible accuracies: 1 / (test images · networks); NaN where
            that is unknown.
        n_images: training and test images; None where that is unknown.
        provenance: values of `PROVENANCE`. Shared by trials with equal ones.
        network_scores: the column of that name, see `network_accuracies`; None where it is null.
    """

    trial_id: str
    state: str
    status: str
    seed: int
    config: Mapping[str, Any]
    numbers: Mapping[str, float]
    fingerprint: str | None = None
    resolution: float = math.nan
    n_images: int | None = None
    provenance: tuple[Any, ...] = ()
    network_scores: str | None = None

    def network_accuracies(self, score: str = "accuracy") -> tuple[float, ...]:
        """Returns the accuracy of every network of the trial; empty where it is not known.

        Args:
            score: `accuracy` or `accuracy_best`, as in `numbers`.
        """
        name = {"accuracy": "accuracies", "accuracy_best": "best_accuracies"}[score]
        scores = json.loads(self.network_scores or "{}").get(self.config.get("network")) or {}
        return tuple(scores.get(name) or ())

    @property
    def protocol(self) -> str:
        """`sound` or `published`."""
        return str(self.config["protocol"])

    @property
    def accuracy(self) -> float:
        """After the last epoch, on test images, a fraction in [0, 1]."""
        return self.numbers["accuracy"]


def score_columns(kind: Kind) -> dict[str, str]:
    """Returns the scores of a kind of trial: name → column of the results.

    They are means over the networks of a trial on test images (`test_accuracy_mean` is
    `accuracy`) and the other numbers of the kind.
    """
    means = [name for name in COMMON_COLUMNS if name.startswith("test_") and name.endswith("_mean")]
    numbers = [n for n, t in kind.result_columns.items() if t in (int, float) and "_std" not in n]
    return {n.removeprefix("test_").removesuffix("_mean"): n for n in [*means, *numbers]}


def plan_of(configs: Iterable[Config]) -> dict[str, Mapping[str, Any]]:
    """Returns configurations as a plan."""
    return {config.trial_id: {"kind": config.kind, **config.to_dict()} for config in configs}


def read_trials(
    kind: str,
    results: pd.DataFrame,
    plan: Plan | None = None,
    failures: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[TrialRecord]:
    """Returns the trials of a kind that are scored on test images, by seed and trial_id.

    Args:
        kind: name of a kind of trial.
        results: finished trials, as `sweeps.store.store.load_results` returns them; of a trial
            that occurs twice (several stores merged) the first counts.
        plan: planned trials; None: no trial is called missing.
        failures: records of trials without a result, by trial_id, as `Store.failures` returns them.

    Raises:
        UserError: there is no such kind.
    """
    known = set(results["trial_id"])
    failed = _failed_configs(failures or {}, known)
    missing = {k: v for k, v in (plan or {}).items() if k not in known and k not in failed}
    found = [
        *_finished(KINDS[kind], results),
        *_configured(KINDS[kind], failed, "failed", "failed"),
        *_configured(KINDS[kind], missing, "missing", ""),
    ]
    return sorted(found, key=lambda trial: (trial.seed, trial.trial_id))


def _finished(kind: Kind, results: pd.DataFrame) -> Iterator[TrialRecord]:
    enters_tables = (
        (results["kind"] == kind.name)
        & results["phase"].isin(PHASES)
        & (results["eval_split"] == "test")
    )
    rows = results[enters_tables.to_numpy(dtype=bool, na_value=False)].drop_duplicates("trial_id")
    if not len(rows):
        return
    numbers, states = _numbers(kind, rows), rows["status"].to_numpy(dtype=object)
    scores = list(zip(*numbers.values(), strict=True))
    n_test = _floats(rows, "n_test")
    n_images = n_test + _floats(rows, "n_train")
    for trial_id, status, seed, config, values, fingerprint, resolution, n, made, networks in zip(
        rows["trial_id"].tolist(),
        states.tolist(),
        rows["seed"].astype(int).tolist(),
        _configs(kind, rows),
        scores,
        plain(rows["fingerprint"]).tolist(),
        _resolutions(n_test, _floats(rows, "n_networks")),
        n_images.tolist(),
        _provenances(rows),
        _strings(rows, "network_scores"),
        strict=True,
    ):
        row = dict(zip(numbers, values, strict=True))
        yield TrialRecord(
            trial_id=trial_id,
            state="ok" if status == "ok" and not math.isnan(row["accuracy"]) else "failed",
            status=status,
            seed=seed,
            config=config,
            numbers=row,
            fingerprint=fingerprint,
            resolution=resolution,
            n_images=None if math.isnan(n) else int(n),
            provenance=made,
            network_scores=networks,
        )


def _configs(kind: Kind, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns the configuration of every row but for the seed, equal ones as one object.

    Rows of before a field or option was added have its neutral value: what trials did before.
    """
    names = (name for name in kind.config_columns if name != "seed")
    columns = {name: plain_column(kind, rows, name) for name in names}
    added = [name for name in NEUTRAL_VALUES if name in columns]
    shared = _shared_values(columns)
    for values in {id(values): values for values in shared}.values():
        lacking = [name for name in added if values[name] is None]
        if lacking:
            has = _declared_for(kind, values)
            values |= {name: NEUTRAL_VALUES[name] for name in lacking if name in has}
    return _merged(shared)


def _declared_for(kind: Kind, values: Mapping[str, Any]) -> set[str]:
    """Returns the fields and options of a configuration; none for components of other versions."""
    try:
        return {*kind.config.static_fields(), *kind.config.applicable(values)}
    except UserError:
        return set()


def _merged(configs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the same values, one object for all that are equal."""
    first: dict[tuple[Any, ...], dict[str, Any]] = {}
    unique = {id(values): values for values in configs}
    of = {key: first.setdefault(tuple(v.values()), v) for key, v in unique.items()}
    return [of[id(values)] for values in configs]


def _resolutions(n_test: NDArray[np.float64], n_networks: NDArray[np.float64]) -> list[float]:
    n = n_test * n_networks
    found: list[float] = np.divide(1.0, n, out=np.full_like(n, np.nan), where=n > 0).tolist()
    return found


def _provenances(rows: pd.DataFrame) -> list[tuple[Any, ...]]:
    columns = {
        name: plain(rows[name]) if name in rows else np.full(len(rows), None, dtype=object)
        for name in PROVENANCE
    }
    shared = _shared_values(columns)
    tuples = {id(values): tuple(values.values()) for values in shared}
    return [tuples[id(values)] for values in shared]


def _strings(rows: pd.DataFrame, column: str) -> list[str | None]:
    if column not in rows:
        return [None] * len(rows)
    values: list[str | None] = (
        rows[column].astype(object).where(rows[column].notna(), None).tolist()
    )
    return values


def _numbers(kind: Kind, rows: pd.DataFrame) -> dict[str, list[float]]:
    """Returns scores and costs of rows by name; scores are NaN unless the status is `ok`."""
    ok = (rows["status"] == "ok").to_numpy(dtype=bool, na_value=False)
    numbers = {
        name: np.where(ok, _floats(rows, column), np.nan)
        for name, column in score_columns(kind).items()
    }
    numbers["seconds"] = _floats(rows, "total_seconds")
    numbers["gpu_seconds"] = numbers["seconds"] * _floats(rows, "gpu_share")
    for name in ("clustering_seconds", "evaluation_seconds"):
        numbers[name] = _floats(rows, name)
    return {name: values.tolist() for name, values in numbers.items()}


def _floats(rows: pd.DataFrame, column: str) -> NDArray[np.float64]:
    if column not in rows:
        return np.full(len(rows), np.nan)
    return pd.to_numeric(rows[column]).to_numpy(dtype=np.float64, na_value=np.nan)


def _shared_values(columns: Mapping[str, Objects]) -> list[dict[str, Any]]:
    """Returns the values of every row by column, one object for all rows with equal ones."""
    n_rows = len(next(iter(columns.values())))
    codes = [pd.factorize(values, use_na_sentinel=False)[0] for values in columns.values()]
    varying = [code for code in codes if code.max(initial=0) > 0]
    if not varying:
        shared = {name: values[0] for name, values in columns.items()}
        return [shared] * n_rows
    _, first, inverse = np.unique(
        np.column_stack(varying), axis=0, return_index=True, return_inverse=True
    )
    found = [{name: values[i] for name, values in columns.items()} for i in first.tolist()]
    return [found[code] for code in inverse.reshape(-1).tolist()]


def plain_column(kind: Kind, rows: pd.DataFrame, name: str) -> Objects:
    """Returns a column of a configuration as plain values, None where they are missing.

    Integers that pandas holds as floats, because others are missing, are integers again.
    """
    if name not in rows:
        return np.full(len(rows), None, dtype=object)
    column_type = kind.config_columns[name]
    values = rows[name]
    if column_type == list[str]:
        values = values.map(",".join, na_action="ignore")
    return plain(values, int if column_type is int else None)


def plain(values: pd.Series, convert: type | None = None) -> Objects:
    """Returns values that compare and hash, missing ones as None.

    Args:
        values: to look at; each different one is looked at once.
        convert: type of those that are not missing; None: as they are.
    """
    codes, unique = pd.factorize(values, use_na_sentinel=False)
    found = [
        None if pd.isna(value) else value if convert is None else convert(value)
        for value in unique.tolist()
    ]
    return np.array(found, dtype=object)[codes]


def _failed_configs(
    failures: Mapping[str, Mapping[str, Any]], known: set[str]
) -> dict[str, Mapping[str, Any]]:
    """Returns the configurations of recorded failures that would have entered a table."""
    return {
        trial_id: config_of_failure(record)
        for trial_id, record in failures.items()
        if trial_id not in known and record.get("phase", "grid") in PHASES
    }


def config_of_failure(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the configuration in the record of a failure, with its kind.

    Records hold the fields of a configuration but need not name its kind: it is the one that has
    all of these fields, and no others beside its options. The kind is None where there is none.
    """
    values = record.get("config") or {}
    kind = record.get("kind") or next(
        (name for name, kind in KINDS.items() if _fits(kind, values)), None
    )
    return {"kind": kind, **values}


def _fits(kind: Kind, values: Mapping[str, Any]) -> bool:
    fields, declared = kind.config.static_fields(), kind.config.declared_fields()
    return fields.keys() <= values.keys() <= declared.keys()


def _configured(
    kind: Kind, configs: Mapping[str, Mapping[str, Any]], state: str, status: str
) -> Iterator[TrialRecord]:
    """Yields the trials of a kind of which only the configuration is known.

    Configurations of other versions of the code are left out: there is no row to compare with.
    """
    names = (*score_columns(kind), *COSTS)
    unknown = dict.fromkeys(names, math.nan)
    resolved: dict[str, tuple[dict[str, Any], int] | None] = {}
    for trial_id, values in configs.items():
        # Seeds differ and no other value depends on them: each setting is resolved once.
        shared = {k: v for k, v in values.items() if k != "seed"}
        try:
            key = json.dumps(shared, sort_keys=True)
        except RecursionError:  # nested deeper than any configuration
            continue
        if key not in resolved:
            resolved[key] = _resolved(kind, shared)
        found, seed = resolved[key], values.get("seed")
        if found is not None and isinstance(seed, int | None):
            config, default_seed = found
            yield TrialRecord(
                trial_id=trial_id,
                state=state,
                status=status,
                seed=default_seed if seed is None else seed,
                config=config,
                numbers=unknown,
            )


def _resolved(kind: Kind, values: Mapping[str, Any]) -> tuple[dict[str, Any], int] | None:
    """Returns fields and seed of a configuration of the kind that is scored on test images.

    None for any other configuration.
    """
    if values.get("kind") != kind.name:
        return None
    try:
        config = config_from_dict(values)
    except UserError:
        return None
    if config.eval_split != "test":
        return None
    resolved = config.resolve()
    fields = {**dict.fromkeys(kind.config_columns), **plain_values(resolved.to_dict())}
    return {name: value for name, value in fields.items() if name != "seed"}, resolved.seed
