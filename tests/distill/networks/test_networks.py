"""Networks: sizes in the literature, outputs and features, initial weights, refused options."""

import dataclasses
import hashlib
import inspect
import itertools
import math
import subprocess
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.components import NoOptions, resolve_reference
from distill.errors import UserError
from distill.networks.alexnet import AlexNet
from distill.networks.base import Network, reset_parameters, width_of
from distill.networks.build import build_network
from distill.networks.convnet import NORMS, POOLINGS, ConvNet
from distill.networks.layers.instance_norm import InstanceNorm
from distill.networks.mlp import MLP
from distill.networks.registry import NETWORKS
from distill.networks.resnet import ResNet
from distill.networks.vgg import VGG
from distill.networks.vit import ViT

SMALL_IMAGE_NETWORKS = [name for name in NETWORKS if name != "photo_cnn"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(name: str = "convnet", seed: int = 0, **options: Any) -> Network:
    defaults: dict[str, Any] = {"n_classes": 10, "channels": 3, "image_size": (32, 32)}
    return build_network(name, generator=generator(seed), **(defaults | options))


def images(*shape: int, seed: int = 1) -> Tensor:
    """Returns images off-centre and of unequal scale, as real data are."""
    scale = torch.linspace(0.5, 3.0, shape[0])[:, None, None, None]
    return torch.randn(shape, generator=generator(seed)) * scale + 0.7


def n_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("convnet", {}, 320_010),
        # 3 blocks on 28×28 padded to 32×32: the same 2,048 features.
        ("convnet", {"channels": 1, "image_size": (28, 28)}, 317_706),
        ("convnet", {"norm": "none"}, 320_010 - 3 * 256),
        ("resnet18", {"norm": "batch"}, 11_173_962),
        ("resnet18", {"norm": "instance"}, 11_173_962),
        # Half of ResNet-18: each stage lacks one block of two 3×3 convolutions and two norms.
        (
            "resnet10",
            {"norm": "batch"},
            11_173_962 - sum(2 * 9 * w * w + 4 * w for w in (64, 128, 256, 512)),
        ),
        # By hand from the layers: 9,728 + 614,592 + 442,624 + 442,560 + 331,968, linear 30,730.
        ("alexnet", {}, 1_872_202),
        ("alexnet", {"channels": 1, "image_size": (28, 28)}, 1_872_202 - 2 * 25 * 128),
        # The usual figure for VGG-11 with batch norm on CIFAR-10; instance norm has as many.
        ("vgg11", {"norm": "batch"}, 9_231_114),
        ("vgg11", {}, 9_231_114),
        ("vgg11", {"channels": 1, "image_size": (28, 28)}, 9_231_114 - 2 * 9 * 64),
        ("mlp", {}, (3072 + 1) * 128 + 129 * 128 + 129 * 10),
        ("mlp", {"channels": 1, "image_size": (28, 28)}, 118_282),
        # Patches of 48 values, 9 blocks (two norms, attention, two dense layers), norm, classifier.
        (
            "vit",
            {},
            49 * 192 + 9 * (768 + 193 * 576 + 193 * 192 + 193 * 384 + 385 * 192) + 384 + 1930,
        ),
    ],
)
def test_parameter_counts_match_the_literature(
    name: str, options: dict[str, Any], expected: int
) -> None:
    assert n_parameters(build(name, **options)) == expected


def test_feature_widths_match_the_literature() -> None:
    assert build().classifier.in_features == 2048
    assert build(channels=1, image_size=(28, 28)).classifier.in_features == 2048
    assert build("resnet10").classifier.in_features == 512
    assert build("alexnet").classifier.in_features == 192 * 4 * 4
    assert build("vgg11").classifier.in_features == 512
    assert build("vgg11", channels=1, image_size=(28, 28)).classifier.in_features == 512
    assert build("mlp").classifier.in_features == 128
    assert build("vit").classifier.in_features == 192


def test_only_grey_28_pixel_images_are_padded_to_32() -> None:
    def n_features(channels: int, size: tuple[int, int]) -> int:
        network = build(channels=channels, image_size=size, depth=2, width=1)
        assert network.features(torch.zeros(2, channels, *size)).shape[1] == (
            network.classifier.in_features
        )
        return network.classifier.in_features

    assert n_features(1, (28, 28)) == 8 * 8
    assert n_features(3, (28, 28)) == 7 * 7
    assert n_features(1, (28, 32)) == 7 * 8
    assert n_features(1, (8, 8)) == 2 * 2


