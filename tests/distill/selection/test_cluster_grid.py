"""The cluster grid: cells and rounds by hand, exact quotas, and the paper's defects counted."""

import pytest
import torch
from torch import Tensor

from distill.clustering.dbscan import DBSCAN
from distill.clustering.kmeans import KMeans
from distill.selection.base import Selection
from distill.selection.cluster_grid import (
    ClusterGrid,
    PublishedClusterGrid,
    default_grid_size,
    grid_cells,
    grid_over,
)
from tests.distill.clustering.blobs import blobs

POINTS = blobs(1, n=400).float()
LABELS = torch.arange(400) % 2


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sound(quotas: list[int], *, seed: int = 0, grid_size: int | None = None) -> Selection:
    selector = ClusterGrid(clusterer=KMeans(), n_clusters=2, grid_size=grid_size)
    return selector.select(POINTS, LABELS, quotas, generator(seed))


def published(quotas: list[int], seed: int = 0) -> Selection:
    selector = PublishedClusterGrid(clusterer=KMeans(), n_clusters=2)
    return selector.select(POINTS, LABELS, quotas, generator(seed))


def groups(selection: Selection) -> Tensor:
    assert selection.clusters is not None
    return 2 * LABELS + selection.clusters


def plane(selection: Selection) -> Tensor:
    assert selection.plane is not None
    return selection.plane


def cells_of(points: Tensor, size: int) -> Tensor:
    """The cells of a grid that covers the range of these very points."""
    return grid_cells(points, grid_over(points, size))


@pytest.mark.parametrize(
    ("n", "dim", "size"),
    [(1350, 2, 37), (1369, 2, 37), (1370, 2, 38), (1, 2, 1), (27, 3, 3), (28, 3, 4), (5, 1, 5)],
)
def test_the_grid_has_as_many_cells_as_images_are_wanted(n: int, dim: int, size: int) -> None:
    assert default_grid_size(n, dim) == size


def test_cells_by_hand() -> None:
    """Over [0, 4] × [10, 20] with 2 × 2 cells; the far edge belongs to the last cell."""
    points = torch.tensor([[0.0, 10], [1.9, 14], [2, 10], [4, 10], [0, 15], [0, 20], [4, 20]])

    grid = grid_over(points, 2)

    assert (grid.low, grid.high) == ((0, 10), (4, 20))
    assert grid_cells(points, grid).tolist() == [0, 0, 2, 2, 1, 1, 3]


def test_points_in_one_place_are_one_cell() -> None:
    points = torch.ones(4, 2)

    assert grid_cells(points, grid_over(points, 3)).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("quotas", [[20, 20], [1, 1], [150, 30], [200, 200]])
def test_the_sound_form_gives_exactly_what_is_asked_and_nothing_twice(quotas: list[int]) -> None:
    rows = sound(quotas).rows

    assert len(set(rows.tolist())) == sum(quotas)
    assert torch.bincount(LABELS[rows]).tolist() == quotas


def test_a_class_s_images_are_shared_among_its_clusters_in_proportion() -> None:
    selection = sound([50, 50])
    group = groups(selection)
    of_group = torch.bincount(group)
    chosen = torch.bincount(group[selection.rows], minlength=4)
    of_class = torch.tensor([200, 200]).repeat_interleave(2)

    assert float((chosen - 50 * of_group / of_class).abs().max()) < 1


def test_no_cell_is_two_images_ahead_of_another_that_has_images_left() -> None:
    """Three cells a side, so that cells give several images; counted in every group."""
    selection = sound([60, 60], grid_size=3)
    group = groups(selection)
    times = torch.bincount(selection.rows, minlength=400)
    for number in range(4):
        own = torch.nonzero(group == number).flatten()
        cells = cells_of(plane(selection)[own], 3)
        there = torch.bincount(cells)
        taken = torch.bincount(cells, weights=times[own].double())
        most = int(taken.max())
        assert most > 1
        assert bool(((taken >= most - 1) | (taken == there)).all())


