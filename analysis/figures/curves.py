"""Paper 1's eight figures: accuracy and matching loss over the outer iterations.

One figure for each score, with or without weights, and each setting (images a class, …); one line
a method, the mean over seeds, and a band from the lowest seed to the highest.
"""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.bands import Score, draw_band, is_wide, over_seeds, thinned
from analysis.figures.style import legend_below, logarithmic, new_figure, ordered

ACCURACY = Score("accuracy_mean", "accuracy", "test accuracy (%)", 100.0)
LOSS = Score("matching_loss", "loss", "matching loss", 1.0)
NOISE = Score("noise_mean", "noise", "images in no cluster (%)", 100.0)


def build(members: pd.DataFrame, curves: pd.DataFrame, score: Score) -> pd.DataFrame:
    """Returns a score over the outer iterations, summarised over seeds.

    Args:
        members: trials with `trial_id`, `method` and `label`, as in `Table.members`.
        curves: of these trials, see `sweeps.store.store.load_curves`.
        score: a column of the curves.

    Returns:
        A frame with `method`, `label`, `outer` and the columns of `over_seeds`; one row a label and
        iteration that has the score; accuracies as fractions in [0, 1].
    """
    points = thinned(curves[["trial_id", "outer", score.column]].dropna(), "outer")
    points = points.merge(members[["trial_id", "method", "label"]], on="trial_id")
    return over_seeds(points, ("method", "label", "outer"), score.column).astype({"outer": "int64"})


def over_seconds(members: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Returns accuracy over the mean seconds of the seeds at each point of the curves.

    Args:
        members: see `build`.
        curves: see `build`.

    Returns:
        As `build` does, with `seconds`, of the distillation without evaluations; without labels
        that have one point only.
    """
    timed = curves.dropna(subset=["seconds", ACCURACY.column])
    found = build(members, timed, ACCURACY)
    labelled = timed.merge(members[["trial_id", "label"]], on="trial_id")
    seconds = labelled.groupby(["label", "outer"], as_index=False)["seconds"].mean()
    is_line = found.groupby("label")["outer"].transform("size") > 1
    return found[is_line].merge(seconds, on=["label", "outer"])


def draw(numbers: pd.DataFrame, score: Score, *, x: str = "outer") -> Figure:
    """Draws a score over the iterations, or another column."""
    figure = new_figure()
    axes = figure.subplots()
    handles = []
    for method in ordered(numbers["method"]):
        of_method = numbers[numbers["method"] == method]
        for variant, (label, points) in enumerate(of_method.groupby("label", sort=True)):
            handles.append(
                draw_band(
                    axes,
                    points,
                    x,
                    name=method,
                    label=str(label),
                    variant=variant,
                    scale=score.scale,
                )
            )
    if score is LOSS and is_wide(numbers):
        logarithmic(axes, "y")
    if x == "seconds":
        axes.set_xlabel("seconds of distillation, without evaluations")
    else:
        axes.set_xlabel("outer iteration")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(score.label)
    axes.margins(x=0.02)
    legend_below(figure, handles)
    return figure
