"""One inner loop (matching and network update) against the loop as the public codes run it.

    uv run python tests/benchmarks/inner_loop.py [--device cuda] [--ipc 1 10 50] [--width 128] …

Two processes, one with each loop, take turns on the same images, so that both see the same load of
the machine. For each number of images per class it prints the seconds of both (medians), the
ratio, how far apart the images are after a loop, and the share of the roofline: the time that the
operations or the bytes need at this device's measured rates, over the time taken.
"""

import argparse
import multiprocessing as mp
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from distill.config import TrialConfig
from distill.datasets import ImageData
from distill.dream import Dream
from distill.memory import keep_freed_memory

SIDE = 32
RATE_SIZE = 2048
"""Side of the matrices whose product gives the rate of operations."""


def main() -> None:
    """Runs the benchmark and prints its figures."""
    options = _options()
    print(_machine(options), flush=True)
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
    parser.add_argument("--precision", default="auto", help="of the loop here")
    return parser.parse_args()


@dataclass(frozen=True)
class Timing:
    """Seconds of the parts of one loop."""

    matching: float
    network: float


def compare(values: dict[str, Any], options: argparse.Namespace) -> list[str]:
    """Returns the lines for one configuration."""
    workers = [Worker(kind, values, options) for kind in ("reference", "here")]
    try:
        firsts = [worker.images_after_a_loop() for worker in workers]
        timings: list[list[Timing]] = [[], []]
        for _ in range(options.repeats):
            for own, worker in zip(timings, workers, strict=True):
                own.append(worker.timed_loop())
        rates = workers[1].rates()
    finally:
        for worker in workers:
            worker.close()
    difference = float((firsts[0] - firsts[1]).abs().max())
    ideal = roofline_seconds(values, options, rates)
    lines = []
    for part in ("matching", "network", "both"):
        seconds = [
            statistics.median(
                t.matching + t.network if part == "both" else getattr(t, part) for t in own
            )
            for own in timings
        ]
        line = f"{values['ipc']:>4} {part:9} {seconds[0]:12.4f} {seconds[1]:10.4f} "
        line += f"{seconds[0] / seconds[1]:6.2f}"
        if part == "both":
            line += f" {ideal / seconds[1]:9.2f}   {difference:.1e}"
        lines.append(line)
    return lines


class Worker:
    """A process that runs one of the loops when asked."""

    def __init__(self, kind: str, values: dict[str, Any], options: argparse.Namespace) -> None:
        context = mp.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_work, args=(other, kind, values, options))
        self._process.start()
        other.close()

    def images_after_a_loop(self) -> Tensor:
        """Runs the first loop, which also warms up."""
        images: Tensor = torch.from_numpy(self._ask("first"))
        return images

    def timed_loop(self) -> Timing:
        """Runs a loop."""
        timing: Timing = self._ask("loop")
        return timing

    def rates(self) -> tuple[float, float]:
        """Returns operations and bytes a second."""
        rates: tuple[float, float] = self._ask("rates")
        return rates

    def close(self) -> None:
        """Ends the process."""
        self._pipe.close()
        self._process.join()

    def _ask(self, question: str) -> Any:
        self._pipe.send(question)
        return self._pipe.recv()


def _work(pipe: Connection, kind: str, values: dict[str, Any], options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    if kind == "here":
        keep_freed_memory()
    device = torch.device(options.device)
    dream = Dream(TrialConfig.from_dict(values), random_images(options.classes).to(device))
    dream.prepare_loop()
    matching, network, images = _parts(kind, dream)

    def timed(part: Callable[[], object]) -> float:
        # On a CPU its own seconds, of all threads: others use the machine, too.
        clock = time.process_time if device.type == "cpu" else time.perf_counter
        _synchronize(device)
        start = clock()
        part()
        _synchronize(device)
        return clock() - start

    answers: dict[str, Callable[[], Any]] = {
        "loop": lambda: Timing(timed(matching), timed(network)),
        "first": lambda: (matching(), network(), images().detach().cpu().numpy())[2],
        "rates": lambda: measured_rates(device, timed),
    }
    while True:
        try:
            question = pipe.recv()
        except EOFError:
            return
        pipe.send(answers[question]())


def _parts(
    kind: str, dream: Dream
) -> tuple[Callable[[], object], Callable[[], object], Callable[[], Tensor]]:
    if kind == "here":
        return dream.match_all, dream.update_network, lambda: dream.images
    from reference import ReferenceLoop  # type: ignore[import-not-found]  # noqa: PLC0415 - beside

    loop = ReferenceLoop(dream)
    return loop.matching, loop.network_update, lambda: loop.images


def random_images(n_classes: int, n: int = 5000) -> ImageData:
    """Returns noise of CIFAR-10's shape: speed does not depend on what it shows."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
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


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measured_rates(
    device: torch.device, timed: Callable[[Callable[[], object]], float]
) -> tuple[float, float]:
    """Returns the operations a second of a float32 matrix product and the bytes of a copy."""
    a = torch.randn(RATE_SIZE, RATE_SIZE, device=device)
    large = torch.empty(2**26, device=device)
    target = torch.empty_like(large)
    product = min(timed(lambda: a @ a) for _ in range(5))
    copy = min(timed(lambda: target.copy_(large)) for _ in range(5))
    return 2 * RATE_SIZE**3 / product, 2 * large.nbytes / copy


def roofline_seconds(
    values: dict[str, Any], options: argparse.Namespace, rates: tuple[float, float]
) -> float:
    """Returns the least time of a loop: that of its operations or of its bytes, the longer one.

    Operations are those of the convolutions of a ConvNet-3, forward (1), backward (2) and, for the
    synthetic images, the derivative of the distance in them (6: two tangents forward, one backward
    through both). Bytes are one write and one read of every map in each of these passes.
    """
    config = TrialConfig.from_dict(values).resolved()
    width, n_classes = int(config.width or 0), options.classes
    n_real = int(config.n_representatives or 0) * n_classes
    n_synthetic = (
        min(config.ipc * int(config.factor or 1) ** 2, int(config.batch_syn_max)) * n_classes
    )
    n_batches = int(config.n_net_batches or 0) * config.net_batch_size
    operations, maps = 0.0, 0.0
    side, channels = SIDE, 3
    for _ in range(int(config.depth)):
        operations += 2 * side**2 * channels * width * 9
        maps += 4 * (side**2 + (side // 2) ** 2) * width
        side, channels = side // 2, width
    image_passes: float = 3 * n_real + 9 * n_synthetic + 3 * n_batches
    return max(image_passes * operations / rates[0], 2 * image_passes * maps / rates[1])


def _machine(options: argparse.Namespace) -> str:
    name = f"{options.threads} CPU thread" + ("" if options.threads == 1 else "s")
    if options.device.startswith("cuda"):
        name = torch.cuda.get_device_name()
    return f"{name}, torch {torch.__version__}; width {options.width}, {options.classes} classes"


if __name__ == "__main__":
    main()
