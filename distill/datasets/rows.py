"""Encoded images of a source, and their split into parts."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distill.errors import UserError

Picture = bytes | Path | NDArray[np.uint8] | None
"""An encoded image, the path of a file, (h, w) or (h, w, 3) pixels, or None if it is missing."""


OnCorrupt = Literal["error", "skip", "keep"]
"""What to do with images that cannot be decoded whole: stop, leave them out, or keep what decodes.

`skip` and `keep` also leave out images without a label and classes without images.
"""


class Part(IntEnum):
    """Part of the data that an image belongs to."""

    TRAIN = 0
    VAL = 1
    TEST = 2


PART_NAMES = {Part.TRAIN: "training", Part.VAL: "validation", Part.TEST: "test"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Labelled images in a fixed order; n rows.

    Attributes:
        labels: (n,) int64, indices into `class_names`.
        parts: (n,) int8, a `Part` for every row.
        class_names: in label order.
        batches: starts a pass over the pictures in row order; yields (place, picture) pairs, where
            the place identifies the picture in messages.
        mean_std: published mean and standard deviation of each channel, of pixels scaled to
            [0, 1]; None if the data set has none.
        notices: what the user should know about how the source was read, one line each.
    """

    labels: NDArray[np.int64]
    parts: NDArray[np.int8]
    class_names: tuple[str, ...]
    batches: Callable[[], Iterator[list[tuple[str, Picture]]]]
    mean_std: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    notices: tuple[str, ...] = ()


def validation_as_test(rows: Rows) -> Rows:
    """Returns the rows with the validation images as the test images."""
    parts = np.where(rows.parts == Part.VAL, np.int8(Part.TEST), rows.parts).astype(np.int8)
    return dataclasses.replace(rows, parts=parts)


def split_rows(
    rows: Rows,
    *,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    train_per_class: int | None = None,
) -> Rows:
    """Returns the rows with a test part and, if `val_fraction` is above 0, a validation part.

    A part of the source is kept. Otherwise it is drawn from the training rows, class by class:
    first the test part, then the validation part from the remaining rows, so that the test images
    do not depend on `val_fraction`. A part gets round(fraction · n) of the n images of a class
    (halves up). The draw depends only on the seed, the part, the class and n: neither on other
    classes nor on the version of a library (NumPy guarantees the raw stream of PCG64).

    Args:
        rows: rows to split.
        val_fraction: share of the training rows for validation, in [0, 1); 0 for none.
        test_fraction: share of the rows for the test part, in (0, 1).
        seed: seed of the draw, at least 0.
        train_per_class: training rows of each class to keep after that, drawn at random; classes
            with fewer keep all, and a notice says so. None: all.

    Raises:
        UserError: there are no training rows, or a class is too small to be split.
    """
    if not np.any(rows.parts == Part.TRAIN):
        raise UserError("there are no training images")
    parts = rows.parts.copy()
    for part, fraction in ((Part.TEST, test_fraction), (Part.VAL, val_fraction)):
        if fraction > 0 and not np.any(parts == part):
            _hold_out(parts, rows, part, fraction, seed)
    split = dataclasses.replace(rows, parts=parts)
    return split if train_per_class is None else _with_fewer(split, train_per_class, seed)


def _with_fewer(rows: Rows, train_per_class: int, seed: int) -> Rows:
    """Returns the rows with at most so many training rows of each class."""
    kept = np.ones(len(rows.labels), dtype=bool)
    short = []
    for label, class_name in enumerate(rows.class_names):
        members = np.flatnonzero((rows.parts == Part.TRAIN) & (rows.labels == label))
        if len(members) < train_per_class:
            short.append(f"{class_name!r} ({len(members)})")
        kept[members[_shuffled(len(members), seed, Part.TRAIN, label)[train_per_class:]]] = False

    def batches() -> Iterator[list[tuple[str, Picture]]]:
        row = 0
        for batch in rows.batches():
            yield [pair for pair, keep in zip(batch, kept[row:], strict=False) if keep]
            row += len(batch)

    notices = rows.notices
    if short:
        shown = ", ".join(short[:5]) + (", …" if len(short) > 5 else "")
        notices += (
            f"{len(short)} of {len(rows.class_names)} classes have fewer than {train_per_class} "
            f"training images and keep all: {shown}",
        )
    return dataclasses.replace(
        rows, labels=rows.labels[kept], parts=rows.parts[kept], batches=batches, notices=notices
    )


def _shuffled(n: int, seed: int, part: Part, label: int) -> NDArray[np.intp]:
    """Returns the numbers 0 … n − 1 in an order that depends on nothing but the arguments."""
    stream = np.random.PCG64(np.random.SeedSequence([seed, part, label]))
    return np.argsort(stream.random_raw(n), kind="stable")


_SHARES = {Part.VAL: "--val-fraction", Part.TEST: "--test-fraction"}
"""Option of the share of the training images that a part gets."""


def _hold_out(parts: NDArray[np.int8], rows: Rows, part: Part, fraction: float, seed: int) -> None:
    """Moves a share of every class from the training part to `part`, in place."""
    for label, class_name in enumerate(rows.class_names):
        members = np.flatnonzero((parts == Part.TRAIN) & (rows.labels == label))
        n_held_out = int(np.floor(fraction * len(members) + 0.5))
        if len(members) and not 0 < n_held_out < len(members):
            raise UserError(
                f"class {class_name!r} has too few images ({len(members)}) to hold out "
                f"{fraction:g} of them for the {PART_NAMES[part]} set: the split would leave "
                f"{n_held_out} there and {len(members) - n_held_out} for training; choose another "
                f"share ({_SHARES[part]}), or leave the class out (--classes)"
            )
        order = _shuffled(len(members), seed, part, label)
        parts[members[order[:n_held_out]]] = part


def check_classes(
    train_labels: NDArray[np.int64], n_test: int, class_names: tuple[str, ...]
) -> None:
    """Checks that every class has a training image and that there are test images.

    Args:
        train_labels: (n,) int64 labels of the training images.
        n_test: number of test images.
        class_names: names in label order.

    Raises:
        UserError: there is one class only, a class has no training image, or there is no test
            image.
    """
    if len(class_names) == 1:
        raise UserError(
            f"all images are of one class ({class_names[0]!r}); at least two classes are needed"
        )
    counts = np.bincount(train_labels, minlength=len(class_names))
    empty = [repr(class_names[label]) for label in np.flatnonzero(counts == 0)]
    if empty:
        shown = ", ".join(empty[:5]) + (", …" if len(empty) > 5 else "")
        raise UserError(
            f"every class needs training images: {len(empty)} of {len(class_names)} classes "
            f"have none ({shown})"
        )
    if n_test == 0:
        raise UserError("the test set is empty")
