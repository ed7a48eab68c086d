"""Pools: copies of held-out images are left out and counted, leaks are refused."""

import dataclasses

import pytest
import torch

from distill.datasets import ImageData
from distill.datasets.images import content_hashes
from distill.datasets.rows import Part
from distill.selection.pool import (
    LeakError,
    check_no_leak,
    seen_images,
    training_pool,
    whole_pool,
)


@pytest.fixture
def leaky(digits: ImageData) -> ImageData:
    """Returns data whose training rows 3 and 7 are test images and row 5 a validation image."""
    images = digits.train_images.clone()
    images[3], images[7] = digits.test_images[10], digits.test_images[20]
    images[5] = digits.val_images[0]
    return dataclasses.replace(digits, train_images=images)


def test_copies_of_held_out_images_are_left_out(leaky: ImageData) -> None:
    pool = training_pool(leaky, leave_out_duplicates=True)

    assert pool.n_duplicates == 3
    assert len(pool.images) == len(leaky.train_images) - 3
    assert not {3, 5, 7} & set(pool.rows.tolist())
    assert torch.equal(pool.images, leaky.train_images[pool.rows])
    assert torch.equal(pool.labels, leaky.train_labels[pool.rows])
    assert set(pool.parts.tolist()) == {int(Part.TRAIN)}


def test_copies_can_be_kept(leaky: ImageData) -> None:
    pool = training_pool(leaky, leave_out_duplicates=False)

    assert pool.n_duplicates == 0
    assert torch.equal(pool.images, leaky.train_images)


def test_whole_pool_contains_all_parts(digits: ImageData) -> None:
    pool = whole_pool(digits)
    by_part = {
        Part.TRAIN: digits.train_images,
        Part.VAL: digits.val_images,
        Part.TEST: digits.test_images,
    }

    assert len(pool.images) == 1797
    for part, images in by_part.items():
        mask = pool.parts == part
        assert int(mask.sum()) == len(images)
        assert torch.equal(pool.images[mask], images[pool.rows[mask]])


def test_one_grey_level_changes_the_hash(digits: ImageData) -> None:
    image = digits.train_images[:1]
    changed = image.clone()
    changed[0, 0, 7, 7] += 1
    hashes = content_hashes(torch.cat([image, changed, image]))

    assert hashes[0] == hashes[2] != hashes[1]


def test_hash_of_a_view_equals_that_of_a_copy(digits: ImageData) -> None:
    images = digits.train_images[:4]

    assert content_hashes(images.flip(3).flip(3)) == content_hashes(images)
    assert content_hashes(images[::2]) == content_hashes(images)[::2]


def test_a_leak_is_refused_with_a_count(leaky: ImageData) -> None:
    assert int(seen_images(leaky.test_images, leaky.train_images).sum()) == 2
    with pytest.raises(LeakError, match="2 of 359 test images are among the images chosen"):
        check_no_leak(leaky.test_images, leaky.train_images)
    check_no_leak(leaky.test_images, leaky.train_images[8:])
