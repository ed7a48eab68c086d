"""Comparison of partitions, roots of trees, numbering of labels."""

import pytest
import torch

from distill.clustering.labels import number_by_first_occurrence, roots_of
from tests.distill.clustering.partitions import same_partition


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ([0, 0, 1], [0, 0, 1], True),
        ([0, 0, 1], [7, 7, 3], True),
        ([0, 1, -1], [1, 0, -1], True),
        ([0, 0, 1], [0, 0, 0], False),
        ([0, 0, 0], [0, 0, 1], False),
        ([0, 0, 1], [0, 1, 1], False),
        ([0, 0, -1], [0, 0, 1], False),
        ([0, 0, 1], [0, 0, -1], False),
        ([0, 0, 1], [0, 0], False),
    ],
)
def test_same_partition_ignores_names(first: list[int], second: list[int], same: bool) -> None:
    assert same_partition(torch.tensor(first), torch.tensor(second)) is same


def test_roots_of_a_path_and_a_star() -> None:
    assert roots_of(torch.tensor([0, 0, 1, 2, 3, 5, 5, 5])).tolist() == [0] * 5 + [5] * 3


def test_number_by_first_occurrence_keeps_noise() -> None:
    labels, n_clusters = number_by_first_occurrence(torch.tensor([-1, 9, 4, 9, -1, 2, 4]))
    assert labels.tolist() == [-1, 0, 1, 0, -1, 2, 1]
    assert n_clusters == 3


def test_number_by_first_occurrence_of_noise_alone() -> None:
    labels, n_clusters = number_by_first_occurrence(torch.tensor([-1, -1]))
    assert labels.tolist() == [-1, -1]
    assert n_clusters == 0
