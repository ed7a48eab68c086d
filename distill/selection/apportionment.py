"""Apportionment: dividing images among groups in proportion to sizes."""

import torch
from torch import Tensor


def largest_remainder(sizes: Tensor, k: int, *, at_least_one: bool) -> Tensor:
    """Divides k seats among clusters in proportion to their sizes, by the largest remainder.

    Args:
        sizes: (n_clusters,) int64, each at least 1, with a sum of at least k.
        k: number of seats.
        at_least_one: whether every cluster gets a seat; requires `n_clusters` ≤ k.

    Returns:
        (n_clusters,) int64 quotas that sum to k, none above its size. Ties go to the lower index.
    """
    quotas = torch.ones_like(sizes) if at_least_one else torch.zeros_like(sizes)
    exact = sizes.double() * k / sizes.sum()
    quotas = torch.maximum(quotas, exact.floor().long())
    # With a seat for every cluster, small clusters exceed their share: the largest surplus loses a
    # seat, or the largest remainder gains one, until the quotas sum to k.
    while (missing := k - int(quotas.sum())) != 0:
        remainder = exact - quotas
        if missing > 0:
            remainder[quotas >= sizes] = -torch.inf
            order = remainder.argsort(descending=True, stable=True)
            quotas[order[: min(missing, int((quotas < sizes).sum()))]] += 1
        else:
            remainder[quotas <= 1] = torch.inf
            order = remainder.argsort(stable=True)
            quotas[order[: min(-missing, int((quotas > 1).sum()))]] -= 1
    return quotas
