"""Paper 2's curves: accuracy and loss of the classifiers over their epochs.

One figure for each score, protocol and setting; one line a row, the mean over seeds, and a band
from the lowest seed to the highest. The images that are scored after an epoch depend on the
protocol, see `images_of`.
"""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.bands import Score, draw_band, is_wide, over_seeds, thinned
from analysis.figures.style import legend_below, logarithmic, new_figure

ACCURACY = Score("accuracy", "accuracy", "accuracy (%)", 100.0)
LOSS = Score("loss", "loss", "cross-entropy", 1.0)

COLUMNS = {"test": "val", "validation": "val", "training": "train"}
"""First part of the curves' columns, by the images that a score is of."""


def images_of(protocol: str, curves: pd.DataFrame) -> str:
    """Returns which images the curves of a protocol's trials are of.

    `test` under the published one: the paper looked at its test images after every epoch. Under
    the sound one `validation` where any trial has some, else `training`.
    """
    if protocol == "published":
        return "test"
    return "validation" if curves["val_accuracy"].notna().any() else "training"


def build(members: pd.DataFrame, curves: pd.DataFrame, score: Score, images: str) -> pd.DataFrame:
    """Returns a score over the epochs, summarised over seeds.

    Args:
        members: trials as in `Table.members`.
        curves: of these trials, see `sweeps.store.store.load_curves`.
        score: a column of the curves.
        images: a key of `COLUMNS`: of which images.

    Returns:
        A frame with `row`, `selector`, `variant`, `label`, `images`, `epoch` and the columns of
        `over_seeds`, where a trial counts with the mean of its classifiers; accuracies as fractions
        in [0, 1]. Trials that were not scored on these images are left out.
    """
    column = f"{COLUMNS[images]}_{score.column}"
    points = thinned(curves[["trial_id", "epoch", column]].dropna(), "epoch")
    means = points.groupby(["trial_id", "epoch"])[column].mean().reset_index()
    keys = ["row", "selector", "variant", "label"]
    points = means.merge(members[["trial_id", *keys]], on="trial_id").assign(images=images)
    found = over_seeds(points, (*keys, "images", "epoch"), column)
    return found.astype({"epoch": "int64"})


def draw(numbers: pd.DataFrame, score: Score) -> Figure:
    """Draws a score over the epochs."""
    figure = new_figure(height=4.2)
    axes = figure.subplots()
    handles = [
        draw_band(
            axes,
            points,
            "epoch",
            name=str(points["selector"].iloc[0]),
            label=str(points["label"].iloc[0]),
            variant=int(points["variant"].iloc[0]),
            scale=score.scale,
        )
        for _, points in numbers.groupby("row", sort=True)
    ]
    if score is LOSS and is_wide(numbers):
        logarithmic(axes, "y")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(f"{numbers['images'].iloc[0]} {score.label}")
    axes.margins(x=0.02)
    legend_below(figure, handles, columns=3)
    return figure
