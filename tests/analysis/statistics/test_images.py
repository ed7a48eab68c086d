"""Which images are right: packing, the bootstrap over images and seeds, McNemar's test."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.images import bootstrap_difference, mcnemar_test, unpack_correct


def test_bits_come_back_in_the_order_of_the_images() -> None:
    right = np.random.default_rng(0).random((2, 71)) < 0.7

    packed = [np.packbits(row).tobytes() for row in right]

    assert (unpack_correct(packed, 71) == right).all()


def test_another_number_of_images_is_refused() -> None:
    with pytest.raises(ValueError, match="100 images take 13 bytes a network"):
        unpack_correct([bytes(9)], 100)


def test_the_bootstrap_has_the_spread_of_images_and_seeds() -> None:
    """Independent effects of seeds and images: the variance of the mean is a sum of both."""
    random = np.random.default_rng(1)
    seeds, images = random.normal(0, 0.02, (12, 1)), random.normal(0, 0.5, (1, 400))
    differences = 0.1 + seeds + images

    found = bootstrap_difference(differences, np.zeros_like(differences), n_draws=4000)

    spread = math.sqrt(seeds.var() / 12 + images.var() / 400)
    assert found.mean == pytest.approx(differences.mean(), rel=1e-5)
    half = (found.high - found.low) / 2
    assert half == pytest.approx(1.96 * spread, rel=0.08)
    assert found.n == 12


def test_what_both_rows_get_wrong_cancels() -> None:
    random = np.random.default_rng(2)
    hard = random.random((1, 500)) < 0.5
    first = np.where(hard, 0, random.random((4, 500)) < 0.9)
    paired = bootstrap_difference(first, np.where(hard, 0, random.random((4, 500)) < 0.9))
    unpaired = bootstrap_difference(first, np.where(hard, random.random((4, 500)) < 0.9, 0))

    assert paired.high - paired.low < 0.6 * (unpaired.high - unpaired.low)


def test_the_bootstrap_is_deterministic_and_antisymmetric() -> None:
    random = np.random.default_rng(4)
    a, b = random.random((3, 90)) < 0.6, random.random((3, 90)) < 0.5

    forth, again, back = (bootstrap_difference(*pair) for pair in ((a, b), (a, b), (b, a)))

    assert forth == again
    assert forth.mean == pytest.approx(-back.mean)
    assert forth.low == pytest.approx(-back.high, abs=1e-6)


def test_one_seed_has_no_interval() -> None:
    assert math.isnan(bootstrap_difference([[1, 0]], [[0, 0]]).low)
    with pytest.raises(ValueError, match=r"one shape, got \(1, 2\) and \(1, 3\)"):
        bootstrap_difference([[1, 0]], [[1, 0, 1]])


def test_mcnemar_is_the_sign_test_of_the_images_that_differ() -> None:
    first = np.array([1] * 10 + [0] * 2 + [1] * 50, dtype=bool)
    second = np.array([0] * 10 + [1] * 2 + [1] * 50, dtype=bool)

    found = mcnemar_test(first, second)

    assert (found.only_first, found.only_second) == (10, 2)
    assert found.p == pytest.approx(2 * stats.binom.cdf(2, 12, 0.5))
    assert math.isnan(mcnemar_test(first, first).p)
    with pytest.raises(ValueError, match="one length"):
        mcnemar_test([1, 0], [1])
