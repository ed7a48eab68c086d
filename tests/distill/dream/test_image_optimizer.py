"""ImageOptimizer against torch's SGD on the images of all classes as one parameter."""

import math

import pytest
import torch
from torch import Tensor

from distill.dream.image_optimizer import ImageOptimizer


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("n_classes", [1, 2, 10])
def test_equals_sequential_sgd_on_one_parameter(momentum: float, n_classes: int) -> None:
    """Compares one step per class, with gradients that depend on the images."""
    start = random(n_classes, 2, 1, 3, 3)
    targets = random(n_classes, 2, 1, 3, 3, seed=1)
    parameter = start.clone().requires_grad_()
    sgd = torch.optim.SGD([parameter], lr=0.1, momentum=momentum)
    images = start.clone()
    optimizer = ImageOptimizer(images, lr=0.1, momentum=momentum)
    for _ in range(4):
        for label in range(n_classes):
            sgd.zero_grad()
            (-torch.cos(parameter[label] - targets[label])).sum().backward()
            sgd.step()
            optimizer.begin(slice(label, label + 1))
            optimizer.step(slice(label, label + 1), torch.sin(images[label] - targets[label])[None])

        torch.testing.assert_close(images, parameter.detach(), rtol=0, atol=1e-13)
        if momentum:
            buffer = sgd.state[parameter]["momentum_buffer"]
            torch.testing.assert_close(optimizer.buffer, buffer, rtol=0, atol=1e-13)


def test_momentum_half_doubles_the_move_of_a_class() -> None:
    images = torch.zeros(10, 1, 1, 1, 1, dtype=torch.float64)
    optimizer = ImageOptimizer(images, lr=1.0, momentum=0.5)
    for label in range(10):
        optimizer.begin(slice(label, label + 1))
        optimizer.step(slice(label, label + 1), torch.full((1, 1, 1, 1, 1), float(-(label == 0))))

    assert images[0].item() == pytest.approx(sum(0.5**j for j in range(10)))
    assert math.isclose(images[1:].abs().max().item(), 0)
