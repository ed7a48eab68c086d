"""The matching step of several classes in one pass, equal to class by class up to rounding.

Class by class, a step is two forward passes, two backward passes and a double backward through the
network, each with one class's images: on a GPU that is hundreds of small kernels. Here one forward
and one backward pass serve all classes. Only the convolutions' weight gradients g are a class's
own, and they follow from what the convolutions saw: their inputs x and the gradients δ at their
outputs. With v = ∂D/∂g_syn held fixed, ∇_S D = ∇_S ⟨g_syn(S), v⟩, and the gradient of a
convolution's weights satisfies ⟨g, v⟩ = ⟨δ, conv(x, v)⟩; so the derivative in the synthetic
images S needs one convolution with v and one backward pass, and none through the weight gradients.

Networks whose layers mix the images of a batch (batch norm) cannot be passed so: see
`mixes_images`. Shapes: C classes, n real images in all, m synthetic ones of each class.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from distill.matching import Matcher, distance, weighted_cross_entropy
from distill.networks import Network


def mixes_images(network: nn.Module) -> bool:
    """Whether the output for an image depends on the other images of its batch."""
    return any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


def match_jointly(
    matcher: Matcher,
    network: Network,
    real: Tensor,
    synthetic: Tensor,
    *,
    labels: Tensor,
    counts: Sequence[int],
    weights: Tensor | None,
    source: Tensor,
) -> tuple[Tensor, Tensor]:
    """Returns the 0-d sum of the classes' losses and its gradient.

    Args:
        matcher: what is matched, and how.
        network: is not changed; must not mix images.
        real: (n, c, h, w), augmented and normalised, one class after the other.
        synthetic: (C · m, c, h, w), likewise, decoded; made from `source`, differentiably.
        labels: (C,) int64, the classes.
        counts: C numbers of real images; their sum is n.
        weights: (n,) of the real images, mean one in each class; None for equal ones.
        source: what the gradient is taken to, of any shape.
    """
    loss, objective = real.new_zeros(()), real.new_zeros(())
    if matcher.use_gradients:
        scale = _scale(matcher, real, counts, weights)
        real_labels = _repeated(labels, counts)
        real_gradients = _weight_gradients(network, real, real_labels, scale, counts)
        loss, objective = _gradient_term(matcher.metric, network, synthetic, labels, real_gradients)
    if matcher.use_features:
        term = _feature_term(matcher, network, real, synthetic, counts, weights)
        objective = objective + term
        loss = loss + term.detach()
    (gradient,) = torch.autograd.grad(objective, source)
    return loss, gradient


def _gradient_term(
    metric: str, network: Network, synthetic: Tensor, labels: Tensor, targets: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Returns the distance of the gradients, and what has its derivative in the synthetic images.

    Args:
        metric: see `distance`.
        network: the network.
        synthetic: (C · m, c, h, w).
        labels: (C,).
        targets: for each convolution the (C, out, in, …) gradients on real images.
    """
    n_classes = len(labels)
    m = len(synthetic) // n_classes
    with _recorded(network) as convolutions:
        losses = F.cross_entropy(network(synthetic), _repeated(labels, m), reduction="sum") / m
    outputs = [own.output for own in convolutions]
    deltas = torch.autograd.grad(losses, outputs, create_graph=True)
    counts = [m] * n_classes
    gradients = [
        own.weight_gradients(delta.detach(), counts).requires_grad_()
        for own, delta in zip(convolutions, deltas, strict=True)
    ]
    pairs = zip(gradients, targets, strict=True)
    loss = torch.stack(
        [distance(ours.flatten(0, 1), theirs.flatten(0, 1), metric) for ours, theirs in pairs]
    ).sum()
    directions = torch.autograd.grad(loss, gradients)
    objective = torch.stack(
        [
            (delta * own.applied_with(direction, counts)).sum()
            for own, delta, direction in zip(convolutions, deltas, directions, strict=True)
        ]
    ).sum()
    return loss.detach(), objective


