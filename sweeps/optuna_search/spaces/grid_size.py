"""Paper 2's grid: cells per side, clusters and dimensions of its plane.

Real images are selected one from each occupied cell of a grid over the plane of the first principal
components, for every class and cluster; the missing ones are drawn at random. With few cells most
images are drawn at random; with very many too, as most cells are empty.
"""

from typing import Any

import optuna

from distill.config.selection import SelectionConfig
from distill.selection.registry import SELECTORS
from sweeps.optuna_search.suggest import suggest_options

CONFIG = SelectionConfig

BASE = {"selector": "cluster_grid", "fraction": 0.1, "n_eval": 2}

DEFAULT = {"grid_size": 8, "n_clusters": 2, "pca_dim": 2}


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Returns the fields of one trial; the default is the paper's plane with fewer cells."""
    names = ("grid_size", "n_clusters", "pca_dim")
    return suggest_options(trial, SELECTORS, "cluster_grid", names)
