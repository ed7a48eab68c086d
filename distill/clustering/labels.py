"""Labels: roots of trees, connected components, numbering, clusters without points."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.clustering.base import NOISE

_BLOCK_VALUES = 2**18
"""Largest number of values of points whose distances are computed at once: 2 MiB in float64."""


def roots_of(parents: Tensor) -> Tensor:
    """Returns the roots of a forest by pointer jumping, which halves every path in each round.

    Args:
        parents: (n,) int64, the parent of each node, without cycles; a root points to itself.

    Returns:
        (n,) int64, the root of each node's tree.
    """
    while True:
        grandparents = parents[parents]
        if torch.equal(grandparents, parents):  # host–device sync, at most log₂(n) of them
            return parents
        parents = grandparents


def components(n: int, first: Tensor, second: Tensor) -> Tensor:
    """Returns the connected components of a graph of n nodes by hooking and pointer jumping.

    Args:
        n: number of nodes.
        first: (m,) int64, one end of each edge.
        second: (m,) int64, the other end of each edge.

    Returns:
        (n,) int64, the lowest node of each node's component.
    """
    roots = torch.arange(n, device=first.device)
    while True:
        ends = torch.stack([roots[first], roots[second]])
        lowest = ends.amin(dim=0).expand_as(ends)
        hooked = roots_of(roots.scatter_reduce(0, ends.flatten(), lowest.flatten(), "amin"))
        if torch.equal(hooked, roots):  # host–device sync, one per round
            return roots
        roots = hooked


def number_by_first_occurrence(labels: Tensor) -> tuple[Tensor, int]:
    """Renumbers labels to 0 … k − 1 in the order of their first occurrence; noise stays −1.

    Args:
        labels: (n,) int64, any integers, −1 for noise.

    Returns:
        (n,) int64 labels and k.
    """
    member = labels != NOISE
    _, groups = torch.unique(labels[member], return_inverse=True)
    positions = torch.arange(len(groups), device=labels.device)
    first = torch.full_like(groups, len(groups)).scatter_reduce(0, groups, positions, "amin")
    names, numbers = torch.unique(first[groups], return_inverse=True)
    numbered = torch.full_like(labels, NOISE)
    numbered[member] = numbers
    return numbered, len(names)


def occupied(shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns the column of the largest share of each row, so that no column is without a row.

    A column without a row takes, among the rows of columns with several, the one in which its own
    share is largest.

    Args:
        shares: (n, k), k at most n.

    Returns:
        (n,) labels in 0 … k − 1, all of which occur.
    """
    labels: NDArray[np.int64] = shares.argmax(axis=1).astype(np.int64)
    sizes = np.bincount(labels, minlength=shares.shape[1])
    for empty in np.flatnonzero(sizes == 0):
        spare = np.flatnonzero(sizes[labels] > 1)
        taken = spare[shares[spare, empty].argmax()]
        sizes[labels[taken]] -= 1
        labels[taken], sizes[empty] = empty, 1
    return labels


def n_distinct(points: NDArray[Any], most: int) -> int:
    """Returns how many of the points are distinct, counted up to `most`.

    It reads no further than needed: where points hardly repeat, some `most` of them.

    Args:
        points: (n, d).
        most: at least 1.
    """
    seen: set[bytes] = set()
    for point in points:
        seen.add((point + 0.0).tobytes())  # −0 is 0
        if len(seen) == most:
            break
    return len(seen)


def split_off(
    points: NDArray[Any], labels: NDArray[np.int64], n_clusters: int
) -> NDArray[np.int64]:
    """Returns labels of exactly `n_clusters` clusters, numbered by their first occurrence.

    While there are fewer, the point farthest from the mean of its cluster becomes a cluster.

    Args:
        points: (n, d); at least `n_clusters` of them are distinct.
        labels: (n,) of at most `n_clusters` clusters.
        n_clusters: wanted.
    """
    found, n_found = number_by_first_occurrence(torch.from_numpy(labels))
    labels = found.numpy()
    n_rows = max(1, _BLOCK_VALUES // points.shape[1])
    while n_found < n_clusters:
        sums = np.zeros((n_found, points.shape[1]))
        np.add.at(sums, labels, points)
        means = sums / np.bincount(labels, minlength=n_found)[:, None]
        squares = [
            ((points[rows] - means[labels[rows]]) ** 2).sum(axis=1)
            for start in range(0, len(points), n_rows)
            for rows in [slice(start, start + n_rows)]
        ]
        labels[np.concatenate(squares).argmax()] = n_found
        n_found += 1
    numbered: NDArray[np.int64] = number_by_first_occurrence(torch.from_numpy(labels))[0].numpy()
    return numbered


def seed_of(generator: torch.Generator) -> int:
    """Returns a seed for a library, drawn from a generator."""
    return int(torch.randint(2**31, (1,), generator=generator, device=generator.device).item())
