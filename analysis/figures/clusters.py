"""Results of the clusterings: clusters a class, share of the largest, share of noise.

It shows why single linkage and DBSCAN do badly: one cluster that holds nearly everything, or most
images in none.
"""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.style import INK, MUTED, legend_below, look, new_figure

PANELS = (
    ("n_clusters_mean", "clusters a class", 1.0),
    ("largest_cluster_mean", "largest cluster (% of a class)", 100.0),
    ("noise_mean", "in no cluster (% of a class)", 100.0),
)


def build(members: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Returns the statistics of the last clustering of every row's trials.

    Weights change the training, not the first clustering: trials with and
    without count together.

    Args:
        members: trials with `trial_id`, `method`, `label` and `protocol`, in the rows' order.
        results: of these trials, see `sweeps.store.store.load_results`.

    Returns:
        A frame with `method`, `label`, `protocol`, `statistic` (a column of the results; shares
        are fractions in [0, 1]), `mean`, `minimum`, `maximum` over trials and their number
        `trials`.
    """
    names = [name for name, _, _ in PANELS]
    order = {key: i for i, key in enumerate(dict.fromkeys(_keys(members)))}
    trials = members[["trial_id", "method", "label", "protocol"]].merge(
        results[["trial_id", *names]], on="trial_id"
    )
    long = trials.melt(["method", "label", "protocol"], names, "statistic", "value").dropna()
    long["value"] = long["value"].astype(float)
    groups = long.groupby(["method", "label", "protocol", "statistic"], sort=False)["value"]
    found = groups.agg(["mean", "min", "max", "count"]).reset_index()
    found.columns = pd.Index("method label protocol statistic mean minimum maximum trials".split())
    found["order"] = [order[key] for key in _keys(found)]
    found["panel"] = [names.index(name) for name in found["statistic"]]
    found = found.sort_values(["order", "panel"], kind="stable", ignore_index=True)
    return found.drop(columns=["order", "panel"])


def _keys(frame: pd.DataFrame) -> list[tuple[str, str, str]]:
    names = ("method", "label", "protocol")
    return list(zip(*(frame[name] for name in names), strict=True))


def draw(numbers: pd.DataFrame) -> Figure:
    """Draws three panels of dots side by side; bars go from the lowest trial to the highest."""
    labels = list(dict.fromkeys(numbers["label"]))
    figure = new_figure(7.4, 1.5 + 0.3 * len(labels))
    panels = figure.subplots(1, len(PANELS), sharey=True)
    protocols = [p for p in ("sound", "published") if (numbers["protocol"] == p).any()]
    for axes, (name, title, scale) in zip(panels, PANELS, strict=True):
        of_panel = numbers[numbers["statistic"] == name]
        for _, row in of_panel.iterrows():
            shift = 0.16 * (1 if row["protocol"] == "published" else -1) * (len(protocols) > 1)
            _dot(axes, row, labels.index(row["label"]) + shift, scale)
        axes.set_xlabel(title)
        if scale == 1.0:
            axes.set_xlim(0, 1.08 * max(of_panel["maximum"].max(), 1.0))
        else:
            axes.set_xlim(-4, 104)
    panels[0].set_yticks(range(len(labels)), labels)
    panels[0].set_ylim(len(labels) - 0.5, -0.5)
    if len(protocols) > 1:
        legend_below(figure, _handles())
    return figure


def _dot(axes: Any, row: pd.Series, y: float, scale: float) -> None:
    style = look(row["method"])
    hollow = row["protocol"] == "published"
    ends = [scale * row["minimum"], scale * row["maximum"]]
    axes.plot(ends, [y, y], color=style.colour, linewidth=1.2)
    axes.plot(
        [scale * row["mean"]],
        [y],
        linestyle="none",
        marker=style.marker,
        markersize=6,
        color=style.colour,
        markerfacecolor="none" if hollow else style.colour,
        label=f"{row['label']}, {row['protocol']}",
    )


def _handles() -> list[Line2D]:
    return [
        Line2D([], [], label=text, color=INK, marker="o", linestyle="none", markerfacecolor=face)
        for text, face in (("sound protocol", MUTED), ("published protocol", "none"))
    ]
