"""What can be chosen from, and the check that nothing of it is in the test set.

Under the sound protocol the pool is the training images, less those whose very pixels are also
among the images held out: photo collections repeat themselves, and an exact copy of a test image in
the training set is the test image. Under the published protocol the paper's cluster sampler drew
from all images, test images included (defect 1), so its pool is all of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from distill.datasets import ImageData
from distill.datasets.images import content_hashes
from distill.datasets.rows import Part


class LeakError(Exception):
    """An image was chosen under the sound protocol whose content is among the test images."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """Images to choose from.

    Attributes:
        images: (n, c, h, w) uint8, on the device of the data.
        labels: (n,) int64, on the CPU.
        parts: (n,) int8 on the CPU, the `Part` of the data set that an image is of.
        rows: (n,) int64 on the CPU, its row in that part.
        n_duplicates: training images left out because their content is held out.
    """

    images: Tensor
    labels: Tensor
    parts: Tensor
    rows: Tensor
    n_duplicates: int = 0


def training_pool(data: ImageData, *, leave_out_duplicates: bool) -> Pool:
    """Returns the training images.

    Args:
        data: the images.
        leave_out_duplicates: whether to leave out those whose content is also among the test or
            the validation images.
    """
    rows = torch.arange(len(data.train_images))
    images, labels = data.train_images, data.train_labels.cpu()
    if leave_out_duplicates:
        hashes = data.hashes
        held_out = {*hashes["test"], *hashes["val"]}
        kept = torch.tensor([own not in held_out for own in hashes["train"]])
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
    """Returns all images, training, validation and test."""
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
    """Returns (n_test,) bool: which test images have their content among those chosen."""
    chosen = set(content_hashes(chosen_images))
    return torch.tensor([own in chosen for own in content_hashes(test_images)], dtype=torch.bool)


def check_no_leak(test_images: Tensor, chosen_images: Tensor) -> None:
    """Raises a LeakError where the content of a test image was chosen."""
    n_seen = int(seen_images(test_images, chosen_images).sum())
    if n_seen:
        raise LeakError(
            f"{n_seen} of {len(test_images)} test images are among the images chosen for training"
        )
