"""The numbers of the tables for a notebook: summaries and paired differences of trials.

from analysis import load, pair, summarise

sweeps = load("results")
summarise(sweeps)                         # mean and interval over seeds of every row
pair(sweeps, "weights", baseline="F")     # T − F of every method, paired by seed
pair(sweeps, "method", baseline="kmeans")
pair(sweeps, "selector", baseline="random", kind="selection")
"""

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.data.reading import Sweeps
from analysis.data.trials import COSTS, TrialRecord, score_columns
from analysis.statistics.equivalence import SMALLEST_EFFECT, verdict_on
from analysis.statistics.families import FamilyDifference, family_of
from analysis.statistics.intervals import mean_interval
from analysis.tables.build import build_from
from analysis.tables.layout import TableLayout, layout_of
from analysis.tables.notes import provenance_text
from analysis.tables.questions import resolution_of, score_matrix
from distill.errors import ProvenanceWarning, UserError, require_known
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

    def together(self, what: str, shared: Sequence[str]) -> list[str]:
        """Returns the columns, of those that pairs share, in which rows tested together agree.

        Methods are tested against one baseline, so they share all of them; else the methods of one
        setting are tested together.
        """
        if what == self.method:
            return list(shared)
        inside = {self.method, *self.layout.columns, PARAMETERS, *self.layout.option_names}
        return [name for name in shared if name not in inside]

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
        A frame with the columns of `by`, `mean`, `low`, `high` (NaN for one seed or equal scores),
        `seeds`, `failed` and `missing` (trials).

    Warns:
        ProvenanceWarning: trials that are pooled differ in device, processor, precision, versions
            or commit.

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
    groups = list(view.groups(frame, names))
    _warn_of_provenance(
        [view.trials[i] for i in members if states[i] == "ok"] for _, members in groups
    )
    for key, members in groups:
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
    smallest_effect: float = SMALLEST_EFFECT,
) -> pd.DataFrame:
    """Returns differences from a baseline, trial by trial with the same seed and settings.

    Comparisons that the tables make, too, have the numbers of the tables. Others are tested in the
    same way, together with all comparisons of the same settings: see
    `analysis.statistics.families`.

    Args:
        sweeps: from `load`.
        what: the column that distinguishes trials from the baseline's: `weights`, `method`,
            `protocol`, …; of selections `selector`, `fraction`, …
        baseline: its value for the baseline: `F`, `kmeans`, `random`, 0.1, …
        score: see `summarise`.
        kind: see `trials`.
        smallest_effect: smallest difference of accuracies that is of interest, a fraction above 0.

    Returns:
        A frame with what the pairs share, the column `what`, `difference` (trial − baseline) with
        its simultaneous 95 % interval `low`, `high`, `n_pairs` (common seeds), `p` (of this
        difference alone), `p_family` (adjusted for all that are tested together) and `verdict`
        (`different`, `equivalent`, `undecided`; of other scores than accuracies never
        `equivalent`). Only rows with at least one pair.

    Warns:
        ProvenanceWarning: trials that are pooled differ in device, processor, precision, versions
            or commit.

    Raises:
        UserError: a name or the baseline is unknown, or several trials could be the baseline.
    """
    view = _view(sweeps, kind)
    require_known("score", score, view.scores)
    frame = view.frame
    is_scored = ((frame["state"] == "ok") & frame[score].notna()).to_numpy()
    records = [trial for trial, scored in zip(view.trials, is_scored, strict=True) if scored]
    frame = frame[is_scored]
    names = view.names(frame)
    settings = [name for name in view.settings if name not in names]
    require_known("column", what, [*names, *settings])
    values = set(frame[what])
    if baseline not in values:
        known = ", ".join(sorted(map(str, values))) or "none"
        raise UserError(f"no trial has {what} {baseline!r}; there are: {known}")
    # Options belong to a method: two methods share none.
    shared = [n for n in names if n != what and not (what == view.method and n == PARAMETERS)]
    is_base = (frame[what] == baseline).to_numpy()
    bases = _baselines(view, frame[is_base], _where(records, is_base), shared)
    kept = [name for name in names if name != what]
    compared, others = [], _where(records, ~is_base)
    for key, members in view.groups(frame[~is_base], [*kept, what]):
        values_of = dict(zip(kept, key, strict=False))
        base = bases.get(tuple(values_of[name] for name in shared))
        of_row = [others[i] for i in members]
        if base and {t.seed for t in of_row} & {t.seed for t in base}:
            together = tuple(values_of[name] for name in view.together(what, shared))
            compared.append(_Compared(key, together, of_row, base))
    effect = smallest_effect if "accuracy" in score else None
    _warn_of_provenance([*one.trials, *one.base] for one in compared)
    found = _differences(view, compared, score)
    rows = [
        (*one.key, d.mean, d.low, d.high, d.n, d.p_single, d.p, verdict_on(d, effect))
        for one, d in zip(compared, found, strict=True)
    ]
    numbers = ["difference", "low", "high", "n_pairs", "p", "p_family", "verdict"]
    return pd.DataFrame(rows, columns=[*kept, what, *numbers])


