"""Masses of chosen images, and the weights by which they count in training.

A small set stands for the training images as a quantisation of their empirical measure
(1/N) Σ δ(xᵢ, yᵢ): the measure Σ (mⱼ / N) δ(cⱼ, yⱼ), in which every chosen image cⱼ carries the
number mⱼ of images of its class that it stands for, its *mass*. For given images, the masses of
their Voronoi cells (the images of the class that are nearest to each) make the transport distance
to the data smallest, and with it the bound on the difference between the weighted loss on the small
set and the loss on all images; the clusters of k-means are the cells of their centers. Weights are
masses divided by their mean over the whole set, not over a class: a class of twice as many training
images counts twice, as it does among all images. Where classes are equally large this is a mean of
one in every class.

References:
    Graf & Luschgy, Foundations of quantization for probability distributions, Springer 2000 (§ 3).
    Canas & Rosasco, Learning probability measures with respect to optimal transport metrics,
        NeurIPS 2012.
    Tan & Slade, Dataset distillation as pushforward optimal quantization, ICLR 2026.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

_CHUNK = 4096
"""Images whose distances to the chosen ones are computed at once."""


def class_masses(represented: Tensor, n_points: int) -> Tensor:
    """Returns masses in proportion to given numbers, with the size of the class as their sum.

    Images that no chosen one stands for (noise, clusters that gave no image) count for all chosen
    ones in proportion.

    Args:
        represented: (m,) images that each chosen one of a class stands for, in any unit, not
            all 0.
        n_points: images of the class.
    """
    represented = represented.double()
    return represented * (n_points / represented.sum())


def cell_masses(points: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
    """Returns the images in the Voronoi cell of every chosen image, within its class.

    Of equal chosen images the first one has the whole cell.

    Args:
        points: (n, d) of the pool, on any device.
        labels: (n,) int64 classes, on the CPU.
        rows: (m,) int64 chosen rows, at least one of every class in `labels`, on the CPU.

    Returns:
        (m,) float64 on the CPU.
    """
    masses = torch.zeros(len(rows), dtype=torch.float64)
    for label in labels.unique():
        members = torch.nonzero(labels == label).flatten().to(points.device)
        chosen = torch.nonzero(labels[rows] == label).flatten()
        centers = points[rows[chosen].to(points.device)]
        nearest = torch.cat(
            [torch.cdist(points[part], centers).argmin(dim=1) for part in members.split(_CHUNK)]
        )
        masses[chosen] = torch.bincount(nearest.cpu(), minlength=len(chosen)).double()
    return masses


def training_weights(masses: Tensor | Sequence[Tensor]) -> Tensor:
    """Returns the (m,) float64 weights of all chosen images, with mean one.

    Args:
        masses: (m,) masses, or those of each class in turn.
    """
    joined = masses if isinstance(masses, Tensor) else torch.cat(list(masses))
    return joined.double() / joined.double().mean()
