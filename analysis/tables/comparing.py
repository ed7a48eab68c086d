"""The numbers of the tables for a notebook: summaries and paired differences of trials.

from analysis import load, pair, summarise

sweeps = load("results")
summarise(sweeps)                         # mean and interval over seeds of every row
pair(sweeps, "weights", baseline="F")     # T − F of every method, paired by seed
pair(sweeps, "method", baseline="kmeans")
pair(sweeps, "selector", baseline="random", kind="selection")
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.reading import Sweeps
from analysis.data.trials import COSTS, TrialRecord, score_columns
from analysis.statistics import holm, mean_interval
from analysis.tables.layout import TableLayout, layout_of
from analysis.tables.rows import paired_numbers
from distill.errors import UserError, require_known
from distill.kinds import KINDS

PARAMETERS = "parameters"
"""Column with the options of a trial's method, as text."""


@dataclass(frozen=True, kw_only=True)
class _View:
    """Trials of a kind in one frame.

    Attributes:
        layout: of their tables.
        trials: of all phases that enter tables.
    """

    layout: TableLayout
    trials: Sequence[TrialRecord]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The trials, one row each, see `trials`."""
        unique = {id(trial.config): trial.config for trial in self.trials}
        places = {key: place for place, key in enumerate(unique)}
        codes = np.array([places[id(trial.config)] for trial in self.trials], dtype=np.intp)
        rows = [self._config_columns(config) for config in unique.values()]
        columns = [*self.layout.facts.declared, *self.layout.columns, PARAMETERS]
        columns = [name for name in dict.fromkeys(columns) if name != "seed"]
        settings = pd.DataFrame(rows, columns=columns, dtype=object).take(codes)
        names = ("trial_id", "state", "status", "seed", "fingerprint")
        frame = pd.DataFrame({name: [getattr(t, name) for t in self.trials] for name in names})
        for name in self.scores:
            frame[name] = np.array([t.numbers[name] for t in self.trials], dtype=float)
        return pd.concat([frame, settings.set_axis(frame.index)], axis="columns")

    def _config_columns(self, config: Any) -> dict[str, Any]:
        layout = self.layout
        values = layout.by_column(layout.values(config))
        return {**config, **values, PARAMETERS: layout.parameters(config)}

    @property
    def scores(self) -> tuple[str, ...]:
        """The numbers that can be averaged."""
        return (*score_columns(KINDS[self.layout.kind]), *COSTS)

    @property
    def method(self) -> str:
        """The column that names the method."""
        return self.layout.columns[0]

    @property
    def main(self) -> tuple[str, ...]:
        """The columns that make a row of a table."""
        layout = self.layout
        implied = layout.facts.implied_options(layout.row_fields[0].name)
        options = [f.name for f in layout.row_fields if f.name in implied]
        others = [column for column in layout.columns[1:] if column not in options]
        return (*layout.title_fields, "protocol", self.method, *options, PARAMETERS, *others)

    @property
    def settings(self) -> tuple[str, ...]:
        """The columns of a setting, and those that distinguish variants of a row."""
        return (*self.layout.setting_fields, *self.layout.variant_fields)

    def names(self, frame: pd.DataFrame) -> list[str]:
        """Returns what makes a row, and what else differs between trials of one protocol."""
        others = [name for name in self.settings if name not in self.main]
        varying = frame.groupby("protocol")[others].nunique(dropna=False).max() > 1
        return [*self.main, *(name for name in others if bool(varying[name]))]

    def order(self, name: str, value: Any) -> Any:
        """Returns a sort key of a value: methods as in the tables, None last."""
        if name == self.method:
            return self.layout.facts.order(self.layout.row_fields[0].name, value)
        return (value is None, 0 if value is None else value)

    def groups(
        self, frame: pd.DataFrame, names: Sequence[str]
    ) -> Iterator[tuple[tuple[Any, ...], list[int]]]:
        """Yields groups of trials by their values, methods in the order of the tables.

        Of each the positions of its trials in the frame: a frame for every few trials is slow.
        """
        by_key: dict[tuple[Any, ...], list[int]] = {}
        keys = zip(*(frame[name] for name in names), strict=True)
        for position, key in enumerate(keys):
            by_key.setdefault(key, []).append(position)

        def order(key: tuple[Any, ...]) -> list[Any]:
            return [self.order(name, value) for name, value in zip(names, key, strict=True)]

        for key in sorted(by_key, key=order):
            yield key, by_key[key]


def _view(sweeps: Sweeps, kind: str) -> _View:
    return _View(layout=layout_of(kind), trials=sweeps.trials(kind))


def trials(sweeps: Sweeps, *, kind: str = "distillation") -> pd.DataFrame:
    """Returns the trials of a kind that enter tables, one row each.

    Args:
        sweeps: from `load`.
        kind: `distillation`, `selection`, or any other kind of trials.

    Returns:
        A frame with `trial_id`, `state` (`ok`, `failed` or `missing`), `status`, `seed`,
        `fingerprint`, the numbers of `analysis.data.trials.TrialRecord`, all fields and options of
        the configuration, the values of the tables' rows by their column, and `parameters`: the
        options of the method as text.

    Raises:
        UserError: there is no such kind.
    """
    return _view(sweeps, kind).frame


def summarise(
    sweeps: Sweeps,
    by: Sequence[str] | None = None,
    *,
    score: str = "accuracy",
    kind: str = "distillation",
) -> pd.DataFrame:
    """Returns a score of every group of trials: its mean over seeds with a 95 % t interval.

    Args:
        sweeps: from `load`.
        by: what makes a group, among the columns of `trials`. None: what a row of a table is, and
            whatever else differs between trials, so that a group differs in nothing but the seed.
        score: `accuracy` (after the last epoch), `accuracy_best` (the best of several tests, which
            paper 1 printed), `loss`, `seconds`, `gpu_seconds` or another number of the kind, such
            as `matching_loss` or `unseen_accuracy` (of test images that were not trained on).
            Accuracies are fractions in [0, 1].
        kind: see `trials`.

    Returns:
        A frame with the columns of `by`, `mean`, `low`, `high` (NaN for fewer than two seeds),
        `seeds`, `failed` and `missing` (trials).

    Raises:
        UserError: a name is unknown, or a group would mix trials that are no repetitions.
    """
    view = _view(sweeps, kind)
    require_known("score", score, view.scores)
    frame = view.frame
    names = view.names(frame) if by is None else list(by)
    for name in names:
        require_known("column", name, frame.columns)
    if by is not None:
        _check_unmixed(view, frame, names)
    rows = []
    states, scores = frame["state"].tolist(), frame[score].tolist()
    for key, members in view.groups(frame, names):
        values = [scores[i] for i in members if states[i] == "ok"]
        found = mean_interval([value for value in values if not math.isnan(value)])
        counts = Counter(states[i] for i in members)
        rows.append((*key, *found, counts["failed"], counts["missing"]))
    return pd.DataFrame(rows, columns=[*names, "mean", "low", "high", "seeds", "failed", "missing"])


def pair(
    sweeps: Sweeps,
    what: str,
    baseline: Any,
    *,
    score: str = "accuracy",
    kind: str = "distillation",
) -> pd.DataFrame:
    """Returns differences from a baseline, trial by trial with the same seed and settings.

    Args:
        sweeps: from `load`.
        what: the column that distinguishes trials from the baseline's: `weights`, `method`,
            `protocol`, …; of selections `selector`, `fraction`, …
        baseline: its value for the baseline: `F`, `kmeans`, `random`, 0.1, …
        score: see `summarise`.
        kind: see `trials`.

    Returns:
        A frame with what the pairs share, the column `what`, `difference` (mean of trial −
        baseline) with its 95 % t interval `low`, `high`, `n_pairs`, `p` (paired t-test), `p_holm`
        (corrected over all rows). Only rows with at least one pair.

    Raises:
        UserError: a name or the baseline is unknown, or several trials could be the baseline.
    """
    view = _view(sweeps, kind)
    require_known("score", score, view.scores)
    frame = view.frame
    frame = frame[(frame["state"] == "ok") & frame[score].notna()]
    names = view.names(frame)
    settings = [name for name in view.settings if name not in names]
    require_known("column", what, [*names, *settings])
    values = set(frame[what])
    if baseline not in values:
        known = ", ".join(sorted(map(str, values))) or "none"
        raise UserError(f"no trial has {what} {baseline!r}; there are: {known}")
    # Options belong to a method: two methods share none.
    shared = [n for n in names if n != what and not (what == view.method and n == PARAMETERS)]
    baselines = _baselines(view, frame[frame[what] == baseline], shared, score)
    kept = [name for name in names if name != what]
    rows = []
    others = frame[frame[what] != baseline]
    by_position = list(zip(others["seed"], others[score], strict=True))
    for key, members in view.groups(others, [*kept, what]):
        shared_key = tuple(value for name, value in zip(kept, key, strict=False) if name in shared)
        found = paired_numbers(dict(by_position[i] for i in members), baselines.get(shared_key, {}))
        if found.n:
            rows.append((*key, *found))
    columns = [*kept, what, "difference", "low", "high", "n_pairs", "p"]
    result = pd.DataFrame(rows, columns=columns)
    result["p_holm"] = holm(result["p"].to_numpy(dtype=float))
    return result


def _baselines(
    view: _View, frame: pd.DataFrame, shared: list[str], score: str
) -> dict[tuple[Any, ...], dict[int, float]]:
    """Returns the baseline's scores by what pairs share, and by seed."""
    scores: dict[tuple[Any, ...], dict[int, float]] = {}
    by_position = list(zip(frame["seed"], frame[score], strict=True))
    for key, members in view.groups(frame, shared):
        scores[key] = dict(by_position[i] for i in members)
        if len(scores[key]) < len(members):
            found = ", ".join(sorted(set(frame[PARAMETERS].iloc[members])))
            raise UserError(
                f"several trials of the baseline have one seed: it has the parameters {found}; "
                "leave all but one out of the results first"
            )
    return scores


def _check_unmixed(view: _View, frame: pd.DataFrame, names: Iterable[str]) -> None:
    """Raises a UserError where trials of one group differ in more than the seed."""
    names = list(names)
    others = {name: frame[name].tolist() for name in view.names(frame) if name not in names}
    for _, members in view.groups(frame, names):
        mixed = [name for name, values in others.items() if len({values[i] for i in members}) > 1]
        if mixed:
            raise UserError(
                f"trials of one group differ in {', '.join(mixed)}; add that to by, or leave by out"
            )
