"""How well a small set stands for the real images, in the features of a fixed random network.

The network is a ConvNet of `WIDTH` channels whose weights are drawn from `SEED`, the same for all
sets and trials on a data set; nothing is trained, so no set is favoured by what a network has
learnt. Distances are Euclidean, divided by the root mean square distance r of the real images from
the means of their classes: r² = (1 / N) Σ_c Σ_{x ∈ R_c} ‖x − m(R_c)‖², with the N real training
images R_c, the images S_c of the set and the mean m(·) of a class c of k. Numbers of different data
sets can therefore be compared in size, not in detail.

- `coverage_mean` = (1 / N) Σ_c Σ_{x ∈ R_c} min_{s ∈ S_c} ‖x − s‖ / r and `coverage_max`, the
  largest of these distances (the radius of k-center, Sener & Savarese, ICLR 2018): how far a real
  image is from the nearest of the set in its class. Smaller is better.
- `diversity` = the mean distance of two images of the set of the same class, / r; each class
  counts the same. None where no class has two. Of random images it is about √2 for any number.
- `representativeness` = 1 − (1 / k) Σ_c ‖m(S_c) − m(R_c)‖² / v_c, with v_c the mean squared
  distance of R_c from its mean: 1 where the means of the classes agree, on average 1 − 1 / n for n
  random images a class; it may be negative. DM (Zhao & Bilen, WACV 2023) matches such means.

Time O(N · m · d) for m images of the set and d features. Real images of the set's own class only
are compared: an image near real ones of another class covers none of its own.
"""

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from distill.datasets import ImageData
from distill.networks.build import build_network

WIDTH = 32
SEED = 0

LAST_SIDE = 4
"""Pixels a side, at most, of the network's last maps: it has as many blocks as that takes."""

_CHUNK = 1024


class RealFeatures(NamedTuple):
    """Features of the real training images, one entry a class.

    Attributes:
        points: (N_c, d) each.
        means: (k, d).
        variances: (k,) mean squared distances from the means.
        scale: r of the module.
    """

    points: list[Tensor]
    means: Tensor
    variances: Tensor
    scale: Tensor


class SetStatistics(NamedTuple):
    """The numbers of the module."""

    coverage_mean: float
    coverage_max: float
    diversity: float | None
    representativeness: float


def set_statistics(images: Tensor, labels: Tensor, data: ImageData) -> SetStatistics:
    """Returns the statistics of a set; see the module.

    Args:
        images: (m, c, h, w), floating point in [0, 1] or uint8, as networks train on them.
        labels: (m,) int64; every class has an image.
        data: the real images.
    """
    points = features_of(images, data)
    return statistics_of_points(points, labels.to(points.device), real_features(data))


def statistics_of_points(points: Tensor, labels: Tensor, real: RealFeatures) -> SetStatistics:
    """Returns the statistics of the (m, d) points of a set; see the module."""
    nearest, spreads, shifts = [], [], []
    for label, (members, mean, variance) in enumerate(
        zip(real.points, real.means, real.variances, strict=True)
    ):
        own = points[labels == label]
        nearest.append(
            torch.cat([torch.cdist(part, own).amin(dim=1) for part in members.split(_CHUNK)])
        )
        if len(own) > 1:
            spreads.append(torch.pdist(own).mean())
        shifts.append((own.mean(dim=0) - mean).square().sum() / variance)
    distances = torch.cat(nearest) / real.scale
    return SetStatistics(
        coverage_mean=float(distances.double().mean()),
        coverage_max=float(distances.max()),
        diversity=float(torch.stack(spreads).mean() / real.scale) if spreads else None,
        representativeness=1 - float(torch.stack(shifts).mean()),
    )


@functools.lru_cache(maxsize=1)  # the trials of a worker share their data set
def real_features(data: ImageData) -> RealFeatures:
    """Returns the features of the real training images of a data set."""
    points = features_of(data.train_images, data)
    return real_features_of([points[rows] for rows in data.class_indices])


def real_features_of(points: list[Tensor]) -> RealFeatures:
    """Returns the means and spreads of the (N_c, d) points of each class.

    A class whose points are all equal counts as if its variance were the smallest number above 0.
    """
    means = torch.stack([members.mean(dim=0) for members in points])
    squares = [
        (members - mean).square().sum(dim=1) for members, mean in zip(points, means, strict=True)
    ]
    tiny = torch.finfo(means.dtype).tiny
    variances = torch.stack([square.mean() for square in squares]).clamp_min(tiny)
    scale = torch.cat(squares).mean().clamp_min(tiny).sqrt()
    return RealFeatures(points=points, means=means, variances=variances, scale=scale)


@torch.no_grad()
def features_of(images: Tensor, data: ImageData) -> Tensor:
    """Returns the (n, d) features of images in the fixed random network."""
    depth = 1
    while min(data.image_size) >> depth > LAST_SIDE:
        depth += 1
    network = build_network(
        "convnet",
        n_classes=data.n_classes,
        channels=data.channels,
        image_size=data.image_size,
        generator=torch.Generator().manual_seed(SEED),
        width=WIDTH,
        depth=depth,
    ).to(images.device)
    network.eval()
    return torch.cat([network.features(data.normalize(part)) for part in images.split(_CHUNK)])
