"""Representatives and weights of any clustering.

The rule depends on the name of the clusterer:

`quota` (sound protocol): k distinct images. Each cluster gets a quota in proportion to its size by
the largest remainder (Hamilton's method), and at least one image if there are at most k clusters;
within a cluster the images nearest to its center come first (a medoid before all others). With k
clusters that is one image each. If the clusters contain fewer than k images in total (DBSCAN with
much noise), the others are drawn at random from the noise, where each image represents only itself.

With another pick or quota (`distill.selection.picks`) the clusters give other images, or others of
them. The other rules are those of paper 1; see the functions. Shapes: n points, d features, k
representatives.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from distill.clustering.base import NOISE, Clustering
from distill.selection.apportionment import largest_remainder
from distill.selection.picks import Picking, first_of_groups, nearness


@dataclass(frozen=True, kw_only=True)
class Representatives:
    """Images chosen from one class.

    Attributes:
        indices: (m,) int64, positions among the points of the class; distinct and m = k, except
            under the published rules.
        weights: (m,) float64, with mean one, in proportion to the number of represented images.
        n_clusters: number of clusters found.
        largest_cluster: share of the points in the largest cluster, in [0, 1].
        noise: share of the points in no cluster, in [0, 1].

    Example:
        >>> points = torch.tensor([[0.0], [1.0], [2.0], [9.0]])
        >>> clustering = Clustering(
        ...     labels=torch.tensor([0, 0, 0, 1]), centers=torch.tensor([[1.0], [9.0]])
        ... )
        >>> chosen = select(points, clustering, 2, "quota", torch.Generator())
        >>> chosen.indices, chosen.weights
        (tensor([1, 3]), tensor([1.5000, 0.5000], dtype=torch.float64))
    """

    indices: Tensor
    weights: Tensor
    n_clusters: int
    largest_cluster: float
    noise: float


def select(
    points: Tensor,
    clustering: Clustering,
    k: int,
    rule: str,
    generator: torch.Generator,
    picks: "Picks | None" = None,
) -> Representatives:
    """Chooses the representatives of a class.

    Args:
        points: (n, d), the clustered points.
        clustering: clustering of the points.
        k: number of representatives, in [1, n].
        rule: a key of `RULES`.
        generator: draws images from the noise if the rule needs them.
        picks: how the rule `quota` picks otherwise than the images nearest to the centers; None: it
            does not.
    """
    if picks is None:
        indices, images_each = RULES[rule](points, clustering, k, generator)
    else:
        indices, images_each = _picked(points, clustering, k, picks)
    weights = images_each.double() / images_each.double().mean()
    sizes = clustering.sizes
    return Representatives(
        indices=indices,
        weights=weights,
        n_clusters=clustering.n_clusters,
        largest_cluster=int(sizes.max()) / len(points),
        noise=clustering.n_noise / len(points),
    )


@dataclass(frozen=True, kw_only=True)
class Picks:
    """What the images of a class are picked by.

    Attributes:
        picking: pick and quota.
        difficulty: (n,) of the points; None where it is not needed.
        generator: draws random picks; apart from that of the clusterings, so that these are the
            same with every pick.
    """

    picking: Picking
    difficulty: Tensor | None
    generator: torch.Generator


def rule_for(clusterer_name: str) -> str:
    """Returns the rule of a clusterer."""
    return _PUBLISHED_RULES.get(clusterer_name, "quota")


def _quota(
    points: Tensor, clustering: Clustering, k: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    n_members = int(clustering.sizes.sum())
    n_clusters = clustering.n_clusters
    quotas = largest_remainder(clustering.sizes, min(k, n_members), at_least_one=n_clusters <= k)
    indices = _nearest_in_cluster(points, clustering, quotas)
    owners = clustering.labels[indices]
    masses = clustering.sizes.double() if clustering.masses is None else clustering.masses
    images_each = masses[owners] / quotas[owners]
    if n_members < k:
        noise = torch.nonzero(clustering.labels == NOISE).squeeze(1)
        shuffled = torch.randperm(len(noise), generator=generator, device=generator.device)
        drawn = noise[shuffled[: k - n_members].to(noise.device)]
        indices = torch.cat([indices, drawn])
        images_each = torch.cat([images_each, torch.ones_like(drawn, dtype=torch.float64)])
    return indices, images_each


def _picked(points: Tensor, clustering: Clustering, k: int, picks: Picks) -> tuple[Tensor, Tensor]:
    """Chooses k images by a pick and a quota; what clusters lack comes from the noise.

    The images of a cluster share its mass, whichever group they were picked from.
    """
    n_members = int(clustering.sizes.sum())
    picking, difficulty, generator = picks.picking, picks.difficulty, picks.generator
    indices = picking.choose(points, clustering, min(k, n_members), difficulty, generator)
    owners = clustering.labels[indices]
    masses = clustering.sizes.double() if clustering.masses is None else clustering.masses
    images_each = masses[owners] / torch.bincount(owners, minlength=len(masses))[owners]
    if n_members < k:
        noise = torch.nonzero(clustering.labels == NOISE).squeeze(1)
        drawn = picking.choose_noise(noise, k - n_members, difficulty, generator)
        indices = torch.cat([indices, drawn])
        images_each = torch.cat([images_each, torch.ones_like(drawn, dtype=torch.float64)])
    return indices, images_each


def _nearest_in_cluster(points: Tensor, clustering: Clustering, quotas: Tensor) -> Tensor:
    """Returns the indices of the `quotas[j]` points nearest to center j in each cluster j."""
    return first_of_groups(nearness(points, clustering), clustering.labels, quotas)


def _nearest_in_class(
    points: Tensor, clustering: Clustering, k: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Chooses the image of the class nearest to each center, as DREAM's K-Means; can repeat."""
    del k, generator
    nearest = torch.cat(
        [torch.cdist(chunk, points).argmin(dim=1) for chunk in clustering.centers.split(64)]
    )
    return nearest, clustering.sizes


def _one_per_cluster(
    points: Tensor, clustering: Clustering, k: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Chooses one image per cluster, of any number of clusters, without noise (paper 1, DBSCAN)."""
    del k, generator
    quotas = (clustering.sizes > 0).long()
    indices = _nearest_in_cluster(points, clustering, quotas)
    return indices, clustering.sizes[clustering.labels[indices]]


def _proportional(
    points: Tensor, clustering: Clustering, k: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Chooses round(k · share) images per cluster, possibly none (paper 1, Agglomerative)."""
    del generator
    sizes = clustering.sizes
    quotas = (sizes.double() * k / sizes.sum()).round().long().minimum(sizes)
    indices = _nearest_in_cluster(points, clustering, quotas)
    owners = clustering.labels[indices]
    return indices, sizes[owners].double() / quotas[owners]


_Rule = Callable[[Tensor, Clustering, int, torch.Generator], tuple[Tensor, Tensor]]

RULES: dict[str, _Rule] = {
    "quota": _quota,
    "nearest_in_class": _nearest_in_class,
    "one_per_cluster": _one_per_cluster,
    "proportional": _proportional,
}
_PUBLISHED_RULES = {
    "kmeans_published": "nearest_in_class",
    "kmeans++_published": "one_per_cluster",
    "kmedoids_published": "one_per_cluster",
    "kmedoids_sklearn_extra": "one_per_cluster",
    "dbscan_published": "one_per_cluster",
    "agglomerative_published": "proportional",
}
