"""An evaluation: networks are trained on a small set, whoever made it, and tested.

The set is read from files, or as many real images are chosen; the recipe, the networks' initial
weights and the order of their batches are the same for all sets at a seed, so that sets can be
compared in pairs. Units of work are the epochs of a network whose features images are compared by,
the choice, the statistics of the set, the epochs of the teacher, and those of each network.
"""

import json
import time
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from distill.augment.siamese import Augmentation
from distill.config.evaluation import EvaluationConfig, ResolvedEvaluation
from distill.datasets import ImageData
from distill.evaluation.label_losses import SoftLabelLoss
from distill.evaluation.recipe import SET_PURPOSE, evaluation_of, network_for
from distill.evaluation.scores import Evaluation, score_columns
from distill.evaluation.set_statistics import SetStatistics, set_statistics
from distill.evaluation.sgd import BatchLoss, cross_entropy_loss
from distill.evaluation.teacher import Teacher
from distill.kinds import CLUSTER_COLUMNS, CLUSTER_SIZE_COLUMNS, KINDS
from distill.networks.precision import precision_of
from distill.runtime.execution import AUTOMATIC, Execution
from distill.selection.samples import sample
from distill.trials.base import (
    Progress,
    Result,
    Trial,
    Warn,
    ignore,
    with_prefix,
    without_prefix,
)
from distill.trials.distilled_files import (
    distilled_table,
    read_distilled,
    to_uint8,
    with_soft_labels,
)
from distill.trials.image_selection import ImageSelection, cap_notices
from distill.trials.image_sheet import sheet_png
from distill.trials.training_sets import (
    TrainingSet,
    selection_of,
    set_notices,
    small_set_of,
    training_set_of,
)

RESULT_COLUMNS = tuple(KINDS[EvaluationConfig.kind].result_columns)
"""Columns of the row beside those of all kinds."""

_PARTS = {"clustering": 0.0, "network": 0.0, "evaluation": 0.0}


