"""A selection: choose real images, train networks on them, score.

Units of work are the epochs of the network whose features images are compared by (where they are),
the selection itself, and the epochs of each network that is trained on what was selected.

Under the sound protocol images are selected among the training images, without those that the test
or validation set also holds; the validation images, where there are any, are scored after every
epoch; the images of `eval_split` give the result after the last one, and test images are used for
nothing else. The published protocol is paper 2's: scores on the test images after every epoch, no
check for copies, and for the cluster grid a selection among all images (see `distill.selection`).

With the recipe `distillation` the selected images are evaluated as distilled images are
(`evaluation.scores`): the rows of real images, coresets, that papers print beside distilled sets.
"""

import json
import time
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from distill.augment.photo_transforms import transform_at_random
from distill.config.distillation import DistillationConfig, ResolvedDistillation
from distill.config.seeds import derive_seed
from distill.config.selection import ResolvedSelection, SelectionConfig
from distill.datasets import ImageData
from distill.errors import UserError
from distill.evaluation.classifier import n_batches_of
from distill.evaluation.classifier_evaluation import SCORE_NAMES, ClassifierEvaluation
from distill.evaluation.recipe import evaluation_of, network_for
from distill.evaluation.saved_network import network_bytes
from distill.evaluation.scores import Evaluation, Scores, mean_and_std, score_columns
from distill.kinds import CLUSTER_COLUMNS, CLUSTER_SIZE_COLUMNS, KINDS
from distill.networks.precision import precision_of
from distill.networks.registry import NETWORKS
from distill.runtime.execution import AUTOMATIC, Execution
from distill.selection.pool import seen_images
from distill.selection.samples import Samples, sample
from distill.trials.base import (
    Progress,
    Result,
    Trial,
    Warn,
    ignore,
    with_prefix,
    without_prefix,
)
from distill.trials.distilled_files import distilled_table, read_distilled
from distill.trials.image_selection import ImageSelection, cap_notices
from distill.trials.image_sheet import sheet_png

CURVE_COLUMNS = tuple(KINDS[SelectionConfig.kind].curve_columns)
"""Columns of the curve: one record per classifier and epoch; none with recipe `distillation`."""

COUNT_COLUMNS = (
    *(n for n in KINDS[SelectionConfig.kind].result_columns if not n.startswith("test_")),
    *CLUSTER_COLUMNS,
    *CLUSTER_SIZE_COLUMNS,
)
"""Columns of the row that count: images to select from and those left out because they are held
out, too; images selected, distinct ones, test images among these; images trained on (with
transformed ones) and steps of a classifier; occupied cells of the grid and images that filled up;
clusters, the share of the largest and of noise; the share of the variance in the plane; how well
the images nearest to centers stand for their class; how the sizes of clusters are distributed. None
where there is nothing to count.
"""


