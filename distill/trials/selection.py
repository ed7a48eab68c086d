"""One trial of the second paper from configuration to result: choose, train, score.

A trial is a chain of units of work: epochs of the network whose features images are compared by
(where they are), the choice, epochs of each network that is trained on what was chosen. Between any
two of them its whole state can be saved.

Under the sound protocol images are chosen among the training images, without those that the test or
validation set holds too; the validation images, where there are any, are scored after every epoch;
the images of `eval_split` give the result after the last one, and test images are used for nothing
else. The published protocol is the paper's: scores on the test images after every epoch, no check
for copies, and for the cluster grid a choice among all images (see `distill.selection`).

With the recipe `distillation` the images chosen are evaluated as distilled images are
(`evaluation.scores`): the rows of real images, coresets, that papers print beside distilled sets.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from distill.augment.photo_transforms import transform_at_random
from distill.clustering.sizes import SIZE_COLUMNS
from distill.config.distillation import DistillationConfig, derive_seed
from distill.config.selection import SelectionConfig
from distill.datasets import ImageData
from distill.datasets.images import with_classes
from distill.evaluation.classifier import n_batches_of
from distill.evaluation.classifier_evaluation import (
    CURVE_COLUMNS,
    SCORE_NAMES,
    ClassifierEvaluation,
)
from distill.evaluation.recipe import evaluation_of, network_for
from distill.evaluation.scores import Evaluation, Scores, mean_and_std, score_columns
from distill.runtime.checkpoint import Folder
from distill.selection.pool import seen_images
from distill.selection.samples import Samples, sample
from distill.trials.image_selection import Choice
from distill.trials.runner import (
    Progress,
    check_whose_state,
    run_to_end,
    whose_state,
    without_prefix,
)

__all__ = ["COUNT_COLUMNS", "CURVE_COLUMNS", "SelectionResult", "SelectionTrial", "run_selection"]

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
    *SIZE_COLUMNS,
)
"""What was counted: images to choose from and those left out because they are held out, too; images
chosen, distinct ones, test images among these; images trained on (with transformed ones) and steps
of a classifier; occupied cells of the grid and images that filled up; clusters, the share of the
largest and of noise; the share of the variance in the plane; how the sizes of clusters are
distributed, see `distill.clustering.sizes`. None where there is nothing to count.
"""


@dataclass(frozen=True, kw_only=True)
class SelectionResult:
    """What a trial leaves behind.

    Attributes:
        row: one record: configuration, status, scores, losses, counts, times, versions.
        curve: one record of `CURVE_COLUMNS` per classifier and epoch; empty with the recipe
            `distillation`.
        selection: what was chosen from what, see `Choice.columns`; None unless `ok`.
        grids: those that divided the plane, see `Choice.grids`.
        samples: a few of the images that were trained on; None unless `ok`.
    """

    row: dict[str, Any]
    curve: list[dict[str, Any]]
    selection: dict[str, list[Any]] | None
    grids: list[dict[str, Any]]
    samples: Samples | None


class SelectionTrial:
    """A trial as a chain of units of work.

    Args:
        config: what to do.
        data: the images, on the device to run on; of all classes.
        on_warning: told of training images that are left out, in one line.

    Raises:
        UserError: the configuration does not fit the data.

    Attributes:
        choice: the choice of the images.
        samples: a few of the images that networks train on; None as long as none are chosen.
        seconds: spent on the choice (`clustering`), the network that gives features (`network`)
            and the networks trained on what was chosen (`evaluation`).
    """

    def __init__(
        self,
        config: SelectionConfig,
        data: ImageData,
        on_warning: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.config = config = config.resolved()
        self.data = data = with_classes(data, config.classes)
        self.choice = Choice(config, data, on_warning=on_warning)
        self.seconds = {"clustering": 0.0, "network": 0.0, "evaluation": 0.0}
        # Built at once with images that will do, to find out whether the network fits them.
        self._evaluation = self._new_evaluation(data.train_images[:2], data.train_labels[:2])
        self._n_epochs = self._evaluation.epochs_left
        self._n_trained_on: int | None = None
        self.samples: Samples | None = None
        self._clock = (0.0, 0)  # seconds and epochs of the evaluation in this process

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.choice.done and self._evaluation.done

    @property
    def place(self) -> str:
        """Where the trial stands, for a message."""
        if not self.choice.done:
            return "the choice of images"
        return f"epoch {self._epochs_done + 1} of {self._n_epochs}"

    @property
    def curve(self) -> list[dict[str, Any]]:
        """One record of `CURVE_COLUMNS` per classifier and epoch."""
        evaluation = self._evaluation
        return evaluation.curve if isinstance(evaluation, ClassifierEvaluation) else []

    @property
    def scores(self) -> dict[str, list[float]]:
        """What every finished network scored, under `SCORE_NAMES`."""
        scores = self._evaluation.scores
        own = asdict(scores) if isinstance(scores, Scores) else scores
        return {name: own.get(name, []) for name in SCORE_NAMES}

    @property
    def _epochs_done(self) -> int:
        return self._n_epochs - self._evaluation.epochs_left

    def advance(self) -> None:
        """Does one unit of work: an epoch, or the choice.

        Raises:
            InfeasibleClusteringError: the clustering finds nothing to choose from.
            DivergedError: a training loss is not a finite number.
        """
        start = time.perf_counter()
        if self.choice.done:
            part = "evaluation"
            self._evaluation.run_epoch()
        else:
            epoch = self.choice.advance()
            part = "network" if epoch is not None else "clustering"
            if epoch is None:
                self._evaluation = self._new_evaluation(*self._training_set())
        seconds = time.perf_counter() - start
        self.seconds[part] += seconds
        if part == "evaluation":
            self._clock = (self._clock[0] + seconds, self._clock[1] + 1)

    def _training_set(self) -> tuple[Tensor, Tensor]:
        """Returns the (n, c, h, w) uint8 images that networks train on, and (n,) labels.

        The images chosen, or for the augmentation selector what is made of them.
        """
        images, labels = self.choice.chosen()
        if self.config.selector == "augmentation":
            images, labels = self._augmented(images, labels)
        self._n_trained_on = len(images)
        self.samples = sample(images, labels, self.data.class_names)
        return images, labels

    def _augmented(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(derive_seed(self.config.seed, "augmentation"))
        if self.config.protocol == "published":  # they were drawn several times
            return transform_at_random(images, generator, published=True), labels
        copies = int(self.config.augment_copies or 1)
        transformed = transform_at_random(images.repeat(copies, 1, 1, 1), generator)
        if self.config.augment_mode == "replace":
            return transformed, labels.repeat(copies)
        return torch.cat([images, transformed]), labels.repeat(copies + 1)

    def _new_evaluation(self, images: Tensor, labels: Tensor) -> Evaluation | ClassifierEvaluation:
        config, data = self.config, self.data
        if config.recipe == "classifier":
            return ClassifierEvaluation(
                config,
                data,
                images,
                labels,
                n_whole=len(data.train_images) - self.choice.pool.n_duplicates,
                seen=self._seen(),
            )
        theirs = _as_distillation(config)
        return evaluation_of(
            theirs,
            data,
            network_for(theirs, data, theirs.network, torch.Generator()),
            images.float() / 255,
            labels,
            n_networks=config.n_eval,
            purpose="coreset",
        )

    def _seen(self) -> Tensor | None:
        """Returns which test images were chosen to train on, where that can be."""
        if self.config.protocol == "sound" or not self.choice.done:
            return None
        seen = seen_images(self.data.test_images, self.choice.chosen()[0])
        return seen.to(self.data.test_images.device)

    def counts(self) -> dict[str, Any]:
        """Returns `COUNT_COLUMNS`."""
        counts: dict[str, Any] = dict.fromkeys(COUNT_COLUMNS)
        counts |= self.choice.counts()
        counts["n_trained_on"] = self._n_trained_on
        if self.curve:
            counts["n_steps"] = self.curve[-1]["n_steps"]
        return counts

    def progress(self) -> Progress:
        """Returns where the trial stands; epochs count by their images, the choice as nothing."""
        config, choice = self.config, self.choice
        features = choice.n_epochs * len(choice.pool.rows), (config.feature_epochs or 0)
        size = self._epoch_size()
        done = features[0] + self._epochs_done * size
        total = features[1] * len(choice.pool.rows) + self._n_epochs * size
        last = self.curve[-1] if self.curve else None
        accuracy = last["val_accuracy"] if last else None
        seconds, n_epochs = self._clock
        per_epoch = seconds / n_epochs if n_epochs else None
        return Progress(
            outer=self._epochs_done,
            n_outer=self._n_epochs,
            fraction=done / total,
            matching_loss=last["train_loss"] if last else None,
            accuracy=accuracy,
            accuracy_outer=None if accuracy is None else self._epochs_done,
            evaluating=False,
            seconds_per_outer=per_epoch,
            seconds_left=None if per_epoch is None else per_epoch * self._evaluation.epochs_left,
        )

    def _epoch_size(self) -> int:
        """Images that an epoch of training on the chosen ones takes, as far as it is known."""
        config = self.config
        if config.equal_steps:
            n_whole = len(self.data.train_images) - self.choice.pool.n_duplicates
            return n_batches_of(n_whole, config.batch_size) * config.batch_size
        if self._n_trained_on is not None:
            return self._n_trained_on
        n = sum(self.choice.quotas)
        if config.selector == "augmentation":
            return n * (int(config.augment_copies or 1) + (config.augment_mode == "add"))
        if config.selector == "cluster_grid" and config.protocol == "published":
            return n * self.data.n_classes * int(config.n_clusters or 1)
        return n

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns what is needed to go on between two units of work."""
        choice_tensors, choice_values = self.choice.state()
        tensors = {f"choice/{name}": tensor for name, tensor in choice_tensors.items()}
        values: dict[str, Any] = {
            **whose_state(self.config, self.data),
            "choice": choice_values,
            "evaluation": None,
            "seconds": self.seconds,
        }
        if self.choice.done:
            own_tensors, values["evaluation"] = self._evaluation.state()
            tensors |= {f"evaluation/{name}": tensor for name, tensor in own_tensors.items()}
        return tensors, values

    def load_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Goes on from what `state` returned for an equal configuration and data set.

        Raises:
            UserError: the state belongs to another configuration or to other images.
        """
        check_whose_state(values, self.config, self.data)
        self.seconds = dict(values["seconds"])
        self.choice.load_state(without_prefix("choice/", tensors), values["choice"])
        if self.choice.done:
            self._evaluation = self._new_evaluation(*self._training_set())
            self._evaluation.load_state(
                without_prefix("evaluation/", tensors), values["evaluation"]
            )


def _as_distillation(config: SelectionConfig) -> DistillationConfig:
    """Returns the distillation's configuration, resolved, whose evaluation a trial borrows."""
    return DistillationConfig(
        dataset=config.dataset,
        image_size=config.image_size,
        val_fraction=config.val_fraction,
        network=config.network,
        width=config.width,
        depth=int(config.depth or 1),
        eval_split=config.eval_split,
        eval_epochs=config.eval_epochs,
        seed=config.seed,
    ).resolved()


