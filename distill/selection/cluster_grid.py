"""Cluster grid of paper 2: cluster all images, divide their plane by a grid, one image per cell.

All images are clustered together (the paper: k-means, 2 clusters, on pixels) and projected onto the
plane of their first principal components. Every pair of a class and a cluster is a *group*; a grid
of g × g cells divides the plane, and every occupied cell gives a random image. If that is not
enough, more images are drawn from the group. The noise of a clustering is a group, too.

Cost: the clustering and the principal components (see `distill.selection.pca`); the grid is cheap.

`ClusterGrid` is the sound form, `PublishedClusterGrid` that of the paper's notebook, whose
docstring lists the defects.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from distill.clustering.base import Clusterer, Clustering
from distill.clustering.quality import class_quality
from distill.clustering.sizes import size_columns
from distill.selection.apportionment import largest_remainder
from distill.selection.base import PlaneGrid, Selection, Selector, rows_by_class, shuffled
from distill.selection.masses import class_masses
from distill.selection.pca import principal_plane


@final
@dataclass(frozen=True, kw_only=True)
class ClusterGrid(Selector):
    """Cluster grid with exactly the quota of every class, without replacement.

    The quota of a class is divided among its clusters in proportion to their sizes (largest
    remainder). The grid of a group covers the range of that group, so that few cells are empty.
    Every cell gives one image, in random order, then those with further images give a second one,
    and so on: no cell is two images ahead of another that has images left.

    Attributes:
        clusterer: clustering method.
        n_clusters: number of clusters of all images together.
        pca_dim: dimensions of the plane.
        grid_size: number of cells along each axis; None: the smallest one with as many cells as
            images to choose from the group (⌈√n⌉ in two dimensions).

    Example:
        >>> from distill.clustering.kmeans import KMeans
        >>> generator = torch.Generator().manual_seed(0)
        >>> points, labels = torch.randn(40, 5, generator=generator), torch.arange(40) % 2
        >>> selector = ClusterGrid(clusterer=KMeans(), n_clusters=2)
        >>> labels[selector.select(points, labels, [4, 6], generator).rows].bincount()
        tensor([4, 6])
    """

    clusterer: Clusterer
    n_clusters: int
    pca_dim: int = 2
    grid_size: int | None = None

    def select(
        self, points: Tensor, labels: Tensor, quotas: Sequence[int], generator: torch.Generator
    ) -> Selection:
        """Chooses group by group."""
        laid_out = _lay_out(self.clusterer, self.n_clusters, self.pca_dim, points, generator)
        clusters = laid_out.clusters
        chosen: list[Tensor] = []
        masses: list[Tensor] = []
        grids: list[PlaneGrid] = []
        n_occupied = n_filled = 0
        for label, rows in enumerate(rows_by_class(labels, len(quotas))):
            groups = _groups(rows, clusters)
            sizes = torch.tensor([len(group) for group in groups])
            shares = largest_remainder(sizes, quotas[label], at_least_one=False)
            represented = (sizes.double() / shares).repeat_interleave(shares)
            masses.append(class_masses(represented, len(rows)))
            for group, share in zip(groups, shares.tolist(), strict=True):
                if share == 0:
                    continue
                grid = grid_over(
                    laid_out.plane[group],
                    self.grid_size or default_grid_size(share, self.pca_dim),
                    label=label,
                    cluster=int(clusters[group[0]]),
                )
                cells = grid_cells(laid_out.plane[group], grid)
                chosen.append(group[_in_rounds(cells, share, generator)])
                grids.append(grid)
                n_cells = len(torch.unique(cells))
                n_occupied += n_cells
                n_filled += max(0, share - n_cells)
        rows, weights = torch.cat(chosen), torch.cat(masses)
        selection = laid_out.selection(rows, weights, grids, n_occupied, n_filled)
        return dataclasses.replace(selection, masses=weights)


@final
@dataclass(frozen=True, kw_only=True)
class PublishedClusterGrid(Selector):
    """Cluster grid as published in paper 2, with its defects.

    1. The pool contains all images, including test images; the caller provides it.
    2. The number intended for the whole selection is drawn from **every** group, so that 2 classes
       × 2 clusters give four times as many.
    3. The grid covers the range of the whole plane, so that most cells of a group are empty, and
       the group is completed by draws **with replacement** from all its images: images repeat.

    The order of the random numbers differs from the notebook's.

    Attributes:
        clusterer: see `ClusterGrid`.
        n_clusters: see `ClusterGrid`.
        pca_dim: see `ClusterGrid`.
        grid_size: number of cells along each axis; None: ⌈√n⌉ in two dimensions for n images in
            the whole selection.

    Example:
        >>> from distill.clustering.kmeans import KMeans
        >>> generator = torch.Generator().manual_seed(0)
        >>> points, labels = torch.randn(40, 5, generator=generator), torch.arange(40) % 2
        >>> selector = PublishedClusterGrid(clusterer=KMeans(), n_clusters=2)
        >>> len(selector.select(points, labels, [4, 6], generator).rows)
        40
    """

    clusterer: Clusterer
    n_clusters: int
    pca_dim: int = 2
    grid_size: int | None = None

    def select(
        self, points: Tensor, labels: Tensor, quotas: Sequence[int], generator: torch.Generator
    ) -> Selection:
        """Chooses the sum of the quotas from every group."""
        laid_out = _lay_out(self.clusterer, self.n_clusters, self.pca_dim, points, generator)
        clusters = laid_out.clusters
        n = sum(quotas)
        size = self.grid_size or default_grid_size(n, self.pca_dim)
        grid = grid_over(laid_out.plane, size)
        cells = grid_cells(laid_out.plane, grid)
        chosen: list[Tensor] = []
        n_occupied = n_filled = 0
        for rows in rows_by_class(labels, len(quotas)):
            for group in _groups(rows, clusters):
                n_cells = len(torch.unique(cells[group]))
                firsts = group[_in_rounds(cells[group], min(n_cells, n), generator)]
                n_missing = n - len(firsts)
                draws = torch.randint(len(group), (n_missing,), generator=generator)
                chosen += [firsts, group[draws]]
                n_occupied += n_cells
                n_filled += n_missing
        rows = torch.cat(chosen)
        return laid_out.selection(rows, torch.ones(len(rows)), [grid], n_occupied, n_filled)


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Clusters and projection of all images; see `Selection`."""

    points: Tensor
    clustering: Clustering
    plane: Tensor
    counts: dict[str, Any]

    @property
    def clusters(self) -> Tensor:
        """The (n,) cluster of every image, on the CPU."""
        return self.clustering.labels.cpu()

    def selection(
        self,
        rows: Tensor,
        weights: Tensor,
        grids: Sequence[PlaneGrid],
        n_occupied: int,
        n_filled: int,
    ) -> Selection:
        """Returns the selection, with the quality of the clustering of all images together.

        Args:
            rows: chosen.
            weights: of them; an image that is chosen again counts again.
            grids: of the plane.
            n_occupied: cells.
            n_filled: images beyond one a cell.
        """
        once, places = rows.unique(return_inverse=True)
        total = torch.zeros(len(once)).index_add_(0, places, weights.float())
        device = self.points.device
        quality = class_quality(
            self.points, self.clustering, once.to(device), total.to(self.points)
        )
        counts = {
            "n_cells_occupied": n_occupied,
            "n_filled": n_filled,
            **{f"{name}_last": value for name, value in quality.items()},
        }
        return Selection(
            rows=rows,
            clusters=self.clusters,
            plane=self.plane,
            grids=tuple(grids),
            counts=self.counts | counts,
        )


