"""Comparison of clusterings up to the names of their clusters."""

from torch import Tensor


def same_partition(first: Tensor, second: Tensor) -> bool:
    """Returns whether two labelings agree up to renaming; noise (−1) must be noise in both."""
    if first.shape != second.shape:
        return False
    pairs = set(zip(first.tolist(), second.tolist(), strict=True))
    one_to_one = len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    return one_to_one and all((a == -1) == (b == -1) for a, b in pairs)
