"""Study 1's tables: what was printed, what its protocol gives here, and what a sound one gives.

`build` computes numbers; `sheet` makes a printed table of them. One table for each setting: data
set, images a class, embedding, and everything else that trials must share to be compared.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from analysis.methods import (
    BASELINE,
    STUDY1_ROWS,
    WEIGHTS,
    Options,
    default_options,
    label,
    method_order,
    options_text,
    study_options,
)
from analysis.published import load_published
from analysis.statistics import holm, mean_interval, paired_difference
from analysis.trials import SETTING_COLUMNS, study1_trials
from distill.config import DATASETS, TrialConfig

PROTOCOLS = {"reproduced": ("published", "accuracy_best"), "sound": ("sound", "accuracy")}
"""Prefix of a protocol's columns → its name, and the score that its tables show.

The study printed the best of four tests on the test images, a sound table the last one.
"""

SIGNIFICANCE = 0.05
"""Chance of even one false claim in a table."""

EMBEDDINGS = ("features", "gradients", "predictions", "pixels")

_FLOATS = ("accuracy", "low", "high", "loss", "seconds", "gpu_seconds")


@dataclass(frozen=True, kw_only=True)
class Study1Table:
    """One table in numbers.

    Attributes:
        setting: what all its trials share, by field of the configuration.
        distinguishing: those of them that tell it from other tables of the same data set, ipc and
            embedding; mostly empty.
        rows: one row a method, its hyper-parameters and weights. First the study's nine in its
            order, then what else there is in the registry's order. Columns: `dataset`, `ipc`,
            `embedding`, `method`, `weights` (`T`, `F`, `inert`), `label`, `baseline` (whether it
            is the one that others are compared with); `published_accuracy`, `published_loss`; for
            `reproduced` and `sound` each `…_parameters`, `…_accuracy` (mean over seeds) with its
            t interval `…_low`, `…_high`, `…_seeds` (how many), `…_failed`, `…_missing` (planned
            seeds without a result), `…_loss`, `…_seconds`, `…_gpu_seconds` (means over seeds);
            `difference` from the baseline row under the sound protocol, paired by seed, with
            `difference_low`, `difference_high`, `n_pairs`, `p`, `p_holm` (corrected over the rows)
            and `survives_holm`. Accuracies are fractions in [0, 1]. What does not exist is NaN,
            NA or the empty text.
        failed: how many trials of the table failed, by status.
        n_fingerprints: different sets of images that the trials ran on; more than 1 is a warning.
    """

    setting: Mapping[str, Any]
    distinguishing: Mapping[str, Any]
    rows: pd.DataFrame
    failed: Mapping[str, int]
    n_fingerprints: int


@dataclass(frozen=True, kw_only=True)
class Study1:
    """All tables of study 1.

    Attributes:
        tables: by data set, ipc and embedding; each with at least one finished or failed trial.
        unstarted: settings of which trials are planned and none is done, with how many.
    """

    tables: tuple[Study1Table, ...]
    unstarted: tuple[tuple[Mapping[str, Any], int], ...]


def build(
    results: pd.DataFrame,
    plan: Iterable[TrialConfig] = (),
    failures: Mapping[str, Mapping[str, Any]] | None = None,
) -> Study1:
    """Computes study 1's tables from results.

    Args:
        results: finished trials, as `sweeps.store.load_results` gives them, of any phase and kind.
        plan: what should be there in the end; without it nothing is called missing.
        failures: records of trials without a result, by trial_id, as `Store.failures` gives them.
    """
    tables, unstarted = [], []
    for setting, distinguishing, trials in _settings(study1_trials(results, plan, failures)):
        if (trials["state"] == "missing").all():
            unstarted.append((dict(setting), len(trials)))
            continue
        failed = trials.loc[trials["state"] == "failed", "status"].value_counts(sort=False)
        table = Study1Table(
            setting=setting,
            distinguishing=distinguishing,
            rows=_rows(setting, trials),
            failed={str(status): int(failed[status]) for status in sorted(failed.index)},
            n_fingerprints=int(trials["fingerprint"].nunique()),
        )
        tables.append(table)
    return Study1(tables=tuple(tables), unstarted=tuple(unstarted))


def _settings(
    trials: pd.DataFrame,
) -> list[tuple[dict[str, Any], dict[str, Any], pd.DataFrame]]:
    """Returns every setting, what tells it from its neighbours, and its trials; in order."""
    main = ["dataset", "ipc", "embedding"]
    varying = [c for c in SETTING_COLUMNS if c not in main and trials[c].nunique(dropna=False) > 1]
    groups = _groups(trials, [*main, *varying]).values()
    found = [({c: own[c].iloc[0] for c in SETTING_COLUMNS}, own) for own in groups]
    found.sort(key=lambda pair: _setting_order(pair[0], varying))
    result = []
    for setting, own in found:
        neighbours = [s for s, _ in found if all(s[c] == setting[c] for c in main)]
        names = [c for c in varying if len({s[c] for s in neighbours}) > 1]
        result.append((setting, {c: setting[c] for c in names}, own))
    return result


def _setting_order(setting: Mapping[str, Any], varying: Sequence[str]) -> tuple[Any, ...]:
    dataset, embedding = setting["dataset"], setting["embedding"]
    known = DATASETS.index(dataset) if dataset in DATASETS else len(DATASETS)
    space = EMBEDDINGS.index(embedding) if embedding in EMBEDDINGS else len(EMBEDDINGS)
    rest = [(setting[c] is None, "" if setting[c] is None else setting[c]) for c in varying]
    # None sorts after everything, and is never compared with it.
    return known, dataset, setting["ipc"], space, embedding, *rest


def _rows(setting: Mapping[str, Any], trials: pd.DataFrame) -> pd.DataFrame:
    trials, main_options = _with_rows(trials)
    of_row = _groups(trials, ["method", "row_options", "weights"])
    keys = _row_keys(of_row, main_options)
    labels = _labels(keys)
    baseline_key = (BASELINE[0], main_options.get(BASELINE[0], ()), BASELINE[1])
    baseline = of_row.get(baseline_key)
    published = _published(setting["ipc"])
    records = []
    for key in keys:
        own = of_row.get(key)
        accuracy, loss = (math.nan, math.nan)
        if key[1] == main_options.get(key[0], ()):
            accuracy, loss = published.get((key[0], key[2]), (math.nan, math.nan))
        records.append(
            {
                **{name: setting[name] for name in ("dataset", "ipc", "embedding")},
                "method": key[0],
                "weights": key[2],
                "label": labels[key],
                "baseline": key == baseline_key,
                "published_accuracy": accuracy,
                "published_loss": loss,
                **_protocol_columns(own, "reproduced"),
                **_protocol_columns(own, "sound"),
                **_difference_columns(own, None if key == baseline_key else baseline),
            }
        )
    return _with_holm(pd.DataFrame(records))


RowKey = tuple[str, Options, str]
"""Method, hyper-parameters, weights."""


def _with_rows(trials: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Options]]:
    """Adds `row_options`, the hyper-parameters that a trial's row goes by.

    Under the published protocol most methods have no hyper-parameters, and DBSCAN has the study's:
    their trials belong to the method's main row, whose options are returned, too.
    """
    keys = list(zip(trials["method"], trials["protocol"], trials["options"], strict=True))
    sound = {(method, options) for method, protocol, options in keys if protocol == "sound"}
    main_options = {}
    for method, own in sorted(_groups(trials, "method").items()):
        under_sound = own[own["protocol"] == "sound"]
        main_options[method] = _main_options(method, under_sound if len(under_sound) else own)
    row_options = []
    for method, protocol, options in keys:
        is_studys = options in ((), study_options(method)) and (method, options) not in sound
        joins_main = protocol == "published" and is_studys
        row_options.append(main_options[method] if joins_main else options)
    column = pd.Series(row_options, index=trials.index, dtype=object)
    return trials.assign(row_options=column), main_options


def _groups(trials: pd.DataFrame, by: str | list[str]) -> dict[Any, pd.DataFrame]:
    """Returns the trials by the values of some columns, in their order."""
    indices = trials.groupby(by, dropna=False, sort=False).indices
    return {key: trials.iloc[np.sort(positions)] for key, positions in indices.items()}


def _main_options(method: str, trials: pd.DataFrame) -> Options:
    """Returns the hyper-parameters that stand for a method in the study's rows.

    The study's own where there are any, else the registry's, else those of most results.
    """
    found = set(trials["options"])
    for options in (study_options(method), default_options(method)):
        if options in found:
            return options
    counts = trials[trials["state"] == "ok"]["options"].value_counts()
    return min(found, key=lambda options: (-int(counts.get(options, 0)), options))


def _row_keys(found: Iterable[Any], main_options: Mapping[str, Options]) -> list[RowKey]:
    """Returns the rows in their order: the study's nine, whether found or not, then the others."""
    first: list[RowKey] = [(m, main_options.get(m, ()), weights) for m, weights in STUDY1_ROWS]
    others = sorted(
        (key for key in found if key not in first),
        key=lambda key: (method_order(key[0]), key[1], WEIGHTS.index(key[2])),
    )
    return first + others


