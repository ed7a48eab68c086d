"""The work of a distillation: clusterings, matching steps, network updates, evaluations."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from distill.clustering.registry import CLUSTERERS
from distill.config.distillation import DistillationConfig
from distill.config.picks import chooses_otherwise
from distill.networks.registry import NETWORKS
from sweeps.cost.model import CostModel, Group, Values

_NETWORK = ("dataset", "image_size", "network", NETWORKS)
_SPACE = ("clusterer", "embedding", "projection_dim")
_SYNTHETIC = ("ipc", "factor")

COST_GROUPS: dict[str, tuple[Group, ...]] = {
    "clustering": (
        (*_NETWORK, *_SPACE, CLUSTERERS, "n_representatives"),
        (*_NETWORK, *_SPACE),
    ),
    "matching": (
        # Paper 1's variants choose as many images as they find clusters.
        (*_NETWORK, *_SYNTHETIC, "match", "augment", "n_representatives", "batch_maker"),
        (*_NETWORK, *_SYNTHETIC, "match", "augment", "n_representatives"),
        (*_NETWORK, "match"),
    ),
    "network": (
        # Networks that are briefly trained for the difficulty are a cost that a trial has once.
        (*_NETWORK, "net_augment", "n_net_batches", "net_batch_size", "brief_epochs"),
        (*_NETWORK, "net_augment", "n_net_batches", "net_batch_size"),
        _NETWORK,
    ),
    "evaluation": (
        (*_NETWORK, *_SYNTHETIC, "eval_networks", "eval_augment", "eval_batch_size", "eval_split"),
        (*_NETWORK, "eval_networks"),
    ),
}
"""What a part's price depends on, from the narrowest group of trials to the widest."""

_WORK_FIELDS = (
    *("match", "n_outer", "n_inner", "cluster_interval", "init"),
    *("eval_every", "n_eval", "n_eval_curve"),
    *("eval_epochs", "batch_syn_max", "el2n_networks", "el2n_epochs"),
)

_CALIBRATION: tuple[dict[str, Any], ...] = (
    {"n_inner": 2, "cluster_interval": 2, "eval_epochs": 4},
    {"n_inner": 6, "cluster_interval": 2, "eval_epochs": 40},
)
"""Two lengths, to separate the costs that every trial has once (the first GPU kernels, tests)."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work of a trial, counted.

    Attributes:
        n_clusterings: of all classes, the one of the initial images included.
        n_inner_loops: inner loops, each with a matching step a class and a network update.
        n_networks: networks trained by the evaluations, on the curve and at the end.
        n_epochs: epochs of all of them.
    """

    n_clusterings: int
    n_inner_loops: int
    n_networks: int
    n_epochs: int


def work_units(config: DistillationConfig) -> Work:
    """Returns the work of a trial that runs to its end."""
    return _work(config.resolve().to_dict())


def _work(values: Values) -> Work:
    n_outer, n_inner, every = values["n_outer"], values["n_inner"], values["eval_every"]
    if values["match"] == "none":
        n_outer = 0
    # Paper 1's agglomerative clustering starts from the first images of a class.
    clusters_first = values["init"] in ("kmeans", "centroids") or (
        values["init"] == "clusters" and values["clusterer"] != "agglomerative_published"
    )
    n_points = math.ceil(n_outer / every) if every else 0
    n_architectures = len({values["network"], *values["eval_networks"]})
    n_networks = n_points * values["n_eval_curve"] + n_architectures * values["n_eval"]
    return Work(
        n_clusterings=clusters_first + n_outer * math.ceil(n_inner / values["cluster_interval"]),
        n_inner_loops=n_outer * n_inner,
        n_networks=n_networks,
        n_epochs=n_networks * values["eval_epochs"],
    )


def _units(values: Values) -> dict[str, tuple[float, int]]:
    """Returns the work of each part, in units of equal cost within its widest group, and bases."""
    work = _work(values)
    n_synthetic = values["ipc"] * values["factor"] ** 2
    n_matched = values["n_representatives"] + min(n_synthetic, values["batch_syn_max"])
    n_trained = values["n_net_batches"] * values["net_batch_size"]
    return {
        "clustering": (work.n_clusterings, 1),
        "matching": (work.n_inner_loops * n_matched, 1),
        "network": (work.n_inner_loops * n_trained, 1),
        "evaluation": (work.n_epochs * n_synthetic, work.n_networks),
    }


def _derived(values: Values) -> dict[str, Any]:
    clusterer = values["clusterer"]
    makes_batches = clusterer in CLUSTERERS.published_variants().values()
    brief = (values["el2n_networks"] or 0) * (values["el2n_epochs"] or 0)
    return {"batch_maker": clusterer if makes_batches else None, "brief_epochs": brief}


def _shortened(config: DistillationConfig) -> Iterable[DistillationConfig]:
    """Yields a trial in two lengths, whatever its seed.

    They start from random images, so that every clustering in them is of the kind that the loop
    repeats; but not where images are picked for the start alone.
    """
    picks_start = config.match == "none" and chooses_otherwise(config)
    init = config.init if picks_start else "random"
    for lengths in _CALIBRATION:
        yield config.replace(seed=0, n_outer=1, init=init, n_eval=1, eval_every=0, **lengths)


DISTILLATION = CostModel(
    groups=COST_GROUPS,
    work_fields=_WORK_FIELDS,
    derived=_derived,
    units=_units,
    shortened=_shortened,
)
