"""The grids of paper 1: which methods, with which parameters, on how many images per class.

Each preset lists its configurations, row by row: a product of all parameters would hold
combinations without meaning (the linkage of a k-means).
"""

from typing import Any

from distill.config.distillation import DistillationConfig
from sweeps.grid.grid import Grid, Row, grid_configs


def _weighted(clusterer: str, **options: Any) -> tuple[Row, Row]:
    """Returns a method with and without weights: the tables' T and F rows."""
    with_weights, without = (
        {"clusterer": clusterer, "weights": weights, **options} for weights in ("size", "none")
    )
    return with_weights, without


def _paper_1_rows(**dbscan: Any) -> tuple[Row, ...]:
    """Returns the nine rows of paper 1's tables.

    Args:
        dbscan: parameters of DBSCAN; none: the protocol's defaults.
    """
    return (
        *_weighted("kmeans"),
        *_weighted("kmeans++"),
        *_weighted("kmedoids"),
        *_weighted("dbscan", **dbscan),
        {"clusterer": "agglomerative", "weights": "none"},  # paper 1 has no weighted one
    )


def _extended_rows() -> tuple[Row, ...]:
    """Returns paper 1's rows, the variants of their parameters, and its future work.

    The radii of DBSCAN lie close to 15: with an untrained network nine of ten images are noise at
    10, and all are one cluster at 20. In gradient space the radius is a quantile, since 15 is a
    distance between features. The random control uses neither distances nor cluster sizes, so it
    has one row.
    """
    partitions = ("kmeans", "kmeans++", "kmedoids", "birch")
    linkages = ("ward", "complete", "average", "single")
    radii = [{"eps": eps, "min_samples": n} for eps in (12.5, 15.0, 17.5) for n in (2, 5)]
    radii += [{"eps_quantile": quantile, "min_samples": 2} for quantile in (0.25, 0.5, 0.75)]
    gradients = {"embedding": "gradients", "projection_dim": 2048}
    return (
        *(row for name in partitions for row in _weighted(name)),
        *(row for linkage in linkages for row in _weighted("agglomerative", linkage=linkage)),
        *(row for radius in radii for row in _weighted("dbscan", **radius)),
        {"clusterer": "random", "weights": "none"},
        *(row for name in partitions for row in _weighted(name, **gradients)),
        *_weighted("agglomerative", linkage="ward", **gradients),
        *_weighted("dbscan", eps_quantile=0.5, min_samples=2, **gradients),
    )


def _one_at_a_time(**values: tuple[Any, ...]) -> tuple[Row, ...]:
    """Returns k-means as the base has it, and with one field at a time at other values."""
    row = {"clusterer": "kmeans", "weights": "none"}
    return (row, *(row | {name: value} for name, some in values.items() for value in some))


QUICKSTART = Grid(
    name="quickstart",
    summary="paper 1's nine rows on 8×8 digits, ipc 1 and 10, 3 seeds: 54 trials, minutes on a CPU",
    configs=grid_configs(
        DistillationConfig,
        base={
            "dataset": "digits",
            "n_outer": 2,
            "n_inner": 25,
            "n_representatives": 32,
            "width": 32,
            "n_net_batches": 12,
            "net_batch_size": 64,
            "net_lr": 0.1,  # at 0.01 the network is hardly trained in so few loops
            "n_eval": 2,
            "eval_epochs": 300,
            "eval_every": 1,
        },
        rows=_paper_1_rows(),
        ipcs=(1, 10),
    ),
    n_seeds=3,
)
"""Sizes by measurement (see `docs/lab-notes.md`): for a first run of the whole pipeline, not for
claims."""

SMOKE = Grid(
    name="smoke",
    summary="two trials of seconds each on 8×8 digits, to see whether everything works",
    configs=grid_configs(
        DistillationConfig,
        base={
            "dataset": "digits",
            "n_outer": 2,
            "n_inner": 5,
            "n_representatives": 16,
            "width": 16,
            "n_net_batches": 2,
            "n_eval": 2,
            "eval_epochs": 50,
            "eval_every": 1,
        },
        rows=(
            {"clusterer": "kmeans", "weights": "none"},
            {"clusterer": "dbscan", "weights": "size"},
        ),
        ipcs=(1,),
    ),
    n_seeds=1,
)

PAPER = Grid(
    name="paper",
    summary="paper 1 as published: CIFAR-10, nine rows, ipc 1 and 10, 3 seeds: 54 trials, GPU days",
    configs=grid_configs(
        DistillationConfig,
        base={"dataset": "cifar10"},
        rows=_paper_1_rows(eps=15.0, min_samples=2),
        ipcs=(1, 10),
    ),
    n_seeds=3,
    protocols=("published",),
)
"""Every size is the default of `DistillationConfig`: ConvNet-3 of width 128, 1,000 × 100 loops,
clustering every 10th. Under the published protocol the clusterers are the variants that paper 1
really ran (single linkage among them), under the sound one the methods of those names."""

EXTENDED = Grid(
    name="extended",
    summary="paper and its future work: BIRCH, ipc 50 and 100, gradient space, all linkages, "
    "eps × MinPts, random control, 5 seeds: 940 trials, a GPU cluster for weeks",
    configs=grid_configs(
        DistillationConfig,
        base={"dataset": "cifar10"},
        rows=_extended_rows(),
        ipcs=(1, 10, 50, 100),
    ),
    n_seeds=5,
)
"""Gradients are projected to as many dimensions as there are features, so that clustering them
costs the same (unprojected they are ten times as many)."""

COST = Grid(
    name="cost",
    summary="how cost grows: short trials of k-means that differ in one size, 3 seeds: 36 trials, "
    "minutes on a CPU",
    configs=grid_configs(
        DistillationConfig,
        base={
            "dataset": "digits",
            "image_size": 16,
            "ipc": 10,
            "init": "random",  # so that the only clustering is one of the loop's
            "n_outer": 1,
            "n_inner": 10,
            "cluster_interval": 10,
            "n_representatives": 32,
            "width": 32,
            "n_net_batches": 4,
            "net_batch_size": 64,
            "n_eval": 1,
            "eval_epochs": 40,
            "eval_every": 0,
        },
        rows=_one_at_a_time(
            ipc=(1, 50),
            image_size=(8, 32),
            width=(8, 16, 64),
            val_fraction=(0.5, 0.75),  # half and a quarter of the training images
            n_representatives=(16, 128),
        ),
    ),
    n_seeds=3,
)
"""For the seconds in its rows; `python -m analysis` plots them. The number of classes belongs to
the images: results of several data sets at one `image_size` vary it. `--set` of a field that is
varied here fixes it for all trials."""

PRESETS: dict[str, Grid[DistillationConfig]] = {
    "quickstart": QUICKSTART,
    "paper": PAPER,
    "extended": EXTENDED,
    "smoke": SMOKE,
    "cost": COST,
}
"""The grids by the name that `--preset` takes."""
