"""Training a network on batches of images: the draws on the host, the step where the network is.

Used for the network update inside the distillation and for the networks of an evaluation. Shapes:
n images of a batch, c channels, h, w pixels.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.sgd import sgd

from distill.augment.cutmix import cutmix_boxes, draw_cutmix, paste
from distill.augment.siamese import (
    N_UNIFORMS,
    Augmentation,
    draw_uniforms,
)
from distill.networks.base import Network
from distill.runtime.execution import Execution
from distill.runtime.graphs import StepGraphs

STEPS_AT_ONCE = 16
"""Most steps of training in one recording of a GPU, as many as a network update of IDC has."""

_VALUES_AT_ONCE = {"cpu": 2**18, "cuda": 2**24}
"""Most values of the images of steps that are augmented at once, by the kind of device: 1 and 64
MiB of float32."""


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


class MomentumSGD:
    """`torch.optim.SGD` without its class, whose first use imports PyTorch's compiler (a second).

    Args:
        parameters: that are trained.
        momentum: in [0, 1).
        weight_decay: at least 0.

    Attributes:
        state: of each parameter that was trained, with its `momentum_buffer`.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], *, momentum: float, weight_decay: float
    ) -> None:
        self.parameters = parameters
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Moves the parameters along their gradients.

        Args:
            lr: learning rate.
        """
        moved: list[Tensor] = []
        gradients: list[Tensor] = []
        for parameter in self.parameters:
            if parameter.grad is not None:
                moved.append(parameter)
                gradients.append(parameter.grad)
        if not moved:
            return
        buffers = [self.state[parameter].get("momentum_buffer") for parameter in moved]
        sgd(
            moved,
            gradients,
            buffers,
            foreach=moved[0].is_cuda,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            lr=lr,
            dampening=0,
            nesterov=False,
            maximize=False,
        )
        for tensor, buffer in zip(moved, buffers, strict=True):
            if buffer is not None:
                self.state[tensor]["momentum_buffer"] = buffer


class NetworkTrainer:
    """Steps of SGD on the loss of augmented images, with CutMix now and then.

    Args:
        network: its weights stay where they are.
        recipe: how it is trained.
        take: the images and labels of some indices: (n,) int64 → (n, c, h, w) floating point,
            normalised, and (n,) int64.
        n_values: of an image, c · h · w.
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
        n_values: int,
        execution: Execution,
        loss: BatchLoss = cross_entropy_loss,
        weights: Tensor | None = None,
    ) -> None:
        self.network = network
        self.recipe = recipe
        self.take = take
        self.n_values = n_values
        self.loss = loss
        self.weights = weights
        self.device = network.classifier.weight.device
        self.optimizer = MomentumSGD(
            list(network.parameters()), momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
        self._steps = StepGraphs(
            self._train_on, self.device, enabled=execution.uses_graphs(self.device)
        )

    def train(
        self, batches: Sequence[Tensor], generator: torch.Generator, lr: float | None = None
    ) -> None:
        """Takes one step per batch; the draws of `STEPS_AT_ONCE` reach the device in one copy.

        Args:
            batches: (n,) int64 on the host, what `take` is asked for.
            generator: on the CPU; draws augmentation and CutMix, batch by batch.
            lr: learning rate of these steps; None: the recipe's.
        """
        rate = self.recipe.lr if lr is None else lr
        for first in range(0, len(batches), STEPS_AT_ONCE):
            group = batches[first : first + STEPS_AT_ONCE]
            draws = [self._draw(len(batch), generator) for batch in group]
            is_mixed = tuple(len(drawn.side) > 0 for drawn in draws)
            choices, uniforms, sides, centers = (
                torch.cat(parts) for parts in zip(*(drawn[:4] for drawn in draws), strict=True)
            )
            partners = [drawn.partners for drawn in draws if len(drawn.side)]
            key = rate, is_mixed
            self._steps(key, choices, uniforms, sides, centers, *group, *partners)

    def _draw(self, n: int, generator: torch.Generator) -> "_Draws":
        """Returns what a step on n images draws, on the host."""
        recipe = self.recipe
        choice, uniforms = torch.empty(0), torch.empty(0, N_UNIFORMS)
        if recipe.augment.transforms:
            choice, uniforms = draw_uniforms(n, generator)
            choice = choice.expand(n)
        # No sync: the generator is on the CPU.
        if torch.rand((), generator=generator).item() < recipe.cutmix_prob:
            side, center, partners = draw_cutmix(n, generator, beta=recipe.cutmix_beta)
            return _Draws(choice, uniforms, side[None], center[None], partners)
        # A recording is for steps with and without CutMix: these have an empty box.
        n_boxes = 1 if self._steps.enabled and recipe.cutmix_prob > 0 else 0
        nowhere = torch.zeros(n_boxes, 2, dtype=torch.float64)
        return _Draws(choice, uniforms, nowhere[:, 0], nowhere, torch.arange(n * n_boxes))

    def forget(self) -> None:
        """Starts the optimiser anew, in place, for a network with fresh weights."""
        for state in self.optimizer.state.values():
            if state.get("momentum_buffer") is not None:
                state["momentum_buffer"].zero_()

    def _train_on(
        self,
        key: tuple[float, Sequence[bool]],
        choices: Tensor,
        uniforms: Tensor,
        sides: Tensor,
        centers: Tensor,
        *indices: Tensor,
    ) -> None:
        """Takes some steps; may be recorded as a graph.

        Args:
            key: the learning rate, and which steps mix images.
            choices: of the augmentation of the images of all steps, see `_Draws`.
            uniforms: of the augmentation of the images of all steps, see `_Draws`.
            sides: (m,) of CutMix's boxes, in the m steps that mix.
            centers: (m, 2) of these boxes.
            indices: the batch of each step, then the partners of each that mixes.
        """
        lr, is_mixed = key
        batches, partners = indices[: len(is_mixed)], iter(indices[len(is_mixed) :])
        boxes: Iterator[Sequence[Tensor]] = iter(())
        for number, shown in enumerate(self._augmented(batches, choices, uniforms)):
            if number == 0 and len(sides):  # of all steps at once
                found = cutmix_boxes(sides, centers, shown.images)
                boxes = zip(*(part.split(1) for part in found), strict=True)
            if is_mixed[number]:
                shown = _mixed(shown, next(boxes), next(partners))
            loss = self.loss(self.network(shown.images), shown)
            self.network.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step(lr)

    def _augmented(
        self, batches: Sequence[Tensor], choices: Tensor, uniforms: Tensor
    ) -> Iterator[Batch]:
        """Yields what the network is shown in each step, before CutMix, see `_train_on`.

        Images are augmented for several steps at once: the operations are fewer, the results the
        same.
        """
        n_at_once, start = self.steps_at_once(max(map(len, batches))), 0
        for first in range(0, len(batches), n_at_once):
            group = list(batches[first : first + n_at_once])
            sizes, indices = [len(batch) for batch in group], torch.cat(group)
            images, labels = self.take(indices)
            end = start + len(indices)
            if self.recipe.augment.transforms:
                draws = choices[start:end], uniforms[start:end]
                images = self.recipe.augment.apply(images, *draws)
            weights: Sequence[Tensor | None] = [None] * len(sizes)
            if self.weights is not None:
                weights = self.weights[indices].split(sizes)
            for parts in zip(images.split(sizes), labels.split(sizes), weights, strict=True):
                yield Batch(images=parts[0], labels=parts[1], weights=parts[2])
            start = end

    def steps_at_once(self, batch_size: int) -> int:
        """Returns of how many steps the images are augmented at once.

        Args:
            batch_size: images of a step.
        """
        return max(1, _VALUES_AT_ONCE[self.device.type] // (batch_size * self.n_values))


class _Draws(NamedTuple):
    """What a step on n images draws, on the host.

    Attributes:
        choice: (n,) of the augmentation's geometric transform, the same for all images; (0,)
            without augmentation.
        uniforms: (n, `N_UNIFORMS`) of the augmentation; (0, `N_UNIFORMS`) without.
        side: (1,) of CutMix's box; (0,) without.
        center: (1, 2) of the box; (0, 2) without.
        partners: (n,) int64, the images that the box is taken from; (0,) without.
    """

    choice: Tensor
    uniforms: Tensor
    side: Tensor
    center: Tensor
    partners: Tensor


def _mixed(shown: Batch, box: Sequence[Tensor], partners: Tensor) -> Batch:
    """Returns a batch after CutMix.

    Args:
        shown: the batch before.
        box: rows, columns and ratio, see `cutmix_boxes`.
        partners: (n,) int64.
    """
    in_rows, in_columns, ratio = box
    images, other_labels = paste(shown.images, shown.labels, in_rows, in_columns, partners)
    weights = shown.weights
    other_weights = None if weights is None else weights[partners.to(weights.device)]
    return replace(
        shown, images=images, other_labels=other_labels, ratio=ratio[0], other_weights=other_weights
    )


Optimizer = MomentumSGD | torch.optim.Optimizer
"""What keeps a state for each parameter, in tensors."""

_OPTIMIZER_STATE = {
    "momentum": "momentum_buffer",
    "step": "step",
    "exp_avg": "exp_avg",
    "exp_avg_sq": "exp_avg_sq",
}
"""State that SGD and Adam keep for a parameter: name in saved states → name in the optimiser."""


def network_state(network: Network, optimizer: Optimizer) -> dict[str, Tensor]:
    """Returns weights and buffers of a network and the optimiser's state, under flat names."""
    tensors = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        for saved, name_in_optimizer in _OPTIMIZER_STATE.items():
            value = optimizer.state[parameter].get(name_in_optimizer)
            if value is not None:
                tensors[f"{saved}/{name}"] = value
    return tensors


def load_network_state(network: Network, optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
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
