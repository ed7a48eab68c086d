"""First places at a level, by hand."""

import math

import pytest

from analysis.statistics.crossing import first_reached

PLACES = [1.0, 11.0, 21.0, 31.0]


@pytest.mark.parametrize(
    ("values", "level", "place"),
    [
        ([0.1, 0.3, 0.5, 0.6], 0.4, 16.0),
        ([0.1, 0.3, 0.5, 0.6], 0.6, 31.0),
        ([0.1, 0.3, 0.5, 0.6], 0.05, 1.0),  # from the start
        ([0.1, 0.3, 0.2, 0.6], 0.25, 8.5),  # the first time, though it falls again
        ([0.3, 0.3, 0.3, 0.3], 0.3, 1.0),
    ],
)
def test_the_first_place_at_a_level(values: list[float], level: float, place: float) -> None:
    assert first_reached(PLACES, values, level) == pytest.approx(place)


def test_a_level_that_is_not_reached_has_no_place() -> None:
    assert math.isnan(first_reached(PLACES, [0.1, 0.3, 0.5, 0.6], 0.61))
    assert math.isnan(first_reached([], [], 0.1))