def _labels(keys: Sequence[RowKey]) -> dict[RowKey, str]:
    """Returns what is printed for each row; several variants of a method show what differs."""
    variants: dict[str, set[Options]] = {}
    for method, options, _ in keys:
        variants.setdefault(method, set()).add(options)
    labels = {}
    for method, options, weights in keys:
        shared = set.intersection(*(set(variant) for variant in variants[method]))
        text = options_text(tuple(pair for pair in options if pair not in shared))
        labels[method, options, weights] = f"{label(method)} ({text})" if text else label(method)
    return labels


@cache
def _published(ipc: int) -> dict[tuple[str, str], tuple[float, float]]:
    """Returns accuracy and loss that the study printed, by method and weights."""
    numbers = load_published("study1")
    by_column = {
        column: dict(
            zip(zip(own["method"], own["weights"], strict=True), own["value"], strict=True)
        )
        for column, own in numbers[numbers["ipc"] == ipc].groupby("column")
    }
    if not by_column:
        return {}
    return {key: (value, by_column["loss"][key]) for key, value in by_column["accuracy"].items()}


def _protocol_columns(trials: pd.DataFrame | None, prefix: str) -> dict[str, Any]:
    """Returns the numbers of a row under one protocol."""
    protocol, score = PROTOCOLS[prefix]
    numbers: dict[str, Any] = dict.fromkeys(_FLOATS, math.nan)
    numbers |= {"parameters": "", "seeds": pd.NA, "failed": pd.NA, "missing": ""}
    own = trials[trials["protocol"] == protocol] if trials is not None else None
    if own is not None and len(own):
        state = own["state"]
        ok = own[state == "ok"]
        numbers["parameters"] = options_text(own["options"].iloc[0])
        numbers["missing"] = _seeds_text(own["seed"][state == "missing"])
        if (state != "missing").any():
            interval = mean_interval(ok[score])
            numbers |= {"accuracy": interval.mean, "low": interval.low, "high": interval.high}
            numbers |= {"seeds": len(ok), "failed": int((state == "failed").sum())}
            for name, column in (("loss", "matching_loss"), ("seconds",) * 2, ("gpu_seconds",) * 2):
                numbers[name] = ok[column].mean()
    return {f"{prefix}_{name}": value for name, value in numbers.items()}


