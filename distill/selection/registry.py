"""Every selector (way of choosing real images) by name, with its options; picks and quotas."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from distill.clustering.registry import CLUSTERERS
from distill.components import Component, Registry, SearchRange, choice, option


@dataclass(frozen=True, kw_only=True)
class FeatureOptions:
    """Options of the features of a network as embedding."""

    feature_epochs: int = option(
        5, "epochs the network is trained on all training images; 0: random weights", minimum=0
    )


@dataclass(frozen=True, kw_only=True)
class PCAOptions:
    """Options of the principal components of the pixels as embedding."""

    pca_dim: int = option(32, "dimensions of the embedding", minimum=1)


POOL_EMBEDDINGS = Registry(
    "embedding",
    {
        "pixels": Component(),
        "features": Component(options=FeatureOptions),
        "pca": Component(options=PCAOptions),
    },
)
"""What images are compared by, see `distill.trials.image_selection`."""


@dataclass(frozen=True, kw_only=True)
class EL2NOptions:
    """Options of the error norms of briefly trained networks, see `distill.evaluation.el2n`."""

    el2n_networks: int = option(
        3, "networks whose error norms are averaged (EL2N's authors: 10)", minimum=1
    )
    el2n_epochs: int = option(
        5, "epochs that each is trained on all images (EL2N's authors: 20)", minimum=1
    )


DIFFICULTIES = Registry(
    "difficulty",
    {
        "el2n": Component(options=EL2NOptions, label="EL2N"),
        "loss": Component(),
        "margin": Component(),
    },
)
"""Scores by which images are hard, see `distill.selection.difficulty`."""


@dataclass(frozen=True, kw_only=True)
class DifficultyOptions:
    """Options of picks and quotas by difficulty."""

    difficulty: str = choice(
        "el2n",
        DIFFICULTIES,
        "score by which images are hard: error norms of briefly trained networks, or loss or "
        "margin under the current network (of a selection: the one that gives features)",
    )


@dataclass(frozen=True, kw_only=True)
class StratifiedOptions(DifficultyOptions):
    """Options of coverage-centric quotas, see `distill.selection.picks`."""

    n_strata: int = option(10, "equal ranges of the difficulty (CCS: 50)", minimum=1)
    prune_hardest: float = option(
        0.0, "share of a class's hardest images that are never chosen", minimum=0, below=1
    )


PICKS = Registry(
    "pick",
    {
        "nearest": Component(build="distill.selection.picks:Nearest"),
        "medoid": Component(build="distill.selection.picks:Medoid"),
        "random": Component(build="distill.selection.picks:Random"),
        "hard": Component(build="distill.selection.picks:Hard", options=DifficultyOptions),
        "easy": Component(build="distill.selection.picks:Easy", options=DifficultyOptions),
        "middle": Component(build="distill.selection.picks:Middle", options=DifficultyOptions),
    },
)
"""How images are picked inside a cluster."""

QUOTAS = Registry(
    "quota",
    {
        "one": Component(build="distill.selection.picks:One"),
        "proportional": Component(build="distill.selection.picks:Proportional"),
        "stratified": Component(
            build="distill.selection.picks:Stratified", options=StratifiedOptions
        ),
    },
)
"""How many images each cluster gives."""

SEARCHED_PICKS = ("nearest", "random", "hard", "easy", "middle")
"""Picks that searches over clusterers try: those for all that have clusters to pick in."""

PICK_HELP = (
    "image picked inside a cluster: nearest to its center, its medoid, a random one, or the "
    "hardest, easiest or one of middle difficulty"
)
QUOTA_HELP = (
    "images that each cluster gives: one (in proportion to size where clusters are not as many as "
    "images), strictly in proportion to size, or as many of every range of difficulty (CCS)"
)


_SEARCHED_CLUSTERERS = (
    *("kmeans", "kmeans++", "kmedoids", "agglomerative"),
    *("hdbscan", "bisecting_kmeans", "facility_location"),
)
"""Clusterers that searches over selectors try: those that stay cheap where a class gives a third of
its images (gmm, spectral and minibatch_kmeans do not, see the lab notes), less `k_center` and
`herding`, which are selectors themselves."""


@dataclass(frozen=True, kw_only=True)
class SelectorOptions:
    """Options of all selectors but `base`: how many images are chosen."""

    exclusive: ClassVar[tuple[tuple[str, str], ...]] = (("fraction", "ipc"),)

    fraction: float | None = option(
        0.1, "share of the training images to choose", above=0, maximum=1
    )
    ipc: int | None = option(
        None, "in place of the fraction: images to choose of each class", minimum=1
    )


@dataclass(frozen=True, kw_only=True)
class ComparingOptions(SelectorOptions):
    """Options of selectors that compare images."""

    embedding: str = choice(
        "features",
        POOL_EMBEDDINGS,
        "what images are compared by",
        search=("features", "pixels", "pca"),
    )


@dataclass(frozen=True, kw_only=True)
class ClusterGridOptions(SelectorOptions):
    """Options of paper 2's clustering, see `distill.selection.cluster_grid`."""

    embedding: str = choice("pixels", POOL_EMBEDDINGS, "what images are compared by")
    clusterer: str = choice(
        "kmeans", CLUSTERERS, "clustering of the images", search=_SEARCHED_CLUSTERERS
    )
    n_clusters: int = option(
        2, "clusters of all images together", minimum=1, search=SearchRange(1, 10)
    )
    pca_dim: int = option(
        2, "dimensions of the principal-component plane", minimum=1, search=SearchRange(1, 4)
    )
    grid_size: int | None = option(
        None,
        "cells along each side of the grid; default: just enough for as many cells as images "
        "wanted of a group",
        minimum=1,
        search=SearchRange(1, 40, log=True),
    )


