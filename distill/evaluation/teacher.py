"""A network trained on all real training images, whose outputs are soft labels.

Trained once for equal teachers (`distill.evaluation.shared_weights`).
"""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distill.config.evaluation import EvaluationConfig, ResolvedEvaluation
from distill.config.seeds import derive_seed
from distill.datasets import ImageData
from distill.evaluation.recipe import evaluation_of, network_for
from distill.evaluation.scores import TEST_CHUNK
from distill.evaluation.shared_weights import SharedWeights, cache_folder
from distill.networks.registry import NETWORKS
from distill.runtime.execution import AUTOMATIC, Execution

VERSION = 1
"""Part of the hash: raised when the same configuration would mean another teacher."""

_KIND = "teachers"

_RECIPE = (
    *("eval_batch_size", "eval_lr", "eval_momentum", "eval_weight_decay", "eval_augment"),
    *("cutmix_prob", "cutmix_beta", "eval_split"),
)
"""Fields that decide the weights and the accuracy beside network, epochs and seed."""


def teacher_folder() -> Path:
    """Returns the folder of the trained teachers."""
    return cache_folder() / _KIND


class Teacher:
    """Trains a teacher epoch by epoch, or takes one that is trained already.

    It has the network, epochs and seed that a configuration gives and else the default recipe of
    the data set, whatever that of its students is, on all training images with hard labels.

    Args:
        config: of the trial.
        data: the real images.
        execution: how the arithmetic is carried out.

    Attributes:
        network: the teacher; in eval mode once it is trained.
        recipe: the fields that it is trained by beside network, epochs and seed.
        accuracy: its own on the images of `eval_split`, in [0, 1]; None before it is trained.
    """

    def __init__(
        self, config: ResolvedEvaluation, data: ImageData, execution: Execution = AUTOMATIC
    ) -> None:
        self.network = network_for(config, data, config["teacher_network"], torch.Generator())
        self.accuracy: float | None = None
        self._normalize = data.normalize
        recipe = _recipe(config)
        self.recipe: dict[str, Any] = {name: recipe[name] for name in _RECIPE}
        self._evaluation = evaluation_of(
            recipe,
            data,
            self.network,
            data.train_images,
            data.train_labels,
            n_networks=1,
            purpose="teacher",
            execution=dataclasses.replace(execution, precision="auto"),  # all trials share it
            epochs=config["teacher_epochs"],
        )
        self._shared = SharedWeights(_KIND, _content(config, recipe, data))
        self._take_trained()

    @property
    def done(self) -> bool:
        """Whether it is trained."""
        return self.accuracy is not None

    @property
    def epochs_left(self) -> int:
        """Epochs that are still to run."""
        return 0 if self.done else self._evaluation.epochs_left

    def run_epoch(self) -> bool:
        """Trains for an epoch, or takes the weights that another trial has finished meanwhile.

        Returns:
            False where another trial trains it: this one has waited for a moment.
        """
        if self._take_trained():
            return True
        if not self._shared.hold():
            return False
        self._evaluation.run_epoch()
        if self._evaluation.done:
            self._finish(self._evaluation.scores.accuracies[0])
            self._shared.keep(self.network.state_dict(), {"accuracy": repr(self.accuracy)})
        return True

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Returns the (n, k) logits of images.

        Args:
            images: (n, c, h, w), floating point in [0, 1] or uint8, on the device of the data.
        """
        chunks = images.split(TEST_CHUNK)
        return torch.cat([self.network(self._normalize(chunk)) for chunk in chunks])

    def _finish(self, accuracy: float) -> None:
        self.accuracy = accuracy
        self.network.eval()
        self.network.requires_grad_(False)

    def _take_trained(self) -> bool:
        """Takes the weights that a trial has written; returns whether there are any."""
        trained = self._shared.take()
        if trained is None:
            return False
        self.network.load_state_dict(trained.tensors)
        self._finish(float(trained.notes["accuracy"]))
        return True

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns what is needed to go on, as tensors and as values that JSON can hold."""
        if self.done:
            return dict(self.network.state_dict()), {"accuracy": self.accuracy}
        tensors, values = self._evaluation.state()
        return tensors, {"accuracy": None, "evaluation": values}

    def load_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Goes on from what `state` returned for an equal configuration and data set."""
        if self.done:
            return
        if values["accuracy"] is not None:
            self.network.load_state_dict(tensors)
            self._finish(values["accuracy"])
        else:
            self._evaluation.load_state(tensors, values["evaluation"])


def _recipe(config: ResolvedEvaluation) -> ResolvedEvaluation:
    """Returns the default recipe of a trial's data set, with the teacher's seed."""
    return EvaluationConfig(
        dataset=config.dataset,
        val_fraction=config.val_fraction,
        eval_split=config.eval_split,
        seed=derive_seed(config["teacher_seed"], "teacher"),
    ).resolve()


def _content(
    config: ResolvedEvaluation, recipe: ResolvedEvaluation, data: ImageData
) -> dict[str, Any]:
    """Returns all that decides the weights and the accuracy."""
    name = config["teacher_network"]
    return {
        "version": VERSION,
        "images": data.fingerprint,
        "normalisation": [data.mean.tolist(), data.std.tolist()],
        "network": [name, config.options_for(NETWORKS, name)],
        "epochs": config["teacher_epochs"],
        "seed": config["teacher_seed"],
        **{field: recipe[field] for field in _RECIPE},
    }
