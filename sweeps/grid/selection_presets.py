"""The grids of paper 2: ways of selecting the images that a network trains on."""

from distill.config.selection import SelectionConfig
from distill.selection.registry import SEARCHED_PICKS
from sweeps.grid.grid import Grid, Row, grid_configs

BOTH = ("published", "sound")

CLUSTERERS = ("kmeans", "kmeans++", "kmedoids", "dbscan", "agglomerative", "birch")
"""Those of the papers, and BIRCH."""

_FURTHER = ("hdbscan", "gmm", "spectral")

GRID_CLUSTERERS = (*CLUSTERERS, *_FURTHER, "minibatch_kmeans", "facility_location", "k_center")
"""Those that divide all images: two bisected clusters are those of k-means, and `herding` does not
divide, as its second center lies beside the first."""

CENTER_CLUSTERERS = (
    *CLUSTERERS,
    *_FURTHER,
    *("bisecting_kmeans", "minibatch_kmeans", "facility_location"),
)
"""Those that divide a class: the centers of `k_center` and `herding` are the images that the
selectors of these names choose."""

_WITHOUT_OTHER_MEDOIDS = ("kmedoids", "facility_location", "dbscan", "hdbscan")
"""Clusterers whose centers are medoids already, and those that leave noise, which has none."""


def _at(fraction: float, *selectors: str, **options: object) -> tuple[Row, ...]:
    return tuple({"selector": selector, "fraction": fraction, **options} for selector in selectors)


_PAPER2_ROWS: tuple[Row, ...] = (
    {"selector": "base"},
    *_at(0.5, "random"),
    *_at(0.25, "random"),
    *_at(0.1, "random", "cluster_grid", "augmentation"),
)
"""The six rows of paper 2's table, in its order."""

_AS_MANY_AS_PUBLISHED = _at(0.4, "random")
"""As many images as paper 2's clustering really trained on, but any: four times its 10 %."""

_GREEDY = ("herding", "k_center")

_GRID_SIZES = (2, 4, 8, 16, 32)
"""Cells along each side of the grid; without one, as many cells as images of a group."""


_PICKS: tuple[dict[str, str], ...] = (
    *({"pick": pick} for pick in SEARCHED_PICKS if pick != "nearest"),
    {"pick": "hard", "difficulty": "loss"},
    {"quota": "proportional"},
    {"pick": "random", "quota": "stratified"},  # CCS in clusters
)
"""Picks and quotas beside one image nearest to each center; medoids are rows of their own."""


def _extended_rows() -> tuple[Row, ...]:
    """Returns the paper's rows, what explains them, and what it left open.

    As many steps for few images as for all of them; smaller fractions; transformed images beside
    their originals, with contrast, and of a clustered choice (its future work); every clusterer in
    the grid and by itself; the sizes of the grid at several numbers of images; embeddings; picks
    inside the clusters of k-means.
    """
    return (
        *_PAPER2_ROWS,
        *_AS_MANY_AS_PUBLISHED,
        *(row | {"equal_steps": True} for row in _PAPER2_ROWS[1:]),
        *(row for fraction in (0.05, 0.02, 0.01) for row in _at(fraction, "random")),
        *_at(0.1, "augmentation", augment_mode="add"),
        *_at(0.1, "augmentation", augment_contrast=True),
        *(
            row
            for mode in ("replace", "add")
            for row in _at(0.1, "augmentation", augment_selector="cluster_grid", augment_mode=mode)
        ),
        *(row for name in GRID_CLUSTERERS[1:] for row in _at(0.1, "cluster_grid", clusterer=name)),
        *(row for n in (1, 4, 8, 16) for row in _at(0.1, "cluster_grid", n_clusters=n)),
        *(row for n in (1, 3) for row in _at(0.1, "cluster_grid", pca_dim=n)),
        *(row for n in _GRID_SIZES for row in _at(0.1, "cluster_grid", grid_size=n)),
        *(
            row
            for fraction in (0.25, 0.05, 0.02)
            for n in (None, *_GRID_SIZES)
            for row in _at(fraction, "cluster_grid", grid_size=n)
        ),
        *_at(0.1, "cluster_grid", embedding="features"),
        *_at(0.1, *_GREEDY),
        *(row for name in CENTER_CLUSTERERS for row in _at(0.1, "nearest_center", clusterer=name)),
        *(
            row
            for name in CENTER_CLUSTERERS
            if name not in _WITHOUT_OTHER_MEDOIDS
            for row in _at(0.1, "nearest_center", clusterer=name, center="medoid")
        ),
        *(
            row
            for embedding in ("pixels", "pca")
            for row in _at(0.1, *_GREEDY, "nearest_center", embedding=embedding)
        ),
        *(row for picks in _PICKS for row in _at(0.1, "nearest_center", **picks)),
    )


