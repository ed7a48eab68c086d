"""The K-Medoids of scikit-learn-extra, as paper 1 called it: heuristic start, alternate updates.

Only a cross-check of `KMedoids(algorithm="alternate", init="heuristic")`, which gives the same
medoids without this library. Cost: O(n² d) time and n² numbers of memory, on the CPU. The last
release, 0.3.0 of 2023, cannot be imported with NumPy 2: it has an environment of its own.

References:
    Park & Jun, A simple and fast algorithm for K-medoids clustering, Expert Systems with
    Applications 2009.

Deviations: where medoids coincide in space, each still owns its own point in the labels returned.
"""

import warnings
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from distill.clustering.base import Clusterer, Clustering
from distill.clustering.kmedoids import total_deviation
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
        UserError: on `fit`, if the library cannot be imported; says in which environment it can.
    """

    def _fit(self, points: Tensor, n_clusters: int, generator: torch.Generator) -> Clustering:
        seed = torch.randint(2**31, (1,), generator=generator, device=generator.device).item()
        library = _import_kmedoids()(
            n_clusters, method="alternate", init="heuristic", random_state=int(seed)
        )
        with warnings.catch_warnings():
            # An empty cluster: its medoid coincides with another one. Labels are put right below.
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
    """Returns the library's class, or says in which environment it is to be had."""
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
