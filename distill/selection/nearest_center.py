"""The images nearest the centers of a clustering of each class: centroids' neighbours, or medoids.

What the distillation starts from and matches against, as a way of choosing for good. Any clusterer
can be used; with k-medoids, or with `medoids`, the images chosen are medoids. Cost: that of the
clusterer, and of the medoids.

References:
    Liu et al., DREAM: Efficient dataset distillation by representative matching, ICCV 2023.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from distill.clustering.base import NOISE, Clusterer, Clustering, spawn_generators
from distill.clustering.medoids import with_medoids
from distill.clustering.sizes import size_columns
from distill.selection.base import Selection, Selector, rows_by_class
from distill.selection.representatives import select


@final
@dataclass(frozen=True, kw_only=True)
class NearestCenter(Selector):
    """The `quota` rule of `distill.selection.representatives` on a clustering of each class.

    Attributes:
        clusterer: the method.
        n_clusters: clusters of a class, at most as many as it has images; None: as many as images
            are wanted of it, so one image a cluster. With fewer, clusters give images in proportion
            to their size.
        medoids: whether to choose by the medoids of the clusters, whatever centers they have.
    """

    clusterer: Clusterer
    n_clusters: int | None = None
    medoids: bool = False

    def select(
        self, points: Tensor, labels: Tensor, quotas: Sequence[int], generator: torch.Generator
    ) -> Selection:
        """Clusters each class with a generator of its own, and chooses."""
        clusters = torch.full_like(labels, NOISE)
        chosen: list[Tensor] = []
        clusterings: list[Clustering] = []
        streams = spawn_generators(generator, len(quotas))
        for rows, quota, stream in zip(
            rows_by_class(labels, len(quotas)), quotas, streams, strict=True
        ):
            own = points[rows.to(points.device)]
            clustering = self.clusterer.fit(own, min(self.n_clusters or quota, len(own)), stream)
            if self.medoids:
                clustering = with_medoids(own, clustering)
            representatives = select(own, clustering, quota, "quota", stream)
            clusters[rows] = clustering.labels.cpu()
            chosen.append(rows[representatives.indices.cpu()])
            clusterings.append(clustering)
        return Selection(
            rows=torch.cat(chosen),
            clusters=clusters,
            counts={
                "n_clusters_mean": sum(own.n_clusters for own in clusterings) / len(clusterings),
                **size_columns(
                    [own.sizes for own in clusterings], [len(own.labels) for own in clusterings]
                ),
            },
        )


def build_nearest_center(
    *, clusterer: Clusterer, n_clusters: int | None, center: str | None
) -> NearestCenter:
    """Builds the selector from its options; `center` is `medoid` or None."""
    return NearestCenter(clusterer=clusterer, n_clusters=n_clusters, medoids=center == "medoid")
