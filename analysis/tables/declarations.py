"""The declarations that a table layout is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


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
