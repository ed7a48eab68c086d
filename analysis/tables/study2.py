"""Study 2's table: what was printed, what its protocol gives here, and what a sound one gives.

One table for each setting: data set, sizes and training; one row an arm (a way of choosing the
training images), its fraction and, where an arm has several, its parameters.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.published import load_published
from analysis.statistics import holm, mean_interval, paired_difference
from analysis.tables.study1 import SIGNIFICANCE
from analysis.trials import PHASES

SETTING_COLUMNS = (
    *("dataset", "classes", "image_size", "test_fraction", "split_seed"),
    *("recipe", "network", "width", "depth", "epochs", "batch_size", "lr", "n_eval"),
    *("eval_epochs",),
)
"""What trials must share to be compared."""

OPTION_COLUMNS = (
    *("embedding", "feature_epochs", "pca_dim", "clusterer", "n_clusters", "grid_size"),
    *("n_local_trials", "medoid_algorithm", "medoid_init", "eps", "eps_quantile", "min_samples"),
    *("linkage", "threshold_quantile", "branching_factor", "augment_mode", "augment_copies"),
    *("equal_steps", "norm_statistics", "val_fraction"),
)
"""Hyper-parameters of an arm and of its training: what tells its variants apart."""

ARMS = (
    *("base", "random", "cluster_grid", "augmentation"),
    *("herding", "k_center", "nearest_center"),
)
"""In the order of rows: the study's, then others."""

BASELINE = ("random", 0.1)

PROTOCOLS = {"reproduced": "published", "sound": "sound"}

Key = tuple[str, Any, Any, tuple[tuple[str, Any], ...]]
"""Arm, fraction, images a class, options."""


@dataclass(frozen=True, kw_only=True)
class Study2Table:
    """One table in numbers.

    Attributes:
        setting: what all its trials share.
        distinguishing: those of them that tell it from the other tables.
        rows: one row an arm, fraction and variant; first the study's six in its order. Columns:
            `arm`, `fraction`, `ipc`, `options` (text, of variants), `baseline`,
            `published_accuracy`, `published_loss`, for `reproduced` and `sound` each `…_accuracy`
            with `…_low`, `…_high`, `…_seeds`, `…_failed`, `…_loss`, `…_images` (trained on),
            `…_seconds`, `…_gpu_seconds` (means over seeds), and `difference` from the baseline row
            (random, 10 %) under the sound protocol as in study 1's tables. Accuracies are
            fractions in [0, 1]; what does not exist is NaN, NA or empty.
        failed: how many trials failed, by status.
        members: the trials behind the rows, in their order and that of seeds: `trial_id`, `row`
            (position in `rows`), `arm`, `protocol`, `seed`, `state` (`ok` or `failed`).
    """

    setting: Mapping[str, Any]
    distinguishing: Mapping[str, Any]
    rows: pd.DataFrame
    failed: Mapping[str, int]
    members: pd.DataFrame


def build(results: pd.DataFrame) -> tuple[Study2Table, ...]:
    """Computes study 2's tables from finished trials, as `load_results` gives them."""
    trials = _trials(results)
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for trial in trials:
        groups.setdefault(tuple(trial[name] for name in SETTING_COLUMNS), []).append(trial)
    varying = [
        name
        for position, name in enumerate(SETTING_COLUMNS)
        if len({key[position] for key in groups}) > 1
    ]
    tables = []
    for key in sorted(groups, key=lambda key: [(v is None, str(v)) for v in key]):
        setting = dict(zip(SETTING_COLUMNS, key, strict=True))
        failed = Counter(trial["status"] for trial in groups[key] if trial["status"] != "ok")
        by_key = _by_key(groups[key])
        keys = _keys(by_key)
        table = Study2Table(
            setting=setting,
            distinguishing={n: setting[n] for n in varying if n not in ("dataset", "classes")},
            rows=_rows(by_key, keys),
            failed=dict(sorted(failed.items())),
            members=_members(by_key, keys),
        )
        tables.append(table)
    return tuple(tables)


