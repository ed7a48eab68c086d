"""Sample components and their options as their declarations say (`option(…, search=…)`)."""

from collections.abc import Sequence
from typing import Any

import optuna

from distill.components import Field, Registry, SearchRange, fields_of, plain_type
from distill.selection.registry import (
    DIFFICULTIES,
    PICKS,
    QUOTAS,
    SEARCHED_PICKS,
    StratifiedOptions,
)


def searched_names(registry: Registry) -> list[str]:
    """Returns the components that searches over all of them try, in the order of the registry."""
    return [name for name, component in registry.items() if component.searched]


def suggest_options(
    trial: optuna.Trial, registry: Registry, component: str, names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Returns a value for every searched option of a component, by name.

    Args:
        trial: samples them.
        registry: of the component.
        component: its name; an unknown one has no options: Optuna may propose a component that is
            no longer registered.
        names: the options in the order in which they are sampled; None: as they are declared.
    """
    if component not in registry:
        return {}
    declared = fields_of(registry[component].options)
    return {
        name: suggest_option(trial, name, declared[name])
        for name in (declared if names is None else names)
        if declared[name].metadata["search"] is not None
    }


def suggest_picks(
    trial: optuna.Trial, picks: Sequence[str] = SEARCHED_PICKS, *, with_difficulty: bool = True
) -> dict[str, Any]:
    """Returns a pick and a quota, and where they need one the difficulty.

    Args:
        trial: samples them.
        picks: names of picks.
        with_difficulty: whether the difficulty is sampled; else it is the default one.
    """
    found: dict[str, Any] = {
        "pick": trial.suggest_categorical("pick", list(picks)),
        "quota": trial.suggest_categorical("quota", list(QUOTAS)),
    }
    options = (fields_of(PICKS[found["pick"]].options), fields_of(QUOTAS[found["quota"]].options))
    if with_difficulty and any("difficulty" in declared for declared in options):
        found["difficulty"] = trial.suggest_categorical("difficulty", list(DIFFICULTIES))
    return found


def suggest_strata(trial: optuna.Trial, quota: str | None) -> dict[str, Any]:
    """Returns the options of quotas by difficulty; none for another quota."""
    if quota != "stratified":
        return {}
    lowest = StratifiedOptions().prune_hardest
    return {
        "n_strata": trial.suggest_int("n_strata", 2, 50, log=True),
        "prune_hardest": trial.suggest_float("prune_hardest", lowest, 0.5),
    }


def suggest_option(trial: optuna.Trial, name: str, declared: Field) -> Any:
    """Returns a value for a searched option."""
    search = declared.metadata["search"]
    if not isinstance(search, SearchRange):
        return trial.suggest_categorical(name, list(search))
    if plain_type(declared) is int:
        return trial.suggest_int(name, int(search.low), int(search.high), log=search.log)
    return trial.suggest_float(name, search.low, search.high, log=search.log)
