"""bfloat16 against float32: differences of values, gradients, images and accuracies.

The documentation refers to the tolerances stated here.
"""

import statistics
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distill.config.distillation import DistillationConfig, ResolvedDistillation
from distill.datasets import ImageData
from distill.dream.loop import Dream
from distill.dream.matching import Matcher
from distill.errors import SlowerWarning
from distill.evaluation.scores import score_network
from distill.networks import precision as precision_module
from distill.networks.base import Network
from distill.networks.build import build_network
from distill.networks.layers.instance_norm import InstanceNorm
from distill.networks.photo_cnn import PhotoCNN
from distill.networks.precision import full_precision, precision_of, set_precision
from distill.runtime.execution import Execution
from distill.trials.runner import run
from tests.benchmarks.reference import plain_network

Tiny = Callable[..., ResolvedDistillation]

HALF = Execution(precision="bfloat16")

UNIT = 2.0**-8
"""Spacing of bfloat16 numbers above one: half of it is the largest relative rounding error."""

SHORT_TRIAL = {
    "dataset": "digits",
    "val_fraction": 0.1,
    "ipc": 1,
    "width": 16,
    "depth": 2,
    "n_representatives": 16,
    "n_outer": 2,
    "n_inner": 10,
    "n_net_batches": 2,
    "net_batch_size": 64,
    "eval_every": 0,
    "eval_epochs": 30,
    "n_eval": 4,
}
"""Values of a trial that takes about a second and reaches an accuracy of about 0.75."""

pytestmark = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this CPU has no bfloat16"
)


def network_of(name: str = "convnet", **options: Any) -> Network:
    if name == "convnet":
        options = {"width": 32} | options
    return build_network(
        name,
        n_classes=10,
        channels=3,
        image_size=(32, 32),
        generator=torch.Generator().manual_seed(0),
        **options,
    )


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def relative_error(values: Tensor, expected: Tensor) -> float:
    """Returns ‖values − expected‖ / ‖expected‖."""
    return float((values.double() - expected.double()).norm() / expected.double().norm())


@pytest.mark.parametrize("name", ["convnet", "resnet10"])
def test_logits_and_weight_gradients_are_as_near_as_autocast(name: str) -> None:
    """Compares with PyTorch's mixed precision on PyTorch's layers."""
    network = network_of(name, norm="instance")
    images, labels = random(16, 3, 32, 32, seed=1), torch.arange(16) % 10

    def results(network: Network) -> tuple[Tensor, Tensor]:
        logits = network(images).float()
        loss = nn.functional.cross_entropy(logits, labels)
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        assert {gradient.dtype for gradient in gradients} == {torch.float32}
        return logits.detach(), torch.cat([gradient.flatten() for gradient in gradients])

    exact = results(network)
    with torch.autocast("cpu", torch.bfloat16):
        autocast = results(plain_network(network))
    set_precision(network, "bfloat16")
    rounded = results(network)

    assert not torch.equal(rounded[0], exact[0]), "bfloat16 is in use"
    assert relative_error(rounded[0], exact[0]) < 4 * UNIT
    for near, baseline, expected in zip(rounded, autocast, exact, strict=True):
        assert relative_error(near, expected) < 1.5 * relative_error(baseline, expected)


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "mlp", "vit"])
def test_further_networks_round_their_maps_and_not_their_weights(name: str) -> None:
    network = network_of(name)
    images, labels = random(8, 3, 32, 32, seed=1), torch.arange(8)
    exact = network.features(images).detach()
    set_precision(network, "bfloat16")
    rounded = network.features(images)
    nn.functional.cross_entropy(network(images), labels).backward()

    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact), "bfloat16 is in use"
    # Every layer rounds once; VGG-11's instance norms of 2×2 pixels divide by small deviations.
    assert relative_error(rounded.detach(), exact) < 16 * UNIT
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in network.parameters())


@pytest.mark.parametrize("match", ["gradients", "features", "both"])
def test_image_gradients_are_near_those_of_float32(match: str) -> None:
    network = network_of()
    matcher = Matcher(match=match, metric="mse")
    real, start = random(32, 3, 32, 32, seed=1), random(4, 3, 32, 32, seed=2)
    results = []
    for precision in ("float32", "bfloat16"):
        set_precision(network, precision)
        synthetic = start.clone().requires_grad_()
        results.append(
            matcher(
                network,
                real,
                synthetic,
                labels=torch.tensor([3]),
                counts=[len(real)],
                weights=None,
                source=synthetic,
            )
        )
    (loss, gradient), (near_loss, near_gradient) = results

    assert gradient.dtype == near_gradient.dtype == torch.float32
    assert 0 < relative_error(near_loss, loss) < 4 * UNIT
    assert relative_error(near_gradient, gradient) < 32 * UNIT


def test_second_derivatives_of_instance_norm_are_float32() -> None:
    """Checks that computing them from bfloat16 maps adds no more than the rounding error."""
    layer = InstanceNorm(8)
    layer.weight.data, layer.bias.data = (random(8, seed=i).bfloat16().float() for i in (1, 2))
    maps = (random(4, 8, 16, 16, seed=3) + 1).bfloat16()
    outer, along = (random(4, 8, 16, 16, seed=i).bfloat16() for i in (4, 5))
    results = []
    for dtype in (torch.float64, torch.bfloat16):
        cast = maps.to(dtype).requires_grad_()
        layer = layer.to(torch.float64 if dtype == torch.float64 else torch.float32)
        loss = (layer(cast) * outer.to(dtype)).sum()
        (first,) = torch.autograd.grad(loss, cast, create_graph=True)
        (second,) = torch.autograd.grad(first, cast, along.to(dtype))
        results.append((first.detach(), second))
    for exact, near in zip(*results, strict=True):
        assert near.dtype == torch.bfloat16
        assert relative_error(near, exact) < 2 * UNIT


