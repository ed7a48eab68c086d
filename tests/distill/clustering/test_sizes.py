"""Distribution of cluster sizes: by hand, and its sum."""

import pytest
import torch

from distill.clustering.dbscan import DBSCAN
from distill.clustering.sizes import size_columns
from tests.distill.clustering.blobs import blobs


def test_size_columns_by_hand() -> None:
    """Ten points in clusters of 1, 2, 3 and 4; eight in one of 7, one of them noise."""
    columns = size_columns([torch.tensor([2, 4, 1, 3]), torch.tensor([7])], [10, 8])

    assert columns["cluster_size_histogram"] == [1, 2, 2]
    assert columns["cluster_size_shares"] == pytest.approx([0.05, 0.25, (0.4 + 7 / 8) / 2])


def test_empty_clusters_are_not_counted() -> None:
    assert size_columns([torch.tensor([0, 3, 0])], [3]) == {
        "cluster_size_histogram": [0, 1],
        "cluster_size_shares": [0, 1],
    }


def test_octaves_end_before_each_power_of_two() -> None:
    for exponent in (1, 12, 40):
        sizes = torch.tensor([2**exponent - 1, 2**exponent])
        columns = size_columns([sizes], [int(sizes.sum())])["cluster_size_histogram"]
        assert columns == [0] * (exponent - 1) + [1, 1]


def test_shares_and_noise_sum_to_one() -> None:
    points = torch.cat([blobs(1, n=60, k=1), 1000 * blobs(2, n=7, k=1)]).float()
    clustering = DBSCAN(eps=60, min_samples=4).fit(points, 1, torch.Generator())
    columns = size_columns([clustering.sizes], [len(points)])

    assert clustering.n_noise == 7
    assert columns["cluster_size_histogram"] == [0, 0, 0, 0, 0, 1]
    assert sum(columns["cluster_size_shares"]) == pytest.approx(1 - 7 / 67)
