"""The matching loss and its gradient to the synthetic images, for one class or several at once.

Gradient matching: Zhao et al., ICLR 2021, in the form of IDC (Kim et al., ICML 2022): gradients of
the mean cross-entropy with respect to the convolution weights only. As the literature writes it, a
step is for every class two forward passes, two backward passes and a double backward through all of
them. Here the passes serve several classes at once; only the convolutions' weight gradients g are a
class's own, and they follow from what the convolutions saw: their inputs x and the gradients δ at
their outputs. With v = ∂D/∂g_syn held fixed, ∇_S D = ∇_S ⟨g_syn(S), v⟩, and the gradient of a
convolution's weights satisfies ⟨g, v⟩ = ⟨δ, conv(x, v)⟩; so the derivative in the synthetic images
S needs one convolution with v and one backward pass, and none through the weight gradients.

Networks whose layers mix the images of a batch (batch norm) must be given one class at a time: see
`mixes_images`. Shapes: C classes, n real images in all, m synthetic ones of each class; c channels,
h, w pixels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from distill.networks.base import Network
from distill.networks.layers.convolution import fixed_convolution

_COSINE_EPSILON = 1e-6
"""Added to the product of the norms, as in IDC."""


def distance(a: Tensor, b: Tensor, metric: str) -> Tensor:
    """Returns the 0-d distance of two gradients (or mean features) of equal shape.

    Args:
        a: (rows, …).
        b: the same shape.
        metric: `mse` (in fact the *sum* of squared differences; the literature's name), `l1` (sum
            of absolute differences), or `cosine` (Σ over rows of 1 − cosine similarity).
    """
    if metric == "mse":
        return (a - b).square().sum()
    if metric == "l1":
        return (a - b).abs().sum()
    if metric == "cosine":
        a, b = a.flatten(start_dim=1), b.flatten(start_dim=1)
        norms = a.norm(dim=1) * b.norm(dim=1) + _COSINE_EPSILON
        return torch.sum(1 - (a * b).sum(dim=1) / norms)
    raise ValueError(f"metric must be mse, l1 or cosine, got {metric!r}")


def mixes_images(network: nn.Module) -> bool:
    """Whether the output for an image depends on the other images of its batch."""
    return any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


class Matcher:
    """The matching loss with its settings.

    Args:
        match: `gradients`, `features` (the batch mean of the last block's output) or `both`.
        metric: see `distance`.
        feature_weight: factor of the feature term when both are matched.
        inert_weights: paper 1's way: the weights of the real images multiply a loss that is
            averaged already. Their mean is one, so they change nothing but the last bit; kept to
            reproduce its rows.
    """

    def __init__(
        self, *, match: str, metric: str, feature_weight: float = 1.0, inert_weights: bool = False
    ) -> None:
        self.use_gradients = match in ("gradients", "both")
        self.use_features = match in ("features", "both")
        self.metric = metric
        self.feature_weight = feature_weight if match == "both" else 1.0
        self.inert_weights = inert_weights

    def __call__(
        self,
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
            network: is not changed, but for the running statistics of batch norm.
            real: (n, c, h, w), augmented and normalised, one class after the other.
            synthetic: (C · m, c, h, w), likewise, decoded; made from `source`, differentiably.
            labels: (C,) int64, the classes; a single one if the network mixes images.
            counts: C numbers of real images; their sum is n.
            weights: (n,) of the real images, mean one in each class; None for equal ones.
            source: what the gradient is taken to, of any shape.
        """
        loss = real.new_zeros(())
        values: list[Tensor] = []  # Σ ⟨values, along⟩ has the loss's derivative in the images
        along: list[Tensor] = []
        with _frozen(network):
            if self.use_gradients:
                scale = self._scale(real, counts, weights)
                targets = _weight_gradients(network, real, _repeated(labels, counts), scale, counts)
                loss, values, along = self._gradient_term(network, synthetic, labels, targets)
            if self.use_features:
                term = self._feature_term(network, real, synthetic, counts, weights)
                loss = loss + term.detach()
                values.append(term)
                along.append(torch.ones_like(term))
            (gradient,) = torch.autograd.grad(values, source, along)
        return loss, gradient

    def _gradient_term(
        self, network: Network, synthetic: Tensor, labels: Tensor, targets: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Returns the distance of the gradients, and what has its derivative, and along what.

        That of ⟨δ, conv(x, v)⟩ is the derivative of δ along conv(x, v) and that of conv(x, v) along
        δ; so no product is computed.

        Args:
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
            [
                distance(ours.flatten(0, 1), theirs.flatten(0, 1), self.metric)
                for ours, theirs in pairs
            ]
        ).sum()
        directions = torch.autograd.grad(loss, gradients)
        applied = [
            own.applied_with(direction, counts)
            for own, direction in zip(convolutions, directions, strict=True)
        ]
        values = [*deltas, *applied]
        return loss.detach(), values, [own.detach() for own in (*applied, *deltas)]

    def _feature_term(
        self,
        network: Network,
        real: Tensor,
        synthetic: Tensor,
        counts: Sequence[int],
        weights: Tensor | None,
    ) -> Tensor:
        with torch.no_grad():
            features = network.block_features(real)[-1].to(real)
            if weights is not None and not self.inert_weights:
                features = features * weights.view(-1, *[1] * (features.ndim - 1))
            targets = torch.stack([own.mean(dim=0) for own in features.split(list(counts))])
        ours = network.block_features(synthetic)[-1].to(synthetic)
        ours = ours.unflatten(0, (len(counts), -1)).mean(dim=1)
        return self.feature_weight * distance(
            ours.flatten(0, 1), targets.flatten(0, 1), self.metric
        )

    def _scale(self, real: Tensor, counts: Sequence[int], weights: Tensor | None) -> Tensor:
        """Returns the (n,) factors with which the images' losses enter the sum of the classes."""
        if weights is None:
            weights = real.new_ones(len(real))
        parts = weights.to(real).split(list(counts))
        if self.inert_weights:  # only their mean counts
            parts = tuple(own.mean().expand(len(own)) for own in parts)
        return torch.cat([own / len(own) for own in parts])


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


def _repeated(labels: Tensor, counts: Sequence[int] | int) -> Tensor:
    """Returns each label as often as it counts; the host knows how often, so nothing waits."""
    each = [counts] * len(labels) if isinstance(counts, int) else counts
    return torch.cat([label.expand(n) for label, n in zip(labels, each, strict=True)])


class _SeenConvolution:
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
        parts = zip(self.inputs.split(list(counts)), weights.to(self.inputs), strict=True)
        outputs = [fixed_convolution(self.layer, inputs, own) for inputs, own in parts]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)  # which would copy the one


@contextmanager
def _recorded(network: Network) -> Iterator[list[_SeenConvolution]]:
    """Records the convolutions of a forward pass, in the order of the network's layers."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    seen: dict[nn.Module, _SeenConvolution] = {}

    def record(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not output.requires_grad:  # the first one's, of real images
            output.requires_grad_()
        seen[layer] = _SeenConvolution(layer, inputs[0], output)

    handles = [layer.register_forward_hook(record) for layer in layers]
    recorded: list[_SeenConvolution] = []
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()
    recorded += [seen[layer] for layer in layers]


@contextmanager
def _frozen(network: Network) -> Iterator[None]:
    """Leaves the weights out of all derivatives for a while."""
    trained = [own for own in network.parameters() if own.requires_grad]
    for own in trained:
        own.requires_grad = False
    try:
        yield
    finally:
        for own in trained:
            own.requires_grad = True
