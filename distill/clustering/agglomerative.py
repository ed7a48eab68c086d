"""Agglomerative hierarchical clustering (SAHN) with ward, complete, average or single linkage.

The two nearest clusters are merged until `n_clusters` are left. For ward, complete and average
linkage a merged cluster is never nearer to a third one than the nearer of its two parts was
(*reducibility*), so all pairs of clusters that are each other's nearest neighbour can be merged at
once without changing the hierarchy: each round finds every row's minimum of one distance matrix,
merges all reciprocal pairs and updates their rows by the Lance–Williams formula. Heights do not
come in order then; the whole hierarchy is built, its merges are sorted by height, and the lowest
n − k of them are kept. Single linkage cuts the minimum spanning tree (Borůvka) in the same way.

Cost: O(n² d) time for the distances, then O(n²) for the updates of rows. A round searches again
only rows that lost their nearest neighbour, those with the lowest bounds first and at most 16 for
each merge of the round before, so the searches take O(n²) in practice too, even where one cluster
swallows the points one by one (n − 1 rounds; 60 to 700 on 5,000 points of 2,048 features). Borůvka
takes O(n² log n). Memory: n² numbers in float64 (3.2 GB at n = 20,000; 6.2 GB with the work space).
float64 because the errors of repeated updates add up.

References:
    Ward, "Hierarchical grouping to optimize an objective function", JASA 1963.
    Lance & Williams, "A general theory of classificatory sorting strategies", Computer J. 1967.
    Bruynooghe, "Classification ascendante hiérarchique des grands ensembles de données", Cahiers de
    l'analyse des données 1978 (reducibility).
    Murtagh, "A survey of recent advances in hierarchical clustering algorithms", Computer J. 1983
    (reciprocal nearest neighbours).
    Gower & Ross, "Minimum spanning trees and single linkage cluster analysis", Applied Stat. 1969.
    Nešetřil, Milková & Nešetřilová, "Otakar Borůvka on minimum spanning tree problem", Discrete
    Mathematics 2001 (translation of the papers of 1926).
    Müllner, "Modern hierarchical, agglomerative clustering algorithms", arXiv 2011.

Deviations: none where distances differ. Between equal distances the lowest index wins, except that
distances which are zero up to rounding (duplicates) are ordered so that duplicates pair up in
logarithmically many rounds. Any choice is a valid hierarchy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from distill.clustering.base import (
    BatchClusterer,
    Clustering,
    cluster_means,
    inertia_of,
    pairwise_squares,
)
from distill.clustering.hierarchy import (
    BLOCK,
    CPU_BLOCK,
    UPDATES,
    Merges,
    merge_reciprocal_neighbors,
    minimum_spanning_tree,
)
from distill.clustering.labels import components, number_by_first_occurrence
from distill.errors import require_known


@final
@dataclass(frozen=True, kw_only=True)
class Agglomerative(BatchClusterer):
    """Hierarchical clustering cut at exactly `n_clusters` clusters, duplicates or not.

    The generator given to `fit` is not used. Labels are numbered in the order in which clusters
    first occur; centers are means. `inertia` is given for ward linkage, which minimises it
    greedily, and None for the others.

    Attributes:
        linkage: distance between clusters: the increase in inertia ("ward"), or the largest
            ("complete"), mean ("average") or smallest ("single") distance between their points.
    """

    linkage: Literal["ward", "complete", "average", "single"] = "ward"

    def __post_init__(self) -> None:
        require_known("linkage", self.linkage, (*UPDATES, "single"))

    def _fit_batch(
        self, points: Sequence[Tensor], n_clusters: int, generators: Sequence[torch.Generator]
    ) -> list[Clustering]:
        del generators
        results = []
        if n_clusters == max(len(own) for own in points):  # Then all classes have that size.
            every_label = [torch.arange(len(own), device=own.device) for own in points]
        else:
            every_label = [_cut(merges, n_clusters) for merges in self._build_hierarchies(points)]
        for own, labels in zip(points, every_label, strict=True):
            centers = cluster_means(own, labels, n_clusters)
            inertia = inertia_of(own, labels, centers) if self.linkage == "ward" else None
            results.append(Clustering(labels=labels, centers=centers, inertia=inertia))
        return results

    def _build_hierarchies(self, points: Sequence[Tensor]) -> list[Merges]:
        """Returns the hierarchy of every class; one of them has at least two points."""
        if self.linkage == "single":
            return [minimum_spanning_tree(_pairwise_squares(own)) for own in points]
        counts = [len(own) for own in points]
        if len(points) == 1:
            distances = _pairwise_squares(points[0])[None]
        else:
            shape = (len(points), max(counts), max(counts))
            distances = points[0].new_full(shape, torch.inf, dtype=torch.float64)
            for own, matrix in zip(points, distances, strict=True):
                matrix[: len(own), : len(own)] = _pairwise_squares(own)
        if self.linkage == "average":
            distances.sqrt_()  # The others give the same hierarchy from squared distances.
        return merge_reciprocal_neighbors(distances, counts, UPDATES[self.linkage])


def _pairwise_squares(points: Tensor) -> Tensor:
    """Returns the (n, n) float64 squared distances: exactly symmetric, the diagonal infinite.

    Distances below the rounding error of the matrix product say nothing about the order of points.
    They get tiny distinct values by the exclusive or of the two indices, under which duplicates are
    reciprocal neighbours two by two. Were they all zero, all duplicates would have the same nearest
    neighbour, and one pair a round would merge.
    """
    n = len(points)
    points = points.double()
    distances = pairwise_squares(points)
    norms = (points - points.mean(dim=0)).square().sum(dim=1)
    # The smallest number only matters when all points are equal.
    floors = norms.clamp_min_(1e-200) * (64 * torch.finfo(torch.float64).eps)
    index = torch.arange(n, device=points.device)
    for rows in torch.split(index, max(1, (BLOCK if points.is_cuda else CPU_BLOCK) // n)):
        spread = (index[rows, None] ^ index).double().div_(n).add_(1)
        block = distances[rows[0] : rows[-1] + 1]
        torch.maximum(block, spread.mul_(floors[rows, None] + floors), out=block)
    return distances.fill_diagonal_(torch.inf)


def _cut(merges: Merges, n_clusters: int) -> Tensor:
    """Returns the (n,) labels that the lowest n − `n_clusters` merges leave."""
    n = len(merges.heights) + 1
    kept = merges.heights.argsort(stable=True)[: n - n_clusters]
    roots = components(n, merges.children[kept], merges.parents[kept])
    labels, _ = number_by_first_occurrence(roots)
    return labels
