"""How good is a small training set: fresh networks are trained on it and tested.

The recipe is IDC's (Kim et al., ICML 2022): SGD with momentum, learning rate × 0.2 at 2/3 and at
5/6 of the epochs, augmentation drawn per image, CutMix. The score is the accuracy after the last
epoch; the best of four tests (at each quarter of the epochs, paper 1's way, which looks at the test
set) is kept beside it and never mixed with it. Shapes: n images, c channels, h, w pixels.
"""

import base64
import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from distill.evaluation.sgd import (
    BatchLoss,
    NetworkTrainer,
    SGDRecipe,
    cross_entropy_loss,
    load_network_state,
    network_state,
)
from distill.networks.base import Network, reset_parameters
from distill.networks.precision import full_precision
from distill.runtime.execution import AUTOMATIC, Execution

TEST_CHUNK = 256
"""Images tested at a time; the maps of 1,024 take half a GiB at width 128."""

LR_DECAY = 0.2


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe(SGDRecipe):
    """How a fresh network is trained on a small set: the `eval_…` fields of a configuration."""

    epochs: int
    batch_size: int

    def lr_at(self, epoch: int) -> float:
        """Returns the learning rate of an epoch, counted from 0."""
        n_decays = sum(epoch >= milestone for milestone in self._milestones)
        return self.lr * LR_DECAY**n_decays

    def tests_after(self, epoch: int) -> bool:
        """Whether the network is tested after an epoch, counted from 0."""
        return epoch + 1 in {math.ceil(self.epochs * quarter / 4) for quarter in range(1, 5)}

    @property
    def _milestones(self) -> tuple[int, int]:
        return 2 * self.epochs // 3, 5 * self.epochs // 6


class Score(NamedTuple):
    """Test result of a network.

    Attributes:
        accuracy: share of the images that are classified right, in [0, 1].
        loss: mean cross-entropy, in nats.
        balanced_accuracy: mean of the classes' own accuracies (recalls), in [0, 1], over the
            classes that have test images: what the accuracy would be if these were equally large.
        correct: which images are classified right, see `packed_bits`.
    """

    accuracy: float
    loss: float
    balanced_accuracy: float
    correct: str


def packed_bits(right: Tensor) -> str:
    """Returns (n,) truth values as ⌈n / 8⌉ bytes in base64, the first image in the highest bit.

    `numpy.unpackbits(numpy.frombuffer(base64.b64decode(text), numpy.uint8), count=n)` gives them
    back; the Parquet column `correct_images` holds the bytes themselves.

    Example:
        >>> base64.b64decode(packed_bits(torch.tensor([True, False, False, True])))[0] == 0b10010000
        True
    """
    return base64.b64encode(np.packbits(right.cpu().numpy()).tobytes()).decode()


@dataclass(kw_only=True)
class Scores:
    """Test results of the networks trained so far, one entry a network.

    Attributes:
        accuracies: after the last epoch, fractions in [0, 1].
        balanced_accuracies: of the same tests, see `Score`.
        best_accuracies: the best of the four tests.
        losses: mean test cross-entropy after the last epoch, in nats.
        correct: which images are classified right after the last epoch, see `packed_bits`.
    """

    accuracies: list[float] = field(default_factory=list)
    balanced_accuracies: list[float] = field(default_factory=list)
    best_accuracies: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    correct: list[str] = field(default_factory=list)


def mean_and_std(values: list[float]) -> tuple[float | None, float | None]:
    """Returns the mean and the sample standard deviation; None where they do not exist."""
    mean = statistics.fmean(values) if values else None
    return mean, statistics.stdev(values) if len(values) > 1 else None


def score_columns(scores: Mapping[str, list[float]], eval_split: str) -> dict[str, float | None]:
    """Returns the columns of a row that hold scores, for both splits; None where there are none.

    Args:
        scores: the lists of `Scores`, one entry a network; may be empty.
        eval_split: `test` or `val`, what they were taken on.
    """
    columns: dict[str, float | None] = {}
    for split in ("test", "val"):
        for name, key in (
            ("accuracy", "accuracies"),
            ("balanced_accuracy", "balanced_accuracies"),
            ("accuracy_best", "best_accuracies"),
            ("loss", "losses"),
        ):
            mean, std = mean_and_std(scores.get(key, []) if split == eval_split else [])
            columns |= {f"{split}_{name}_mean": mean, f"{split}_{name}_std": std}
    return columns


@torch.no_grad()
def score_network(
    network: Network,
    images: Tensor,
    labels: Tensor,
    normalize: Callable[[Tensor], Tensor],
    *,
    chunk_size: int = TEST_CHUNK,
) -> Score:
    """Returns the score of a network; eval mode.

    Args:
        network: left in eval mode.
        images: (n, c, h, w) uint8, n at least 1.
        labels: (n,) int64.
        normalize: turns images into the network's input, a chunk at a time.
        chunk_size: images in a chunk.
    """
    network.eval()
    n_right: Tensor | None = None  # (n_classes,) images classified right
    parts: list[Tensor] = []  # which images these are
    loss = torch.zeros((), dtype=torch.float64, device=images.device)
    chunks = zip(images.split(chunk_size), labels.split(chunk_size), strict=True)
    with full_precision(network):
        for chunk, chunk_labels in chunks:
            logits = network(normalize(chunk))
            right = logits.argmax(dim=1) == chunk_labels
            parts.append(right)
            if n_right is None:
                n_right = chunk_labels.new_zeros(logits.shape[1])
            n_right.index_add_(0, chunk_labels, right.long())
            loss += F.cross_entropy(logits, chunk_labels, reduction="sum").double()
    assert n_right is not None
    counts = torch.bincount(labels.cpu(), minlength=len(n_right))
    n_right = n_right.cpu()
    recalls = n_right[counts > 0].double() / counts[counts > 0]
    return Score(
        accuracy=int(n_right.sum()) / len(images),
        loss=float(loss) / len(images),
        balanced_accuracy=float(recalls.mean()),
        correct=packed_bits(torch.cat(parts)),
    )


