"""What a process pays once, before and in its first trial: CPU seconds of its steps.

    uv run python tests/benchmarks/fixed_costs.py [--dataset mnist_5k] [--width 16]

A worker of a sweep on CPUs runs one trial after the other and pays all but the last line once; on
GPUs every trial has a process of its own. The last lines are those of a trial that is as short as
possible, in the same process.
"""

import sys
import time
from pathlib import Path

if __name__ == "__main__":  # a script's own folder is on the path, the project's is not
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

import argparse
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def main() -> None:
    """Prints the table; imports are part of what is measured."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--dataset", default="mnist_5k")
    parser.add_argument("--width", type=int, default=16)
    options = parser.parse_args()
    line("Python and this script", time.process_time())
    timed("torch", import_torch)
    timed("Ray, the store, configurations", import_worker)
    timed("scikit-learn and SciPy (measures of clusterings)", import_measures)
    timed("Numba and the compiled loops, from their cache", load_loops)

    from distill.config.distillation import DistillationConfig  # noqa: PLC0415
    from distill.trials.runner import load_images, run  # noqa: PLC0415

    values = {"n_outer": 1, "n_inner": 1, "n_eval": 1, "eval_epochs": 1, "eval_every": 0, "ipc": 1}
    values |= {"dataset": options.dataset, "width": options.width}
    config = DistillationConfig.from_dict(values)
    images = timed("reading the images", lambda: load_images(config.resolve()))
    timed("first trial, the rest", lambda: run(config, images))
    timed("second trial", lambda: run(config, images))


def timed(what: str, part: Callable[[], T]) -> T:
    """Prints the CPU seconds of a part; returns what it returns."""
    start = time.process_time()
    result = part()
    line(what, time.process_time() - start)
    return result


def line(what: str, seconds: float) -> None:
    """Prints a line of the table."""
    print(f"{what:50} {seconds:6.2f}", flush=True)


def import_torch() -> None:
    """Imports PyTorch, for one thread."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)


def import_worker() -> None:
    """Imports what runs trials in a worker of Ray."""
    import sweeps.cluster.worker  # noqa: F401, PLC0415


def import_measures() -> None:
    """Imports the measures of clusterings."""
    import distill.clustering.quality  # noqa: F401, PLC0415


def load_loops() -> None:
    """Runs norm, ReLU and pooling forward, backward and in their second derivative."""
    import torch  # noqa: PLC0415

    from distill.networks.layers.norm_relu_pool import NormReluPool  # noqa: PLC0415

    layer, maps = NormReluPool(4), torch.randn(2, 4, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(maps).sum(), maps, create_graph=True)
    gradient.square().sum().backward()


if __name__ == "__main__":
    main()