class SelectionTrial(Trial):
    """A selection as a chain of units of work; see `Trial`.

    Attributes:
        selection: the selection of the images.
        samples: a few of the images that networks train on; None as long as none are chosen.
        seconds: spent on the selection (`clustering`), the network that gives features (`network`)
            and the networks trained on what was selected (`evaluation`).
    """

    unused_execution = ("batching",)

    def __init__(
        self,
        config: ResolvedSelection,
        data: ImageData,
        *,
        execution: Execution = AUTOMATIC,
        on_warning: Warn = ignore,
    ) -> None:
        self.config = config
        self.data = data
        self.execution = execution
        self.selection = ImageSelection(config, data, on_warning=on_warning)
        self.seconds = {"clustering": 0.0, "network": 0.0, "evaluation": 0.0}
        # Built at once with images that will do, to find out whether the network fits them.
        self._evaluation = self._new_evaluation(data.train_images[:2], data.train_labels[:2])
        self._n_epochs = self._evaluation.epochs_left
        self._n_trained_on: int | None = None
        self.samples: Samples | None = None
        self._clock = (0.0, 0)  # seconds and epochs of the evaluation in this process

    @classmethod
    def check(cls, config: ResolvedSelection, data: ImageData) -> None:
        """Checks that a configuration can be run on a data set; raises a UserError."""
        cls(config, data)

    @classmethod
    def notices(cls, config: ResolvedSelection, data: ImageData) -> list[str]:
        """Returns a line about classes that give fewer images than asked for."""
        return cap_notices(config, data)

    @classmethod
    def unused_execution_options(cls, config: Any) -> tuple[str, ...]:
        """Returns `batching`, which is of matching; of a classifier also graphs and precision."""
        if config.recipe == "classifier":
            return (*cls.unused_execution, "graphs", "precision")
        return cls.unused_execution

    @classmethod
    def check_network_saving(cls, config: Any, data: ImageData | None) -> None:
        """Checks that epochs are scored on images that are not those of the result."""
        if config.recipe != "classifier":
            raise UserError(
                f"--save-network applies to recipe 'classifier' only, got {config.recipe!r}; "
                "leave it out"
            )
        is_sound = config.protocol == "sound"  # paper 2 chose the epoch by its test images
        if is_sound and data is not None and len(data.val_images) == 0:
            raise UserError(
                "--save-network saves the network of the best epoch on validation images, but "
                "there are none; set val_fraction, for example to 0.1"
            )

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.selection.done and self._evaluation.done

    @property
    def place(self) -> str:
        """The step it is in, for messages."""
        if not self.selection.done:
            return "the selection of images"
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
        by_name = asdict(scores) if isinstance(scores, Scores) else scores
        return {name: by_name.get(name, []) for name in SCORE_NAMES}

    @property
    def _epochs_done(self) -> int:
        return self._n_epochs - self._evaluation.epochs_left

    def advance(self) -> None:
        """Does one unit of work: an epoch, or the selection.

        Raises:
            InfeasibleClusteringError: the clustering finds nothing to choose from.
            DivergedError: a training loss is not a finite number.
        """
        start = time.perf_counter()
        if self.selection.done:
            part = "evaluation"
            self._evaluation.run_epoch()
        else:
            part = self._advance_selection()
        seconds = time.perf_counter() - start
        self.seconds[part] += seconds
        if part == "evaluation":
            self._clock = (self._clock[0] + seconds, self._clock[1] + 1)

    def _advance_selection(self) -> str:
        """Does one unit of work of the selection; returns the part that it belongs to."""
        self.selection.advance()
        if not self.selection.done:
            return "network"
        self._evaluation = self._evaluation_of_chosen()
        return "clustering"

    def _training_set(self) -> tuple[Tensor, Tensor]:
        """Returns the (n, c, h, w) uint8 images that networks train on, and (n,) labels.

        The images chosen, or for the augmentation selector what is made of them.
        """
        images, labels = self.selection.chosen()
        if self.config.selector == "augmentation":
            images, labels = self._augmented(images, labels)
        self._n_trained_on = len(images)
        self.samples = sample(images, labels, self.data.class_names)
        return images, labels

    def _augmented(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(derive_seed(self.config.seed, "augmentation"))
        if self.config.protocol == "published":  # they were drawn several times
            return transform_at_random(images, generator, published=True), labels
        copies = self.config["augment_copies"]
        transformed = transform_at_random(
            images.repeat(copies, 1, 1, 1), generator, contrast=self.config["augment_contrast"]
        )
        if self.config["augment_mode"] == "replace":
            return transformed, labels.repeat(copies)
        return torch.cat([images, transformed]), labels.repeat(copies + 1)

    def _evaluation_of_chosen(self) -> Evaluation | ClassifierEvaluation:
        return self._new_evaluation(*self._training_set(), self.selection.weights())

    def _new_evaluation(
        self, images: Tensor, labels: Tensor, weights: Tensor | None = None
    ) -> Evaluation | ClassifierEvaluation:
        config, data = self.config, self.data
        if config.recipe == "classifier":
            return ClassifierEvaluation(
                config,
                data,
                images,
                labels,
                n_whole=len(data.train_images) - self.selection.pool.n_duplicates,
                seen=self._seen(),
                keeps_best=self.execution.save_network,
                weights=weights,
            )
        recipe = _as_distillation(config)
        return evaluation_of(
            recipe,
            data,
            network_for(recipe, data, recipe.network, torch.Generator()),
            images.float() / 255,
            labels,
            n_networks=config.n_eval,
            purpose="coreset",
            execution=self.execution,
            weights=weights,
        )

    def _seen(self) -> Tensor | None:
        """Returns which test images were chosen to train on, where that can be."""
        if self.config.protocol == "sound" or not self.selection.done:
            return None
        seen = seen_images(self.data.test_images, self.selection.chosen()[0])
        return seen.to(self.data.test_images.device)

    def counts(self) -> dict[str, Any]:
        """Returns `COUNT_COLUMNS`."""
        counts: dict[str, Any] = dict.fromkeys(COUNT_COLUMNS)
        counts |= self.selection.counts()
        counts["n_trained_on"] = self._n_trained_on
        if self.curve:
            counts["n_steps"] = self.curve[-1]["n_steps"]
        return counts

    def progress(self) -> Progress:
        """Returns how far it is; epochs count by their images, the selection as nothing."""
        selection = self.selection
        n_pool = len(selection.pool.rows)
        size = self._epoch_size()
        done = selection.n_epochs * n_pool + self._epochs_done * size
        total = selection.feature_epochs * n_pool + self._n_epochs * size
        last = self.curve[-1] if self.curve else None
        accuracy = last["val_accuracy"] if last else None
        seconds, n_epochs = self._clock
        per_epoch = seconds / n_epochs if n_epochs else None
        return Progress(
            step=self._epochs_done,
            n_steps=self._n_epochs,
            fraction=done / total,
            loss=last["train_loss"] if last else None,
            accuracy=accuracy,
            accuracy_step=None if accuracy is None else self._epochs_done,
            seconds_per_step=per_epoch,
            seconds_left=None if per_epoch is None else per_epoch * self._evaluation.epochs_left,
        )

    def _epoch_size(self) -> int:
        """Images that an epoch of training on the chosen ones takes, as far as it is known."""
        config = self.config
        if config.equal_steps:
            n_whole = len(self.data.train_images) - self.selection.pool.n_duplicates
            return n_batches_of(n_whole, config.batch_size) * config.batch_size
        if self._n_trained_on is not None:
            return self._n_trained_on
        n = sum(self.selection.quotas)
        if config.selector == "augmentation":
            return n * int(config["augment_copies"] + (config["augment_mode"] == "add"))
        if config.selector == "cluster_grid" and config.protocol == "published":
            return n * self.data.n_classes * int(config["n_clusters"])
        return n

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns what is needed to resume between two units of work."""
        selection_tensors, selection_values = self.selection.state()
        tensors = with_prefix("selection/", selection_tensors)
        values: dict[str, Any] = {
            "selection": selection_values,
            "evaluation": None,
            "seconds": self.seconds,
        }
        if self.selection.done:
            evaluation_tensors, values["evaluation"] = self._evaluation.state()
            tensors |= with_prefix("evaluation/", evaluation_tensors)
        return tensors, values

    def load_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Resumes from what `state` returned for an equal configuration and data set."""
        self.seconds = dict(values["seconds"])
        self.selection.load_state(without_prefix("selection/", tensors), values["selection"])
        if self.selection.done:
            self._evaluation = self._evaluation_of_chosen()
            self._evaluation.load_state(
                without_prefix("evaluation/", tensors), values["evaluation"]
            )

    def result_columns(self, *, is_ok: bool) -> dict[str, Any]:
        """Returns scores, counts and seconds; see `distill.kinds`."""
        scores = self.scores if is_ok else {name: [] for name in SCORE_NAMES}
        columns: dict[str, Any] = dict(score_columns(scores, self.config.eval_split))
        for name in ("seen", "unseen"):
            mean, std = mean_and_std(scores[f"{name}_accuracies"])
            columns |= {f"test_{name}_accuracy_mean": mean, f"test_{name}_accuracy_std": std}
        return {
            **columns,
            "n_networks": len(scores["accuracies"]),
            "network_scores": {self.config.network: scores},
            "correct_images": self._evaluation.correct if is_ok else None,
            "precision": precision_of(self._evaluation.network),
            **self.counts(),
            **{f"{part}_seconds": spent for part, spent in self.seconds.items()},
        }

    def saved_network(self) -> bytes | None:
        """Returns the file of the network of the best epoch, if it was to be kept."""
        if not isinstance(self._evaluation, ClassifierEvaluation):
            return None
        return network_bytes(self._evaluation, self.config, self.data)

    @classmethod
    def extra_files(cls, config: ResolvedSelection, result: Result) -> dict[str, bytes]:
        """Returns a picture of a few of the images that were trained on."""
        del config
        return {"samples.png": sheet_png(*read_distilled(result.artifacts["samples"])[:3])}

    def artifacts(self) -> dict[str, pa.Table]:
        """Returns `selections` (what was selected from what) and `samples` (images trained on).

        `selections` has the columns of `ImageSelection.columns`; class names and grids are in its
        schema metadata under "distill".
        """
        if self.samples is None:
            return {}
        about = {"class_names": self.samples.class_names, "grids": self.selection.grids()}
        metadata = {"distill": json.dumps(about)}
        samples = distilled_table(*self.samples, metadata={"trial_id": self.config.trial_id})
        return {
            "selections": pa.table(self.selection.columns(), metadata=metadata),
            "samples": samples,
        }


def _as_distillation(config: ResolvedSelection) -> ResolvedDistillation:
    """Returns the configuration of the distillation whose evaluation a trial uses."""
    return DistillationConfig(
        dataset=config.dataset,
        image_size=config.image_size,
        val_fraction=config.val_fraction,
        network=config.network,
        **config.options_for(NETWORKS, config.network),
        eval_split=config.eval_split,
        eval_epochs=config["eval_epochs"],
        seed=config.seed,
    ).resolve()