def _lay_out(
    clusterer: Clusterer,
    n_clusters: int,
    pca_dim: int,
    points: Tensor,
    generator: torch.Generator,
) -> _Layout:
    clustering = clusterer.fit(points, min(n_clusters, len(points)), generator)
    plane = principal_plane(points, pca_dim, generator)
    return _Layout(
        points=points,
        clustering=clustering,
        plane=plane.coordinates.float().cpu(),
        counts={
            "n_clusters_mean": clustering.n_clusters,
            "largest_cluster_mean": int(clustering.sizes.max()) / len(points),
            "noise_mean": clustering.n_noise / len(points),
            "plane_explained": plane.explained,
            **size_columns([clustering.sizes], [len(points)]),
        },
    )


def _groups(rows: Tensor, clusters: Tensor) -> list[Tensor]:
    """Returns the rows of a class by cluster; noise, −1, comes first."""
    row_clusters = clusters[rows]
    return [rows[row_clusters == cluster] for cluster in torch.unique(row_clusters)]


def default_grid_size(n: int, dim: int) -> int:
    """Returns the smallest number of cells per axis for n cells in total; at least 1."""
    size = max(1, int(n ** (1 / dim)) - 1)
    while size**dim < n:
        size += 1
    return size


def grid_over(
    plane: Tensor, size: int, *, label: int | None = None, cluster: int | None = None
) -> PlaneGrid:
    """Returns the grid that covers the range of points in each dimension.

    Args:
        plane: (n, p) coordinates, n at least 1.
        size: number of cells along each axis, at least 1.
        label: see `PlaneGrid`.
        cluster: see `PlaneGrid`.
    """
    low, high = plane.amin(dim=0), plane.amax(dim=0)
    return PlaneGrid(
        low=tuple(low.tolist()), high=tuple(high.tolist()), size=size, label=label, cluster=cluster
    )


def grid_cells(plane: Tensor, grid: PlaneGrid) -> Tensor:
    """Returns the cell of every point, numbered from 0 among the occupied cells.

    Args:
        plane: (n, p) coordinates within the grid.
        grid: grid over the plane.
    """
    low, high = plane.new_tensor(grid.low), plane.new_tensor(grid.high)
    span = torch.where(high > low, high - low, 1.0)
    cells = ((plane - low) / span * grid.size).long().clamp_max_(grid.size - 1)
    numbers: Tensor = torch.unique(cells, dim=0, return_inverse=True)[1]
    return numbers


def _in_rounds(cells: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Returns n indices: a random one of each cell, then a second of each, and so on.

    The cells have the same random order in every round, so that an incomplete last round has no
    systematic preference.
    """
    n_cells = int(cells.max()) + 1
    order = shuffled(torch.arange(len(cells)), generator)
    by_cell = order[cells[order].argsort(stable=True)]
    sizes = torch.bincount(cells, minlength=n_cells)
    rounds = torch.arange(len(cells)) - (sizes.cumsum(0) - sizes)[cells[by_cell]]
    places = shuffled(torch.arange(n_cells), generator)
    return by_cell[(rounds * n_cells + places[cells[by_cell]]).argsort()[:n]]
