"""The work of a selection: features, the selection of images, training on them.

Where a trial selects a fraction, images are counted as shares of all training images: their number
is known from the data only. The price of a share comes from trials on the same data.
"""

from collections.abc import Iterable
from typing import Any

from distill.clustering.registry import CLUSTERERS
from distill.config.selection import SelectionConfig
from sweeps.cost.model import CostModel, Group, Values

_DATA = ("dataset", "classes", "image_size", "val_fraction", "test_fraction")
_NETWORK = (*_DATA, "network", "width", "depth")
_SELECTION = (*_DATA, "choosing_selector", "embedding", "clusterer", "center")

COST_GROUPS: dict[str, tuple[Group, ...]] = {
    "clustering": (
        (
            *(*_SELECTION, CLUSTERERS, "n_clusters", "pca_dim", "grid_size"),
            *("fraction", "ipc"),
        ),
        (*_SELECTION, "fraction", "ipc"),
        _SELECTION,
    ),
    "network": ((*_NETWORK, "batch_size"), _NETWORK),
    "evaluation": (
        (*_NETWORK, "recipe", "counts_shares", "batch_size", "protocol"),
        (*_NETWORK, "recipe", "counts_shares", "batch_size"),
        (*_NETWORK, "recipe", "counts_shares"),
    ),
}
"""What a part's price depends on, from the narrowest group of trials to the widest."""

_BLIND = ("base", "random")
"""Selectors that do not use the images: they take no time."""

_FORWARD = 1 / 3
"""Cost of scoring an image, as a share of that of training on it: no gradients."""

_CALIBRATION_FRACTIONS = (0.02, 0.1)
"""Two sizes, to separate the costs that every trial has once."""


def _derived(values: Values) -> dict[str, Any]:
    augmented = values["augment_selector"] or "random"  # null in rows from before the option
    is_augmentation = values["selector"] == "augmentation"
    return {
        "counts_shares": values["ipc"] is None,
        "choosing_selector": augmented if is_augmentation else values["selector"],
    }


def _units(values: Values) -> dict[str, tuple[float, int]]:
    """Returns the work of each part, in units of equal cost within its widest group, and bases."""
    n_eval = values["n_eval"]
    epochs = values["epochs"] if values["recipe"] == "classifier" else values["eval_epochs"]
    return {
        "clustering": (float(values["choosing_selector"] not in _BLIND), 1),
        "network": (float((values["feature_epochs"] or 0) + _brief_epochs(values)), 1),
        "evaluation": (n_eval * epochs * _per_epoch(values), n_eval),
    }


def _brief_epochs(values: Values) -> int:
    """Returns the epochs of the networks that are briefly trained for the difficulty."""
    return int((values["el2n_networks"] or 0) * (values["el2n_epochs"] or 0))


def _per_epoch(values: Values) -> float:
    """Returns the images of an epoch: a class of them, or shares of all training images."""
    if values["ipc"] is not None:
        return float(values["ipc"])
    trained, held_out = _share(values), float(values["val_fraction"])
    if values["protocol"] == "published":
        return trained + _FORWARD * float(values["test_fraction"])
    if held_out:  # statistics of the batch norms are taken before every score
        trained *= 1 + _FORWARD
    return trained + _FORWARD * held_out


def _share(values: Values) -> float:
    if values["equal_steps"] or values["fraction"] is None:
        return 1.0
    share = float(values["fraction"])
    if values["selector"] == "augmentation":
        share *= values["augment_copies"] + (values["augment_mode"] == "add")
    if values["selector"] == "cluster_grid" and values["protocol"] == "published":
        share *= values["n_clusters"] * (len(values["classes"]) or 2)  # of each class and cluster
    return share


def _shortened(config: SelectionConfig) -> Iterable[SelectionConfig]:
    """Yields short trials, whatever the seed: one epoch on few images, after the same selection.

    Selectors that take no time are tried with two small fractions in place of their own.
    """
    config = config.replace(seed=0, n_eval=1, equal_steps=False)
    if config.resolve()["feature_epochs"]:
        config = config.replace(feature_epochs=1)
    uses_images = config.selector not in _BLIND
    if config.recipe == "distillation":
        for n_epochs in (4,) if uses_images else (4, 40):
            yield config.replace(eval_epochs=n_epochs)
    elif uses_images or config["ipc"] is not None:
        yield config.replace(epochs=1)
    else:
        for fraction in _CALIBRATION_FRACTIONS:
            yield config.replace(selector="random", fraction=fraction, epochs=1)


SELECTION = CostModel(
    groups=COST_GROUPS,
    work_fields=(
        *("n_eval", "epochs", "eval_epochs", "feature_epochs", "equal_steps"),
        *("el2n_networks", "el2n_epochs"),
        *("selector", "augment_selector", "augment_copies", "augment_mode"),
        *("fraction", "ipc", "protocol", "n_clusters"),
    ),
    derived=_derived,
    units=_units,
    shortened=_shortened,
)
