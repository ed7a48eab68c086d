"""One inner loop (matching and network update) against the loop as the public codes run it.

    uv run python tests/benchmarks/inner_loop.py [--device cuda] [--ipc 1 10 50] [--width 128] …

Two processes, one with each loop, take turns on the same images. For each number of images per
class it prints the seconds of both (medians; on a CPU seconds of the CPU), their ratio, how far
apart the images are after a loop, and the share of the roofline: the time that the operations or
the bytes need at this device's measured rates, over the time taken here.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # a script's own folder is on the path, the project's is not
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from distill.cli.options import add_execution_options, execution_of
from distill.config.distillation import DistillationConfig
from distill.datasets import ImageData
from distill.dream.loop import Dream
from distill.runtime.execution import AUTOMATIC
from distill.runtime.graphs import WARM_UP
from distill.runtime.memory import keep_freed_memory
from tests.benchmarks.reference import ReferenceLoop
from tests.benchmarks.turns import Answers, Worker, machine, medians, seconds_of

SIDE = 32
RATE_SIZE = 2048
"""Side of the matrices whose product gives the rate of operations."""


def main() -> None:
    """Runs the benchmark and prints its figures."""
    options = _options()
    print(f"{machine(options.device, options.threads)}; width {options.width}, ", end="")
    print(f"{options.classes} classes, {options.representatives} representatives each", flush=True)
    print(
        f"{'ipc':>4} {'part':9} {'reference s':>12} {'here s':>10} {'ratio':>6} "
        f"{'roofline':>9}   images differ by at most"
    )
    for ipc in options.ipc:
        values = {
            "dataset": "cifar10",
            "ipc": ipc,
            "width": options.width,
            "n_representatives": options.representatives,
            "clusterer": "random",
            "init": "random",
        }
        for line in compare(values, options):
            print(line, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--representatives", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5, help="loops of each, in turns")
    parser.add_argument("--threads", type=int, default=1, help="of each process, on a CPU")
    add_execution_options(parser.add_argument_group("of the loop here"))
    return parser.parse_args()


def compare(values: dict[str, Any], options: argparse.Namespace) -> list[str]:
    """Returns the lines for one configuration."""
    workers = [Worker(_set_up, kind, values, options) for kind in ("reference", "here")]
    try:
        images = [torch.from_numpy(worker.ask("images after a loop")) for worker in workers]
        for _ in range(WARM_UP + 1):  # graphs are recorded
            for part in ("matching", "network"):
                workers[1].ask(part)
        seconds = [medians(workers, part, options.repeats) for part in ("matching", "network")]
        rates = workers[1].ask("rates")
    finally:
        for worker in workers:
            worker.close()
    seconds.append([sum(parts) for parts in zip(*seconds, strict=True)])
    lines = []
    for part, (reference, here) in zip(("matching", "network", "both"), seconds, strict=True):
        line = f"{values['ipc']:>4} {part:9} {reference:12.4f} {here:10.4f} {reference / here:6.2f}"
        if part == "both":
            share = roofline_seconds(values, options, rates) / here
            line += f" {share:9.2f}   {float((images[0] - images[1]).abs().max()):.1e}"
        lines.append(line)
    return lines


def _set_up(kind: str, values: dict[str, Any], options: argparse.Namespace) -> Answers:
    torch.set_num_threads(options.threads)
    if kind == "here":
        keep_freed_memory()
    device = torch.device(options.device)
    data = random_images(options.classes).to(device)
    execution = execution_of(options) if kind == "here" else AUTOMATIC
    dream = Dream(DistillationConfig.from_dict(values).resolve(), data, execution=execution)
    dream.prepare_loop()
    matching, network, images = _parts(kind, dream)
    return {
        "matching": lambda: seconds_of(matching, device),
        "network": lambda: seconds_of(network, device),
        "images after a loop": lambda: (matching(), network(), images().cpu().numpy())[2],
        "rates": lambda: measured_rates(device, dream.network.map_dtype or dream.dtype),
    }


def _parts(
    kind: str, dream: Dream
) -> tuple[Callable[[], object], Callable[[], object], Callable[[], Tensor]]:
    if kind == "here":
        return dream.match_all, dream.update_network, lambda: dream.images
    loop = ReferenceLoop(dream)
    return loop.matching, loop.network_update, loop.images.detach


def random_images(n_classes: int, n: int = 5000, side: int = SIDE) -> ImageData:
    """Returns noise of CIFAR-10's shape: speed does not depend on what it shows."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=generator)
    labels = torch.arange(n) % n_classes
    return ImageData(
        name="noise",
        train_images=images,
        train_labels=labels,
        val_images=images[:0],
        val_labels=labels[:0],
        test_images=images[:1000],
        test_labels=labels[:1000],
        class_names=tuple(map(str, range(n_classes))),
        mean=torch.tensor([0.4914, 0.4822, 0.4465]),
        std=torch.tensor([0.2023, 0.1994, 0.2010]),
        fingerprint="noise",
        n_corrupt=0,
        corrupt=(),
    )


def measured_rates(device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """Returns the operations a second of a matrix product and the bytes of a copy."""
    a = torch.randn(RATE_SIZE, RATE_SIZE, device=device).to(dtype)
    large = torch.empty(2**26, device=device)
    target = torch.empty_like(large)
    product = min(seconds_of(lambda: a @ a, device) for _ in range(5))
    copy = min(seconds_of(lambda: target.copy_(large), device) for _ in range(5))
    return 2 * RATE_SIZE**3 / product, 2 * large.nbytes / copy


def roofline_seconds(
    values: dict[str, Any], options: argparse.Namespace, rates: tuple[float, float]
) -> float:
    """Returns the least time of a loop: that of its operations or of its bytes, the longer one.

    Operations are those of the convolutions, each of which takes as many in every direction:
    forward; backward to the weights and, but for the first layer, to the maps; for the synthetic
    images also with the distance's derivative in place of the weights (forward, and backward to the
    maps), the derivative of the backward pass in the maps (not for the first layer), and one more
    backward to the maps. Bytes are one write and one read of every map in each of these passes.
    """
    config = DistillationConfig.from_dict(values).resolve()
    width, n_classes = config["width"], options.classes
    m = min(config.ipc * config.factor**2, config.batch_syn_max) * n_classes
    n = config.n_representatives * n_classes + config.n_net_batches * config.net_batch_size
    value_bytes = 2 if options.precision == "bfloat16" else 4
    operations, copied = 0.0, 0.0
    side, channels = SIDE, 3
    for layer in range(config["depth"]):
        passes = 2 * n + 5 * m if layer == 0 else 3 * n + 7 * m
        operations += passes * 2 * side**2 * channels * width * 9
        copied += passes * 2 * value_bytes * (side**2 + (side // 2) ** 2) * width
        side, channels = side // 2, width
    return max(operations / rates[0], copied / rates[1])


if __name__ == "__main__":
    main()
