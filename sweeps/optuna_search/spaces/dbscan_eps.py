"""DBSCAN's radius in feature units, as paper 1 gives it, and MinPts.

The limits suit 32×32 images; features of other images may have another scale, so narrow them
(`--range eps=0.03:0.3` for digits). Most of the range is one cluster, or noise alone: the share of
core points goes from 5 % to all of them while `eps` doubles.
"""

from typing import Any

import optuna

BASE = {"clusterer": "dbscan", "ipc": 10}

DEFAULT = {"eps": 15.0, "min_samples": 2}


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Returns the fields of one trial."""
    return {
        "eps": trial.suggest_float("eps", 1.0, 50.0, log=True),
        "min_samples": trial.suggest_int("min_samples", 1, 10),
    }