@dataclass(frozen=True, kw_only=True)
class NearestCenterOptions(ComparingOptions):
    """Options of the images nearest the centers, see `distill.selection.nearest_center`."""

    clusterer: str = choice(
        "kmeans", CLUSTERERS, "clustering of each class", search=_SEARCHED_CLUSTERERS
    )
    n_clusters: int | None = option(
        None, "clusters of each class; default: one for each image wanted", minimum=1
    )
    center: Literal["medoid"] | None = option(
        None, "medoid: the most central image of each cluster in place of the clusterer's center"
    )
    pick: str = choice("nearest", PICKS, PICK_HELP)
    quota: str = choice("one", QUOTAS, QUOTA_HELP)


_CHOOSING = {
    "random": Component(
        build="distill.selection.plain:RandomImages",
        options=SelectorOptions,
        published="random",
    ),
    "cluster_grid": Component(
        build="distill.selection.cluster_grid:ClusterGrid",
        options=ClusterGridOptions,
        label="clustering",
        published="cluster_grid_published",
    ),
    "herding": Component(build="distill.selection.herding:Herding", options=ComparingOptions),
    "k_center": Component(
        build="distill.selection.k_center:KCenter", options=ComparingOptions, label="k-center"
    ),
    "nearest_center": Component(
        build="distill.selection.nearest_center:build_nearest_center",
        options=NearestCenterOptions,
        label="nearest center",
    ),
}
"""Selectors whose images are trained on as they are."""

AUGMENTED = Registry("augmented selector", _CHOOSING)
"""Selectors whose images the augmentation can transform."""


@dataclass(frozen=True, kw_only=True)
class AugmentationOptions(SelectorOptions):
    """Options of paper 2's augmentation of a selection, by default a random one."""

    augment_selector: str = choice(
        "random", AUGMENTED, "how the images that are transformed are chosen"
    )
    augment_mode: Literal["replace", "add"] = option(
        "replace", "train on transformed images only, or on the originals too"
    )
    augment_copies: int = option(
        5, "transformed images for each original (published: draws of the fraction)", minimum=1
    )
    augment_contrast: bool = option(
        False, "draw contrast, too, which paper 2 names and its code lacks"
    )


SELECTORS = Registry(
    "selector",
    {
        "base": Component(
            build="distill.selection.plain:AllImages",
            label="base (all images)",
            published="base",
            searched=False,
        ),
        "random": _CHOOSING["random"],
        "cluster_grid": _CHOOSING["cluster_grid"],
        "augmentation": Component(
            options=AugmentationOptions,
            published="augmentation_published",
            searched=False,
        ),
        "herding": _CHOOSING["herding"],
        "k_center": _CHOOSING["k_center"],
        "nearest_center": _CHOOSING["nearest_center"],
        "cluster_grid_published": Component(
            build="distill.selection.cluster_grid:PublishedClusterGrid",
            options=ClusterGridOptions,
            searched=False,
        ),
        "augmentation_published": Component(
            build="distill.selection.plain:build_published_augmentation",
            options=AugmentationOptions,
            searched=False,
        ),
    },
)
"""Names as in configurations, results and tables; those with `published` in them run in place of
others under the published protocol and cannot be chosen."""

PUBLISHED_FORMS = ("cluster_grid_published", "augmentation_published")
"""Selectors that only run in place of others."""
