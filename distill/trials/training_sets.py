"""What an evaluation trains on: the images of a set or chosen real ones, with their labels."""

from typing import NamedTuple

import torch
from torch import Tensor

from distill.config.evaluation import ResolvedEvaluation
from distill.config.selection import ResolvedSelection, SelectionConfig
from distill.config.sets import SELECTOR_OF
from distill.datasets import ImageData
from distill.dream.multiformation import decode
from distill.errors import UserError, shortened
from distill.evaluation.planned_set import fitted_set_of, stored_set_of
from distill.selection.pool import seen_images
from distill.sets.small_set import SmallSet
from distill.trials.distilled_files import to_uint8


class TrainingSet(NamedTuple):
    """Images to train on, on the device of the data; n images, k classes.

    Attributes:
        images: (n, c, h, w), uint8 or floating point with the range [0, 1].
        labels: (n,) int64.
        soft: (n, k) float32, whose softmax gives soft labels; None: the set carries none.
        n_stored: images that the set stores; n is factor² times as large.
        weights: (n,) by which they count in training; None: equally.
    """

    images: Tensor
    labels: Tensor
    soft: Tensor | None
    n_stored: int
    weights: Tensor | None


def small_set_of(config: ResolvedEvaluation, data: ImageData) -> SmallSet:
    """Returns the set in the files of a configuration, fitted to the data set.

    Raises:
        UserError: see `stored_set_of` and `fitted_set_of`; or it has another ipc.
    """
    stored = stored_set_of(config, config.set)
    if stored.ipc != config["ipc"]:
        raise UserError(
            f"the set {shortened(config.set)} has {stored.ipc} images of its largest class, "
            f"got ipc {config['ipc']}; leave ipc out"
        )
    return fitted_set_of(config, stored, data, config["factor"])


def training_set_of(
    small: SmallSet, device: torch.device, *, with_weights: bool = False
) -> TrainingSet:
    """Returns the training images that a set stores, those of a multi-formation enlarged.

    Args:
        small: the set.
        device: of the images.
        with_weights: whether they count by the weights of the set, a part by those of its image.

    Raises:
        UserError: they shall, and the set has none.
    """
    n_parts = small.factor**2
    soft, weights = small.soft, None
    if with_weights:
        if small.weights is None:
            raise UserError(f"the set carries no weights ({small.found}); use weights_in matching")
        weights = small.weights.repeat(n_parts).to(device)
    return TrainingSet(
        images=decode(small.images, small.factor).to(device),
        labels=small.labels.repeat(n_parts).to(device),
        soft=None if soft is None else soft.repeat(n_parts, 1).to(device),
        n_stored=len(small.labels),
        weights=weights,
    )


def set_notices(name: str, small: SmallSet, data: ImageData) -> list[str]:
    """Returns what a set is, and where it departs from the usual, one line each.

    Args:
        name: path of the set.
        small: the set.
        data: the data set.
    """
    lines = [f"set {name}: {small.found}"]
    n_test = int(seen_images(to_uint8(small.images), data.test_images.cpu()).sum())
    if n_test:
        lines.append(
            f"set {name}: {n_test} of its images are test images, pixel by pixel; its "
            "score is no measure of what networks learn from it"
        )
    if small.recipe_hints:
        lines.append(f"set {name}: its writer noted {', '.join(small.recipe_hints)}")
    return lines


def selection_of(config: ResolvedEvaluation) -> ResolvedSelection:
    """Returns the selection that chooses the real images of a trial.

    The same images as those of a selection trial with recipe `distillation`, the default network
    and the same seed, whatever network is trained here.
    """
    selector = SELECTOR_OF.get(config.set, config.set)
    values = {name: value for name, value in config.given_options if name != "all_epochs"}
    # Without the network: the choice has the default one, and none of the options of another.
    known = SelectionConfig.applicable({"selector": selector, **values})
    options = {name: value for name, value in values.items() if name in known}
    return SelectionConfig(
        **config.data_arguments(),
        on_small_class=config.on_small_class,
        weights_in=config.weights_in,
        eval_split=config.eval_split,
        seed=config.seed,
        selector=selector,
        recipe="distillation",
        network="convnet",
        **options,
    ).resolve()
