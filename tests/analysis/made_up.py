"""A store of made-up results with everything in it, for figures and the report.

uv run python -m tests.analysis.made_up DIR     # makes one as large as the paper, to look at
"""

import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from distill.config.distillation import DistillationConfig
from sweeps.store.store import Store
from tests.analysis.results import Row, config_of, failure_of, planned, row_of

METHODS = {
    # accuracy and loss in the end, clusters, share of the largest, noise
    "kmeans": (0.66, 4.8, 128.0, 0.03, 0.0),
    "kmeans++": (0.665, 4.3, 128.0, 0.025, 0.0),
    "kmedoids": (0.58, 4.5, 128.0, 0.02, 0.0),
    "dbscan": (0.53, 18.0, 140.0, 0.4, 0.5),
    "agglomerative": (0.57, 4.9, 128.0, 0.05, 0.0),
    "birch": (0.64, 4.7, 120.0, 0.06, 0.0),
}
HOSTILE = "<img src=x onerror=alert(1)>&\"'"
"""A name that must not become markup."""


def fill(
    store: Store,
    *,
    ipcs: tuple[int, ...] = (1, 10),
    seeds: int = 3,
    n_outer: int = 1000,
    every: int = 50,
) -> None:
    """Puts a grid, a search, failures and submissions into a store."""
    plan = []
    for ipc in ipcs:
        for clusterer in METHODS:
            for weights in ("none", "size"):
                if clusterer == "agglomerative" and weights == "size":
                    continue
                for protocol in ("sound", "published"):
                    if clusterer == "birch" and protocol == "published":
                        continue
                    options: dict[str, Any] = {"eps": 15.0} if clusterer == "dbscan" else {}
                    for seed in range(seeds):
                        config = config_of(
                            clusterer,
                            weights,
                            seed,
                            ipc=ipc,
                            protocol=protocol,
                            n_outer=n_outer,
                            **options,
                        )
                        plan.append(config)
                        _put(store, config, every=every)
        linkage = config_of("agglomerative", ipc=ipc, n_outer=n_outer, linkage="single")
        _put(store, linkage, every=every, statistics=(124.0, 0.975, 0.0), shift=-0.1)
        plan.append(linkage)
    plan.append(config_of("kmeans", seed=seeds, ipc=ipcs[0], n_outer=n_outer))
    infeasible = config_of("dbscan", "none", 0, ipc=50, eps=1.0, n_outer=n_outer)
    row = row_of(
        infeasible, None, status="infeasible", status_message=f"no cluster at all {HOSTILE}"
    )
    store.put_result(row | _provenance(), [])
    failed = config_of("kmedoids", "size", seeds, ipc=ipcs[0], n_outer=n_outer)
    plan.append(failed)
    store.put_failure(failed.trial_id, failure_of(failed, message=f"ValueError: {HOSTILE}"))
    store.put_submission(
        {
            "name": "paper",
            "script": "sweeps/full_grid.py",
            "command": ["--preset", "paper", "--protocol", "both", "--name", HOSTILE],
            "plan": [planned(config) for config in plan],
            "trial_ids": [config.trial_id for config in plan],
            "cluster": "1 node, 2 CPUs",
        }
    )
    _search(store)