QUICKSTART = Grid(
    name="quickstart",
    summary="paper 2's six rows under both protocols, and three of the literature, on the digits "
    "3 and 8, 3 seeds: 45 trials, two minutes on a CPU",
    configs=grid_configs(
        SelectionConfig,
        base={
            "dataset": "digits",
            "classes": ("3", "8"),
            "test_fraction": 0.2,  # 71 images
            "val_fraction": 0.1,  # so that there are curves of images not trained on
            "batch_size": 12,  # 32 would leave a tenth of the images twenty steps in all
        },
        rows=(*_PAPER2_ROWS, *_at(0.1, *_GREEDY, "nearest_center", embedding="pixels")),
    ),
    n_seeds=3,
    protocols=BOTH,
)
"""For a first run of the whole pipeline, not for claims: two digits are too easy to separate."""

PAPER = Grid(
    name="paper",
    summary="paper 2 as published and as it should be, and as many random images as it really "
    "used, 5 seeds, on photos of your own (--dataset): 70 trials",
    configs=grid_configs(
        SelectionConfig,
        base={"image_size": 150},
        rows=(*_PAPER2_ROWS, *_AS_MANY_AS_PUBLISHED),
    ),
    n_seeds=5,
    protocols=BOTH,
    needs_dataset=True,
)
"""Every size but that of the photos is the default of `SelectionConfig`."""

EXTENDED = Grid(
    name="extended",
    summary="what paper 2 left open: equal steps, smaller fractions, every clusterer, sizes of the "
    "grid × numbers of images, augmented clustering, embeddings, herding and k-center, picks, 5 "
    "seeds, on photos of your own: 475 trials",
    configs=grid_configs(
        SelectionConfig,
        base={"image_size": 150},
        rows=_extended_rows(),
    ),
    n_seeds=5,
    needs_dataset=True,
)


def _comparing(ipc: int) -> tuple[Row, ...]:
    """Returns selectors by which images stand for unequally many others.

    With one image a class, further clusterers that divide a class into as many clusters as images
    have its mean or medoid as center, as those of the papers have.
    """
    clusterers = CENTER_CLUSTERERS if ipc > 1 else (*CLUSTERERS, "hdbscan")
    return (
        *({"selector": selector} for selector in _GREEDY),
        *({"selector": "nearest_center", "clusterer": name} for name in clusterers),
    )


def _coreset_rows(ipc: int) -> tuple[Row, ...]:
    """Returns every way of choosing images.

    For more than one a class with picks inside the clusters of k-means, and weights in training;
    those of HDBSCAN also by membership strengths.
    """
    comparing = _comparing(ipc)
    rows: tuple[Row, ...] = (
        {"selector": "random"},
        *comparing,
        {"selector": "nearest_center", "n_clusters": 1},
    )
    if ipc == 1:
        return rows
    strengths = {"clusterer": "hdbscan", "strength_weights": True}
    return (
        *rows,
        *({"selector": "nearest_center", **picks} for picks in (*_PICKS, {"pick": "medoid"})),
        *(row | {"weights_in": "training"} for row in comparing),
        {"selector": "nearest_center", **strengths, "weights_in": "training"},
    )


CORESET = Grid(
    name="coreset",
    summary="real images in place of distilled ones: every way of choosing them on CIFAR-10, "
    "with and without weights in training, picks, ipc 1, 10 and 50, with the evaluation of the "
    "distillation, 5 seeds: 445 trials, a GPU",
    configs=tuple(
        config
        for ipc in (1, 10, 50)
        for config in grid_configs(
            SelectionConfig,
            base={
                "dataset": "cifar10",
                "recipe": "distillation",
                "network": "convnet",
                "n_eval": 3,
            },
            rows=_coreset_rows(ipc),
            ipcs=(ipc,),
        )
    ),
    n_seeds=5,
)
"""The rows that papers print beside distilled images. One center a class: its most central images.
"""

PRESETS: dict[str, Grid[SelectionConfig]] = {
    "quickstart": QUICKSTART,
    "paper": PAPER,
    "extended": EXTENDED,
    "coreset": CORESET,
}
"""The grids by the name that `--preset` takes."""
