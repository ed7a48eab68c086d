"""Which share of a distillation's CPU time the measures of its clusterings take.

    uv run python tests/benchmarks/quality.py [--dataset parquet:TRAIN,TEST] [--clusterer kmeans]
        [--ipc 10] [--loops 40] [--outer 1] [--seed 0]

Runs a trial of the preset `small` (with fewer outer iterations) and counts the CPU seconds of all
threads that pass within the measures, and in the whole trial with its evaluation and its start. It
prints both and the share, which is to be below 5 %.
"""

import argparse
import time

from distill.config.distillation import DistillationConfig
from distill.datasets import load_dataset
from distill.dream.loop import Dream
from distill.trials.runner import run
from sweeps.grid.distillation_presets import PRESETS

TARGET = 0.05
"""Largest share."""


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu"])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--clusterer", default="kmeans")
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--loops", type=int, default=40)
    parser.add_argument("--outer", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    small = PRESETS["small"].configs
    base = next(c for c in small if (c.ipc, c.clusterer) == (options.ipc, "kmeans"))
    values = base.to_dict() | {
        "dataset": options.dataset,
        "clusterer": options.clusterer,
        "n_outer": options.outer,
        "n_inner": options.loops,
        "seed": options.seed,
    }
    if options.dataset == "digits":  # 8×8 images, 140 of a class
        values |= {"image_size": None, "train_per_class": None}
    config = DistillationConfig.from_dict(values)
    arguments = config.data_arguments()
    data = load_dataset(arguments.pop("dataset"), **arguments)
    measure, spent = Dream._measure, [0.0, 0]

    def timed(*arguments: object, **keywords: object) -> None:
        start = time.process_time()
        measure(*arguments, **keywords)  # type: ignore[arg-type]
        spent[0] += time.process_time() - start
        spent[1] += 1

    Dream._measure = timed  # type: ignore[method-assign]
    start = time.process_time()
    result = run(config, data)
    total = time.process_time() - start
    share = spent[0] / total
    print(
        f"{options.clusterer}, ipc {options.ipc}, {len(data.train_images):,} images of "
        f"{data.image_size[0]}×{data.image_size[1]}, status {result.row['status']}"
    )
    print(
        f"measures of {spent[1]:.0f} clusterings: {spent[0]:.2f} of {total:.2f} CPU seconds "
        f"({1000 * spent[0] / max(1, spent[1]):.0f} ms each)"
    )
    print(f"share {100 * share:.2f} % (target below {100 * TARGET:.0f} %)")


if __name__ == "__main__":
    main()