def _weight_gradients(
    network: Network, images: Tensor, labels: Tensor, scale: Tensor, counts: Sequence[int]
) -> list[Tensor]:
    """Returns for each convolution the (C, out, in, …) gradients of scaled cross-entropies."""
    with _recorded(network) as convolutions:
        each = F.cross_entropy(network(images), labels, reduction="none")
    deltas = torch.autograd.grad((each * scale).sum(), [own.output for own in convolutions])
    return [
        own.weight_gradients(delta, counts) for own, delta in zip(convolutions, deltas, strict=True)
    ]


def _feature_term(
    matcher: Matcher,
    network: Network,
    real: Tensor,
    synthetic: Tensor,
    counts: Sequence[int],
    weights: Tensor | None,
) -> Tensor:
    with torch.no_grad():
        features = network.block_features(real)[-1].to(real)
        if weights is not None and matcher.criterion is weighted_cross_entropy:
            features = features * weights.view(-1, *[1] * (features.ndim - 1))
        targets = torch.stack([own.mean(dim=0) for own in features.split(list(counts))])
    ours = network.block_features(synthetic)[-1].to(synthetic)
    ours = ours.unflatten(0, (len(counts), -1)).mean(dim=1)
    return matcher.feature_weight * distance(
        ours.flatten(0, 1), targets.flatten(0, 1), matcher.metric
    )


def _scale(matcher: Matcher, real: Tensor, counts: Sequence[int], weights: Tensor | None) -> Tensor:
    """Returns the (n,) factors with which the images' losses enter the sum over all classes."""
    if weights is None:
        weights = real.new_ones(len(real))
    parts = weights.to(real).split(list(counts))
    if matcher.criterion is not weighted_cross_entropy:  # study 1's: only their mean counts
        parts = tuple(own.mean().expand(len(own)) for own in parts)
    return torch.cat([own / len(own) for own in parts])


def _repeated(labels: Tensor, counts: Sequence[int] | int) -> Tensor:
    """Returns each label as often as it counts; the host knows how often, so nothing waits."""
    each = [counts] * len(labels) if isinstance(counts, int) else counts
    return torch.cat([label.expand(n) for label, n in zip(labels, each, strict=True)])


class _Convolution:
    """What one convolution saw in a forward pass."""

    def __init__(self, layer: nn.Conv2d, inputs: Tensor, output: Tensor) -> None:
        self.layer = layer
        self.inputs = inputs
        self.output = output

    def weight_gradients(self, delta: Tensor, counts: Sequence[int]) -> Tensor:
        """Returns the (C, out, in, …) gradients of the weights, a class each; without a graph."""
        layer = self.layer
        parts = zip(
            self.inputs.detach().split(list(counts)), delta.split(list(counts)), strict=True
        )
        with torch.no_grad():
            return torch.stack(
                [
                    conv2d_weight(inputs, layer.weight.shape, own, layer.stride, layer.padding)
                    for inputs, own in parts
                ]
            ).to(layer.weight)

    def applied_with(self, weights: Tensor, counts: Sequence[int]) -> Tensor:
        """Returns the outputs with other weights, (C, out, in, …), for each class; no bias."""
        layer = self.layer
        parts = zip(self.inputs.split(list(counts)), weights.to(self.inputs), strict=True)
        return torch.cat(
            [F.conv2d(inputs, own, None, layer.stride, layer.padding) for inputs, own in parts]
        )


@contextmanager
def _recorded(network: Network) -> Iterator[list[_Convolution]]:
    """Records the convolutions of a forward pass, in the order of the network's layers."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    seen: dict[nn.Module, _Convolution] = {}

    def record(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen[layer] = _Convolution(layer, inputs[0], output)

    handles = [layer.register_forward_hook(record) for layer in layers]
    recorded: list[_Convolution] = []
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()
    recorded += [seen[layer] for layer in layers]
