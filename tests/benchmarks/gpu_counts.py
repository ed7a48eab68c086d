"""What a GPU would do in an inner loop, an evaluation step and a clustering, by emulation.

    uv run python tests/benchmarks/gpu_counts.py [PART …] [--ipc 10] [--width 128]
        [--points 5000] [--features 256] [--clusters 128]

Needs no GPU (`tests/gpu/emulator.py`). Matching, network update and evaluation are counted by
shapes alone, once as this project runs them when all graphs are recorded, and once as the public
codes do (`tests/benchmarks/reference.py`); clusterings are run for real, on the CPU, two classes
at once. Parts: loop, evaluation, and names of clusterers; all by default.

Columns: kernels; of these, launched one by one by the host (the others are in replayed graphs); GB
read and written, as if no cache held anything; their milliseconds at 2.6 TB/s, what an H100
reaches; milliseconds of the arithmetic at 250 · 10¹² operations a second (TF32); the sum of the
longer of the two of every kernel; times that the host waits; asynchronous copies from pageable and
from pinned memory; GB of tensors that its graphs keep (libraries' working memory comes on top). No
clock of a GPU is in these figures.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # a script's own folder is on the path, the project's is not
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from distill.augment.siamese import Augmentation
from distill.clustering.registry import CLUSTERERS
from distill.config.distillation import DistillationConfig
from distill.datasets import ImageData
from distill.dream.loop import Dream
from distill.evaluation.scores import Evaluation, TrainingRecipe
from distill.networks.convnet import ConvNet
from distill.runtime.execution import AUTOMATIC, PRECISIONS, Execution
from distill.runtime.graphs import WARM_UP
from tests.benchmarks.clustering import features
from tests.benchmarks.inner_loop import random_images
from tests.benchmarks.reference import ReferenceLoop
from tests.gpu.counts import Counts
from tests.gpu.cuda import emulated_cuda
from tests.gpu.emulator import Emulator

CLUSTERERS_COUNTED: dict[str, dict[str, Any]] = {
    "kmeans": {},
    "kmeans++": {"n_local_trials": 1},
    "kmedoids": {"medoid_algorithm": "fasterpam", "medoid_init": "lab"},
    "agglomerative ward": {"linkage": "ward"},
    "agglomerative complete": {"linkage": "complete"},
    "agglomerative average": {"linkage": "average"},
    "dbscan": {"eps": None, "eps_quantile": 0.5, "min_samples": 5},
    "kmedoids_published": {},
}
"""Clusterers of the table with their options; a linkage is named after its clusterer."""


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("part", nargs="*", help="loop, evaluation, names of clusterers")
    for name, default in (("ipc", 10), ("width", 128), ("points", 5000), ("features", 256)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--clusters", type=int, default=128)
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of the loop here")
    parser.add_argument("--places", action="store_true", help="name the places of waits and copies")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{'':34} {'kernels':>8} {'direct':>7} {'GB':>8} {'ms':>7} {'ms TF32':>7} {'bound':>7} "
        f"{'waits':>6} {'pageable':>8} {'pinned':>6} {'pool GB':>7}"
    )
    for title, counts in _rows(options):
        print(line(title, counts), flush=True)
        if options.places:
            for what in ("syncs", "pageable", "pinned"):
                for where, times in getattr(counts, what).most_common(8):
                    print(f"    {times:6} {what}: {where}")


def line(title: str, counts: Counts) -> str:
    """Returns a line of the table."""
    return (
        f"{title:34} {counts.n_kernels:8,} {counts.direct_launches:7,} "
        f"{counts.n_bytes / 1e9:8.2f} {counts.milliseconds:7.2f} "
        f"{counts.arithmetic:7.2f} {counts.bound:7.2f} {counts.n_syncs:6,} "
        f"{counts.n_pageable:8,} {counts.pinned.total():6,} {counts.pool / 1e9:7.2f}"
    )


def _rows(options: argparse.Namespace) -> Iterator[tuple[str, Counts]]:
    parts = options.part or ["loop", "evaluation", *CLUSTERERS_COUNTED]
    for part in parts:
        if part == "loop":
            values = {"ipc": options.ipc, "width": options.width}
            execution = Execution(precision=options.precision)
            yield from loop_counts(values, execution).items()
        elif part == "evaluation":
            yield "one evaluation epoch", evaluation_counts(options.ipc, options.width)
        else:
            points = [features(options.points, options.features, seed) for seed in range(2)]
            counts, n_iter = clustering_counts(part, points, options.clusters)
            yield f"{part} ({', '.join(map(str, n_iter))})", counts


def counted(gpu: Emulator, part: Callable[[], object]) -> Counts:
    """Returns the counts of a part of the work.

    Args:
        gpu: the emulator.
        part: run once.
    """
    gpu.reset()
    part()
    return gpu.counts


def loop_counts(values: dict[str, Any], execution: Execution = AUTOMATIC) -> dict[str, Counts]:
    """Returns the counts of matching and network update, by a title, at CIFAR-10's size.

    Args:
        values: of the configuration.
        execution: of this project's loop; the public codes' is in float32.
    """
    values = {"dataset": "cifar10", "clusterer": "random", "init": "noise"} | values
    config = DistillationConfig.from_dict(values).resolve()
    with emulated_cuda(shapes_only=True) as gpu:
        dream = Dream(config, data_on(10), execution=execution)
        warm_up(dream)
        found = {
            "matching": counted(gpu, dream.match_all),
            "network update": counted(gpu, dream.update_network),
        }
        loop = ReferenceLoop(dream)
        found["matching, public codes"] = counted(gpu, loop.matching)
        found["network update, public codes"] = counted(gpu, loop.network_update)
    return found


def warm_up(dream: Dream) -> None:
    """Runs matching and network update until all their steps are recorded.

    The first images of each class are its representatives: no clustering is needed.
    """
    count = int(dream.config.n_representatives)
    dream.representatives = [
        (torch.arange(count, device=dream.device), torch.empty(0))
        for _ in range(dream.data.n_classes)
    ]
    for _ in range(WARM_UP + 1):
        dream.match_all()
        dream.update_network()


def data_on(n_classes: int) -> ImageData:
    """Returns CIFAR-10-like images on the emulated GPU; shapes cannot tell which class is where."""
    data = random_images(n_classes).to("cuda")
    indices = torch.arange(len(data.train_images) // n_classes, device="cuda")
    data.__dict__["class_indices"] = [indices] * n_classes
    return data


def evaluation_counts(ipc: int, width: int) -> Counts:
    """Returns the counts of an epoch of an evaluation, its graphs recorded.

    Args:
        ipc: images per class, with factor 2.
        width: of the network.
    """
    with emulated_cuda(shapes_only=True) as gpu:
        evaluation = evaluation_of(ipc, width)
        for _ in range(WARM_UP + 1):
            evaluation.run_epoch()
        return counted(gpu, evaluation.run_epoch)


def evaluation_of(ipc: int, width: int) -> Evaluation:
    """Returns an evaluation of ten classes of images on the emulated GPU."""
    n = 10 * 4 * ipc
    recipe = TrainingRecipe(
        lr=0.01,
        momentum=0.9,
        weight_decay=5e-4,
        augment=Augmentation(),
        cutmix_prob=0.5,
        cutmix_beta=1.0,
        epochs=1000,
        batch_size=64,
    )
    data = data_on(10)
    return Evaluation(
        recipe,
        ConvNet(n_classes=10, channels=3, image_size=(32, 32), width=width, depth=3).cuda(),
        torch.empty(n, 3, 32, 32, device="cuda"),
        torch.zeros(n, dtype=torch.int64, device="cuda"),
        test_images=data.test_images,
        test_labels=data.test_labels,
        normalize=data.normalize,
        n_networks=1,
        seed_of=lambda index, _: index,
    )


def clustering_counts(name: str, points: list[Tensor], k: int) -> tuple[Counts, list[int]]:
    """Returns the counts of a clustering of some classes at once, and the iterations of each.

    Args:
        name: of the clusterer, see `CLUSTERERS_COUNTED`.
        points: (n, d) on the CPU, one per class.
        k: clusters.
    """
    clusterer = CLUSTERERS.build(name.split(maxsplit=1)[0], **CLUSTERERS_COUNTED[name])
    with emulated_cuda() as gpu:
        on_gpu = [class_points.to("cuda") for class_points in points]
        generator = torch.Generator().manual_seed(0)
        gpu.reset()
        results = clusterer.fit_classes(on_gpu, k, generator)
        return gpu.counts, [result.n_iter for result in results]


if __name__ == "__main__":
    main()
