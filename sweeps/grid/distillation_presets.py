"""The grids of paper 1: which methods, with which parameters, on how many images per class.

Each preset lists its configurations, row by row: a product of all parameters would hold
combinations without meaning (the linkage of a k-means).
"""

from collections.abc import Callable, Iterable
from typing import Any

from distill.config.distillation import DistillationConfig
from distill.selection.registry import PICKS
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


def _weighted_in_training(*clusterers: str) -> tuple[Row, ...]:
    """Returns methods whose weights act in training, alone and in matching, too.

    And the start of the first one without matching. One image a class has no others to be weighted
    against, so this is for more.
    """
    rows: tuple[Row, ...] = tuple(
        {"clusterer": name, "weights": "size", "weights_in": where}
        for name in clusterers
        for where in ("training", "both")
    )
    return (*rows, {**rows[0], "match": "none"})


def _start_only(*clusterers: str) -> tuple[Row, ...]:
    """Returns the starts of some methods without any matching; of `random` random real images."""
    return tuple(
        {"clusterer": name, "weights": "none", "match": "none"} for name in (*clusterers, "random")
    )


def _controls(*clusterers: str) -> tuple[Row, ...]:
    """Returns the rows that split what clustering does into the start and the matched batches.

    Start and batches of k-means and of random images in all combinations (the two that are of one
    kind among them), and the starts alone. Random images have neither distances nor cluster sizes,
    so there are no weights.

    Args:
        clusterers: whose start is a row.
    """
    random = {"clusterer": "random", "weights": "none"}
    return (
        random,
        {**random, "init": "kmeans"},
        {"clusterer": "kmeans", "weights": "none", "init": "random"},
        *_start_only(*clusterers),
    )


def _small_rows(ipc: int) -> tuple[Row, ...]:
    """Returns paper 1's rows under both protocols, and controls.

    Clusterers of paper 1's own code under the sound protocol say which of its defects move a
    number. Its DBSCAN has another radius here, since 15 is a distance between features of 2,048
    numbers: at 1.4 there are 30 to 50 clusters and 55 to 80 % noise, shares as in the paper. That
    is too few clusters to start from at ipc 10.
    """
    dbscan: Row = {"eps": 1.4, "min_samples": 2}
    if ipc == 10:
        dbscan["init"] = "kmeans"
    published = (
        *({"clusterer": f"{name}_published"} for name in ("kmeans", "kmeans++", "kmedoids")),
        {"clusterer": "dbscan_published", **dbscan},
        {"clusterer": "agglomerative_published"},
    )
    return (
        *_paper_1_rows(),
        {"clusterer": "agglomerative", "weights": "size"},
        *published,
        *_controls("kmeans", "kmeans++", "kmedoids", "dbscan", "agglomerative"),
        *(row | {"protocol": "published"} for row in _paper_1_rows(**dbscan)),
    )


_PARTITIONS = ("kmeans", "kmeans++", "kmedoids", "birch")

_FURTHER_CLUSTERERS = (
    *("hdbscan", "gmm", "spectral", "bisecting_kmeans", "minibatch_kmeans"),
    *("facility_location", "k_center", "herding"),
)
"""Beyond both papers."""

_LEAVES: dict[str, Any] = {
    "clusterer": "hdbscan",
    "cluster_selection": "leaf",
    "min_cluster_size": 2,
}
"""Of features, HDBSCAN's excess of mass keeps hardly more than one cluster; its leaves are many."""

_PICKS: tuple[Row, ...] = (
    *({"pick": pick} for pick in PICKS if pick != "nearest"),
    {"pick": "hard", "difficulty": "loss"},
    {"quota": "proportional"},
    {"pick": "random", "quota": "stratified"},  # CCS in clusters
)
"""Picks and quotas beside one image nearest to each center."""


def _extended_rows(ipc: int) -> tuple[Row, ...]:
    """Returns paper 1's rows, the variants of their parameters, controls, and its future work.

    And picks inside the clusters of k-means, with quotas; for more than one image a class, weights
    that act in training.

    The radii of DBSCAN lie close to 15: with an untrained network nine of ten images are noise at
    10, and all are one cluster at 20. In gradient space the radius is a quantile, since 15 is a
    distance between features.
    """
    linkages = ("ward", "complete", "average", "single")
    radii = [{"eps": eps, "min_samples": n} for eps in (12.5, 15.0, 17.5) for n in (2, 5)]
    radii += [{"eps_quantile": quantile, "min_samples": 2} for quantile in (0.25, 0.5, 0.75)]
    gradients = {"embedding": "gradients", "projection_dim": 2048}
    return (
        *(row for name in _PARTITIONS for row in _weighted(name)),
        *(row for linkage in linkages for row in _weighted("agglomerative", linkage=linkage)),
        *(row for radius in radii for row in _weighted("dbscan", **radius)),
        *(row for name in _FURTHER_CLUSTERERS for row in _weighted(name)),
        *_weighted(**_LEAVES),
        {"clusterer": "hdbscan", "weights": "size", "strength_weights": True},
        *_controls(*_PARTITIONS, "agglomerative", "dbscan"),
        *(row for name in _PARTITIONS for row in _weighted(name, **gradients)),
        *_weighted("agglomerative", linkage="ward", **gradients),
        *_weighted("dbscan", eps_quantile=0.5, min_samples=2, **gradients),
        *({"clusterer": "kmeans", "weights": "none", **picks} for picks in _PICKS),
        *(_weighted_in_training(*_PARTITIONS) if ipc > 1 else ()),
    )


