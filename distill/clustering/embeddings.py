"""Embeddings: the images of one class as points in a Euclidean space.

Shapes: n images of one class, d features of the network, `n_classes` outputs.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.errors import UserError, require_known
from distill.networks.base import Network

SPACES = ("features", "pixels", "gradients", "predictions")

CHUNK = 256
"""Images embedded at a time: with 1,024, page faults of the large maps took half of the time of the
first clustering of a trial in a sweep (lab notes)."""

MAX_POINT_BYTES = 4 * 2**30
"""Largest size of the points of all classes in bytes; larger ones need a projection."""


@torch.no_grad()
def embed(
    network: Network,
    images: Tensor,
    label: int,
    space: str,
    *,
    generator: torch.Generator,
    projection_dim: int | None = None,
) -> Tensor:
    """Returns the points of the images of one class.

    The mode of the network (training or evaluation) is not changed, see `distill.dream.loop`.

    Args:
        network: network with (n, d) `features` and a last linear layer `classifier`.
        images: (n, c, h, w) floating point, in the form that the network takes; the caller decides
            whether they are normalised.
        label: class of the images.
        space: one of
            `pixels`: the flattened image, c·h·w values;
            `features`: the input of the last layer, d values;
            `predictions`: the softmax output, `n_classes` values;
            `gradients`: the gradient of the cross-entropy with respect to the weights of the last
            layer, (softmax − one-hot) ⊗ features, `n_classes`·d values (BADGE, Ash et al., ICLR
            2020, with the true label in place of the predicted one).
        generator: draws the projection matrix; not used without one.
        projection_dim: for `gradients`: project to this many dimensions by a Gaussian matrix that
            preserves squared distances on average (Johnson & Lindenstrauss, 1984), without
            building the n × d · `n_classes` matrix.

    Returns:
        (n, features of the space), float32.

    Raises:
        UserError: the space is unknown.
    """
    require_known("embedding", space, SPACES)
    if space == "pixels":
        return images.flatten(start_dim=1).float()
    features = torch.cat([network.features(chunk) for chunk in images.split(CHUNK)])
    if space == "features":
        return features.float()
    probabilities = F.softmax(network.classifier(features), dim=1)
    if space == "predictions":
        return probabilities.float()
    errors = probabilities.clone()
    errors[:, label] -= 1
    if projection_dim is None:
        return _outer_products(errors, features)
    return _projected_outer_products(errors, features, projection_dim, generator)


def check_gradient_size(n_images: int, n_classes: int, n_features: int) -> None:
    """Checks that the exact gradient embeddings of all images fit into `MAX_POINT_BYTES`.

    Raises:
        UserError: they do not.
    """
    n_bytes = 4 * n_images * n_classes * n_features
    if n_bytes > MAX_POINT_BYTES:
        raise UserError(
            f"gradient embeddings of {n_images} images with {n_classes * n_features} values each "
            f"take {n_bytes / 2**30:.1f} GiB, more than {MAX_POINT_BYTES / 2**30:.1f}; "
            "set projection_dim, for example to 2048"
        )


def _outer_products(errors: Tensor, features: Tensor) -> Tensor:
    return (errors[:, :, None] * features[:, None, :]).flatten(start_dim=1).float()


def _projected_outer_products(
    errors: Tensor, features: Tensor, projection_dim: int, generator: torch.Generator
) -> Tensor:
    """Returns (errors ⊗ features) · R as Σ over classes k of errors_k · (features · R_k)."""
    projected = torch.zeros(len(features), projection_dim, device=features.device)
    for class_errors in errors.T:
        matrix = torch.randn(
            features.shape[1], projection_dim, generator=generator, device=generator.device
        ).to(features)
        projected += class_errors[:, None] * (features @ matrix)
    return projected.div_(math.sqrt(projection_dim))
