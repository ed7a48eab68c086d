"""Test points: clusters far from the origin, in features of very different scale."""

import torch
from torch import Tensor


def blobs(
    seed: int, n: int = 300, d: int = 6, k: int = 5, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Draws (n, d) points from k Gaussian clusters of unequal size.

    The features have standard deviations of 0.5 to 20 and lie around 100, and the clusters overlap
    a little, so that neither the origin nor the scale of a feature is left out of a test.
    """
    generator = torch.Generator().manual_seed(seed)
    means = 4 * torch.randn(k, d, generator=generator, dtype=torch.float64)
    sizes = torch.arange(1.0, k + 1)
    labels = torch.multinomial(sizes, n, replacement=True, generator=generator)
    points = means[labels] + torch.randn(n, d, generator=generator, dtype=torch.float64)
    scales = torch.logspace(-1, 0.6, d, base=10, dtype=torch.float64)
    return (100 + scales * points).to(dtype)