def _difference_columns(
    trials: pd.DataFrame | None, baseline: pd.DataFrame | None
) -> dict[str, Any]:
    """Returns the sound difference from the baseline row over the seeds that both have."""
    ours, theirs = (_sound_scores(rows) for rows in (trials, baseline))
    seeds = sorted(ours.keys() & theirs.keys())
    found = paired_difference([ours[s] for s in seeds], [theirs[s] for s in seeds])
    return {
        "difference": found.mean,
        "difference_low": found.low,
        "difference_high": found.high,
        "n_pairs": found.n or pd.NA,
        "p": found.p,
    }


def _sound_scores(trials: pd.DataFrame | None) -> dict[int, float]:
    if trials is None:
        return {}
    own = trials[(trials["protocol"] == "sound") & (trials["state"] == "ok")]
    return dict(zip(own["seed"], own["accuracy"], strict=True))


def _with_holm(rows: pd.DataFrame) -> pd.DataFrame:
    rows["p_holm"] = holm(rows["p"])
    survives = (rows["p_holm"] <= SIGNIFICANCE).astype("boolean")
    rows["survives_holm"] = survives.mask(rows["p_holm"].isna())
    counts = ["reproduced_seeds", "reproduced_failed", "sound_seeds", "sound_failed", "n_pairs"]
    return rows.astype(dict.fromkeys(counts, "Int64"))


def _seeds_text(seeds: Iterable[int]) -> str:
    """Returns seeds as text, neighbours joined: `0-2, 5`."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