class Evaluation:
    """Trains `n_networks` fresh networks one after the other and tests each; epoch by epoch.

    The state between two epochs can be saved and loaded, and every network draws from separate
    generators, so an evaluation does not depend on what ran before it.

    Args:
        recipe: how the networks are trained.
        network: a network of the wanted architecture; its weights are drawn anew for each run.
        images: (n, c, h, w), the training set: floating point, normalised; or uint8, which is
            normalised batch by batch.
        labels: (n,) int64, what `loss` takes.
        test_images: (n_test, c, h, w) uint8.
        test_labels: (n_test,) int64.
        normalize: turns `test_images` into the network's input.
        n_networks: networks to train, at least 1.
        seed_of: the seed of a network and a purpose (`weights` or `batches`).
        execution: whether steps are recorded as graphs.
        loss: of a batch.
        weights: (n,) by which the images count in training, with mean one; None: equally.
    """

    def __init__(
        self,
        recipe: TrainingRecipe,
        network: Network,
        images: Tensor,
        labels: Tensor,
        *,
        test_images: Tensor,
        test_labels: Tensor,
        normalize: Callable[[Tensor], Tensor],
        n_networks: int,
        seed_of: Callable[[int, str], int],
        execution: Execution = AUTOMATIC,
        loss: BatchLoss = cross_entropy_loss,
        weights: Tensor | None = None,
    ) -> None:
        self.recipe = recipe
        self.network = network
        self.images = images
        self.labels = labels
        self.test_images = test_images
        self.test_labels = test_labels
        self.normalize = normalize
        self.n_networks = n_networks
        self.seed_of = seed_of
        self.scores = Scores()
        self.epoch = 0
        self._best = 0.0
        self._trainer = NetworkTrainer(
            network,
            recipe,
            self._take,
            images[0].numel(),
            execution,
            loss,
            None if weights is None else weights.to(network.classifier.weight),
        )
        self._start_network()

    @property
    def done(self) -> bool:
        """Whether all networks are trained and tested."""
        return len(self.scores.accuracies) == self.n_networks

    @property
    def correct(self) -> list[str]:
        """See `Scores.correct`."""
        return self.scores.correct

    @property
    def epochs_left(self) -> int:
        """Epochs that are still to run, over all networks."""
        n_left = self.n_networks - len(self.scores.accuracies)
        return n_left * self.recipe.epochs - self.epoch if n_left else 0

    def run_epoch(self) -> None:
        """Trains the current network for an epoch, tests it when due, and turns to the next."""
        recipe = self.recipe
        self.network.train()
        order = torch.randperm(len(self.images), generator=self.generator)
        batches = order.split(recipe.batch_size)
        self._trainer.train(batches, self.generator, recipe.lr_at(self.epoch))
        if recipe.tests_after(self.epoch):
            self._test()
        self.epoch += 1
        if self.epoch == recipe.epochs and not self.done:
            self._start_network()

    def _take(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        images = self.images[batch]
        if images.dtype == torch.uint8:
            images = self.normalize(images)
        return images, self.labels[batch]

    def _test(self) -> None:
        score = score_network(self.network, self.test_images, self.test_labels, self.normalize)
        self._best = max(self._best, score.accuracy)
        if self.epoch + 1 == self.recipe.epochs:
            self.scores.accuracies.append(score.accuracy)
            self.scores.balanced_accuracies.append(score.balanced_accuracy)
            self.scores.best_accuracies.append(self._best)
            self.scores.losses.append(score.loss)
            self.scores.correct.append(score.correct)

    def _start_network(self) -> None:
        index = len(self.scores.accuracies)
        reset_parameters(
            self.network, torch.Generator().manual_seed(self.seed_of(index, "weights"))
        )
        self.generator = torch.Generator().manual_seed(self.seed_of(index, "batches"))
        self._trainer.forget()
        self.epoch = 0
        self._best = 0.0

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns what is needed to go on, as tensors and as values that JSON can hold."""
        tensors = network_state(self.network, self._trainer.optimizer)
        tensors["generator"] = self.generator.get_state()
        values = {
            "epoch": self.epoch,
            "best": self._best,
            "accuracies": self.scores.accuracies,
            "balanced_accuracies": self.scores.balanced_accuracies,
            "best_accuracies": self.scores.best_accuracies,
            "losses": self.scores.losses,
            "correct": self.scores.correct,
        }
        return tensors, values

    def load_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Goes on from what `state` returned."""
        load_network_state(self.network, self._trainer.optimizer, tensors)
        self.generator.set_state(tensors["generator"])
        self.epoch, self._best = values["epoch"], values["best"]
        self.scores = Scores(
            accuracies=list(values["accuracies"]),
            balanced_accuracies=list(values["balanced_accuracies"]),
            best_accuracies=list(values["best_accuracies"]),
            losses=list(values["losses"]),
            correct=list(values["correct"]),
        )
