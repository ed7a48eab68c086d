"""Synthetic images that start from a distilled or chosen set in files."""

import torch
from torch import Tensor

from distill.config.distillation import ResolvedDistillation
from distill.datasets import ImageData
from distill.errors import UserError, shortened
from distill.evaluation.planned_set import fitted_set_of, stored_set_of
from distill.sets.small_set import SmallSet


def start_set_of(config: ResolvedDistillation, data: ImageData) -> SmallSet:
    """Returns the set that a trial starts from, fitted to the data set; its factor is the trial's.

    Raises:
        UserError: it has another number of images a class or another factor than the trial; or see
            `stored_set_of` and `fitted_set_of`.
    """
    name = config.start_set
    assert name is not None
    stored = stored_set_of(config, name)
    counts = torch.bincount(stored.labels).tolist()
    few, many = min(counts), max(counts)
    factor = stored.factor or config.factor  # files of other codes do not say theirs
    if few != many and few > 0:  # empty classes have a message of their own
        raise UserError(
            f"a distillation starts from equally many images of every class, but those of the set "
            f"{shortened(name)} have {few} to {many}"
        )
    if (many, factor) != (config.ipc, config.factor):
        known = f"factor {factor}" if stored.factor else "no factor noted"
        raise UserError(
            f"the set {shortened(name)} has {many} images of a class and {known}, the trial ipc "
            f"{config.ipc} and factor {config.factor}; start from it with --ipc {many} "
            f"--factor {factor}"
        )
    return fitted_set_of(config, stored, data, factor)


def images_of_start(config: ResolvedDistillation, data: ImageData) -> Tensor:
    """Returns the (n_classes, ipc, c, h, w) float32 images of the set, clamped to [0, 1].

    Raises:
        UserError: see `start_set_of`.
    """
    small = start_set_of(config, data)
    by_class = [small.images[small.labels == label] for label in range(data.n_classes)]
    return torch.stack(by_class).clamp(0, 1).to(data.train_images.device)
