"""Lloyd's iterations of k-means, for one or several classes at once.

Cost: O(n k d) time per iteration for the distances, one matrix product; memory for a centred copy
of the points, O(n d), and a distance for every point and center, O(n k).

Two implementations give the same labels. *Lazy*: only centers that moved are multiplied with the
points again, and only clusters that gained or lost a point are averaged again; late iterations then
cost a small part of the first one (a third on average for 5,000 points and 128 clusters). The
amount of work depends on the values, so it suits a CPU, and it takes one class at a time. *Not
lazy*: every iteration runs the same few batched operations on all classes, without a host–device
sync; converged classes no longer change, and the host checks convergence every few iterations.

References:
    Lloyd, Least squares quantization in PCM, IEEE Transactions on Information Theory 1982.

Deviation: an empty cluster, which Lloyd does not define, takes the point farthest from its center,
as in scikit-learn.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.clustering.base import Clustering, without_tf32

ITERATIONS_PER_CHECK = 4
"""Iterations on a GPU between two checks of convergence, each of which is a host–device sync.

Not measured: at most three of some twenty iterations are superfluous.
"""

_BLOCK_ELEMENTS = 2**19
"""Elements per temporary block on a CPU (2 MiB in float32): small enough for its caches, large
enough that threads rarely wait for each other."""


def lloyd(
    points: Tensor,
    centers: Tensor,
    *,
    max_iter: int = 300,
    tol: float = 0.0,
    tol_relative: bool = False,
    empty: Literal["relocate", "zero"] = "relocate",
    lazy: bool | None = None,
) -> Clustering:
    """Runs Lloyd's algorithm on one class; see `lloyd_classes`."""
    return lloyd_classes(
        [points],
        [centers],
        max_iter=max_iter,
        tol=tol,
        tol_relative=tol_relative,
        empty=empty,
        lazy=lazy,
    )[0]


@without_tf32()
def lloyd_classes(
    points: Sequence[Tensor],
    centers: Sequence[Tensor],
    *,
    max_iter: int = 300,
    tol: float = 0.0,
    tol_relative: bool = False,
    empty: Literal["relocate", "zero"] = "relocate",
    lazy: bool | None = None,
    check_interval: int | None = None,
) -> list[Clustering]:
    """Runs Lloyd's algorithm on every class from the given centers.

    A class stops when no label changes, when its centers have moved by at most `tol`, or after
    `max_iter` iterations; the labels returned always belong to the centers returned.

    Args:
        points: (n_c, d) float32 or float64 points of each of c classes. Not modified.
        centers: (k, d) centers of each class, in the dtype and on the device of the points. Not
            modified.
        max_iter: largest number of iterations, at least 1.
        tol: bound on the squared shift of the centers, summed over all of them.
        tol_relative: whether `tol` is in units of the mean variance of the features of the class,
            or of squared distance.
        empty: see `KMeans`.
        lazy: whether to skip centers and clusters that did not change; only for one class. The
            default is True for one class on a CPU.
        check_interval: iterations between two checks of convergence. The default is 1 on a CPU and
            `ITERATIONS_PER_CHECK` on a GPU; the result is the same.

    Raises:
        ValueError: `lazy` with more than one class.
    """
    run = _Lloyd(points, centers, tol, tol_relative, empty == "relocate")
    run.lazy = lazy if lazy is not None else len(points) == 1 and not points[0].is_cuda
    if run.lazy and len(points) > 1:
        raise ValueError(f"lazy works on one class at a time, got {len(points)}")
    check_interval = check_interval or (ITERATIONS_PER_CHECK if points[0].is_cuda else 1)
    active = True
    while active:
        for _ in range(check_interval):
            run.iterate(max_iter)
        flags = torch.stack([run.active, run.stuck]).tolist()  # host–device sync
        active = any(flags[0])
        for number in [number for number, stuck in enumerate(flags[1]) if stuck]:
            run.relocate(number, max_iter)
            active = True
    return run.clusterings()


