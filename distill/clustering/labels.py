"""Labels from links between points: roots of trees, connected components, numbering."""

import torch
from torch import Tensor

from distill.clustering.base import NOISE


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
