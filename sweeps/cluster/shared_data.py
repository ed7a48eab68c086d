"""Read the images of a sweep once and share them among the trials of a node.

A Ray task reads a data set and leaves it in the object store; every node that runs a trial fetches
it once, and the trials of that node map the same memory. If all nodes that have it are lost, Ray
runs the task again, and where no CPU is left for that, the trials read for themselves.
"""

import dataclasses
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ray
import torch

from distill.config.base import Config
from distill.datasets import ImageData
from distill.errors import UserError
from distill.runtime.execution import AUTOMATIC, Execution
from distill.trials.runner import check, load_images
from sweeps.cli.fields import without_seed_repetitions

DataKey = tuple[Any, ...]
"""The values of a configuration that decide which images it uses."""

FETCH_SECONDS = 60.0
"""Seconds that a trial waits for shared images before it reads them itself.

Ray reads lost images again by a task that needs a CPU, and waits for ever where every CPU belongs
to a trial that waits for the images.
"""

Arrays = dict[str, Any]
"""The fields of an `ImageData`, its tensors as NumPy arrays, which Ray shares without copies."""


def data_key(config: Config) -> DataKey:
    """Returns the values that decide which images a configuration uses."""
    return tuple(config.data_arguments().values())


def share_data(
    configs: Iterable[Config],
    data_root: str,
    resources: dict[str, float],
    *,
    execution: Execution = AUTOMATIC,
) -> dict[DataKey, "ray.ObjectRef[Arrays]"]:
    """Reads every data set that the configurations need, once, into the object store.

    Args:
        configs: the trials to come; each is checked against its images.
        data_root: folder of torchvision's data sets, on every node.
        resources: of a reading task, as Ray's options.
        execution: how the arithmetic of the trials is to be carried out.

    Raises:
        UserError: images cannot be read, or a configuration does not fit them.
    """
    by_key: dict[DataKey, list[Config]] = {}
    for config in without_seed_repetitions(configs):
        by_key.setdefault(data_key(config), []).append(config)
    read: Any = ray.remote(_read).options(num_returns=2, **resources)
    tasks = {
        # Relative paths of data sets start from the working folder.
        key: read.remote(same_data[0], same_data, data_root, str(Path.cwd()), execution)
        for key, same_data in by_key.items()
    }
    for key, (_, problem) in tasks.items():
        if message := ray.get(problem):
            raise UserError(f"{message} (data set {key[0]})")
    return {key: arrays for key, (arrays, _) in tasks.items()}


def fetch_data(
    shared: "ray.ObjectRef[Arrays]", config: Config, data_root: str, folder: str
) -> ImageData:
    """Returns the images of a trial, on the CPU: the shared ones, else read by this process.

    Args:
        shared: of `share_data`.
        config: of the trial.
        data_root: folder of torchvision's data sets.
        folder: that the paths of data sets start from, where it exists.
    """
    key = data_key(config)
    if key not in _read_here:
        try:
            return from_arrays(ray.get(shared, timeout=FETCH_SECONDS))
        except (ray.exceptions.GetTimeoutError, ray.exceptions.ObjectLostError):
            _read_here.clear()  # one data set at a time: they may be large
            arrays, _ = _read(config, [], data_root, folder, AUTOMATIC)
            if arrays is None:  # this node cannot read them: they come from elsewhere or never
                return from_arrays(ray.get(shared))
            _read_here[key] = arrays
    return from_arrays(_read_here[key])


_read_here: dict[DataKey, Arrays] = {}
"""Images that this process had to read itself, for its next trial."""


def _read(
    config: Config, configs: Sequence[Config], data_root: str, folder: str, execution: Execution
) -> tuple[Arrays | None, str | None]:
    """Returns the images of a configuration, and in one line what is wrong with them or None.

    Wrong is also a configuration that does not fit them.
    """
    if Path(folder).is_dir():
        os.chdir(folder)
    try:
        data = read_data(config, data_root)
        for checked in configs:
            check(checked, data, execution)
    except UserError as error:
        return None, str(error)
    return to_arrays(data), None


def read_data(config: Config, data_root: str) -> ImageData:
    """Returns the images of a configuration, on the CPU; raises a UserError like `load_images`."""
    return load_images(config, data_root=data_root)


def to_arrays(data: ImageData) -> Arrays:
    """Returns the fields of the images with NumPy arrays in place of tensors."""
    values = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
    return {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in values.items()}


def from_arrays(arrays: Arrays) -> ImageData:
    """Returns the images of `to_arrays`, on the CPU and without a copy."""
    with warnings.catch_warnings():
        # Shared memory is read-only; a trial never writes to its images.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensors = {
            name: torch.from_numpy(value)
            for name, value in arrays.items()
            if hasattr(value, "__array_interface__")
        }
    return ImageData(**(arrays | tensors))
