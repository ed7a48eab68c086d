"""Images of a trial, with their statistics, hashes and fingerprint."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from distill.errors import UserError, require_known

MIN_STD = 1 / 255
"""Smallest standard deviation, one grey level, so that a constant channel can be normalised."""

SIZE_RATIO = 10
"""How many times the smallest class the largest one has where a note says so."""

_CHUNK_PIXELS = 1 << 20  # pixels of a channel that are copied and counted at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageData:
    """Images of one trial: 8-bit, all on one device, split into three disjoint parts.

    Shapes: n images of a part, c channels (1 or 3), h height and w width in pixels.

    Attributes:
        name: name of the data set, as given to `load_dataset`.
        train_images: (n, c, h, w) uint8. Every class has at least one.
        train_labels: (n,) int64, indices into `class_names`.
        val_images: (n, c, h, w) uint8, held out of the training images; n may be 0.
        val_labels: (n,) int64.
        test_images: (n, c, h, w) uint8, n at least 1; never used to choose anything.
        test_labels: (n,) int64.
        class_names: one name per class, in label order.
        mean: (c,) float32, of pixels scaled to [0, 1]: published constants if the data set has
            them, else measured on `train_images`.
        std: (c,) float32, from the same source as `mean`; at least one grey level.
        fingerprint: SHA-256 (64 hexadecimal digits) of the shapes, pixels and labels of the three
            parts and of the class names. It does not depend on name, paths or device.
        n_corrupt: number of images that cannot be read, or not whole.
        corrupt: "place: reason" of the first 100 of those left out.
        n_damaged: number of these images that are kept as far as they decode.
        damaged: "place: reason" of the first 100 of those kept.
        notices: what the user should know about how the data set was read (which folder or file was
            taken for which split, what was left out), one line each; see `describe_notices`.

    Example:
        >>> from distill.datasets import load_dataset
        >>> data = load_dataset("digits", val_fraction=0.1)
        >>> data.n_classes, data.channels, data.image_size
        (10, 1, (8, 8))
        >>> len(data.train_images), len(data.val_images), len(data.test_images)
        (1293, 145, 359)
        >>> data.normalize(data.train_images).dtype
        torch.float32
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    val_images: Tensor
    val_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    class_names: tuple[str, ...]
    mean: Tensor
    std: Tensor
    fingerprint: str
    n_corrupt: int = 0
    corrupt: tuple[str, ...] = ()
    n_damaged: int = 0
    damaged: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for RGB."""
        return self.train_images.shape[1]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.train_images.shape[2], self.train_images.shape[3]

    @cached_property
    def class_indices(self) -> list[Tensor]:
        """One (n_c,) int64 tensor per class: the rows of its training images, ascending."""
        return [
            torch.nonzero(self.train_labels == label).flatten() for label in range(self.n_classes)
        ]

    @cached_property
    def hashes(self) -> dict[str, list[bytes]]:
        """`content_hashes` of the `train`, `val` and `test` images."""
        return {
            part: content_hashes(getattr(self, f"{part}_images"))
            for part in ("train", "val", "test")
        }

    def normalize(self, images: Tensor) -> Tensor:
        """Returns (images − mean) / std, per channel.

        Args:
            images: (…, c, h, w); uint8, or floating point in [0, 1].

        Returns:
            The same shape on the same device: float32 for uint8, else the dtype of the input, so
            that gradients flow and float64 stays float64.
        """
        images = images.float() / 255 if images.dtype == torch.uint8 else images
        mean, std = (value.to(images)[:, None, None] for value in (self.mean, self.std))
        return (images - mean) / std

    def to(self, device: torch.device | str) -> "ImageData":
        """Returns the same data with every tensor on `device`."""
        tensors = {
            field.name: value.to(device)
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return dataclasses.replace(self, **tensors)  # type: ignore[arg-type]


def content_hashes(images: Tensor) -> list[bytes]:
    """Returns a hash of the pixels of each image.

    Args:
        images: (n, c, h, w) uint8, of one shape.
    """
    return [
        hashlib.blake2b(image.data, digest_size=16).digest()
        for chunk in images.split(1024)
        for image in chunk.cpu().contiguous().numpy()
    ]


def with_classes(data: ImageData, names: Sequence[str]) -> ImageData:
    """Returns the images of some classes, renumbered from 0 in their original order.

    Mean and standard deviation remain those of all classes.

    Args:
        data: images of all classes.
        names: distinct names of classes, in any order; empty: all classes.

    Raises:
        UserError: a class is unknown, or none of the classes has test images.
    """
    for name in names:
        require_known("class", name, data.class_names)
    if not names or len(names) == data.n_classes:
        return data
    kept = [label for label, name in enumerate(data.class_names) if name in names]
    numbers = torch.full((data.n_classes,), -1, device=data.train_labels.device)
    numbers[kept] = torch.arange(len(kept), device=numbers.device)
    changes: dict[str, Any] = {"class_names": tuple(data.class_names[label] for label in kept)}
    for part in ("train", "val", "test"):
        images, labels = getattr(data, f"{part}_images"), getattr(data, f"{part}_labels")
        rows = numbers[labels] >= 0
        changes |= {f"{part}_images": images[rows], f"{part}_labels": numbers[labels[rows]]}
    if not len(changes["test_images"]):
        raise UserError(f"the classes {', '.join(changes['class_names'])} have no test images")
    parts = [
        (changes[f"{part}_images"].cpu(), changes[f"{part}_labels"].cpu())
        for part in ("train", "val", "test")
    ]
    changes["fingerprint"] = fingerprint_of(parts, changes["class_names"])
    return dataclasses.replace(data, **changes)


def describe_notices(data: ImageData) -> list[str]:
    """Returns what the user should know about a data set before a trial, one line each.

    The notices of its source, corrupt images that were left out or kept, and classes whose sizes
    differ `SIZE_RATIO`-fold. Commands print them once per data set.

    Args:
        data: of the classes that are used.
    """
    lines = list(data.notices)
    n_left_out = data.n_corrupt - data.n_damaged
    if n_left_out:
        shown = _first_of(data.corrupt, n_left_out)
        lines.append(f"left out {n_left_out} images that cannot be decoded: {shown}")
    if data.n_damaged:
        shown = _first_of(data.damaged, data.n_damaged)
        lines.append(f"kept {data.n_damaged} damaged images as far as they decode: {shown}")
    counts = [len(indices) for indices in data.class_indices]
    small, large = counts.index(min(counts)), counts.index(max(counts))
    if counts[large] >= SIZE_RATIO * counts[small]:
        lines.append(
            f"the classes differ in size: {data.class_names[small]!r} has {counts[small]} training "
            f"images, {data.class_names[large]!r} has {counts[large]}; see the balanced accuracy "
            "beside the accuracy"
        )
    return lines


def _first_of(listed: Sequence[str], n: int) -> str:
    """Returns the first three of n lines, in one."""
    return "; ".join(listed[:3]) + ("; …" if n > 3 else "")


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the mean and the (population) standard deviation of every channel.

    Both are computed from the exact histogram of each channel, so that the result does not depend
    on the order of the images.

    Args:
        images: (n, c, h, w) uint8 on the CPU, n at least 1.

    Returns:
        Two (c,) float32 tensors, of pixels scaled to [0, 1]; the second is at least `MIN_STD`.
    """
    _, channels, height, width = images.shape
    counts = torch.zeros(channels, 256, dtype=torch.int64)
    chunk = max(1, _CHUNK_PIXELS // (height * width))
    for start in range(0, len(images), chunk):
        for channel in range(channels):
            # Pillow counts bytes directly; bincount would convert them to 64 bits first.
            plane = images[start : start + chunk, channel].numpy().reshape(-1, width)
            counts[channel] += torch.tensor(Image.fromarray(plane).histogram())
    levels = torch.arange(256, dtype=torch.float64) / 255
    shares = counts / counts.sum(dim=1, keepdim=True, dtype=torch.float64)
    mean = shares @ levels
    variance = (shares * (levels - mean[:, None]).square()).sum(dim=1)
    return mean.float(), variance.sqrt().clamp_min(MIN_STD).float()


def fingerprint_of(parts: list[tuple[Tensor, Tensor]], class_names: tuple[str, ...]) -> str:
    """Returns the SHA-256 of images, labels and class names, as 64 hexadecimal digits.

    Args:
        parts: ((n, c, h, w) uint8 images, (n,) int64 labels) on the CPU, contiguous.
        class_names: names in label order.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps(list(class_names)).encode())
    for images, labels in parts:
        digest.update(json.dumps(list(images.shape)).encode())
        digest.update(images.numpy().data)
        digest.update(labels.numpy().astype("<i8").data)
    return digest.hexdigest()
