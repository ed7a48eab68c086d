"""k-center greedy: every image is to be near a chosen one; farthest-first traversal.

Cost: O(n d) time for each image chosen, no memory beside some copies of n numbers and one of the
points. The largest distance of an image to its nearest chosen one is at most twice the best
possible.

References:
    Gonzalez, Clustering to minimize the maximum intercluster distance, Theoretical Computer
    Science 1985.
    Sener & Savarese, Active learning for convolutional neural networks: a core-set approach, ICLR
    2018.

Deviations: both start from a given or an arbitrary point; here it is the one nearest the mean of
the class, so that nothing is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from distill.selection.base import Selection, Selector, rows_by_class


@final
@dataclass(frozen=True, kw_only=True)
class KCenter(Selector):
    """The greedy choice, class by class; nothing is drawn. The first chosen come first."""

    def select(
        self, points: Tensor, labels: Tensor, quotas: Sequence[int], generator: torch.Generator
    ) -> Selection:
        """Chooses, again and again, the image farthest from all chosen so far."""
        del generator
        chosen = [
            rows[_farthest_first(points[rows.to(points.device)], quota).cpu()]
            for rows, quota in zip(rows_by_class(labels, len(quotas)), quotas, strict=True)
        ]
        return Selection(rows=torch.cat(chosen))


def _farthest_first(points: Tensor, n: int) -> Tensor:
    """Returns the (n,) indices of the points chosen, in order."""
    order = torch.zeros(n, dtype=torch.int64, device=points.device)
    order[0] = (points - points.mean(dim=0)).square().sum(dim=1).argmin()
    distances = torch.full_like(points[:, 0], torch.inf)
    for step in range(1, n):
        last = order[step - 1]
        distances = torch.minimum(distances, (points - points[last]).square().sum(dim=1))
        distances[last] = -1  # equal images are taken one after the other, none of them twice
        order[step] = distances.argmax()
    return order
