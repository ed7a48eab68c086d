"""What other labels than hard ones do to the differences from random real images.

For every set, its difference from as many random images under the other labels, less that under
hard labels, seed by seed. A set whose lead is that of its labels loses it here.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from analysis.data.configs import SOUND
from analysis.findings.claims import Finding
from analysis.findings.interactions import (
    Interaction,
    Trials,
    interaction_findings,
    interaction_of,
)
from analysis.tables.declarations import Pair
from analysis.tables.evaluation import HARD, LABELS_TOPIC, SETS_TOPIC, recipe_fields
from analysis.tables.layout import Table


def label_findings(tables: Sequence[Table]) -> list[Finding]:
    """Returns the findings over tables that differ in the labels alone."""
    return [
        finding
        for hard, other in _by_labels(tables)
        for finding in interaction_findings(
            label_interaction(hard, other),
            setting=f"{other.title}, against hard ones",
            topic=LABELS_TOPIC,
            mean_over="sets",
            smallest_effect=other.smallest_effect,
        )
    ]


def _by_labels(tables: Sequence[Table]) -> Iterator[tuple[Table, Table]]:
    """Yields every table of other labels with that of hard labels."""
    hard = {_recipe(table): table for table in tables if table.setting["labels"] == HARD}
    for table in tables:
        if table.setting["labels"] != HARD and _recipe(table) in hard:
            yield hard[_recipe(table)], table


def _recipe(table: Table) -> tuple[Any, ...]:
    setting = table.setting
    names = recipe_fields(table.layout, setting)
    return (table.scope.size, *((name, setting[name]) for name in names))


def label_interaction(hard: Table, other: Table) -> Interaction:
    """Returns the differences from random images under other labels less those under hard ones.

    Args:
        hard: table of hard labels.
        other: table of the same setting with other labels.
    """
    first, second = _from_random(hard), _from_random(other)
    by_row = {hard.labels[row]: pair for pair in first for row in pair.rows}
    shared = (pair for pair in second if other.labels[pair.row] in by_row)
    return interaction_of(
        {
            pair.label: (*_trials(other, pair), *_trials(hard, by_row[other.labels[pair.row]]))
            for pair in shared
        }
    )


def _from_random(table: Table) -> list[Pair]:
    """Returns the pairs of sets and random images."""
    asked = [a for a in table.tested if (a.question.topic, a.protocol) == (SETS_TOPIC, SOUND)]
    return [pair for a in asked for pair in a.pairs]


def _trials(table: Table, pair: Pair) -> tuple[Trials, Trials]:
    rows = table.entries
    return rows[pair.row].scored(SOUND), rows[pair.baseline].scored(SOUND)
