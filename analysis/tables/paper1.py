"""Paper 1's tables: what was printed, what its protocol gives here, and what a sound one gives.

`build` computes numbers; `sheet` makes a printed table of them. One table for each setting: data
set, images a class, embedding, and everything else that trials must share to be compared.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import pandas as pd

from analysis.data.methods import (
    BASELINE,
    PAPER1_ROWS,
    WEIGHTS,
    Options,
    default_options,
    label,
    method_order,
    options_text,
    paper_options,
)
from analysis.data.published import load_published
from analysis.data.trials import SETTING_COLUMNS, Plan, paper1_trials
from analysis.tables.rows import (
    correct,
    cost_numbers,
    difference_numbers,
    frame_of,
    mean_of,
    score_numbers,
)
from distill.config.distillation import DATASETS

PROTOCOLS = {"reproduced": ("published", "accuracy_best"), "sound": ("sound", "accuracy")}
"""Prefix of a protocol's columns → its name, and the score that its tables show.

The paper printed the best of four tests on the test images, a sound table the last one.
"""

PAPER_DATASET, PAPER_EMBEDDING = "cifar10", "features"
"""What the published numbers are of, whatever a table is of."""

Member = tuple[Any, str, bool]
"""A trial (a named tuple, as plain tuples are faster than frames), its row's label, `is_main`."""

EMBEDDINGS = ("features", "gradients", "predictions", "pixels")


@dataclass(frozen=True, kw_only=True)
class Paper1Table:
    """One table in numbers.

    Attributes:
        setting: what all its trials share, by field of the configuration.
        distinguishing: those of them that tell it from other tables of the same data set, ipc and
            embedding; mostly empty.
        rows: one row a method, its hyper-parameters and weights. First the paper's nine in its
            order, then what else there is in the registry's order. Columns: `dataset`, `ipc`,
            `embedding`, `method`, `weights` (`T`, `F`, `inert`), `label`, `baseline` (whether it
            is the one that others are compared with); `published_task`, and of it
            `published_accuracy` and `published_loss`; for `reproduced` and `sound` each
            `…_parameters`, `…_accuracy` (mean over seeds) with its t interval `…_low`, `…_high`,
            `…_seeds` (how many), `…_failed`, `…_missing` (planned seeds without a result),
            `…_loss`, `…_seconds`, `…_gpu_seconds` (means over seeds);
            `difference` from the baseline row under the sound protocol, paired by seed, with
            `difference_low`, `difference_high`, `n_pairs`, `p`, `p_holm` (corrected over the rows)
            and `survives_holm`. Accuracies are fractions in [0, 1]. What does not exist is NaN,
            NA or the empty text.
        failed: how many trials of the table failed, by status.
        n_fingerprints: different sets of images that the trials ran on; more than 1 is a warning.
        labelled: its trials, finished and not, each with the label of its row, and whether that is
            the paper's row of the method, not one of a variant.
    """

    setting: Mapping[str, Any]
    distinguishing: Mapping[str, Any]
    rows: pd.DataFrame
    failed: Mapping[str, int]
    n_fingerprints: int
    labelled: Sequence[Member]

    @cached_property
    def members(self) -> pd.DataFrame:
        """Its trials, finished and not, one row each.

        Columns: `trial_id`, `state`, `status`, `protocol`, `seed`, `method`, `weights`, `label`,
        `is_main`, `accuracy`, `accuracy_best`, `matching_loss`, `seconds`, `gpu_seconds`; see
        `labelled` and `analysis.data.trials.paper1_trials`.
        """
        trials, labels, is_main = zip(*self.labelled, strict=True)
        frame = pd.DataFrame(trials).drop(columns=["Index", "options", "fingerprint"])
        return frame.assign(label=labels, is_main=is_main)


@dataclass(frozen=True, kw_only=True)
class Paper1:
    """All tables of paper 1.

    Attributes:
        tables: by data set, ipc and embedding; each with at least one finished or failed trial.
        unstarted: settings of which trials are planned and none is done, with how many.
    """

    tables: tuple[Paper1Table, ...]
    unstarted: tuple[tuple[Mapping[str, Any], int], ...]