def run_selection(
    config: SelectionConfig,
    data: ImageData,
    *,
    checkpoint_folder: Folder | None = None,
    checkpoint_seconds: float = 5.0,
    on_progress: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    on_warning: Callable[[str], None] = lambda _: None,
) -> SelectionResult:
    """Runs a trial of the second paper, or what is left of it, to its end.

    Args:
        config: what to do.
        data: the images, on the device to run on; of all classes.
        checkpoint_folder: as for `distill.trials.distillation.run_trial`, like all that follow.
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
        lambda: SelectionTrial(config, data, on_warning),
        checkpoint_folder=checkpoint_folder,
        checkpoint_seconds=checkpoint_seconds,
        on_progress=on_progress,
        should_stop=should_stop,
        on_warning=on_warning,
    )
    trial = run.work
    row = {
        **run.identity_columns(config),
        **_result_columns(config, trial, ok=run.status == "ok"),
        **run.origin_columns(trial.data if trial is not None else data),
    }
    curve = trial.curve if trial is not None else []
    if trial is None or run.status != "ok":
        return SelectionResult(row=row, curve=curve, selection=None, grids=[], samples=None)
    return SelectionResult(
        row=row,
        curve=curve,
        selection=trial.choice.columns(),
        grids=trial.choice.grids(),
        samples=trial.samples,
    )


def _result_columns(
    config: SelectionConfig, trial: SelectionTrial | None, *, ok: bool
) -> dict[str, Any]:
    """Returns the result columns, always all of them; those that do not exist are None.

    Args:
        config: of the trial.
        trial: None if it could not even start.
        ok: whether it has come to its end.
    """
    scores = trial.scores if trial is not None and ok else {name: [] for name in SCORE_NAMES}
    columns: dict[str, Any] = dict(score_columns(scores, config.eval_split))
    for name in ("seen", "unseen"):
        mean, std = mean_and_std(scores[f"{name}_accuracies"])
        columns |= {f"test_{name}_accuracy_mean": mean, f"test_{name}_accuracy_std": std}
    seconds = trial.seconds if trial is not None else {}
    parts = ("clustering", "network", "evaluation")
    return {
        **columns,
        "n_networks": len(scores["accuracies"]),
        "network_scores": {config.network: scores},
        **(trial.counts() if trial is not None else dict.fromkeys(COUNT_COLUMNS)),
        **{f"{part}_seconds": seconds.get(part) for part in parts},
    }
