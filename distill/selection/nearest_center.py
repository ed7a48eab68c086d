"""Images nearest to the centers of a clustering of each class: neighbours of centroids, or medoids.

The same images initialise the distillation and are its matching targets. With k-medoids, or with
`medoids`, the chosen images are medoids. Cost: that of the clusterer, and of the medoids.

References:
    Liu et al., DREAM: Efficient dataset distillation by representative matching, ICCV 2023.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from distill.clustering.base import NOISE, Clusterer, Clustering, spawn_generators
from distill.clustering.medoids import with_medoids
from distill.clustering.quality import class_quality, mean_quality
from distill.clustering.sizes import size_columns
from distill.selection.base import Selection, Selector, rows_by_class
from distill.selection.masses import class_masses
from distill.selection.picks import Picking, build_picking
from distill.selection.representatives import Picks, select


@final
@dataclass(frozen=True, kw_only=True)
class NearestCenter(Selector):
    """The `quota` rule of `distill.selection.representatives` on a clustering of each class.

    Attributes:
        clusterer: clustering method.
        n_clusters: number of clusters per class, at most its number of images; None: the quota of
            the class, hence one image per cluster. With fewer, clusters give images in proportion
            to their size.
        medoids: whether to replace the centers of the clusters by medoids.
        picking: pick and quota, in place of the `quota` rule; None: the images nearest to the
            centers.
        difficulty: (n,) of all points, for pickings that need it; None for others.

    Example:
        >>> from distill.clustering.agglomerative import Agglomerative
        >>> points = torch.tensor([[0.0], [1.0], [2.0], [9.0]])
        >>> selector = NearestCenter(clusterer=Agglomerative(linkage="ward"))
        >>> labels = torch.zeros(4, dtype=torch.int64)
        >>> selector.select(points, labels, [2], torch.Generator()).rows
        tensor([1, 3])
    """

    clusterer: Clusterer
    n_clusters: int | None = None
    medoids: bool = False
    picking: Picking | None = None
    difficulty: Tensor | None = None

    @property
    def needs_points(self) -> bool:
        """Whether the clusterer looks at the points: random partitions do not."""
        return self.clusterer.uses_points

    def select(
        self, points: Tensor, labels: Tensor, quotas: Sequence[int], generator: torch.Generator
    ) -> Selection:
        """Clusters each class, with a separate generator, and chooses."""
        if not self.needs_points:
            points = torch.arange(len(labels), dtype=torch.float32)[:, None]
        clusters = torch.full_like(labels, NOISE)
        chosen: list[Tensor] = []
        masses: list[Tensor] = []
        clusterings: list[Clustering] = []
        qualities: list[dict[str, float]] = []
        streams = spawn_generators(generator, len(quotas))
        for rows, quota, stream in zip(
            rows_by_class(labels, len(quotas)), quotas, streams, strict=True
        ):
            members = points[rows.to(points.device)]
            n_clusters = min(self.n_clusters or quota, len(members))
            clustering = self.clusterer.fit(members, n_clusters, stream)
            if self.medoids:
                clustering = with_medoids(members, clustering)
            representatives = select(
                members, clustering, quota, "quota", stream, self._picks(rows, stream)
            )
            clusters[rows] = clustering.labels.cpu()
            chosen.append(rows[representatives.indices.cpu()])
            masses.append(class_masses(representatives.weights.cpu(), len(members)))
            clusterings.append(clustering)
            if self.needs_points:
                indices, weights = representatives.indices, representatives.weights
                qualities.append(class_quality(members, clustering, indices, weights))
        n_clusters_mean = sum(found.n_clusters for found in clusterings) / len(clusterings)
        sizes = [found.sizes for found in clusterings]
        n_points = [len(found.labels) for found in clusterings]
        return Selection(
            rows=torch.cat(chosen),
            clusters=clusters,
            counts={
                "n_clusters_mean": n_clusters_mean,
                **size_columns(sizes, n_points),
                **{f"{name}_last": value for name, value in mean_quality(qualities).items()},
            },
            masses=torch.cat(masses),
        )

    def _picks(self, rows: Tensor, generator: torch.Generator) -> Picks | None:
        """Returns what the images of a class, by their rows, are picked by."""
        if self.picking is None:
            return None
        difficulty = None if self.difficulty is None else self.difficulty[rows]
        return Picks(picking=self.picking, difficulty=difficulty, generator=generator)


def build_nearest_center(
    *,
    clusterer: Clusterer,
    n_clusters: int | None,
    center: str | None,
    pick: str,
    quota: str,
    **options: Any,
) -> NearestCenter:
    """Builds the selector from its options.

    Args:
        clusterer: clustering method.
        n_clusters: see `NearestCenter`.
        center: `medoid` or None.
        pick: a key of `PICKS`.
        quota: a key of `QUOTAS`.
        options: of the quota, by name.
    """
    return NearestCenter(
        clusterer=clusterer,
        n_clusters=n_clusters,
        medoids=center == "medoid",
        picking=build_picking(pick, quota, options),
    )
