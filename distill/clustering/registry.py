"""Every clusterer and every embedding by name, with its options."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from distill.components import Component, Registry, SearchRange, option


@dataclass(frozen=True, kw_only=True)
class KMeansPlusPlusOptions:
    """Options of k-means from k-means++ seeds, see `distill.clustering.kmeans`."""

    n_local_trials: int = option(
        1,
        "candidates per seeding step; above 1 is greedy k-means++",
        minimum=1,
        search=SearchRange(1, 8),
    )


@dataclass(frozen=True, kw_only=True)
class KMedoidsOptions:
    """Options of k-medoids, see `distill.clustering.kmedoids`."""

    medoid_algorithm: Literal["fasterpam", "alternate"] = option("fasterpam", "optimisation")
    medoid_init: Literal["build", "lab", "random", "heuristic"] = option(
        "lab", "initial medoids", search=("lab", "build", "random")
    )


@dataclass(frozen=True, kw_only=True)
class DBSCANOptions:
    """Options of DBSCAN, see `distill.clustering.dbscan`."""

    exclusive: ClassVar[tuple[tuple[str, str], ...]] = (("eps", "eps_quantile"),)

    eps: float | None = option(None, "neighbourhood radius in feature units", above=0)
    eps_quantile: float | None = option(
        0.5,
        "radius as a quantile of the min-samples-th neighbour distance, recomputed at each "
        "clustering",
        above=0,
        maximum=1,
        search=SearchRange(0.05, 1.0),
    )
    min_samples: int = option(
        2,
        "points, itself included, that make a core point (MinPts)",
        minimum=1,
        search=SearchRange(2, 10),  # with one sample the quantile would be of zeros
    )


@dataclass(frozen=True, kw_only=True)
class PublishedDBSCANOptions:
    """Options of paper 1's DBSCAN, which took a fixed radius only."""

    eps: float = option(15.0, "neighbourhood radius in feature units", above=0)
    min_samples: int = option(
        2, "points, itself included, that make a core point (MinPts)", minimum=1
    )


@dataclass(frozen=True, kw_only=True)
class AgglomerativeOptions:
    """Options of agglomerative clustering, see `distill.clustering.agglomerative`."""

    linkage: Literal["ward", "complete", "average", "single"] = option(
        "ward",
        "distance between clusters",
        search=("ward", "complete", "average", "single"),
    )


@dataclass(frozen=True, kw_only=True)
class BirchOptions:
    """Options of BIRCH, see `distill.clustering.birch`."""

    threshold_quantile: float = option(
        0.5,
        "radius of a sub-cluster as a quantile of nearest-neighbour distances",
        above=0,
        maximum=1,
        search=SearchRange(0.05, 1.0),
    )
    branching_factor: int = option(
        50, "sub-clusters per node", minimum=2, search=SearchRange(10, 100, log=True)
    )


@dataclass(frozen=True, kw_only=True)
class HDBSCANOptions:
    """Options of HDBSCAN, see `distill.clustering.hdbscan`."""

    min_cluster_size: int = option(
        5, "fewest points of a cluster", minimum=2, search=SearchRange(2, 30, log=True)
    )
    min_samples: int | None = option(
        None,
        "neighbours, itself included, that give a point's density; by default as many as "
        "min_cluster_size",
        minimum=1,
    )
    cluster_selection: Literal["eom", "leaf"] = option(
        "eom",
        "which clusters of the hierarchy: those of the largest excess of mass, or its leaves, many "
        "small ones",
        search=("eom", "leaf"),
    )
    strength_weights: bool = option(
        False, "weigh a cluster by its points' membership strengths, not by their number"
    )


@dataclass(frozen=True, kw_only=True)
class GaussianMixtureOptions:
    """Options of Gaussian mixtures, see `distill.clustering.gmm`."""

    covariance_floor: float = option(
        0.01,
        "added to every variance, as a share of the features' mean variance",
        above=0,
        search=SearchRange(1e-3, 0.3, log=True),
    )


@dataclass(frozen=True, kw_only=True)
class SpectralOptions:
    """Options of spectral clustering, see `distill.clustering.spectral`."""

    n_neighbors: int = option(
        10,
        "nearest neighbours, itself included, that a point is linked to",
        minimum=2,
        search=SearchRange(5, 50, log=True),
    )


@dataclass(frozen=True, kw_only=True)
class BisectingOptions:
    """Options of bisecting k-means, see `distill.clustering.scikit_kmeans`."""

    bisect: Literal["biggest_inertia", "largest_cluster"] = option(
        "biggest_inertia",
        "cluster that is split next",
        search=("biggest_inertia", "largest_cluster"),
    )


@dataclass(frozen=True, kw_only=True)
class MiniBatchOptions:
    """Options of mini-batch k-means, see `distill.clustering.scikit_kmeans`."""

    minibatch_size: int = option(1024, "points in a mini-batch", minimum=1)


