"""The matching loss and the optimiser of the synthetic images.

Gradient matching: Zhao et al., ICLR 2021, in the form of IDC (Kim et al., ICML 2022): gradients of
the mean cross-entropy with respect to the convolution weights only. Shapes: n real images of a
class, m synthetic ones, c channels, h, w pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.networks import Network

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


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """Returns the 0-d mean over images of weight × cross-entropy.

    Args:
        logits: (n, n_classes).
        labels: (n,) int64.
        weights: (n,), mean one, or None for equal weights.
    """
    if weights is None:
        return F.cross_entropy(logits, labels)
    return (weights * F.cross_entropy(logits, labels, reduction="none")).mean()


def inert_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """Study 1's way: the weights multiply a loss that is averaged already.

    Their mean is one, so they change nothing but the last bit. Kept to reproduce its rows.
    """
    loss = F.cross_entropy(logits, labels)
    return loss if weights is None else (weights * loss).mean()


class Matcher:
    """The matching loss with its settings.

    Args:
        match: `gradients`, `features` (the batch mean of the last block's output) or `both`.
        metric: see `distance`.
        feature_weight: factor of the feature term when both are matched.
        inert_weights: use study 1's `inert_cross_entropy`.
    """

    def __init__(
        self, *, match: str, metric: str, feature_weight: float = 1.0, inert_weights: bool = False
    ) -> None:
        self.use_gradients = match in ("gradients", "both")
        self.use_features = match in ("features", "both")
        self.metric = metric
        self.feature_weight = feature_weight if match == "both" else 1.0
        self.criterion = inert_cross_entropy if inert_weights else weighted_cross_entropy

    def __call__(
        self,
        network: Network,
        real: Tensor,
        synthetic: Tensor,
        label: int,
        weights: Tensor | None,
    ) -> Tensor:
        """Returns the 0-d loss of one class, differentiable with respect to `synthetic`.

        Args:
            network: is not changed.
            real: (n, c, h, w), augmented and normalised; no gradient is taken to it.
            synthetic: (m, c, h, w), likewise, decoded.
            label: the class of all of them.
            weights: (n,), mean one, of the real images; None for equal ones.
        """
        loss = real.new_zeros(())
        if self.use_gradients:
            loss = loss + self._gradient_distance(network, real, synthetic, label, weights)
        if self.use_features:
            loss = loss + self.feature_weight * self._feature_distance(
                network, real, synthetic, weights
            )
        return loss

    def _gradient_distance(
        self,
        network: Network,
        real: Tensor,
        synthetic: Tensor,
        label: int,
        weights: Tensor | None,
    ) -> Tensor:
        convolutions = [p for p in network.parameters() if p.ndim == 4]
        real_labels = torch.full((len(real),), label, device=real.device)
        real_loss = self.criterion(network(real), real_labels, weights)
        real_gradients = torch.autograd.grad(real_loss, convolutions)
        synthetic_loss = F.cross_entropy(
            network(synthetic), torch.full((len(synthetic),), label, device=synthetic.device)
        )
        synthetic_gradients = torch.autograd.grad(synthetic_loss, convolutions, create_graph=True)
        pairs = zip(real_gradients, synthetic_gradients, strict=True)
        return torch.stack([distance(ours, theirs, self.metric) for ours, theirs in pairs]).sum()

    def _feature_distance(
        self, network: Network, real: Tensor, synthetic: Tensor, weights: Tensor | None
    ) -> Tensor:
        with torch.no_grad():
            features = network.block_features(real)[-1].to(real)
            if weights is not None and self.criterion is weighted_cross_entropy:
                features = features * weights.view(-1, *[1] * (features.ndim - 1))
            target = features.mean(dim=0)
        features = network.block_features(synthetic)[-1].to(synthetic)
        return distance(features.mean(dim=0), target, self.metric)


class ImageOptimizer:
    """SGD with momentum over the images of all classes as *one* parameter, one step per class.

    That is what IDC and DREAM run: after a class's own step its momentum goes on moving it through
    the steps of the other classes. Only the rows of a class depend on its gradient, so its decays
    are applied in closed form around its own step: after j foreign steps the momentum is μʲ b and
    the images have moved by −lr · b · (μ + … + μʲ). Equal to the sequential steps up to rounding.

    Args:
        images: (n_classes, ipc, c, h, w), changed in place.
        lr: learning rate.
        momentum: μ, in [0, 1).
    """

    def __init__(self, images: Tensor, *, lr: float, momentum: float) -> None:
        self.images = images
        self.lr = lr
        self.momentum = momentum
        self.buffer = torch.zeros_like(images)
        shape = (len(images), *[1] * (images.ndim - 1))
        powers = [momentum**j for j in range(len(images))]
        sums = [sum(powers[1 : n + 1]) for n in range(len(images))]
        # For n foreign steps: what is left of the momentum, and how far it has moved the images.
        self._left = torch.tensor(powers, dtype=torch.float64).to(images).view(shape)
        self._moved = torch.tensor(sums, dtype=torch.float64).to(images).view(shape) * lr

    @torch.no_grad()
    def begin(self, classes: slice) -> None:
        """Brings the images of classes up to date, before their gradient is taken.

        Args:
            classes: start and stop of consecutive labels.
        """
        self._decay(classes, classes.start, reverse=False)

    @torch.no_grad()
    def step(self, classes: slice, gradient: Tensor) -> None:
        """Takes the classes' own steps, and the ones in which the classes after each have theirs.

        Args:
            classes: labels; all classes step in the order 0 … n_classes − 1, each after its
                `begin`.
            gradient: (classes, ipc, c, h, w).
        """
        self.buffer[classes].mul_(self.momentum).add_(gradient)
        self.images[classes].sub_(self.buffer[classes], alpha=self.lr)
        self._decay(classes, len(self.images) - classes.stop, reverse=True)

    def _decay(self, classes: slice, fewest: int, *, reverse: bool) -> None:
        """Takes the foreign steps: `fewest` for one end of the classes, one more for each other."""
        which = slice(fewest, fewest + classes.stop - classes.start)
        moved, left = self._moved[which], self._left[which]
        if reverse:
            moved, left = moved.flip(0), left.flip(0)
        self.images[classes].sub_(self.buffer[classes] * moved)
        self.buffer[classes].mul_(left)
