"""The layout of the tables of one kind of trials, and the tables that are built by it.

A layout says what a row of a table is and which row the others are compared with. All trials of a
table share their *setting*: every field and option of the configuration that is neither in the
row, nor the protocol, nor the seed. It is derived, so trials that differ in anything but the seed
never share a row.

A kind of trials needs no more than

    LAYOUT = TableLayout(kind="toy", row=("method",), baseline={"method": "plain"})

and overrides the methods of `TableLayout` where its tables say more.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import pandas as pd

from analysis.data.configs import PUBLISHED, ConfigFacts, Options
from analysis.data.trials import TrialRecord
from analysis.tables import texts
from analysis.tables.declarations import (
    Images,
    MeanColumn,
    Pair,
    Question,
    Row,
    RowField,
    Topic,
    Values,
)
from analysis.tables.notes import INTERVAL, balance_note, provenance_note
from analysis.tables.questions import AskedQuestion
from analysis.tables.topics import WEIGHTED
from distill.components import plain_type, resolve_reference
from distill.config.base import Config
from distill.kinds import KINDS

MIN_RANKED = 3
"""Rows from which an order is tested."""

Printed = Mapping[Values, Mapping[str, float]]
"""Published `accuracy` and `loss` (either may be absent) by row. These rows come first in a table,
in this order, whether there are trials or not."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The setting that the trials of a table share.

    Attributes:
        setting: fields and options of the configuration.
        distinguishing: those that distinguish the table from others with the same
            `TableLayout.title_fields`.
        size: value of `TableLayout.size_field`; None where there is none.
    """

    setting: Mapping[str, Any]
    distinguishing: Mapping[str, Any]
    size: Any = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table in numbers.

    Attributes:
        layout: by which it was built.
        scope: the setting of its trials.
        entries: its rows, in order.
        rows: the numbers of `entries`, one row each. After `TableLayout.row_columns`:
            `published_accuracy`, `published_loss`; for `reproduced` and `sound` each `…_accuracy`
            (mean over seeds) with its t interval `…_low`, `…_high`, `…_seeds` (number of trials),
            `…_failed`, `…_missing` (planned seeds without a result), the means of the layout with
            their t intervals, `…_seconds`, `…_gpu_seconds`; `…_difference` from the row that the
            question of the row compares it with, paired by seed, with its simultaneous interval
            `…_difference_low`, `…_difference_high`, `…_pairs` (common seeds), `…_p` (of this
            difference alone), `…_p_family` (adjusted for all of the question), `…_verdict`
            (`different`, `equivalent`, `undecided` or empty) and `…_best` (probability that the row
            has the highest mean). Accuracies are fractions in [0, 1]. What does not exist is NaN,
            NA or the empty text.
        failed: number of failed trials, by status.
        tested: the questions of the layout under each protocol that has rows.
        smallest_effect: of interest, for equivalence.
        target_accuracy: the time to it is found, a fraction; None: chosen by the baseline.
    """

    layout: "TableLayout"
    scope: Scope
    entries: tuple[Row, ...]
    rows: pd.DataFrame
    failed: Mapping[str, int]
    tested: tuple[AskedQuestion, ...]
    smallest_effect: float
    target_accuracy: float | None = None

    @property
    def setting(self) -> Mapping[str, Any]:
        """Fields and options that all trials share."""
        return self.scope.setting

    @property
    def distinguishing(self) -> Mapping[str, Any]:
        """Those of them that distinguish the table from similar ones."""
        return self.scope.distinguishing

    @property
    def title(self) -> str:
        """What the table is of."""
        return self.layout.title(self.scope)

    @property
    def name(self) -> str:
        """Name for files."""
        return self.layout.file_name(self.scope)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the rows."""
        return tuple(row.label for row in self.entries)

    @property
    def keys(self) -> dict[str, tuple[str, ...]]:
        """Heading → cells of the columns that identify a row in print."""
        return {
            heading: self.labels if column == "label" else tuple(map(str, self.rows[column]))
            for heading, column in self.layout.key_columns.items()
        }

    @property
    def row_names(self) -> tuple[str, ...]:
        """The rows in print, all keys together."""
        return tuple(" ".join(cells) for cells in zip(*self.keys.values(), strict=True))

    @property
    def baseline(self) -> int:
        """Position of the row that the others are compared with."""
        return next(i for i, row in enumerate(self.entries) if row.is_baseline)

    def compared(self, protocol: str) -> list[int]:
        """Returns the rows that are compared with the baseline under a protocol.

        Those of the first question with differences and of questions that join it; not those that
        are compared with other rows, such as weights.
        """
        asked = [a for a in self.tested if a.question.differences and a.protocol == protocol]
        main = [*asked[:1], *(a for a in asked[1:] if a.question.joins_first)]
        return sorted(row for a in main for pair in a.pairs for row in pair.rows)

    @property
    def n_fingerprints(self) -> int:
        """Number of different sets of images that the trials ran on."""
        trials = (trial for row in self.entries for trial in row.trials)
        return len({trial.fingerprint for trial in trials if trial.fingerprint is not None})

    @cached_property
    def members(self) -> pd.DataFrame:
        """The trials, one row each, by row of the table, seed and trial_id.

        Columns: `trial_id`, `state`, `status`, `protocol`, `seed`, `row` (position), `label` of
        the row, `variant` (number of the row among those of its method), `is_usual`, `method` (the
        first value of the row), the values of the row by column, and the numbers of `TrialRecord`.
        """
        layout = self.layout
        records: list[dict[str, Any]] = []
        seen: dict[Any, int] = {}
        for position, row in enumerate(self.entries):
            variant = seen[row.values[0]] = seen.get(row.values[0], -1) + 1
            shared = {
                "row": position,
                "label": row.label,
                "variant": variant,
                "is_usual": row.is_usual,
                "method": row.values[0],
                **layout.by_column(row.values),
            }
            records += [_member(trial, shared) for trial in row.trials]
        return pd.DataFrame(records)


def _member(trial: TrialRecord, shared: Mapping[str, Any]) -> dict[str, Any]:
    names = ("trial_id", "state", "status", "protocol", "seed")
    return {**{name: getattr(trial, name) for name in names}, **shared, **trial.numbers}


@dataclass(frozen=True, kw_only=True)
class TableLayout:
    """How trials of one kind become tables, findings and figures.

    Attributes:
        kind: name of the kind of trials.
        row: what a row is. The first field names the method; the options of the components that the
            fields name are implied: trials that differ in them are variants, in different rows.
        baseline: values of the row that the others are compared with, by field.
        variant_fields: further fields and options that tell variants of a method apart.
        usual_options: options of the usual variant of a method, by method; else its defaults.
        title_fields: fields in every title; other fields only where tables differ in them.
        size_field: an option for each value of which there is a table of its own; trials of
            components without that option are in all of them.
        special: layouts for some settings, by the values of these.
        reproduced_score: the score that tables show under the published protocol.
        means: further columns.
        shows_parameters: whether `…_parameters`, the options of the trials, are columns.
        labels_usual: whether the usual variant is labelled with its options where there are others.
        keys: heading → column of `row_columns`, or `label`, of the columns that identify a row in
            print; empty: the label and the other values of the row.
        headings: of the scores of the protocols that are printed.
        published_heading: of the published scores.
        questions: what is tested; None: every row against the baseline.
        further_findings: reference of a function from a table, a protocol and the sweeps (None:
            not at hand) to further findings; None: none.
        further_topics: of those.
        joint_findings: reference of a function from all tables of the layout to findings over
            several of them; None: none. Their topics are among `further_topics`.
        joint_tables: reference of a function from all tables of the layout to tables over them
            (`analysis.tables.quality.JointTable`); None: none.
        remark: reference of a function that returns the last line of the summary; None: none.
        figures: reference of a generator of the figures of a table, from it and the sweeps.
        joint_figures: reference of a generator of figures over all tables of the layout.
        sweep_figures: reference of a generator of figures over all results, from the sweeps.
        images: shown for every row; None: none.
        marks: fields that name the marks in figures of searches, the first that has a value;
            empty: the method.
    """

    kind: str
    row: tuple[str | RowField, ...]
    baseline: Mapping[str, Any]
    variant_fields: tuple[str, ...] = ()
    usual_options: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    title_fields: tuple[str, ...] = ("dataset",)
    size_field: str | None = None
    special: "tuple[tuple[Mapping[str, Any], TableLayout], ...]" = ()
    reproduced_score: str = "accuracy"
    means: tuple[MeanColumn, ...] = (MeanColumn(name="loss", number="loss"),)
    shows_parameters: bool = True
    labels_usual: bool = False
    keys: Mapping[str, str] = dataclasses.field(default_factory=dict)
    headings: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: {
            "reproduced": "reproduced\nlast epoch (n)",
            "sound": "sound\nlast epoch (n)",
        }
    )
    published_heading: str = "published"
    questions: tuple[Question, ...] | None = None
    further_findings: Any = None
    further_topics: tuple[Topic, ...] = ()
    joint_findings: Any = None
    joint_tables: Any = None
    remark: Any = None
    figures: Any = None
    joint_figures: Any = None
    sweep_figures: Any = None
    images: Images | None = None
    marks: tuple[str, ...] = ()

    # --- derived from the configuration ---------------------------------------------------------

    @property
    def config(self) -> type[Config]:
        """The configuration of the trials."""
        return KINDS[self.kind].config

    @cached_property
    def facts(self) -> ConfigFacts:
        """Facts about the configuration."""
        return ConfigFacts(self.config)

    @cached_property
    def row_fields(self) -> tuple[RowField, ...]:
        """What a row is."""
        return tuple(RowField(name=f) if isinstance(f, str) else f for f in self.row)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns of `row_fields`."""
        return tuple(field.column or field.name for field in self.row_fields)

    @cached_property
    def option_names(self) -> tuple[str, ...]:
        """The options and fields in which variants of a row differ, as they are declared."""
        names = {field.name for field in self.row_fields}
        implied = set().union(*(self.facts.implied_options(name) for name in names))
        declared = self.facts.declared
        options = [n for n in declared if n in implied - names and n not in self.variant_fields]
        return (*options, *self.variant_fields)

    @cached_property
    def setting_fields(self) -> tuple[str, ...]:
        """The fields and options in which trials of a table do not differ."""
        others = {
            "protocol",
            "seed",
            *self.option_names,
            *(field.name for field in self.row_fields),
        }
        names = [*self.title_fields, *self.facts.declared]
        return tuple(name for name in dict.fromkeys(names) if name not in others)

    @property
    def all_layouts(self) -> "tuple[TableLayout, ...]":
        """This layout and the special ones."""
        return (self, *(layout for _, layout in self.special))

    # --- rows -----------------------------------------------------------------------------------

    def special_for(self, setting: Mapping[str, Any]) -> "TableLayout":
        """Returns the layout of a setting: a special one, or this one."""
        for values, layout in self.special:
            if all(setting[name] == value for name, value in values.items()):
                return layout
        return self

    def values(self, config: Mapping[str, Any]) -> Values:
        """Returns the values of the row of a trial.

        Args:
            config: plain values of its resolved configuration.
        """
        return tuple(
            self.facts.chosen(field.name, config)
            if field.value is None
            else field.value(config[field.name], config["protocol"])
            for field in self.row_fields
        )

    def changed_options(self, config: Mapping[str, Any]) -> Options:
        """Returns the options of a trial that are not the defaults of its method and protocol."""
        name = self.row_fields[0].name
        return self.facts.changed_options(name, self.option_names, config)

    def options(self, config: Mapping[str, Any]) -> Options:
        """Returns the options of a trial that have a value."""
        return tuple((n, config[n]) for n in self.option_names if config.get(n) is not None)

    def parameters(self, config: Mapping[str, Any]) -> str:
        """Returns the options that belong to the components of a trial's row, as text."""
        options = (pair for pair in self.options(config) if pair[0] not in self.variant_fields)
        return texts.options_text(options)

    def by_column(self, values: Values) -> dict[str, Any]:
        """Returns the values of a row by column."""
        return dict(zip(self.columns, values, strict=True))

    def values_order(self, values: Values, shown: Options) -> list[Any]:
        """Returns a sort key of a row: method and its options, variants, then further fields."""
        implied = self.facts.implied_options(self.row_fields[0].name)
        before: list[Any] = []
        after: list[Any] = []
        for field, value in zip(self.row_fields, values, strict=True):
            key = field.order(value) if field.order else self.facts.order(field.name, value)
            is_method = field is self.row_fields[0] or field.name in implied
            (before if is_method else after).append(key)
        return [before, [(name, value is None, value) for name, value in shown], after]

    def baseline_of(self, scope: Scope) -> Mapping[str, Any]:
        """Returns the values of the baseline row, by field; None for fields that are left out."""
        del scope
        return self.baseline

    def published(self, scope: Scope) -> Printed:
        """Returns published numbers."""
        del scope
        return {}

    def published_elsewhere(self, scope: Scope) -> str:
        """Returns what published numbers are of, as a second line of a heading.

        Empty where that is what the table is of. Else a published loss is not printed: it depends
        on images and network.
        """
        del scope
        return ""

    def is_papers(self, scope: Scope, row: Row, protocol: str) -> bool:
        """Whether trials of a row under a protocol computed what the paper did.

        Only then do findings say whether its printed differences hold.
        """
        del scope, row, protocol
        return False

    # --- texts ----------------------------------------------------------------------------------

    def method_label(self, method: str) -> str:
        """Returns the printed name of a method."""
        return self.facts.label(self.row_fields[0].name, method)

    def option_text(self, name: str, value: Any) -> str:
        """Returns an option in a label: its name and value; flags and labelled components alone."""
        registry = self.facts.registry(name)
        if registry is not None and registry.label(str(value)) != value:
            return registry.label(value)
        if value is True:
            return name
        return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"

    def shown_text(self, options: Options) -> str:
        """Returns the options that a label shows as text."""
        found = (self.option_text(name, value) for name, value in options)
        return ", ".join(text for text in found if text)

    def label(self, values: Values, options: str) -> str:
        """Returns the label of a row.

        Args:
            values: of the row.
            options: those that it shows, as text.
        """
        method = self.method_label(values[0])
        return f"{method} ({options})" if options else method

    def row_columns(self, scope: Scope, row: Row) -> dict[str, Any]:
        """Returns the first columns of the numbers of a row."""
        del scope
        return {**self.by_column(row.values), "label": row.label, "baseline": row.is_baseline}

    @property
    def key_columns(self) -> Mapping[str, str]:
        """Heading → column of the columns that identify a row in print."""
        others = {column: column for column in self.columns[1:]}
        return self.keys or {self.columns[0]: "label", **others}

    def title(self, scope: Scope) -> str:
        """Returns what a table is of."""
        dataset = texts.dataset_label(scope.setting["dataset"])
        return ", ".join([f"{self.kind}: {dataset}", *texts.setting_texts(scope.distinguishing)])

    def title_prefix(self, scope: Scope) -> str:
        """Returns what precedes the title of a printed table."""
        del scope
        return ""

    def file_parts(self, scope: Scope) -> Sequence[str]:
        """Returns the parts of the name of a table's files."""
        return (self.kind, texts.dataset_word(scope.setting["dataset"]))

    def file_name(self, scope: Scope) -> str:
        """Returns the name of a table's files, with a hash where its parts are not unique."""
        setting, tail = scope.setting, dict(scope.distinguishing)
        if ":" in setting["dataset"] or setting["classes"]:
            tail |= {"dataset": setting["dataset"], "classes": setting["classes"]}
        return texts.file_stem(self.file_parts(scope), tail)

    def notes(self, table: Table) -> list[str]:
        """Returns the notes of a table before that on differences."""
        del table
        return [INTERVAL]

    def more_notes(self, table: Table) -> list[str]:
        """Returns the notes after that on differences."""
        return [
            *fingerprint_note(table),
            *provenance_note(table.entries),
            *balance_note(table.entries, table.row_names),
        ]

    # --- findings and figures -------------------------------------------------------------------

    @cached_property
    def asked(self) -> tuple[Question, ...]:
        """The questions whose answers are findings."""
        if self.questions is not None:
            return self.questions
        topic = Topic(
            name=f"{self.kind}s",
            title=f"Rows of {self.kind}, against the baseline (paired by seed)",
            subject=f"Trials of {self.kind}",
            comparisons="comparisons with the baseline",
        )
        return (Question(topic=topic, pairs=against_baseline, differences="from baseline"),)

    def score(self, protocol: str) -> str:
        """Returns the score that is compared under a protocol."""
        return self.reproduced_score if protocol == PUBLISHED else "accuracy"

    @property
    def topics(self) -> tuple[Topic, ...]:
        """All topics of findings, in order."""
        return (*(question.topic for question in self.asked), *self.further_topics)