@pytest.mark.parametrize(
    ("size", "depth", "maps"),
    [
        ((8, 8), 3, [(4, 4), (2, 2), (1, 1)]),
        ((32, 20), 2, [(16, 10), (8, 5)]),
        ((5, 9), 2, [(2, 4), (1, 2)]),
        ((2, 2), 1, [(1, 1)]),
    ],
)
def test_convnet_halves_maps_of_any_image_size(
    size: tuple[int, int], depth: int, maps: list[tuple[int, int]]
) -> None:
    network = build(image_size=size, depth=depth, width=6, channels=2)
    outputs = network.block_features(images(4, 2, *size))
    assert [tuple(output.shape) for output in outputs] == [(4, 6, *shape) for shape in maps]
    assert network(images(4, 2, *size)).shape == (4, 10)


def test_resnet_maps_round_up() -> None:
    network = build("resnet10", image_size=(32, 20), channels=1)
    outputs = network.block_features(images(2, 1, 32, 20))
    assert [tuple(output.shape[1:]) for output in outputs] == [
        (64, 32, 20),
        (128, 16, 10),
        (256, 8, 5),
        (512, 4, 3),
    ]


@pytest.mark.parametrize("name", SMALL_IMAGE_NETWORKS)
def test_logits_features_and_block_features_agree(name: str) -> None:
    network = build(name, image_size=(16, 24), n_classes=7)
    batch = images(3, 3, 16, 24)
    features = network.features(batch)
    last = network.block_features(batch)[-1]
    assert features.shape == (3, network.classifier.in_features)
    torch.testing.assert_close(network(batch), network.classifier(features), rtol=0, atol=0)
    if isinstance(network, ResNet):
        pooled = last.mean(dim=(2, 3))
    elif isinstance(network, ViT):
        pooled = F.layer_norm(last, (192,)).mean(dim=1)  # weights one, biases zero
    else:
        pooled = last.flatten(1)
    torch.testing.assert_close(features, pooled, rtol=0, atol=0)


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (14, 14), (16, 16), (28, 28), (30, 10)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["alexnet", "vgg11", "mlp", "vit"])
def test_further_networks_fit_images_of_8_pixels_and_more(
    name: str, channels: int, size: tuple[int, int]
) -> None:
    network = build(name, channels=channels, image_size=size)
    batch = images(4, channels, *size).requires_grad_()

    features = network.features(batch)
    network(batch).logsumexp(dim=1).sum().backward()

    assert features.shape == (4, network.classifier.in_features)
    assert features.std(dim=0).max() > 1e-3, "they depend on the images"
    assert batch.grad is not None
    is_read = batch.grad.abs().sum(dim=(0, 1)) > 0
    if name in ("mlp", "vit"):
        assert is_read.all(), "also the last pixels of padded images"
    assert is_read[: size[0] // 2, : size[1] // 2].any()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert bool(torch.isfinite(parameter.grad).all()), key


@pytest.mark.parametrize(
    ("name", "layers", "shift"),
    [
        ("alexnet", [(128, 5), "pool", (192, 5), "pool", (256, 3), (192, 3), (192, 3), "pool"], 0),
        (
            "vgg11",
            [
                *((64, 3), "pool", (128, 3), "pool", (256, 3), (256, 3), "pool"),
                *((512, 3), (512, 3), "pool", (512, 3), (512, 3), "pool"),
            ],
            1,
        ),
    ],
)
@pytest.mark.parametrize(("channels", "side"), [(3, 32), (1, 28)])
def test_alexnet_and_vgg_equal_plain_layers_of_the_published_code(
    name: str, layers: list[tuple[int, int] | str], shift: int, channels: int, side: int
) -> None:
    """The twin: PyTorch's layers in a row, as the papers' code lists them (grey: 2 pixels more)."""
    network = build(name, channels=channels, image_size=(side, side)).double()
    plain: list[nn.Module] = []
    width_in = channels
    for layer in layers:
        if isinstance(layer, str):
            plain.append(nn.MaxPool2d(2))
            continue
        width, kernel_size = layer
        padding = kernel_size // 2 + (2 if width_in == 1 else 0)
        plain.append(nn.Conv2d(width_in, width, kernel_size, padding=padding))
        plain += [nn.GroupNorm(width, width)] * shift + [nn.ReLU()]
        width_in = width
    twin = nn.Sequential(*plain, nn.Flatten(), nn.LazyLinear(10)).double()
    batch = images(2, channels, side, side).double()
    twin(batch)
    values = network.state_dict().values()
    twin.load_state_dict(dict(zip(twin.state_dict(), values, strict=True)))

    torch.testing.assert_close(network(batch), twin(batch), rtol=1e-10, atol=1e-12)


def test_vgg_leaves_out_the_first_poolings_for_small_images() -> None:
    def sides(size: int) -> list[int]:
        network = build("vgg11", image_size=(size, size))
        return [maps.shape[2] for maps in network.block_features(images(2, 3, size, size))]

    assert sides(32) == [16, 8, 4, 2, 1]
    assert sides(16) == [16, 8, 4, 2, 1]
    assert sides(14) == [14, 14, 7, 3, 1]
    assert sides(8) == [8, 8, 4, 2, 1]
    assert sides(2) == [2, 2, 2, 2, 1]
    assert sides(64) == [32, 16, 8, 4, 2]


def test_vgg_learns_from_the_smallest_images() -> None:
    """Poolings left out at the end instead of the start gave a loss of log(classes)."""
    network = build("vgg11", channels=1, image_size=(8, 8))
    batch, labels = images(8, 1, 8, 8), torch.arange(8) % 4
    sgd = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    for _ in range(30):
        loss = F.cross_entropy(network(batch), labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    assert loss.item() < 0.3 < math.log(4)


def test_vit_equals_the_transformer_layers_of_pytorch() -> None:
    network = build("vit", image_size=(16, 12)).double()
    batch = images(3, 3, 16, 12).double()
    patches, first = network.blocks[0].children()
    # 2×2 pixels: 8 × 6 patches, row by row; positions by their formula.
    tokens = F.linear(
        F.unfold(batch, 2, stride=2).transpose(1, 2),
        patches.get_parameter("embedding.weight"),
        patches.get_parameter("embedding.bias"),
    )
    for row, column in itertools.product(range(8), range(6)):
        for i, place in enumerate((column, row)):
            for j in range(48):
                angle = place / 10_000 ** (j / 47)
                tokens[:, 6 * row + column, 96 * i + j] += math.sin(angle)
                tokens[:, 6 * row + column, 96 * i + 48 + j] += math.cos(angle)
    for block in (first, *list(network.blocks)[1:]):
        layer = nn.TransformerEncoderLayer(
            192, 12, 384, dropout=0, activation="gelu", batch_first=True, norm_first=True
        ).double()
        renamed = {
            "norm1": "norm1",
            "norm2": "norm2",
            "queries_keys_values": "self_attn.in_proj",
            "projection": "self_attn.out_proj",
            "dense.0": "linear1",
            "dense.2": "linear2",
        }
        weights = {}
        for key, value in block.state_dict().items():
            prefix, kind = key.rsplit(".", 1)
            joint = "_" if "in_proj" in renamed[prefix] else "."
            weights[f"{renamed[prefix]}{joint}{kind}"] = value
        layer.load_state_dict(weights)
        tokens = layer(tokens)
    features = F.layer_norm(tokens, (192,)).mean(dim=1)

    # Positions are float32: 6e-8 relative.
    torch.testing.assert_close(network.features(batch), features, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "n_patches"),
    [((32, 32), 64), ((64, 64), 64), ((28, 28), 49), ((8, 8), 64), ((9, 9), 25), ((16, 5), 24)],
)
def test_vit_patches_follow_the_image_size(size: tuple[int, int], n_patches: int) -> None:
    network = build("vit", image_size=size)
    assert network.block_features(images(2, 3, *size))[0].shape == (2, n_patches, 192)


def test_width_bounds_the_values_per_pixel_of_all_maps() -> None:
    sizes: list[int] = []
    for name in SMALL_IMAGE_NETWORKS:
        sizes.clear()
        network = build(name, image_size=(16, 16))
        for layer in network.modules():
            layer.register_forward_hook(lambda _, __, output: sizes.append(output[0].numel()))
        network(images(2, 3, 16, 16))
        assert max(sizes) <= width_of(network) * 16 * 16, name


@pytest.mark.parametrize(("norm", "pooling"), list(itertools.product(NORMS, POOLINGS)))
def test_every_convnet_option_gives_gradients(norm: str, pooling: str) -> None:
    network = build(image_size=(8, 12), width=8, norm=norm, pooling=pooling, depth=2)
    batch = images(4, 3, 8, 12).requires_grad_()
    network(batch).logsumexp(dim=1).sum().backward()
    assert batch.grad is not None
    assert batch.grad.abs().sum() > 0
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
    # Only a bias before a norm, which removes each channel's mean, has no influence.
    influential = [p for name, p in network.named_parameters() if not name.endswith("0.bias")]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in influential)


