"""The images of a source before they are decoded, and how they are split."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill.errors import UserError

Picture = bytes | Path | NDArray[np.uint8] | None
"""An encoded image, a file that holds one, (h, w) or (h, w, 3) pixels, or nothing at all."""


class Part(IntEnum):
    """What an image is used for."""

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
            the place is what an error message calls the picture.
        mean_std: the published mean and standard deviation of each channel, of pixels scaled to
            [0, 1], where the data set has them.
    """

    labels: NDArray[np.int64]
    parts: NDArray[np.int8]
    class_names: tuple[str, ...]
    batches: Callable[[], Iterator[list[tuple[str, Picture]]]]
    mean_std: tuple[tuple[float, ...], tuple[float, ...]] | None = None


def split_rows(rows: Rows, *, val_fraction: float, test_fraction: float, seed: int) -> Rows:
    """Returns the rows with a test part, and a validation part if one is wanted.

    A part that the source has itself is kept as it is. Otherwise it is drawn from the training
    rows, class by class: first the test part, then the validation part from what is left, so that
    the test images do not depend on `val_fraction`. Of a class with n images, round(fraction · n)
    go (halves up). The draw depends on the seed, the part, the class and n, on nothing else: not
    on other classes, nor on a library's version (NumPy promises the raw stream of PCG64).

    Args:
        rows: what to split.
        val_fraction: share of the training rows for validation, in [0, 1); 0 for none.
        test_fraction: share of the rows for the test part, in (0, 1).
        seed: not negative.

    Raises:
        UserError: there are no training rows, or a class is too small to be split.
    """
    if not np.any(rows.parts == Part.TRAIN):
        raise UserError("there are no training images")
    parts = rows.parts.copy()
    for part, fraction in ((Part.TEST, test_fraction), (Part.VAL, val_fraction)):
        if fraction > 0 and not np.any(parts == part):
            _hold_out(parts, rows, part, fraction, seed)
    return dataclasses.replace(rows, parts=parts)


def _hold_out(parts: NDArray[np.int8], rows: Rows, part: Part, fraction: float, seed: int) -> None:
    """Moves a share of every class from the training part to `part`, in place."""
    for label, class_name in enumerate(rows.class_names):
        members = np.flatnonzero((parts == Part.TRAIN) & (rows.labels == label))
        n_held_out = int(np.floor(fraction * len(members) + 0.5))
        if len(members) and not 0 < n_held_out < len(members):
            raise UserError(
                f"class {class_name!r} has too few images ({len(members)}) to hold out "
                f"{fraction:g} of them for the {PART_NAMES[part]} set: the split would leave "
                f"{n_held_out} there and {len(members) - n_held_out} for training"
            )
        stream = np.random.PCG64(np.random.SeedSequence([seed, part, label]))
        order = np.argsort(stream.random_raw(len(members)), kind="stable")
        parts[members[order[:n_held_out]]] = part


def check_classes(
    train_labels: NDArray[np.int64], n_test: int, class_names: tuple[str, ...]
) -> None:
    """Raises a UserError where a class has no training image, or where nothing is left to test."""
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
