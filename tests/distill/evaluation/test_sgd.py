"""Training on batches: the optimiser's steps are PyTorch's, draws do not depend on grouping."""

import subprocess
import sys

import pytest
import torch

from distill.augment.siamese import Augmentation
from distill.datasets import ImageData
from distill.evaluation import sgd
from distill.evaluation.sgd import MomentumSGD, NetworkTrainer, SGDRecipe
from distill.networks.base import Network
from distill.networks.convnet import ConvNet
from distill.runtime.execution import AUTOMATIC


def small_network() -> Network:
    torch.manual_seed(0)
    return ConvNet(n_classes=10, channels=1, image_size=(8, 8), width=4, depth=2)


def trained(data: ImageData, recipe: SGDRecipe, sizes: list[int]) -> list[torch.Tensor]:
    """Returns the weights of a network trained on batches of some sizes."""
    network = small_network()
    trainer = NetworkTrainer(
        network,
        recipe,
        lambda batch: (data.normalize(data.train_images[batch]), data.train_labels[batch]),
        data.train_images[0].numel(),
        AUTOMATIC,
    )
    generator = torch.Generator().manual_seed(1)
    order = torch.randperm(len(data.train_images), generator=generator)[: sum(sizes)]
    trainer.train(order.split(sizes), generator, 0.05)
    return [parameter.detach() for parameter in network.parameters()]


def recipe_with(cutmix_prob: float, augment: str) -> SGDRecipe:
    return SGDRecipe(
        lr=0.1,
        momentum=0.9,
        weight_decay=5e-4,
        augment=Augmentation(strategy=augment),
        cutmix_prob=cutmix_prob,
        cutmix_beta=1.0,
    )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 5e-4])
def test_steps_are_those_of_pytorch_s_optimiser(momentum: float, weight_decay: float) -> None:
    networks = [small_network(), small_network()]
    here = MomentumSGD(list(networks[0].parameters()), momentum=momentum, weight_decay=weight_decay)
    there = torch.optim.SGD(
        networks[1].parameters(), lr=0.1, momentum=momentum, weight_decay=weight_decay
    )
    images = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    for lr in (0.1, 0.1, 0.02):
        there.param_groups[0]["lr"] = lr
        for network in networks:
            network.zero_grad()
            network(images).square().sum().backward()
        here.step(lr)
        there.step()

    for parameter, expected in zip(*(n.parameters() for n in networks), strict=True):
        assert torch.equal(parameter, expected)


@pytest.mark.parametrize("cutmix_prob", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("augment", ["none", "color_crop_cutout", "flip_crop_scale_rotate"])
def test_how_many_steps_go_together_does_not_matter(
    digits: ImageData, cutmix_prob: float, augment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of batches of one image, and of different sizes."""
    recipe, sizes = recipe_with(cutmix_prob, augment), [8, 8, 1, 8, 5]
    together = trained(digits, recipe, sizes)
    monkeypatch.setattr(sgd, "_VALUES_AT_ONCE", {"cpu": 2 * 8 * 8 * 8})
    in_twos = trained(digits, recipe, sizes)
    monkeypatch.setattr(sgd, "STEPS_AT_ONCE", 1)
    alone = trained(digits, recipe, sizes)

    assert all(map(torch.equal, together, alone))
    assert all(map(torch.equal, in_twos, alone))


def test_large_images_are_augmented_step_by_step() -> None:
    """So that memory does not grow with the number of steps."""
    network, recipe = small_network(), recipe_with(0.0, "flip_crop")
    seen: list[int] = []

    def take(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(len(batch))
        return torch.zeros(len(batch), 1, 8, 8), torch.zeros(len(batch), dtype=torch.int64)

    for n_values in (64, 2**17, 2**30):
        trainer = NetworkTrainer(network, recipe, take, n_values, AUTOMATIC)
        trainer.train(torch.arange(4).split(1), torch.Generator().manual_seed(0))
    assert seen == [4, 2, 2, 1, 1, 1, 1]


def test_training_does_not_import_pytorch_s_compiler() -> None:
    """The import takes a second of every process."""
    lines = (
        "import sys; from distill import DistillationConfig, run",
        "config = DistillationConfig(n_outer=1, n_inner=1, n_eval=1, eval_epochs=1)",
        "run(config); assert 'torch._dynamo' not in sys.modules",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)
