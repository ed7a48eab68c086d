"""Defaults by data set, for fields whose default is not the same everywhere.

They follow IDC (Kim et al., ICML 2022), DREAM (Liu et al., ICCV 2023) and paper 1, which swapped
clusterings inside DREAM; where they differ, paper 1 wins.
"""

from typing import Any

DATASETS = ("digits", "mnist_5k", "cifar10", "cifar100", "mnist", "fashion_mnist", "svhn")
"""Data sets that are chosen by name; `parquet:PATH` and `folder:PATH` are read from files."""

PAPER_DEFAULTS: dict[str, Any] = {
    "n_representatives": 128,
    "factor": 2,
    "n_outer": 1000,
    "n_inner": 100,
    "metric": "mse",
    "width": 128,
    "n_net_batches": 16,
    "eval_epochs": 1000,
    "eval_every": 50,
    "eval_lr": 0.01,
    "eval_augment": "color_crop_flip_scale_rotate",
}
"""Defaults of every data set for which `DATASET_DEFAULTS` has no other."""

_NO_FLIP = "color_crop_scale_rotate"
DATASET_DEFAULTS: dict[str, dict[str, Any]] = {
    "svhn": {"eval_augment": _NO_FLIP},
    "mnist": {"metric": "l1", "eval_augment": _NO_FLIP},
    "mnist_5k": {"metric": "l1", "eval_augment": _NO_FLIP},
    "fashion_mnist": {"metric": "l1"},
    # The embedded data set: sizes that two CPU cores finish in about a minute. Not published.
    "digits": {
        "n_representatives": 64,
        "factor": 1,
        "metric": "l1",
        "n_outer": 4,
        "n_inner": 75,
        "width": 32,
        "n_net_batches": 12,
        "eval_epochs": 300,
        "eval_every": 1,
        "eval_lr": 0.1,
        "eval_augment": _NO_FLIP,
    },
}

_LR_IMG = {"mnist": 1e-4, "mnist_5k": 1e-4, "fashion_mnist": 1e-4, "digits": 3e-4}
_LR_IMG_ELSE = 5e-3
"""At ipc 10 and the native size; from there it grows with ipc and with the area, as in IDC."""
_NATIVE_SIZES = {"mnist": 28, "mnist_5k": 28, "fashion_mnist": 28, "digits": 8}
_NATIVE_SIZE_ELSE = 32


def dataset_defaults(dataset: str) -> dict[str, Any]:
    """Returns the defaults that depend on the data set, by field or option."""
    return PAPER_DEFAULTS | DATASET_DEFAULTS.get(dataset, {})


def default_lr_img(dataset: str, ipc: int, image_size: int | None) -> float:
    """Returns the learning rate of the synthetic images, proportional to ipc and to the area."""
    area = 1.0
    if image_size is not None:
        area = (image_size / _NATIVE_SIZES.get(dataset, _NATIVE_SIZE_ELSE)) ** 2
    return _LR_IMG.get(dataset, _LR_IMG_ELSE) * ipc / 10 * area