def _warn_of_provenance(groups: Iterable[list[TrialRecord]]) -> None:
    """Warns where trials that are pooled or compared differ beside their configurations."""
    mixed = [trial for trials in groups if provenance_text(trials) for trial in trials]
    if mixed:
        text = f"trials of one comparison differ in {provenance_text(mixed)}"
        warnings.warn(text, ProvenanceWarning, stacklevel=3)


class _Compared(NamedTuple):
    """Trials that are compared with those of a baseline.

    Attributes:
        key: values of the row of the result.
        together: equal for all rows that are tested together.
        trials: of the row.
        base: of the baseline.
    """

    key: tuple[Any, ...]
    together: tuple[Any, ...]
    trials: list[TrialRecord]
    base: list[TrialRecord]


def _where(records: Sequence[TrialRecord], mask: NDArray[np.bool_]) -> list[TrialRecord]:
    return [record for record, kept in zip(records, mask, strict=True) if kept]


def _differences(view: _View, compared: Sequence[_Compared], score: str) -> list[FamilyDifference]:
    """Returns the difference of every row: that of the tables, if there is one."""
    declared = _declared(view, score)
    keys = [(_ids(one.trials), _ids(one.base)) for one in compared]
    families: dict[tuple[Any, ...], list[int]] = {}
    for place, one in enumerate(compared):
        families.setdefault(one.together, []).append(place)
    found: list[FamilyDifference | None] = [declared.get(key) for key in keys]
    for places in families.values():
        if any(found[place] is None for place in places):
            tested = _tested_together([compared[place] for place in places], score)
            for place, difference in zip(places, tested, strict=True):
                found[place] = found[place] or difference
    return [difference for difference in found if difference is not None]


def _ids(trials: Iterable[TrialRecord]) -> frozenset[str]:
    return frozenset(trial.trial_id for trial in trials)


def _declared(
    view: _View, score: str
) -> dict[tuple[frozenset[str], frozenset[str]], FamilyDifference]:
    """Returns the differences of the questions of the tables, by the trials of both rows."""
    found = {}
    for table in build_from(view.trials, view.layout).tables:
        for asked in table.tested:
            if not asked.question.differences or table.layout.score(asked.protocol) != score:
                continue
            for one, difference in zip(asked.pairs, asked.family.differences, strict=True):
                base = _ids(table.entries[one.baseline].scored(asked.protocol))
                for place in one.rows:
                    found[_ids(table.entries[place].scored(asked.protocol)), base] = difference
    return found


def _tested_together(compared: Sequence[_Compared], score: str) -> Sequence[FamilyDifference]:
    rows: dict[frozenset[str], list[TrialRecord]] = {}
    pairs = []
    for one in compared:
        for of_row in (one.trials, one.base):
            rows.setdefault(_ids(of_row), of_row)
        pairs.append((_ids(one.trials), _ids(one.base)))
    places = {key: place for place, key in enumerate(rows)}
    trials = list(rows.values())
    family = family_of(
        score_matrix(trials, score),
        [(places[row], places[base]) for row, base in pairs],
        resolution=resolution_of((t for of_row in trials for t in of_row), score),
    )
    return family.differences


def _baselines(
    view: _View, frame: pd.DataFrame, records: Sequence[TrialRecord], shared: list[str]
) -> dict[tuple[Any, ...], list[TrialRecord]]:
    """Returns the baseline's trials by what pairs share."""
    trials: dict[tuple[Any, ...], list[TrialRecord]] = {}
    for key, members in view.groups(frame, shared):
        trials[key] = [records[i] for i in members]
        if len({trial.seed for trial in trials[key]}) < len(members):
            found = ", ".join(sorted(set(frame[PARAMETERS].iloc[members])))
            raise UserError(
                f"several trials of the baseline have one seed: it has the parameters {found}; "
                "leave all but one out of the results first"
            )
    return trials


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
