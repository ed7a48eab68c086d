"""K-medoids of scikit-learn-extra, as used by paper 1: heuristic start, alternate updates.

It only cross-checks `KMedoids(algorithm="alternate", init="heuristic")`, which gives the same
medoids without this library. Cost: O(n² d) time and n² numbers of memory, on the CPU. The last
release, 0.3.0 of 2023, cannot be imported with NumPy 2, so it needs a separate environment.

References:
    Park & Jun, A simple and fast algorithm for K-medoids clustering, Expert Systems with
    Applications 2009.

Deviations: a medoid belongs to its own cluster also if it coincides with another medoid.
"""

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from distill.clustering.base import Clusterer, Clustering, require_memory_for_pairs
from distill.clustering.medoids import total_deviation
from distill.errors import UserError

_COMMAND = (
    "uv run --isolated --no-default-groups --extra sklearn-extra "
    "python -m distill --clusterer kmedoids_sklearn_extra"
)


@final
@dataclass(frozen=True, kw_only=True)
class SklearnExtraKMedoids(Clusterer):
    """`sklearn_extra.cluster.KMedoids` with its default options.

    Raises:
        UserError: in `fit`, if the library cannot be imported; the message gives the command for
            an environment in which it can.
    """

    runs_on_cpu: ClassVar[bool] = True

    def _fit(self, points: Tensor, n_clusters: int, generator: torch.Generator) -> Clustering:
        seed = torch.randint(2**31, (1,), generator=generator, device=generator.device).item()
        n = len(points)
        require_memory_for_pairs(points.cpu(), n * n, 2 * points.element_size(), n)
        library = _import_kmedoids()(
            n_clusters, method="alternate", init="heuristic", random_state=int(seed)
        )
        with warnings.catch_warnings():
            # A cluster is empty if its medoid coincides with another one; corrected below.
            warnings.filterwarnings("ignore", message="Cluster .* is empty")
            library.fit(points.cpu().numpy())
        medoids = torch.from_numpy(library.medoid_indices_).to(points.device, torch.int64)
        labels = torch.from_numpy(library.labels_).to(points.device, torch.int64)
        labels[medoids] = torch.arange(n_clusters, device=points.device)
        return Clustering(
            labels=labels,
            centers=points[medoids],
            total_deviation=total_deviation(points, medoids, labels),
            medoid_indices=medoids,
            n_iter=library.n_iter_ + 1,  # the library counts from zero
        )


def _import_kmedoids() -> Any:
    """Returns the class of the library; raises a UserError if it cannot be imported."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # its use of distutils
            from sklearn_extra.cluster import KMedoids  # noqa: PLC0415 - optional
    except (ImportError, ValueError) as error:  # ValueError: built for another NumPy
        raise UserError(
            f"kmedoids_sklearn_extra cannot import scikit-learn-extra ({error}); its last "
            f"release, 0.3.0, needs NumPy < 2, so run it in its own environment: {_COMMAND}"
        ) from error
    return KMedoids