def against_baseline(rows: Sequence[Row]) -> list[Pair]:
    """Returns every row of a table with the baseline."""
    base = next(i for i, row in enumerate(rows) if row.is_baseline)
    return [Pair(row=i, baseline=base, label=row.label) for i, row in enumerate(rows) if i != base]


def printed_order(rows: Sequence[Row]) -> list[Pair]:
    """Returns each row with a printed accuracy and the next lower one in print.

    Only rows with scores under the published protocol, at least three: two have no order.
    """
    printed = [
        position
        for position, row in enumerate(rows)
        if not math.isnan(row.published.get("accuracy", math.nan)) and row.scored(PUBLISHED)
    ]
    by_rank = sorted(printed, key=lambda position: -rows[position].published["accuracy"])
    if len(by_rank) < MIN_RANKED:
        return []
    return [
        Pair(row=above, baseline=below, label=f"{rows[above].label} − {rows[below].label}")
        for above, below in pairwise(by_rank)
    ]


def against_variant(
    rows: Sequence[Row], name: str, value: Any, values_of: Callable[[Values], Values] = tuple
) -> list[Pair]:
    """Returns every row in which an option has another value, with the row where it has this one.

    Args:
        rows: of the table.
        name: of the option, one of `TableLayout.option_names`.
        value: of the rows that the others are compared with.
        values_of: the values of that row, from those of the other.
    """
    places = {(row.values, frozenset(row.options)): i for i, row in enumerate(rows)}
    pairs = []
    for i, row in enumerate(rows):
        options = dict(row.options)
        plain = frozenset((options | {name: value}).items())
        baseline = places.get((values_of(row.values), plain))
        if options.get(name, value) != value and baseline is not None:
            pairs.append(Pair(row=i, baseline=baseline, label=row.label))
    return pairs


def _weighted(rows: Sequence[Row]) -> list[Pair]:
    """Returns every row with weights in training and that of the same images without."""
    return against_variant(rows, "weights_in", "matching")


WEIGHTED_QUESTION = Question(topic=WEIGHTED, pairs=_weighted)
"""What weights in training do to chosen images and to sets."""


def fingerprint_note(table: Table) -> list[str]:
    """Returns a warning where the trials of a table ran on different images."""
    if table.n_fingerprints <= 1:
        return []
    return [f"Careful: these trials ran on {table.n_fingerprints} different sets of images."]


def integer_columns(layout: TableLayout) -> set[str]:
    """Returns the columns of rows that hold integers."""
    return {
        column
        for row_field, column in zip(layout.row_fields, layout.columns, strict=True)
        if plain_type(layout.facts.declared[row_field.name]) is int
    }


def layout_of(kind: str) -> TableLayout:
    """Returns the layout of a kind of trials, with the components that are registered now.

    Raises:
        UserError: there is no such kind.
    """
    layout: TableLayout = resolve_reference(KINDS[kind].layout)
    special = tuple((values, dataclasses.replace(one)) for values, one in layout.special)
    return dataclasses.replace(layout, special=special)
