"""Matching loss and its gradient in the images."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.dream.image_optimizer import ImageOptimizer
from distill.dream.matching import Matcher, check_matchable, distance, mixes_images
from distill.errors import UserError
from distill.networks.base import Network
from distill.networks.build import build_network
from tests.distill.plain_matching import inert_cross_entropy, plain_loss, weighted_cross_entropy


class OneConvolution(Network):
    """logits = conv1×1(x) on 1×1 images: a linear network with gradients in closed form."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        n_classes, channels = weight.shape
        convolution = nn.Conv2d(channels, n_classes, 1, bias=False, dtype=weight.dtype)
        convolution.weight.data = weight[:, :, None, None].clone()
        self.blocks = nn.ModuleList([convolution])
        self.classifier = nn.Linear(n_classes, n_classes, bias=False, dtype=weight.dtype)
        self.classifier.weight.data = torch.eye(n_classes, dtype=weight.dtype)


def softmax_gradient(weight: Tensor, images: Tensor, label: int, weights: Tensor) -> Tensor:
    """Returns Σ w (softmax(Wx) − y) xᵀ / n, the gradient of the weighted mean cross-entropy."""
    gradient = torch.zeros_like(weight)
    for x, w in zip(images, weights, strict=True):
        errors = torch.softmax(weight @ x, dim=0)
        errors[label] -= 1
        gradient += w * torch.outer(errors, x) / len(images)
    return gradient


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def match_class(
    matcher: Matcher,
    network: Network,
    real: Tensor,
    synthetic: Tensor,
    label: int,
    weights: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Returns the loss of one class and its gradient to the synthetic images."""
    source = synthetic.detach().requires_grad_()
    return matcher(
        network,
        real,
        source,
        labels=torch.tensor([label]),
        counts=[len(real)],
        weights=weights,
        source=source,
    )


@pytest.mark.parametrize("metric", ["mse", "l1", "cosine"])
def test_loss_of_a_linear_network_by_hand(metric: str) -> None:
    weight, real, synthetic = random(3, 4), random(5, 4, seed=1), random(2, 4, seed=2)
    weights = torch.tensor([2.0, 0.5, 1.0, 1.0, 0.5], dtype=torch.float64)
    target = softmax_gradient(weight, real, 1, weights)
    gradient = softmax_gradient(weight, synthetic, 1, torch.ones(2))
    if metric == "mse":
        expected = ((target - gradient) ** 2).sum()
    elif metric == "l1":
        expected = (target - gradient).abs().sum()
    else:
        norms = target.norm(dim=1) * gradient.norm(dim=1)
        cosines = (target * gradient).sum(1) / (norms + 1e-6)
        expected = (1 - cosines).sum()

    maps = (real[:, :, None, None], synthetic[:, :, None, None])
    network = OneConvolution(weight)
    loss, _ = match_class(Matcher(match="gradients", metric=metric), network, *maps, 1, weights)

    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)


def test_image_step_of_a_linear_network_by_hand() -> None:
    """With one synthetic image x, the gradient matrix is e xᵀ, where e = softmax(Wx) − y.

    For V = 2 (e xᵀ − G_real), the derivative of the squared distance with respect to x is
    Vᵀ e + Wᵀ (diag(p) − p pᵀ) V x; the image moves against it by the learning rate, and by its
    momentum in the steps of the other two classes.
    """
    weight, real, x = random(3, 4), random(5, 4, seed=1), random(4, seed=2)
    weights = torch.tensor([2.0, 0.5, 1.0, 1.0, 0.5], dtype=torch.float64)
    p = torch.softmax(weight @ x, dim=0)
    errors = p - torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    v = 2 * (torch.outer(errors, x) - softmax_gradient(weight, real, 0, weights))
    gradient = v.T @ errors + weight.T @ (torch.diag(p) - torch.outer(p, p)) @ v @ x
    expected = x - 0.1 * gradient * (1 + 0.5 + 0.25)

    images = torch.stack([x, x, x])[:, None, :, None, None].clone()
    optimizer = ImageOptimizer(images, lr=0.1, momentum=0.5)
    optimizer.begin(slice(0, 1))
    matcher, network = Matcher(match="gradients", metric="mse"), OneConvolution(weight)
    maps = real[:, :, None, None]
    _, image_gradient = match_class(matcher, network, maps, images[0].clone(), 0, weights)
    optimizer.step(slice(0, 1), image_gradient[None])

    torch.testing.assert_close(images[0, 0, :, 0, 0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("match", ["gradients", "features", "both"])
@pytest.mark.parametrize("metric", ["mse", "l1", "cosine"])
def test_image_gradients_agree_with_finite_differences(match: str, metric: str) -> None:
    network = build_network(
        "convnet",
        n_classes=3,
        channels=2,
        image_size=(4, 4),
        width=3,
        depth=1,
        generator=torch.Generator().manual_seed(0),
    ).double()
    real, weights = random(4, 2, 4, 4), torch.tensor([1.5, 0.5, 1.0, 1.0], dtype=torch.float64)
    matcher = Matcher(match=match, metric=metric, feature_weight=0.3)

    class Loss(torch.autograd.Function):
        """The loss, with the gradient under test as its derivative."""

        @staticmethod
        def forward(ctx: Any, synthetic: Tensor) -> Tensor:
            with torch.enable_grad():
                loss, ctx.gradient = match_class(matcher, network, real, synthetic, 2, weights)
            return loss

        @staticmethod
        def backward(ctx: Any, along: Tensor) -> Tensor:
            gradient: Tensor = ctx.gradient * along
            return gradient

    synthetic = random(2, 2, 4, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(Loss.apply, (synthetic,))


def test_both_is_the_sum_of_its_terms() -> None:
    network = OneConvolution(random(3, 4))
    real, synthetic = random(5, 4, 1, 1, seed=1), random(2, 4, 1, 1, seed=2)

    def loss(match: str, feature_weight: float = 1.0) -> float:
        matcher = Matcher(match=match, metric="mse", feature_weight=feature_weight)
        return match_class(matcher, network, real, synthetic, 0, None)[0].item()

    assert loss("both", 0.25) == pytest.approx(loss("gradients") + 0.25 * loss("features"))
    assert loss("features", 0.25) == loss("features"), "the factor applies to `both` only"


def test_loss_of_identical_sets_is_zero() -> None:
    network, images = OneConvolution(random(3, 4)), random(5, 4, 1, 1, seed=1)

    for metric in ("mse", "l1"):
        matcher = Matcher(match="both", metric=metric)
        loss, _ = match_class(matcher, network, images, images.clone(), 0, None)
        assert loss.item() == pytest.approx(0, abs=1e-24)


def test_weights_change_the_gradient_unless_inert() -> None:
    network, real = OneConvolution(random(3, 4)), random(5, 4, 1, 1, seed=1)
    synthetic = random(2, 4, 1, 1, seed=2)
    weights = torch.tensor([3.0, 0.5, 0.5, 0.5, 0.5], dtype=torch.float64)

    def gradient(inert: bool, weights: Tensor | None) -> Tensor:
        matcher = Matcher(match="gradients", metric="mse", inert_weights=inert)
        return match_class(matcher, network, real, synthetic, 0, weights)[1]

    plain = gradient(False, None)

    torch.testing.assert_close(gradient(True, weights), plain, rtol=1e-12, atol=0)
    assert float((gradient(False, weights) - plain).norm() / plain.norm()) > 0.01
    torch.testing.assert_close(
        gradient(False, torch.ones(5, dtype=torch.float64)), plain, rtol=1e-12, atol=1e-15
    )


def test_weights_are_equivalent_to_repeated_images() -> None:
    """Weights 2, 1, 1 (over their mean) equal a batch with the first image twice."""
    logits, labels = random(3, 4), torch.tensor([0, 0, 0])
    weights = torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64) * 3 / 4
    repeated = F.cross_entropy(logits[[0, 0, 1, 2]], labels[[0, 0, 1, 2]])

    torch.testing.assert_close(weighted_cross_entropy(logits, labels, weights), repeated)
    torch.testing.assert_close(
        inert_cross_entropy(logits, labels, weights), F.cross_entropy(logits, labels)
    )


def test_only_convolution_weights_are_matched() -> None:
    network = build_network(
        "convnet",
        n_classes=2,
        channels=1,
        image_size=(4, 4),
        width=2,
        depth=1,
        generator=torch.Generator().manual_seed(0),
    ).double()
    real, synthetic = random(3, 1, 4, 4), random(2, 1, 4, 4, seed=1)
    convolutions = [p for p in network.parameters() if p.ndim == 4]
    gradients = [
        torch.autograd.grad(
            F.cross_entropy(network(images), torch.zeros(len(images), dtype=torch.long)),
            convolutions,
        )
        for images in (real, synthetic)
    ]
    expected = sum(float(((a - b) ** 2).sum()) for a, b in zip(*gradients, strict=True))

    matcher = Matcher(match="gradients", metric="mse")
    loss, _ = match_class(matcher, network, real, synthetic, 0, None)

    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="metric must be mse, l1 or cosine, got 'l2'"):
        distance(torch.ones(1, 1), torch.ones(1, 1), "l2")


LABELS = (2, 0, 1)
COUNTS = (5, 3, 4)
N_SYNTHETIC = 2


def network_of(name: str, norm: str | None) -> Network:
    options: dict[str, Any] = {"width": 8, "depth": 2} if name == "convnet" else {}
    if norm is not None:
        options["norm"] = norm
    network = build_network(
        name,
        n_classes=3,
        channels=2,
        image_size=(16, 16),
        generator=torch.Generator().manual_seed(0),
        **options,
    )
    return network.double()


def class_by_class(
    matcher: Matcher, network: Network, real: Tensor, source: Tensor, weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Returns the loss and its gradient by a double backward for each class."""
    loss = real.new_zeros(())
    start = 0
    for i, (label, n) in enumerate(zip(LABELS, COUNTS, strict=True)):
        rows = slice(start, start + n)
        synthetic = source[i].tanh()
        class_weights = None if weights is None else weights[rows]
        loss = loss + plain_loss(matcher, network, real[rows], synthetic, label, class_weights)
        start += n
    (gradient,) = torch.autograd.grad(loss, source)
    return loss.detach(), gradient


CASES: list[tuple[str, str | None, str, str, bool | None]] = [
    ("convnet", norm, match, metric, inert)
    for norm in ("instance", "none")
    for match in ("gradients", "features", "both")
    for metric in ("mse", "l1", "cosine")
    for inert in (None, False, True)  # None: without weights
]
CASES += [("resnet10", "instance", match, "mse", False) for match in ("gradients", "both")]
CASES += [
    ("vgg11", "instance", "both", "mse", False),
    *(("alexnet", None, "both", metric, False) for metric in ("mse", "cosine")),
    *(("vit", None, "features", metric, False) for metric in ("mse", "cosine")),
    ("mlp", None, "features", "mse", False),
]


@pytest.mark.parametrize(("name", "norm", "match", "metric", "inert"), CASES)
def test_several_classes_at_once_equal_one_by_one(
    name: str, norm: str | None, match: str, metric: str, inert: bool | None
) -> None:
    network = network_of(name, norm)
    matcher = Matcher(match=match, metric=metric, feature_weight=0.5, inert_weights=bool(inert))
    real = random(sum(COUNTS), 2, 16, 16, seed=1)
    source = random(3, N_SYNTHETIC, 2, 16, 16, seed=2).requires_grad_()
    weights = None
    if inert is not None:
        weights = torch.cat([w / w.mean() for w in random(12, seed=3).abs().split(COUNTS)])

    expected = class_by_class(matcher, network, real, source, weights)
    loss, gradient = matcher(
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


def test_cosine_distance_of_feature_vectors_has_a_row_for_each_class() -> None:
    """An MLP has no maps: Σ over classes of 1 − cos(mean features)."""
    network = network_of("mlp", None)
    real, synthetic = random(8, 2, 16, 16, seed=1), random(4, 2, 16, 16, seed=2).requires_grad_()
    loss, _ = Matcher(match="features", metric="cosine")(
        network,
        real,
        synthetic,
        labels=torch.tensor([0, 1]),
        counts=[3, 5],
        weights=None,
        source=synthetic,
    )
    features, targets = network.features(synthetic), network.features(real)
    pairs = ((features[:2], targets[:3]), (features[2:], targets[3:]))
    cosines = [F.cosine_similarity(a.mean(0), b.mean(0), dim=0) for a, b in pairs]
    # The epsilon that is added to the product of the norms is 1e-6 of about 1.
    torch.testing.assert_close(loss, (2 - cosines[0] - cosines[1]).detach(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["mlp", "vit"])
def test_networks_without_convolutions_have_no_gradients_to_match(name: str) -> None:
    network = network_of(name, None)
    for match in ("gradients", "both"):
        with pytest.raises(UserError, match=f"network '{name}' has no convolutions.*got match"):
            check_matchable(network, name, match)
    for match in ("features", "none"):
        check_matchable(network, name, match)
    check_matchable(network_of("alexnet", None), "alexnet", "gradients")


@pytest.mark.parametrize("name", ["convnet", "resnet10"])
def test_one_class_with_batch_norm_equals_the_plain_loop(name: str) -> None:
    """Checks the running statistics, too."""
    networks = [network_of(name, "batch") for _ in range(2)]
    matcher = Matcher(match="both", metric="mse", feature_weight=0.5)
    real = random(5, 2, 16, 16, seed=1)
    synthetic = random(3, 2, 16, 16, seed=2).requires_grad_()
    expected = plain_loss(matcher, networks[0], real, synthetic, 1, None)
    (gradient,) = torch.autograd.grad(expected, synthetic)

    loss, matched = match_class(matcher, networks[1], real, synthetic, 1, None)

    torch.testing.assert_close(loss, expected.detach(), rtol=1e-10, atol=0)
    torch.testing.assert_close(matched, gradient, rtol=1e-9, atol=1e-12)
    for buffer, plain in zip(networks[1].buffers(), networks[0].buffers(), strict=True):
        torch.testing.assert_close(buffer, plain)


def test_only_batch_norm_mixes_images() -> None:
    assert mixes_images(network_of("convnet", "batch"))
    assert not any(mixes_images(network_of("convnet", norm)) for norm in ("instance", "none"))