CLUSTERERS = Registry(
    "clusterer",
    {
        "kmeans": Component(
            build="distill.clustering.kmeans:KMeans",
            fixed={"init": "random"},
            label="K-Means",
            published="kmeans_published",
        ),
        "kmeans++": Component(
            build="distill.clustering.kmeans:KMeans",
            fixed={"init": "k-means++"},
            options=KMeansPlusPlusOptions,
            label="K-Means++",
            published="kmeans++_published",
        ),
        "kmedoids": Component(
            build="distill.clustering.kmedoids:build_kmedoids",
            options=KMedoidsOptions,
            label="K-Medoids",
            published="kmedoids_published",
        ),
        "dbscan": Component(
            build="distill.clustering.dbscan:DBSCAN",
            options=DBSCANOptions,
            label="DBSCAN",
            published="dbscan_published",
        ),
        "agglomerative": Component(
            build="distill.clustering.agglomerative:Agglomerative",
            options=AgglomerativeOptions,
            label="Agglomerative",
            published="agglomerative_published",
        ),
        "birch": Component(
            build="distill.clustering.birch:Birch", options=BirchOptions, label="BIRCH"
        ),
        "hdbscan": Component(
            build="distill.clustering.hdbscan:HDBSCAN", options=HDBSCANOptions, label="HDBSCAN"
        ),
        "gmm": Component(
            build="distill.clustering.gmm:GaussianMixture",
            options=GaussianMixtureOptions,
            label="Gaussian mixture",
        ),
        "spectral": Component(
            build="distill.clustering.spectral:Spectral", options=SpectralOptions, label="Spectral"
        ),
        "bisecting_kmeans": Component(
            build="distill.clustering.scikit_kmeans:BisectingKMeans",
            options=BisectingOptions,
            label="Bisecting K-Means",
        ),
        "minibatch_kmeans": Component(
            build="distill.clustering.scikit_kmeans:MiniBatchKMeans",
            options=MiniBatchOptions,
            label="Mini-batch K-Means",
        ),
        "facility_location": Component(
            build="distill.clustering.medoid_cover:FacilityLocation", label="Facility location"
        ),
        "k_center": Component(
            build="distill.clustering.medoid_cover:KCenterCover", label="k-center"
        ),
        "herding": Component(build="distill.clustering.medoid_cover:HerdingCover", label="Herding"),
        "random": Component(
            build="distill.clustering.random_partition:RandomPartition",
            label="Random",
            searched=False,
        ),
        # What paper 1 really ran: Lloyd as in DREAM; k-means‖; heuristic start and alternate
        # updates, and the same by the library it used; its DBSCAN; single linkage.
        "kmeans_published": Component(
            build="distill.clustering.kmeans:KMeans",
            fixed={"init": "random", "max_iter": 100, "tol_relative": False, "empty": "zero"},
            label="K-Means, the paper's",
            searched=False,
        ),
        "kmeans++_published": Component(
            build="distill.clustering.kmeans:KMeans",
            fixed={"init": "k-means||", "max_iter": 300},
            label="K-Means++, the paper's",
            searched=False,
        ),
        "kmedoids_published": Component(
            build="distill.clustering.kmedoids:KMedoids",
            fixed={"algorithm": "alternate", "init": "heuristic"},
            label="K-Medoids, the paper's",
            searched=False,
        ),
        "kmedoids_sklearn_extra": Component(
            build="distill.clustering.sklearn_extra:SklearnExtraKMedoids",
            label="K-Medoids, scikit-learn-extra",
            searched=False,
        ),
        "dbscan_published": Component(
            build="distill.clustering.dbscan:DBSCAN",
            options=PublishedDBSCANOptions,
            label="DBSCAN, the paper's",
            searched=False,
        ),
        "agglomerative_published": Component(
            build="distill.clustering.agglomerative:Agglomerative",
            fixed={"linkage": "single"},
            label="Agglomerative, the paper's",
            searched=False,
        ),
    },
)
"""Names as in configurations, results and tables; the order is that of tables."""

WITH_NOISE = ("dbscan", "hdbscan", "dbscan_published")
"""Clusterers that leave images in no cluster."""

CHOOSES_ITSELF = ("facility_location", "k_center", "herding", "random")
"""Clusterers whose representatives are images that they choose, with clusters made afterwards."""

EQUALLY_LARGE = ("random",)
"""Clusterers whose clusters differ by at most one image, so that their sizes weigh nothing."""


@dataclass(frozen=True, kw_only=True)
class GradientOptions:
    """Options of the gradient space."""

    projection_dim: int | None = option(
        None, "seeded random projection to this many dimensions", minimum=1
    )


EMBEDDINGS = Registry(
    "embedding",
    {
        "features": Component(),
        "pixels": Component(),
        "gradients": Component(options=GradientOptions),
        "predictions": Component(),
    },
)
"""The spaces that the distillation clusters in, see `distill.clustering.embeddings`."""
