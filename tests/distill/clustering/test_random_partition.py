"""Random partition: sizes, distribution, independence of the points."""

import pytest
import torch

from distill.clustering.random_partition import RandomPartition
from tests.distill.clustering.blobs import blobs


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (4, 4), (30, 1), (30, 7), (31, 30)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_clusters_have_equal_sizes(n: int, k: int, dtype: torch.dtype) -> None:
    points = blobs(1, n=n, dtype=dtype)
    before = points.clone()
    result = RandomPartition().fit(points, k, seeded())
    assert torch.equal(points, before)
    assert sorted(result.sizes.tolist(), reverse=True) == [n // k + (i < n % k) for i in range(k)]
    medoids = result.medoid_indices
    assert medoids is not None
    assert len(set(medoids.tolist())) == k
    assert torch.equal(result.labels[medoids], torch.arange(k))
    assert torch.equal(result.centers, points[medoids])
    assert result.n_iter == 0
    assert result.inertia is None
    assert result.total_deviation is not None
    expected = (points - result.centers[result.labels]).double().norm(dim=1).sum()
    torch.testing.assert_close(result.total_deviation, expected, rtol=1e-6, atol=0)


def test_two_points_by_hand() -> None:
    points = torch.tensor([[103.0, 4.0], [100.0, 8.0]])
    result = RandomPartition().fit(points, 1, seeded())
    assert result.labels.tolist() == [0, 0]
    assert result.total_deviation is not None
    assert result.total_deviation.item() == 5
    assert result.total_deviation.dtype == torch.float64


def test_all_medoids_and_members_are_equally_likely() -> None:
    points = blobs(2, n=4)
    generator, n_draws = seeded(), 6000
    pairs = torch.zeros(4, 4)
    together = torch.zeros(4, 4)
    for _ in range(n_draws):
        result = RandomPartition().fit(points, 2, generator)
        assert result.medoid_indices is not None
        pairs[tuple(result.medoid_indices.tolist())] += 1
        together += result.labels[:, None] == result.labels
    off_diagonal = ~torch.eye(4, dtype=torch.bool)
    # 12 ordered pairs; each other point is the one companion in a third of the draws. Four standard
    # errors of a frequency from 6,000 draws.
    assert (pairs[off_diagonal] / n_draws - 1 / 12).abs().max() < 4 * (11 / 144 / n_draws) ** 0.5
    assert (together[off_diagonal] / n_draws - 1 / 3).abs().max() < 4 * (2 / 9 / n_draws) ** 0.5


def test_the_same_seed_gives_the_same_partition() -> None:
    points = blobs(3)
    first = RandomPartition().fit(points, 9, seeded(4))
    assert torch.equal(first.labels, RandomPartition().fit(points, 9, seeded(4)).labels)
    assert not torch.equal(first.labels, RandomPartition().fit(points, 9, seeded(5)).labels)


def test_partition_does_not_depend_on_the_points() -> None:
    first = RandomPartition().fit(blobs(6), 9, seeded())
    assert torch.equal(first.labels, RandomPartition().fit(blobs(7), 9, seeded()).labels)
    assert RandomPartition().fit(torch.full((9, 2), 3.0), 4, seeded()).sizes.tolist() == [
        3,
        2,
        2,
        2,
    ]


def test_refuses_more_clusters_than_points() -> None:
    with pytest.raises(ValueError, match=r"^n_clusters must be in \[1, 4\] for 4 points, got 5$"):
        RandomPartition().fit(blobs(3, n=4), 5, seeded())
