"""Picks and quotas: conformance of every pair, by hand, ties, duplicates, one image and all."""

import numpy as np
import pytest
import torch
from torch import Tensor

from distill.clustering.base import NOISE, Clustering, cluster_means
from distill.clustering.kmeans import KMeans
from distill.selection.apportionment import largest_remainder
from distill.selection.nearest_center import NearestCenter
from distill.selection.picks import Picking, Stratified, build_picking
from distill.selection.registry import PICKS, QUOTAS
from distill.selection.representatives import Picks, Representatives, select
from tests.distill.clustering.blobs import blobs

N = 60
PAIRS = [(pick, quota) for pick in PICKS for quota in QUOTAS]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def line(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def clustering_of(points: Tensor, labels: list[int]) -> Clustering:
    tensor = torch.tensor(labels)
    return Clustering(labels=tensor, centers=cluster_means(points, tensor, int(tensor.max()) + 1))


def picking_of(pick: str, quota: str = "one", **options: float) -> Picking:
    """A pick with a quota; the neutral pair, too, which is no picking of its own."""
    given = {"n_strata": 10, "prune_hardest": 0.0} if quota == "stratified" else {}
    found = build_picking(pick, quota, given | options)
    return found or Picking(pick=PICKS.build(pick), quota=QUOTAS.build(quota))


def chosen_by(
    picking: Picking,
    points: Tensor,
    clustering: Clustering,
    k: int,
    scores: list[float] | Tensor | None = None,
    seed: int = 0,
) -> Representatives:
    difficulty = None if scores is None else torch.as_tensor(scores, dtype=torch.float64)
    picks = Picks(picking=picking, difficulty=difficulty, generator=generator(seed))
    return select(points, clustering, k, "quota", generator(), picks)


# --- conformance ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("pick", "quota"), PAIRS)
@pytest.mark.parametrize("k", [1, 3, 7, N - 1, N])
def test_k_distinct_images_with_weights_of_mean_one(pick: str, quota: str, k: int) -> None:
    points = blobs(4, n=N)
    clustering = KMeans().fit(points, min(k, 5), generator())
    scores = torch.rand(N, generator=generator(3), dtype=torch.float64)
    first, second = (
        chosen_by(picking_of(pick, quota), points, clustering, k, scores) for _ in range(2)
    )
    assert sorted(set(first.indices.tolist())) == sorted(first.indices.tolist())
    assert len(first.indices) == k
    assert (first.weights > 0).all()
    assert float(first.weights.mean()) == pytest.approx(1)
    assert first.indices.tolist() == second.indices.tolist()
    assert torch.equal(first.weights, second.weights)


@pytest.mark.parametrize(("pick", "quota"), PAIRS)
def test_equal_points_and_scores_give_distinct_images(pick: str, quota: str) -> None:
    points = torch.ones(12, 3)
    clustering = clustering_of(points, [0] * 8 + [1] * 4)
    chosen = chosen_by(picking_of(pick, quota), points, clustering, 6, [0.5] * 12)
    assert len(set(chosen.indices.tolist())) == 6
    if pick != "random":  # of ties the first image
        assert chosen.indices.tolist() == [0, 1, 2, 3, 8, 9]


@pytest.mark.parametrize(("pick", "quota"), [p for p in PAIRS if p[0] != "medoid"])
def test_noise_fills_up_what_clusters_lack(pick: str, quota: str) -> None:
    points = line(0, 1, 2, 10, 20, 30)
    clustering = clustering_of(points, [0, 0, NOISE, NOISE, NOISE, NOISE])
    scores = [0.0, 0.0, 0.3, 0.1, 0.9, 0.2]
    chosen = chosen_by(picking_of(pick, quota), points, clustering, 4, scores)
    indices = chosen.indices.tolist()
    assert set(indices[:2]) == {0, 1}
    assert len(set(indices)) == 4
    by_difficulty = {"hard": [4, 2], "easy": [3, 5], "middle": [2, 5]}
    if pick in by_difficulty:  # 0.2 and 0.3 are the middle of the noise, the first image first
        assert indices[2:] == by_difficulty[pick]
    # Noise stands for itself, the two images of the cluster for one each.
    assert chosen.weights.tolist() == pytest.approx([1, 1, 1, 1])


def test_the_neutral_pair_is_the_rule_itself() -> None:
    points = blobs(1, n=N)
    for k, n_clusters in ((5, 5), (9, 4), (3, 8)):
        clustering = KMeans().fit(points, n_clusters, generator())
        plain = select(points, clustering, k, "quota", generator())
        chosen = chosen_by(picking_of("nearest", "one"), points, clustering, k)
        assert torch.equal(plain.indices, chosen.indices)
        assert torch.equal(plain.weights, chosen.weights)
    assert build_picking("nearest", "one", {}) is None


# --- picks by hand -------------------------------------------------------------------------------

POINTS = line(0, 1, 2, 7, 20, 21, 25)
LABELS = [0, 0, 0, 0, 1, 1, 1]
SCORES = [0.4, 0.1, 0.9, 0.3, 0.5, 0.8, 0.7]


@pytest.mark.parametrize(
    ("pick", "indices"),
    [
        # Means 2.5 and 22; sums of distances 10, 8, 8, 18 (1 before 2) and 6, 5, 9; 0.3 and 0.4
        # are the middle of the first four (the first image first), 0.7 of the others.
        ("nearest", [2, 5]),
        ("medoid", [1, 5]),
        ("hard", [2, 5]),
        ("easy", [1, 4]),
        ("middle", [0, 6]),
    ],
)
def test_one_image_of_each_cluster(pick: str, indices: list[int]) -> None:
    chosen = chosen_by(picking_of(pick), POINTS, clustering_of(POINTS, LABELS), 2, SCORES)
    assert chosen.indices.tolist() == indices
    assert chosen.weights.tolist() == pytest.approx([4 / 3.5, 3 / 3.5])


def test_several_images_of_a_cluster_come_in_the_order_of_the_pick() -> None:
    clustering = clustering_of(POINTS, LABELS)
    hard = chosen_by(picking_of("hard"), POINTS, clustering, 4, SCORES)
    # Shares of 4 · 4/7 = 2.29 and 1.71: two each.
    assert hard.indices.tolist() == [2, 0, 5, 6]
    medoid = chosen_by(picking_of("medoid"), POINTS, clustering, 4)
    assert medoid.indices.tolist() == [1, 0, 5, 4], "the medoids, then those nearest to them"


def test_medoids_are_those_of_brute_force() -> None:
    points = blobs(2, n=N)
    clustering = KMeans().fit(points, 6, generator())
    chosen = chosen_by(picking_of("medoid"), points, clustering, 6).indices.tolist()
    array, labels = points.double().numpy(), clustering.labels.numpy()
    for cluster, index in enumerate(chosen):
        members = np.flatnonzero(labels == cluster)
        sums = [np.linalg.norm(array[members] - array[m], axis=1).sum() for m in members]
        assert index == members[int(np.argmin(sums))]


def test_random_picks_are_uniform_within_a_cluster() -> None:
    clustering = clustering_of(POINTS, LABELS)
    counts = torch.zeros(7)
    for seed in range(1200):
        chosen = chosen_by(picking_of("random"), POINTS, clustering, 2, seed=seed)
        counts[chosen.indices] += 1
    # 300 and 400 expected; five standard deviations are 75 and 82.
    assert (counts[:4] - 300).abs().max() < 75
    assert (counts[4:] - 400).abs().max() < 82


def test_picks_leave_the_generator_of_the_clusterings_alone() -> None:
    clustering = clustering_of(POINTS, LABELS)
    stream = generator(5)
    before = stream.get_state()
    picks = Picks(picking=picking_of("random"), difficulty=None, generator=generator(1))
    select(POINTS, clustering, 2, "quota", stream, picks)
    assert torch.equal(stream.get_state(), before)


# --- quotas by hand ------------------------------------------------------------------------------


def test_proportional_quotas_leave_small_clusters_out() -> None:
    points = line(*range(12))
    clustering = clustering_of(points, [0] * 9 + [1] * 2 + [2])
    # Of 3: 2.25, 0.5 and 0.25, so 2, 1 and 0.
    chosen = chosen_by(picking_of("nearest", "proportional"), points, clustering, 3)
    assert clustering.labels[chosen.indices].tolist() == [0, 0, 1]
    assert chosen.weights.tolist() == pytest.approx([4.5 * 3 / 11, 4.5 * 3 / 11, 2 * 3 / 11])
    one = chosen_by(picking_of("easy", "one"), points, clustering, 3, list(range(12)))
    assert clustering.labels[one.indices].tolist() == [0, 1, 2]


def test_strata_share_alike_as_far_as_they_have_images() -> None:
    # Ranges of 0.25 from 0 to 1 hold 5, 1, 2 and 2 images. CCS's budgets of 6, the smallest first:
    # min(1, 6 // 4) = 1, min(2, 5 // 3) = 1, min(2, 4 // 2) = 2, then the 2 that are left.
    scores = [0.0, 0.05, 0.1, 0.2, 0.21, 0.3, 0.5, 0.6, 0.9, 1.0]
    points = line(*range(10))
    clustering = clustering_of(points, [0] * 10)
    chosen = chosen_by(
        picking_of("easy", "stratified", n_strata=4), points, clustering, 6, scores
    ).indices
    assert sorted(chosen.tolist()) == [0, 1, 5, 6, 8, 9]


def test_a_stratum_is_divided_among_the_clusters() -> None:
    # Hard images: five of cluster 0, one of cluster 1; easy ones: one and five. Of three each,
    # 2.5 and 0.5: the tie goes to the first cluster.
    labels = [0] * 6 + [1] * 6
    scores = [1.0, 0.9, 0.8, 0.7, 0.6, 0.1, 0.95, 0.4, 0.3, 0.2, 0.15, 0.0]
    points = line(*range(12))
    clustering = clustering_of(points, labels)
    chosen = chosen_by(
        picking_of("hard", "stratified", n_strata=2), points, clustering, 6, scores
    ).indices
    easy = [i for i in chosen.tolist() if scores[i] < 0.5]
    assert easy == [5, 7, 8]
    assert sorted(set(chosen.tolist()) - set(easy)) == [0, 1, 2]


def test_the_hardest_images_are_pruned_as_long_as_enough_are_left() -> None:
    points = line(*range(10))
    clustering = clustering_of(points, [0] * 10)
    scores = [i / 10 for i in range(10)]
    pruned = picking_of("hard", "stratified", n_strata=1, prune_hardest=0.3)
    assert chosen_by(pruned, points, clustering, 2, scores).indices.tolist() == [6, 5]
    assert sorted(chosen_by(pruned, points, clustering, 9, scores).indices.tolist()) == [*range(9)]
    assert len(chosen_by(pruned, points, clustering, 10, scores).indices) == 10


@pytest.mark.parametrize("k", [1, 4, 17, 60])
def test_strata_of_random_scores_sum_to_k_and_are_as_equal_as_possible(k: int) -> None:
    scores = torch.rand(60, generator=generator(k), dtype=torch.float64) ** 3
    clustering = KMeans().fit(blobs(3, n=60), 7, generator())
    shares = Stratified(n_strata=6).shares(clustering, k, scores)
    assert int(shares.counts.sum()) == k
    sizes = torch.bincount(shares.groups, minlength=len(shares.counts))
    assert (shares.counts <= sizes).all()
    # Independently: histogram with NumPy's edges, and the water level that gives k.
    edges = np.linspace(float(scores.min()), float(scores.max()), 7)
    strata = np.clip(np.digitize(scores.numpy(), edges[1:-1], right=False), 0, 5)
    present = np.unique(strata)
    given = dict.fromkeys(present, 0)
    for cell, count in enumerate(shares.counts.tolist()):
        member = int(torch.nonzero(shares.groups == cell)[0])
        given[strata[member]] += count
    level = max(given.values())
    for stratum in present:
        size = int((strata == stratum).sum())
        assert given[stratum] == size or given[stratum] >= level - 1


def test_largest_remainder_of_cells_is_exact() -> None:
    assert largest_remainder(torch.tensor([5, 1]), 3, at_least_one=False).tolist() == [3, 0]


# --- as a selector -------------------------------------------------------------------------------


def test_a_selector_picks_by_the_scores_of_each_class() -> None:
    points = line(0, 1, 5, 6, 0, 1, 5, 6).float()
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    scores = torch.tensor([0.1, 0.2, 0.4, 0.3, 0.9, 0.8, 0.6, 0.7], dtype=torch.float64)
    for pick, rows in (("hard", [1, 2, 4, 7]), ("easy", [0, 3, 5, 6])):
        selector = NearestCenter(clusterer=KMeans(), picking=picking_of(pick), difficulty=scores)
        chosen = selector.select(points, labels, [2, 2], generator())
        assert sorted(chosen.rows.tolist()) == rows
        assert chosen.masses is not None
        assert chosen.masses.tolist() == [2, 2, 2, 2]
