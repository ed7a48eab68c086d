"""Losses on soft labels: of the set, or of a teacher for every augmented view.

With student logits s, target logits t (the logarithms of the soft labels, or the teacher's logits)
and a temperature T, means over a batch, in nats:

- `cross_entropy`: −Σ softmax(t) · log softmax(s);
- `kl`: T² · KL(softmax(t / T) ‖ softmax(s / T)) (Hinton, Vinyals & Dean, Distilling the knowledge
  in a neural network, 2015); T² keeps the size of the gradients, and at T = 1 they are those of
  the cross-entropy;
- `mixture`: a · CE(hard label) + (1 − a) · kl.

After CutMix an image holds parts of two: hard labels and fixed soft labels enter in proportion to
their areas, a teacher sees the mixed image itself, as in RDED (Sun et al., CVPR 2024) and
DD-Ranking (Li et al., 2025). Weights of images go with the labels, to a teacher's in proportion to
the areas. Shapes: n images of a batch, m of the set, k classes.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.evaluation.sgd import Batch, cross_entropy_loss, weighted_cross_entropy
from distill.networks.base import Network


@dataclass(frozen=True, kw_only=True, eq=False)
class SoftLabelLoss:
    """The loss of a batch under soft labels; a `distill.evaluation.sgd.BatchLoss` of rows.

    Exactly one of `soft` and `teacher` is given.

    Attributes:
        hard: (m,) int64, labels of the images of the set.
        soft: (m, k), target logits of these.
        teacher: gives target logits of the images as the student sees them; in eval mode.
        name: of the loss.
        temperature: of `kl` and `mixture`, above 0.
        hard_share: a of `mixture`, in [0, 1].

    Example:
        >>> import torch
        >>> one_hot = torch.eye(2).clamp_min(1e-30).log()
        >>> loss = SoftLabelLoss(hard=torch.arange(2), soft=one_hot, name="cross_entropy")
        >>> logits = torch.tensor([[0.0, 0.0]])
        >>> batch = Batch(images=torch.zeros(1, 1, 8, 8), labels=torch.tensor([1]))
        >>> loss(logits, batch).item()  # doctest: +ELLIPSIS
        0.693...
    """

    hard: Tensor
    soft: Tensor | None = None
    teacher: Network | None = None
    name: str = "kl"
    temperature: float = 1.0
    hard_share: float = 0.0

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """Returns the 0-d mean loss.

        Args:
            logits: (n, k) of the student.
            batch: what it saw; its labels are rows of the set.
        """
        loss = self._soft_loss(logits, batch)
        if self.name != "mixture":
            return loss
        other = None if batch.other_labels is None else self.hard[batch.other_labels]
        labelled = replace(batch, labels=self.hard[batch.labels], other_labels=other)
        hard = cross_entropy_loss(logits, labelled)
        return self.hard_share * hard + (1 - self.hard_share) * loss

    def _soft_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        weights, ratio = batch.weights, batch.ratio
        if self.teacher is not None:
            with torch.no_grad():
                targets = self.teacher(batch.images)
            if weights is not None and ratio is not None and batch.other_weights is not None:
                weights = ratio * weights + (1 - ratio) * batch.other_weights
            return self._to_targets(logits, targets, weights)
        assert self.soft is not None
        loss = self._to_targets(logits, self.soft[batch.labels], weights)
        if batch.other_labels is None or ratio is None:
            return loss
        others = self._to_targets(logits, self.soft[batch.other_labels], batch.other_weights)
        return ratio * loss + (1 - ratio) * others

    def _to_targets(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        if self.name == "cross_entropy":
            return weighted_cross_entropy(logits, targets.softmax(dim=1), weights)
        scaled = (logits / self.temperature).log_softmax(dim=1)
        wanted = (targets / self.temperature).log_softmax(dim=1)
        if weights is None:
            divergence = F.kl_div(scaled, wanted, reduction="batchmean", log_target=True)
        else:
            each = F.kl_div(scaled, wanted, reduction="none", log_target=True).sum(dim=1)
            divergence = (weights * each).mean()
        return self.temperature**2 * divergence
