"""Greedy k-center: farthest-first traversal, so that every image is near a chosen one.

Cost: O(n d) time per chosen image; memory for a copy of the points and some vectors of n numbers.
The largest distance of an image to its nearest chosen one is at most twice the optimum.

References:
    Gonzalez, Clustering to minimize the maximum intercluster distance, Theoretical Computer
    Science 1985.
    Sener & Savarese, Active learning for convolutional neural networks: a core-set approach, ICLR
    2018.

Deviations: the papers start from a given or an arbitrary point; here it is the point nearest to the
mean of the class, so that no random numbers are needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from distill.clustering.greedy import farthest_first
from distill.selection.base import Selection, Selector, rows_by_class


@final
@dataclass(frozen=True, kw_only=True)
class KCenter(Selector):
    """Greedy k-center, class by class, without random numbers; rows are in the order of the choice.

    Example:
        >>> points = torch.tensor([[0.0], [4.0], [5.0], [20.0]])
        >>> labels = torch.zeros(4, dtype=torch.int64)
        >>> KCenter().select(points, labels, [2], torch.Generator()).rows
        tensor([2, 3])
    """

    def select(
        self, points: Tensor, labels: Tensor, quotas: Sequence[int], generator: torch.Generator
    ) -> Selection:
        """Chooses repeatedly the image farthest from all chosen ones."""
        del generator
        chosen = [
            rows[farthest_first(points[rows.to(points.device)], quota).cpu()]
            for rows, quota in zip(rows_by_class(labels, len(quotas)), quotas, strict=True)
        ]
        return Selection(rows=torch.cat(chosen))
