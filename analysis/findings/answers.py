"""The answer of each table in one sentence: which rows differ from the baseline.

It stands above the tables of a sweep that has ended, and above the picture that opens the report.
"""

from collections.abc import Iterable, Sequence

from analysis.tables.layout import Table
from analysis.tables.percent import percent

_N_NAMED = 3
"""Rows that are named; of more the number is given."""


def answers(tables: Iterable[Table]) -> list[str]:
    """Returns a sentence for each table that compares rows under the sound protocol."""
    return [text for table in tables if (text := answer(table))]


def answer(table: Table) -> str:
    """Returns which rows of a table differ from its baseline; empty where none can be compared.

    A row differs where its verdict under the correction over all rows of the table says so.
    """
    rows, base = table.rows, table.baseline
    tested = rows[rows["n_pairs"].notna()]
    if not len(tested):
        return ""
    differs = tested["survives_holm"].fillna(value=False).astype(bool)
    worse = tested[differs & (tested["difference"] < 0)].sort_values("difference")
    better = tested[differs & (tested["difference"] > 0)].sort_values("difference")[::-1]
    n_left = len(tested) - len(worse) - len(better)
    names = table.row_names
    baseline = f"{names[base]} ({percent(rows['sound_accuracy'][base])} %)"
    seeds = f"{_range(tested['n_pairs'].tolist())} seeds"
    texts = []
    for found, verb in ((worse, "is better than"), (better, "is worse than")):
        if len(found):
            shown = [
                f"{names[i]} by {_points(*values)}"
                for i, *values in zip(
                    found.index,
                    found["difference"],
                    found["difference_low"],
                    found["difference_high"],
                    strict=True,
                )
            ]
            texts.append(f"{verb} {_listed(shown, 'others')}")
    if n_left:
        rest = f"the other {n_left} rows" if n_left > 1 else "the other row"
        texts.append(f"cannot be told apart from {rest}")
    return f"{table.title}: {baseline} {_joined(texts)} ({seeds})."


def _points(difference: float, low: float, high: float) -> str:
    half = abs(high - low) / 2
    return f"{percent(abs(difference))} ± {percent(half)} points"


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _listed(texts: Sequence[str], others: str) -> str:
    if len(texts) <= _N_NAMED:
        return _joined(texts)
    return _joined([*texts[:_N_NAMED], f"{len(texts) - _N_NAMED} {others}"])


def _joined(texts: Sequence[str]) -> str:
    """Returns texts as a list in a sentence."""
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))
