"""What every selector takes and returns.

A *selector* is a way of choosing: a frozen dataclass of hyper-parameters. A *selection* is what it
chose from a pool of images. Shapes: n images in the pool, d features, m chosen, p dimensions of the
plane in which a selection can be drawn.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from distill.errors import UserError
from distill.selection.representatives import largest_remainder


@dataclass(frozen=True, kw_only=True)
class PlaneGrid:
    """Cells of equal size over the range of some images in the plane.

    Attributes:
        low: (p,) the least coordinates, as float32 holds them.
        high: (p,) the largest, which belong to the last cells.
        size: cells along each axis, at least 1.
        label: the class whose images it divides; None: of all classes.
        cluster: the cluster, −1 for noise; None: all.
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
        clusters: (n,) int64 on the CPU, the cluster of every image of the pool, −1 for noise; of
            its class for selectors that cluster class by class. None without a clustering.
        plane: (n, p) float32 on the CPU, where the images lie in the plane of their principal
            components; None without one.
        grids: those that divided the plane.
        counts: what the method counted, under the names of the result columns.
    """

    rows: Tensor
    clusters: Tensor | None = None
    plane: Tensor | None = None
    grids: tuple[PlaneGrid, ...] = ()
    counts: dict[str, Any] = field(default_factory=dict)


class Selector(ABC):
    """A way of choosing. Subclasses are final: frozen dataclasses that implement `select`.

    Attributes:
        needs_points: whether images are compared; selectors that do not are given no points.
    """

    needs_points: ClassVar[bool] = True

    @abstractmethod
    def select(
        self, points: Tensor, labels: Tensor, quotas: Sequence[int], generator: torch.Generator
    ) -> Selection:
        """Chooses images of every class.

        Args:
            points: (n, d) floating point, finite, on any device: the pool as it is compared;
                (n, 0) where `needs_points` is False. Not modified.
            labels: (n,) int64 on the CPU, the classes.
            quotas: images wanted of each class, each at least 1 and at most as many as there are.
            generator: on the CPU, the only source of randomness.

        Raises:
            InfeasibleClusteringError: a clustering finds nothing.
        """


def rows_by_class(labels: Tensor, n_classes: int) -> list[Tensor]:
    """Returns one tensor of rows per class, ascending."""
    return [torch.nonzero(labels == label).flatten() for label in range(n_classes)]


def shuffled(rows: Tensor, generator: torch.Generator) -> Tensor:
    """Returns the rows in random order."""
    return rows[torch.randperm(len(rows), generator=generator)]


def stratified_quotas(counts: Sequence[int], fraction: float) -> list[int]:
    """Shares a fraction of all images among the classes in proportion to their sizes.

    Exactly round(fraction · n) images, halves up, by the largest remainder; at least one a class.

    Args:
        counts: images of each class, each at least 1.
        fraction: in (0, 1].

    Raises:
        UserError: the fraction is less than one image a class.
    """
    n = sum(counts)
    wanted = int(fraction * n + 0.5)
    if wanted < len(counts):
        raise UserError(
            f"fraction {fraction:g} of {n} images is {wanted}, fewer than the {len(counts)} "
            f"classes; it must be at least {len(counts) / n:.2g}"
        )
    quotas: list[int] = largest_remainder(torch.tensor(counts), wanted, at_least_one=True).tolist()
    return quotas
