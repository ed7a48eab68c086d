"""The time left of a sweep, from measured parts."""

import pytest

from distill.config.base import Config
from distill.config.distillation import DistillationConfig
from sweeps.cli.time_left import TimeLeft

SHORT = DistillationConfig(n_outer=2, n_inner=5, n_eval=1, eval_every=0, init="random")
LONG = DistillationConfig(n_outer=40, n_inner=5, n_eval=1, eval_every=0, init="random")
"""A trial with twenty times the work in its loop."""

SETUP, PER_OUTER, EVALUATION = 1.0, 2.0, 3.0
"""Seconds of the process, of an outer iteration and of the evaluation."""


def parts(config: Config) -> dict[str, float]:
    """Returns the seconds that the row of a trial has."""
    loop = PER_OUTER * config["n_outer"]
    shares = {"clustering_seconds": 0.2, "matching_seconds": 0.7, "network_seconds": 0.1}
    seconds = {name: share * loop for name, share in shares.items()}
    seconds["evaluation_seconds"] = EVALUATION
    return seconds | {"total_seconds": loop + EVALUATION}


def duration(config: Config) -> float:
    return SETUP + parts(config)["total_seconds"]


def seeds(config: Config, n: int) -> list[Config]:
    return [config.replace(seed=seed) for seed in range(n)]


def test_long_trials_are_priced_by_the_parts_of_short_ones() -> None:
    """The mean over those that finished first, 8 s, would expect a tenth of the time."""
    plan = [*seeds(SHORT, 2), *seeds(LONG, 3)]
    time_left = TimeLeft()
    time_left.planned(plan)
    now = 0.0
    for config in plan[:2]:
        time_left.started(config, now)
        now += duration(config)
        time_left.finished(config.trial_id, parts(config), now)

    assert time_left.seconds(3, now) == pytest.approx(3 * duration(LONG))


def test_running_trials_price_those_that_differ_in_the_seed() -> None:
    plan = [SHORT, *seeds(LONG, 3)]
    time_left = TimeLeft()
    time_left.planned(plan)
    for config in plan[:2]:
        time_left.started(config, 0.0)
    time_left.reported(LONG.trial_id, {"fraction": 0.0, "seconds_left": None}, 1.0)
    time_left.finished(SHORT.trial_id, None, 8.0)  # without a row: it failed
    time_left.reported(LONG.trial_id, {"fraction": 0.25, "seconds_left": 60.0}, 20.0)

    # One place is free now, the other one in 50 s; a waiting trial takes 80 s.
    assert time_left.seconds(2, 30.0) == pytest.approx(50.0 + 80.0)


def test_trials_side_by_side_take_the_free_places() -> None:
    plan = seeds(LONG, 5)
    time_left = TimeLeft()
    time_left.planned(plan)
    for config in plan[:2]:
        time_left.started(config, 0.0)
        time_left.reported(config.trial_id, {"fraction": 0.0}, 0.0)
    time_left.reported(plan[0].trial_id, {"fraction": 0.5, "seconds_left": 10.0}, 10.0)
    time_left.reported(plan[1].trial_id, {"fraction": 0.5, "seconds_left": 10.0}, 10.0)

    assert time_left.seconds(3, 10.0) == pytest.approx(10 + 20 + 20)
    assert time_left.seconds(3, 14.0) == pytest.approx(6 + 20 + 20), "time passes between reports"


def test_resumed_trial_counts_what_it_does_now() -> None:
    plan = seeds(LONG, 2)
    time_left = TimeLeft()
    time_left.planned(plan)
    time_left.started(plan[0], 0.0)
    time_left.reported(plan[0].trial_id, {"fraction": 0.6}, 1.0)
    assert time_left.seconds(1, 1.0) is None, "its rate is not known yet"
    time_left.reported(plan[0].trial_id, {"fraction": 0.8}, 11.0)

    assert time_left.seconds(0, 11.0) == pytest.approx(10.0)
    assert time_left.seconds(1, 11.0) == pytest.approx(10.0 + 51.0), "1 s of setup, 5 s a tenth"


def test_lost_trial_waits_again() -> None:
    time_left = TimeLeft()
    time_left.planned([LONG])
    time_left.started(LONG, 0.0)
    time_left.reported(LONG.trial_id, {"fraction": 0.0}, 0.0)
    time_left.reported(LONG.trial_id, {"fraction": 0.5, "seconds_left": 5.0}, 5.0)
    assert time_left.seconds(0, 5.0) == pytest.approx(5.0)
    time_left.lost(LONG)

    assert time_left.seconds(1, 5.0) is None, "nothing is measured any more"


def test_trials_of_a_search_take_the_mean_of_different_points() -> None:
    """Their configurations are unknown until they are drawn."""
    time_left = TimeLeft()
    for config in (SHORT, LONG):
        time_left.started(config, 0.0)
    for seconds, config in zip((10.0, 30.0), (SHORT, LONG), strict=True):
        time_left.finished(config.trial_id, None, seconds)

    assert time_left.seconds(4, 30.0) == pytest.approx(2 * 20.0), "two places"


@pytest.mark.parametrize(("first", "expected"), [(20.0, 6.0), (100.0, 53.0)])
def test_short_first_trials_of_processes_do_not_count(first: float, expected: float) -> None:
    """They import and compile; a long one is as long as any other."""
    plan = seeds(SHORT, 10)
    time_left = TimeLeft()
    time_left.planned(plan)
    time_left.started(plan[0], 0.0)
    time_left.finished(plan[0].trial_id, None, first)
    assert time_left.seconds(9, first) == pytest.approx(9 * first), "nothing better is known"
    assert time_left.is_warming_up(9, first) == (first < 60)
    time_left.started(plan[1], first)
    time_left.finished(plan[1].trial_id, None, first + 6.0)
    assert not time_left.is_warming_up(8, first + 6.0)

    assert time_left.seconds(1, first + 6.0) == pytest.approx(expected)


@pytest.mark.parametrize(("seconds", "expected"), [(2.0, True), (20.0, False)])
def test_running_first_trials_tell_the_time_if_they_are_long(
    seconds: float, expected: bool
) -> None:
    """A tenth after so many seconds; what waits is priced by it."""
    plan = seeds(SHORT, 10)
    time_left = TimeLeft()
    time_left.planned(plan)
    time_left.started(plan[0], 0.0)
    assert time_left.is_warming_up(9, 0.0), "nothing is measured"
    for fraction, now in ((0.0, 0.0), (0.1, seconds)):
        time_left.reported(plan[0].trial_id, {"fraction": fraction}, now)

    assert time_left.is_warming_up(9, seconds) == expected
    assert not time_left.is_warming_up(0, seconds), "its own time is all that is left"
