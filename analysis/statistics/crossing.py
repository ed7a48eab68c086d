"""When a line first reaches a level."""

import math
from collections.abc import Sequence


def first_reached(places: Sequence[float], values: Sequence[float], level: float) -> float:
    """Returns the place at which the line through points first has a level; NaN: nowhere.

    Linear between two points; the first place where it begins at the level or above it.

    Args:
        places: (n,), increasing.
        values: (n,) finite.
        level: wanted.

    Example:
        >>> first_reached([0.0, 10.0, 20.0], [0.0, 0.5, 0.25], 0.25)
        5.0
        >>> first_reached([0.0, 10.0], [0.0, 0.5], 0.75)
        nan
    """
    for i, value in enumerate(values):
        if value < level:
            continue
        if i == 0:
            return places[0]
        share = (level - values[i - 1]) / (value - values[i - 1])
        return places[i - 1] + share * (places[i] - places[i - 1])
    return math.nan
