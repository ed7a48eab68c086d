"""Trials grouped into tables: one for each setting, and for each size where the layout says so."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from analysis.data.trials import TrialRecord
from analysis.tables.layout import Scope, TableLayout

Group = tuple[TableLayout, Scope, list[TrialRecord]]
"""A layout, what the trials share, and the trials."""


def by_setting(trials: Iterable[TrialRecord], layout: TableLayout) -> list[Group]:
    """Returns the trials of each setting with the layout of their tables, in their order."""
    names = layout.setting_fields
    groups: dict[tuple[Any, ...], list[TrialRecord]] = {}
    keys: dict[int, tuple[Any, ...]] = {}  # trials share their configurations
    for trial in trials:
        key = keys.get(id(trial.config))
        if key is None:
            key = keys[id(trial.config)] = tuple(trial.config[name] for name in names)
        groups.setdefault(key, []).append(trial)
    settings = {key: dict(zip(names, key, strict=True)) for key in groups}
    layouts = {key: layout.special_for(setting) for key, setting in settings.items()}
    varying = _varying(settings.values(), names)
    neighbours: dict[Any, list[Mapping[str, Any]]] = {}
    for key, setting in settings.items():
        neighbours.setdefault(_title_key(layouts[key], setting), []).append(setting)
    found = []
    for key in sorted(groups, key=_setting_order(layout, layouts, settings, varying)):
        setting = settings[key]
        distinct = _varying(neighbours[_title_key(layouts[key], setting)], varying)
        scope = Scope(setting=setting, distinguishing={name: setting[name] for name in distinct})
        found.append((layouts[key], scope, groups[key]))
    return found


def _setting_order(
    layout: TableLayout,
    layouts: Mapping[tuple[Any, ...], TableLayout],
    settings: Mapping[tuple[Any, ...], Mapping[str, Any]],
    varying: Sequence[str],
) -> Any:
    """Returns a sort key of settings: by layout, then by the fields of their titles."""
    positions = {id(one): i for i, one in enumerate(layout.all_layouts)}

    def order(key: tuple[Any, ...]) -> list[Any]:
        special, setting = layouts[key], settings[key]
        names = dict.fromkeys((*special.title_fields, *varying))
        fields = [special.facts.order(name, setting[name]) for name in names]
        return [positions[id(special)], *fields]

    return order


def _title_key(layout: TableLayout, setting: Mapping[str, Any]) -> tuple[Any, ...]:
    return (id(layout), *(setting[name] for name in layout.title_fields))


def _varying(settings: Iterable[Mapping[str, Any]], names: Iterable[str]) -> list[str]:
    """Returns the fields in which settings differ."""
    settings = list(settings)
    return [name for name in names if len({setting[name] for setting in settings}) > 1]


def by_size(group: Group) -> list[Group]:
    """Returns a setting as one group for each size; as it is where its layout has no sizes.

    Trials of components without a size are in all of them.
    """
    layout, scope, trials = group
    name = layout.size_field
    if name is None:
        return [group]
    sized = {id(trial.config): layout.facts.applies(name, trial.config) for trial in trials}
    sizes = {trial.config[name] for trial in trials if sized[id(trial.config)]} or {None}
    return [
        (
            layout,
            Scope(setting=scope.setting, distinguishing=scope.distinguishing, size=size),
            [t for t in trials if t.config[name] == size or not sized[id(t.config)]],
        )
        for size in sorted(sizes, key=lambda size: (size is None, size))
    ]