@pytest.mark.parametrize("name", ["resnet10", "resnet18"])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_every_resnet_gives_gradients(name: str, norm: str) -> None:
    network = build(name, image_size=(10, 10), norm=norm)
    network(images(4, 3, 10, 10)).logsumexp(dim=1).sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key


def test_convnet_block_by_hand() -> None:
    # One channel, one filter that copies the centre pixel, no norm: only ReLU and pooling act.
    network = build(channels=1, image_size=(2, 4), width=1, depth=1, norm="none", n_classes=2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.get_parameter("blocks.0.0.weight")[0, 0, 1, 1] = 1
        network.classifier.weight.copy_(torch.tensor([[1.0, 0.0], [1.0, -2.0]]))
    picture = torch.tensor([[[[1.0, 3.0, -4.0, 8.0], [5.0, -7.0, 2.0, 6.0]]]])
    # Averages of (1, 3, 5, 0) and (0, 8, 2, 6).
    assert network.features(picture).tolist() == [[2.25, 4.0]]
    assert network(picture).tolist() == [[2.25, 2.25 - 8.0]]


def test_resnet_block_by_hand() -> None:
    # All convolutions are zero but the stem and the projections, norms in eval mode are at their
    # initial values: every block passes on its shortcut, and a strided 1×1 projection keeps every
    # second pixel.
    network = build("resnet10", image_size=(8, 8), channels=1, norm="batch").eval()
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.zero_()
                centre = layer.kernel_size[0] // 2
                if layer.kernel_size == (1, 1) or layer.in_channels == 1:
                    layer.weight[0, 0, centre, centre] = 1
    picture = torch.arange(64.0).reshape(1, 1, 8, 8) + 1
    outputs = network.block_features(picture)
    # There are four norms (stem and three projections), and each divides by √(1 + 1e-5).
    for i, output in enumerate(outputs):
        expected = picture[0, 0, :: 2**i, :: 2**i] * (1 + 1e-5) ** (-(i + 1) / 2)
        torch.testing.assert_close(output[0, 0], expected, rtol=1e-5, atol=0)
        assert not output[0, 1:].any()


def test_instance_norm_has_one_affine_group_per_channel() -> None:
    norms = [m for m in build().modules() if isinstance(m, nn.GroupNorm)]
    assert [(m.num_groups, m.num_channels, m.affine) for m in norms] == [(128, 128, True)] * 3
    assert all(isinstance(norm, InstanceNorm) for norm in norms)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_defaults_of_class_and_registry_agree(name: str) -> None:
    component = NETWORKS[name]
    parameters = inspect.signature(resolve_reference(component.build)).parameters
    options = dataclasses.fields(component.options)

    assert options or component.options is NoOptions
    for declared in options:
        assert parameters[declared.name].default == declared.default, declared.name


def test_initial_weights_have_range_and_spread_of_the_rule() -> None:
    network = build(seed=5)
    for layer in network.modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        fan_in = layer.weight[0].numel()
        bound = fan_in**-0.5
        for values in (layer.weight, layer.bias):
            assert values is not None
            assert values.abs().max() <= bound
            # The largest of 10 draws lies below a fifth of the range once in 10 million.
            assert values.abs().max() > bound / 5
        weight = layer.weight.detach()
        # Uniform: std = bound/√3, its standard error below bound·0.52/√3456 = 0.9 %; 5 of them.
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.045)
        assert abs(weight.mean().item()) < 5 * bound / math.sqrt(3 * weight.numel())


