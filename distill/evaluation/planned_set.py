"""The small set that a configuration names, as it was when the trial was planned."""

import torch

from distill.config.distillation import ResolvedDistillation
from distill.config.evaluation import ResolvedEvaluation
from distill.config.sets import set_numbers
from distill.datasets import ImageData
from distill.errors import UserError, shortened
from distill.sets.content import content_hash
from distill.sets.pixel_range import Constants
from distill.sets.read import read_set
from distill.sets.small_set import SmallSet, fit_set
from distill.sets.stored import StoredSet

SetConfig = ResolvedDistillation | ResolvedEvaluation
"""The configurations that have the options of sets in files."""


def stored_set_of(config: SetConfig, name: str) -> StoredSet:
    """Returns the set in some files, as they store it.

    Args:
        config: gives `set_hash` and `repetition`.
        name: path of the set.

    Raises:
        UserError: it is not the set that was planned, or see `read_set`.
    """
    found = content_hash(name)
    if found != config["set_hash"]:
        raise UserError(
            f"the set {shortened(name)} has changed: its hash is {found}, that of the trial "
            f"{config['set_hash']}; run the command again to take it as it is now"
        )
    return read_set(name, config["repetition"])


def fitted_set_of(config: SetConfig, stored: StoredSet, data: ImageData, factor: int) -> SmallSet:
    """Returns a stored set fitted to the data set.

    Args:
        config: gives `set_range`, `set_mean` and `set_std`.
        stored: what `stored_set_of` returned.
        data: see `fit_set`.
        factor: parts along each side of a multi-formation.

    Raises:
        UserError: see `fit_set`.
    """
    constants = None
    if config["set_mean"]:
        mean, std = (torch.tensor(set_numbers(config, name)) for name in ("set_mean", "set_std"))
        constants = Constants("set_mean and set_std", mean, std)
    return fit_set(
        stored, data, factor=factor, pixel_range=config["set_range"], constants=constants
    )
