"""Matching loss and its gradient in the synthetic images, for one or several classes at once.

Gradient matching: Zhao et al., ICLR 2021, in the form of IDC (Kim et al., ICML 2022), that is with
gradients of the mean cross-entropy in the convolution weights only. In the literature, a step has
two forward passes, two backward passes and a double backward through all of them per class. Here
the passes serve several classes at once; only the weight gradients g of the convolutions differ by
class, and they are computed from recorded values: the inputs x of the convolutions and the
gradients δ at their outputs. With v = ∂D/∂g_syn held fixed, ∇_S D = ∇_S ⟨g_syn(S), v⟩, and the
gradient of a convolution's weights satisfies ⟨g, v⟩ = ⟨δ, conv(x, v)⟩; so the derivative in the
synthetic images S takes one convolution with v and one backward pass, and no double backward
through the weight gradients.

Networks whose layers mix the images of a batch (batch norm) take one class at a time: see
`mixes_images`. Shapes: C classes, n real images in total, m synthetic images per class; c channels,
h, w pixels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from distill.errors import UserError
from distill.networks.base import Network, convolutions_of
from distill.networks.layers.convolution import fixed_convolution

_COSINE_EPSILON = 1e-6
"""Added to the product of the norms, as in IDC."""


def distance(a: Tensor, b: Tensor, metric: str) -> Tensor:
    """Returns the 0-d distance of two gradients (or mean features) of equal shape.

    Args:
        a: (rows, …).
        b: the same shape.
        metric: `mse` (the literature's name for the *sum* of squared differences), `l1` (sum of
            absolute differences), or `cosine` (Σ over rows of 1 − cosine similarity).

    Raises:
        ValueError: the metric is unknown.
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
    """Returns whether the output for an image depends on the other images of its batch."""
    return any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


def check_matchable(network: Network, name: str, match: str) -> None:
    """Checks that a network has what is matched.

    Args:
        network: the network.
        name: of the network, for the message.
        match: see `Matcher`; `none` needs nothing.

    Raises:
        UserError: gradients are matched, and the network has no convolutions.
    """
    if match in ("gradients", "both") and not convolutions_of(network):
        raise UserError(
            f"network {name!r} has no convolutions, whose gradients are matched, got match "
            f"{match!r}; use match 'features' or another network, for example 'convnet'"
        )


class Matcher:
    """Matching loss with its settings.

    Args:
        match: `gradients`, `features` (the batch mean of the last block's output) or `both`.
        metric: see `distance`.
        feature_weight: factor of the feature term if both are matched.
        inert_weights: reproduces paper 1, where the weights of the real images multiply a loss that
            is already averaged. Their mean is one, so they change the last bit at most.

    Example:
        >>> from distill.networks.convnet import ConvNet
        >>> network = ConvNet(n_classes=2, channels=1, image_size=(8, 8), width=4, depth=2)
        >>> matcher = Matcher(match="gradients", metric="mse")
        >>> real, synthetic = torch.randn(6, 1, 8, 8), torch.randn(2, 1, 8, 8, requires_grad=True)
        >>> loss, gradient = matcher(
        ...     network, real, synthetic,
        ...     labels=torch.tensor([1]), counts=[6], weights=None, source=synthetic,
        ... )
        >>> loss.shape, gradient.shape
        (torch.Size([]), torch.Size([2, 1, 8, 8]))
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
        """Returns the 0-d sum of the losses of the classes, and its gradient.

        Args:
            network: not changed, except for the running statistics of batch norm.
            real: (n, c, h, w), augmented and normalised, one class after the other.
            synthetic: (C · m, c, h, w), augmented, normalised and decoded, one class after the
                other; a differentiable function of `source`.
            labels: (C,) int64 labels of the classes; a single one if the network mixes images.
            counts: C numbers of real images, with sum n.
            weights: (n,) weights of the real images, with mean one in each class; None: equal ones.
            source: tensor that the gradient is computed for, of any shape.
        """
        loss = real.new_zeros(())
        values: list[Tensor] = []  # Σ ⟨values, along⟩ has the derivative of the loss in the images
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
        """Returns the distance of the gradients, values with its derivative, and their directions.

        The derivative of ⟨δ, conv(x, v)⟩ is that of δ along conv(x, v) plus that of conv(x, v)
        along δ; so the product is not computed.

        Args:
            network: the network.
            synthetic: (C · m, c, h, w).
            labels: (C,).
            targets: (C, out, in, …) gradients on real images, one tensor per convolution.
        """
        n_classes = len(labels)
        m = len(synthetic) // n_classes
        with _recorded(network) as convolutions:
            losses = F.cross_entropy(network(synthetic), _repeated(labels, m), reduction="sum") / m
        outputs = [convolution.output for convolution in convolutions]
        deltas = torch.autograd.grad(losses, outputs, create_graph=True)
        counts = [m] * n_classes
        gradients = [
            convolution.weight_gradients(delta.detach(), counts).requires_grad_()
            for convolution, delta in zip(convolutions, deltas, strict=True)
        ]
        pairs = zip(gradients, targets, strict=True)
        loss = torch.stack(
            [
                distance(gradient.flatten(0, 1), target.flatten(0, 1), self.metric)
                for gradient, target in pairs
            ]
        ).sum()
        directions = torch.autograd.grad(loss, gradients)
        applied = [
            convolution.output_with(direction, counts)
            for convolution, direction in zip(convolutions, directions, strict=True)
        ]
        values = [*deltas, *applied]
        return loss.detach(), values, [value.detach() for value in (*applied, *deltas)]

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
            parts = features.split(list(counts))
            targets = torch.stack([class_features.mean(dim=0) for class_features in parts])
        maps = network.block_features(synthetic)[-1].to(synthetic)
        means = maps.unflatten(0, (len(counts), -1)).mean(dim=1)
        if means.ndim > 2:  # a row is a channel (or a patch) of a class, else a class
            means, targets = means.flatten(0, 1), targets.flatten(0, 1)
        return self.feature_weight * distance(means, targets, self.metric)

    def _scale(self, real: Tensor, counts: Sequence[int], weights: Tensor | None) -> Tensor:
        """Returns the (n,) factors of the images' losses in the sum over the classes."""
        if weights is None:
            weights = real.new_ones(len(real))
        parts = weights.to(real).split(list(counts))
        if self.inert_weights:  # only their mean has an effect
            parts = tuple(
                class_weights.mean().expand(len(class_weights)) for class_weights in parts
            )
        return torch.cat([class_weights / len(class_weights) for class_weights in parts])


