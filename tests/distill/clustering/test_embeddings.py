"""Embeddings: pixels, features, predictions, gradients and their projection."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from distill.clustering import embeddings
from distill.clustering.embeddings import check_gradient_size, embed
from distill.errors import UserError
from distill.networks.base import Network
from distill.networks.build import build_network


@pytest.fixture
def network() -> Network:
    return build_network(
        "convnet",
        n_classes=3,
        channels=1,
        image_size=(8, 8),
        width=4,
        depth=2,
        generator=torch.Generator().manual_seed(0),
    )


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 3 + 5


def points_in(space: str, network: Network, images: Tensor, dim: int | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return embed(network, images, 1, space, generator=generator, projection_dim=dim)


def test_pixels_are_flattened_images(network: Network, images: Tensor) -> None:
    assert torch.equal(points_in("pixels", network, images), images.flatten(1))


def test_features_and_predictions_come_from_the_network(network: Network, images: Tensor) -> None:
    with torch.no_grad():
        assert torch.equal(points_in("features", network, images), network.features(images))
        softmax = torch.softmax(network(images), dim=1)
    torch.testing.assert_close(points_in("predictions", network, images), softmax)


def test_gradients_equal_those_of_the_last_layer(network: Network, images: Tensor) -> None:
    expected = []
    for image in images:
        loss = F.cross_entropy(network(image[None]), torch.tensor([1]))
        (gradient,) = torch.autograd.grad(loss, [network.classifier.weight])
        expected.append(gradient.flatten())

    torch.testing.assert_close(points_in("gradients", network, images), torch.stack(expected))


def test_projection_is_linear_and_keeps_mean_distances(network: Network, images: Tensor) -> None:
    exact, projected = (points_in("gradients", network, images, dim) for dim in (None, 4000))

    assert projected.shape == (6, 4000)
    ratio = torch.pdist(projected) / torch.pdist(exact)
    assert bool(((ratio > 0.9) & (ratio < 1.1)).all()), "1/√4000 is 1.6 %; five of them are 8 %"


def test_projection_depends_on_the_generator(network: Network, images: Tensor) -> None:
    first, second = (points_in("gradients", network, images, 16) for _ in range(2))

    assert torch.equal(first, second)


def test_points_do_not_depend_on_the_chunk_size(
    network: Network, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = points_in("features", network, images)
    monkeypatch.setattr(embeddings, "CHUNK", 4)

    torch.testing.assert_close(points_in("features", network, images), whole)


def test_large_gradients_need_a_projection() -> None:
    check_gradient_size(50_000, 10, 2048)  # CIFAR-10 fits

    with pytest.raises(UserError, match=r"take 38.1 GiB, more than 4.0; set projection_dim"):
        check_gradient_size(50_000, 100, 2048)


def test_unknown_space_is_refused(network: Network, images: Tensor) -> None:
    with pytest.raises(ValueError, match="unknown embedding 'feature'; did you mean 'features'"):
        points_in("feature", network, images)
