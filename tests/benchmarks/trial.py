"""An evaluation and a whole small trial against the same as the public codes run them.

    uv run python tests/benchmarks/trial.py [--device cuda] [--ipc 10] [--width 128] …

Two processes take turns, as in `inner_loop.py`. The evaluation trains networks on ipc · factor²
images a class; printed are the seconds of some epochs, their ratio, and what 1,000 epochs of all
networks take at that rate. The trial clusters ten classes once (the reference: scikit-learn's
k-means, class by class), runs some inner loops and evaluates.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # a script's own folder is on the path, the project's is not
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

import argparse
import copy
from typing import Any

import torch
from sklearn.cluster import KMeans
from torch.utils.data import DataLoader, TensorDataset

from distill.cli.options import add_execution_options, execution_of
from distill.clustering.embeddings import embed
from distill.config.distillation import DistillationConfig
from distill.dream.loop import Dream
from distill.dream.multiformation import decode
from distill.evaluation.recipe import evaluation_of
from distill.runtime.execution import AUTOMATIC
from distill.runtime.graphs import WARM_UP
from distill.runtime.memory import keep_freed_memory
from tests.benchmarks.inner_loop import random_images
from tests.benchmarks.reference import (
    ReferenceLoop,
    plain_network,
    reference_epoch,
    reference_optimizer,
)
from tests.benchmarks.turns import Answers, Worker, machine, medians, seconds_of


def main() -> None:
    """Runs the benchmark and prints its figures."""
    options = _options()
    print(f"{machine(options.device, options.threads)}; ipc {options.ipc}, width {options.width}")
    workers = [Worker(_set_up, kind, options) for kind in ("reference", "here")]
    try:
        for _ in range(WARM_UP + 1):
            for worker in workers:
                worker.ask("epoch")
        epoch = medians(workers, "epoch", options.repeats)
        trial = medians(workers, "trial", 1)
    finally:
        for worker in workers:
            worker.close()
    print(f"{'':24} {'reference s':>12} {'here s':>10} {'ratio':>6}")
    whole = [seconds * options.networks * 1000 for seconds in epoch]
    named = {
        "an epoch of evaluation": epoch,
        f"1,000 epochs × {options.networks} networks": whole,
        f"trial of {options.loops} inner loops": trial,
    }
    for name, (reference, here) in named.items():
        print(f"{name:24} {reference:12.3f} {here:10.3f} {reference / here:6.2f}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--networks", type=int, default=5, help="of the evaluation")
    parser.add_argument("--repeats", type=int, default=5, help="epochs of each, in turns")
    parser.add_argument("--loops", type=int, default=10, help="of the trial; one clustering")
    parser.add_argument("--epochs", type=int, default=10, help="of the trial's evaluation")
    parser.add_argument("--images", type=int, default=10_000, help="real ones")
    parser.add_argument("--threads", type=int, default=1, help="of each process, on a CPU")
    add_execution_options(parser.add_argument_group("of the trial here"))
    return parser.parse_args()


def _set_up(kind: str, options: argparse.Namespace) -> Answers:
    torch.set_num_threads(options.threads)
    if kind == "here":
        keep_freed_memory()
    device = torch.device(options.device)
    trial = _Trial(kind, options)
    return {
        "epoch": lambda: seconds_of(trial.epoch, device),
        "trial": lambda: seconds_of(trial.run, device),
    }


class _Trial:
    """The same trial, in one of the two ways."""

    def __init__(self, kind: str, options: argparse.Namespace) -> None:
        self.kind = kind
        self.options = options
        values: dict[str, Any] = {
            "dataset": "cifar10",
            "ipc": options.ipc,
            "width": options.width,
            "init": "random",
            "n_outer": 1,
            "n_inner": options.loops,
            "cluster_interval": options.loops,
        }
        self.config = DistillationConfig.from_dict(values).resolve()
        self.data = random_images(10, options.images).to(options.device)
        self.execution = execution_of(options) if kind == "here" else AUTOMATIC
        self.dream = Dream(self.config, self.data, execution=self.execution)
        self._start_evaluation()

    def epoch(self) -> None:
        """Trains a network on the images for an epoch."""
        if self.kind == "here":
            if self.evaluation.done:
                self._start_evaluation()
            self.evaluation.run_epoch()
        else:
            reference_epoch(self.evaluation, self.optimizer, self.loader)

    def run(self) -> None:
        """Clusters, matches, updates, evaluates."""
        if self.kind == "here":
            for _ in range(self.options.loops):
                self.dream.inner_loop()
        else:
            self._reference_clustering()
            loop = ReferenceLoop(self.dream)
            for _ in range(self.options.loops):
                loop.matching()
                loop.network_update()
        for _ in range(self.options.epochs):
            self.epoch()

    def _reference_clustering(self) -> None:
        """Takes the real images nearest to the centres of scikit-learn's k-means."""
        dream, k = self.dream, self.config.n_representatives
        dream.representatives = []
        dream.network.eval()
        for label, indices in enumerate(self.data.class_indices):
            images = self.data.normalize(self.data.train_images[indices].float() / 255)
            points = embed(dream.network, images, label, "features", generator=torch.Generator())
            clustering = KMeans(k, n_init=1, random_state=0).fit(points.cpu().numpy())
            centers = torch.from_numpy(clustering.cluster_centers_).to(points)
            nearest = torch.cdist(centers, points).argmin(dim=1)
            dream.representatives.append((indices[nearest], torch.empty(0)))
        dream.network.train()

    def _start_evaluation(self) -> None:
        decoded = torch.cat(
            [decode(images, self.dream.factor) for images in self.dream.images.detach()]
        )
        labels = torch.arange(10, device=decoded.device).repeat_interleave(len(decoded) // 10)
        make = copy.deepcopy if self.kind == "here" else plain_network
        self.evaluation = evaluation_of(
            self.config,
            self.data,
            make(self.dream.network),
            decoded,
            labels,
            n_networks=self.options.networks,
            purpose="benchmark",
            execution=self.execution,
        )
        self.optimizer = reference_optimizer(self.evaluation)
        evaluation = self.evaluation
        self.loader = DataLoader(
            TensorDataset(evaluation.images.cpu(), evaluation.labels.cpu()),
            batch_size=evaluation.recipe.batch_size,
            shuffle=True,
        )


if __name__ == "__main__":
    main()
