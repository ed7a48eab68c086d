"""Clusterer with its options, picks, weights, networks, clustering interval, K and lr_img.

Every clusterer has other options, and only these are sampled ("define by run").
"""

from typing import Any

import optuna

from distill.clustering.registry import CLUSTERERS, EQUALLY_LARGE
from distill.config.picks import offers_picks
from distill.networks.registry import NETWORK_SOURCES
from sweeps.optuna_search.suggest import (
    searched_names,
    suggest_options,
    suggest_picks,
    suggest_strata,
)

BASE = {"ipc": 10}


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Returns the fields of one trial. A class of digits has 125 training images."""
    clusterer = trial.suggest_categorical("clusterer", searched_names(CLUSTERERS))
    weights: dict[str, Any] = {"weights": trial.suggest_categorical("weights", ["none", "size"])}
    if weights["weights"] == "size" and clusterer not in EQUALLY_LARGE:
        weights["weights_in"] = trial.suggest_categorical(
            "weights_in", ["matching", "training", "both"]
        )
    networks = trial.suggest_categorical("networks", list(NETWORK_SOURCES))
    if weights["weights"] == "size" and clusterer == "hdbscan":
        weights["strength_weights"] = trial.suggest_categorical("strength_weights", [False, True])
    picks = suggest_picks(trial) if offers_picks(clusterer) else {}
    picks |= suggest_strata(trial, picks.get("quota"))
    return {
        "clusterer": clusterer,
        **suggest_options(trial, CLUSTERERS, clusterer),
        **picks,
        **weights,
        "networks": networks,
        **suggest_options(trial, NETWORK_SOURCES, networks),
        "cluster_interval": trial.suggest_int("cluster_interval", 1, 50, log=True),
        "n_representatives": trial.suggest_int("n_representatives", 16, 120, log=True),
        "lr_img": trial.suggest_float("lr_img", 1e-5, 1e-1, log=True),
    }
