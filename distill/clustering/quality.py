"""How well representatives stand for their class: measures of a clustering, whatever its method.

All are invariant to shifts and to the scale of the points. Shapes: n points of a class, d features,
m representatives.

References:
    Graf & Luschgy, Foundations of quantization for probability distributions, Springer 2000
    (quantisation error).
    Rousseeuw, Silhouettes: a graphical aid to the interpretation and validation of cluster
    analysis, Journal of Computational and Applied Mathematics 1987.
    Gretton et al., A kernel two-sample test, JMLR 2012 (maximum mean discrepancy).
    Hubert & Arabie, Comparing partitions, Journal of Classification 1985 (adjusted Rand index).
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score, silhouette_score
from torch import Tensor

from distill.clustering.base import Clustering, squared_distances

MAX_SAMPLE = 256
"""Points that silhouettes and discrepancies are computed on: every (n / 256)-th."""

N_RANDOM_DRAWS = 3
"""Sets of random representatives that the quantisation error is relative to."""

QUALITY_COLUMNS = (
    "quantization_error",
    "silhouette",
    "effective_clusters",
    "coverage_mean",
    "coverage_max",
    "discrepancy",
    "stability",
)
"""Names of the measures; see `class_quality` and `mean_quality`."""


def class_quality(
    points: Tensor, clustering: Clustering, indices: Tensor, weights: Tensor
) -> dict[str, float]:
    """Returns the measures of one class; those that do not exist are left out.

    - `quantization_error`: mean squared distance of the points to the nearest representative,
      divided by that of as many random points (mean over `N_RANDOM_DRAWS` fixed draws). Below 1 is
      better than random.
    - `silhouette`: mean silhouette of a fixed subsample, without noise, in [−1, 1].
    - `effective_clusters`: exponential of the entropy of the cluster sizes, in [1, k].
    - `coverage_mean`, `coverage_max`: mean and largest distance of a point to the nearest
      representative, in units of the root mean squared distance of the points to their mean.
    - `discrepancy`: maximum mean discrepancy (the root of the biased estimate) between the weighted
      representatives and a fixed subsample of the class, with a Gaussian kernel whose width is the
      median distance in the subsample; in [0, √2].

    Args:
        points: (n, d).
        clustering: of the points.
        indices: (m,) representatives.
        weights: (m,) of them, at least 0.
    """
    nearest = squared_distances(points, points[indices]).amin(dim=1).double()
    spread = (points - points.mean(dim=0)).double().square().sum(dim=1).mean()
    sizes = clustering.sizes[clustering.sizes > 0].double()
    shares = sizes / sizes.sum()
    found = {"effective_clusters": float(torch.exp(-(shares * shares.log()).sum()))}
    if spread > 0:
        distances = (nearest / spread).sqrt()
        found["coverage_mean"] = float(distances.mean())
        found["coverage_max"] = float(distances.max())
        random = _random_error(points, len(indices))
        if random > 0:
            found["quantization_error"] = float(nearest.mean()) / random
        found["discrepancy"] = _discrepancy(points, points[indices], weights)
    silhouette = _silhouette(points, clustering)
    if silhouette is not None:
        found["silhouette"] = silhouette
    return found


def stability(labels: Tensor, before: Tensor) -> float:
    """Returns the adjusted Rand index of two labellings of the same points; noise is one cluster.

    1 for equal partitions, around 0 for unrelated ones.
    """
    return float(adjusted_rand_score(before.cpu().numpy(), labels.cpu().numpy()))


def mean_quality(by_class: Sequence[dict[str, float]]) -> dict[str, float]:
    """Returns the means over the classes that have a measure."""
    names = [name for name in QUALITY_COLUMNS if any(name in found for found in by_class)]
    return {
        name: math.fsum(values) / len(values)
        for name in names
        for values in [[found[name] for found in by_class if name in found]]
    }


def _random_error(points: Tensor, m: int) -> float:
    """Returns the mean squared distance of the points to the nearest of m random ones."""
    generator = torch.Generator().manual_seed(0)
    errors = []
    for _ in range(N_RANDOM_DRAWS):
        drawn = torch.randperm(len(points), generator=generator)[:m].to(points.device)
        errors.append(float(squared_distances(points, points[drawn]).amin(dim=1).double().mean()))
    return math.fsum(errors) / len(errors)


def _subsample(n: int) -> Tensor:
    """Returns at most `MAX_SAMPLE` evenly spaced positions among n."""
    positions: Tensor = torch.linspace(0, n - 1, min(n, MAX_SAMPLE)).round().long()
    return positions


def _silhouette(points: Tensor, clustering: Clustering) -> float | None:
    rows = _subsample(len(points)).to(points.device)
    labels = clustering.labels[rows]
    kept = labels >= 0
    labels_array = labels[kept].cpu().numpy()
    if not 1 < len(np.unique(labels_array)) < len(labels_array):
        return None
    return float(silhouette_score(points[rows][kept].double().cpu().numpy(), labels_array))


def _discrepancy(points: Tensor, representatives: Tensor, weights: Tensor) -> float:
    sample = points[_subsample(len(points)).to(points.device)].double()
    chosen, shares = representatives.double(), weights.double() / weights.double().sum()
    n = len(sample)
    pairs = torch.pdist(sample).square()  # each pair once, which takes half of the time
    apart = pairs[pairs > 0]
    median = apart.median() if len(apart) else pairs.new_ones(())

    def kernel(squares: Tensor) -> Tensor:
        return torch.exp(-squares / (2 * median))

    mean = sample.new_full((n,), 1 / n)
    square = (
        (n + 2 * kernel(pairs).sum()) / n**2
        + shares @ kernel(_exact_squares(chosen, chosen)) @ shares
        - 2 * (mean @ kernel(_exact_squares(sample, chosen)) @ shares)
    )
    return math.sqrt(max(0.0, float(square)))


def _exact_squares(points: Tensor, others: Tensor) -> Tensor:
    """Returns (n, m) squared distances without a matrix product, so that equal points have 0."""
    return torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist").square()
