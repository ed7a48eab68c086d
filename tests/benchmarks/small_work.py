"""Where the time of a training step on small images goes, and its share of the roofline.

    uv run python tests/benchmarks/small_work.py [--side 8 14 16] [--width 16 32] [--batch 64] …

For each size: the milliseconds of a step of an evaluation (medians; CPU time of all threads), the
least that its convolutions and its classifier need at the rate of a large matrix product (the
roofline) and the share of that, in the step and in the convolutions by themselves; then which share
of the step its parts take, each timed by itself on the same shapes:

    conv        convolutions, forward and backward
    norm        norm, ReLU and pooling, forward and backward
    loss        the rest of the network's forward and backward pass: classifier, loss, autograd
    augment     augmentation and CutMix of the batch
    optimiser   the step of SGD
    draws       random numbers and the order of the images
    other       what none of these explain (negative where a part by itself is slower)

A share of one would need convolutions at the speed of large matrix products and nothing else.

`--convolutions` prints instead how long the convolutions take, forward and backward, in other ways
than the one that is used, as multiples of its time:

    unfolded    as matrix products of unfolded maps
    native      PyTorch's own in place of oneDNN's
    last        with channels as the last dimension in memory
    five        those of five networks, each with images of its own, as one grouped convolution; a
                fifth of the time
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # a script's own folder is on the path, the project's is not
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

import argparse
import itertools
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.augment.cutmix import draw_cutmix, mix
from distill.augment.siamese import draw_uniforms
from distill.config.distillation import DistillationConfig
from distill.evaluation.recipe import evaluation_of, network_for
from distill.runtime.memory import keep_freed_memory
from tests.benchmarks.inner_loop import measured_rates, random_images
from tests.benchmarks.turns import machine, seconds_of

CPU = torch.device("cpu")
CHANNELS, N_CLASSES = 3, 10
N_STEPS = 10
"""Steps of an epoch, and how often a part runs each time."""

PARTS = ("conv", "norm", "loss", "augment", "optimiser", "draws")

WAYS = ("unfolded", "native", "last", "five")
"""Other ways to convolve."""

N_TOGETHER = 5
"""Networks of a grouped convolution."""


def main() -> None:
    """Runs the benchmark and prints its figures."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--device", choices=["cpu"], default="cpu", help="GPUs: inner_loop.py")
    parser.add_argument("--side", type=int, nargs="+", default=[8, 14, 16], help="pixels")
    parser.add_argument("--width", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--batch", type=int, default=64, help="images of a step")
    parser.add_argument("--repeats", type=int, default=30, help="epochs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--convolutions", action="store_true", help="other ways to convolve")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    if options.convolutions:
        warnings.filterwarnings("ignore", message="TF32 acceleration")  # of Intel's GPUs
        print(f"{machine('cpu', options.threads)}; batches of {options.batch}")
        print(f"{'side':>4} {'width':>5} {'ms':>7}  " + "".join(f"{name:>10}" for name in WAYS))
        for side, width in itertools.product(options.side, options.width):
            print(line_of_ways(side, width, options), flush=True)
        return
    rate, _ = measured_rates(CPU, torch.float32)
    print(f"{machine('cpu', options.threads)}; batches of {options.batch}; ", end="")
    print(f"matrix products: {rate / 1e9:.0f} GFLOP/s")
    head = f"{'side':>4} {'width':>5} {'step ms':>8} {'roofline ms':>11} {'share':>6} {'conv':>6}"
    print(f"{head}   % of the step: " + "  ".join(f"{part:>5}" for part in (*PARTS, "other")))
    for side, width in itertools.product(options.side, options.width):
        print(line_of(side, width, options, rate), flush=True)


def line_of(side: int, width: int, options: argparse.Namespace, rate: float) -> str:
    """Returns the line of one size."""
    work = SmallWork(side, width, options.batch)
    seconds = work.seconds(options.repeats)
    step = seconds.pop("step")
    least = work.operations() / rate
    of_convolutions = work.operations(classifier=False) / rate / seconds["conv"]
    left = step - sum(seconds.values())
    shares = [100 * value / step for value in (*(seconds[part] for part in PARTS), left)]
    line = f"{side:>4} {width:>5} {1000 * step:8.2f} {1000 * least:11.2f} {least / step:6.2f}"
    return f"{line} {of_convolutions:6.2f}" + 17 * " " + "  ".join(f"{s:5.0f}" for s in shares)


class SmallWork:
    """A step of an evaluation on images of one size, and its parts by themselves.

    Args:
        side: of the images, in pixels.
        width: channels of every convolution.
        batch: images of a step.
    """

    def __init__(self, side: int, width: int, batch: int) -> None:
        self.batch = batch
        values = {"dataset": "cifar10", "width": width, "eval_batch_size": batch}
        config = DistillationConfig.from_dict(values).resolve()
        data = random_images(N_CLASSES, 500, side)
        generator = torch.Generator().manual_seed(0)
        self.network = network_for(config, data, config.network, generator)
        self.blocks: list[Any] = list(self.network.blocks)
        images = torch.randn(N_STEPS * batch, CHANNELS, side, side)
        self.labels = torch.arange(len(images)) % N_CLASSES
        self.evaluation = evaluation_of(
            config,
            data,
            self.network,
            images,
            self.labels,
            n_networks=10**6,
            purpose="benchmark",
        )
        self.images = images[:batch]
        self.generator = generator
        self.layers = self._layers()
        self.drawn = [self._draw() for _ in range(100)]

    def seconds(self, repeats: int) -> dict[str, float]:
        """Returns the median seconds of a step and of its parts."""
        of: dict[str, Callable[[], object]] = {
            "step": self.epoch,
            "network": _often(self._pass),
            "conv": _often(lambda: [run() for kind, run in self.layers if kind == "conv"]),
            "norm": _often(lambda: [run() for kind, run in self.layers if kind == "norm"]),
            "augment": self._augment,
            "optimiser": _often(self._optimise),
            "draws": _often(self._draw),
        }
        times: dict[str, list[float]] = {name: [] for name in of}
        for _ in range(repeats):  # in turns: all see the same machine
            for name, work in of.items():
                times[name].append(seconds_of(work, CPU) / N_STEPS)
        medians = {name: statistics.median(values) for name, values in times.items()}
        network = medians.pop("network")
        medians["loss"] = network - medians["conv"] - medians["norm"]
        return medians

    def operations(self, *, classifier: bool = True) -> float:
        """Returns the multiplications and additions of a step's convolutions and classifier."""
        total = 0.0
        for number, (convolution, maps) in enumerate(self._convolutions()):
            n, channels, height, width = maps.shape
            one_way = 2 * n * height * width * channels * convolution.out_channels * 9
            total += one_way * (2 if number == 0 else 3)  # no gradient of the images
        if classifier:
            weight = self.network.classifier.weight
            total += 3 * 2 * self.batch * weight.numel()
        return total

    def epoch(self) -> None:
        """Trains for an epoch, without tests."""
        evaluation = self.evaluation
        order = torch.randperm(len(evaluation.images), generator=evaluation.generator)
        evaluation._trainer.train(order.split(self.batch), evaluation.generator, 0.01)

    def _convolutions(self) -> list[tuple[nn.Conv2d, Tensor]]:
        """Returns the convolutions and what they get."""
        found, maps = [], self.images
        with torch.no_grad():
            for block in self.blocks:
                found.append((block[0], maps))
                maps = block(maps)
        return found

    def _layers(self) -> list[tuple[str, Callable[[], object]]]:
        """Returns a forward and backward pass through every layer of the blocks, with its kind."""
        layers = []
        for number, (convolution, maps) in enumerate(self._convolutions()):
            layers.append(("conv", _both_ways(convolution, maps, number > 0)))
            with torch.no_grad():
                maps = convolution(maps)
            layers.append(("norm", _both_ways(self.blocks[number][1:], maps, True)))
        return layers

    def _pass(self) -> None:
        loss = F.cross_entropy(self.network(self.images), self.labels[: self.batch])
        torch.autograd.grad(loss, list(self.network.parameters()))

    def _draw(self) -> tuple[Tensor, ...]:
        """Returns what a step draws: the order, the augmentation and, now and then, CutMix's."""
        recipe, generator = self.evaluation.recipe, self.generator
        drawn: tuple[Tensor, ...] = (torch.randperm(self.batch, generator=generator),)
        drawn += draw_uniforms(self.batch, generator)
        if torch.rand((), generator=generator).item() < recipe.cutmix_prob:
            drawn += draw_cutmix(self.batch, generator, beta=recipe.cutmix_beta)
        return drawn

    def _augment(self) -> None:
        """Augments the images of an epoch, of as many steps at once as in training."""
        n_at_once = self.evaluation._trainer.steps_at_once(self.batch)
        for first in range(0, N_STEPS, n_at_once):
            numbers = torch.randint(len(self.drawn), (min(n_at_once, N_STEPS - first),))
            drawn = [self.drawn[number] for number in numbers.tolist()]
            indices = torch.cat([of_step[0] for of_step in drawn])
            choices = torch.cat([of_step[1].expand(self.batch) for of_step in drawn])
            uniforms = torch.cat([of_step[2] for of_step in drawn])
            augment = self.evaluation.recipe.augment
            images = augment.apply(self.images[indices], choices, uniforms)
            labels = self.labels[indices]
            batches = zip(images.split(self.batch), labels.split(self.batch), strict=True)
            for (_, _, _, *box), batch in zip(drawn, batches, strict=True):
                if box:
                    mix(*batch, *box)

    def _optimise(self) -> None:
        for parameter in self.network.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.evaluation._trainer.optimizer.step(0.01)


def line_of_ways(side: int, width: int, options: argparse.Namespace) -> str:
    """Returns how long the convolutions of one size take in other ways."""
    works = {name: _often(_convolving(side, width, options.batch, name)) for name in ("", *WAYS)}
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(options.repeats):  # in turns: all see the same machine
        for name, work in works.items():
            times[name].append(seconds_of(work, CPU) / N_STEPS)
    here = times.pop("")
    times["five"] = [seconds / N_TOGETHER for seconds in times["five"]]
    ratios = (
        statistics.median(other / used for other, used in zip(times[name], here, strict=True))
        for name in WAYS
    )
    start = f"{side:>4} {width:>5} {1000 * statistics.median(here):7.2f}  "
    return start + "".join(f"{ratio:10.2f}" for ratio in ratios)


def _convolving(side: int, width: int, batch: int, way: str) -> Callable[[], object]:
    """Returns a forward and backward pass through the three convolutions of a network."""
    n_networks = N_TOGETHER if way == "five" else 1
    layout = torch.channels_last if way == "last" else torch.contiguous_format
    passes = []
    for number in range(3):
        channels, pixels = (width if number else CHANNELS), side // 2**number
        shape = (batch, n_networks * channels, pixels, pixels)
        maps = torch.randn(shape).to(memory_format=layout).requires_grad_()
        weight = torch.randn(n_networks * width, channels, 3, 3).to(memory_format=layout)
        wanted = [weight.requires_grad_(), *([maps] if number else [])]
        gradient = torch.randn(batch, n_networks * width, pixels, pixels)
        passes.append((maps, weight, wanted, gradient.to(memory_format=layout)))

    def convolve(maps: Tensor, weight: Tensor) -> Tensor:
        if way == "unfolded":
            product: Tensor = weight.flatten(1) @ F.unfold(maps, 3, padding=1)
            return product.view(len(maps), -1, *maps.shape[2:])
        return F.conv2d(maps, weight, padding=1, groups=n_networks)

    def run() -> None:
        with torch.backends.mkldnn.flags(enabled=way != "native"):
            for maps, weight, wanted, gradient in passes:
                torch.autograd.grad(convolve(maps, weight), wanted, gradient)

    return run


def _often(work: Callable[[], object]) -> Callable[[], object]:
    return lambda: [work() for _ in range(N_STEPS)]


def _both_ways(layer: nn.Module, maps: Tensor, to_maps: bool) -> Callable[[], object]:
    """Returns a forward and backward pass through a layer."""
    wanted = [*layer.parameters(), *([maps.requires_grad_()] if to_maps else [])]
    with torch.no_grad():
        gradient = torch.randn_like(layer(maps))
    return lambda: torch.autograd.grad(layer(maps), wanted, gradient)


if __name__ == "__main__":
    main()
