"""How long the results of many trials take to read, and how much memory.

    uv run python tests/benchmarks/store_reading.py [N_TRIALS]

Makes a store of so many trials (10,000 by default) on the local disk and reads it in fresh
processes: file by file, and after `Store.compact`. Seconds are those of the call alone, by the
clock and of a core; peak memory is that of the process, pandas and pyarrow included.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from distill.clustering.registry import CLUSTERERS
from distill.config.base import SCHEMA_VERSION
from distill.config.distillation import DistillationConfig
from sweeps.store.rows import row_content
from sweeps.store.store import Store

N_PUT = 100
"""Results written the way a trial does, synced to the disk; the others are put there quickly."""

READER = """
import resource, sys, time
from sweeps.store.store import Store, load_results

uri, what = sys.argv[1:]
calls = {
    "load_results": lambda: len(load_results(uri)),
    "statuses": lambda: len(Store(uri).statuses()),
    "compact": lambda: Store(uri).compact(settled_seconds=0),
    "nothing": lambda: 0,
}
start, cpu_start = time.perf_counter(), time.process_time()
n = calls[what]()
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{what:<14}{n:>9} rows {seconds:9.2f} s  ({cpu:7.2f} s of a core)   peak {peak:6.0f} MB")
"""


def main(n_trials: int = 10_000) -> None:
    """Runs the benchmark and prints its figures."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "results")
        store.create()
        start = time.perf_counter()
        images = pa.table({"image": [os.urandom(1_000) for _ in range(10)]})
        curve = [{"outer": outer, "matching_loss": 0.1} for outer in range(20)]
        for i in range(N_PUT):
            store.put_result(_row(i), curve, {"distilled": images})
        print(f"put_result    {(time.perf_counter() - start) / N_PUT * 1000:9.1f} ms a trial")
        for i in range(N_PUT, n_trials):
            row = _row(i)
            path = Path(store.uri) / "trials" / f"{row['trial_id']}.parquet"
            path.write_bytes(row_content(row))
        _read(store, "nothing")
        print("file by file")
        _read(store, "load_results", "statuses")
        print("compacted")
        _read(store, "compact", "load_results", "statuses")


def _row(i: int) -> dict[str, Any]:
    """A row of its own clusterer, seed and numbers."""
    clusterer = tuple(CLUSTERERS)[i % len(CLUSTERERS)]
    config = DistillationConfig(dataset="cifar10", clusterer=clusterer, seed=i)
    numbers = ("test_accuracy_mean", "test_loss_mean", "total_seconds")
    return {
        "trial_id": config.trial_id,
        "schema_version": SCHEMA_VERSION,
        "kind": "distillation",
        "status": "ok",
        "status_message": "",
        "sweep": "benchmark",
        "phase": "grid",
        "attempt": 1,
        "host": "node-17.example",
        **config.resolve().to_dict(),
        "network_scores": {"convnet": {"accuracies": [0.1] * 5, "losses": [1.5] * 5}},
        "git_commit": "0123456789abcdef" * 2,
        "fingerprint": "0123456789abcdef" * 4,
        "torch_version": "2.11.0",
        "device": "NVIDIA H200",
        "started_at": f"2026-01-{i % 28 + 1:02d}T{i % 24:02d}:00:00+00:00",
        **dict.fromkeys(numbers, i / 1_000_000),
    }


def _read(store: Store, *calls: str) -> None:
    for call in calls:
        subprocess.run([sys.executable, "-c", READER, store.uri, call], check=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
