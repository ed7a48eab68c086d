"""Selector of real images with its options, weights in training, and the fraction that is selected.

More images are nearly always better: search for accuracy and seconds together, or fix the fraction.
"""

from typing import Any

import optuna

from distill.clustering.registry import CLUSTERERS, EQUALLY_LARGE
from distill.components import fields_of
from distill.config.picks import offers_picks
from distill.config.selection import SelectionConfig
from distill.selection.registry import SELECTORS
from sweeps.optuna_search.suggest import (
    searched_names,
    suggest_options,
    suggest_picks,
    suggest_strata,
)

CONFIG = SelectionConfig

BASE: dict[str, Any] = {}


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Returns the fields of one trial."""
    selector = trial.suggest_categorical("selector", searched_names(SELECTORS))
    options = suggest_options(trial, SELECTORS, selector)
    if "clusterer" in options:
        options |= suggest_options(trial, CLUSTERERS, options["clusterer"])
    return {
        "selector": selector,
        **options,
        **_picks(trial, selector, options),
        **_weights(trial, selector, options),
        "fraction": trial.suggest_float("fraction", 0.02, 0.5, log=True),
    }


def _picks(trial: optuna.Trial, selector: str, options: dict[str, Any]) -> dict[str, Any]:
    """Returns pick, quota and their options, where the clusters of a selector have any."""
    has_picks = "pick" in fields_of(SELECTORS[selector].options)
    if not has_picks or not offers_picks(options["clusterer"]):
        return {}
    # Other embeddings have no network whose loss or margin an image could have.
    has_network = options["embedding"] in (None, "features")
    picks = suggest_picks(trial, with_difficulty=has_network)
    return picks | suggest_strata(trial, picks["quota"])


def _weights(trial: optuna.Trial, selector: str, options: dict[str, Any]) -> dict[str, Any]:
    """Returns whether the images of a selector that compares them weigh in training."""
    compares = "embedding" in fields_of(SELECTORS[selector].options)
    if not compares or options.get("clusterer") in EQUALLY_LARGE:
        return {}
    return {"weights_in": trial.suggest_categorical("weights_in", ["matching", "training"])}
