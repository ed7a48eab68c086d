"""Texts of titles, labels and file names."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Any

from distill.errors import printable

DATASET_LABELS = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "mnist": "MNIST",
    "mnist_5k": "MNIST, 5,000 images",
    "fashion_mnist": "Fashion-MNIST",
    "svhn": "SVHN",
}


def dataset_label(dataset: str) -> str:
    """Returns the printed name of a data set: a known name, or the names of its files.

    Of files whose names begin with the same words only these are printed.

    Example:
        >>> dataset_label("parquet:cifar10-train.parquet,cifar10-test.parquet")
        'parquet cifar10'
    """
    source, colon, paths = dataset.partition(":")
    if not colon:
        return DATASET_LABELS.get(dataset, dataset)
    names = [printable(path.rstrip("/").split("/")[-1]) for path in paths.split(",")]
    if len(names) > 1:
        words = zip(*(re.split(r"[-_. ]", name) for name in names), strict=False)
        shared = [first for first, *_ in takewhile(lambda at: len(set(at)) == 1, words)]
        names = ["-".join(shared)] if shared else names
    return f"{source} {' + '.join(names)}"


def dataset_word(dataset: str) -> str:
    """Returns a data set in one word for file names: its name, or `files`."""
    return "files" if ":" in dataset else dataset


def images_per_class(n: int) -> str:
    """Returns `1 image a class`, `10 images a class`."""
    return f"{n} image{'' if n == 1 else 's'} a class"


def value_text(value: Any) -> str:
    """Returns a value of a setting as titles and notes print it."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return printable(str(value))


def setting_texts(values: Mapping[str, Any]) -> list[str]:
    """Returns fields and their values: `n_outer 1,000`; those without a value are left out."""
    return [f"{name} {value_text(value)}" for name, value in values.items() if value is not None]


def options_text(options: Iterable[tuple[str, Any]]) -> str:
    """Returns options as tables print them: `eps 15, min_samples 2`; words stand alone."""
    return ", ".join(
        value if isinstance(value, str) else f"{name} {value:g}" for name, value in options
    )


def file_stem(parts: Iterable[str], tail: Mapping[str, Any]) -> str:
    """Returns a name for files: lower-case letters, digits and hyphens.

    Args:
        parts: of the name.
        tail: what distinguishes it from other names with the same parts; ends in a hash of it.
    """
    stem = re.sub(r"[^a-z0-9]+", "-", "-".join(filter(None, parts)).lower()).strip("-")
    if not tail:
        return stem
    content = json.dumps(dict(tail), sort_keys=True, default=str)
    return f"{stem}-{hashlib.sha256(content.encode()).hexdigest()[:6]}"
