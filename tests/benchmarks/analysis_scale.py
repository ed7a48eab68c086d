"""Time and memory of the analysis of many trials.

    uv run python tests/benchmarks/analysis_scale.py [N_TRIALS [N_SEEDS]]

Makes a store of so many distillations (100,000 by default, in grids of N_SEEDS seeds, 10 by
default) with their plans, and analyses it in a fresh process, step by step: load, tables, findings,
`summarise`. Then loads a store without compacted rows, at a size where reading file by file does
not take minutes. Seconds are wall-clock time; peak memory is that of the process up to there,
pandas and pyarrow included (Linux only).
"""

import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from distill.config.base import SCHEMA_VERSION
from distill.config.distillation import DistillationConfig
from sweeps.grid.distillation_presets import EXTENDED
from sweeps.grid.plan import make_plan
from sweeps.store.compaction import put_compacted, stamped
from sweeps.store.files import Files
from sweeps.store.rows import row_content
from sweeps.store.schema import trial_schema
from sweeps.store.store import Store

DATASETS = ("cifar10", "cifar100", "mnist", "fashion_mnist", "svhn")
PROTOCOLS = ("sound", "published")

N_NOT_COMPACTED = 2_000

READER = """
import pathlib, re, sys, time

def peak_mb():
    # Not resource.getrusage: a child begins with its parent's peak there.
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) / 1024

def step(name, call):
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    print(f"{name:<12}{seconds:8.2f} s   peak {peak_mb():6,.0f} MB", flush=True)
    return result

def imports():
    import analysis.data.reading, analysis.findings.findings, analysis.tables.comparing

start = time.perf_counter()
step("imports", imports)
from analysis import load, summarise
from analysis.findings.findings import findings
from analysis.tables.build import build_from
from analysis.tables.layout import layout_of

sweeps = step("load", lambda: load(sys.argv[1]))
if "load only" not in sys.argv:
    trials = step("trials", lambda: sweeps.trials("distillation"))
    tables = step("tables", lambda: build_from(trials, layout_of("distillation"))).tables
    found = step("findings", lambda: findings(tables))
    summary = step("summarise", lambda: summarise(sweeps))
    print(f"{len(tables):,} tables, {len(found):,} findings, {len(summary):,} groups")
print(f"{len(sweeps.results):,} rows: {time.perf_counter() - start:.2f} s in all")
"""


def main(n_trials: int = 100_000, n_seeds: int = 10) -> None:
    """Runs the benchmark and prints its times."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        store = Store(Path(folder) / "compacted")
        store.create()
        _fill(store, n_trials, n_seeds)
        print(f"{n_trials:,} trials, {n_seeds} seeds ({time.perf_counter() - start:.0f} s to make)")
        _read(store)
        plain = Store(Path(folder) / "plain")
        plain.create()
        for configs in _grids(N_NOT_COMPACTED, n_seeds):
            for config in configs:
                row = _row(config)
                path = Path(plain.uri) / "trials" / f"{row['trial_id']}.parquet"
                path.write_bytes(row_content(row))
        print(f"{N_NOT_COMPACTED:,} trials, file by file")
        _read(plain, "load only")


def _fill(store: Store, n_trials: int, n_seeds: int) -> None:
    """Puts compacted rows into a store, and a submission for every grid that they are of.

    The rows' own files hold nothing here: of a compacted row only their size and time are read.
    """
    tables = []
    for configs in _grids(n_trials, n_seeds):
        store.put_submission(
            {
                "name": "benchmark",
                "command": ["--preset", "extended"],
                "trial_ids": [config.trial_id for config in configs],
                "plan": [{"kind": config.kind, **config.to_dict()} for config in configs],
            }
        )
        tables.append(pa.Table.from_pylist([_row(config) for config in configs], trial_schema()))
        for config in configs:
            (Path(store.uri) / "trials" / f"{config.trial_id}.parquet").write_bytes(b"")
    files = Files(store.uri)
    rows = stamped(pa.concat_tables(tables), files.stamps("trials"))
    put_compacted(files, rows)


def _grids(n_trials: int, n_seeds: int) -> Iterator[list[DistillationConfig]]:
    """Yields the extended grid on all data sets, under both protocols, in one size after another.

    Until there are `n_trials`; the last grid is cut.
    """
    left = n_trials
    for n_outer in itertools.count(100):
        for dataset, protocol in itertools.product(DATASETS, PROTOCOLS):
            configs = make_plan(
                EXTENDED,
                protocols=[protocol],
                seeds=range(n_seeds),
                dataset=dataset,
                set_values={"n_outer": str(n_outer)},
                limit=left,
            )
            yield configs
            left -= len(configs)
            if left == 0:
                return


def _row(config: DistillationConfig) -> dict[str, Any]:
    """A finished trial with scores that do not matter; one of a hundred has none."""
    score = int(config.trial_id, 16) / 16**16
    ok = score > 0.01
    numbers = ("test_accuracy_mean", "test_accuracy_best_mean", "test_loss_mean", "matching_loss")
    return {
        "trial_id": config.trial_id,
        "schema_version": SCHEMA_VERSION,
        "kind": "distillation",
        "status": "ok" if ok else "infeasible",
        "status_message": "",
        "sweep": "benchmark",
        "phase": "grid",
        "attempt": 1,
        "host": "node-17.example",
        "gpu_share": 0.25,
        "finished_at": "2026-01-02T03:04:05+00:00",
        **config.resolve().to_dict(),
        **(dict.fromkeys(numbers, score) if ok else {}),
        "network_scores": '{"convnet": {"accuracies": [0.5, 0.6], "losses": [1.5, 1.25]}}',
        "total_seconds": 1000 * score,
        "fingerprint": config.dataset,
        "git_commit": "0123456789abcdef" * 2,
        "torch_version": "2.11.0",
        "device": "NVIDIA H200",
    }


def _read(store: Store, *arguments: str) -> None:
    subprocess.run([sys.executable, "-c", READER, store.uri, *arguments], check=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
