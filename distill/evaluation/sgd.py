"""Training a network on batches of images: the draws on the host, the step where the network is.

Used for the network update inside the distillation and for the networks of an evaluation. Shapes:
n images of a batch, c channels, h, w pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.augment.cutmix import draw_cutmix, mix
from distill.augment.siamese import Augmentation, draw_uniforms
from distill.networks.base import Network
from distill.runtime.execution import Execution
from distill.runtime.graphs import StepGraphs
from distill.runtime.staging import stage


@dataclass(frozen=True, kw_only=True)
class SGDRecipe:
    """Stochastic gradient descent on augmented images.

    Attributes:
        lr: learning rate to start with.
        momentum: in [0, 1).
        weight_decay: at least 0.
        augment: applied with one draw per image.
        cutmix_prob: probability of CutMix for a batch, in [0, 1].
        cutmix_beta: both parameters of CutMix's beta distribution, above 0.
    """

    lr: float
    momentum: float
    weight_decay: float
    augment: Augmentation
    cutmix_prob: float
    cutmix_beta: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """What a network was shown in a step.

    Attributes:
        images: (n, c, h, w) that it saw.
        labels: (n,) int64.
        other_labels: (n,) of the images that CutMix pasted; None without it.
        ratio: 0-d, share of an image's pixels that were not replaced; None without CutMix.
        weights: (n,) of the images in the loss, see `weighted_cross_entropy`; None: equal.
        other_weights: (n,) of the images that CutMix pasted; None without it or weights.
    """

    images: Tensor
    labels: Tensor
    other_labels: Tensor | None = None
    ratio: Tensor | None = None
    weights: Tensor | None = None
    other_weights: Tensor | None = None


BatchLoss = Callable[[Tensor, Batch], Tensor]
"""The 0-d mean loss of a batch, from the network's logits, (n, k), and what it saw."""


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """Returns the 0-d mean over the images of weight · cross-entropy.

    The sum is divided by the number of images and not by that of their weights: over batches of any
    kind its mean is then the weighted loss on the whole set. With CutMix, the loss of a label has
    the weight of the image that the label came with.

    Args:
        logits: (n, n_classes).
        labels: (n,) int64, or (n, n_classes) probabilities.
        weights: (n,); None: equal ones.
    """
    if weights is None:
        return F.cross_entropy(logits, labels)
    return (weights * F.cross_entropy(logits, labels, reduction="none")).mean()


