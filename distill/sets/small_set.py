"""A small set fitted to a data set: checked, in its classes and its range of pixels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distill.datasets import ImageData
from distill.errors import UserError
from distill.sets.pixel_range import Constants, PixelRange, to_unit
from distill.sets.stored import StoredSet

_MOST_NAMED = 3
"""Classes that a message names."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SmallSet:
    """A set to train on, on the CPU; n stored images, k classes.

    Attributes:
        images: (n, c, h, w) float32, range [0, 1]; learnt pixels may lie outside.
        labels: (n,) int64, in the order of the data set's classes.
        soft: (n, k) float32, whose softmax gives the soft labels; None: the set has none.
        weights: (n,) float32 with mean 1; None: the set has none.
        factor: parts along each side of a multi-formation, at least 1.
        found: one line that says what the set is.
        recipe_hints: how the writer trained on it, as `name value` texts.
    """

    images: Tensor
    labels: Tensor
    soft: Tensor | None
    weights: Tensor | None
    factor: int
    found: str
    recipe_hints: tuple[str, ...] = ()


def fit_set(
    stored: StoredSet,
    data: ImageData,
    *,
    factor: int | None = None,
    pixel_range: PixelRange | None = None,
    constants: Constants | None = None,
) -> SmallSet:
    """Returns a stored set in the classes and the range of a data set.

    Args:
        stored: as it was read.
        data: what networks that train on it are tested on.
        factor: parts along each side of a multi-formation; None: as the files say, else 1.
        pixel_range: see `to_unit`.
        constants: see `to_unit`.

    Raises:
        UserError: images, classes or their numbers do not fit the data set.
    """
    _check_shape(stored.images, data)
    order = _class_order(stored, data)
    labels = order[stored.labels]
    _check_counts(labels, data)
    images, described = to_unit(stored.images, data, pixel_range=pixel_range, given=constants)
    factor = factor or stored.factor or 1
    _check_factor(factor, data)
    soft = None
    if stored.soft is not None:
        soft = torch.empty_like(stored.soft)
        soft[:, order] = stored.soft
    size = "×".join(map(str, stored.images.shape[1:]))
    n, k = len(labels), data.n_classes
    label_text = "hard labels" if soft is None else f"soft labels ({stored.soft_kind})"
    parts = [
        stored.format,
        f"{n} images of {k} classes",
        size,
        described,
        label_text,
        *(["weights"] if stored.weights is not None else []),
        *([f"{factor}×{factor} images in each"] if factor > 1 else []),
        *stored.notes,
    ]
    return SmallSet(
        images=images,
        labels=labels,
        soft=soft,
        weights=_weights(stored.weights, labels),
        factor=factor,
        found=", ".join(parts),
        recipe_hints=tuple(f"{name} {value}" for name, value in sorted(stored.recipe.items())),
    )


def _check_shape(images: Tensor, data: ImageData) -> None:
    size, wanted = tuple(images.shape[2:]), data.image_size
    if size != wanted:
        side = f" {size[0]}" if size[0] == size[1] else " N"
        raise UserError(
            f"the images of the set are {size[0]}×{size[1]}, those of {data.name} "
            f"{wanted[0]}×{wanted[1]}; resize the data set to the set's size with "
            f"--image-size{side}"
        )
    if images.shape[1] != data.channels:
        kinds = {1: "grey", 3: "colour"}
        raise UserError(
            f"the images of the set are {kinds[images.shape[1]]}, those of {data.name} "
            f"{kinds[data.channels]}; store them alike"
        )


def _class_order(stored: StoredSet, data: ImageData) -> Tensor:
    """Returns the (k,) labels that the set's labels become.

    Raises:
        UserError: the classes are not those of the data set.
    """
    k, names = data.n_classes, stored.class_names
    largest = int(stored.labels.max())
    if stored.n_classes > k or largest >= k:
        raise UserError(
            f"the set has labels up to {max(largest, stored.n_classes - 1)}, {data.name} has {k} "
            f"classes (0 … {k - 1})"
        )
    if stored.soft is not None and stored.soft.shape[1] != k:
        raise UserError(
            f"the soft labels of the set are of {stored.soft.shape[1]} classes, {data.name} has {k}"
        )
    if names is None or tuple(names) == tuple(map(str, range(len(names)))):
        return torch.arange(k)
    unknown = [name for name in names if name not in data.class_names]
    if unknown:
        raise UserError(
            f"the set has classes that {data.name} has not: {_some(unknown)} (its classes: "
            f"{_some(data.class_names)})"
        )
    missing = [name for name in data.class_names if name not in names]
    if missing:
        raise UserError(
            f"the set has {len(names)} of the {k} classes of {data.name}; missing: "
            f"{_some(missing)}; choose the same with --classes"
        )
    return torch.tensor([data.class_names.index(name) for name in names])


def _check_counts(labels: Tensor, data: ImageData) -> None:
    counts = torch.bincount(labels, minlength=data.n_classes).tolist()
    empty = [name for name, n in zip(data.class_names, counts, strict=True) if n == 0]
    if empty:
        raise UserError(
            f"{len(empty)} of {data.n_classes} classes have no image in the set: {_some(empty)}"
        )
    available = Counter(data.train_labels.tolist())
    for label, n in enumerate(counts):
        if n > available[label]:
            raise UserError(
                f"the set has {n} images of class {data.class_names[label]!r}, {data.name} only "
                f"{available[label]} for training: it is no small set of it"
            )


def _check_factor(factor: int, data: ImageData) -> None:
    if factor > min(data.image_size):
        raise UserError(
            f"factor must be at most the {min(data.image_size)} pixels of a side, got {factor}"
        )


def _weights(weights: Tensor | None, labels: Tensor) -> Tensor | None:
    """Returns weights with mean 1 over the set: a class may count more, as its images may.

    Raises:
        UserError: they are not one finite, non-negative number for each image, or all are 0.
    """
    if weights is None:
        return None
    if weights.shape != labels.shape:
        raise UserError(f"there must be {len(labels)} weights, got {tuple(weights.shape)}")
    if not bool(weights.isfinite().all()) or bool((weights < 0).any()):
        raise UserError("weights must be finite and at least 0")
    weights = weights.double()
    for label in range(int(labels.max()) + 1):
        if not float(weights[labels == label].sum()) > 0:
            raise UserError(f"all weights of class {label} are 0")
    return (weights / weights.mean()).float()


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_MOST_NAMED])
    return shown + (", …" if len(names) > _MOST_NAMED else "")