def build(
    results: pd.DataFrame,
    plan: Plan | None = None,
    failures: Mapping[str, Mapping[str, Any]] | None = None,
) -> Paper1:
    """Computes paper 1's tables from results.

    Args:
        results: finished trials, as `sweeps.load_results` gives them, of any phase and kind.
        plan: what should be there in the end; without it nothing is called missing.
        failures: records of trials without a result, by trial_id, as `Store.failures` gives them.
    """
    return build_from(paper1_trials(results, plan, failures))


def build_from(all_trials: pd.DataFrame) -> Paper1:
    """Computes paper 1's tables from what `analysis.data.trials.paper1_trials` gives."""
    unstarted, tables, records = [], [], []
    for setting, distinguishing, trials in _settings(all_trials):
        if all(trial.state == "missing" for trial in trials):
            unstarted.append((setting, len(trials)))
            continue
        own, members = _rows(setting, trials)
        tables.append((setting, distinguishing, len(own), members))
        records += own
    # One frame for all rows, cut into tables: making one takes as long as all its numbers.
    frame, end, found = frame_of(records), 0, []
    for setting, distinguishing, n_rows, members in tables:
        trials = [trial for trial, _, _ in members]
        failed = Counter(str(trial.status) for trial in trials if trial.state == "failed")
        images = {trial.fingerprint for trial in trials if isinstance(trial.fingerprint, str)}
        start, end = end, end + n_rows
        table = Paper1Table(
            setting=setting,
            distinguishing=distinguishing,
            rows=frame.iloc[start:end].reset_index(drop=True),
            failed=dict(sorted(failed.items())),
            n_fingerprints=len(images),
            labelled=members,
        )
        found.append(table)
    return Paper1(tables=tuple(found), unstarted=tuple(unstarted))


def _settings(trials: pd.DataFrame) -> list[tuple[dict[str, Any], dict[str, Any], list[Any]]]:
    """Returns every setting, what tells it from its neighbours, and its trials; in order.

    Trials become plain tuples here: tables of few trials each are slow with frames.
    """
    main = ["dataset", "ipc", "embedding"]
    varying = [c for c in SETTING_COLUMNS if c not in main and trials[c].nunique(dropna=False) > 1]
    plain = trials[[c for c in trials.columns if c not in SETTING_COLUMNS]].astype(object)
    by_key: dict[tuple[Any, ...], list[Any]] = {}
    keys = zip(*(trials[c] for c in (*main, *varying)), strict=True)
    for key, trial in zip(keys, plain.itertuples(name="Trial"), strict=True):
        by_key.setdefault(key, []).append(trial)
    neighbours: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for key in by_key:
        neighbours.setdefault(key[: len(main)], []).append(key[len(main) :])
    first = {c: trials[c].iat[0] for c in SETTING_COLUMNS if len(trials)}
    found = []
    for key in sorted(by_key, key=_setting_order):
        setting = first | dict(zip((*main, *varying), key, strict=True))
        values = zip(*neighbours[key[: len(main)]], strict=True)
        names = [c for c, own in zip(varying, values, strict=False) if len(set(own)) > 1]
        found.append((setting, {c: setting[c] for c in names}, by_key[key]))
    return found


def _setting_order(key: tuple[Any, ...]) -> tuple[Any, ...]:
    dataset, ipc, embedding, *others = key
    known = DATASETS.index(dataset) if dataset in DATASETS else len(DATASETS)
    space = EMBEDDINGS.index(embedding) if embedding in EMBEDDINGS else len(EMBEDDINGS)
    # None sorts after everything, and is never compared with it.
    rest = [(value is None, "" if value is None else value) for value in others]
    return known, dataset, ipc, space, embedding, *rest


