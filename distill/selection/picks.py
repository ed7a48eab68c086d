"""Picks and quotas: which images, and how many, represent the clusters of a class.

A *pick* orders the images inside a group, a *quota* divides the images wanted among groups: the
clusters, or their parts in ranges of difficulty. Shapes: n points of a class, d features, k images
wanted. Cost: O(n log n), and for medoids O(n_c² d) for every cluster of n_c points.

References:
    Zheng, Liu, Lai & Prakash, Coverage-centric coreset selection for high pruning rates, ICLR 2023
    (CCS).

Deviations: CCS draws at random within a range of difficulty, over all classes together; here a
range's images of a class are divided among the clusters in proportion to what they have in it, and
the pick decides within.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from distill.clustering.base import NOISE, Clustering
from distill.clustering.medoids import with_medoids
from distill.selection.apportionment import largest_remainder
from distill.selection.registry import PICKS, QUOTAS, DifficultyOptions


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The images of a class that are picked from.

    Attributes:
        points: (n, d).
        clustering: of the points.
        groups: (n,) int64, what images are compared within; −1: in none.
        scores: (n,) difficulty; None: no pick or quota needs it.
        generator: draws random numbers.
    """

    points: Tensor
    clustering: Clustering
    groups: Tensor
    scores: Tensor | None
    generator: torch.Generator

    @property
    def difficulty(self) -> Tensor:
        """The scores, for picks that need them."""
        assert self.scores is not None
        return self.scores


class Pick(ABC):
    """A way of ordering the images of a group. Subclasses are final frozen dataclasses.

    Attributes:
        needs_difficulty: whether it orders by difficulty.

    Example:
        >>> points, groups = torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64)
        >>> candidates = Candidates(
        ...     points=points,
        ...     clustering=Clustering(labels=groups, centers=points[:1]),
        ...     groups=groups,
        ...     scores=torch.tensor([0.2, 0.9, 0.5]),
        ...     generator=torch.Generator(),
        ... )
        >>> Hard().keys(candidates).argsort()
        tensor([1, 2, 0])
    """

    needs_difficulty: ClassVar[bool] = False

    @abstractmethod
    def keys(self, candidates: Candidates) -> Tensor:
        """Returns (n,) numbers: of a group, the images with the smallest are taken, lowest first.

        Of equal ones the first image is taken.
        """


@final
@dataclass(frozen=True, kw_only=True)
class Nearest(Pick):
    """The image nearest to the center of its cluster; a medoid before all others."""

    def keys(self, candidates: Candidates) -> Tensor:
        """Returns distances to the centers, or what the clusterer puts in their place."""
        return nearness(candidates.points, candidates.clustering)


@final
@dataclass(frozen=True, kw_only=True)
class Medoid(Pick):
    """The image with the smallest sum of distances to its cluster, then those nearest to it."""

    def keys(self, candidates: Candidates) -> Tensor:
        """Returns distances to the medoids."""
        points = candidates.points
        return nearness(points, with_medoids(points, candidates.clustering))


@final
@dataclass(frozen=True, kw_only=True)
class Random(Pick):
    """A random image."""

    def keys(self, candidates: Candidates) -> Tensor:
        """Returns a random permutation."""
        points, generator = candidates.points, candidates.generator
        order = torch.randperm(len(points), generator=generator, device=generator.device)
        return order.double().to(points.device)


@final
@dataclass(frozen=True, kw_only=True)
class Hard(Pick):
    """The most difficult image."""

    needs_difficulty: ClassVar[bool] = True

    def keys(self, candidates: Candidates) -> Tensor:
        """Returns the negative difficulty."""
        return -candidates.difficulty


@final
@dataclass(frozen=True, kw_only=True)
class Easy(Pick):
    """The least difficult image."""

    needs_difficulty: ClassVar[bool] = True

    def keys(self, candidates: Candidates) -> Tensor:
        """Returns the difficulty."""
        return candidates.difficulty


