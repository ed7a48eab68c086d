"""Selector of real images with its options, and the fraction that is selected.

More images are nearly always better: search for accuracy and seconds together, or fix the fraction.
"""

from typing import Any

import optuna

from distill.config.selection import SelectionConfig
from distill.selection.registry import SELECTORS
from sweeps.optuna_search.suggest import searched_names, suggest_options

CONFIG = SelectionConfig

BASE: dict[str, Any] = {}


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Returns the fields of one trial."""
    selector = trial.suggest_categorical("selector", searched_names(SELECTORS))
    return {
        "selector": selector,
        **suggest_options(trial, SELECTORS, selector),
        "fraction": trial.suggest_float("fraction", 0.02, 0.5, log=True),
    }
