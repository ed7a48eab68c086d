"""Clusterer with its options, weights, clustering interval, representatives and lr_img.

Every clusterer has other options, and only these are sampled ("define by run").
"""

from collections.abc import Callable
from typing import Any

import optuna

BASE = {"ipc": 10}


def _dbscan(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "eps_quantile": trial.suggest_float("eps_quantile", 0.05, 1.0),
        "min_samples": trial.suggest_int("min_samples", 2, 10),
    }


def _birch(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "threshold_quantile": trial.suggest_float("threshold_quantile", 0.05, 1.0),
        "branching_factor": trial.suggest_int("branching_factor", 10, 100, log=True),
    }


def _agglomerative(trial: optuna.Trial) -> dict[str, Any]:
    linkages = ["ward", "complete", "average", "single"]
    return {"linkage": trial.suggest_categorical("linkage", linkages)}


def _kmeans_plus_plus(trial: optuna.Trial) -> dict[str, Any]:
    return {"n_local_trials": trial.suggest_int("n_local_trials", 1, 8)}


def _kmedoids(trial: optuna.Trial) -> dict[str, Any]:
    return {"medoid_init": trial.suggest_categorical("medoid_init", ["lab", "build", "random"])}


def _none(trial: optuna.Trial) -> dict[str, Any]:
    del trial
    return {}


_OPTIONS: dict[str, Callable[[optuna.Trial], dict[str, Any]]] = {
    "kmeans": _none,
    "kmeans++": _kmeans_plus_plus,
    "kmedoids": _kmedoids,
    "dbscan": _dbscan,
    "agglomerative": _agglomerative,
    "birch": _birch,
}


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Returns the fields of one trial. A class of digits has 125 training images."""
    clusterer = trial.suggest_categorical("clusterer", list(_OPTIONS))
    return {
        "clusterer": clusterer,
        **_OPTIONS.get(clusterer, _none)(trial),
        "weights": trial.suggest_categorical("weights", ["none", "size"]),
        "cluster_interval": trial.suggest_int("cluster_interval", 1, 50, log=True),
        "n_representatives": trial.suggest_int("n_representatives", 16, 120, log=True),
        "lr_img": trial.suggest_float("lr_img", 1e-5, 1e-1, log=True),
    }
