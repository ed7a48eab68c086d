"""Coverage, diversity and representativeness of sets: by hand, and for random sets."""

import math

import pytest
import torch

from distill.datasets import ImageData
from distill.evaluation.set_statistics import (
    features_of,
    real_features,
    real_features_of,
    set_statistics,
    statistics_of_points,
)

# Class 0 at 0, 2, 4 (mean 2, v = 8/3), class 1 at 10, 12 (mean 11, v = 1): r² = (8 + 2) / 5 = 2.
REAL = real_features_of([torch.tensor([[0.0], [2.0], [4.0]]), torch.tensor([[10.0], [12.0]])])
R = math.sqrt(2)


def test_statistics_by_hand() -> None:
    points = torch.tensor([[1.0], [12.0], [4.0]])
    found = statistics_of_points(points, torch.tensor([0, 1, 0]), REAL)

    # Class 0: 0 → 1, 2 → 1, 4 → 4: distances 1, 1, 0; class 1: 10 → 12: 2, 12 → 12: 0.
    assert found.coverage_mean == pytest.approx((1 + 1 + 0 + 2 + 0) / 5 / R)
    assert found.coverage_max == pytest.approx(2 / R)
    assert found.diversity == pytest.approx(3 / R)  # of class 0 only: class 1 has one image
    # Means 2.5 and 12: shifts 0.25 / (8/3) and 1 / 1.
    assert found.representativeness == pytest.approx(1 - (0.25 * 3 / 8 + 1) / 2)


def test_images_of_other_classes_cover_nothing() -> None:
    points = torch.tensor([[11.0], [2.0]])
    found = statistics_of_points(points, torch.tensor([0, 1]), REAL)

    assert found.coverage_max == pytest.approx(11 / R)
    assert found.diversity is None


def test_scale_and_shift_change_nothing() -> None:
    points, labels = torch.tensor([[1.0], [12.0], [4.0]]), torch.tensor([0, 1, 0])
    moved = real_features_of([5 * members - 3 for members in REAL.points])

    before = statistics_of_points(points, labels, REAL)
    after = statistics_of_points(5 * points - 3, labels, moved)

    assert after == pytest.approx(before, rel=1e-5)


def test_all_real_images_cover_themselves(digits: ImageData) -> None:
    found = set_statistics(digits.train_images, digits.train_labels, digits)

    assert found.coverage_max == pytest.approx(0, abs=0.01)  # float32 distances by products
    assert found.representativeness == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("n", [1, 5])
def test_random_images_have_the_stated_representativeness(n: int, digits: ImageData) -> None:
    """On average 1 − 1 / n, and diversity near √2; over 200 draws."""
    real = real_features(digits)
    points = features_of(digits.train_images, digits)
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(200):
        rows = [r[torch.randint(len(r), (n,), generator=generator)] for r in digits.class_indices]
        labels = torch.arange(10).repeat_interleave(n)
        found.append(statistics_of_points(points[torch.cat(rows)], labels, real))
    values = torch.tensor([one.representativeness for one in found])

    error = float(values.std()) / math.sqrt(len(values))
    assert float(values.mean()) == pytest.approx(1 - 1 / n, abs=4 * error)
    if n > 1:
        diversity = sum(one.diversity or 0.0 for one in found) / len(found)
        assert diversity == pytest.approx(math.sqrt(2), rel=0.15)


def test_features_are_the_same_every_time(digits: ImageData) -> None:
    few = digits.test_images[:8]
    assert torch.equal(features_of(few, digits), features_of(few, digits))
    assert features_of(few, digits).shape == (8, 32 * 4 * 4)
