"""The answer of each table in one sentence: which rows differ from the baseline.

It stands above the tables of a sweep that has ended, and above the picture that opens the report.
"""

from collections.abc import Iterable, Sequence

from analysis.data.configs import SOUND
from analysis.statistics.equivalence import DIFFERENT, EQUIVALENT
from analysis.tables.layout import Table
from analysis.tables.percent import percent, points_text

PAIRS = "sound_pairs"

_N_NAMED = 3
"""Rows that are named; of more the number is given."""


def answers(tables: Iterable[Table]) -> list[str]:
    """Returns a sentence for each table that compares rows under the sound protocol."""
    return [text for table in tables if (text := answer(table))]


def answer(table: Table) -> str:
    """Returns which rows of a table differ from its baseline; empty where none can be compared.

    Only rows that are compared with the baseline: not those with weights, which are compared with
    the same row without.
    """
    rows, base = table.rows, table.baseline
    tested = rows.loc[table.compared(SOUND)]
    tested = tested[tested[PAIRS].notna()]
    if not len(tested):
        return ""
    verdicts, differences = tested["sound_verdict"], tested["sound_difference"]
    differs = verdicts == DIFFERENT
    worse = tested[differs & (differences < 0)].sort_values("sound_difference")
    better = tested[differs & (differences > 0)].sort_values("sound_difference")[::-1]
    same = tested[verdicts == EQUIVALENT]
    n_left = len(tested) - len(worse) - len(better) - len(same)
    names = table.row_names
    baseline = f"{names[base]} ({percent(rows['sound_accuracy'][base])} %)"
    seeds = _seeds(tested[PAIRS].tolist())
    texts = []
    for found, verb in ((worse, "is better than"), (better, "is worse than")):
        if len(found):
            shown = [
                f"{names[i]} by {_points(*values)}"
                for i, *values in zip(
                    found.index,
                    found["sound_difference"],
                    found["sound_difference_low"],
                    found["sound_difference_high"],
                    strict=True,
                )
            ]
            texts.append(f"{verb} {_listed(shown)}")
    if len(same):
        shown = [names[i] for i in same.index]
        within = points_text(table.smallest_effect)
        texts.append(f"is equivalent to {_listed(shown)} within {within}")
    if n_left:
        rest = f"the other {n_left} rows" if n_left > 1 else "the other row"
        texts.append(f"cannot be told apart from {rest}")
    return f"{table.title}: {baseline} {_joined(texts)} ({seeds})."


def _points(difference: float, low: float, high: float) -> str:
    half = abs(high - low) / 2
    return f"{percent(abs(difference))} ± {percent(half)} points"


def _seeds(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    if low == high:
        return "1 seed" if low == 1 else f"{low} seeds"
    return f"{low} to {high} seeds"


def _listed(texts: Sequence[str]) -> str:
    n_more = len(texts) - _N_NAMED
    if n_more <= 0:
        return _joined(texts)
    return _joined([*texts[:_N_NAMED], f"{n_more} other{'s' * (n_more > 1)}"])


def _joined(texts: Sequence[str]) -> str:
    """Returns texts as a list in a sentence."""
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))