class _Lloyd:
    """State of c classes, padded with rows of zeros to the n points of the largest class.

    Attributes:
        points: (c, n, d), centred, so that the expansion of the distances loses no digits.
        absent: (c, n) bool, the rows of the padding.
        centers: (c, k, d), shifted by the same means.
        labels: (c, n).
        active: (c,) bool, classes that are still iterating.
        stuck: (c,) bool, classes that wait for `relocate`.
    """

    def __init__(
        self,
        points: Sequence[Tensor],
        centers: Sequence[Tensor],
        tol: float,
        tol_relative: bool,
        relocates: bool,
    ) -> None:
        self.counts = [len(members) for members in points]
        n, device = max(self.counts), points[0].device
        self.mean = torch.stack([members.mean(dim=0) for members in points])[:, None]
        self.centers = torch.stack(list(centers)) - self.mean
        if len(points) == 1:
            self.points = points[0] - self.mean
        else:
            self.points = points[0].new_zeros(len(points), n, points[0].shape[1])
            for members, mean, rows in zip(points, self.mean, self.points, strict=True):
                torch.sub(members, mean, out=rows[: len(members)])
        self.n_points = torch.tensor(self.counts, device=device)
        self.absent = torch.arange(n, device=device) >= self.n_points[:, None]
        self.labels = torch.full_like(self.absent, -1, dtype=torch.int64)
        self.active = torch.ones_like(self.n_points, dtype=torch.bool)
        self.stuck = ~self.active
        self.n_iter = torch.zeros_like(self.n_points)
        self.tol = torch.full_like(self.n_iter, tol, dtype=torch.float64)
        if tol_relative:
            squares = torch.stack([_sum_of_squares(members) for members in self.points])
            self.tol *= squares / (self.n_points * self.points.shape[2])
        self.relocates = relocates
        self.lazy = False
        self.scores = self.points.new_empty(len(points), self.centers.shape[1], n)
        self.scored: Tensor | None = None  # the centers that the scores belong to
        self.averaged: Tensor | None = None  # the labels that the centers are means of

    def iterate(self, max_iter: int) -> None:
        """Runs one iteration of every active class; an empty cluster makes a class stuck.

        There is no host–device sync, unless `lazy`.
        """
        labels = self._nearest()
        sizes = self._sizes(labels)
        vacant = sizes == 0
        centers = self._means(labels, sizes)
        if self.relocates:
            self.stuck = self.stuck | (self.active & vacant.any(dim=1))
            self.active = self.active & ~self.stuck
        else:
            centers = torch.where(vacant[:, :, None], -self.mean, centers)
        self._move(self.active, labels, centers, max_iter)

    def _move(self, moving: Tensor, labels: Tensor, centers: Tensor, max_iter: int) -> None:
        """Applies the results of an iteration to the classes in `moving`, (c,) bool."""
        self.n_iter = self.n_iter + moving
        settled = (labels == self.labels).all(dim=1)
        shift = (centers - self.centers).square().sum(dim=(1, 2))
        self.labels = torch.where(moving[:, None], labels, self.labels)
        self.centers = torch.where(moving[:, None, None], centers, self.centers)
        continues = ~settled & (shift > self.tol) & (self.n_iter < max_iter)
        self.active = torch.where(moving, continues, self.active)

    def _nearest(self) -> Tensor:
        """Returns (c, n) labels, by squared distances less ‖x‖², which has no effect."""
        squares = self.centers.square().sum(dim=2, keepdim=True)
        if self.lazy and self.scored is not None:
            moved = (self.centers != self.scored)[0].any(dim=1).nonzero()[:, 0]
            if len(moved):
                moving = self.centers[0, moved]
                again = torch.addmm(squares[0, moved], moving, self.points[0].T, alpha=-2)
                self.scores[0, moved] = again
        else:
            torch.baddbmm(squares, self.centers, self.points.mT, alpha=-2, out=self.scores)
        self.scored = self.centers
        return self.scores.min(dim=1).indices.masked_fill_(self.absent, 0)

    def _sizes(self, labels: Tensor) -> Tensor:
        """Returns the (c, k) numbers of points of the clusters."""
        zeros = labels.new_zeros(self.centers.shape[:2])
        return zeros.scatter_add_(1, labels, (~self.absent).long())

    def _means(self, labels: Tensor, sizes: Tensor) -> Tensor:
        """Returns the (c, k, d) means of the clusters; one without points keeps its center.

        Rows are summed bag by bag in a fixed order, unlike `index_add_` on a GPU. The zeros of the
        padding belong to the first bag of their class and do not change its sum.
        """
        if self.lazy and self.averaged is not None:
            changed = labels != self.averaged
            parts = torch.cat([labels[changed], self.averaged[changed]]).unique()
            self.averaged = labels
            centers = self.centers.clone()
            rows = torch.isin(labels[0], parts).nonzero()[:, 0]
            counts, owners = sizes[0, parts], labels[0, rows]
            bags = rows[owners.argsort(stable=True)]
            sums = F.embedding_bag(bags, self.points[0], counts.cumsum(0) - counts, mode="sum")
            means = sums / counts[:, None].clamp_min(1)
            centers[0, parts] = torch.where(counts[:, None] > 0, means, centers[0, parts])
            return centers
        self.averaged = labels
        c, k, d = self.centers.shape
        bags = (labels + k * torch.arange(c, device=labels.device)[:, None]).flatten()
        counts = sizes.clone()
        counts[:, 0] += self.absent.sum(dim=1)
        starts = counts.flatten().cumsum(dim=0) - counts.flatten()
        rows = self.points.flatten(end_dim=1)
        sums = F.embedding_bag(bags.argsort(stable=True), rows, starts, mode="sum")
        means = sums.view(c, k, d) / sizes[:, :, None].clamp_min(1)
        return torch.where(sizes[:, :, None] > 0, means, self.centers)

    def relocate(self, number: int, max_iter: int) -> None:
        """Runs the iteration of a stuck class, whose empty clusters get the farthest points."""
        labels = self._nearest()
        n = self.counts[number]
        points, class_labels = self.points[number, :n], labels[number, :n]
        vacant = (self._sizes(labels)[number] == 0).nonzero()[:, 0]
        moved = labels.clone()
        moved[number, :n] = _relocate(points, class_labels, self.centers[number], vacant)
        self.averaged = None  # the centers are not the means of the previous labels
        centers = self._means(moved, self._sizes(moved))
        moving = torch.zeros_like(self.stuck)
        moving[number] = True
        self.stuck = self.stuck & ~moving
        self._move(moving, labels, centers, max_iter)

    def clusterings(self) -> list[Clustering]:
        """Returns the clustering of every class, with points assigned to the last centers."""
        labels = self._nearest()
        complete = (self._sizes(labels) > 0).all(dim=1).tolist()
        results = []
        for number, n_iter in enumerate(self.n_iter.tolist()):  # host–device sync
            n = self.counts[number]
            points, centers = self.points[number, :n], self.centers[number]
            class_labels = labels[number, :n]
            if self.relocates and not complete[number]:
                class_labels, centers = fill_vacant(points, class_labels, centers.clone())
            inertia = _sum_of_squares(points, class_labels, centers)
            centers = centers + self.mean[number]
            results.append(
                Clustering(labels=class_labels, centers=centers, inertia=inertia, n_iter=n_iter)
            )
        return results