@pytest.mark.parametrize("batching", ["class", "all"])
def test_images_change_alike_in_ten_inner_loops(
    digits: ImageData, tiny: Tiny, batching: str
) -> None:
    config = tiny(n_inner=10, n_outer=1, weights="size", clusterer="random")
    moves = []
    for precision in ("float32", "bfloat16"):
        execution = Execution(batching=batching, precision=precision)
        dream = Dream(config, digits, execution=execution)
        start = dream.images.clone()
        for _ in range(10):
            dream.inner_loop()
        assert dream.images.dtype == torch.float32
        assert {p.dtype for p in dream.network.parameters()} == {torch.float32}
        moves.append(dream.images - start)
    assert 0 < relative_error(*moves) < 0.1


def test_auto_precision_equals_float32(digits: ImageData, tiny: Tiny) -> None:
    images = []
    for precision in ("auto", "float32"):
        dream = Dream(tiny(), digits, execution=Execution(precision=precision))
        for _ in range(3):
            dream.inner_loop()
        assert precision_of(dream.network) == "float32"
        images.append(dream.images)
    assert torch.equal(*images)


def test_rows_record_the_precision_and_are_reproducible(digits: ImageData, tiny: Tiny) -> None:
    results = [run(tiny(), digits, execution=HALF) for _ in range(2)]
    assert [result.row["precision"] for result in results] == ["bfloat16"] * 2
    assert results[0].row["test_accuracy_mean"] == results[1].row["test_accuracy_mean"]
    assert run(tiny(), digits).row["precision"] == "float32"


def test_accuracies_are_measured_in_full_precision() -> None:
    network = network_of()
    images = torch.randint(0, 256, (50, 3, 32, 32), dtype=torch.uint8)
    labels = torch.arange(50) % 10
    expected = score_network(network, images, labels, lambda pixels: pixels / 255)
    set_precision(network, "bfloat16")
    assert score_network(network, images, labels, lambda pixels: pixels / 255) == expected
    assert precision_of(network) == "bfloat16"


def test_full_precision_ends_with_its_context() -> None:
    network = network_of()
    set_precision(network, "bfloat16")

    def fail() -> None:
        with full_precision(network):
            assert precision_of(network) == "float32"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert precision_of(network) == "bfloat16"


@pytest.mark.parametrize(
    ("name", "options"),
    [("convnet", {"norm": "batch"}), ("convnet", {"norm": "none"}), ("photo_cnn", {})],
)
def test_networks_without_instance_norm_run_in_bfloat16(name: str, options: Any) -> None:
    network = network_of(name, **options)
    if isinstance(network, PhotoCNN):
        network.dropout.generator = torch.Generator().manual_seed(0)
    set_precision(network, "bfloat16")
    images = random(4, 3, 32, 32, seed=1)
    assert {maps.dtype for maps in network.block_features(images)} == {torch.bfloat16}
    logits = network(images)
    logits.sum().backward()
    assert logits.dtype == torch.float32
    assert {p.grad.dtype for p in network.parameters() if p.grad is not None} == {torch.float32}


def test_unsupported_bfloat16_warns_once_per_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    precision_module._warn_once.cache_clear()
    network = network_of()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        set_precision(network, "auto")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            set_precision(network, "bfloat16")
    assert [warning.category for warning in caught] == [SlowerWarning]
    assert "this CPU has no instructions for it; falling back to float32" in str(caught[0].message)
    assert caught[0].filename == __file__, "the warning names the caller"
    assert precision_of(network) == "float32"
    precision_module._warn_once.cache_clear()


@pytest.mark.lengthy
def test_accuracies_are_equivalent_to_those_of_float32(digits: ImageData) -> None:
    """Two one-sided tests at 2.5 %: the 95 % interval of the difference lies within the bound.

    Pairs share the seed, hence initial weights and draws. More noise in bfloat16 widens the
    interval and makes the test fail. The bound is below the standard deviation of the accuracy
    over seeds (0.03).
    """
    bound, t_quantile = 0.015, 2.365  # Student's t, 97.5 %, 7 degrees of freedom
    differences = []
    for seed in range(8):
        config = DistillationConfig.from_dict(SHORT_TRIAL | {"seed": seed})
        exact, rounded = (
            run(config, digits, execution=Execution(precision=precision)).row
            for precision in ("float32", "bfloat16")
        )
        differences.append(rounded["test_accuracy_mean"] - exact["test_accuracy_mean"])
    mean = statistics.fmean(differences)
    half_width = t_quantile * statistics.stdev(differences) / len(differences) ** 0.5
    low, high = mean - half_width, mean + half_width
    print(f"bfloat16 - float32: {mean:+.4f}, 95 % interval [{low:+.4f}, {high:+.4f}]")
    assert any(differences), "bfloat16 is in use"
    assert -bound < low
    assert high < bound