def _trials(results: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns the trials that enter tables as plain values, each once, missing ones as None."""
    if "arm" not in results:
        return []
    is_ours = (
        (results["kind"] == "subset")
        & results["phase"].isin(PHASES)
        & (results["eval_split"] == "test")
    )
    rows = results[is_ours.to_numpy(dtype=bool, na_value=False)].drop_duplicates("trial_id")
    rows = rows.sort_values(["seed", "trial_id"], kind="stable")
    return [
        {str(name): _plain(value) for name, value in row.items()} for row in rows.to_dict("records")
    ]


def _plain(value: Any) -> Any:
    if hasattr(value, "__len__") and not isinstance(value, str):
        return ",".join(map(str, value))
    return None if value is None or value is pd.NA or value != value else value


def _printed() -> dict[Key, dict[str, float]]:
    """Returns the study's rows in its order, with what it printed."""
    printed: dict[Key, dict[str, float]] = {}
    numbers = load_published("study2")
    for (arm, fraction), lines in numbers.groupby(["method", "fraction"], sort=False):
        main: Key = (str(arm), None if arm == "base" else float(str(fraction)), None, ())
        printed[main] = dict(zip(lines["column"], lines["value"], strict=True))
    return printed


def _keys(by_key: Mapping[Key, Any]) -> list[Key]:
    """Returns the rows of a table: the study's in its order, then others."""
    studys = list(_printed())
    return studys + sorted((key for key in by_key if key not in studys), key=_row_order)


def _members(
    by_key: Mapping[Key, Sequence[Mapping[str, Any]]], keys: Sequence[Key]
) -> pd.DataFrame:
    records = [
        {
            "trial_id": trial["trial_id"],
            "row": position,
            "arm": trial["arm"],
            "protocol": trial["protocol"],
            "seed": trial["seed"],
            "state": "ok" if _is_scored(trial) else "failed",
        }
        for position, key in enumerate(keys)
        for trial in by_key.get(key, ())
    ]
    return pd.DataFrame(records, columns=["trial_id", "row", "arm", "protocol", "seed", "state"])


def _is_scored(trial: Mapping[str, Any]) -> bool:
    return trial["status"] == "ok" and trial["test_accuracy_mean"] is not None


def _rows(by_key: Mapping[Key, Sequence[Mapping[str, Any]]], keys: Sequence[Key]) -> pd.DataFrame:
    printed = _printed()
    baseline: Key = (*BASELINE, None, ())
    records = []
    for key in keys:
        arm, fraction, ipc, options = key
        own = by_key.get(key, [])
        theirs = [] if key == baseline else by_key.get(baseline, [])
        records.append(
            {
                "arm": arm,
                "fraction": math.nan if fraction is None else fraction,
                "ipc": ipc,
                "options": _options_text(options),
                "baseline": key == baseline,
                "published_accuracy": printed.get(key, {}).get("accuracy", math.nan),
                "published_loss": printed.get(key, {}).get("loss", math.nan),
                **_protocol_columns(own, "reproduced"),
                **_protocol_columns(own, "sound"),
                **_difference_columns(own, theirs),
            }
        )
    rows = pd.DataFrame(records)
    rows["p_holm"] = holm(rows["p"].to_numpy(dtype=float))
    survives = (rows["p_holm"] <= SIGNIFICANCE).astype("boolean")
    rows["survives_holm"] = survives.mask(rows["p_holm"].isna())
    counts = ("reproduced_seeds", "reproduced_failed", "sound_seeds", "sound_failed", "ipc")
    return rows.astype(dict.fromkeys((*counts, "n_pairs"), "Int64"))


def _by_key(trials: Sequence[Mapping[str, Any]]) -> dict[Key, list[Mapping[str, Any]]]:
    """Returns trials by row. The commonest options of an arm are its main row, without options.

    So are the commonest under the published protocol, where options mean something else.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for trial in trials:
        key = (trial["arm"], trial["fraction"], trial.get("ipc"), trial["protocol"])
        groups.setdefault(key, []).append(trial)
    by_key: dict[Key, list[Mapping[str, Any]]] = {}
    for (arm, fraction, ipc, _), own in groups.items():
        found = [tuple((n, trial[n]) for n in OPTION_COLUMNS) for trial in own]
        counts = Counter(found)
        main = min(counts, key=lambda options: (-counts[options], str(options)))
        for trial, options in zip(own, found, strict=True):
            different = tuple(
                pair for pair, usual in zip(options, main, strict=True) if pair != usual
            )
            by_key.setdefault((arm, fraction, ipc, different), []).append(trial)
    return by_key


def _row_order(key: Key) -> tuple[Any, ...]:
    arm, fraction, ipc, options = key
    position = ARMS.index(arm) if arm in ARMS else len(ARMS)
    return position, arm, -(fraction or 2), ipc or 0, str(options)


def _options_text(options: Iterable[tuple[str, Any]]) -> str:
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in options
    )


def _protocol_columns(trials: Sequence[Mapping[str, Any]], prefix: str) -> dict[str, Any]:
    own = [trial for trial in trials if trial["protocol"] == PROTOCOLS[prefix]]
    ok = [trial for trial in own if _is_scored(trial)]
    interval = mean_interval([trial["test_accuracy_mean"] for trial in ok])
    numbers = {
        "accuracy": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "seeds": len(ok) if own else pd.NA,
        "failed": len(own) - len(ok) if own else pd.NA,
        "loss": _mean(trial["test_loss_mean"] for trial in ok),
        "images": _mean(trial["n_trained_on"] for trial in ok),
        "seconds": _mean(trial["total_seconds"] for trial in ok),
        "gpu_seconds": _mean(
            None
            if trial["total_seconds"] is None or trial["gpu_share"] is None
            else trial["total_seconds"] * trial["gpu_share"]
            for trial in ok
        ),
    }
    return {f"{prefix}_{name}": value for name, value in numbers.items()}


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else math.nan


def _difference_columns(
    trials: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    ours, theirs = (
        {
            trial["seed"]: trial["test_accuracy_mean"]
            for trial in own
            if trial["protocol"] == "sound" and _is_scored(trial)
        }
        for own in (trials, baseline)
    )
    seeds = sorted(ours.keys() & theirs.keys())
    found = paired_difference([ours[s] for s in seeds], [theirs[s] for s in seeds])
    return {
        "difference": found.mean,
        "difference_low": found.low,
        "difference_high": found.high,
        "n_pairs": found.n or pd.NA,
        "p": found.p,
    }
