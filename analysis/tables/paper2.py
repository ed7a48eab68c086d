"""Paper 2's tables: what was printed, what its protocol gives here, and what a sound one gives.

One table for each setting: data set, sizes and training; one row a selector (a way of choosing the
training images), its fraction and, where a selector has several, its parameters.

Beside them the tables of *coresets*: real images evaluated as distilled ones are (the recipe
`distillation`), which papers print beside distilled images. One table for each setting and number
of images a class, and no fraction.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from analysis.data.methods import label
from analysis.data.published import load_published
from analysis.data.selection_trials import SelectionTrial, selection_trials
from analysis.data.trials import Plan
from analysis.tables.notes import PROTOCOLS
from analysis.tables.rows import (
    correct,
    cost_numbers,
    difference_numbers,
    frame_of,
    mean_of,
    score_numbers,
)
from distill.config.distillation import CLUSTERER_OPTIONS
from distill.config.selection import EMBEDDING_OPTIONS, SelectionConfig
from distill.errors import UserError

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
    *("center", "equal_steps", "norm_statistics", "val_fraction"),
)
"""Hyper-parameters of a selector and of its training: what tells its variants apart."""

SELECTORS = (
    *("base", "random", "cluster_grid", "augmentation"),
    *("herding", "k_center", "nearest_center"),
)
"""In the order of rows: the paper's, then others."""

CORESETS = "distillation"
"""The recipe of trials that stand beside distilled images."""

Options = tuple[tuple[str, Any], ...]

Key = tuple[str, Any, Any, Options]
"""Arm, fraction, images a class, options that differ from those of the selector's main row."""

BASELINE: Key = ("random", 0.1, None, ())


@dataclass(frozen=True, kw_only=True)
class Paper2Table:
    """One table in numbers.

    Attributes:
        setting: what all its trials share.
        distinguishing: those of them that tell it from the other tables.
        ipc: of a table of coresets the images a class; None: the rows say how many.
        rows: one row a selector, fraction and variant; first what was printed, in its order. Columns:
            `selector`, `fraction`, `ipc`, `options` (text, of variants), `baseline`,
            `published_accuracy`, `published_loss`, for `reproduced` and `sound` each `…_accuracy`
            with `…_low`, `…_high`, `…_seeds`, `…_failed`, `…_missing`, `…_loss`, `…_images`
            (trained on), `…_seconds`, `…_gpu_seconds` (means over seeds), and `difference` from
            the baseline row (random, of 10 % or as many a class) under the sound protocol as in
            paper 1's tables. Accuracies are fractions in [0, 1]; what does not exist is NaN, NA or
            empty.
        failed: how many trials failed, by status.
        members: the trials behind the rows, in their order and that of seeds: `trial_id`, `row`
            (position in `rows`), `selector`, `protocol`, `seed`, `state` (`ok`, `failed`, `missing`).
        trials: by position of their row.
    """

    setting: Mapping[str, Any]
    distinguishing: Mapping[str, Any]
    ipc: int | None
    rows: pd.DataFrame
    failed: Mapping[str, int]
    members: pd.DataFrame
    trials: Mapping[int, Sequence[SelectionTrial]]


