"""Which share of a distillation's CPU time the measures of its clusterings take.

    uv run python tests/benchmarks/quality.py [--preset small] [--dataset parquet:TRAIN,TEST]
        [--clusterer kmeans] [--ipc 10] [--match none] [--loops N] [--outer N] [--seed 0]

Runs a trial of a preset, after a short one that loads and compiles what is needed, and counts the
CPU seconds of all threads that pass within the measures, those of the embedding that is made for
them alone (of clusterers that do not look at the points, at the last clustering), and those of the
whole trial with its start and its evaluation. It prints them and the share of both, which is to be
below 5 % in trials of `small` and larger ones. Fewer `--outer` iterations make the trial shorter,
and the share larger: the start and that embedding are made once a trial.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from distill.clustering.base import Clusterer
from distill.config.distillation import DistillationConfig
from distill.datasets import load_dataset
from distill.dream.loop import Dream
from distill.trials.runner import run
from sweeps.grid.distillation_presets import PRESETS

TARGET = 0.05
"""Largest share."""


@dataclass
class Spent:
    """CPU seconds of all threads within some calls, and the number of these calls."""

    seconds: float = 0.0
    n_calls: int = 0

    def time(self, call: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Returns what a call returns, and counts it."""
        start = time.process_time()
        result = call(*arguments, **keywords)
        self.seconds += time.process_time() - start
        self.n_calls += 1
        return result


def timed_methods() -> tuple[Spent, Spent]:
    """Wraps the measures, and the embedding that is made for them alone; returns their times."""
    measuring, embedding = Spent(), Spent()
    measure, points_of = Dream._measure, Dream._points

    def timed_measure(*arguments: Any, **keywords: Any) -> Any:
        return measuring.time(measure, *arguments, **keywords)

    def timed_points(dream: Dream, clusterer: Clusterer, *, embeds_always: bool = False) -> Any:
        needed = clusterer.uses_points or not embeds_always
        if needed or dream.published or dream.config["projection_dim"] is not None:
            return points_of(dream, clusterer, embeds_always=embeds_always)
        return embedding.time(points_of, dream, clusterer, embeds_always=True)

    Dream._measure = timed_measure  # type: ignore[method-assign]
    Dream._points = timed_points  # type: ignore[method-assign, assignment]
    return measuring, embedding


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu"])
    parser.add_argument("--preset", default="small", choices=["small", "quickstart"])
    parser.add_argument("--dataset", help="default: digits, or that of the quick start")
    parser.add_argument("--clusterer", default="kmeans")
    parser.add_argument("--match", choices=["gradients", "none"], default="gradients")
    parser.add_argument("--ipc", type=int, default=10)
    for name in ("loops", "outer"):
        parser.add_argument(f"--{name}", type=int, help="default: that of the preset")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    configs = PRESETS[options.preset].configs
    base = next(c for c in configs if (c.ipc, c.clusterer) == (options.ipc, "kmeans"))
    values = base.to_dict() | {
        "clusterer": options.clusterer,
        "weights": "none",
        "match": options.match,
        "n_outer": options.outer or base.n_outer,
        "n_inner": options.loops or base.n_inner,
        "seed": options.seed,
    }
    if options.dataset is not None:
        values["dataset"] = options.dataset
    elif options.preset == "small":  # 8×8 images, 140 of a class
        values |= {"dataset": "digits", "image_size": None, "train_per_class": None}
    config = DistillationConfig.from_dict(values)
    arguments = config.data_arguments()
    data = load_dataset(arguments.pop("dataset"), **arguments)
    run(config.replace(n_outer=1, n_inner=1, n_eval=1, eval_epochs=1), data)
    measuring, embedding = timed_methods()
    start = time.process_time()
    result = run(config, data)
    total = time.process_time() - start
    share = (measuring.seconds + embedding.seconds) / total
    print(
        f"{options.clusterer}, match {options.match}, ipc {options.ipc}, "
        f"{len(data.train_images):,} images of {data.image_size[0]}×{data.image_size[1]}, "
        f"status {result.row['status']}"
    )
    print(
        f"measures of {measuring.n_calls} clusterings: {measuring.seconds:.2f} CPU seconds "
        f"({1000 * measuring.seconds / max(1, measuring.n_calls):.0f} ms each), "
        f"{embedding.n_calls} embeddings for them alone: {embedding.seconds:.2f}; "
        f"trial: {total:.2f}"
    )
    print(f"share {100 * share:.2f} % (target below {100 * TARGET:.0f} %)")


if __name__ == "__main__":
    main()
