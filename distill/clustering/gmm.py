"""Gaussian mixture with diagonal covariances, by scikit-learn.

A point belongs to the component with the highest responsibility for it; the representative of a
cluster is its point with the highest responsibility, and among equal ones (responsibilities are
often 1 up to rounding in many dimensions) the one with the highest density. The masses of the
clusters are the mixing proportions.

Cost: O(n k d) time an iteration on the CPU in float64. Points are copied to the CPU and labels
copied back.

References:
    Dempster, Laird & Rubin, Maximum likelihood from incomplete data via the EM algorithm, Journal
    of the Royal Statistical Society B 1977.

Deviations: a component for which no point has its highest responsibility takes the point for which
its responsibility is highest among those of larger clusters.
"""

import warnings
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as ScikitMixture
from torch import Tensor

from distill.clustering.base import Clusterer, Clustering, cluster_means
from distill.clustering.labels import n_distinct, occupied, seed_of
from distill.errors import UserError
from distill.runtime.devices import require_memory


@final
@dataclass(frozen=True, kw_only=True)
class GaussianMixture(Clusterer):
    """Expectation maximisation from k-means++ means.

    Where fewer points than `n_clusters` are distinct, there are as many clusters as distinct
    points. Centers are the means of the points.

    Attributes:
        covariance_floor: added to every variance, as a share of the mean variance of the features;
            above 0. It keeps components from collapsing on single points.
        max_iter: largest number of iterations, at least 1.

    Raises:
        UserError: a value is out of range.

    Example:
        >>> points = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
        >>> mixture = GaussianMixture().fit(points, 2, torch.Generator().manual_seed(0))
        >>> sorted(mixture.sizes.tolist())
        [2, 2]
    """

    runs_on_cpu: ClassVar[bool] = True

    covariance_floor: float = 0.01
    max_iter: int = 50

    def __post_init__(self) -> None:
        if not 0 < self.covariance_floor < float("inf"):
            raise UserError(f"covariance_floor must be above 0, got {self.covariance_floor}")
        if self.max_iter < 1:
            raise UserError(f"max_iter must be at least 1, got {self.max_iter}")

    def _fit(self, points: Tensor, n_clusters: int, generator: torch.Generator) -> Clustering:
        array = points.double().cpu().numpy()
        array = array - array.mean(axis=0)
        scale = float(array.var(axis=0).mean()) or 1.0
        k = n_distinct(array, n_clusters)
        # Responsibilities, their logarithms and what these are made of: (n, k) float64 each.
        require_memory(
            32 * len(array) * k,
            torch.device("cpu"),
            f"the responsibilities of {k:,} components for the {len(array):,} points of a class",
            "take fewer clusters or images (--train-per-class), or a clusterer such as "
            "minibatch_kmeans",
        )
        if k == 1:
            one = torch.zeros(len(points), dtype=torch.int64, device=points.device)
            return Clustering(labels=one, centers=cluster_means(points, one, 1))
        mixture = ScikitMixture(
            k,
            covariance_type="diag",
            init_params="k-means++",
            reg_covar=self.covariance_floor * scale,
            max_iter=self.max_iter,
            random_state=seed_of(generator),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # `n_iter` says so
            mixture.fit(array)
        shares = mixture.predict_proba(array)
        labels = occupied(shares)
        own = np.arange(len(array)), labels
        closeness = _ranks(shares[own], _log_densities(array, labels, mixture))
        as_tensor = torch.from_numpy
        found = as_tensor(labels).to(points.device)
        return Clustering(
            labels=found,
            centers=cluster_means(points, found, k),
            masses=as_tensor(mixture.weights_ * len(array)).to(points.device),
            closeness=as_tensor(closeness).to(points.device),
            n_iter=int(mixture.n_iter_),
        )


def _log_densities(
    points: NDArray[np.float64], labels: NDArray[np.int64], mixture: ScikitMixture
) -> NDArray[np.float64]:
    """Returns the log densities of the points' components at them, up to a constant."""
    variances = mixture.covariances_[labels]
    squares = (points - mixture.means_[labels]) ** 2 / variances
    densities: NDArray[np.float64] = -0.5 * (squares.sum(axis=1) + np.log(variances).sum(axis=1))
    return densities


def _ranks(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns numbers that order points by two numbers, the second deciding ties of the first."""
    ranks = np.empty(len(first))
    ranks[np.lexsort((second, first.round(12)))] = np.arange(len(first))
    return ranks
