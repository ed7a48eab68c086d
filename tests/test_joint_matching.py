"""Several classes in one pass, against class by class with a double backward."""

import pytest
import torch
from torch import Tensor

from distill.joint_matching import match_jointly, mixes_images
from distill.matching import Matcher
from distill.networks import Network, build_network

LABELS = (2, 0, 1)
COUNTS = (5, 3, 4)
N_SYNTHETIC = 2


def random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def network_of(name: str, norm: str) -> Network:
    network = build_network(
        name,
        n_classes=3,
        channels=2,
        image_size=(16, 16),
        generator=torch.Generator().manual_seed(0),
        width=8,
        depth=2,
        norm=norm,
    )
    return network.double()


def class_by_class(
    matcher: Matcher, network: Network, real: Tensor, source: Tensor, weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    loss = real.new_zeros(())
    start = 0
    for i, (label, n) in enumerate(zip(LABELS, COUNTS, strict=True)):
        own = None if weights is None else weights[start : start + n]
        synthetic = source[i].tanh()
        loss = loss + matcher(network, real[start : start + n], synthetic, label, own)
        start += n
    (gradient,) = torch.autograd.grad(loss, source)
    return loss.detach(), gradient


CASES = [
    (*("convnet", norm), match, metric, inert)
    for norm in ("instance", "none")
    for match in ("gradients", "features", "both")
    for metric in ("mse", "l1", "cosine")
    for inert in (None, False, True)  # no weights, weights that act, inert ones
]
CASES += [("resnet10", "instance", match, "mse", False) for match in ("gradients", "both")]


@pytest.mark.parametrize(("name", "norm", "match", "metric", "inert"), CASES)
def test_it_is_the_sum_over_the_classes(
    name: str, norm: str, match: str, metric: str, inert: bool | None
) -> None:
    network = network_of(name, norm)
    matcher = Matcher(match=match, metric=metric, feature_weight=0.5, inert_weights=bool(inert))
    real = random(sum(COUNTS), 2, 16, 16, seed=1)
    source = random(3, N_SYNTHETIC, 2, 16, 16, seed=2).requires_grad_()
    weights = None
    if inert is not None:
        weights = torch.cat([own / own.mean() for own in random(12, seed=3).abs().split(COUNTS)])

    expected = class_by_class(matcher, network, real, source, weights)
    loss, gradient = match_jointly(
        matcher,
        network,
        real,
        source.tanh().flatten(0, 1),
        labels=torch.tensor(LABELS),
        counts=COUNTS,
        weights=weights,
        source=source,
    )
    assert not loss.requires_grad
    torch.testing.assert_close(loss, expected[0], rtol=1e-10, atol=0)
    scale = float(expected[1].abs().max())
    torch.testing.assert_close(gradient, expected[1], rtol=1e-10, atol=1e-12 * scale)
    assert all(p.grad is None for p in network.parameters())


def test_batch_norm_cannot_be_passed_jointly() -> None:
    assert mixes_images(network_of("convnet", "batch"))
    assert not any(
        mixes_images(network_of("convnet", norm)) for norm in ("instance", "group", "layer", "none")
    )
