"""Base class of selectors, and their results.

A *selector* is a method of choosing real images: a frozen dataclass of hyper-parameters. A
*selection* is its result on a pool of images. Shapes: n images in the pool, d features, m chosen, p
dimensions of the plane in which a selection can be drawn.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from distill.errors import UserError
from distill.selection.apportionment import largest_remainder


@dataclass(frozen=True, kw_only=True)
class PlaneGrid:
    """Grid of equal cells over the range of some images in the plane.

    Attributes:
        low: (p,) smallest coordinates, in float32 precision.
        high: (p,) largest coordinates, which belong to the last cells.
        size: number of cells along each axis, at least 1.
        label: class of the images; None: all classes.
        cluster: cluster of the images, −1 for noise; None: all clusters.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    size: int
    label: int | None = None
    cluster: int | None = None


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Images chosen from a pool.

    Attributes:
        rows: (m,) int64 rows of the pool, on the CPU; distinct, except under the published
            protocol.
        clusters: (n,) int64 on the CPU, the cluster of every image of the pool, −1 for noise;
            numbered per class by selectors that cluster class by class. None without a clustering.
        plane: (n, p) float32 on the CPU, coordinates of the images in the plane of their principal
            components; None without one.
        grids: grids over the plane.
        counts: counts of the method, by the names of the result columns.
        masses: (m,) float64 on the CPU, the images of the pool that each chosen one stands for by
            its cluster; they sum to the size of each class. None without a clustering.

    Example:
        >>> Selection(rows=torch.tensor([0, 3])).rows
        tensor([0, 3])
    """

    rows: Tensor
    clusters: Tensor | None = None
    plane: Tensor | None = None
    grids: tuple[PlaneGrid, ...] = ()
    counts: dict[str, Any] = field(default_factory=dict)
    masses: Tensor | None = None


class Selector(ABC):
    """A method of choosing images. Subclasses are final frozen dataclasses that implement `select`.

    Example:
        >>> from distill.selection.plain import RandomImages
        >>> selector: Selector = RandomImages()
        >>> labels = torch.tensor([0, 0, 0, 1, 1])
        >>> generator = torch.Generator().manual_seed(0)
        >>> selection = selector.select(torch.empty(5, 0), labels, [2, 1], generator)
        >>> labels[selection.rows]
        tensor([0, 0, 1])
    """

    @property
    def needs_points(self) -> bool:
        """Whether the selector compares images; others get no points."""
        return True

    @abstractmethod
    def select(
        self, points: Tensor, labels: Tensor, quotas: Sequence[int], generator: torch.Generator
    ) -> Selection:
        """Chooses images of every class.

        Args:
            points: (n, d) floating point, finite, on any device: embeddings of the pool; (n, 0) if
                `needs_points` is False. Not modified.
            labels: (n,) int64 classes, on the CPU.
            quotas: number of images to choose per class, between 1 and the size of the class.
            generator: on the CPU, the only source of randomness.

        Raises:
            InfeasibleClusteringError: a clustering finds no cluster.
        """


def rows_by_class(labels: Tensor, n_classes: int) -> list[Tensor]:
    """Returns the rows of each class, in ascending order."""
    return [torch.nonzero(labels == label).flatten() for label in range(n_classes)]


def shuffled(rows: Tensor, generator: torch.Generator) -> Tensor:
    """Returns the rows in random order."""
    return rows[torch.randperm(len(rows), generator=generator)]


def stratified_quotas(counts: Sequence[int], fraction: float) -> list[int]:
    """Divides a fraction of all images among the classes in proportion to their sizes.

    The quotas sum to round(fraction · n), halves up, by the largest remainder; each is at least 1.

    Args:
        counts: number of images per class, at least 1.
        fraction: share of the images, in (0, 1].

    Raises:
        UserError: the fraction is less than one image per class.
    """
    n = sum(counts)
    n_chosen = int(fraction * n + 0.5)
    if n_chosen < len(counts):
        raise UserError(
            f"fraction {fraction:g} of {n} images is {n_chosen}, fewer than the {len(counts)} "
            f"classes; it must be at least {len(counts) / n:.2g}"
        )
    quotas = largest_remainder(torch.tensor(counts), n_chosen, at_least_one=True)
    return [int(quota) for quota in quotas]
