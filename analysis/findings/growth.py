"""Growth of cost: the seconds of each part of a distillation against one size at a time."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.configs import ConfigFacts
from analysis.data.trials import plain, plain_column
from distill.config.distillation import DistillationConfig
from distill.kinds import KINDS
from sweeps.cost.distillation import Work, work_units

KIND = KINDS[DistillationConfig.kind]

CONFIG_COLUMNS = tuple(KIND.config_columns)

MIN_VALUES = 3
"""Values of a size from which its growth is shown."""

SEVERAL = "several data sets"
"""The data set of a figure over the number of classes, which belongs to the data."""

Values = Mapping[Any, Any]


@dataclass(frozen=True)
class Size:
    """What a cost grows with.

    Attributes:
        symbol: in the numbers and in exponents.
        field: the column that differs between the trials; all others are equal.
        value: returns the size from the columns of a trial; None where it is unknown.
    """

    symbol: str
    field: str
    value: Callable[[Values], float | None]


SIZES = (
    Size("ipc", "ipc", lambda row: row["ipc"]),
    Size("classes", "dataset", lambda row: row["image_size"] and row["n_classes"]),
    Size("image size", "image_size", lambda row: row["image_size"]),
    Size("width", "width", lambda row: row["width"]),
    Size("n", "val_fraction", lambda row: 1 - row["val_fraction"]),
    Size("k", "n_representatives", lambda row: row["n_representatives"]),
)
"""In the order of the panels. n is the share of the training images that are not held out. The size
of images that are not resized is unknown, so classes are compared where an image size is given."""

SIZE_FIELDS = {size.symbol: size.field for size in SIZES if size.field != "dataset"}
"""The sizes that are fields of the configuration."""

PARTS: dict[str, Callable[[DistillationConfig, Work], int]] = {
    "clustering": lambda _, work: work.n_clusterings,
    "matching": lambda _, work: work.n_inner_loops,
    "network": lambda config, work: work.n_inner_loops if config.n_net_batches else 0,
    "evaluation": lambda _, work: work.n_epochs,
}
"""The parts of a trial by the name of their `…_seconds` column, and how many units each has."""

HARDWARE = ("device", "host", "n_threads", "gpu_share", "precision")
"""Columns that are equal for all trials of one figure; with a GPU its host does not count."""

FIGURE_COLUMNS = ("dataset", "clusterer", "protocol", *HARDWARE)
"""There is a figure for each combination of these."""

_WITHOUT_COST = frozenset({"seed", "split_seed", "lr_img"})
"""Fields without influence on the seconds; the learning rate follows from ipc and image size."""

_LISTS = tuple(name for name, of_type in KIND.config_columns.items() if of_type == list[str])


def build(results: pd.DataFrame) -> pd.DataFrame:
    """Returns the seconds of the parts of trials that differ in one size and in nothing else.

    The seconds of a clustering are a mean over all of a trial, that of its first images included.

    Args:
        results: finished trials of any sweeps.

    Returns:
        A frame with `FIGURE_COLUMNS`; the fields of `SIZE_FIELDS`, as they are with this value;
        `size` (a symbol of `SIZES`) and its `value`; `part`; `seconds` of a unit of the part's
        work, median over trials, with `minimum`, `maximum` and `trials`; `exponent`: b of the
        least-squares fit log seconds = a + b · log value through the medians, NaN for fewer than
        three. Where a figure has several variations of a size it holds the one with the most
        values, of these the one with the most trials.
    """
    trials = _trials(results)
    rows = [
        row for size in SIZES for part in _variations(trials, size) for row in _rows(size, part)
    ]
    columns = [*FIGURE_COLUMNS, *SIZE_FIELDS.values(), "size", "value", "part"]
    columns += ["seconds", "minimum", "maximum", "trials", "exponent"]
    return pd.DataFrame(rows, columns=columns)


def by_figure(numbers: pd.DataFrame) -> list[pd.DataFrame]:
    """Returns the numbers of each figure, in the order of data sets, methods and hardware."""
    groups = numbers.groupby(list(FIGURE_COLUMNS), dropna=False, sort=False)
    return sorted((group.reset_index(drop=True) for _, group in groups), key=_order)


def _order(numbers: pd.DataFrame) -> tuple[Any, ...]:
    first = numbers.iloc[0].to_dict()
    facts = ConfigFacts(DistillationConfig)
    method_order = facts.order("clusterer", facts.chosen("clusterer", first))
    rest = (str(first[name]) for name in FIGURE_COLUMNS)
    return (first["dataset"] == SEVERAL, str(first["dataset"]), method_order, *rest)


def _trials(results: pd.DataFrame) -> pd.DataFrame:
    """Returns finished distillations: plain values of configuration, hardware and classes."""
    ok = (results["kind"] == "distillation") & (results["status"] == "ok")
    rows = results[ok.to_numpy(dtype=bool, na_value=False)].drop_duplicates("trial_id")
    columns: dict[str, Any] = {name: plain_column(KIND, rows, name) for name in CONFIG_COLUMNS}
    columns |= {name: plain(rows[name]) for name in HARDWARE}
    columns["host"] = np.where(columns["device"] == "cpu", columns["host"], None)
    trials = pd.DataFrame(columns, dtype=object)
    for part in PARTS:
        trials[f"{part}_seconds"] = rows[f"{part}_seconds"].to_numpy(dtype=float)
    trials["n_classes"] = plain(rows["n_classes"])
    return trials


def _variations(trials: pd.DataFrame, size: Size) -> list[pd.DataFrame]:
    """Returns for each figure the trials that differ in one size, with it as `value`."""
    known = trials[[*SIZE_FIELDS.values(), "n_classes"]]  # a dictionary of all columns takes long
    values = [size.value(row) for row in known.to_dict("records")]
    trials = trials.assign(value=np.array(values, dtype=float))
    trials = trials[trials["value"].notna()]
    if size.field == "dataset":
        trials = trials.assign(dataset=SEVERAL)
    left_out = {*_WITHOUT_COST, size.field} - {"dataset"}
    equal = [name for name in (*CONFIG_COLUMNS, *HARDWARE) if name not in left_out]
    codes = [pd.factorize(trials[name], use_na_sentinel=False)[0] for name in equal]
    varied = [code for code in codes if code.max(initial=0) > 0]
    groups = [group for _, group in trials.groupby(varied, sort=True)] if varied else [trials]
    best: dict[tuple[Any, ...], pd.DataFrame] = {}
    for group in groups:
        if group["value"].nunique() >= MIN_VALUES:
            figure = tuple(group[list(FIGURE_COLUMNS)].iloc[0])
            best[figure] = max(best.get(figure, group), group, key=_extent)
    return list(best.values())


def _extent(trials: pd.DataFrame) -> tuple[int, int]:
    return trials["value"].nunique(), len(trials)


def _rows(size: Size, trials: pd.DataFrame) -> Iterator[dict[str, Any]]:
    works = [_work_of(values) for values in trials.to_dict("records")]
    for part, count in PARTS.items():
        units = np.array([count(*work) for work in works], dtype=float)
        seconds = trials[f"{part}_seconds"].to_numpy(dtype=float)
        known = (units > 0) & (seconds > 0)
        each = pd.DataFrame(
            {"value": trials["value"][known], "seconds": seconds[known] / units[known]}
        )
        statistics = each.groupby("value", sort=True)["seconds"].agg(
            ["median", "min", "max", "count"]
        )
        exponent = _exponent(statistics["median"])
        for value, row in statistics.iterrows():
            first = trials[trials["value"] == value].iloc[0]
            yield {
                **{name: first[name] for name in (*FIGURE_COLUMNS, *SIZE_FIELDS.values())},
                "size": size.symbol,
                "value": value,
                "part": part,
                "seconds": row["median"],
                "minimum": row["min"],
                "maximum": row["max"],
                "trials": int(row["count"]),
                "exponent": exponent,
            }


def _work_of(values: Values) -> tuple[DistillationConfig, Work]:
    # Work does not depend on the data, and `SEVERAL` is not the name of a data set.
    fields = {name: values[name] for name in CONFIG_COLUMNS if name not in _LISTS}
    fields |= {name: tuple(values[name].split(",")) for name in _LISTS if values[name]}
    fields["dataset"] = "digits"
    config = DistillationConfig.from_dict(fields)
    return config, work_units(config)


def _exponent(medians: pd.Series) -> float:
    """Returns the slope of a line through logarithms; NaN for fewer than three points."""
    if len(medians) < MIN_VALUES:
        return math.nan
    x, y = np.log(medians.index.to_numpy(dtype=float)), np.log(medians.to_numpy(dtype=float))
    x -= x.mean()
    return float((x * y).sum() / (x * x).sum())