def cross_entropy_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Returns the cross-entropy of hard labels, in nats; see `BatchLoss`."""
    loss = weighted_cross_entropy(logits, batch.labels, batch.weights)
    if batch.other_labels is None or batch.ratio is None:
        return loss
    others = weighted_cross_entropy(logits, batch.other_labels, batch.other_weights)
    return batch.ratio * loss + (1 - batch.ratio) * others


class NetworkTrainer:
    """Steps of SGD on the loss of augmented images, with CutMix now and then.

    Args:
        network: its weights stay where they are.
        recipe: how it is trained.
        take: the images and labels of some indices: (n,) int64 → (n, c, h, w) floating point,
            normalised, and (n,) int64.
        execution: whether steps are recorded as graphs.
        loss: of a batch.
        weights: (N,) of the images, by index, with mean one, in the network's dtype and on its
            device; None: equal ones. See `weighted_cross_entropy`.
    """

    def __init__(
        self,
        network: Network,
        recipe: SGDRecipe,
        take: Callable[[Tensor], tuple[Tensor, Tensor]],
        execution: Execution,
        loss: BatchLoss = cross_entropy_loss,
        weights: Tensor | None = None,
    ) -> None:
        self.network = network
        self.recipe = recipe
        self.take = take
        self.loss = loss
        self.weights = weights
        self.device = network.classifier.weight.device
        self.optimizer = torch.optim.SGD(
            network.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        self._step = StepGraphs(
            self._train_on, self.device, enabled=execution.uses_graphs(self.device)
        )

    def train(
        self, batches: Sequence[Tensor], generator: torch.Generator, lr: float | None = None
    ) -> None:
        """Takes one step per batch; all that is drawn goes to the device in one copy.

        Args:
            batches: (n,) int64 on the host, what `take` is asked for.
            generator: on the CPU; draws augmentation and CutMix, batch by batch.
            lr: learning rate of these steps; None: the recipe's.
        """
        rate = self.recipe.lr if lr is None else lr
        steps = [self._drawn(batch, generator) for batch in batches]
        inputs = iter(stage([tensor for _, _, drawn in steps for tensor in drawn], self.device))
        for augmented, mixed, drawn in steps:
            self._step((augmented, mixed, rate), *islice(inputs, len(drawn)))

    def _drawn(self, batch: Tensor, generator: torch.Generator) -> tuple[bool, bool, list[Tensor]]:
        """Returns whether a step augments and mixes, and its inputs on the host."""
        recipe, inputs = self.recipe, [batch]
        augmented = bool(recipe.augment.transforms)
        if augmented:
            choice, uniforms = draw_uniforms(len(batch), generator)
            # The host knows the choice: a recorded step must not.
            on_host = self.device.type == "cpu" and not self._step.enabled
            inputs += [choice if on_host else choice.expand(len(batch)), uniforms]
        mixed = torch.rand((), generator=generator).item() < recipe.cutmix_prob  # no sync: the CPU
        if mixed:
            inputs += draw_cutmix(len(batch), generator, beta=recipe.cutmix_beta)
        return augmented, mixed, inputs

    def forget(self) -> None:
        """Starts the optimiser anew, in place, for a network with fresh weights."""
        for state in self.optimizer.state.values():
            if state.get("momentum_buffer") is not None:
                state["momentum_buffer"].zero_()

    def _train_on(self, key: tuple[bool, bool, float], batch: Tensor, *draws: Tensor) -> None:
        augmented, mixed, lr = key
        images, labels = self.take(batch)
        weights = None if self.weights is None else self.weights[batch]
        if augmented:
            images = self.recipe.augment.apply(images, draws[0], draws[1])
            draws = draws[2:]
        other_labels, ratio, other_weights = None, None, None
        if mixed:
            side, center, partners = draws
            images, other_labels, ratio = mix(images, labels, side, center, partners)
            if weights is not None:
                other_weights = weights[partners.to(weights.device)]
        shown = Batch(
            images=images,
            labels=labels,
            other_labels=other_labels,
            ratio=ratio,
            weights=weights,
            other_weights=other_weights,
        )
        loss = self.loss(self.network(images), shown)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


_OPTIMIZER_STATE = {
    "momentum": "momentum_buffer",
    "step": "step",
    "exp_avg": "exp_avg",
    "exp_avg_sq": "exp_avg_sq",
}
"""State that SGD and Adam keep for a parameter: name in saved states → name in the optimiser."""


def network_state(network: Network, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Returns weights and buffers of a network and the optimiser's state, under flat names."""
    tensors = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        for saved, name_in_optimizer in _OPTIMIZER_STATE.items():
            value = optimizer.state[parameter].get(name_in_optimizer)
            if value is not None:
                tensors[f"{saved}/{name}"] = value
    return tensors


def load_network_state(
    network: Network, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]
) -> None:
    """Loads what `network_state` returned."""
    network.load_state_dict(
        {k.removeprefix("network/"): v for k, v in tensors.items() if k.startswith("network/")}
    )
    optimizer.state.clear()
    for name, parameter in network.named_parameters():
        for saved, name_in_optimizer in _OPTIMIZER_STATE.items():
            value = tensors.get(f"{saved}/{name}")
            if value is not None:
                # In the parameter's layout; but Adam's count of steps, 0-d, stays on the CPU.
                like: Any = value if value.ndim == 0 else parameter.detach()
                optimizer.state[parameter][name_in_optimizer] = torch.empty_like(like).copy_(value)
