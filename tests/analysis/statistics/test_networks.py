"""Spread of seeds and networks: by hand, by simulation, and what one network may score."""

import math

import numpy as np
import pytest

from analysis.statistics.blocks import fit_blocks
from analysis.statistics.networks import (
    NetworkSpread,
    narrowing,
    network_spread,
    one_network_intervals,
    spread_within_seeds,
)


def test_the_spread_of_networks_by_hand() -> None:
    # Squares about the means: 2 · 0.01² and 2 · 0.02²; a single network adds nothing.
    found = network_spread([[0.50, 0.52], [0.60, 0.62, 0.64], [0.9], []])

    assert found.variance == pytest.approx((0.0002 + 0.0008) / 3)
    assert found.df == 3
    assert found.n_networks == pytest.approx(3 / (1 / 2 + 1 / 3 + 1))


def test_single_networks_have_no_spread() -> None:
    assert math.isnan(network_spread([[0.5], [0.6]]).variance)
    assert math.isnan(network_spread([]).variance)


def test_what_to_buy_more_of() -> None:
    """σ² = τ² + ω² / K: with τ = 0 twice as many networks do what twice as many seeds do."""
    only_networks = narrowing(0.01, 10, NetworkSpread(0.0002, 10, 2.0))
    only_seeds = narrowing(0.01, 10, NetworkSpread(0.0, 10, 2.0))

    assert only_networks.share == pytest.approx(1.0)
    assert only_networks.networks == pytest.approx(only_networks.seeds)
    assert (only_seeds.share, only_seeds.networks) == (0.0, 0.0)
    # F at 97.5 % is 3.717 for 10 and 10 degrees of freedom.
    assert only_networks.low == pytest.approx(1 / 3.717, rel=1e-3)
    assert only_networks.high == 1.0


def test_what_networks_of_a_seed_share_cancels_in_differences() -> None:
    """By simulation: with a common part the shares were too large, 1 where it was 0.33."""
    random = np.random.default_rng(1)
    n_rows, n_seeds, n_networks = 6, 200, 2
    common = random.normal(0, 2.0, (n_seeds, 1, n_networks))
    alone = random.normal(0, 1.0, (n_seeds, n_rows, n_networks))
    trials = random.normal(0, 1.0, (n_seeds, n_rows, 1))
    scores = common + alone + trials
    spread = spread_within_seeds(scores)
    deviation = math.sqrt(fit_blocks(scores.mean(axis=2).T).variance)
    more = narrowing(deviation, (n_rows - 1) * (n_seeds - 1), spread)

    assert spread.df == n_seeds * (n_rows - 1)
    assert spread.variance == pytest.approx(1.0, rel=0.1)
    assert more.low < 1 / 3 < more.high  # ω² / K of τ² + ω² / K
    assert network_spread(list(scores.reshape(-1, n_networks))).variance > 3.0


def test_single_trials_of_a_seed_say_nothing_of_differences() -> None:
    spread = spread_within_seeds([[[0.5, 0.6]], [[0.5, 0.6], [0.5]]])
    assert math.isnan(spread.variance)
    assert spread.df == 0


def test_one_network_by_hand() -> None:
    # s² of the trials 0.0004, ω² = 0.0006 from 3 df, K = 2: further network 0.0004 · (4 / 3) and
    # 0.0006 / 2; Satterthwaite's df from 2 and 3.
    spread = NetworkSpread(0.0006, 3, 2.0)

    (found,) = one_network_intervals([[0.50, 0.52, 0.54]], spread)

    trial, network = 0.0004 * 4 / 3, 0.0003
    df = (trial + network) ** 2 / (trial**2 / 2 + network**2 / 3)
    assert df == pytest.approx(4.03, abs=0.01)
    # t at 97.5 % is 2.776 for 4 df, and 2.571 for 5.
    assert found.high - 0.52 == pytest.approx(2.77 * math.sqrt(trial + network), rel=2e-3)


def test_one_further_network_is_in_its_interval_as_often_as_stated() -> None:
    """Rows share seeds; all further networks of a table at once, by simulation."""
    random = np.random.default_rng(0)
    n_rows, n_seeds, n_networks, n_tables = 4, 5, 3, 1500
    inside = 0
    for _ in range(n_tables):
        shared = random.normal(0, 0.6, (1, n_seeds + 1, 1))
        alone = random.normal(0, 0.8, (n_rows, n_seeds + 1, 1))
        each = shared + alone + random.normal(0, 1.0, (n_rows, n_seeds + 1, n_networks))
        seen, further = each[:, :-1], each[:, -1, 0]
        spread = network_spread(list(seen.reshape(-1, n_networks)))
        found = one_network_intervals(seen.mean(axis=2), spread)
        inside += all(f.low <= x <= f.high for f, x in zip(found, further, strict=True))

    # Bonferroni over rows that share seeds: at least 95 %, up to the approximation of the df.
    assert 0.94 < inside / n_tables < 0.99


def test_rows_of_one_seed_have_no_interval() -> None:
    found = one_network_intervals([[0.5, 0.6], [0.4, math.nan]], NetworkSpread(math.nan, 0, 1.0))

    assert found[0].n == 2
    assert not math.isnan(found[0].low)
    assert (found[1].mean, found[1].n) == (0.4, 1)
    assert math.isnan(found[1].low)
