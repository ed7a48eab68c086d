"""DBSCAN's radius as a quantile of neighbour distances, and MinPts.

The quantile is the share of the points that are core points, so it means the same for every data
set, network and iteration. A plain `eps` does not: the distances to the second neighbour lie at
4.7 to 10 on CIFAR-10 under a ConvNet of width 32, and at 0.03 to 0.25 on digits, where they shrink
to less than half while the network trains (`dbscan_eps` searches it all the same).
"""

from typing import Any

import optuna

from distill.clustering.registry import CLUSTERERS
from sweeps.optuna_search.suggest import suggest_options

BASE = {"clusterer": "dbscan", "ipc": 10}

DEFAULT = {"eps_quantile": 0.5, "min_samples": 2}


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Returns the fields of one trial."""
    return suggest_options(trial, CLUSTERERS, "dbscan")
