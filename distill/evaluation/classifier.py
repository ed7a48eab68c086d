"""Training a classifier on chosen images, epoch by epoch, as the second paper did.

Adam on the cross-entropy of batches; the loss and the accuracy of an epoch are those of its batches
in train mode, as Keras prints them. A classifier has separate random streams for its
weights, its batches and its dropout. Everything between two epochs can be saved and loaded.

Batch norms score with running or recomputed statistics. Keras's running ones are a poor choice
here: they start at 0 and 1, need some 600 batches to forget that, and lag behind weights that Adam
moves fast, so that a classifier that has learnt its few images may score at chance, or jump by many
points from one epoch to the next. `recomputed` statistics are the means over the training images
under the current weights ("precise batch norm"), so that selections of different sizes are compared
by their images; `running` ones are what the paper had.

References:
    Wu & Johnson, Rethinking "batch" in BatchNorm, arXiv 2105.07576, 2021 (precise batch norm).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distill.config.seeds import derive_seed
from distill.config.selection import ResolvedSelection
from distill.datasets import ImageData
from distill.evaluation.scores import Score, score_network
from distill.evaluation.sgd import (
    load_network_state,
    network_state,
    weighted_cross_entropy,
)
from distill.networks.base import Network, width_of
from distill.networks.build import build_network
from distill.networks.photo_cnn import (
    ADAM_EPSILON,
    NORM_MOMENTUM,
    WIDTHS,
    PhotoCNN,
)
from distill.networks.registry import NETWORKS

N_NORM_BATCHES = 200
"""Batches, at most, from which the statistics of batch norms are recomputed."""

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)

_CHUNK_VALUES = 2**25
"""Values of the widest maps of a chunk of images, where no gradient is kept."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What an epoch of training gave.

    Attributes:
        loss: mean cross-entropy over its images, in nats, weighted where they have weights; NaN
            where training diverged.
        accuracy: share of its images that were classified right, in [0, 1].
        n_steps: batches.
    """

    loss: float
    accuracy: float
    n_steps: int


def epoch_batches(
    n: int, batch_size: int, n_batches: int | None, generator: torch.Generator
) -> list[Tensor]:
    """Returns the batches of an epoch as indices, in random order.

    A last batch of a single image is left out: batch norm cannot tell one image from its mean.

    Args:
        n: images, at least 2.
        batch_size: at least 2.
        n_batches: as many batches as this, in as many passes over the images as that takes, the
            last one cut short; None: one pass.
        generator: on the CPU.
    """
    batches: list[Tensor] = []
    while not batches or (n_batches is not None and len(batches) < n_batches):
        order = torch.randperm(n, generator=generator)
        batches += [batch for batch in order.split(batch_size) if len(batch) > 1]
    return batches[:n_batches]


def n_batches_of(n: int, batch_size: int) -> int:
    """Returns the batches of one pass over n images."""
    return n // batch_size + (n % batch_size > 1)


class Classifier:
    """A network for the images of a data set, its optimiser and its random streams.

    Args:
        config: gives network, batch size and learning rate.
        data: gives channels, size, classes, normalisation and device of the images.
        purpose: names the random streams; different purposes are independent.

    Raises:
        UserError: such a network cannot be built for such images.
    """

    def __init__(self, config: ResolvedSelection, data: ImageData, *, purpose: str) -> None:
        self.config = config
        self.device = data.train_images.device
        self.purpose = purpose
        weights, self.batches, self.dropout = map(self._stream, ("weights", "batches", "dropout"))
        self.network = _build(config, data, weights)
        # The layout in which convolutions of few channels are fastest, on CPUs by 1.7 times.
        self.network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._to_input = data.normalize if config.network != "photo_cnn" else _scaled
        if isinstance(self.network, PhotoCNN):
            self.network.dropout.generator = self.dropout
        self._recomputes_statistics = config["norm_statistics"] != "running"
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=config.lr, eps=ADAM_EPSILON, fused=True
        )
        widest = max(WIDTHS[0], width_of(self.network)) * data.train_images[0, 0].numel()
        self._chunk_size = max(1, min(1024, _CHUNK_VALUES // widest))

    def _stream(self, what: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.config.seed, self.purpose, what))

    def run_epoch(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        n_batches: int | None = None,
        weights: Tensor | None = None,
    ) -> Epoch:
        """Trains for an epoch.

        Args:
            images: (n, c, h, w) uint8, on the device, n at least 2.
            labels: (n,) int64, on the device.
            n_batches: see `epoch_batches`.
            weights: (n,) float32 by which the images count in the loss, with mean one, on the
                device; None: equally.
        """
        self.network.train()
        loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        n_right = torch.zeros((), dtype=torch.int64, device=self.device)
        batches = epoch_batches(len(images), self.config.batch_size, n_batches, self.batches)
        for batch in batches:
            there = batch.to(self.device)
            logits, targets = self.network(self.to_input(images[there])), labels[there]
            of_batch = None if weights is None else weights[there]
            loss = weighted_cross_entropy(logits, targets, of_batch)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            loss_sum += loss.detach().double() * len(batch)
            n_right += (logits.detach().argmax(dim=1) == targets).sum()
        n_images = sum(len(batch) for batch in batches)
        return Epoch(
            loss=float(loss_sum) / n_images,
            accuracy=int(n_right) / n_images,
            n_steps=len(batches),
        )

    @torch.no_grad()
    def prepare_to_score(self, images: Tensor) -> None:
        """Recomputes the statistics of the batch norms, if that is what they score with.

        The same images and weights give the same statistics; training goes on as if nothing had
        happened, for in train mode batch norms use those of the batch.

        Args:
            images: (n, c, h, w) uint8, on the device, n at least 2: those it trains on.
        """
        norms = [layer for layer in self.network.modules() if isinstance(layer, _BATCH_NORMS)]
        if not norms or not self._recomputes_statistics:
            return
        self.network.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.train()
            norm.momentum = None  # the mean over all batches
        for batch in epoch_batches(
            len(images), self.config.batch_size, None, self._stream("statistics")
        )[:N_NORM_BATCHES]:
            self.network(self.to_input(images[batch.to(self.device)]))
        for norm in norms:
            norm.momentum = NORM_MOMENTUM

    def score(self, images: Tensor, labels: Tensor) -> Score:
        """Returns the score of the network; eval mode.

        Args:
            images: (n, c, h, w) uint8, n at least 1.
            labels: (n,) int64.
        """
        return score_network(
            self.network, images, labels, self.to_input, chunk_size=self._chunk_size
        )

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Returns the (n, d) input of the last layer for (n, c, h, w) uint8 images; eval mode."""
        self.network.eval()
        chunks = images.split(self._chunk_size)
        return torch.cat([self.network.features(self.to_input(chunk)) for chunk in chunks])

    def to_input(self, images: Tensor) -> Tensor:
        """Returns 8-bit images as the network takes them."""
        return self._to_input(images).contiguous(memory_format=torch.channels_last)

    def state(self) -> dict[str, Tensor]:
        """Returns what is needed to go on between two epochs."""
        streams = {"batches": self.batches.get_state(), "dropout": self.dropout.get_state()}
        return network_state(self.network, self.optimizer) | streams

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Goes on from what `state` returned."""
        load_network_state(self.network, self.optimizer, tensors)
        self.batches.set_state(tensors["batches"])
        self.dropout.set_state(tensors["dropout"])


def _scaled(images: Tensor) -> Tensor:
    return images.float() / 255


def _build(config: ResolvedSelection, data: ImageData, generator: torch.Generator) -> Network:
    return build_network(
        config.network,
        n_classes=data.n_classes,
        channels=data.channels,
        image_size=data.image_size,
        generator=generator,
        **config.options_for(NETWORKS, config.network),
    )
