"""bfloat16 against float32: how far values, gradients, images and accuracies are apart.

The tolerances stated here are those that the documentation refers to.
"""

import statistics
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from distill.config.distillation import DistillationConfig, ResolvedDistillation
from distill.datasets import ImageData
from distill.dream.loop import Dream
from distill.dream.matching import Matcher
from distill.errors import SlowerWarning
from distill.evaluation.scores import score_network
from distill.networks.base import Network
from distill.networks.build import build_network
from distill.networks.layers.instance_norm import InstanceNorm
from distill.networks.precision import full_precision, precision_of, set_precision
from distill.runtime.execution import Execution
from distill.trials.distillation import run_trial
from tests.benchmarks.reference import plain_network

Tiny = Callable[..., ResolvedDistillation]

HALF = Execution(precision="bfloat16")

UNIT = 2.0**-8
"""The rounding of bfloat16: half of it is the largest relative error of one value."""

pytestmark = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this CPU has no bfloat16"
)


def network_of(name: str = "convnet", **options: object) -> Network:
    return build_network(
        name,
        n_classes=10,
        channels=3,
        image_size=(32, 32),
        generator=torch.Generator().manual_seed(0),
        width=32,
        **options,  # type: ignore[arg-type]
    )


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Returns the norm of the difference over the norm."""
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


@pytest.mark.parametrize("name", ["convnet", "resnet10"])
def test_logits_and_weight_gradients_are_as_near_as_autocasts(name: str) -> None:
    """PyTorch's own recipe of mixed precision, on its own layers, is the measure."""
    network = network_of(name, norm="instance")
    images, labels = random(16, 3, 32, 32, seed=1), torch.arange(16) % 10

    def results(of: Network) -> tuple[Tensor, Tensor]:
        logits = of(images).float()
        loss = nn.functional.cross_entropy(logits, labels)
        gradients = torch.autograd.grad(loss, list(of.parameters()))
        assert {own.dtype for own in gradients} == {torch.float32}
        return logits.detach(), torch.cat([own.flatten() for own in gradients])

    exact = results(network)
    with torch.autocast("cpu", torch.bfloat16):
        autocast = results(plain_network(network))
    set_precision(network, "bfloat16")
    ours = results(network)

    assert not torch.equal(ours[0], exact[0]), "it is in use"
    assert relative_error(ours[0], exact[0]) < 4 * UNIT
    for near, theirs, own in zip(ours, autocast, exact, strict=True):
        assert relative_error(near, own) < 1.5 * relative_error(theirs, own)


