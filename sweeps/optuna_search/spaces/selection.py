"""Selector of real images with its options, and the fraction that is selected.

More images are nearly always better: search for accuracy and seconds together, or fix the fraction.
"""

from collections.abc import Callable
from typing import Any

import optuna

from distill.config.selection import SelectionConfig

CONFIG = SelectionConfig

BASE: dict[str, Any] = {}


def _embedding(trial: optuna.Trial) -> dict[str, Any]:
    return {"embedding": trial.suggest_categorical("embedding", ["features", "pixels", "pca"])}


def _clusterer(trial: optuna.Trial) -> dict[str, Any]:
    clusterers = ["kmeans", "kmeans++", "kmedoids", "agglomerative"]
    return {"clusterer": trial.suggest_categorical("clusterer", clusterers)}


def _cluster_grid(trial: optuna.Trial) -> dict[str, Any]:
    return {
        **_clusterer(trial),
        "n_clusters": trial.suggest_int("n_clusters", 1, 10),
        "pca_dim": trial.suggest_int("pca_dim", 1, 4),
        "grid_size": trial.suggest_int("grid_size", 1, 40, log=True),
    }


def _nearest_center(trial: optuna.Trial) -> dict[str, Any]:
    return _embedding(trial) | _clusterer(trial)


def _none(trial: optuna.Trial) -> dict[str, Any]:
    del trial
    return {}


_OPTIONS: dict[str, Callable[[optuna.Trial], dict[str, Any]]] = {
    "random": _none,
    "cluster_grid": _cluster_grid,
    "herding": _embedding,
    "k_center": _embedding,
    "nearest_center": _nearest_center,
}


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Returns the fields of one trial."""
    selector = trial.suggest_categorical("selector", list(_OPTIONS))
    return {
        "selector": selector,
        **_OPTIONS.get(selector, _none)(trial),
        "fraction": trial.suggest_float("fraction", 0.02, 0.5, log=True),
    }
