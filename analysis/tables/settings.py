"""Rows that several tables share: their scores over settings, for ranks."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.tables.layout import Table
from analysis.tables.rows import PROTOCOLS

MIN_ROWS = 3
"""Rows from which there is an order."""


class SharedScores(NamedTuple):
    """Mean scores of the rows that all of some tables have.

    Attributes:
        names: (m,) of the rows.
        methods: (m,) of the rows.
        scores: (n, m) tables by rows, fractions in [0, 1].
    """

    names: tuple[str, ...]
    methods: tuple[str, ...]
    scores: NDArray[np.float64]


def shared_scores(tables: Sequence[Table], protocol: str) -> SharedScores | None:
    """Returns the scores of the rows that all tables have under a protocol.

    Tables with fewer than `MIN_ROWS` scored rows are left out.

    Args:
        tables: of one layout; each is a setting.
        protocol: of the scores.

    Returns:
        The scores; None for fewer than two tables, or fewer than `MIN_ROWS` rows in all of them.
    """
    prefix = next(p for p, of in PROTOCOLS.items() if of == protocol)
    by_table = []
    for table in tables:
        means = table.rows[f"{prefix}_accuracy"].tolist()
        scored = {n: m for n, m in zip(table.row_names, means, strict=True) if m == m}
        if len(scored) >= MIN_ROWS:
            by_table.append((table, scored))
    if len(by_table) < 2:
        return None
    first, _ = by_table[0]
    methods = dict(zip(first.row_names, (row.values[0] for row in first.entries), strict=True))
    names = tuple(n for n in methods if all(n in scored for _, scored in by_table))
    if len(names) < MIN_ROWS:
        return None
    scores = np.array([[scored[name] for name in names] for _, scored in by_table])
    return SharedScores(names, tuple(str(methods[name]) for name in names), scores)
