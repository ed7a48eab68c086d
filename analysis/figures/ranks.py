"""Critical-difference pictures: mean ranks of the rows that several tables share.

Rows that a bar joins cannot be told apart (Nemenyi, see `analysis.statistics.ranks`).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.plot import ENDINGS, Plot
from analysis.figures.style import INK, MUTED, look, new_figure
from analysis.statistics.ranks import compare_ranks
from analysis.tables.layout import Table
from analysis.tables.settings import shared_scores

_ROW_INCHES, _FRAME_INCHES = 0.24, 1.1


def plots(tables: Sequence[Table]) -> Iterator[Plot]:
    """Yields a picture for each protocol under which several tables share rows."""
    for protocol, (ending, under) in ENDINGS.items():
        numbers = build(tables, protocol)
        if len(numbers):
            kind = tables[0].layout.kind
            yield Plot(
                name=f"{kind}-ranks{ending}",
                title=f"Mean ranks over {numbers['settings'].iloc[0]} tables{under}",
                caption="1 is best. Rows that a bar joins cannot be told apart (Nemenyi, 5 %).",
                numbers=numbers,
                draw=draw,
            )


def build(tables: Sequence[Table], protocol: str) -> pd.DataFrame:
    """Returns the mean ranks of the rows that tables share, the best first.

    Returns:
        A frame with `row`, `method`, `mean_rank`, `critical_difference`, `p` (Friedman) and
        `settings` (number of tables); without rows where there is nothing to compare.
    """
    shared = shared_scores(tables, protocol)
    if shared is None:
        return pd.DataFrame()
    found = compare_ranks(shared.scores)
    numbers = pd.DataFrame(
        {
            "row": shared.names,
            "method": shared.methods,
            "mean_rank": found.mean_ranks,
            "critical_difference": found.critical_difference,
            "p": found.p,
            "settings": found.n_settings,
        }
    )
    return numbers.sort_values("mean_rank", kind="stable", ignore_index=True)


def groups(mean_ranks: Sequence[float], critical_difference: float) -> list[tuple[int, int]]:
    """Returns first and last position of every largest group within the critical difference.

    Args:
        mean_ranks: ascending.
        critical_difference: of two of them.

    Example:
        >>> groups([1.0, 1.5, 2.4, 5.0], 1.0)
        [(0, 1), (1, 2)]
    """
    ends = np.searchsorted(mean_ranks, np.asarray(mean_ranks) + critical_difference) - 1
    found: list[tuple[int, int]] = []
    for start, end in enumerate(ends.tolist()):
        if end > start and (not found or end > found[-1][1]):
            found.append((start, end))
    return found


def draw(numbers: pd.DataFrame) -> Figure:
    """Draws the rows below one another, with bars beside them that join groups."""
    ranks = numbers["mean_rank"].tolist()
    figure = new_figure(6.0, _FRAME_INCHES + _ROW_INCHES * len(ranks))
    axes = figure.subplots()
    for place, (row, method) in enumerate(zip(numbers["row"], numbers["method"], strict=True)):
        style = look(str(method))
        axes.plot(
            [ranks[place]],
            [place],
            linestyle="None",
            marker=style.marker,
            color=style.colour,
            label=str(row),
        )
    bars = groups(ranks, float(numbers["critical_difference"].iloc[0]))
    right = max(ranks)
    for step, (first, last) in enumerate(bars, 1):
        x = right + 0.25 * step
        axes.plot([x, x], [first - 0.2, last + 0.2], color=INK, linewidth=3, solid_capstyle="butt")
    axes.set_xlim(min(1.0, *ranks) - 0.3, right + 0.25 * (len(bars) + 1))
    axes.set_yticks(range(len(ranks)), labels=numbers["row"].tolist())
    axes.set_ylim(len(ranks) - 0.4, -0.6)
    axes.set_xlabel("mean rank (1: best)")
    axes.grid(visible=False, axis="y")
    axes.axvline(1.0, color=MUTED, linewidth=1)
    return figure
