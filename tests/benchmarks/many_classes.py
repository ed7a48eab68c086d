"""Memory and time of one matching of all classes, for 10, 100 and 1,000 classes.

    uv run python tests/benchmarks/many_classes.py [--classes 10 100 1000] [--device cuda] …

For each number of classes, in a process of its own: how many classes a pass takes, by how much the
peak memory grows during a matching (of the process on a CPU, of the allocator on a GPU), and the
seconds for each class. A pass takes as many classes as `PASS_VALUES` allows: the memory must not
grow with the number of classes once there are more than a pass takes.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # a script's own folder is on the path, the project's is not
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

import argparse
import subprocess
import time

import torch

from distill.config.distillation import DistillationConfig
from distill.datasets import ImageData
from distill.dream.loop import Dream
from distill.runtime.execution import Execution
from tests.memory_peak import peak_kib

SIDE = 32
IMAGES_PER_CLASS = 20


def main() -> None:
    """Runs the benchmark and prints its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batching", choices=["class", "all"], default="all")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(measured(options.one, options.device, options.width, options.batching))
        return
    print(f"{'classes':>8} {'a pass':>8} {'grown, MiB':>12} {'ms a class':>12}")
    for n_classes in options.classes:
        words = ["--device", options.device, "--width", str(options.width)]
        words += ["--batching", options.batching, "--one", str(n_classes)]
        ran = subprocess.run(
            [sys.executable, __file__, *words], capture_output=True, text=True, check=True
        )
        print(ran.stdout.rstrip())


def measured(n_classes: int, device: str, width: int, batching: str) -> str:
    """Returns the line of one number of classes."""
    config = DistillationConfig(
        ipc=1,
        factor=1,
        n_representatives=16,
        width=width,
        depth=3,
        clusterer="random",
        embedding="pixels",
        weights="none",
    ).resolve()
    dream = Dream(config, images_of(n_classes).to(device), execution=Execution(batching=batching))
    dream.prepare_loop()
    is_gpu = device.startswith("cuda")
    if is_gpu:
        torch.cuda.reset_peak_memory_stats()
    before = peak_bytes(is_gpu=is_gpu)
    start = time.perf_counter()
    dream.match_all()
    if is_gpu:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    grown = (peak_bytes(is_gpu=is_gpu) - before) / 2**20
    largest = max(part.stop - part.start for part in dream._passes)
    return f"{n_classes:8d} {largest:8d} {grown:12.0f} {1000 * seconds / n_classes:12.1f}"


def images_of(n_classes: int) -> ImageData:
    """Returns noise as images, `IMAGES_PER_CLASS` a class."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n_classes * IMAGES_PER_CLASS) % n_classes
    shape = (len(labels), 3, SIDE, SIDE)
    images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    return ImageData(
        name="noise",
        train_images=images,
        train_labels=labels,
        val_images=images[:0],
        val_labels=labels[:0],
        test_images=images[:n_classes],
        test_labels=labels[:n_classes],
        class_names=tuple(str(label) for label in range(n_classes)),
        mean=torch.full((3,), 0.5),
        std=torch.full((3,), 0.25),
        fingerprint="0" * 64,
    )


def peak_bytes(*, is_gpu: bool) -> int:
    """Returns the largest memory so far."""
    if is_gpu:
        return torch.cuda.max_memory_allocated()
    return 1024 * peak_kib()


if __name__ == "__main__":
    main()
