"""The work of an evaluation: choosing images, a teacher, networks that are trained on the set.

Images are counted by their number in a class; all real images, whose number is known from the data
only, as one share. A teacher that is trained already takes no time, so plans are priced too high
rather than too low.
"""

from collections.abc import Iterable
from typing import Any

from distill.config.evaluation import EvaluationConfig
from distill.config.sets import SETS
from sweeps.cost.model import CostModel, Group, Values

_DATA = ("dataset", "classes", "image_size", "val_fraction", "test_fraction", "train_per_class")
_NETWORK = (*_DATA, "network", "width", "depth")
_CHOICE = (*_DATA, "choice", "embedding", "clusterer", "ipc")
_TRAINING = (*_NETWORK, "counts_all", "eval_batch_size")

COST_GROUPS: dict[str, tuple[Group, ...]] = {
    "clustering": (_CHOICE, (*_DATA, "choice"), _DATA),
    "network": ((*_NETWORK, "teacher_network"), _DATA),
    "evaluation": (
        (*_TRAINING, "labels", "eval_augment", "teacher_network"),
        (*_TRAINING, "labels"),
        _TRAINING,
    ),
}
"""What a part's price depends on, from the narrowest group of trials to the widest."""

_SHORT, _LONG = 4, 40
"""Epochs of short trials on few images, to separate the costs that every network has once."""


def _derived(values: Values) -> dict[str, Any]:
    name = values["set"]
    return {"choice": name if name in SETS else "file", "counts_all": name == "all"}


def _units(values: Values) -> dict[str, tuple[float, int]]:
    """Returns the work of each part, in units of equal cost within its widest group, and bases."""
    n_eval = values["n_eval"]
    epochs = values["all_epochs"] or values["eval_epochs"]
    images = 1 if values["counts_all"] else values["ipc"] * (values["factor"] or 1) ** 2
    before = (values["teacher_epochs"] or 0) + (values["feature_epochs"] or 0)
    return {
        "clustering": (1.0, 1),
        "network": (float(before), 1),
        "evaluation": (float(n_eval * epochs * images), n_eval),
    }


def _shortened(config: EvaluationConfig) -> Iterable[EvaluationConfig]:
    """Yields short trials, whatever the seed: one network, few epochs, the same choice."""
    config = config.replace(seed=0, n_eval=1)
    resolved = config.resolve()
    for name in ("teacher_epochs", "feature_epochs"):
        if resolved[name]:
            config = config.replace(**{name: 1})
    if config.set == "all":
        yield config.replace(all_epochs=1)
        return
    for n_epochs in (_SHORT, _LONG):
        yield config.replace(eval_epochs=n_epochs)


EVALUATION = CostModel(
    groups=COST_GROUPS,
    work_fields=(
        *("set", "n_eval", "all_epochs", "eval_epochs", "ipc", "factor"),
        *("teacher_epochs", "feature_epochs"),
    ),
    derived=_derived,
    units=_units,
    shortened=_shortened,
)
"""The cost model of evaluations."""
