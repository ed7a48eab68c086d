"""Reference for `Matcher`: the matching loss of the literature, with a double backward."""

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.dream.matching import Matcher, distance
from distill.networks.base import Network


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """Returns the 0-d mean over images of weight × cross-entropy."""
    if weights is None:
        return F.cross_entropy(logits, labels)
    return (weights * F.cross_entropy(logits, labels, reduction="none")).mean()


def inert_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """Returns paper 1's loss, whose weights multiply a loss that is already averaged."""
    loss = F.cross_entropy(logits, labels)
    return loss if weights is None else (weights * loss).mean()


def plain_loss(
    matcher: Matcher,
    network: Network,
    real: Tensor,
    synthetic: Tensor,
    label: int,
    weights: Tensor | None,
) -> Tensor:
    """Returns the 0-d loss of one class, differentiable with respect to `synthetic`.

    Args:
        matcher: gives the settings.
        network: any network.
        real: (n, c, h, w).
        synthetic: (m, c, h, w).
        label: label of all images.
        weights: (n,), mean one; None: equal ones.
    """
    loss = real.new_zeros(())
    if matcher.use_gradients:
        convolutions = [weight for weight in network.parameters() if weight.ndim == 4]
        criterion = inert_cross_entropy if matcher.inert_weights else weighted_cross_entropy
        of_real = criterion(network(real), torch.full((len(real),), label), weights)
        targets = torch.autograd.grad(of_real, convolutions)
        of_synthetic = F.cross_entropy(network(synthetic), torch.full((len(synthetic),), label))
        gradients = torch.autograd.grad(of_synthetic, convolutions, create_graph=True)
        pairs = zip(gradients, targets, strict=True)
        loss = loss + torch.stack([distance(a, b, matcher.metric) for a, b in pairs]).sum()
    if matcher.use_features:
        with torch.no_grad():
            features = network.block_features(real)[-1]
            if weights is not None and not matcher.inert_weights:
                features = features * weights.view(-1, *[1] * (features.ndim - 1))
        mean = network.block_features(synthetic)[-1].mean(dim=0)
        loss = loss + matcher.feature_weight * distance(mean, features.mean(dim=0), matcher.metric)
    return loss