@pytest.mark.parametrize("match", ["gradients", "features", "both"])
def test_the_gradient_to_the_images_stays_near(match: str) -> None:
    network = network_of()
    matcher = Matcher(match=match, metric="mse")
    real, start = random(32, 3, 32, 32, seed=1), random(4, 3, 32, 32, seed=2)
    found = []
    for precision in ("float32", "bfloat16"):
        set_precision(network, precision)
        synthetic = start.clone().requires_grad_()
        found.append(
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
    (loss, gradient), (near_loss, near_gradient) = found

    assert gradient.dtype == near_gradient.dtype == torch.float32
    assert 0 < relative_error(near_loss, loss) < 4 * UNIT
    assert relative_error(near_gradient, gradient) < 32 * UNIT


def test_second_derivatives_of_instance_norm_are_those_of_float32() -> None:
    """Computed in float32 from rounded maps: no more is lost than in rounding them."""
    layer = InstanceNorm(8)
    layer.weight.data, layer.bias.data = (random(8, seed=i).bfloat16().float() for i in (1, 2))
    maps = (random(4, 8, 16, 16, seed=3) + 1).bfloat16()
    outer, along = (random(4, 8, 16, 16, seed=i).bfloat16() for i in (4, 5))
    found = []
    for dtype in (torch.float64, torch.bfloat16):
        own = maps.to(dtype).requires_grad_()
        layer = layer.to(torch.float64 if dtype == torch.float64 else torch.float32)
        (first,) = torch.autograd.grad((layer(own) * outer.to(dtype)).sum(), own, create_graph=True)
        (second,) = torch.autograd.grad(first, own, along.to(dtype))
        found.append((first.detach(), second))
    for exact, near in zip(*found, strict=True):
        assert near.dtype == torch.bfloat16
        assert relative_error(near, exact) < 2 * UNIT


@pytest.mark.parametrize("batching", ["class", "all"])
def test_images_move_the_same_way(digits: ImageData, tiny: Tiny, batching: str) -> None:
    """Ten inner loops with everything in them: less than a tenth of the way apart."""
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


def test_auto_is_float32_to_the_bit(digits: ImageData, tiny: Tiny) -> None:
    images = []
    for precision in ("auto", "float32"):
        dream = Dream(tiny(), digits, execution=Execution(precision=precision))
        for _ in range(3):
            dream.inner_loop()
        assert precision_of(dream.network) == "float32"
        images.append(dream.images)
    assert torch.equal(*images)


def test_a_row_tells_its_precision_and_ends_the_same_way_when_it_is_run_again(
    digits: ImageData, tiny: Tiny
) -> None:
    results = [run_trial(tiny(), digits, execution=HALF) for _ in range(2)]
    assert [result.row["precision"] for result in results] == ["bfloat16"] * 2
    assert results[0].row["test_accuracy_mean"] == results[1].row["test_accuracy_mean"]
    assert run_trial(tiny(), digits).row["precision"] == "float32"


def test_accuracies_are_measured_in_full_precision() -> None:
    network = network_of()
    images = torch.randint(0, 256, (50, 3, 32, 32), dtype=torch.uint8)
    labels = torch.arange(50) % 10
    expected = score_network(network, images, labels, lambda own: own / 255)
    set_precision(network, "bfloat16")
    assert score_network(network, images, labels, lambda own: own / 255) == expected
    assert precision_of(network) == "bfloat16"


def test_full_precision_ends_with_its_block() -> None:
    network = network_of()
    set_precision(network, "bfloat16")

    def fail() -> None:
        with full_precision(network):
            assert precision_of(network) == "float32"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert precision_of(network) == "bfloat16"


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_a_network_that_cannot_says_so_and_goes_on(norm: str) -> None:
    network = network_of(norm=norm)
    with pytest.warns(SlowerWarning, match=r"no bfloat16: (Group|Layer)Norm takes .*; float32 it"):
        set_precision(network, "bfloat16")
    assert precision_of(network) == "float32"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        set_precision(network, "auto")


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_other_networks_can(norm: str) -> None:
    network = network_of(norm=norm)
    set_precision(network, "bfloat16")
    assert network(random(4, 3, 32, 32, seed=1)).dtype == torch.float32


def test_a_machine_that_cannot_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    network = network_of()
    with pytest.warns(SlowerWarning, match="this CPU has no instructions for it"):
        set_precision(network, "bfloat16")
    assert precision_of(network) == "float32"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_accuracies_agree_over_seeds(digits: ImageData) -> None:
    """Six seeds of a whole distillation of the digits: no difference beyond 99 % of chance.

    Paired by seed, as start and draws are; the values are printed.
    """
    differences = []
    for seed in range(6):
        values = {"dataset": "digits", "ipc": 1, "seed": seed, "eval_every": 0, "n_eval": 3}
        config = DistillationConfig.from_dict(values)
        own, half = (
            run_trial(config, digits, execution=Execution(precision=precision)).row
            for precision in ("float32", "bfloat16")
        )
        differences.append(half["test_accuracy_mean"] - own["test_accuracy_mean"])
        print(f"seed {seed}: {own['test_accuracy_mean']:.4f} {half['test_accuracy_mean']:.4f}")
    mean = statistics.fmean(differences)
    error = statistics.stdev(differences) / len(differences) ** 0.5
    print(f"bfloat16 - float32: {mean:+.4f} ± {error:.4f} (standard error)")
    assert abs(mean) < 4.03 * error, "Student's t, five degrees of freedom"
