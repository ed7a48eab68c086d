"""Selectors that do not compare images: all images, or stratified random ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from distill.selection.base import Selection, Selector, rows_by_class, shuffled


@final
@dataclass(frozen=True, kw_only=True)
class AllImages(Selector):
    """All images of the pool, the base of paper 2; the quotas are not used.

    Example:
        >>> labels = torch.tensor([0, 0, 1])
        >>> AllImages().select(torch.empty(3, 0), labels, [1, 1], torch.Generator()).rows
        tensor([0, 1, 2])
    """

    @property
    def needs_points(self) -> bool:
        """No: images are not compared."""
        return False

    def select(
        self, points: Tensor, labels: Tensor, quotas: Sequence[int], generator: torch.Generator
    ) -> Selection:
        """Chooses every image."""
        del points, quotas, generator
        return Selection(rows=torch.arange(len(labels)))


@final
@dataclass(frozen=True, kw_only=True)
class RandomImages(Selector):
    """Random images of every class, without replacement.

    Example:
        >>> labels = torch.tensor([0, 0, 1, 1])
        >>> generator = torch.Generator().manual_seed(0)
        >>> labels[RandomImages().select(torch.empty(4, 0), labels, [1, 1], generator).rows]
        tensor([0, 1])
    """

    @property
    def needs_points(self) -> bool:
        """No: images are not compared."""
        return False

    def select(
        self, points: Tensor, labels: Tensor, quotas: Sequence[int], generator: torch.Generator
    ) -> Selection:
        """Chooses the first images of each class in random order."""
        del points
        chosen = [
            shuffled(rows, generator)[:quota]
            for rows, quota in zip(rows_by_class(labels, len(quotas)), quotas, strict=True)
        ]
        return Selection(rows=torch.cat(chosen))


@final
@dataclass(frozen=True, kw_only=True)
class RepeatedDraws(Selector):
    """Several independent draws of random images, so that images can be chosen repeatedly.

    The augmentation of paper 2 transforms images that are drawn so: 10 %, five times.

    Attributes:
        n_draws: number of draws of the quotas.

    Example:
        >>> labels = torch.tensor([0, 0, 1, 1])
        >>> selector = RepeatedDraws(n_draws=5)
        >>> generator = torch.Generator().manual_seed(0)
        >>> len(selector.select(torch.empty(4, 0), labels, [1, 1], generator).rows)
        10
    """

    n_draws: int

    @property
    def needs_points(self) -> bool:
        """No: images are not compared."""
        return False

    def select(
        self, points: Tensor, labels: Tensor, quotas: Sequence[int], generator: torch.Generator
    ) -> Selection:
        """Chooses draw by draw."""
        draws = [
            RandomImages().select(points, labels, quotas, generator).rows
            for _ in range(self.n_draws)
        ]
        return Selection(rows=torch.cat(draws))


def build_published_augmentation(
    *, augment_copies: int, augment_mode: str, augment_selector: str, augment_contrast: bool
) -> RepeatedDraws:
    """Builds the selector of the published augmentation: as many draws as copies."""
    del augment_mode, augment_selector, augment_contrast
    return RepeatedDraws(n_draws=augment_copies)
