"""Selectors that do not look at the images: all of them, or stratified random ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from distill.selection.base import Selection, Selector, rows_by_class, shuffled


@final
@dataclass(frozen=True, kw_only=True)
class AllImages(Selector):
    """The whole pool, the paper's base; the quotas are not used."""

    needs_points: ClassVar[bool] = False

    def select(
        self, points: Tensor, labels: Tensor, quotas: Sequence[int], generator: torch.Generator
    ) -> Selection:
        """Chooses every image."""
        del points, quotas, generator
        return Selection(rows=torch.arange(len(labels)))


@final
@dataclass(frozen=True, kw_only=True)
class RandomImages(Selector):
    """Random images of every class, without replacement."""

    needs_points: ClassVar[bool] = False

    def select(
        self, points: Tensor, labels: Tensor, quotas: Sequence[int], generator: torch.Generator
    ) -> Selection:
        """Chooses the first of each class in a random order."""
        del points
        chosen = [
            shuffled(rows, generator)[:quota]
            for rows, quota in zip(rows_by_class(labels, len(quotas)), quotas, strict=True)
        ]
        return Selection(rows=torch.cat(chosen))


@final
@dataclass(frozen=True, kw_only=True)
class RepeatedDraws(Selector):
    """Several independent draws of random images, so that images can be chosen more than once.

    What the paper's augmentation did before it transformed them: 10 % drawn five times.

    Attributes:
        n_draws: how many, each of the quotas.
    """

    n_draws: int
    needs_points: ClassVar[bool] = False

    def select(
        self, points: Tensor, labels: Tensor, quotas: Sequence[int], generator: torch.Generator
    ) -> Selection:
        """Chooses draw by draw."""
        draws = [
            RandomImages().select(points, labels, quotas, generator).rows
            for _ in range(self.n_draws)
        ]
        return Selection(rows=torch.cat(draws))


def build_augmentation(*, augment_mode: str, augment_copies: int) -> RandomImages:
    """Builds the selector of the augmentation: random images, which the trial then transforms."""
    del augment_mode, augment_copies
    return RandomImages()


def build_published_augmentation(*, augment_mode: str, augment_copies: int) -> RepeatedDraws:
    """Builds what the paper's augmentation did in its place: as many draws as copies."""
    del augment_mode
    return RepeatedDraws(n_draws=augment_copies)