def _rows(
    setting: Mapping[str, Any], trials: Sequence[Any]
) -> tuple[list[dict[str, Any]], list[Member]]:
    """Returns the rows of a table, and its trials with the labels of theirs."""
    main_options = _all_main_options(trials)
    by_row: dict[RowKey, list[Any]] = {}
    keys_of_trials = _keys_of_rows(trials, main_options)
    for key, trial in zip(keys_of_trials, trials, strict=True):
        by_row.setdefault(key, []).append(trial)
    keys = _row_order(by_row, main_options)
    labels = _labels(keys)
    baseline_key = (BASELINE[0], main_options.get(BASELINE[0], ()), BASELINE[1])
    published = _published(setting["ipc"])
    records = []
    for key in keys:
        method, options, weights = key
        own = by_row.get(key, [])
        accuracy, loss = (math.nan, math.nan)
        if options == main_options.get(method, ()):
            accuracy, loss = published.get((method, weights), (math.nan, math.nan))
        baseline = [] if key == baseline_key else by_row.get(baseline_key, [])
        records.append(
            {
                **{name: setting[name] for name in ("dataset", "ipc", "embedding")},
                "method": method,
                "weights": weights,
                "label": labels[key],
                "baseline": key == baseline_key,
                "published_task": f"{PAPER_DATASET}, {PAPER_EMBEDDING}",
                "published_accuracy": accuracy,
                "published_loss": loss,
                **_protocol_columns(own, "reproduced"),
                **_protocol_columns(own, "sound"),
                **difference_numbers(own, baseline),
            }
        )
    members = [
        (trial, labels[key], key[1] == main_options.get(key[0], ()))
        for key, trial in zip(keys_of_trials, trials, strict=True)
    ]
    correct(records)
    return records, members


RowKey = tuple[str, Options, str]
"""Method, hyper-parameters, weights."""


def _all_main_options(trials: Sequence[Any]) -> dict[str, Options]:
    """Returns, by method, the hyper-parameters that stand for it in the paper's rows."""
    by_method: dict[str, list[Any]] = {}
    for trial in trials:
        by_method.setdefault(trial.method, []).append(trial)
    return {
        method: _main_options(method, [t for t in own if t.protocol == "sound"] or own)
        for method, own in by_method.items()
    }


def _main_options(method: str, trials: Sequence[Any]) -> Options:
    """Returns the paper's own hyper-parameters where there are any among a method's trials.

    Else the registry's, else those of most results.
    """
    found = {trial.options for trial in trials}
    for options in (paper_options(method), default_options(method)):
        if options in found:
            return options
    counts = Counter(trial.options for trial in trials if trial.state == "ok")
    return min(found, key=lambda options: (-counts[options], options))


def _keys_of_rows(trials: Sequence[Any], main_options: Mapping[str, Options]) -> list[RowKey]:
    """Returns the row of every trial.

    Under the published protocol most methods have no hyper-parameters, and DBSCAN has the paper's:
    their trials belong to the method's main row.
    """
    sound = {(trial.method, trial.options) for trial in trials if trial.protocol == "sound"}
    keys = []
    for trial in trials:
        method, options = trial.method, trial.options
        if trial.protocol == "published" and (method, options) not in sound:
            is_papers = options in ((), paper_options(method))
            options = main_options[method] if is_papers else options
        keys.append((method, options, trial.weights))
    return keys


def _row_order(found: Iterable[RowKey], main_options: Mapping[str, Options]) -> list[RowKey]:
    """Returns the rows in their order: the paper's nine, whether found or not, then the others."""
    first: list[RowKey] = [(m, main_options.get(m, ()), weights) for m, weights in PAPER1_ROWS]
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
    """Returns accuracy and loss that the paper printed, by method and weights."""
    numbers = load_published("paper1")
    by_column = {
        column: dict(
            zip(zip(own["method"], own["weights"], strict=True), own["value"], strict=True)
        )
        for column, own in numbers[numbers["ipc"] == ipc].groupby("column")
    }
    if not by_column:
        return {}
    return {key: (value, by_column["loss"][key]) for key, value in by_column["accuracy"].items()}


def _protocol_columns(trials: Sequence[Any], prefix: str) -> dict[str, Any]:
    """Returns the numbers of a row under one protocol."""
    protocol, score = PROTOCOLS[prefix]
    own = [trial for trial in trials if trial.protocol == protocol]
    numbers = {
        "parameters": options_text(own[0].options) if own else "",
        **score_numbers(own, score),
        "loss": mean_of(trial.matching_loss for trial in own if trial.state == "ok"),
        **cost_numbers(own),
    }
    return {f"{prefix}_{name}": value for name, value in numbers.items()}
