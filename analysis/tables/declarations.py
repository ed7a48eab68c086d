"""The declarations that a table layout is made of.

A *question* is a family of comparisons: pairs of rows whose differences are tested together, with
one correction. It is declared once, and the stars of tables, the findings and `pair` all test it in
the same way.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.data.configs import PUBLISHED, SOUND, Options
from analysis.data.trials import TrialRecord

Values = tuple[Any, ...]
"""The values of a row, one for each of `TableLayout.row_fields`."""


@dataclass(frozen=True, kw_only=True)
class RowField:
    """A field or option of the configuration that is part of a row.

    Attributes:
        name: of the field or option.
        column: its column in tables; empty: the name.
        value: returns the value that tables show for a value and a protocol; None: the value; of a
            component the one that was chosen (`configs.chosen`).
        order: returns a sort key of a shown value; None: the order of the registry or of values.
    """

    name: str
    column: str = ""
    value: Callable[[Any, str], Any] | None = None
    order: Callable[[Any], Any] | None = None


@dataclass(frozen=True, kw_only=True)
class MeanColumn:
    """A column with the mean of a number over the finished trials of a row.

    Attributes:
        name: of the column and its heading.
        number: of the trials, see `analysis.data.trials.score_columns`.
        is_count: printed as a count, not as a number of any size.
    """

    name: str
    number: str
    is_count: bool = False


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images that trials left in the store; those of the first seed of a row are shown.

    Attributes:
        folder: of the store.
        label: what they are, for titles.
    """

    folder: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Topic:
    """A group of findings.

    Attributes:
        name: short, in the numbers behind the findings.
        title: heading of the group.
        subject: what its claims are about; empty: the summary does not count them.
        comparisons: what the summary counts.
        sentence: a line of the summary for each finding, with `{table}` and `{cases}`.
    """

    name: str
    title: str
    subject: str = ""
    comparisons: str = ""
    sentence: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a table.

    Attributes:
        values: see `Values`.
        options: those of the trials, as the sound protocol has them where there are sound trials.
        shown: those that the label shows: what distinguishes the row from other variants.
        label: what is printed for it, without the further keys.
        is_usual: whether it is the usual variant of its method, the one that was published.
        is_baseline: whether the other rows are compared with it.
        published: numbers that were printed for it, `accuracy` and `loss`, fractions in [0, 1].
        trials: by seed and trial_id.
    """

    values: Values
    options: Options
    shown: Options
    label: str
    is_usual: bool
    is_baseline: bool
    published: Mapping[str, float]
    trials: tuple[TrialRecord, ...]

    def scored(self, protocol: str) -> list[TrialRecord]:
        """Returns the finished trials under a protocol."""
        return [t for t in self.trials if t.protocol == protocol and t.state == "ok"]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two rows of a table that are compared.

    Attributes:
        row: position of the row of which something is claimed.
        baseline: position of the row that it is compared with.
        label: of the comparison.
        copies: positions of further rows with the same results to the last digit, such as of
            choices that take the same images: one result, which is tested once.
    """

    row: int
    baseline: int
    label: str
    copies: tuple[int, ...] = ()

    @property
    def rows(self) -> tuple[int, ...]:
        """The row and its copies."""
        return (self.row, *self.copies)


@dataclass(frozen=True, kw_only=True)
class Question:
    """Pairs of rows whose differences answer one question: one family of tests.

    Attributes:
        topic: of the findings.
        pairs: returns the pairs among the rows of a table.
        protocols: under which it is asked.
        differences: what the differences of a row are from, for the note of a table; empty: they
            are not in the table. A row is in the pairs of at most one question of a table.
        joins_first: whether its rows stand beside those of the table's first question with
            differences in pictures and sentences; they are compared with the same baseline.
        pooled: what the mean over all pairs is called in findings; empty: it is not asked for.
        names_untested: whether a pair is named that has neither trials nor published numbers.
    """

    topic: Topic
    pairs: Callable[[Sequence[Row]], Sequence[Pair]]
    protocols: tuple[str, ...] = (PUBLISHED, SOUND)
    differences: str = ""
    joins_first: bool = False
    pooled: str = ""
    names_untested: bool = False
