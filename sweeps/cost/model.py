"""What a kind of trial consists of, for an estimate of its seconds.

A trial's seconds have parts, and each is work times a price. The work follows from the
configuration; the prices come from rows of finished trials, or of a calibration: trials cut down to
a little work. Prices are looked up by what the part depends on (clustering does not depend on the
weights, nor matching on the linkage), so few rows price a large plan. What no row tells stays
unknown: there are no built-in prices.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from distill.config.base import Config

Values = Mapping[str, Any]
"""The resolved fields of a configuration that costs depend on, and what is derived from them."""


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """How the cost of a kind of trial is made up.

    Attributes:
        config_class: the kind.
        groups: for every part, by the name of its `…_seconds` column, what its price depends on:
            names of values, from the narrowest group of trials to the widest.
        work_fields: further fields of the configuration that the work depends on.
        derived: returns the values that are not fields.
        units: returns for every part its work, in units of equal cost within its widest group, and
            by what they are shared, trials (1) or networks: each may have costs of its own beside
            those of the units.
        shortened: returns short trials whose rows price every part of a trial.
    """

    config_class: type[Config]
    groups: Mapping[str, tuple[tuple[str, ...], ...]]
    work_fields: tuple[str, ...]
    derived: Callable[[Values], dict[str, Any]]
    units: Callable[[Values], dict[str, tuple[float, int]]]
    shortened: Callable[[Any], Iterable[Any]]

    def values(self, columns: Mapping[Any, Any]) -> dict[str, Any]:
        """Returns the values of a trial.

        Args:
            columns: fields of a resolved configuration, as plain values or from pandas.
        """
        grouped = (name for groups in self.groups.values() for name in groups[0])
        names = dict.fromkeys((*self.work_fields, *grouped))
        values = {name: plain(columns[name]) for name in names if name in columns}
        return values | self.derived(values)


def plain(value: Any) -> Any:
    """Returns None for whatever marks a missing value (None, NaN, pandas.NA), tuples for lists."""
    if hasattr(value, "__len__") and not isinstance(value, str):
        return tuple(value)
    try:
        return value if value == value else None
    except TypeError:  # pandas.NA is neither true nor false
        return None