def test_initial_weights_are_distributed_as_in_pytorch() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        shape: dict[str, Any] = {"n_classes": 10, "channels": 3, "image_size": (32, 32)}
        pairs: list[tuple[nn.Module, nn.Module]] = [
            (ConvNet(**shape), build(seed=3)),
            (
                ResNet(**shape, blocks_per_stage=(1, 1, 1, 1), norm="batch"),
                build("resnet10", norm="batch", seed=3),
            ),
            (AlexNet(**shape), build("alexnet", seed=3)),
            (VGG(**shape), build("vgg11", seed=3)),
            (MLP(**shape), build("mlp", seed=3)),
            (ViT(**shape), build("vit", seed=3)),
        ]
    for reference, network in pairs:
        assert reference.state_dict().keys() == network.state_dict().keys()
        norms = {
            name
            for name, layer in reference.named_modules()
            if isinstance(layer, nn.GroupNorm | nn.BatchNorm2d | nn.LayerNorm)
        }
        for key, expected in reference.state_dict().items():
            value = network.state_dict()[key]
            assert value.dtype == expected.dtype
            if value.ndim > 1:
                # The smallest weight has 1,728 values: standard error of the ratio about 1.5 %.
                assert value.std().item() == pytest.approx(expected.std().item(), rel=0.06), key
                assert value.abs().max().item() == pytest.approx(
                    expected.abs().max().item(), rel=0.02
                ), key
            elif key.rpartition(".")[0] in norms:
                assert torch.equal(value, expected), key  # norms and their statistics