def test_while_there_are_cells_every_image_is_from_another_one() -> None:
    selection = sound([30, 30], grid_size=30)
    group = groups(selection)
    for number in range(4):
        own = torch.nonzero(group == number).flatten()
        cells = dict(zip(own.tolist(), cells_of(plane(selection)[own], 30).tolist(), strict=True))
        chosen = [cells[row] for row in selection.rows.tolist() if row in cells]
        assert len(set(chosen)) == len(chosen)
    assert selection.counts["n_filled"] == 0
    assert selection.counts["n_cells_occupied"] >= 60


def test_a_short_round_favours_no_cell() -> None:
    """Cells of 1 and of 19 images, one image wanted: each cell gives it half of the time.

    1,000 draws: 500 ± 15.8; five of those.
    """
    points = torch.cat([torch.zeros(1, 2), torch.full((19, 2), 10.0)])
    selector = ClusterGrid(clusterer=KMeans(), n_clusters=1, grid_size=2)
    labels = torch.zeros(20, dtype=torch.int64)
    n_lonely = sum(
        selector.select(points, labels, [1], generator(seed)).rows.tolist() == [0]
        for seed in range(1000)
    )

    assert abs(n_lonely - 500) < 79


def test_noise_is_a_group_too() -> None:
    points = torch.cat([blobs(2, n=60, k=1), 1000 * blobs(3, n=10, k=1)]).float()
    labels = torch.arange(70) % 2
    selector = ClusterGrid(clusterer=DBSCAN(eps=60, min_samples=4), n_clusters=1)
    selection = selector.select(points, labels, [14, 14], generator())
    assert selection.clusters is not None

    assert int((selection.clusters == -1).sum()) == 10
    assert selection.counts["noise_mean"] == pytest.approx(1 / 7)
    assert int((selection.clusters[selection.rows] == -1).sum()) == 4, "28 of 70 are chosen"


def test_the_published_form_draws_the_whole_number_from_every_group() -> None:
    selection = published([20, 20])

    assert len(selection.rows) == 4 * 40
    assert torch.bincount(groups(selection)[selection.rows]).tolist() == [40] * 4


def test_the_published_form_s_grid_covers_the_whole_plane_and_fills_with_replacement() -> None:
    selection = published([60, 60])
    cells = cells_of(plane(selection), default_grid_size(120, 2))
    group = groups(selection)
    n_occupied = sum(len(torch.unique(cells[group == number])) for number in range(4))

    assert selection.counts["n_cells_occupied"] == n_occupied
    assert selection.counts["n_filled"] == 4 * 120 - n_occupied
    for number in range(4):
        own = selection.rows[group[selection.rows] == number]
        n_cells = len(torch.unique(cells[group == number]))
        assert len(torch.unique(cells[own[:n_cells]])) == n_cells, "one of each cell comes first"
    assert len(torch.unique(selection.rows)) < len(selection.rows), "images repeat"


def test_the_grids_that_are_noted_are_those_that_were_used() -> None:
    """Sound: one a group, of its own range and quota; published: one over the whole plane."""
    ours, theirs = sound([30, 30]), published([60, 60])
    group = groups(ours)

    assert [(grid.label, grid.cluster) for grid in ours.grids] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for number, grid in enumerate(ours.grids):
        own = plane(ours)[group == number]
        n_chosen = int((group[ours.rows] == number).sum())
        assert grid == grid_over(
            own, default_grid_size(n_chosen, 2), label=grid.label, cluster=grid.cluster
        )
    assert theirs.grids == (grid_over(plane(theirs), default_grid_size(120, 2)),)


def test_both_forms_cluster_and_project_all_images_together() -> None:
    ours, theirs = sound([20, 20]), published([20, 20])
    centered = POINTS.double() - POINTS.double().mean(dim=0)
    spread = torch.linalg.svd(centered, full_matrices=False).S[:2]

    assert ours.clusters is not None
    assert theirs.clusters is not None
    assert torch.equal(ours.clusters, theirs.clusters)
    torch.testing.assert_close(plane(ours).double().norm(dim=0), spread, rtol=1e-4, atol=0)


@pytest.mark.parametrize("form", [sound, published], ids=["sound", "published"])
def test_the_generator_decides(form: object) -> None:
    assert callable(form)
    first, again, other = (form([20, 20], seed=seed).rows for seed in (3, 3, 4))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
