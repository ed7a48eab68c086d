"""Share of the images in clusters of at most a size.

It shows why single linkage and DBSCAN do badly: a line that stays at the bottom up to the size of
nearly a whole class is one giant cluster; one that starts high has most images in none.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from analysis.figures.bands import draw_band
from analysis.figures.style import legend_below, new_figure, ordered

NONE = 0.5
"""Where images in no cluster are drawn on the logarithmic axis of sizes."""


def build(members: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Returns the distribution of cluster sizes at the last clustering of every row's trials.

    Args:
        members: trials with `trial_id`, `method` and `label`.
        results: of these trials, see `sweeps.load_results`; those without a distribution
            (of earlier versions, and that do not cluster) are left out.

    Returns:
        A frame with `method`, `label`, `size` (0 for no cluster, then 1, 3, 7, …: the largest of
        each octave), `mean`, `minimum` and `maximum` over trials of the share of images that lie
        in no cluster or in one of at most this size, `clusters` (mean number of this octave's
        clusters, over all classes) and `seeds` (number of trials).
    """
    trials = members[["trial_id", "method", "label"]].merge(
        results[["trial_id", "cluster_size_histogram", "cluster_size_shares"]].dropna(),
        on="trial_id",
    )
    frames = [
        _distribution(
            group["cluster_size_shares"].tolist(), group["cluster_size_histogram"].tolist()
        ).assign(method=str(method), label=str(label))
        for (method, label), group in trials.groupby(["method", "label"], sort=True)
    ]
    columns = "method label size mean minimum maximum clusters seeds".split()
    if not frames:
        return pd.DataFrame(columns=columns)
    return pd.concat(frames, ignore_index=True)[columns]


def _distribution(
    shares: Sequence[Sequence[float]], counts: Sequence[Sequence[int]]
) -> pd.DataFrame:
    length = max(map(len, shares))
    noise = np.array([[max(0.0, 1 - sum(share))] for share in shares])
    in_clusters = np.array([np.pad(share, (0, length - len(share))) for share in shares])
    at_most = np.hstack([noise, in_clusters]).cumsum(axis=1).clip(max=1)
    clusters = np.array([np.pad(count, (1, length - len(count))) for count in counts])
    return pd.DataFrame(
        {
            "size": 2 ** np.arange(length + 1) - 1,
            "mean": at_most.mean(axis=0),
            "minimum": at_most.min(axis=0),
            "maximum": at_most.max(axis=0),
            "clusters": clusters.mean(axis=0),
            "seeds": len(at_most),
        }
    )


def draw(numbers: pd.DataFrame) -> Figure:
    """Draws a line a method; bands go from the lowest trial to the highest."""
    shown = numbers.assign(size=numbers["size"].clip(lower=NONE))
    figure = new_figure()
    axes = figure.subplots()
    handles = []
    for method in ordered(shown["method"]):
        of_method = shown[shown["method"] == method]
        for variant, (label, points) in enumerate(of_method.groupby("label", sort=True)):
            handles.append(
                draw_band(
                    axes,
                    points,
                    "size",
                    name=method,
                    label=str(label),
                    variant=variant,
                    scale=100.0,
                )
            )
    axes.set_xscale("log", base=2)
    powers = range(int(np.log2(shown["size"].max() + 1)) + 1)
    axes.set_xticks([NONE, *(2**power for power in powers[:: max(1, len(powers) // 8)])])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda size, _: "none" if size == NONE else f"{size:,g}")
    )
    axes.set_xlabel("images of a cluster, at most (none: in no cluster)")
    axes.set_ylabel("images in such clusters (%)")
    axes.set_ylim(-4, 104)
    legend_below(figure, handles)
    return figure
