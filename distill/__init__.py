"""One trial: distil a data set, or choose real images, and measure how well networks train on it.

    from distill import DistillationConfig, load_dataset, run

    result = run(DistillationConfig(ipc=1), load_dataset("digits"))

Names are imported when they are first used, so configurations need no torch.
"""

from typing import TYPE_CHECKING

from distill.lazy import lazy_exports

if TYPE_CHECKING:
    from distill.clustering.agglomerative import Agglomerative
    from distill.clustering.base import Clusterer, Clustering
    from distill.clustering.birch import Birch
    from distill.clustering.dbscan import DBSCAN
    from distill.clustering.kmeans import KMeans
    from distill.clustering.kmedoids import KMedoids
    from distill.clustering.random_partition import RandomPartition
    from distill.clustering.registry import CLUSTERERS, EMBEDDINGS
    from distill.components import Component, Registry, choice, option
    from distill.config.base import Config
    from distill.config.distillation import DistillationConfig
    from distill.config.selection import SelectionConfig
    from distill.datasets import ImageData, load_dataset
    from distill.errors import (
        DivergedError,
        DreamSweepError,
        InfeasibleClusteringError,
        InsufficientMemoryError,
        InterruptedTrialError,
        SlowerWarning,
        UserError,
    )
    from distill.kinds import KINDS, Kind
    from distill.networks.registry import NETWORKS
    from distill.runtime.execution import Execution
    from distill.selection.registry import SELECTORS
    from distill.trials.base import Progress, Result, Trial
    from distill.trials.distilled_files import (
        DistilledSet,
        load_distilled,
        read_distilled,
        save_distilled,
    )
    from distill.trials.runner import check, run

__version__ = "0.2.0"

__all__ = [
    "CLUSTERERS",
    "DBSCAN",
    "EMBEDDINGS",
    "KINDS",
    "NETWORKS",
    "SELECTORS",
    "Agglomerative",
    "Birch",
    "Clusterer",
    "Clustering",
    "Component",
    "Config",
    "DistillationConfig",
    "DistilledSet",
    "DivergedError",
    "DreamSweepError",
    "Execution",
    "ImageData",
    "InfeasibleClusteringError",
    "InsufficientMemoryError",
    "InterruptedTrialError",
    "KMeans",
    "KMedoids",
    "Kind",
    "Progress",
    "RandomPartition",
    "Registry",
    "Result",
    "SelectionConfig",
    "SlowerWarning",
    "Trial",
    "UserError",
    "check",
    "choice",
    "load_dataset",
    "load_distilled",
    "option",
    "read_distilled",
    "run",
    "save_distilled",
]

_HOMES = {
    "distill.clustering.agglomerative": ["Agglomerative"],
    "distill.clustering.base": ["Clusterer", "Clustering"],
    "distill.clustering.birch": ["Birch"],
    "distill.clustering.dbscan": ["DBSCAN"],
    "distill.clustering.kmeans": ["KMeans"],
    "distill.clustering.kmedoids": ["KMedoids"],
    "distill.clustering.random_partition": ["RandomPartition"],
    "distill.clustering.registry": ["CLUSTERERS", "EMBEDDINGS"],
    "distill.components": ["Component", "Registry", "choice", "option"],
    "distill.config.base": ["Config"],
    "distill.config.distillation": ["DistillationConfig"],
    "distill.config.selection": ["SelectionConfig"],
    "distill.datasets": ["ImageData", "load_dataset"],
    "distill.errors": [
        "DivergedError",
        "DreamSweepError",
        "InfeasibleClusteringError",
        "InsufficientMemoryError",
        "InterruptedTrialError",
        "SlowerWarning",
        "UserError",
    ],
    "distill.kinds": ["KINDS", "Kind"],
    "distill.networks.registry": ["NETWORKS"],
    "distill.runtime.execution": ["Execution"],
    "distill.selection.registry": ["SELECTORS"],
    "distill.trials.base": ["Progress", "Result", "Trial"],
    "distill.trials.distilled_files": [
        "DistilledSet",
        "load_distilled",
        "read_distilled",
        "save_distilled",
    ],
    "distill.trials.runner": ["check", "run"],
}

__getattr__, __dir__ = lazy_exports(
    __name__, {name: module for module, names in _HOMES.items() for name in names}
)
