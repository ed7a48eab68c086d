"""Herding: images whose running mean stays as close as possible to the mean of their class.

Cost: O(n d) time per chosen image, and a centred copy of the points.

References:
    Welling, Herding dynamical weights to learn, ICML 2009.
    Rebuffi et al., iCaRL: Incremental classifier and representation learning, CVPR 2017 (the form
    used here, and in the tables of dataset distillation since Zhao, Mopuri & Bilen, ICLR 2021).

Deviations: iCaRL scales features to unit length, which is left to the embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from distill.clustering.greedy import herd
from distill.selection.base import Selection, Selector, rows_by_class


@final
@dataclass(frozen=True, kw_only=True)
class Herding(Selector):
    """Greedy herding, class by class, without random numbers; rows are in the order of the choice.

    Example:
        >>> points = torch.tensor([[0.0], [4.0], [5.0], [7.0]])
        >>> labels = torch.zeros(4, dtype=torch.int64)
        >>> Herding().select(points, labels, [2], torch.Generator()).rows
        tensor([1, 2])
    """

    def select(
        self, points: Tensor, labels: Tensor, quotas: Sequence[int], generator: torch.Generator
    ) -> Selection:
        """Chooses repeatedly the image that brings the mean of the chosen ones nearest."""
        del generator
        chosen = [
            rows[herd(points[rows.to(points.device)], quota).cpu()]
            for rows, quota in zip(rows_by_class(labels, len(quotas)), quotas, strict=True)
        ]
        return Selection(rows=torch.cat(chosen))