@final
@dataclass(frozen=True, kw_only=True)
class Middle(Pick):
    """The image in the middle of its group, ordered by difficulty; then those nearest in rank."""

    needs_difficulty: ClassVar[bool] = True

    def keys(self, candidates: Candidates) -> Tensor:
        """Returns the distances of the ranks to the middle one; equal difficulties share a rank."""
        difficulty, groups = candidates.difficulty, candidates.groups
        distances = torch.zeros_like(difficulty)
        for group in groups.unique():
            of_group = difficulty[groups == group].contiguous()
            ordered = of_group.sort().values
            first = torch.searchsorted(ordered, of_group)
            last = torch.searchsorted(ordered, of_group, right=True) - 1
            ranks = (first + last).to(distances) / 2
            distances[groups == group] = (ranks - (len(of_group) - 1) / 2).abs()
        return distances


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How many images each group gives.

    Attributes:
        groups: (n,) int64, the group of each point; −1: it is in none.
        counts: (n_groups,) int64, the images that each gives, at most its points.
    """

    groups: Tensor
    counts: Tensor


class Quota(ABC):
    """A way of dividing images among clusters. Subclasses are final frozen dataclasses.

    Attributes:
        needs_difficulty: whether it depends on the difficulty.

    Example:
        >>> quota: Quota = Proportional()
        >>> labels = torch.tensor([0, 0, 0, 0, 0, 1, 2])
        >>> clustering = Clustering(labels=labels, centers=torch.zeros(3, 1))
        >>> quota.shares(clustering, 3, None).counts, One().shares(clustering, 3, None).counts
        (tensor([2, 1, 0]), tensor([1, 1, 1]))
    """

    needs_difficulty: ClassVar[bool] = False

    @abstractmethod
    def shares(self, clustering: Clustering, k: int, difficulty: Tensor | None) -> Shares:
        """Divides k images.

        Args:
            clustering: of the points of a class.
            k: images, at most the points that are in clusters.
            difficulty: (n,); None unless `needs_difficulty`.
        """


@final
@dataclass(frozen=True, kw_only=True)
class One(Quota):
    """One image of each cluster, the others in proportion to size; see `representatives`."""

    def shares(self, clustering: Clustering, k: int, difficulty: Tensor | None) -> Shares:
        """Divides k images by the largest remainder, with at least one where that is possible."""
        del difficulty
        counts = largest_remainder(clustering.sizes, k, at_least_one=clustering.n_clusters <= k)
        return Shares(groups=clustering.labels, counts=counts)


@final
@dataclass(frozen=True, kw_only=True)
class Proportional(Quota):
    """Images in proportion to the sizes of clusters, of small clusters possibly none."""

    def shares(self, clustering: Clustering, k: int, difficulty: Tensor | None) -> Shares:
        """Divides k images by the largest remainder."""
        del difficulty
        counts = largest_remainder(clustering.sizes, k, at_least_one=False)
        return Shares(groups=clustering.labels, counts=counts)


@final
@dataclass(frozen=True, kw_only=True)
class Stratified(Quota):
    """As many images of every range of difficulty as of any other, as far as it has them (CCS).

    The ranges are of equal width; the images of a range are divided among the clusters in
    proportion to what they have in it. The groups are these parts of the clusters.

    Attributes:
        n_strata: ranges.
        prune_hardest: share of the hardest images of a class that are left out, as long as k are
            left.

    Example:
        >>> clustering = Clustering(labels=torch.zeros(6).long(), centers=torch.zeros(1, 1))
        >>> scores = torch.tensor([0.0, 0.1, 0.1, 0.1, 0.9, 1.0])
        >>> shares = Stratified(n_strata=2).shares(clustering, 4, scores)
        >>> shares.groups, shares.counts
        (tensor([0, 0, 0, 0, 1, 1]), tensor([2, 2]))
    """

    needs_difficulty: ClassVar[bool] = True
    n_strata: int = 10
    prune_hardest: float = 0.0

    def shares(self, clustering: Clustering, k: int, difficulty: Tensor | None) -> Shares:
        """Divides k images by ranges first, then by clusters."""
        assert difficulty is not None
        labels, scores = clustering.labels, difficulty.to(clustering.labels.device)
        members = torch.nonzero(labels != NOISE).squeeze(1)
        n_pruned = min(int(self.prune_hardest * len(members)), len(members) - k)
        members = members[scores[members].argsort(stable=True)[: len(members) - n_pruned]]
        strata = _strata(scores[members], self.n_strata)
        cells, places = torch.unique(
            strata * clustering.n_clusters + labels[members], return_inverse=True
        )
        groups = torch.full_like(labels, NOISE)
        groups[members] = places
        sizes = torch.bincount(places, minlength=len(cells))
        stratum_of = torch.div(cells, clustering.n_clusters, rounding_mode="floor")
        counts = torch.zeros_like(sizes)
        for stratum, budget in _budgets(strata, k).items():
            of_stratum = stratum_of == stratum
            counts[of_stratum] = largest_remainder(sizes[of_stratum], budget, at_least_one=False)
        return Shares(groups=groups, counts=counts)


def _strata(scores: Tensor, n_strata: int) -> Tensor:
    """Returns the range of each score, 0 … n_strata − 1, of equal widths; all 0 for equal ones."""
    low, high = scores.min(), scores.max()
    width = torch.where(high > low, high - low, torch.ones_like(low))
    strata: Tensor = ((scores - low) / width * n_strata).long().clamp_max_(n_strata - 1)
    return strata


def _budgets(strata: Tensor, k: int) -> dict[int, int]:
    """Returns the images of every range that has some: CCS's budgets, the smallest range first."""
    found, sizes = torch.unique(strata, return_counts=True)
    order = sizes.argsort(stable=True)
    budgets, left = {}, k
    for place, position in enumerate(order.tolist()):
        budget = min(int(sizes[position]), left // (len(order) - place))
        budgets[int(found[position])] = budget
        left -= budget
    return budgets


@dataclass(frozen=True, kw_only=True)
class Picking:
    """A pick with a quota.

    Attributes:
        pick: order of the images inside a group.
        quota: images that each group gives.

    Example:
        >>> points = torch.tensor([[0.0], [1.0], [2.0], [9.0]])
        >>> labels = torch.tensor([0, 0, 0, 1])
        >>> clustering = Clustering(labels=labels, centers=torch.tensor([[1.0], [9.0]]))
        >>> picking = Picking(pick=Hard(), quota=One())
        >>> scores = torch.tensor([0.1, 0.2, 0.3, 0.4])
        >>> picking.choose(points, clustering, 2, scores, torch.Generator())
        tensor([2, 3])
    """

    pick: Pick
    quota: Quota

    @property
    def needs_difficulty(self) -> bool:
        """Whether images are chosen by their difficulty."""
        return self.pick.needs_difficulty or self.quota.needs_difficulty

    def choose(
        self,
        points: Tensor,
        clustering: Clustering,
        k: int,
        difficulty: Tensor | None,
        generator: torch.Generator,
    ) -> Tensor:
        """Returns k distinct indices of points in clusters, cluster by cluster.

        Args:
            points: (n, d).
            clustering: of the points.
            k: images, at most the points that are in clusters.
            difficulty: (n,); None unless it is needed.
            generator: draws random numbers.
        """
        shares = self.quota.shares(clustering, k, difficulty)
        candidates = Candidates(
            points=points,
            clustering=clustering,
            groups=shares.groups,
            scores=difficulty,
            generator=generator,
        )
        keys = self.pick.keys(candidates)
        return first_of_groups(keys, shares.groups, shares.counts)

    def choose_noise(
        self, rows: Tensor, k: int, difficulty: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        """Returns k of the points that are in no cluster: by difficulty, or else random ones.

        Args:
            rows: (m,) indices of the points.
            k: images, at most m.
            difficulty: (n,) of all points; None unless it is needed.
            generator: draws random numbers.
        """
        pick = self.pick if self.pick.needs_difficulty else Random()
        groups = torch.zeros_like(rows)
        alone = Clustering(labels=groups, centers=rows[:1, None].double())
        candidates = Candidates(
            points=rows[:, None].double(),
            clustering=alone,
            groups=groups,
            scores=None if difficulty is None else difficulty[rows],
            generator=generator,
        )
        keys = pick.keys(candidates)
        return rows[keys.argsort(stable=True)[:k]]


def build_picking(pick: str, quota: str, options: Mapping[str, Any]) -> Picking | None:
    """Returns a pick with a quota; None for one image of each cluster nearest to its center.

    Args:
        pick: its name.
        quota: its name.
        options: of the quota, by name.

    Raises:
        UserError: a name is unknown.
    """
    if (pick, quota) == ("nearest", "one"):
        return None
    scores = {name for name in vars(DifficultyOptions()) if name in options}
    given = {name: value for name, value in options.items() if name not in scores}
    return Picking(pick=PICKS.build(pick), quota=QUOTAS.build(quota, **given))


def nearness(points: Tensor, clustering: Clustering) -> Tensor:
    """Returns (n,) distances to the centers, −1 for medoids; of noise they mean nothing.

    Where a clusterer has another order (`Clustering.closeness`), it is in place of the distance.
    """
    distances: Tensor
    if clustering.closeness is None:
        distances = (points - clustering.centers[clustering.labels]).norm(dim=1)
    else:
        distances = -clustering.closeness
    if clustering.medoid_indices is not None:
        is_medoid = torch.zeros_like(clustering.labels, dtype=torch.bool)
        is_medoid[clustering.medoid_indices] = True
        distances = torch.where(is_medoid, -1.0, distances)
    return distances


def first_of_groups(keys: Tensor, groups: Tensor, counts: Tensor) -> Tensor:
    """Returns the indices of the `counts[j]` points with the smallest keys in each group j.

    Args:
        keys: (n,); of equal ones the first point comes first.
        groups: (n,) int64 in 0 … n_groups − 1; −1: in none.
        counts: (n_groups,) int64, at most the points of each.
    """
    members = torch.nonzero(groups != NOISE).squeeze(1)
    of_member = groups[members]
    order = keys[members].argsort(stable=True)
    order = order[of_member[order].argsort(stable=True)]
    sizes = torch.bincount(of_member, minlength=len(counts))
    starts = sizes.cumsum(0) - sizes
    rank = torch.arange(len(order), device=order.device) - starts[of_member[order]]
    first: Tensor = members[order[rank < counts[of_member[order]]]]
    return first