def _weight_gradients(
    network: Network, images: Tensor, labels: Tensor, scale: Tensor, counts: Sequence[int]
) -> list[Tensor]:
    """Returns the (C, out, in, …) gradients of scaled cross-entropies for each convolution."""
    with _recorded(network) as convolutions:
        each = F.cross_entropy(network(images), labels, reduction="none")
    outputs = [convolution.output for convolution in convolutions]
    deltas = torch.autograd.grad((each * scale).sum(), outputs)
    return [
        convolution.weight_gradients(delta, counts)
        for convolution, delta in zip(convolutions, deltas, strict=True)
    ]


def _repeated(labels: Tensor, counts: Sequence[int] | int) -> Tensor:
    """Returns each label repeated `counts` times, without synchronisation."""
    each = [counts] * len(labels) if isinstance(counts, int) else counts
    return torch.cat([label.expand(n) for label, n in zip(labels, each, strict=True)])


class _RecordedConvolution:
    """Inputs and output of one convolution in a forward pass."""

    def __init__(self, layer: nn.Conv2d, inputs: Tensor, output: Tensor) -> None:
        self.layer = layer
        self.inputs = inputs
        self.output = output

    def weight_gradients(self, delta: Tensor, counts: Sequence[int]) -> Tensor:
        """Returns the (C, out, in, …) gradients of the weights by class, without a graph."""
        layer = self.layer
        parts = zip(
            self.inputs.detach().split(list(counts)), delta.split(list(counts)), strict=True
        )
        with torch.no_grad():
            return torch.stack(
                [
                    conv2d_weight(inputs, layer.weight.shape, gradient, layer.stride, layer.padding)
                    for inputs, gradient in parts
                ]
            ).to(layer.weight)

    def output_with(self, weights: Tensor, counts: Sequence[int]) -> Tensor:
        """Returns the output with other weights, (C, out, in, …) by class, and without bias."""
        parts = zip(self.inputs.split(list(counts)), weights.to(self.inputs), strict=True)
        outputs = [fixed_convolution(self.layer, inputs, weight) for inputs, weight in parts]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)  # avoids a copy


@contextmanager
def _recorded(network: Network) -> Iterator[list[_RecordedConvolution]]:
    """Records the convolutions of a forward pass, in the order of the network's layers."""
    layers = convolutions_of(network)
    by_layer: dict[nn.Module, _RecordedConvolution] = {}

    def record(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not output.requires_grad:  # the first convolution, on real images
            output.requires_grad_()
        by_layer[layer] = _RecordedConvolution(layer, inputs[0], output)

    handles = [layer.register_forward_hook(record) for layer in layers]
    recorded: list[_RecordedConvolution] = []
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()
    recorded += [by_layer[layer] for layer in layers]


@contextmanager
def _frozen(network: Network) -> Iterator[None]:
    """Excludes the weights from all derivatives for the duration of the context."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad = True