class EvaluationTrial(Trial):
    """An evaluation as a chain of units of work; see `Trial`.

    Attributes:
        seconds: spent on the choice of real images and the statistics (`clustering`), on networks
            that give features or labels (`network`) and on those that are tested (`evaluation`).
    """

    unused_execution = ("batching",)

    def __init__(
        self,
        config: ResolvedEvaluation,
        data: ImageData,
        *,
        execution: Execution = AUTOMATIC,
        on_warning: Warn = ignore,
    ) -> None:
        self.config = config
        self.data = data
        self.execution = execution
        self.seconds = dict(_PARTS)
        self._selection: ImageSelection | None = None
        self._set: TrainingSet | None = None
        if config.is_file:
            small = small_set_of(config, data)
            self._set = training_set_of(
                small, data.train_images.device, with_weights=config.trains_with_weights
            )
        else:
            self._selection = ImageSelection(
                selection_of(config), data, shares_network=True, on_warning=on_warning
            )
        carries_soft = self._set is not None and self._set.soft is not None
        needs_teacher = config.labels == "teacher" or (config.labels == "soft" and not carries_soft)
        self.teacher = Teacher(config, data, execution) if needs_teacher else None
        self.statistics: SetStatistics | None = None
        self._evaluation: Evaluation | None = None
        self._n_epochs = config.n_eval * config.epochs
        self._clock = (0.0, 0)  # seconds and epochs of the evaluation in this process
        # Finds out at once whether the network fits the images, and the augmentation exists.
        network_for(config, data, config.network, torch.Generator())
        Augmentation(strategy=config.eval_augment)

    @classmethod
    def check(cls, config: ResolvedEvaluation, data: ImageData) -> None:
        """Checks that a configuration can be run on a data set; raises a UserError."""
        cls(config, data)

    @classmethod
    def notices(cls, config: ResolvedEvaluation, data: ImageData) -> list[str]:
        """Returns what was found in the files of a set, and where it departs from the usual.

        Of real images which classes give fewer than asked for.
        """
        if not config.is_file:
            return cap_notices(selection_of(config), data)
        small = small_set_of(config, data)
        lines = set_notices(config.set, small, data)
        counts = torch.bincount(small.labels, minlength=data.n_classes)
        if int(counts.min()) < int(counts.max()):
            lines.append(
                f"set {config.set}: its classes have {int(counts.min())} to {int(counts.max())} "
                f"images; real images beside it have {int(counts.max())} each"
            )
        if config.labels == "soft" and small.soft is None:
            lines.append(f"set {config.set}: it carries no soft labels; a teacher gives them")
        return lines

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self._evaluation is not None and self._evaluation.done

    @property
    def place(self) -> str:
        """The step it is in, for messages."""
        if self._set is None:
            return "the selection of images"
        if self.statistics is None:
            return "the statistics of the set"
        if self.teacher is not None and not self.teacher.done:
            return f"the teacher, {self.teacher.epochs_left} epochs before its end"
        return f"epoch {self._epochs_done + 1} of {self._n_epochs}"

    @property
    def _epochs_done(self) -> int:
        if self._evaluation is None:
            return 0
        return self._n_epochs - self._evaluation.epochs_left

    def advance(self) -> None:
        """Does one unit of work.

        Raises:
            InfeasibleClusteringError: a clustering finds nothing to choose from.
            DivergedError: the loss of a network that gives features is not a finite number.
        """
        start = time.perf_counter()
        part = self._advance()
        seconds = time.perf_counter() - start
        if part is None:
            return
        self.seconds[part] += seconds
        if part == "evaluation":
            self._clock = (self._clock[0] + seconds, self._clock[1] + 1)

    def _advance(self) -> str | None:
        """Does one unit of work; returns the part that it belongs to, None for waiting."""
        if self._set is None:
            assert self._selection is not None
            self._selection.advance()
            if not self._selection.done:
                return None if self._selection.waited else "network"
            self._set = self._chosen()
            return "clustering"
        if self.statistics is None:
            self.statistics = set_statistics(self._set.images, self._set.labels, self.data)
            return "clustering"
        if self.teacher is not None and not self.teacher.done:
            return "network" if self.teacher.run_epoch() else None
        if self._evaluation is None:
            self._evaluation = self._new_evaluation()
        self._evaluation.run_epoch()
        return "evaluation"

    def _chosen(self) -> TrainingSet:
        """Returns the real images that were chosen."""
        assert self._selection is not None
        images, labels = self._selection.chosen()
        return TrainingSet(
            images=images,
            labels=labels,
            soft=None,
            n_stored=len(labels),
            weights=self._selection.weights(),
        )

    def _new_evaluation(self) -> Evaluation:
        config, data, training = self.config, self.data, self._set
        assert training is not None
        loss, labels = self._loss(training)
        return evaluation_of(
            config,
            data,
            network_for(config, data, config.network, torch.Generator()),
            training.images,
            labels,
            n_networks=config.n_eval,
            purpose=SET_PURPOSE,  # not its name: sets at a seed are paired
            execution=self.execution,
            epochs=config.epochs,
            loss=loss,
            weights=training.weights,
        )

    def _loss(self, training: TrainingSet) -> tuple[BatchLoss, Tensor]:
        """Returns the loss of a batch and the labels that it takes."""
        config = self.config
        if config.labels == "hard":
            return cross_entropy_loss, training.labels
        per_view = self.teacher if config.labels == "teacher" else None
        loss = SoftLabelLoss(
            hard=training.labels,
            soft=None if per_view is not None else self._fixed_labels(training),
            teacher=None if per_view is None else per_view.network,
            name=config["label_loss"],
            temperature=config["temperature"] or 1.0,
            hard_share=config["hard_share"] or 0.0,
        )
        return loss, torch.arange(len(training.labels), device=training.labels.device)

    def _fixed_labels(self, training: TrainingSet) -> Tensor:
        """Returns the set's own soft labels, else the teacher's for each image as it is."""
        if training.soft is not None:
            return training.soft
        assert self.teacher is not None
        return self.teacher.logits(training.images)

    def progress(self) -> Progress:
        """Returns how far it is; epochs count by their images, the rest as nothing."""
        selection, teacher = self._selection, self.teacher
        n_train, size = len(self.data.train_images), self._epoch_size()
        done = total = 0
        if selection is not None:
            done += selection.n_epochs * n_train
            total += selection.feature_epochs * n_train
        if teacher is not None:
            n_teacher = self.config["teacher_epochs"]
            done += (n_teacher - teacher.epochs_left) * n_train
            total += n_teacher * n_train
        done += self._epochs_done * size
        total += self._n_epochs * size
        evaluation = self._evaluation
        accuracies = evaluation.scores.accuracies if evaluation is not None else []
        seconds, n_epochs = self._clock
        per_epoch = seconds / n_epochs if n_epochs else None
        left = self._n_epochs - self._epochs_done
        return Progress(
            step=self._epochs_done,
            n_steps=self._n_epochs,
            fraction=done / total,
            accuracy=sum(accuracies) / len(accuracies) if accuracies else None,
            accuracy_step=self._epochs_done if accuracies else None,
            evaluating=True,
            seconds_per_step=per_epoch,
            seconds_left=None if per_epoch is None else per_epoch * left,
        )

    def _epoch_size(self) -> int:
        """Returns the images of an epoch."""
        if self._set is not None:
            return len(self._set.labels)
        assert self._selection is not None
        return sum(self._selection.quotas)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns what is needed to resume between two units of work."""
        tensors: dict[str, Tensor] = {}
        values: dict[str, Any] = {
            "seconds": self.seconds,
            "statistics": None if self.statistics is None else list(self.statistics),
        }
        for name in ("selection", "teacher", "evaluation"):
            part = getattr(self, name if name == "teacher" else f"_{name}")
            part_tensors, values[name] = ({}, None) if part is None else part.state()
            tensors |= with_prefix(f"{name}/", part_tensors)
        return tensors, values

    def load_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Resumes from what `state` returned for an equal configuration and data set."""
        self.seconds = dict(values["seconds"])
        if self._selection is not None:
            self._selection.load_state(without_prefix("selection/", tensors), values["selection"])
            self._set = self._chosen() if self._selection.done else None
        if values["statistics"] is not None:
            self.statistics = SetStatistics(*values["statistics"])
        if self.teacher is not None:
            self.teacher.load_state(without_prefix("teacher/", tensors), values["teacher"])
        self._evaluation = None
        if values["evaluation"] is not None:
            self._evaluation = self._new_evaluation()
            self._evaluation.load_state(
                without_prefix("evaluation/", tensors), values["evaluation"]
            )

    def result_columns(self, *, is_ok: bool) -> dict[str, Any]:
        """Returns scores, statistics of the set, the teacher and seconds; see `distill.kinds`."""
        evaluation = self._evaluation
        scores: dict[str, list[float]] = {}
        if is_ok and evaluation is not None:
            found = evaluation.scores
            scores = {
                "accuracies": found.accuracies,
                "balanced_accuracies": found.balanced_accuracies,
                "best_accuracies": found.best_accuracies,
                "losses": found.losses,
            }
        columns: dict[str, Any] = dict(score_columns(scores, self.config.eval_split))
        if evaluation is not None:
            columns["precision"] = precision_of(evaluation.network)
            columns["correct_images"] = evaluation.correct if is_ok else None
        if self._selection is not None:
            counts = self._selection.counts()
            columns |= {n: counts.get(n) for n in (*CLUSTER_COLUMNS, *CLUSTER_SIZE_COLUMNS)}
        return {
            **columns,
            "n_networks": len(scores.get("accuracies", [])),
            "network_scores": {self.config.network: scores} if scores else {},
            **self._set_columns(),
            **{f"{part}_seconds": spent for part, spent in self.seconds.items()},
        }

    def _set_columns(self) -> dict[str, Any]:
        """Returns what there is of `RESULT_COLUMNS`."""
        columns: dict[str, Any] = dict.fromkeys(RESULT_COLUMNS)
        if self._set is not None:
            columns["n_stored"] = self._set.n_stored
            columns["n_trained_on"] = len(self._set.labels)
        if self.statistics is not None:
            columns |= self.statistics._asdict()
        if self.config.labels != "hard":
            columns["labels_from"] = "set" if self.teacher is None else "teacher"
        if self.teacher is not None:
            columns["teacher_accuracy"] = self.teacher.accuracy
            columns["teacher_recipe"] = json.dumps(self.teacher.recipe)
        return columns

    @classmethod
    def extra_files(cls, config: ResolvedEvaluation, result: Result) -> dict[str, bytes]:
        """Returns a picture of a few of the images that were trained on."""
        del config
        return {"samples.png": sheet_png(*read_distilled(result.artifacts["samples"])[:3])}

    def artifacts(self) -> dict[str, pa.Table]:
        """Returns `samples`, a few of the images that were trained on, and `labelled`.

        `labelled` are all of them with the teacher's fixed soft labels (column `soft_label`), a set
        that can be judged again; only where there are such labels, and not of all real images.
        """
        assert self._set is not None
        training, config = self._set, self.config
        images = training.images
        if images.is_floating_point():  # uint8 as such: all real images would be copied
            images = to_uint8(images)
        metadata = {"trial_id": config.trial_id}
        few = sample(images, training.labels, self.data.class_names)
        tables = {"samples": distilled_table(*few, metadata=metadata)}
        if config.labels == "soft" and self.teacher is not None and config.set != "all":
            table = distilled_table(
                images.cpu(), training.labels.cpu(), self.data.class_names, metadata=metadata
            )
            soft = self.teacher.logits(training.images).softmax(dim=1)
            tables["labelled"] = with_soft_labels(table, soft)
        return tables
