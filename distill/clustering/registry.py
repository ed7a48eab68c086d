"""The clusterers by name."""

from collections.abc import Callable
from typing import Any

from distill.clustering.agglomerative import Agglomerative
from distill.clustering.base import Clusterer
from distill.clustering.birch import Birch
from distill.clustering.dbscan import DBSCAN
from distill.clustering.kmeans import KMeans
from distill.clustering.kmedoids import KMedoids
from distill.clustering.random_partition import RandomPartition
from distill.clustering.sklearn_extra import SklearnExtraKMedoids
from distill.errors import require_known

CLUSTERERS: dict[str, Callable[..., Clusterer]] = {
    "kmeans": lambda: KMeans(init="random"),
    "kmeans++": lambda n_local_trials: KMeans(init="k-means++", n_local_trials=n_local_trials),
    "kmedoids": lambda medoid_algorithm, medoid_init: KMedoids(
        algorithm=medoid_algorithm, init=medoid_init
    ),
    "dbscan": DBSCAN,
    "agglomerative": Agglomerative,
    "birch": Birch,
    "random": RandomPartition,
    # What paper 1 really ran (Lloyd as in DREAM; k-means‖; heuristic start and alternate updates;
    # the same by the library it used; its DBSCAN; single linkage).
    "kmeans_published": lambda: KMeans(
        init="random", max_iter=100, tol_relative=False, empty="zero"
    ),
    "kmeans++_published": lambda: KMeans(init="k-means||", max_iter=300),
    "kmedoids_published": lambda: KMedoids(algorithm="alternate", init="heuristic"),
    "kmedoids_sklearn_extra": SklearnExtraKMedoids,
    "dbscan_published": DBSCAN,
    "agglomerative_published": lambda: Agglomerative(linkage="single"),
}
"""Every method by the name it has in configurations, results and tables."""


def build_clusterer(name: str, **options: Any) -> Clusterer:
    """Builds a clusterer from its name and its own hyper-parameters.

    Args:
        name: a key of `CLUSTERERS`.
        options: all of the fields that `CLUSTERER_OPTIONS` lists for it.

    Raises:
        UserError: the name is unknown.
    """
    require_known("clusterer", name, CLUSTERERS)
    return CLUSTERERS[name](**options)
