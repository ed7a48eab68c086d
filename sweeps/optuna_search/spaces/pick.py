"""How images are picked inside the clusters of k-means, how many of each, by which difficulty.

With `--set clusterer=…` inside those of another one; of DBSCAN's and HDBSCAN's no medoids, which
`--set pick=…` fixes to another one.
"""

from typing import Any

import optuna

from distill.selection.registry import PICKS
from sweeps.optuna_search.suggest import suggest_picks, suggest_strata

BASE = {"ipc": 10}
DEFAULT = {"pick": "nearest", "quota": "one"}


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Returns the fields of one trial."""
    found = suggest_picks(trial, tuple(PICKS))
    return found | suggest_strata(trial, found["quota"])
