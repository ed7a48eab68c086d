"""The plane of paper 2's cluster grid: clusters, the grid over them, and the images chosen.

The axes are the first two principal components of the points that were clustered. All values are
those that the trial stored; nothing is computed again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.style import INK, MUTED, legend_below, look, new_figure
from distill.errors import printable
from sweeps.store.records import parsed_json

MAX_CLASSES = 4
"""Classes that are drawn, one below the other."""

MAX_NAME = 30
"""Characters of the name of a class that are drawn."""

MAX_POINTS = 20_000
"""Images that are drawn; of more, every second, third, … is."""

DIGITS = 5
"""Of coordinates, measured by the largest: more than can be seen."""

MANY_LINES = 16
"""Lines of a grid across from which they are thin."""

SMALL = 5.0
"""Size of a mark in points² up to which it is a dot: other shapes vanish."""

PANELS = ("clusters", "grid", "chosen")

NOISE = -1
"""Cluster of an image that is in none."""

_CLUSTERS = ("kmeans", "birch", "agglomerative", "dbscan", "kmedoids")
"""Methods whose colours and markers stand for the first, second, … cluster."""


def build(selection: pa.Table) -> pd.DataFrame | None:
    """Returns the marks and grids of a trial's selection.

    Args:
        selection: as the store holds it: one row an image to choose from; grids and names of
            classes in JSON under `distill` in the metadata.

    Returns:
        A frame with one row an image or grid (`what`): `class`, `cluster` (both empty for a grid
        over everything), `times_selected`, `x` and `y` of an image or of a grid's lower corner,
        `x_high` and `y_high` of its upper one, `cells` of a grid along each axis. None where there
        is no plane, or the grids were not stored.
    """
    about = _about(selection.schema.metadata or {})
    if about is None or not {"pca_1", "pca_2"} <= set(selection.column_names):
        return None
    names = about["class_names"][:MAX_CLASSES]
    images = selection.select(["label", "cluster", "times_selected", "pca_1", "pca_2"]).to_pandas()
    images = images[images["label"] < len(names)].sort_values("label", kind="stable")
    images = images.iloc[:: -(-len(images) // MAX_POINTS) or 1]
    frame = pd.DataFrame(
        {
            "what": "image",
            "class": [names[label] for label in images["label"]],
            "cluster": images["cluster"].astype("Int64"),
            "times_selected": images["times_selected"].astype("Int64"),
            "x": images["pca_1"],
            "y": images["pca_2"],
        }
    )
    grids = pd.DataFrame([_grid_row(grid, names) for grid in about["grids"]])
    grids = grids[grids["class"].isna() | grids["class"].isin(names)]
    found = pd.concat([frame, grids.astype({"cluster": "Int64"})], ignore_index=True)
    largest = float(np.nanmax(np.abs(found[["x", "y"]].to_numpy(dtype=float)))) or 1.0
    decimals = DIGITS - 1 - int(np.floor(np.log10(largest)))
    return found.round(dict.fromkeys(("x", "y", "x_high", "y_high"), decimals))


def _about(metadata: Mapping[bytes, bytes]) -> dict[str, Any] | None:
    try:
        about: Any = parsed_json(metadata[b"distill"])
    except (KeyError, ValueError):
        return None
    known = isinstance(about, dict) and about.get("grids") and about.get("class_names")
    return about if known else None


def _grid_row(grid: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    label = grid["label"]
    is_left_out = label is not None and label >= len(names)
    return {
        "what": "grid",
        "class": "" if is_left_out else None if label is None else names[label],
        "cluster": grid["cluster"],
        "x": grid["low"][0],
        "y": grid["low"][1],
        "x_high": grid["high"][0],
        "y_high": grid["high"][1],
        "cells": grid["size"],
    }


def draw(numbers: pd.DataFrame) -> Figure:
    """Draws a row of panels a class: its clusters, the grid over them, the images chosen.

    Images are pixels in an SVG, lines are lines.
    """
    images, grids = (numbers[numbers["what"] == what] for what in ("image", "grid"))
    names = list(dict.fromkeys(images["class"]))
    clusters = sorted(set(images["cluster"]))
    figure = new_figure(7.4, 1.0 + 2.3 * len(names))
    panels = figure.subplots(len(names), len(PANELS), sharex=True, sharey=True, squeeze=False)
    for name, row in zip(names, panels, strict=True):
        of_class = images[images["class"] == name]
        own_grids = grids[grids["class"].isna() | (grids["class"] == name)]
        chosen = of_class[of_class["times_selected"] > 0]
        _scatter(row[0], of_class, clusters, alpha=0.6)
        _scatter(row[1], of_class, clusters, alpha=0.15)
        _lines(row[1], own_grids, clusters)
        _scatter(row[2], of_class, clusters, alpha=0.1)
        _scatter(row[2], chosen, clusters, alpha=0.9)
        label = printable(name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}…")
        row[0].set_ylabel(f"{label}\ncomponent 2", parse_math=False)
    for axes, title in zip(panels[0], PANELS, strict=True):
        axes.set_title(title)
    for axes in panels.flat:
        axes.grid(visible=False)
    for axes in panels[-1]:
        axes.set_xlabel("component 1")
    legend_below(figure, _handles(clusters))
    return figure


def _scatter(axes: Axes, images: pd.DataFrame, clusters: Sequence[int], alpha: float) -> None:
    size = float(np.clip(4000 / max(len(images), 1), 1.0, 14.0))  # points² that leave room for each
    for cluster in clusters:
        of_cluster = images[images["cluster"] == cluster]
        axes.scatter(
            of_cluster["x"],
            of_cluster["y"],
            s=size,
            color=_colour(cluster, clusters),
            marker=_marker(cluster, clusters) if size > SMALL else "o",
            alpha=alpha,
            linewidths=0,
            rasterized=True,
        )


def _lines(axes: Axes, grids: pd.DataFrame, clusters: Sequence[int]) -> None:
    for _, grid in grids.iterrows():
        low, high = (grid["x"], grid["y"]), (grid["x_high"], grid["y_high"])
        n = int(grid["cells"]) + 1
        upright = [((x, low[1]), (x, high[1])) for x in np.linspace(low[0], high[0], n)]
        level = [((low[0], y), (high[0], y)) for y in np.linspace(low[1], high[1], n)]
        is_whole = pd.isna(grid["cluster"])
        axes.add_collection(
            LineCollection(
                upright + level,
                colors=INK if is_whole else _colour(int(grid["cluster"]), clusters),
                linewidths=0.3 if n > MANY_LINES else 0.6,
            )
        )


def _look_of(cluster: int, clusters: Sequence[int]) -> str:
    numbered = [number for number in clusters if number != NOISE]
    return _CLUSTERS[numbered.index(cluster) % len(_CLUSTERS)]


def _colour(cluster: int, clusters: Sequence[int]) -> str:
    return MUTED if cluster == NOISE else look(_look_of(cluster, clusters)).colour


def _marker(cluster: int, clusters: Sequence[int]) -> str:
    return "x" if cluster == NOISE else look(_look_of(cluster, clusters)).marker


def _handles(clusters: Sequence[int]) -> list[Line2D]:
    return [
        Line2D(
            [],
            [],
            label="in no cluster" if cluster == NOISE else f"cluster {cluster + 1}",
            color=_colour(cluster, clusters),
            marker=_marker(cluster, clusters),
            linestyle="none",
        )
        for cluster in clusters
    ]


def caption(numbers: pd.DataFrame) -> str:
    """Returns the meaning of the panels, with their numbers."""
    images, grids = (numbers[numbers["what"] == what] for what in ("image", "grid"))
    n_chosen = int((images["times_selected"] > 0).sum())
    one_grid = (
        "one grid over all images"
        if grids["cluster"].isna().all()
        else "a grid for each class and cluster, over the range of these images"
    )
    sizes = sorted({int(cells) for cells in grids["cells"]})
    cells = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return (
        f"One mark an image, on the first two principal components; left by cluster, in the "
        f"middle {one_grid}, of {cells} cells a side, right the {n_chosen:,} of {len(images):,} "
        "images that were chosen."
    )