def _sum_of_squares(
    points: Tensor, labels: Tensor | None = None, centers: Tensor | None = None
) -> Tensor:
    """Returns the 0-d float64 sum of squared norms, or of squared distances to given centers."""
    if labels is None or centers is None:
        lengths = [torch.linalg.vector_norm(points, dim=1)]
    else:
        rows = len(points) if points.is_cuda else max(1, _BLOCK_ELEMENTS // points.shape[1])
        lengths = [
            torch.linalg.vector_norm(block - centers[block_labels], dim=1)
            for block, block_labels in zip(points.split(rows), labels.split(rows), strict=True)
        ]
    return torch.cat(lengths).double().square().sum()


def _relocate(points: Tensor, labels: Tensor, centers: Tensor, vacant: Tensor) -> Tensor:
    """Returns labels that give each vacant cluster one of the points farthest from its center."""
    distances = (points - centers[labels]).square().sum(dim=1)
    farthest = distances.topk(len(vacant)).indices
    farthest = farthest[distances[farthest] > 0]
    labels = labels.clone()
    labels[farthest] = vacant[: len(farthest)]
    return labels


def fill_vacant(points: Tensor, labels: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """Moves vacant clusters, one by one, to the point farthest from its center.

    Each move lowers the inertia, so that the loop ends: without vacant clusters, or with every
    point on a center; then there are at most as many distinct points as clusters, and the vacant
    ones are dropped. Distances are sums of squared differences, exactly zero between equal points.
    """
    vacant = _vacant(labels, len(centers))
    distances = (points - centers[labels]).square().sum(dim=1)
    while len(vacant) and distances.max() > 0:
        farthest = distances.argmax()
        centers[vacant[0]] = points[farthest]
        to_farthest = (points - points[farthest]).square().sum(dim=1)
        labels = torch.where(to_farthest < distances, vacant[0], labels)
        distances = torch.minimum(distances, to_farthest)
        vacant = _vacant(labels, len(centers))
    occupied, labels = torch.unique(labels, return_inverse=True)
    return labels, centers[occupied]


def _vacant(labels: Tensor, k: int) -> Tensor:
    """Returns the indices of the clusters without points."""
    return (torch.bincount(labels, minlength=k) == 0).nonzero()[:, 0]
