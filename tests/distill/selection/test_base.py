"""Quotas, and selectors that do not compare images."""

import pytest
import torch
from torch import Tensor

from distill.errors import UserError
from distill.selection.base import Selection, Selector, shuffled, stratified_quotas
from distill.selection.plain import AllImages, RandomImages, RepeatedDraws

LABELS = torch.tensor([0] * 30 + [1] * 10 + [2] * 20)[torch.randperm(60)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def choose(selector: Selector, quotas: list[int], seed: int = 0) -> Selection:
    return selector.select(torch.empty(60, 0), LABELS, quotas, generator(seed))


@pytest.mark.parametrize(
    ("counts", "fraction", "quotas"),
    [
        ([6750, 6750], 0.1, [675, 675]),
        ([30, 10, 20], 0.5, [15, 5, 10]),
        ([30, 10, 20], 1.0, [30, 10, 20]),
        ([5, 5], 0.5, [3, 2]),  # five of ten; halves of a seat go to the first
        ([7, 7], 0.25, [2, 2]),  # 3.5 are rounded up
        ([1000, 3], 0.01, [9, 1]),  # ten, one of them for the class that would have none
    ],
)
def test_quotas_are_exact_and_in_proportion(
    counts: list[int], fraction: float, quotas: list[int]
) -> None:
    assert stratified_quotas(counts, fraction) == quotas


@pytest.mark.parametrize("n", [10, 37, 13_500])
@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.333, 0.5, 0.9])
def test_quotas_sum_to_the_rounded_fraction(n: int, fraction: float) -> None:
    counts = [n, n // 2, n + 3]
    quotas = stratified_quotas(counts, fraction)

    assert sum(quotas) == int(fraction * sum(counts) + 0.5)
    for quota, count in zip(quotas, counts, strict=True):
        assert abs(quota - fraction * count) < 1


def test_less_than_one_image_per_class_is_refused() -> None:
    with pytest.raises(UserError, match=r"fraction 0.01 of 60 images is 1, fewer than the 3 clas"):
        stratified_quotas([30, 10, 20], 0.01)


def test_all_images_are_the_pool_in_order() -> None:
    assert choose(AllImages(), [1, 1, 1]).rows.tolist() == list(range(60))


def test_random_images_are_distinct_and_meet_the_quotas() -> None:
    rows = choose(RandomImages(), [15, 5, 10]).rows

    assert len(set(rows.tolist())) == 30
    assert torch.bincount(LABELS[rows]).tolist() == [15, 5, 10]


def test_every_image_is_drawn_equally_often() -> None:
    """3,000 draws of half of a class: 1,500 times each; five standard deviations of 27.4."""
    times = torch.zeros(60)
    for seed in range(3000):
        times[choose(RandomImages(), [15, 5, 10], seed).rows] += 1

    assert float((times - 1500).abs().max()) < 137


def test_repeated_draws_are_independent() -> None:
    rows = choose(RepeatedDraws(n_draws=5), [3, 1, 2]).rows

    assert len(rows) == 30
    for draw in rows.split(6):
        assert len(set(draw.tolist())) == 6
        assert torch.bincount(LABELS[draw]).tolist() == [3, 1, 2]
    assert len(set(rows.tolist())) < 30, "some image comes twice under this seed"


@pytest.mark.parametrize("selector", [RandomImages(), RepeatedDraws(n_draws=2)])
def test_selection_depends_on_the_generator(selector: Selector) -> None:
    def rows(seed: int) -> Tensor:
        return choose(selector, [5, 5, 5], seed).rows

    assert torch.equal(rows(1), rows(1))
    assert not torch.equal(rows(1), rows(2))


def test_shuffling_keeps_every_row() -> None:
    rows = torch.tensor([4, 8, 15])

    assert sorted(shuffled(rows, generator()).tolist()) == [4, 8, 15]
