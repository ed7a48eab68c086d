"""One trial of the second study from configuration to result: choose, train, score.

A trial is a chain of units of work: epochs of the network whose features images are compared by
(where they are), the choice, epochs of each classifier. Between any two of them its whole state can
be saved.

Under the sound protocol images are chosen among the training images, without those that the test or
validation set holds too; the validation images, where there are any, are scored after every epoch;
the images of `eval_split` give the result after the last one, and test images are used for nothing
else. The published protocol is the study's: scores on the test images after every epoch, no check
for copies, and for the cluster grid a choice among all images (see `distill.subsets`).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distill.checkpoint import Folder
from distill.choice import Choice
from distill.classifier import Classifier, Epoch, n_batches_of
from distill.config import derive_seed
from distill.datasets import ImageData
from distill.datasets.images import with_classes
from distill.dream import DivergedError
from distill.evaluate import mean_and_std, score_columns
from distill.photo_transforms import transform_at_random
from distill.running import (
    Progress,
    check_whose_state,
    run_to_end,
    whose_state,
    without_prefix,
)
from distill.subset_config import SubsetConfig
from distill.subsets.pool import seen_images

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

COUNT_COLUMNS = (
    "n_pool",
    "n_duplicates",
    "n_selected",
    "n_distinct",
    "n_test_selected",
    "n_trained_on",
    "n_steps",
    "n_cells_occupied",
    "n_filled",
    "n_clusters_mean",
    "largest_cluster_mean",
    "noise_mean",
    "plane_explained",
)
"""What was counted; the README explains them. None where an arm has nothing to count."""

SCORE_NAMES = ("accuracies", "best_accuracies", "losses", "seen_accuracies", "unseen_accuracies")
"""What is kept of every classifier, in lists; see `SubsetTrial.scores`."""


@dataclass(frozen=True, kw_only=True)
class SubsetResult:
    """What a trial leaves behind.

    Attributes:
        row: one record: configuration, status, scores, losses, counts, times, versions.
        curve: one record of `CURVE_COLUMNS` per classifier and epoch.
        selection: what was chosen from what, see `Choice.columns`; None unless `ok`.
    """

    row: dict[str, Any]
    curve: list[dict[str, Any]]
    selection: dict[str, list[Any]] | None


class SubsetTrial:
    """A trial as a chain of units of work.

    Args:
        config: what to do.
        data: the images, on the device to run on; of all classes.
        on_warning: told of training images that are left out, in one line.

    Raises:
        UserError: the configuration does not fit the data.

    Attributes:
        choice: the choice of the images.
        curve: see `CURVE_COLUMNS`.
        scores: of every finished classifier, on the images of `eval_split` after the last epoch:
            accuracy, loss, and the accuracies on those images that it trained on and on the
            others; the best accuracy of all epochs where they were all scored.
        seconds: spent on the choice (`clustering`), the network that gives features (`network`)
            and the classifiers (`evaluation`).
    """

    def __init__(
        self,
        config: SubsetConfig,
        data: ImageData,
        on_warning: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.config = config = config.resolved()
        self.data = data = with_classes(data, config.classes)
        self.published = config.protocol == "published"
        self.choice = Choice(config, data, on_warning=on_warning)
        self.curve: list[dict[str, Any]] = []
        self.scores: dict[str, list[float]] = {name: [] for name in SCORE_NAMES}
        self.seconds = {"clustering": 0.0, "network": 0.0, "evaluation": 0.0}
        self._classifier = self._new_classifier()
        self._training_set: tuple[Tensor, Tensor] | None = None
        self._clock = (0.0, 0)  # seconds and batches of classifiers in this process

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self._n_finished == self.config.n_eval

    @property
    def place(self) -> str:
        """Where the trial stands, for a message."""
        if not self.choice.done:
            return "the choice of images"
        return (
            f"epoch {self._epoch + 1} of {self.config.epochs} of classifier "
            f"{self._n_finished + 1} of {self.config.n_eval}"
        )

    def advance(self) -> None:
        """Does one unit of work: an epoch, or the choice.

        Raises:
            InfeasibleClusteringError: the clustering finds nothing to choose from.
            DivergedError: a training loss is not a finite number.
        """
        start = time.perf_counter()
        if self.choice.done:
            part = "evaluation"
            self._train()
        else:
            epoch = self.choice.advance()
            part = "clustering" if epoch is None else "network"
            if epoch is not None:
                self._check_finite(epoch)
        self.seconds[part] += time.perf_counter() - start

    @property
    def _n_finished(self) -> int:
        """Classifiers that are trained and scored."""
        return len(self.scores["accuracies"])

    @property
    def _epoch(self) -> int:
        """Epochs that the current classifier has behind it."""
        return len(self.curve) - self._n_finished * self.config.epochs

    def _new_classifier(self) -> Classifier:
        return Classifier(self.config, self.data, purpose=f"classifier {self._n_finished}")

    def training_set(self) -> tuple[Tensor, Tensor]:
        """Returns the (n, c, h, w) uint8 images that classifiers train on, and (n,) labels.

        The images chosen, or for the augmentation arm what is made of them.
        """
        if self._training_set is None:
            images, labels = self.choice.chosen()
            if self.config.arm == "augmentation":
                images, labels = self._augmented(images, labels)
            self._training_set = images, labels
        return self._training_set

    def _augmented(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(derive_seed(self.config.seed, "augmentation"))
        if self.published:  # they were drawn several times
            return transform_at_random(images, generator, published=True), labels
        copies = int(self.config.augment_copies or 1)
        transformed = transform_at_random(images.repeat(copies, 1, 1, 1), generator)
        if self.config.augment_mode == "replace":
            return transformed, labels.repeat(copies)
        return torch.cat([images, transformed]), labels.repeat(copies + 1)

    def _train(self) -> None:
        """Trains the current classifier for an epoch; after the last one scores it."""
        images, labels = self.training_set()
        start = time.perf_counter()
        epoch = self._classifier.run_epoch(images, labels, n_batches=self._equal_batches)
        seconds, n_batches = self._clock
        self._clock = (seconds + time.perf_counter() - start, n_batches + epoch.n_steps)
        self._check_finite(epoch)
        accuracy, loss = self._validate()
        self.curve.append(
            {
                "network_index": self._n_finished,
                "epoch": self._epoch + 1,
                "n_steps": epoch.n_steps * (self._epoch + 1),
                "train_loss": epoch.loss,
                "train_accuracy": epoch.accuracy,
                "val_loss": loss,
                "val_accuracy": accuracy,
            }
        )
        if self._epoch == self.config.epochs:
            self._score()
            if not self.done:
                self._classifier = self._new_classifier()

    @property
    def _equal_batches(self) -> int | None:
        """Batches of an epoch over all training images, where every epoch is to have as many."""
        if not self.config.equal_steps:
            return None
        n_train = len(self.data.train_images) - self.choice.pool.n_duplicates
        return n_batches_of(n_train, self.config.batch_size)

    def _check_finite(self, epoch: Epoch) -> None:
        if not math.isfinite(epoch.loss):
            raise DivergedError(
                f"the training loss is no longer a finite number in {self.place}; "
                f"lower lr (now {self.config.lr:g})"
            )

    def _validate(self) -> tuple[float | None, float | None]:
        """Returns accuracy and loss on what is looked at after every epoch, if anything is."""
        data = self.data
        part = "test" if self.published else "val"
        images, labels = getattr(data, f"{part}_images"), getattr(data, f"{part}_labels")
        if not len(images):
            return None, None
        self._classifier.prepare_to_score(self.training_set()[0])
        return self._classifier.score(images, labels)

    def _score(self) -> None:
        """Scores the current classifier on the images of `eval_split`."""
        last = self.curve[-self.config.epochs :]
        data, scores = self.data, self.scores
        if self.published or self.config.eval_split == "val":  # just looked at
            accuracy, loss = last[-1]["val_accuracy"], last[-1]["val_loss"]
            scores["best_accuracies"].append(max(point["val_accuracy"] for point in last))
        else:
            self._classifier.prepare_to_score(self.training_set()[0])
            accuracy, loss = self._classifier.score(data.test_images, data.test_labels)
        if self.published:
            self._score_apart()
        scores["accuracies"].append(accuracy)
        scores["losses"].append(loss)

    def _score_apart(self) -> None:
        """Scores the test images that the classifier trained on, and the others."""
        data = self.data
        seen = seen_images(data.test_images, self.choice.chosen()[0]).to(data.test_images.device)
        for name, rows in (("seen_accuracies", seen), ("unseen_accuracies", ~seen)):
            if bool(rows.any()):
                accuracy, _ = self._classifier.score(data.test_images[rows], data.test_labels[rows])
                self.scores[name].append(accuracy)

    def counts(self) -> dict[str, float | None]:
        """Returns `COUNT_COLUMNS`."""
        counts: dict[str, float | None] = dict.fromkeys(COUNT_COLUMNS)
        counts |= self.choice.counts()
        if self.choice.done:
            counts["n_trained_on"] = len(self.training_set()[0])
        if self.curve:
            counts["n_steps"] = self.curve[-1]["n_steps"]
        return counts

    def progress(self) -> Progress:
        """Returns where the trial stands; the estimate counts batches, the choice as none."""
        config = self.config
        feature_batches = n_batches_of(len(self.choice.pool.rows), config.batch_size)
        own_batches = self._equal_batches or n_batches_of(self._n_training(), config.batch_size)
        n_outer = config.n_eval * config.epochs
        done = self.choice.n_epochs * feature_batches + len(self.curve) * own_batches
        total = (config.feature_epochs or 0) * feature_batches + n_outer * own_batches
        seconds, n_batches = self._clock
        last = self.curve[-1] if self.curve else None
        accuracy = last["val_accuracy"] if last else None
        return Progress(
            outer=len(self.curve),
            n_outer=n_outer,
            fraction=done / total,
            matching_loss=last["train_loss"] if last else None,
            accuracy=accuracy,
            accuracy_outer=None if accuracy is None else len(self.curve),
            evaluating=False,
            seconds_per_outer=seconds / n_batches * own_batches if n_batches else None,
            seconds_left=seconds / n_batches * (total - done) if n_batches else None,
        )

    def _n_training(self) -> int:
        """Images to train on, as far as it is known."""
        if self.choice.done:
            return len(self.training_set()[0])
        n = sum(self.choice.quotas)
        if self.config.arm == "augmentation":
            copies = int(self.config.augment_copies or 1)
            return n * (copies + (self.config.augment_mode == "add"))
        if self.published and self.config.arm == "cluster_grid":
            return n * self.data.n_classes * int(self.config.n_clusters or 1)
        return n

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns what is needed to go on between two units of work."""
        choice_tensors, choice_values = self.choice.state()
        tensors = {f"choice/{name}": tensor for name, tensor in choice_tensors.items()}
        tensors |= {f"classifier/{k}": tensor for k, tensor in self._classifier.state().items()}
        return tensors, {
            **whose_state(self.config, self.data),
            "choice": choice_values,
            "curve": self.curve,
            "scores": self.scores,
            "seconds": self.seconds,
        }

    def load_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Goes on from what `state` returned for an equal configuration and data set.

        Raises:
            UserError: the state belongs to another configuration or to other images.
        """
        check_whose_state(values, self.config, self.data)
        self.curve, self.seconds = list(values["curve"]), dict(values["seconds"])
        self.scores = {name: list(own) for name, own in values["scores"].items()}
        self._training_set = None
        self.choice.load_state(without_prefix("choice/", tensors), values["choice"])
        self._classifier = self._new_classifier()
        self._classifier.load_state(without_prefix("classifier/", tensors))


def run_subset(
    config: SubsetConfig,
    data: ImageData,
    *,
    checkpoint_folder: Folder | None = None,
    checkpoint_seconds: float = 5.0,
    on_progress: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    on_warning: Callable[[str], None] = lambda _: None,
) -> SubsetResult:
    """Runs a trial of the second study, or what is left of it, to its end.

    Args:
        config: what to do.
        data: the images, on the device to run on; of all classes.
        checkpoint_folder: as for `distill.trial.run_trial`, like all that follow.
        checkpoint_seconds: see there.
        on_progress: see there; units of work are epochs, and the choice of images.
        should_stop: see there.
        on_warning: see there; also told of training images that are left out.

    Returns:
        The result; also for trials whose status is `infeasible`, `diverged` or `out_of_memory`.
        Their scores are None.

    Raises:
        UserError: the configuration does not fit the data, or the checkpoints belong to another
            trial.
        OSError: the checkpoint folder cannot be read.
        InterruptedTrialError: `should_stop` said so; the state is saved, unless `on_warning` was
            told that it cannot be.
    """
    run = run_to_end(
        lambda: SubsetTrial(config, data, on_warning),
        checkpoint_folder=checkpoint_folder,
        checkpoint_seconds=checkpoint_seconds,
        on_progress=on_progress,
        should_stop=should_stop,
        on_warning=on_warning,
    )
    trial = run.work
    row = {
        **run.identity_columns(config),
        **_result_columns(config, trial),
        **run.origin_columns(trial.data if trial is not None else data),
    }
    ok = trial is not None and run.status == "ok"
    return SubsetResult(
        row=row,
        curve=trial.curve if trial is not None else [],
        selection=trial.choice.columns() if ok and trial is not None else None,
    )


def _result_columns(config: SubsetConfig, trial: SubsetTrial | None) -> dict[str, Any]:
    """Returns the result columns, always all of them; those that do not exist are None.

    Args:
        config: of the trial.
        trial: None if it could not even start.
    """
    scores = trial.scores if trial is not None else {name: [] for name in SCORE_NAMES}
    row = score_columns(scores, config.eval_split)
    for name in ("seen", "unseen"):
        mean, std = mean_and_std(scores[f"{name}_accuracies"])
        row |= {f"test_{name}_accuracy_mean": mean, f"test_{name}_accuracy_std": std}
    seconds = trial.seconds if trial is not None else {}
    return {
        **row,
        "n_networks": len(scores["accuracies"]),
        "network_scores": {config.network: scores},
        **(trial.counts() if trial is not None else dict.fromkeys(COUNT_COLUMNS)),
        **{
            f"{part}_seconds": seconds.get(part) for part in ("clustering", "network", "evaluation")
        },
    }