@dataclass(frozen=True, kw_only=True)
class Paper2:
    """All tables of paper 2.

    Attributes:
        tables: of the paper, by setting; each with at least one finished or failed trial.
        coresets: of real images beside distilled ones, by setting and images a class; likewise.
        unstarted: settings of which trials are planned and none is done, with what tells them from
            others, and how many.
    """

    tables: tuple[Paper2Table, ...]
    coresets: tuple[Paper2Table, ...]
    unstarted: tuple[tuple[Mapping[str, Any], Mapping[str, Any], int], ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is no trial of it, nor a plan of one."""
        return not (self.tables or self.coresets or self.unstarted)


def is_of_coresets(setting: Mapping[str, Any]) -> bool:
    """Whether images are evaluated as distilled ones are."""
    return bool(setting["recipe"] == CORESETS)


def build(
    results: pd.DataFrame,
    plan: Plan | None = None,
    failures: Mapping[str, Mapping[str, Any]] | None = None,
) -> Paper2:
    """Computes paper 2's tables from results.

    Args:
        results: finished trials, as `sweeps.load_results` gives them, of any phase and kind.
        plan: what should be there in the end; without it nothing is called missing.
        failures: records of trials without a result, by trial_id, as `Store.failures` gives them.
    """
    return build_from(selection_trials(results, plan, failures))


def build_from(trials: Iterable[SelectionTrial]) -> Paper2:
    """Computes paper 2's tables from what `analysis.data.selection_trials.selection_trials` gives."""
    groups: dict[tuple[Any, ...], list[SelectionTrial]] = {}
    for trial in trials:
        key = tuple(trial.config[name] for name in SETTING_COLUMNS)
        groups.setdefault(key, []).append(trial)
    tables: list[Paper2Table] = []
    unstarted = []
    for key in sorted(groups, key=lambda key: [(v is None, str(v)) for v in key]):
        setting = dict(zip(SETTING_COLUMNS, key, strict=True))
        distinguishing = {name: setting[name] for name in _varying(setting, groups)}
        if all(trial.state == "missing" for trial in groups[key]):
            unstarted.append((setting, distinguishing, len(groups[key])))
            continue
        for ipc, own in _by_size(setting, groups[key]):
            tables.append(_table(setting, distinguishing, ipc, own))
    return Paper2(
        tables=tuple(table for table in tables if not is_of_coresets(table.setting)),
        coresets=tuple(table for table in tables if is_of_coresets(table.setting)),
        unstarted=tuple(unstarted),
    )


def _varying(setting: Mapping[str, Any], keys: Iterable[tuple[Any, ...]]) -> list[str]:
    """Returns what differs between settings of one recipe, data set and classes apart."""
    settings = [dict(zip(SETTING_COLUMNS, key, strict=True)) for key in keys]
    own = [other for other in settings if other["recipe"] == setting["recipe"]]
    return [
        name
        for name in SETTING_COLUMNS
        if name not in ("dataset", "classes") and len({other[name] for other in own}) > 1
    ]


def _by_size(
    setting: Mapping[str, Any], trials: Sequence[SelectionTrial]
) -> list[tuple[int | None, list[SelectionTrial]]]:
    """Returns the trials of each table of a setting: of coresets one table for each ipc.

    Those of all images stand in every one of them.
    """
    if not is_of_coresets(setting):
        return [(None, list(trials))]
    sizes = {trial.config["ipc"] for trial in trials if trial.config["selector"] != "base"} or {
        None
    }
    return [
        (ipc, [t for t in trials if t.config["ipc"] == ipc or t.config["selector"] == "base"])
        for ipc in sorted(sizes, key=lambda ipc: (ipc is None, ipc))
    ]


def _table(
    setting: Mapping[str, Any],
    distinguishing: Mapping[str, Any],
    ipc: int | None,
    trials: Sequence[SelectionTrial],
) -> Paper2Table:
    by_key = _by_key(trials)
    printed = _reported(ipc) if is_of_coresets(setting) else _printed()
    others = sorted((key for key in by_key if key not in printed), key=_row_order)
    baseline = BASELINE if ipc is None else (BASELINE[0], None, ipc, ())
    keys = list(dict.fromkeys([*printed, baseline, *others]))
    members = {position: by_key.get(key, []) for position, key in enumerate(keys)}
    failed = Counter(trial.status for trial in trials if trial.state == "failed")
    return Paper2Table(
        setting=setting,
        distinguishing=distinguishing,
        ipc=ipc,
        rows=_rows(by_key, keys, printed, baseline),
        failed=dict(sorted(failed.items())),
        members=_members(members),
        trials=members,
    )


@cache
def _printed() -> Mapping[Key, Mapping[str, float]]:
    """Returns the paper's rows in its order, with what it printed."""
    printed: dict[Key, Mapping[str, float]] = {}
    numbers = load_published("paper2")
    for (selector, fraction), lines in numbers.groupby(["method", "fraction"], sort=False):
        main: Key = (str(selector), None if selector == "base" else float(str(fraction)), None, ())
        printed[main] = dict(zip(lines["column"], lines["value"], strict=True))
    return printed


@cache
def _reported(ipc: int | None) -> Mapping[Key, Mapping[str, float]]:
    """Returns the literature's rows of real images, with what it reports for so many a class.

    Only that of all images where the table is of no such number, but of fractions.
    """
    numbers = load_published("reference").dropna(subset=["method"])
    if ipc is None:
        numbers = numbers[numbers["method"] == "base"]
    reported: dict[Key, Mapping[str, float]] = {}
    for selector, lines in numbers.groupby("method", sort=False):
        key: Key = (str(selector), None, None if selector == "base" else ipc, ())
        own = lines if selector == "base" else lines[lines["ipc"] == ipc]
        reported[key] = dict(zip(own["column"], own["value"], strict=True))
    return reported


def _by_key(trials: Iterable[SelectionTrial]) -> dict[Key, list[SelectionTrial]]:
    """Returns trials by row. A selector's main row has the selector's default options, or the nearest.

    Of equally near ones the commonest. Under the published protocol, where options mean something
    else, likewise: its main row is that of the sound one.
    """
    groups: dict[tuple[Any, ...], list[SelectionTrial]] = {}
    for trial in trials:
        own = trial.config
        key = (own["selector"], own["fraction"], own["ipc"], own["protocol"])
        groups.setdefault(key, []).append(trial)
    by_key: dict[Key, list[SelectionTrial]] = {}
    for (selector, fraction, ipc, protocol), members in groups.items():
        found = [tuple((n, trial.config[n]) for n in OPTION_COLUMNS) for trial in members]
        counts = Counter(found)
        usual = _default_options(selector, protocol)
        main = min(counts, key=lambda own: (_distance(own, usual), -counts[own], str(own)))
        for trial, options in zip(members, found, strict=True):
            different = tuple(
                pair for pair, main_pair in zip(options, main, strict=True) if pair != main_pair
            )
            by_key.setdefault((selector, fraction, ipc, different), []).append(trial)
    return by_key


@cache
def _default_options(selector: str, protocol: str) -> Options:
    try:
        config = SelectionConfig.from_dict({"selector": selector, "protocol": protocol}).resolved()
    except UserError:  # a selector of another version of this code
        return tuple((name, None) for name in OPTION_COLUMNS)
    return tuple((name, getattr(config, name)) for name in OPTION_COLUMNS)


def _distance(options: Options, others: Options) -> int:
    return sum(pair != other for pair, other in zip(options, others, strict=True))


def _row_order(key: Key) -> tuple[Any, ...]:
    selector, fraction, ipc, options = key
    position = SELECTORS.index(selector) if selector in SELECTORS else len(SELECTORS)
    return position, selector, -(fraction or 2), ipc or 0, str(options)


def _rows(
    by_key: Mapping[Key, Sequence[SelectionTrial]],
    keys: Sequence[Key],
    printed: Mapping[Key, Mapping[str, float]],
    baseline: Key,
) -> pd.DataFrame:
    records = []
    for key in keys:
        selector, fraction, ipc, options = key
        own = by_key.get(key, [])
        theirs = [] if key == baseline else by_key.get(baseline, [])
        records.append(
            {
                "selector": selector,
                "fraction": math.nan if fraction is None else fraction,
                "ipc": ipc,
                "options": _options_text(options),
                "baseline": key == baseline,
                "published_accuracy": printed.get(key, {}).get("accuracy", math.nan),
                "published_loss": printed.get(key, {}).get("loss", math.nan),
                **_protocol_columns(own, "reproduced"),
                **_protocol_columns(own, "sound"),
                **difference_numbers(own, theirs),
            }
        )
    correct(records)
    return frame_of(records).astype({"ipc": "Int64"})


def _protocol_columns(trials: Sequence[SelectionTrial], prefix: str) -> dict[str, Any]:
    own = [trial for trial in trials if trial.protocol == PROTOCOLS[prefix]]
    ok = [trial for trial in own if trial.state == "ok"]
    numbers = {
        **score_numbers(own),
        "loss": mean_of(trial.loss for trial in ok),
        "images": mean_of(trial.n_trained_on for trial in ok),
        **cost_numbers(own),
    }
    return {f"{prefix}_{name}": value for name, value in numbers.items()}


def _options_text(options: Options) -> str:
    """Returns what tells a variant from its selector's main row: `n_clusters 4`; names stand alone.

    What follows from a clusterer or an embedding is left out, unless nothing else is left.
    """
    by_name = dict(options)
    implied = {
        **CLUSTERER_OPTIONS.get(str(by_name.get("clusterer")), {}),
        **EMBEDDING_OPTIONS.get(str(by_name.get("embedding")), {}),
    }
    told = {
        name: value
        for name, value in options
        if value is not None and not (name in implied and implied[name] == value)
    }
    return ", ".join(_option_text(*pair) for pair in (told or by_name).items())


def _option_text(name: str, value: Any) -> str:
    if name == "clusterer":
        return label(value)
    if value is True:
        return name
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def _members(trials: Mapping[int, Sequence[SelectionTrial]]) -> pd.DataFrame:
    records = [
        {
            "trial_id": trial.trial_id,
            "row": position,
            "selector": trial.config["selector"],
            "protocol": trial.protocol,
            "seed": trial.seed,
            "state": trial.state,
        }
        for position, own in trials.items()
        for trial in own
    ]
    return pd.DataFrame(
        records, columns=["trial_id", "row", "selector", "protocol", "seed", "state"]
    )
