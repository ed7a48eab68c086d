"""What the sweep itself costs: trivial trials through Ray, the store and the display.

    uv run python tests/benchmarks/sweep_overhead.py [N_TRIALS]

Prints the seconds from start to end, those that the trials worked, and the sweep's own seconds a
trial: the time that a slot spent on a trial beyond the trial's own work.
"""

import sys
import tempfile
import time
from typing import Any

from distill.config.distillation import DistillationConfig
from sweeps.cli.display import SweepDisplay
from sweeps.cluster.connection import connect
from sweeps.cluster.runner import run_trials
from sweeps.cluster.worker import WorkOrder
from sweeps.store.store import Store, load_results

TRIVIAL: dict[str, Any] = {
    "clusterer": "random",
    "init": "random",
    "width": 8,
    "depth": 2,
    "n_outer": 0,
    "n_eval": 1,
    "eval_epochs": 1,
    "eval_every": 0,
}


def main(n_trials: int = 200) -> None:
    """Runs the benchmark and prints its figures."""
    plan = [DistillationConfig.from_dict(TRIVIAL | {"seed": seed}) for seed in range(n_trials)]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder + "/results")
        store.create()
        start = time.perf_counter()
        with connect(None) as cluster, SweepDisplay("overhead", n_trials, 0) as display:
            connected = time.perf_counter()
            slots = cluster.slots(1, 0)
            run_trials(
                plan,
                data_for=plan[:1],
                order=WorkOrder(store=store, sweep="overhead"),
                cpus_per_trial=1,
                data_root="data",
                max_concurrent=None,
                display=display,
            )
            ended = time.perf_counter()
        rows = load_results(store.uri)
    assert len(rows) == n_trials
    worked = float(rows["total_seconds"].sum())
    wall = ended - connected
    print(f"{n_trials} trials on {slots} slots")
    print(f"Ray up after       {connected - start:8.1f} s")
    print(f"sweep              {wall:8.1f} s")
    print(f"trials' own work   {worked:8.1f} s in all")
    print(f"sweep's own        {(wall * slots - worked) / n_trials:8.3f} s a trial and slot")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
