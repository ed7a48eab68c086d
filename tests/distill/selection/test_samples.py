"""Samples: number, spacing and size of the images."""

import torch

from distill.selection.samples import MAX_SAMPLES, MAX_SIDE, SAMPLES_PER_CLASS, sample


def test_images_are_evenly_spaced_in_each_class() -> None:
    images = torch.arange(40, dtype=torch.uint8).reshape(40, 1, 1, 1)
    labels = torch.arange(40) % 2
    found = sample(images, labels, ("even", "odd"))

    even = [0, 4, 10, 14, 20, 24, 30, 34]
    assert found.images.flatten().tolist() == [*even, *(row + 1 for row in even)]
    assert found.labels.tolist() == [0] * 8 + [1] * 8
    assert found.class_names == ("even", "odd")


def test_small_classes_and_many_classes_give_fewer_images() -> None:
    pixels = torch.zeros(103, 3, 2, 2, dtype=torch.uint8)
    few = sample(pixels[:12], torch.tensor([0] * 2 + [2] * 10), ("a", "b", "c"))
    many = sample(pixels, torch.arange(103), tuple(map(str, range(103))))

    assert few.labels.tolist() == [0] * 2 + [2] * 5
    assert many.labels.tolist() == list(range(MAX_SAMPLES))
    assert max(torch.bincount(few.labels)) <= SAMPLES_PER_CLASS


def test_large_images_are_reduced_by_area_averaging() -> None:
    image = torch.zeros(1, 1, 2 * MAX_SIDE, MAX_SIDE, dtype=torch.uint8)
    image[..., 1] = 200  # one of every two columns of the first cell
    (shrunk,) = sample(image, torch.zeros(1, dtype=torch.int64), ("a",)).images

    assert shrunk.shape == (1, MAX_SIDE, MAX_SIDE // 2)
    assert shrunk[0, :, 0].tolist() == [100] * MAX_SIDE
    assert not shrunk[0, :, 1:].any()


def test_small_images_are_unchanged() -> None:
    images = torch.randint(256, (3, 3, 8, 8), dtype=torch.uint8)

    assert torch.equal(sample(images, torch.tensor([0, 1, 1]), ("a", "b")).images, images)
