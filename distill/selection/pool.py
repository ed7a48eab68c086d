"""Pools of images to choose from, and the check for test images among the chosen ones.

Under the sound protocol, the pool consists of the training images without exact copies of held-out
images: photo collections contain duplicates, and a copy of a test image is a test image. Under the
published protocol, the pool consists of all images, including test images (defect 1 of paper 2).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from distill.datasets import ImageData
from distill.datasets.images import content_hashes
from distill.datasets.rows import Part
from distill.errors import DreamSweepError


class LeakError(DreamSweepError):
    """An image chosen under the sound protocol has the content of a test image."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """Images to choose from.

    Attributes:
        images: (n, c, h, w) uint8, on the device of the data.
        labels: (n,) int64, on the CPU.
        parts: (n,) int8 on the CPU, the `Part` of the data set of each image.
        rows: (n,) int64 on the CPU, the row of each image in its part.
        n_duplicates: number of training images left out as copies of held-out images.
    """

    images: Tensor
    labels: Tensor
    parts: Tensor
    rows: Tensor
    n_duplicates: int = 0


def training_pool(data: ImageData, *, leave_out_duplicates: bool) -> Pool:
    """Returns the pool of training images.

    Args:
        data: images of all parts.
        leave_out_duplicates: whether to leave out copies of test and validation images.
    """
    rows = torch.arange(len(data.train_images))
    images, labels = data.train_images, data.train_labels.cpu()
    if leave_out_duplicates:
        hashes = data.hashes
        held_out = {*hashes["test"], *hashes["val"]}
        kept = torch.tensor([digest not in held_out for digest in hashes["train"]])
        if not bool(kept.all()):
            rows = rows[kept]
            images, labels = images[rows.to(images.device)], labels[rows]
    return Pool(
        images=images,
        labels=labels,
        parts=torch.full((len(rows),), int(Part.TRAIN), dtype=torch.int8),
        rows=rows,
        n_duplicates=len(data.train_images) - len(rows),
    )


def whole_pool(data: ImageData) -> Pool:
    """Returns the pool of all training, validation and test images."""
    images = {
        Part.TRAIN: data.train_images,
        Part.VAL: data.val_images,
        Part.TEST: data.test_images,
    }
    sizes = [len(images[part]) for part in Part]
    return Pool(
        images=torch.cat([images[part] for part in Part]),
        labels=torch.cat([data.train_labels, data.val_labels, data.test_labels]).cpu(),
        parts=torch.tensor([int(part) for part in Part], dtype=torch.int8).repeat_interleave(
            torch.tensor(sizes)
        ),
        rows=torch.cat([torch.arange(size) for size in sizes]),
    )


def seen_images(test_images: Tensor, chosen_images: Tensor) -> Tensor:
    """Returns the (n_test,) bool mask of test images whose content is among the chosen images."""
    chosen = set(content_hashes(chosen_images))
    is_seen = [digest in chosen for digest in content_hashes(test_images)]
    return torch.tensor(is_seen, dtype=torch.bool)


def check_no_leak(test_images: Tensor, chosen_images: Tensor) -> None:
    """Checks that no test image is among the chosen images.

    Raises:
        LeakError: there is one.
    """
    n_seen = int(seen_images(test_images, chosen_images).sum())
    if n_seen:
        raise LeakError(
            f"{n_seen} of {len(test_images)} test images are among the images chosen for training"
        )
