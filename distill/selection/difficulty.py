"""Difficulty of labelled images under a network: error norm, loss and margin.

Shapes: n images, `n_classes` outputs. Cost: that of the outputs, which the caller computes.

References:
    Paul, Ganguli & Dziugaite, Deep learning on a data diet: finding important examples early in
    training, NeurIPS 2021 (EL2N, the error norm averaged over briefly trained networks).
    Pleiss et al., Identifying mislabeled data using the area under the margin ranking, NeurIPS 2020
    (margins of outputs).
"""

import torch.nn.functional as F
from torch import Tensor

from distill.errors import require_known


def difficulty_of(logits: Tensor, labels: Tensor, score: str) -> Tensor:
    """Returns the difficulty of images, the larger the harder.

    - `el2n`: Euclidean norm of softmax − one-hot, in [0, √2].
    - `loss`: cross-entropy in nats, at least 0.
    - `margin`: largest output of another class less that of the image's own; above 0 where the
      image is classified wrong.

    Args:
        logits: (n, n_classes), at least two classes.
        labels: (n,) int64.
        score: a key of `distill.selection.registry.DIFFICULTIES`.

    Returns:
        (n,) float64.

    Raises:
        UserError: there is no such score.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[0.0, 0.0], [0.0, 2.0]])
        >>> difficulty_of(logits, torch.tensor([0, 0]), "margin")
        tensor([0., 2.], dtype=torch.float64)
    """
    require_known("difficulty", score, ("el2n", "loss", "margin"))
    logits, labels = logits.double(), labels.to(logits.device)
    if score == "loss":
        return F.cross_entropy(logits, labels, reduction="none")
    if score == "el2n":
        one_hot = F.one_hot(labels, logits.shape[1]).to(logits)
        norms: Tensor = (F.softmax(logits, dim=1) - one_hot).norm(dim=1)
        return norms
    right = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.scatter(1, labels[:, None], -float("inf"))
    margins: Tensor = others.amax(dim=1) - right
    return margins
