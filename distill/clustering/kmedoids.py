"""k-medoids (partitioning around medoids) by FasterPAM, or by alternate updates.

k of the points are the medoids. The total deviation, the sum of the plain Euclidean distances of
all points to their nearest medoid, is minimised.

Cost: O(n² d) time for the distances and n² numbers of memory, then for FasterPAM O(n²) time per
pass (a pass tries every point as a medoid; few are needed), for alternate updates the sum of the
squared cluster sizes. Starts: "random" O(k), "lab" O(n k), "heuristic" O(n²), "build" O(n² k).

References:
    Kaufman & Rousseeuw, Finding Groups in Data, Wiley 1990 (BUILD, and swaps).
    Park & Jun, A simple and fast algorithm for K-medoids clustering, Expert Systems with
    Applications 2009 (heuristic start, alternate updates).
    Schubert & Rousseeuw, Fast and eager k-medoids clustering, Information Systems 2021 (FasterPAM;
    LAB, a BUILD on subsamples).

Deviations: for the order of swaps see `fasterpam`. The heuristic start with alternate updates is
that of scikit-learn-extra, except for the order of its clusters (here the most central medoid comes
first) and for exactly equal distances, which rounding decides. A medoid belongs to its own cluster
also if it coincides with another medoid.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from distill.clustering.base import (
    BatchClusterer,
    Clustering,
    pairwise_squares,
    require_memory_for_pairs,
)
from distill.clustering.fasterpam import fasterpam, fasterpam_classes
from distill.clustering.medoids import total_deviation
from distill.errors import UserError

_BLOCK_ELEMENTS = 2**20
"""Distances per block of BUILD: small enough for the caches of a CPU."""


@final
@dataclass(frozen=True, kw_only=True)
class KMedoids(BatchClusterer):
    """k-medoids from a matrix of Euclidean distances in the dtype of the points.

    Attributes:
        algorithm: "fasterpam" (swaps) or "alternate" (assign points, then take the best medoid of
            each cluster; cheaper and much worse).
        init: "build" (greedy), "lab" (greedy on random subsamples), "random" (distinct random
            points) or "heuristic" (the k points with the smallest sum of distances to all; no
            random numbers).
        max_iter: largest number of passes of FasterPAM, or of rounds of alternate updates.

    Raises:
        UserError: a value is unknown or out of range.

    Example:
        >>> points = torch.tensor([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
        >>> clustering = KMedoids().fit(points, 2, torch.Generator().manual_seed(0))
        >>> clustering.medoid_indices.sort().values, float(clustering.total_deviation)
        (tensor([1, 4]), 4.0)
    """

    algorithm: Literal["fasterpam", "alternate"] = "fasterpam"
    init: Literal["build", "lab", "random", "heuristic"] = "lab"
    max_iter: int = 300

    def __post_init__(self) -> None:
        if self.algorithm not in ("fasterpam", "alternate"):
            raise UserError(f"algorithm must be fasterpam or alternate, got {self.algorithm!r}")
        if self.init not in ("build", "lab", "random", "heuristic"):
            raise UserError(f"init must be build, lab, random or heuristic, got {self.init!r}")
        if self.max_iter < 1:
            raise UserError(f"max_iter must be at least 1, got {self.max_iter}")

    def _fit_batch(
        self, points: Sequence[Tensor], n_clusters: int, generators: Sequence[torch.Generator]
    ) -> list[Clustering]:
        counts = [len(members) for members in points]
        n = max(counts)
        n_matrices = len(points) + (len(points) > 1)  # with several, one beside its place
        require_memory_for_pairs(points[0], n_matrices * n * n, points[0].element_size(), n)
        if len(points) == 1:
            distances = euclidean_distances(points[0])[None]
        else:  # smaller classes are padded with zeros, which do not change any sum
            distances = points[0].new_zeros(len(points), n, n)
            for members, matrix in zip(points, distances, strict=True):
                matrix[: len(members), : len(members)] = euclidean_distances(members)
        starts = self._start(distances, counts, n_clusters, generators)
        results = self._improve(distances, counts, starts)
        return [
            _clustering(members, matrix[:, : len(members)], medoids, n_iter)
            for members, matrix, (medoids, n_iter) in zip(points, distances, results, strict=True)
        ]

    def _start(
        self, distances: Tensor, counts: list[int], k: int, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Returns the (c, k) initial medoids."""
        if self.init == "lab":
            return lab(distances, counts, k, generators)
        starts = []
        for matrix, n, generator in zip(distances, counts, generators, strict=True):
            if self.init == "build":
                starts.append(build(matrix[:n, :n], k))
            elif self.init == "random":
                order = torch.randperm(n, generator=generator, device=generator.device)
                starts.append(order[:k].to(distances.device))
            else:
                starts.append(matrix[:n, :n].sum(dim=1).argsort(stable=True)[:k])
        return torch.stack(starts)

    def _improve(
        self, distances: Tensor, counts: list[int], starts: Tensor
    ) -> list[tuple[Tensor, int]]:
        """Returns the (k,) medoids and the number of iterations of each class."""
        if self.algorithm == "fasterpam" and (len(counts) > 1 or distances.is_cuda):
            return fasterpam_classes(distances, counts, starts, self.max_iter)
        improve = fasterpam if self.algorithm == "fasterpam" else alternate
        return [
            improve(matrix[:n, :n], start, self.max_iter)
            for matrix, n, start in zip(distances, counts, starts, strict=True)
        ]


def _clustering(points: Tensor, distances: Tensor, medoids: Tensor, n_iter: int) -> Clustering:
    labels = distances[medoids].argmin(dim=0)
    labels[medoids] = torch.arange(len(medoids), device=labels.device)
    return Clustering(
        labels=labels,
        centers=points[medoids],
        total_deviation=total_deviation(points, medoids, labels),
        medoid_indices=medoids,
        n_iter=n_iter,
    )


def euclidean_distances(points: Tensor) -> Tensor:
    """Returns the (n, n) distances; zero on the diagonal, exactly symmetric."""
    return pairwise_squares(points).sqrt_()


def _best_medoid(distances: Tensor, members: Tensor, medoid: Tensor) -> Tensor:
    """Returns the (1,) member with the smallest sum of distances, the (1,) medoid if it is equal.

    Args:
        distances: (n, n).
        members: (m,) indices of the points of a cluster.
        medoid: (1,), one of them.
    """
    costs = distances[members[:, None], members].sum(dim=1)
    best = costs.argmin(dim=0, keepdim=True)
    current = (members == medoid).int().argmax(dim=0, keepdim=True)
    return torch.where(costs[best] < costs[current], members[best], medoid)


def alternate(distances: Tensor, medoids: Tensor, max_iter: int) -> tuple[Tensor, int]:
    """Assigns points to medoids and moves each medoid within its cluster, until none moves.

    Args:
        distances: (n, n) floating point.
        medoids: (k,) distinct initial indices. Not modified.
        max_iter: largest number of rounds, at least 1.

    Returns:
        The (k,) medoids, and the number of rounds; the last one changed nothing, unless it is
        `max_iter`.
    """
    n_iter, moved = 0, True
    while moved and n_iter < max_iter:
        n_iter += 1
        labels = distances[medoids].argmin(dim=0)
        sizes = torch.bincount(labels, minlength=len(medoids)).tolist()  # host–device sync
        clusters = labels.argsort(stable=True).split(sizes)
        updated = [
            _best_medoid(distances, members, medoid) if len(members) else medoid
            for members, medoid in zip(clusters, medoids.split(1), strict=True)
        ]  # a cluster is empty if its medoid coincides with an earlier one, and then keeps it
        before, medoids = medoids, torch.cat(updated)
        moved = not torch.equal(medoids, before)  # host–device sync
    return medoids, n_iter


def build(distances: Tensor, k: int) -> Tensor:
    """Returns the (k,) medoids of PAM's BUILD: each one lowers the total deviation the most."""
    chosen = [distances.sum(dim=1).argmin()]
    nearest = distances[chosen[0]]
    blocks = distances.chunk(-(-distances.numel() // _BLOCK_ELEMENTS))
    for _ in range(k - 1):
        gains = [(nearest - rows).clamp_min_(0).sum(dim=1) for rows in blocks]
        gain = torch.cat(gains)
        gain[torch.stack(chosen)] = -1
        chosen.append(gain.argmax())
        nearest = torch.minimum(nearest, distances[chosen[-1]])
    return torch.stack(chosen)


def lab(
    distances: Tensor, counts: list[int], k: int, generators: Sequence[torch.Generator]
) -> Tensor:
    """Returns the (c, k) medoids of LAB: BUILD on a new sample of 10 + √n points for each medoid.

    Args:
        distances: (c, n, n), padded with zeros.
        counts: number of points of each class.
        k: number of medoids per class.
        generators: one generator per class.
    """
    c, n, _ = distances.shape
    device = distances.device
    draws = torch.full((k, c, n), torch.inf, device=device)
    for number, (count, generator) in enumerate(zip(counts, generators, strict=True)):
        shape = (k, count)
        draws[:, number, :count] = torch.rand(
            shape, generator=generator, device=generator.device
        ).to(device)
    sizes = [10 + math.ceil(count**0.5) for count in counts]
    n_left, wanted = torch.tensor([counts, sizes], device=device)
    classes = torch.arange(c, device=device)[:, None]
    nearest = distances.new_full((c, n), torch.inf)
    chosen = torch.zeros(c, k, dtype=torch.int64, device=device)
    for step in range(k):
        draws[step].scatter_(1, chosen[:, :step], torch.inf)
        most = max(min(size, count - step) for size, count in zip(sizes, counts, strict=True))
        sample = draws[step].topk(most, largest=False).indices
        absent = torch.arange(most, device=device) >= torch.minimum(wanted, n_left - step)[:, None]
        within = distances[classes[:, :, None], sample[:, :, None], sample[:, None]]
        costs = torch.minimum(within, nearest.gather(1, sample)[:, None])
        costs = costs.masked_fill_(absent[:, None], 0).sum(dim=2).masked_fill_(absent, torch.inf)
        chosen[:, step] = sample.gather(1, costs.argmin(dim=1, keepdim=True))[:, 0]
        nearest = torch.minimum(nearest, distances[classes[:, 0], chosen[:, step]])
    return chosen


def build_kmedoids(
    *,
    medoid_algorithm: Literal["fasterpam", "alternate"],
    medoid_init: Literal["build", "lab", "random", "heuristic"],
) -> KMedoids:
    """Builds k-medoids from the options of configurations."""
    return KMedoids(algorithm=medoid_algorithm, init=medoid_init)
