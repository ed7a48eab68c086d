"""Cluster grid: cells and rounds by hand, exact quotas, the defects of paper 2."""

import pytest
import torch
from torch import Tensor

from distill.clustering.dbscan import DBSCAN
from distill.clustering.kmeans import KMeans
from distill.clustering.quality import QUALITY_COLUMNS, class_quality
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
    """Returns the cells of a grid that covers the range of these points."""
    return grid_cells(points, grid_over(points, size))


@pytest.mark.parametrize(
    ("n", "dim", "size"),
    [(1350, 2, 37), (1369, 2, 37), (1370, 2, 38), (1, 2, 1), (27, 3, 3), (28, 3, 4), (5, 1, 5)],
)
def test_default_grid_has_a_cell_per_image(n: int, dim: int, size: int) -> None:
    assert default_grid_size(n, dim) == size


def test_the_clustering_of_all_images_is_measured_by_those_chosen() -> None:
    chosen = sound([10, 20])
    assert chosen.clusters is not None
    assert chosen.masses is not None
    clustering = KMeans().fit(POINTS, 2, generator())
    expected = class_quality(POINTS, clustering, chosen.rows, chosen.masses)

    assert torch.equal(chosen.clusters, clustering.labels)
    assert set(expected) == {*QUALITY_COLUMNS} - {"stability"}
    for name, value in expected.items():
        assert chosen.counts[f"{name}_last"] == pytest.approx(value, rel=1e-5)


def test_an_image_that_is_chosen_again_counts_again() -> None:
    chosen = published([30, 30])
    assert chosen.clusters is not None
    assert len(chosen.rows.unique()) < len(chosen.rows)
    clustering = KMeans().fit(POINTS, 2, generator())
    weights = torch.ones(len(chosen.rows))

    expected = class_quality(POINTS, clustering, chosen.rows, weights)
    assert chosen.counts["discrepancy_last"] == pytest.approx(expected["discrepancy"], rel=1e-4)
    once = class_quality(
        POINTS, clustering, chosen.rows.unique(), weights[: len(chosen.rows.unique())]
    )
    assert chosen.counts["quantization_error_last"] == pytest.approx(once["quantization_error"])


def test_cells_by_hand() -> None:
    """Over [0, 4] × [10, 20] with 2 × 2 cells; the far edge belongs to the last cell."""
    points = torch.tensor([[0.0, 10], [1.9, 14], [2, 10], [4, 10], [0, 15], [0, 20], [4, 20]])

    grid = grid_over(points, 2)

    assert (grid.low, grid.high) == ((0, 10), (4, 20))
    assert grid_cells(points, grid).tolist() == [0, 0, 2, 2, 1, 1, 3]


def test_equal_points_share_a_cell() -> None:
    points = torch.ones(4, 2)

    assert grid_cells(points, grid_over(points, 3)).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("quotas", [[20, 20], [1, 1], [150, 30], [200, 200]])
def test_sound_form_meets_quotas_without_repeats(quotas: list[int]) -> None:
    rows = sound(quotas).rows

    assert len(set(rows.tolist())) == sum(quotas)
    assert torch.bincount(LABELS[rows]).tolist() == quotas


def test_quotas_are_divided_among_clusters_in_proportion() -> None:
    selection = sound([50, 50])
    group = groups(selection)
    of_group = torch.bincount(group)
    chosen = torch.bincount(group[selection.rows], minlength=4)
    of_class = torch.tensor([200, 200]).repeat_interleave(2)

    assert float((chosen - 50 * of_group / of_class).abs().max()) < 1


def test_cells_are_at_most_one_image_apart() -> None:
    """Uses three cells per axis, so that cells give several images."""
    selection = sound([60, 60], grid_size=3)
    group = groups(selection)
    times = torch.bincount(selection.rows, minlength=400)
    for number in range(4):
        members = torch.nonzero(group == number).flatten()
        cells = cells_of(plane(selection)[members], 3)
        available = torch.bincount(cells)
        taken = torch.bincount(cells, weights=times[members].double())
        most = int(taken.max())
        assert most > 1
        assert bool(((taken >= most - 1) | (taken == available)).all())


