"""Spectral clustering on the graph of nearest neighbours, by scikit-learn.

The eigenvectors of the normalised Laplacian of the graph in which each point is linked to its
nearest neighbours give new coordinates, whose columns are assigned to clusters by a pivoted QR
factorisation, without random starts.

Cost: O(n² d) time for the neighbours and O(n k²) for the eigenvectors, on the CPU. Memory: the
graph is sparse, n · `n_neighbors` numbers, and neighbours are searched in blocks of rows. Points
are copied to the CPU and labels copied back.

References:
    von Luxburg, A tutorial on spectral clustering, Statistics and Computing 2007.
    Damle, Minden & Ying, Simple, direct and efficient multi-way spectral clustering, Information
    and Inference 2019 (assignment).

Deviations: a cluster to which no point is assigned takes the point farthest from its own cluster's
mean.
"""

import warnings
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from sklearn.cluster import SpectralClustering as ScikitSpectral
from torch import Tensor

from distill.clustering.base import Clusterer, Clustering, cluster_means
from distill.clustering.labels import n_distinct, seed_of, split_off
from distill.errors import UserError
from distill.runtime.devices import require_memory


@final
@dataclass(frozen=True, kw_only=True)
class Spectral(Clusterer):
    """Spectral clustering; centers are means of the points as they were given.

    Where fewer points than `n_clusters` are distinct, there are as many clusters as distinct
    points.

    Attributes:
        n_neighbors: neighbours that a point is linked to, itself included, at least 2.

    Raises:
        UserError: a value is out of range.

    Example:
        >>> points = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
        >>> Spectral(n_neighbors=2).fit(points, 2, torch.Generator().manual_seed(0)).labels
        tensor([0, 0, 0, 1, 1, 1])
    """

    runs_on_cpu: ClassVar[bool] = True

    n_neighbors: int = 10

    def __post_init__(self) -> None:
        if self.n_neighbors < 2:
            raise UserError(f"n_neighbors must be at least 2, got {self.n_neighbors}")

    def _fit(self, points: Tensor, n_clusters: int, generator: torch.Generator) -> Clustering:
        array = points.double().cpu().numpy()
        array = array - array.mean(axis=0)
        n_found = n_distinct(array, n_clusters + 1)
        k = min(n_clusters, n_found)
        seed = seed_of(generator)
        labels = np.zeros(len(array), dtype=np.int64)
        if 1 < k < n_found:  # else there is nothing to decide
            require_memory(
                24 * len(array) * k,  # eigenvectors, and what the solver and the assignment keep
                torch.device("cpu"),
                f"{k:,} eigenvectors of the {len(array):,} points of a class",
                "take fewer clusters or images (--train-per-class), or a clusterer such as "
                "minibatch_kmeans",
            )
            spectral = ScikitSpectral(
                k,
                affinity="nearest_neighbors",
                n_neighbors=min(self.n_neighbors, len(array)),
                assign_labels="cluster_qr",
                random_state=seed,
            )
            with warnings.catch_warnings():
                # Several components are no fault here: their eigenvectors tell them apart.
                warnings.filterwarnings("ignore", message="Graph is not fully connected")
                labels = np.asarray(spectral.fit(array).labels_, dtype=np.int64)
        labels = split_off(array, labels, k)
        found = torch.from_numpy(labels).to(points.device)
        return Clustering(labels=found, centers=cluster_means(points, found, k))