def _one_at_a_time(**values: tuple[Any, ...]) -> tuple[Row, ...]:
    """Returns k-means as the base has it, and with one field at a time at other values."""
    row = {"clusterer": "kmeans", "weights": "none"}
    return (row, *(row | {name: value} for name, some in values.items() for value in some))


_QUICK = {
    "dataset": "mnist_5k",
    "image_size": 14,
    "factor": 1,
    "n_inner": 15,
    "n_representatives": 32,
    "width": 16,
    "n_net_batches": 4,
    "net_batch_size": 64,
    "net_lr": 0.1,  # at 0.01 the network is hardly trained in so few loops
    "n_eval": 1,
    "eval_lr": 0.1,
    "eval_every": 0,
}

QUICKSTART = Grid(
    name="quickstart",
    summary="paper 1's nine rows and controls on 14×14 digits, ipc 1 and 10, 5 seeds: "
    "140 trials, minutes on a CPU",
    configs=(
        *grid_configs(
            DistillationConfig,
            base=_QUICK | {"lr_img": 0.001, "n_outer": 2, "eval_epochs": 200},
            rows=(*_paper_1_rows(), *_controls("kmeans")),
            ipcs=(1,),
        ),
        *grid_configs(
            DistillationConfig,
            base=_QUICK | {"lr_img": 0.01, "n_outer": 1, "eval_epochs": 60},
            rows=(*_paper_1_rows(), *_controls("kmeans")),
            ipcs=(10,),
        ),
    ),
    n_seeds=5,
)
"""Sizes by measurement (see `docs/lab-notes.md`): decided differences for few seconds of a CPU. At
ipc 10 hardly any are; so less is spent there."""

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
    summary="paper 1 as published: CIFAR-10, nine rows and controls, ipc 1 and 10, 3 seeds: "
    "84 trials, GPU days",
    configs=grid_configs(
        DistillationConfig,
        base={"dataset": "cifar10"},
        rows=(*_paper_1_rows(eps=15.0, min_samples=2), *_controls("kmeans")),
        ipcs=(1, 10),
    ),
    n_seeds=3,
    protocols=("published",),
)
"""Every size is the default of `DistillationConfig`: ConvNet-3 of width 128, 1,000 × 100 loops,
clustering every 10th. Under the published protocol the clusterers are the variants that paper 1
really ran (single linkage among them), under the sound one the methods of those names."""

_SMALL = {
    "dataset": "cifar10",
    "image_size": 16,
    "train_per_class": 1000,
    "n_representatives": 32,
    "width": 16,
    "n_outer": 12,
    "n_inner": 40,
    "cluster_interval": 20,
    "n_net_batches": 4,
    "net_batch_size": 64,
    "net_lr": 0.02,
    "n_eval": 2,
    "eval_epochs": 120,
    "eval_lr": 0.05,
    "eval_every": 0,
}


def _small_configs(rows_of: Callable[[int], Iterable[Row]]) -> tuple[DistillationConfig, ...]:
    """Returns the rows of each number of images a class at the sizes of `small`."""
    return tuple(
        config
        for ipc, lr_img in ((1, 0.008), (10, 0.08))
        for config in grid_configs(
            DistillationConfig,
            base=_SMALL | {"lr_img": lr_img},
            rows=rows_of(ipc),
            ipcs=(ipc,),
        )
    )


SMALL = Grid(
    name="small",
    summary="paper 1's rows under both protocols, the clusterings of its code, controls on 16×16 "
    "images, ipc 1 and 10, 5 seeds, 16 of five methods without weights: 440 trials, hours on two "
    "CPU cores",
    configs=_small_configs(_small_rows),
    n_seeds=5,
    main=_small_configs(
        lambda _: (
            {"clusterer": name, "weights": "none"}
            for name in ("kmeans", "kmedoids", "dbscan", "agglomerative", "random")
        )
    ),
    n_main_seeds=16,
    protocols=None,
)
"""What two cores manage; chosen on validation images, see `docs/lab-notes.md`. More seeds go to the
methods whose differences are the question: five would leave them undecided. More networks a trial
would narrow the intervals for less time, but make other trials of those that are there."""

METHODS = Grid(
    name="methods",
    summary="every clusterer and every pick without weights, beside random images, on 16×16 "
    "images, ipc 10, 5 seeds: 125 trials, hours on two CPU cores",
    configs=grid_configs(
        DistillationConfig,
        base=_SMALL | {"lr_img": 0.08},
        rows=(
            *({"clusterer": name, "weights": "none"} for name in (*_PARTITIONS, "agglomerative")),
            {"clusterer": "dbscan", "weights": "none"},
            *({"clusterer": name, "weights": "none"} for name in _FURTHER_CLUSTERERS),
            {"weights": "none", **_LEAVES},
            *({"clusterer": "kmeans", "weights": "none", **picks} for picks in _PICKS),
            {"clusterer": "random", "weights": "none"},
            *_start_only(),
        ),
        ipcs=(10,),
    ),
    n_seeds=5,
)
"""The sizes of `small`, whose trials it shares where the row is the same."""

EXTENDED = Grid(
    name="extended",
    summary="paper and its future work: BIRCH, ipc 50 and 100, gradient space, all linkages, "
    "eps × MinPts, eight further clusterings, picks, weights in training, controls, 5 seeds: "
    "1795 trials, a GPU cluster for weeks",
    configs=tuple(
        config
        for ipc in (1, 10, 50, 100)
        for config in grid_configs(
            DistillationConfig,
            base={"dataset": "cifar10"},
            rows=_extended_rows(ipc),
            ipcs=(ipc,),
        )
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
    "small": SMALL,
    "methods": METHODS,
    "extended": EXTENDED,
    "smoke": SMOKE,
    "cost": COST,
}
"""The grids by the name that `--preset` takes."""
