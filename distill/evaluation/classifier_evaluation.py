"""Training fresh classifiers on chosen images, one after the other, and scoring them.

The counterpart of `Evaluation` for the second paper's classifier: a curve with a
point for every epoch, and scores after the last one. Under the sound protocol validation images,
where there are any, are looked at after every epoch, and the images that give the result once.
Under the published one the paper's defect stands: its test images are what is looked at.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from distill.config.selection import ResolvedSelection
from distill.datasets import ImageData
from distill.errors import DivergedError
from distill.evaluation.classifier import Classifier, n_batches_of
from distill.evaluation.scores import Score
from distill.networks.base import Network

CURVE_COLUMNS = (
    "network_index",
    "epoch",
    "n_steps",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
)
"""One record per classifier and epoch; under the published protocol `val_…` is the test set."""

SCORE_NAMES = (
    *("accuracies", "balanced_accuracies", "best_accuracies", "losses"),
    *("seen_accuracies", "unseen_accuracies"),
)


@dataclass(frozen=True, kw_only=True)
class BestEpoch:
    """The best epoch of all classifiers so far, by the accuracy that the curve has.

    Attributes:
        network_index: of the classifier, from 0.
        epoch: of that classifier, from 1.
        accuracy: on validation images, of the published protocol on test images; in [0, 1].
    """

    network_index: int
    epoch: int
    accuracy: float


class ClassifierEvaluation:
    """Trains `n_eval` classifiers; the state between two epochs can be saved and loaded.

    Args:
        config: gives the classifier and its training.
        data: gives the images to score, and what a network has to fit.
        images: (n, c, h, w) uint8, the training set, on the device of the data; n at least 2.
        labels: (n,) int64, on the device of the data.
        n_whole: images of the whole training set, whose epochs are the measure of equal steps.
        seen: (n_test,) bool, which test images are among the training images; None: not known, and
            not scored apart.
        keeps_best: whether to keep the weights of the best epoch.
        weights: (n,) by which the images count in training, with mean one; None: equally.

    Attributes:
        curve: one record of `CURVE_COLUMNS` per epoch.
        scores: of every finished classifier, on the images of `eval_split` after the last epoch:
            accuracy, loss, and the accuracies on the images that it trained on and on the others;
            the best accuracy of all epochs, where they were scored in all of them.
        correct: for every finished classifier, which images of `eval_split` it classifies right
            after the last epoch, see `packed_bits`.
        best: the best epoch whose weights are kept; of equal ones the first. None: none is kept,
            or it was in a process that kept none.
        best_weights: state of its network, on the CPU.
    """

    def __init__(
        self,
        config: ResolvedSelection,
        data: ImageData,
        images: Tensor,
        labels: Tensor,
        *,
        n_whole: int,
        seen: Tensor | None = None,
        keeps_best: bool = False,
        weights: Tensor | None = None,
    ) -> None:
        self.config = config
        self.data = data
        self.images = images
        self.labels = labels
        self.seen = seen
        self.weights = None if weights is None else weights.float().to(images.device)
        self.published = config.protocol == "published"
        self.epochs: int = config["epochs"]
        self.n_batches = n_batches_of(n_whole, config.batch_size) if config.equal_steps else None
        self.curve: list[dict[str, Any]] = []
        self.scores: dict[str, list[float]] = {name: [] for name in SCORE_NAMES}
        self.correct: list[str] = []
        self.best: BestEpoch | None = None
        self.best_weights: dict[str, Tensor] = {}
        self._keeps_best = keeps_best
        self._classifier = self._new_classifier()

    @property
    def network(self) -> Network:
        """The network of the current classifier."""
        return self._classifier.network

    @property
    def done(self) -> bool:
        """Whether all classifiers are trained and scored."""
        return self._n_finished == self.config.n_eval

    @property
    def epochs_left(self) -> int:
        """Epochs that are still to run, over all classifiers."""
        return self.config.n_eval * self.epochs - len(self.curve)

    @property
    def _n_finished(self) -> int:
        """Classifiers that are trained and scored."""
        return len(self.scores["accuracies"])

    @property
    def _epoch(self) -> int:
        """Epochs that the current classifier has behind it."""
        return len(self.curve) - self._n_finished * self.epochs

    def _new_classifier(self) -> Classifier:
        return Classifier(self.config, self.data, purpose=f"classifier {self._n_finished}")

    def run_epoch(self) -> None:
        """Trains the current classifier for an epoch, scores it when due, and turns to the next.

        Raises:
            DivergedError: the training loss is not a finite number.
        """
        epoch = self._classifier.run_epoch(
            self.images, self.labels, n_batches=self.n_batches, weights=self.weights
        )
        if not math.isfinite(epoch.loss):
            raise DivergedError(
                f"the training loss is no longer a finite number in epoch {self._epoch + 1} of "
                f"classifier {self._n_finished + 1}; lower lr (now {self.config.lr:g})"
            )
        looked_at = self._look()
        if self._keeps_best and looked_at is not None:
            self._keep_if_best(looked_at.accuracy)
        self.curve.append(
            {
                "network_index": self._n_finished,
                "epoch": self._epoch + 1,
                "n_steps": epoch.n_steps * (self._epoch + 1),
                "train_loss": epoch.loss,
                "train_accuracy": epoch.accuracy,
                "val_loss": looked_at.loss if looked_at else None,
                "val_accuracy": looked_at.accuracy if looked_at else None,
            }
        )
        if self._epoch == self.epochs:
            self._finish(looked_at)
            if not self.done:
                self._classifier = self._new_classifier()

    def _keep_if_best(self, accuracy: float) -> None:
        """Keeps the weights, and the norm statistics they were scored with, of a best epoch."""
        if all(accuracy > point["val_accuracy"] for point in self.curve):
            self.best = BestEpoch(
                network_index=self._n_finished, epoch=self._epoch + 1, accuracy=accuracy
            )
            state = self.network.state_dict()
            self.best_weights = {k: v.detach().to("cpu", copy=True) for k, v in state.items()}

    def _look(self) -> Score | None:
        """Returns the score on what is looked at after every epoch, if anything is."""
        part = "test" if self.published else "val"
        images, labels = getattr(self.data, f"{part}_images"), getattr(self.data, f"{part}_labels")
        return self._score(images, labels) if len(images) else None

    def _score(self, images: Tensor, labels: Tensor) -> Score:
        self._classifier.prepare_to_score(self.images)
        return self._classifier.score(images, labels)

    def _finish(self, looked_at: Score | None) -> None:
        """Takes the scores of the current classifier on the images of `eval_split`.

        Args:
            looked_at: the score on what was looked at after the last epoch.
        """
        points, data = self.curve[-self.epochs :], self.data
        if looked_at is not None and (self.published or self.config.eval_split == "val"):
            score = looked_at
            best = max(point["val_accuracy"] for point in points)
            self.scores["best_accuracies"].append(best)
        else:
            score = self._score(data.test_images, data.test_labels)
        if self.seen is not None:
            for name, rows in (("seen", self.seen), ("unseen", ~self.seen)):
                if bool(rows.any()):
                    part = self._score(data.test_images[rows], data.test_labels[rows])
                    self.scores[f"{name}_accuracies"].append(part.accuracy)
        self.scores["accuracies"].append(score.accuracy)
        self.scores["balanced_accuracies"].append(score.balanced_accuracy)
        self.scores["losses"].append(score.loss)
        self.correct.append(score.correct)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns what is needed to go on, as tensors and as values that JSON can hold."""
        values: dict[str, Any] = {
            "curve": self.curve,
            "scores": self.scores,
            "correct": self.correct,
        }
        best = {f"best/{name}": tensor for name, tensor in self.best_weights.items()}
        if self.best is not None:
            values["best"] = asdict(self.best)
        return self._classifier.state() | best, values

    def load_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Goes on from what `state` returned."""
        self.curve = list(values["curve"])
        self.scores = {name: list(scores) for name, scores in values["scores"].items()}
        self.correct = list(values["correct"])
        if self._keeps_best and "best" in values:
            self.best = BestEpoch(**values["best"])
            self.best_weights = {
                k.removeprefix("best/"): v for k, v in tensors.items() if k.startswith("best/")
            }
        self._classifier = self._new_classifier()
        self._classifier.load_state(tensors)
