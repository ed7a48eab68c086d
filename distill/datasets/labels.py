"""Labels as files hold them, and the classes that they stand for.

Labels are compared by value: the string `"2"` is the class of the whole number 2, wherever it
stands in the sorted list of classes. Whole numbers are positions in a list of class names only
where the files have such a list.
"""

import decimal
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.errors import AdvisedError, UserError

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
"""A label that may number a class, as Python writes it."""

Label = int | str
"""A label in its plain form; a bool is one of the whole numbers, named True or False."""


@dataclass(frozen=True, kw_only=True)
class LabelledFile:
    """The labels of one file.

    Attributes:
        path: of the file, for messages.
        labels: one per image, in plain form.
        rows: their rows in the file.
        class_names: names in the file's metadata; None if it has none.
        is_training: whether its images are for training.
    """

    path: str
    labels: Sequence[Label]
    rows: Sequence[int]
    class_names: tuple[str, ...] | None
    is_training: bool


@dataclass(frozen=True, kw_only=True)
class Classes:
    """The classes of a data set.

    Attributes:
        names: in label order.
        declared: whether files list the names, so that whole numbers are positions in the list.
        source: what they are the classes of, for messages.
    """

    names: tuple[str, ...]
    declared: bool
    source: str


def plain_label(value: Any) -> Label | None:
    """Returns a label in plain form; None where it is missing (null, NaN, an empty list).

    Args:
        value: of a cell: a whole number (also as float or decimal), a bool, a string, or a list of
            one of these.

    Raises:
        ValueError: it is anything else.

    Example:
        >>> plain_label([3.0]), plain_label("cat"), plain_label(float("nan"))
        (3, 'cat', None)
    """
    if isinstance(value, list):
        if len(value) > 1:
            raise ValueError(f"{len(value)} labels {value!r}, but there must be one label an image")
        return plain_label(value[0]) if value else None
    if isinstance(value, float | decimal.Decimal):
        if value != value:  # NaN
            return None
        if value in (float("inf"), float("-inf")) or value != int(value):
            raise ValueError(f"the label {value} must be a whole number")
        return int(value)
    if value is None or isinstance(value, int | str):
        return value
    raise ValueError(f"the label {value!r} must be a whole number or a string")


def classes_of(files: Sequence[LabelledFile]) -> Classes:
    """Returns the class names in the metadata of the files, else those of the training labels.

    Raises:
        UserError: files list different names, or training labels are of several kinds.
    """
    source = files[0].path if len(files) == 1 else "the training files"
    declaring = [file for file in files if file.class_names is not None]
    for file in declaring[1:]:
        if file.class_names != declaring[0].class_names:
            raise UserError(
                f"the class names of {declaring[0].path} and {file.path} differ: "
                f"{_difference(declaring[0].class_names or (), file.class_names or ())}"
            )
    if declaring:
        return Classes(names=_distinct(declaring[0]), declared=True, source=source)
    training = [file for file in files if file.is_training]
    seen = {label for file in training for label in file.labels}
    if not seen:
        raise UserError(
            f"{source} holds no images" if len(files) == 1 else "there are no training images"
        )
    if all(isinstance(label, str) for label in seen):
        names = tuple(sorted(str(label) for label in seen))
        return Classes(names=names, declared=False, source=source)
    numbers = [label for label in seen if isinstance(label, int)]
    if len(numbers) < len(seen):
        raise UserError("the training files mix whole numbers and strings as labels")
    n_rows = sum(len(file.labels) for file in training)
    if max(numbers) >= n_rows:  # probably an identifier
        images = "images" if len(files) == 1 else "training images"
        raise AdvisedError(
            f"the labels of {source} go up to {max(numbers)}, but there are only {n_rows} "
            f"{images}: labels must number the classes from 0",
            " (label=COLUMN chooses another column)",
        )
    if all(isinstance(label, bool) for file in training for label in file.labels):
        return Classes(names=("False", "True"), declared=False, source=source)
    names = tuple(str(n) for n in range(max(numbers) + 1))
    return Classes(names=names, declared=False, source=source)


