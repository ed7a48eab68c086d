"""Accuracy over seconds of distillation: fresh networks and a pool, random and k-means batches.

    uv run python tests/benchmarks/time_to_accuracy.py [--dataset parquet:TRAIN,TEST] [--seeds 5]
        [--first-seed 0] [--ipc 1 10] [--out DIR] [--target 38] [--clock cpu] [--set FIELD=VALUE …]

Trials of the size of the preset `small` (16×16 images, width 16), in turns, each with one thread:
for every seed and number of images per class k-means and random batches, both from the start of
k-means, with fresh networks and with a pool that the seed's trials share (its training counts for
each). Their rows are kept in DIR as those of a sweep, by clock, so that a run that is interrupted
goes on. Prints the seconds to an accuracy with intervals and the ratios to fresh networks with
k-means, and writes the figures, of all rows in DIR.

`--clock cpu` counts CPU seconds in place of the clock's, for a machine that other work shares, such
as processes of this benchmark with other seeds.
"""

import argparse
import functools
import itertools
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from analysis.data.reading import load
from analysis.figures.gather import plots
from analysis.figures.plot import write_plot
from analysis.findings.findings import findings
from analysis.tables.build import build
from distill.config.distillation import DistillationConfig
from distill.datasets import load_dataset
from distill.parsing import number
from distill.runtime import clock
from distill.trials.runner import run
from sweeps import full_grid
from sweeps.store.store import Store

ROWS: tuple[dict[str, Any], ...] = (
    {"clusterer": "kmeans", "networks": "fresh"},
    {"clusterer": "random", "init": "kmeans", "networks": "fresh"},
    {"clusterer": "kmeans", "networks": "pool"},
    {"clusterer": "random", "init": "kmeans", "networks": "pool"},
)

FIXED = ("clusterer", "init", "networks", "ipc", "seed", "weights")
"""Fields that `--set` cannot change: those of the rows, and those that have options."""


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu"])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--ipc", type=int, nargs="+", choices=[1, 10], default=[1, 10])
    parser.add_argument("--out", type=Path, help="default: a temporary folder")
    parser.add_argument("--target", type=functools.partial(number, minimum=1, maximum=100))
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    options = parser.parse_args()
    for change in options.set:
        if change.partition("=")[0] in FIXED:
            parser.error(
                f"--set {change}: {', '.join(FIXED)} are those of the rows that are compared; use "
                "--ipc, --seeds and --first-seed for theirs"
            )
    if options.clock == "cpu":
        clock.timer = time.process_time
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary)
        # Rows and pools have seconds in them: those of the two clocks are never mixed.
        os.environ["DREAM_SWEEP_CACHE"] = str(out / f"cache-{options.clock}")
        store = Store(out / f"results-{options.clock}")
        store.create()
        torch.set_num_threads(1)
        with threadpool_limits(1):
            seeds = range(options.first_seed, options.first_seed + options.seeds)
            for config in configs(options.dataset, seeds, options.ipc, options.set):
                run_one(config, store)
        report(store, out, options)


def configs(
    dataset: str, seeds: Iterable[int], ipc: Iterable[int], changes: list[str]
) -> Iterator[DistillationConfig]:
    """Yields the trials, seed by seed."""
    settings = ["eval_every=2", "n_eval_curve=2", "eval_epochs=120"]
    if dataset == "digits":  # 8×8 images, 140 of a class
        settings += ["image_size=8", "train_per_class=100"]
    changed = {change.partition("=")[0] for change in changes}
    settings = [s for s in settings if s.partition("=")[0] not in changed] + changes
    words = [word for setting in settings for word in ("--set", setting)]
    small = full_grid.COMMAND.plan(["--preset", "small", "--dataset", dataset, *words])
    for seed, n, row in itertools.product(seeds, ipc, ROWS):
        base = next(c for c in small if c["clusterer"] == "kmeans" and c["ipc"] == n)
        given = {"weights": "none", "seed": seed}
        yield DistillationConfig.from_dict(base.to_dict() | row | given)


def run_one(config: DistillationConfig, store: Store) -> None:
    """Runs a trial unless its row is there, and keeps it."""
    if store.has_row(config.trial_id):
        return
    arguments = config.data_arguments()
    data = load_dataset(arguments.pop("dataset"), **arguments)
    result = run(config, data)
    store.put_result({**result.row, "phase": "grid"}, result.curve, result.artifacts)
    last = result.curve[-1]
    print(
        f"seed {config.seed}, ipc {config.ipc}, {config.clusterer}, {config.networks}: "
        f"{100 * last['accuracy_mean']:.1f} % after {last['seconds']:.1f} s",
        flush=True,
    )


def report(store: Store, out: Path, options: argparse.Namespace) -> None:
    """Prints the seconds to the accuracy, and writes the figures."""
    sweeps = load(store.uri)
    target = None if options.target is None else options.target / 100
    tables = build(sweeps.results, target_accuracy=target).tables
    unit = "CPU seconds" if options.clock == "cpu" else "seconds"
    print(f"\n{unit} of one thread, evaluations left out:")
    for finding in findings(tables, sweeps):
        if finding.topic.name == "time":
            print("\n".join(f"  {case}" for case in finding.cases))
    for plot in plots(tables, sweeps):
        if "-time-" in plot.name:
            write_plot(plot, out)
            if options.out is not None:
                print(f"figure: {out / plot.name}.png")


if __name__ == "__main__":
    main()