def _put(
    store: Store,
    config: DistillationConfig,
    *,
    every: int,
    statistics: tuple[float, float, float] | None = None,
    shift: float = 0.0,
) -> None:
    random = np.random.default_rng(int(config.trial_id[:8], 16))
    method = config.clusterer
    final, loss, *typical = METHODS[method]
    n_clusters, largest, noise = statistics or typical
    final += shift - (0.17 if config.ipc == 1 else 0.0) + 0.008 * random.standard_normal()
    loss *= 5 if config.ipc == 1 else 1
    n_outer = int(config.n_outer or 1)
    curve = []
    for outer in range(n_outer + 1):
        progress = 1 - math.exp(-5 * outer / n_outer)
        share = noise * (1.6 - 0.8 * progress) + 0.01 * random.standard_normal() * (noise > 0)
        is_scored = outer % every == 0 or outer == n_outer
        curve.append(
            {
                "outer": outer,
                "matching_loss": None
                if outer == 0
                else loss * (1 + math.exp(-6 * outer / n_outer)) * (1 + 0.04 * random.random()),
                "accuracy_mean": final - 0.2 * (1 - progress) + 0.006 * random.standard_normal()
                if is_scored
                else None,
                "accuracy_std": 0.005 if is_scored else None,
                "n_networks": 3 if is_scored else None,
                "n_representatives_mean": n_clusters,
                "n_clusters_mean": n_clusters + random.integers(-3, 4),
                "largest_cluster_mean": largest,
                "noise_mean": min(max(share, 0.0), 1.0),
            }
        )
    last = curve[-1]
    seconds = {"kmeans": 900, "kmeans++": 800, "kmedoids": 2500, "agglomerative": 4000}
    values = {
        "sweep": "paper",
        "matching_loss": last["matching_loss"],
        "total_seconds": seconds.get(method, 700) * (1 + 0.05 * random.random()),
        "gpu_share": 0.25,
        **{k: last[k] for k in last if k.endswith("_mean") and k != "accuracy_mean"},
    }
    row = row_of(config, last["accuracy_mean"], **values) | _provenance()
    store.put_result(row, curve, {"distilled": images_table(config, random)})


def _provenance() -> Row:
    return {
        "fingerprint": "0123456789abcdef",
        "device": "NVIDIA H200",
        "host": "node-1",
        "python_version": "3.12.1",
        "torch_version": "2.11.0",
        "torchvision_version": "0.26.0",
        "numpy_version": "2.1.0",
        "numba_version": None,
        "scikit_learn_version": "1.7.0",
        "ray_version": "2.60.0",
        "git_commit": "c0ffee0",
        "finished_at": "2030-01-02T03:04:05+00:00",
    }


def images_table(config: DistillationConfig, random: np.random.Generator) -> pa.Table:
    """A table in the Hub's layout: ten classes of smooth random pictures."""
    cells, labels = [], []
    for label in range(10):
        for index in range(config.ipc):
            low = random.integers(0, 255, size=(4, 4, 3), dtype=np.uint8)
            image = Image.fromarray(low).resize((32, 32), Image.Resampling.BILINEAR)
            buffer = io.BytesIO()
            image.save(buffer, "png")
            cells.append({"bytes": buffer.getvalue(), "path": f"{label}-{index}.png"})
            labels.append(label)
    names = [*"airplane automobile bird cat deer dog frog horse ship".split(), HOSTILE]
    features = {"label": {"names": names, "_type": "ClassLabel"}}
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("label", pa.int64()),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    return pa.table({"image": cells, "label": labels}, schema=schema)


def _search(store: Store, n_trials: int = 40) -> None:
    random = np.random.default_rng(0)
    for trial in range(n_trials):
        eps = float(np.exp(random.uniform(0, math.log(50))))
        min_samples = int(random.integers(1, 11))
        config = config_of(
            "dbscan",
            seed=trial,
            eps=eps,
            min_samples=min_samples,
            val_fraction=0.1,
            eval_split="val",
        )
        infeasible = eps < 2
        score = 0.5 + 0.1 * math.exp(-((math.log(eps / 15)) ** 2)) + 0.01 * random.standard_normal()
        row = row_of(
            config,
            None,
            phase="search",
            sweep="dbscan_eps",
            status="infeasible" if infeasible else "ok",
            val_accuracy_mean=None if infeasible else score,
            total_seconds=300.0,
        )
        store.put_result(row, [])
    store.put_submission(
        {
            "name": "dbscan_eps",
            "script": "sweeps/search.py",
            "command": ["dbscan_eps"],
            "searched": ["eps", "min_samples"],
        }
    )


if __name__ == "__main__":
    made = Store(Path(sys.argv[1]))
    made.create()
    fill(made)