def class_labels(file: LabelledFile, classes: Classes) -> NDArray[np.int64]:
    """Returns the (n,) labels of a file as indices into the class names.

    Raises:
        UserError: a label is of no class, or could be of two.
    """
    if file.class_names is None and classes.declared:
        _check_readings_agree(file, classes.names)
    index: dict[Label, int] = {name: label for label, name in enumerate(classes.names)}
    if classes.declared:
        index.update({label: label for label in range(len(classes.names))})
    elif classes.names == ("False", "True"):
        index.update({0: 0, 1: 1})
    else:
        index.update({int(n): i for i, n in enumerate(classes.names) if _is_number(n)})
    try:
        return np.fromiter((index[label] for label in file.labels), np.int64, len(file.labels))
    except KeyError as error:
        label = error.args[0]
    place = f"{file.path} row {file.rows[list(file.labels).index(label)]}"
    if isinstance(label, int) and all(_is_number(name) for name in classes.names):
        first, last = classes.names[0], classes.names[-1]
        if [int(name) for name in classes.names] == list(range(len(classes.names))):
            raise UserError(
                f"{place}: label {label} must be in {first} … {last}, "
                f"there are {len(classes.names)} classes"
            )
    elif isinstance(label, int) and classes.declared:
        raise UserError(
            f"{place}: label {label} must be in 0 … {len(classes.names) - 1}, "
            f"there are {len(classes.names)} classes"
        )
    raise UserError(
        f"{place}: label {label!r} is not among the classes of {classes.source}: "
        f"{_shortened(classes.names)}"
    )


def present_classes(
    labels: NDArray[np.int64], names: tuple[str, ...]
) -> tuple[NDArray[np.int64], tuple[str, ...], str | None]:
    """Returns labels and names without the classes that have no image, and a notice of these.

    Args:
        labels: (n,) int64 of all splits, n at least 1.
        names: in label order.
    """
    counts = np.bincount(labels, minlength=len(names))
    if counts.all():
        return labels, names, None
    present = np.flatnonzero(counts)
    numbers = np.cumsum(counts > 0) - 1
    absent = tuple(names[label] for label in np.flatnonzero(counts == 0))
    kept = tuple(names[label] for label in present)
    notice = (
        f"{len(absent)} of {len(names)} classes have no images and are left out "
        f"({_shortened(absent, 5)}); the classes are {_shortened(kept)}"
    )
    return numbers[labels].astype(np.int64), kept, notice


def _is_number(name: str) -> bool:
    return _NUMBER.fullmatch(name) is not None


def _check_readings_agree(file: LabelledFile, names: tuple[str, ...]) -> None:
    """Checks the whole numbers of a file without class names against the names of other files.

    Raises:
        UserError: a number is the name of one class and the position of another.
    """
    values = {name: label for label, name in enumerate(names)}
    for label in dict.fromkeys(file.labels):
        named = values.get(str(label)) if isinstance(label, int) else None
        if named is not None and named != label:
            row = file.rows[list(file.labels).index(label)]
            raise UserError(
                f"{file.path} row {row}: label {label} may be the class named {str(label)!r} or "
                f"the one at position {label}; give files that all have, or all lack, class names"
            )


def _distinct(file: LabelledFile) -> tuple[str, ...]:
    names = file.class_names or ()
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{file.path}: its metadata names the class {twice!r} twice")
    return names


def _difference(one: Sequence[str], other: Sequence[str]) -> str:
    """Describes the first difference of two lists of class names."""
    for label, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return f"label {label} is {a!r} in the first and {b!r} in the second"
    return f"the first has {len(one)} and the second {len(other)}"


def _shortened(names: Iterable[str], n_shown: int = 10) -> str:
    listed = list(names)
    return ", ".join(listed[:n_shown]) + (", …" if len(listed) > n_shown else "")