def test_images_come_from_different_cells_if_possible() -> None:
    selection = sound([30, 30], grid_size=30)
    group = groups(selection)
    for number in range(4):
        members = torch.nonzero(group == number).flatten()
        cells = dict(
            zip(members.tolist(), cells_of(plane(selection)[members], 30).tolist(), strict=True)
        )
        chosen = [cells[row] for row in selection.rows.tolist() if row in cells]
        assert len(set(chosen)) == len(chosen)
    assert selection.counts["n_filled"] == 0
    assert selection.counts["n_cells_occupied"] >= 60


def test_an_incomplete_round_prefers_no_cell() -> None:
    """Cells of 1 and of 19 images, one image to choose: each cell gives it half of the time.

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


def test_noise_is_a_group() -> None:
    points = torch.cat([blobs(2, n=60, k=1), 1000 * blobs(3, n=10, k=1)]).float()
    labels = torch.arange(70) % 2
    selector = ClusterGrid(clusterer=DBSCAN(eps=60, min_samples=4), n_clusters=1)
    selection = selector.select(points, labels, [14, 14], generator())
    assert selection.clusters is not None

    assert int((selection.clusters == -1).sum()) == 10
    assert selection.counts["noise_mean"] == pytest.approx(1 / 7)
    assert int((selection.clusters[selection.rows] == -1).sum()) == 4, "28 of 70 are chosen"


def test_published_form_draws_the_sum_from_every_group() -> None:
    selection = published([20, 20])

    assert len(selection.rows) == 4 * 40
    assert torch.bincount(groups(selection)[selection.rows]).tolist() == [40] * 4


def test_published_form_covers_the_plane_and_repeats() -> None:
    selection = published([60, 60])
    cells = cells_of(plane(selection), default_grid_size(120, 2))
    group = groups(selection)
    n_occupied = sum(len(torch.unique(cells[group == number])) for number in range(4))

    assert selection.counts["n_cells_occupied"] == n_occupied
    assert selection.counts["n_filled"] == 4 * 120 - n_occupied
    for number in range(4):
        chosen = selection.rows[group[selection.rows] == number]
        n_cells = len(torch.unique(cells[group == number]))
        assert len(torch.unique(cells[chosen[:n_cells]])) == n_cells, "one of each cell comes first"
    assert len(torch.unique(selection.rows)) < len(selection.rows), "images repeat"


def test_selection_records_the_grids() -> None:
    """The sound form has a grid per group, the published form one over the whole plane."""
    sound_selection, published_selection = sound([30, 30]), published([60, 60])
    group = groups(sound_selection)

    assert [(grid.label, grid.cluster) for grid in sound_selection.grids] == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ]
    for number, grid in enumerate(sound_selection.grids):
        members = plane(sound_selection)[group == number]
        n_chosen = int((group[sound_selection.rows] == number).sum())
        assert grid == grid_over(
            members, default_grid_size(n_chosen, 2), label=grid.label, cluster=grid.cluster
        )
    assert published_selection.grids == (
        grid_over(plane(published_selection), default_grid_size(120, 2)),
    )


def test_both_forms_cluster_all_images_together() -> None:
    sound_selection, published_selection = sound([20, 20]), published([20, 20])
    centered = POINTS.double() - POINTS.double().mean(dim=0)
    spread = torch.linalg.svd(centered, full_matrices=False).S[:2]

    assert sound_selection.clusters is not None
    assert published_selection.clusters is not None
    assert torch.equal(sound_selection.clusters, published_selection.clusters)
    torch.testing.assert_close(
        plane(sound_selection).double().norm(dim=0), spread, rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("form", [sound, published], ids=["sound", "published"])
def test_selection_depends_on_the_generator(form: object) -> None:
    assert callable(form)
    first, again, other = (form([20, 20], seed=seed).rows for seed in (3, 3, 4))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
