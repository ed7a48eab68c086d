"""Cost models: the parts of a trial's seconds, for estimates.

Each part of a trial's seconds is work times a price. The work follows from the configuration; the
prices come from rows of finished trials, or of a calibration: trials cut down to a little work.
Prices are looked up by what the part depends on (clustering does not depend on the weights, nor
matching on the linkage), so few rows price a large plan. A part without a measured price stays
unknown: there are no built-in prices.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from distill.components import Registry, fields_of, resolve_reference
from distill.kinds import Kind

Values = Mapping[str, Any]
"""The resolved fields of a configuration that costs depend on, and values derived from them."""

Group = tuple[str | Registry, ...]
"""Names of values; a registry stands for all options of its components."""


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """How the cost of a kind of trial is made up.

    Attributes:
        groups: for every part, by the name of its `…_seconds` column, what its price depends on:
            names of values, from the narrowest group of trials to the widest.
        work_fields: further fields of the configuration that the work depends on.
        derived: returns the values that are not fields.
        units: returns for every part its work, in units of equal cost within its widest group, and
            the number of bases that share them, trials (1) or networks: each base may have costs
            beside those of the units.
        shortened: returns short trials whose rows price every part of a trial.
    """

    groups: Mapping[str, tuple[Group, ...]]
    work_fields: tuple[str, ...]
    derived: Callable[[Values], dict[str, Any]]
    units: Callable[[Values], dict[str, tuple[float, int]]]
    shortened: Callable[[Any], Iterable[Any]]

    def names(self) -> dict[str, tuple[tuple[str, ...], ...]]:
        """Returns `groups` with the names of options in the place of registries."""
        return {
            part: tuple(tuple(_names(group)) for group in groups)
            for part, groups in self.groups.items()
        }

    def values(self, columns: Mapping[Any, Any]) -> dict[str, Any]:
        """Returns the values of a trial; None for those that do not apply to it.

        Args:
            columns: fields of a resolved configuration, as plain values or from pandas.
        """
        grouped = (name for groups in self.groups.values() for name in _names(groups[0]))
        names = dict.fromkeys((*self.work_fields, *grouped))
        values = {name: plain(columns.get(name)) for name in names}
        return values | self.derived(values)


def cost_model_of(kind: Kind) -> CostModel:
    """Returns the cost model of a kind: its own, else one by equal trials.

    That one expects a trial to take as long as finished ones that differ in the seed only.
    """
    if kind.cost is not None:
        model: CostModel = resolve_reference(kind.cost)
        return model
    fields = tuple(name for name in kind.config_columns if name != "seed")
    return CostModel(
        groups={"total": (fields,)},
        work_fields=(),
        derived=lambda _: {},
        units=lambda _: {"total": (1.0, 1)},
        shortened=lambda _: (),
    )


def _names(group: Group) -> Iterable[str]:
    for member in group:
        if isinstance(member, str):
            yield member
        else:
            options = (fields_of(component.options) for component in member.values())
            yield from dict.fromkeys(name for declared in options for name in declared)


def plain(value: Any) -> Any:
    """Returns None for whatever marks a missing value (None, NaN, pandas.NA), tuples for lists."""
    if hasattr(value, "__len__") and not isinstance(value, str):
        return tuple(value)
    try:
        return value if value == value else None
    except TypeError:  # pandas.NA is neither true nor false
        return None