@pytest.mark.parametrize("name", list(NETWORKS))
def test_building_does_not_advance_the_global_generator(name: str) -> None:
    before = torch.random.get_rng_state()
    build(name)
    assert torch.equal(before, torch.random.get_rng_state())


def test_weights_depend_on_the_given_generator_only() -> None:
    with torch.random.fork_rng(devices=[]):
        first = build(seed=2)
        torch.manual_seed(99)
        again = build(seed=2)
        other = build(seed=3)
    for key, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])
    assert not torch.equal(first.classifier.weight, other.classifier.weight)


def test_same_seed_same_weights_in_a_fresh_process() -> None:
    program = (
        "import hashlib, torch; from distill.networks.build import build_network\n"
        "for name in ('convnet', 'vgg11', 'vit'):\n"
        "    network = build_network(name, n_classes=10, channels=3, image_size=(32, 32),"
        " generator=torch.Generator().manual_seed(4))\n"
        "    weights = torch.cat([p.detach().flatten() for p in network.parameters()])\n"
        "    print(hashlib.sha256(weights.numpy().tobytes()).hexdigest())"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    for name, line in zip(("convnet", "vgg11", "vit"), output.splitlines(), strict=True):
        weights = torch.cat([p.detach().flatten() for p in build(name, seed=4).parameters()])
        assert line == hashlib.sha256(weights.numpy().tobytes()).hexdigest(), name


@pytest.mark.parametrize("norm", NORMS)
def test_reset_draws_the_weights_of_a_new_network_in_place(norm: str) -> None:
    network = build(seed=0, norm=norm, width=8, image_size=(8, 8))
    addresses = [parameter.data_ptr() for parameter in network.parameters()]
    network(images(6, 3, 8, 8)).square().sum().backward()  # moves running statistics too
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    reset_parameters(network, generator(7))
    fresh = build(seed=7, norm=norm, width=8, image_size=(8, 8))
    assert addresses == [parameter.data_ptr() for parameter in network.parameters()]
    assert all(parameter.requires_grad for parameter in network.parameters())
    for key, value in fresh.state_dict().items():
        assert torch.equal(value, network.state_dict()[key]), key


def test_float64_networks_start_from_the_float32_weights() -> None:
    network = build(seed=0, width=8).double()
    reset_parameters(network, generator(0))
    expected = build(seed=0, width=8)
    for key, value in expected.state_dict().items():
        assert torch.equal(network.state_dict()[key], value.to(network.state_dict()[key].dtype))


def test_reset_refuses_a_layer_without_a_rule() -> None:
    network = build()
    network.blocks.append(nn.PReLU())
    with pytest.raises(TypeError, match="no rule for the initial weights of a PReLU layer"):
        reset_parameters(network, generator())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "convent"}, "unknown network 'convent'; did you mean 'convnet'?"),
        ({"norm": "instnace"}, "unknown norm 'instnace'; did you mean 'instance'?"),
        ({"pooling": "mean"}, r"unknown pooling 'mean'.* \(known: avg, max, none\)"),
        ({"n_classes": 0}, "n_classes must be at least 1, got 0"),
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"width": -1}, "width must be at least 1, got -1"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"image_size": (0, 8)}, "image_size must be at least 1×1, got 0×8"),
        ({"norm": "group"}, r"unknown norm 'group' \(known: instance, batch, none\)"),
        ({"depth": 6}, "depth must be at most 5 for 32×32 images with pooling, got 6"),
        (
            {"image_size": (64, 7)},
            "depth must be at most 2 for 64×7 images with pooling, got 3",
        ),
        (
            {"image_size": (28, 28), "channels": 1, "depth": 6},
            "depth must be at most 5 for 28×28 images",
        ),
        (
            {"image_size": (1, 9), "depth": 1},
            "pooling needs images of at least 2×2 pixels, got 1×9; use pooling 'none'",
        ),
        (
            {"image_size": (1, 1), "pooling": "none"},
            "instance norm turns 1×1 images into zeros; use batch",
        ),
        ({"name": "resnet18", "norm": "none"}, "unknown norm of a ResNet 'none'"),
        (
            {"name": "resnet10", "image_size": (8, 5)},
            "needs images larger than 8×8 .* got 8×5; use norm 'batch'",
        ),
        ({"name": "vgg11", "norm": "none"}, "unknown norm of a VGG 'none'"),
        (
            {"name": "vgg11", "image_size": (1, 9)},
            "vgg11 needs images of at least 2×2 pixels, got 1×9",
        ),
        (
            {"name": "alexnet", "image_size": (32, 7)},
            r"alexnet needs images of at least 8×8 pixels \(.*\), got 32×7; use larger",
        ),
        *(
            ({"name": name, field: 0}, f"{field} must be at least 1, got 0")
            for name in ("alexnet", "vgg11", "mlp", "vit")
            for field in ("n_classes", "channels")
        ),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(**options)


