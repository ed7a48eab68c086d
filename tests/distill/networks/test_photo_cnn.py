"""PhotoCNN: number of parameters, sigmoid unit, Keras's defaults, small images, dropout."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.errors import UserError
from distill.networks.build import build_network
from distill.networks.photo_cnn import Dropout, PhotoCNN


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(
    n_classes: int = 2, size: tuple[int, int] = (32, 32), channels: int = 3, seed: int = 0
) -> PhotoCNN:
    network = build_network(
        "photo_cnn",
        n_classes=n_classes,
        channels=channels,
        image_size=size,
        generator=generator(seed),
    )
    assert isinstance(network, PhotoCNN)
    return network


def images(n: int, size: int, seed: int = 1) -> Tensor:
    return torch.rand(n, 3, size, size, generator=generator(seed))


def test_parameter_count_matches_the_paper() -> None:
    # The paper counts running statistics as parameters.
    network = build(size=(150, 150))
    n_trained = sum(parameter.numel() for parameter in network.parameters())
    n_running = sum(b.numel() for name, b in network.named_buffers() if "running" in name)

    assert n_running == 2 * (64 + 128 + 256 + 256 + 128 + 64 + 512)
    assert n_trained + n_running == 1_467_457


@pytest.mark.parametrize(
    ("size", "n_poolings", "side"),
    [(150, 6, 2), (64, 6, 1), (63, 5, 1), (32, 5, 1), (8, 3, 1), (1, 0, 1)],
)
def test_blocks_pool_while_maps_have_two_pixels(size: int, n_poolings: int, side: int) -> None:
    network = build(size=(size, size))
    poolings = [module for module in network.modules() if isinstance(module, nn.MaxPool2d)]
    maps = network.eval().block_features(images(2, size))[-1]

    assert len(poolings) == n_poolings
    assert maps.shape == (2, 64, side, side)
    assert network(images(2, size)).shape == (2, 2)


def test_the_shorter_side_limits_the_poolings() -> None:
    network = build(channels=1, size=(4, 200)).eval()

    assert network(torch.rand(3, 1, 4, 200)).shape == (3, 2)
    assert network.block_features(torch.rand(3, 1, 4, 200))[-1].shape == (3, 64, 1, 50)


def test_two_classes_share_one_sigmoid_unit() -> None:
    """Its cross-entropy is the binary cross-entropy."""
    network = build(size=(8, 8)).eval()
    batch, labels = images(6, 8), torch.tensor([0, 1, 1, 0, 1, 0])
    logits = network(batch)
    unit = F.linear(network.features(batch), network.classifier.weight, network.classifier.bias)

    assert network.classifier.weight.shape == (1, 512)
    torch.testing.assert_close(logits.softmax(dim=1)[:, 1], unit.sigmoid()[:, 0])
    torch.testing.assert_close(
        F.cross_entropy(logits, labels),
        F.binary_cross_entropy_with_logits(unit[:, 0], labels.float()),
    )
    assert torch.equal(logits.argmax(dim=1), (unit[:, 0] > 0).long())


def test_three_and_more_classes_have_one_logit_each() -> None:
    network = build(n_classes=10, size=(8, 8)).eval()

    assert network.classifier.weight.shape == (10, 512)
    assert network(images(3, 8)).shape == (3, 10)


def test_a_single_class_is_refused() -> None:
    with pytest.raises(UserError, match="a classifier needs at least 2 classes, got 1"):
        build(n_classes=1)


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="channels must be at least 1, got 0"):
        build(channels=0)
    with pytest.raises(UserError, match="image_size must be at least 1×1, got 0×8"):
        build(size=(0, 8))


def test_logits_features_and_block_features_agree() -> None:
    network = build(size=(16, 16)).eval()
    batch = images(4, 16)

    assert torch.equal(network(batch), network.classifier(network.features(batch)))
    assert len(network.block_features(batch)) == 6


@pytest.mark.parametrize("layer", [0, 3])
def test_initial_weights_are_glorot_uniform_and_biases_zero(layer: int) -> None:
    """Checks a uniform distribution on [−b, b) by its range and its variance, b² / 3."""
    modules = list(build(size=(8, 8)).modules())
    convolution = [module for module in modules if isinstance(module, nn.Conv2d)][layer]
    dense = next(module for module in modules if isinstance(module, nn.Linear))
    n_out, n_in = convolution.weight.shape[:2]
    bound = math.sqrt(6 / (9 * n_in + 9 * n_out))
    weights = convolution.weight.detach()

    assert 0.98 * bound < float(weights.abs().max()) <= bound
    assert float(weights.var()) == pytest.approx(bound**2 / 3, rel=0.1)  # 1,728 numbers at least
    assert convolution.bias is not None
    assert not convolution.bias.any()
    assert float(dense.weight.detach().abs().max()) <= math.sqrt(6 / (64 + 512))
    assert not dense.bias.any()


def test_batch_norms_have_momentum_and_epsilon_of_keras() -> None:
    modules = build(size=(8, 8)).modules()
    norm = next(module for module in modules if isinstance(module, nn.BatchNorm2d))
    maps = 3 + 2 * torch.randn(16, 64, 4, 4, generator=generator())
    norm(maps)

    assert norm.eps == 1e-3
    torch.testing.assert_close(norm.running_mean, 0.01 * maps.mean(dim=(0, 2, 3)))


def test_weights_depend_on_the_given_generator_only() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (build(size=(8, 8), seed=seed).state_dict() for seed in (3, 3, 4))

    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["dense.0.weight"], other["dense.0.weight"])


def test_dropout_zeroes_half_and_doubles_the_others() -> None:
    values = torch.rand(400, 50, generator=generator(1)) + 1
    dropout = Dropout(0.5)
    dropout.generator = generator(2)
    before = torch.random.get_rng_state()
    dropped = dropout(values)
    dropout.generator = generator(2)

    assert torch.equal(dropout(values), dropped)
    assert torch.equal(torch.random.get_rng_state(), before)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], 2 * values[kept])
    # 20,000 fair coins: 0.5 ± 0.0035 (one standard deviation); five of them.
    assert float(kept.double().mean()) == pytest.approx(0.5, abs=0.018)
    assert torch.equal(dropout.eval()(values), values)


def test_dropout_needs_a_generator_in_train_mode() -> None:
    with pytest.raises(RuntimeError, match="dropout needs a generator in train mode"):
        build(size=(8, 8))(images(2, 8))