def test_convnet_works_at_the_largest_depth() -> None:
    assert build(depth=5, width=4).features(images(2, 3, 32, 32)).shape == (2, 4)
    grey = build(depth=5, width=4, channels=1, image_size=(28, 28))
    assert grey.features(images(2, 1, 28, 28)).shape == (2, 4)


def test_resnet_features_depend_on_the_smallest_images() -> None:
    # The reason why 8×8 is refused with instance norm: the logits would be constant.
    for norm, size in (("instance", 9), ("batch", 8)):
        network = build("resnet10", norm=norm, image_size=(size, size), channels=1)
        assert network.features(images(4, 1, size, size)).std(dim=0).max() > 0.1
    blind = build("resnet10", norm="instance", image_size=(9, 9), channels=1)
    assert blind.features(images(4, 1, 8, 8)).std(dim=0).max() < 1e-4  # rounding


@pytest.mark.gpu
@pytest.mark.parametrize("name", list(NETWORKS))
def test_initial_weights_are_equal_on_cpu_and_gpu(name: str) -> None:
    network = build(name, seed=1).cuda()
    reset_parameters(network, generator(6))  # CPU generator, network on the GPU
    expected = build(name, seed=6)
    for key, value in expected.state_dict().items():
        assert torch.equal(network.state_dict()[key].cpu(), value), key
    batch = images(2, 3, 32, 32)
    network.eval()
    expected.eval()
    # TF32 convolutions keep 10 bits of the mantissa.
    torch.testing.assert_close(network(batch.cuda()).cpu(), expected(batch), rtol=0.02, atol=0.02)


@pytest.mark.gpu
def test_a_gpu_generator_draws_on_the_gpu() -> None:
    network = build().cuda()
    cpu, cuda = torch.random.get_rng_state(), torch.cuda.get_rng_state()
    reset_parameters(network, torch.Generator(device="cuda").manual_seed(0))
    assert torch.equal(cpu, torch.random.get_rng_state())
    assert torch.equal(cuda, torch.cuda.get_rng_state())
    bound = network.classifier.in_features**-0.5
    assert 0.9 * bound < network.classifier.weight.abs().max() <= bound
