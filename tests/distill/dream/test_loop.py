"""The DREAM loop: equal to the plain oracle, deterministic, correct at its limits."""

import contextlib
import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.cluster import DBSCAN, AgglomerativeClustering

from distill.clustering.random_partition import RandomPartition
from distill.clustering.registry import CLUSTERERS
from distill.config.distillation import ResolvedDistillation
from distill.datasets import ImageData
from distill.dream.loop import Dream, check_fit
from distill.errors import (
    DivergedError,
    InfeasibleClusteringError,
    InsufficientMemoryError,
    SlowerWarning,
    UserError,
)
from distill.runtime.execution import Execution
from tests.distill.oracle import run_oracle

pytestmark = pytest.mark.lengthy

Tiny = Callable[..., ResolvedDistillation]


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": "size"},
        {"weights": "none", "metric": "l1", "factor": 1},
        {"weights": "size", "metric": "cosine", "ipc": 2, "batch_syn_max": 5},
    ],
    ids=["weighted-mse", "plain-l1", "weighted-cosine-subsampled"],
)
@pytest.mark.parametrize("batching", ["class", "all"])
def test_the_loop_equals_the_oracle(
    digits: ImageData, tiny: Tiny, changes: dict[str, object], batching: str
) -> None:
    """Several inner loops in float64, augmentation, momentum, CutMix and network update on."""
    config = tiny(n_inner=10, n_outer=1, lr_img=0.05, **changes)
    execution = Execution(batching=batching)
    dream = Dream(config, digits, dtype=torch.float64, execution=execution)
    dream.inner_loop()  # clusters, and fills the momenta
    images, parameters, losses = run_oracle(dream, n_loops=4)
    start = dream.images.clone()
    sums = [float(dream._loss_sum)]
    for _ in range(4):
        dream.inner_loop()
        sums.append(float(dream._loss_sum))

    means = [(b - a) / digits.n_classes for a, b in itertools.pairwise(sums)]
    found = torch.cat([p.detach().flatten() for p in dream.network.parameters()])
    assert float((dream.images - start).abs().max()) > 1e-4, "the images move"
    torch.testing.assert_close(dream.images, images, rtol=0, atol=1e-10)
    torch.testing.assert_close(found, parameters, rtol=0, atol=1e-10)
    assert means == pytest.approx(losses, rel=1e-10)


def test_size_weights_change_the_images(digits: ImageData, tiny: Tiny) -> None:
    def images(weights: str, protocol: str = "sound") -> torch.Tensor:
        config = tiny(weights=weights, protocol=protocol, lr_img=0.1)
        dream = Dream(config, digits, dtype=torch.float64)
        while dream.outer < 2:
            dream.inner_loop()
        return dream.images

    none, size, inert = images("none"), images("size"), images("published")

    assert float((none - size).abs().max()) > 1e-3
    torch.testing.assert_close(none, inert, rtol=0, atol=1e-9)
    torch.testing.assert_close(
        images("none", "published"), images("size", "published"), rtol=0, atol=1e-9
    )


def test_the_loss_falls_and_the_images_stay_in_range(digits: ImageData, tiny: Tiny) -> None:
    config = tiny(
        n_outer=1,
        n_inner=60,
        cluster_interval=60,
        ipc=2,
        n_net_batches=0,
        lr_img=0.02,
        metric="mse",
    )
    config = config.replace(augment="none")
    dream = Dream(config, digits)
    losses, before = [], 0.0
    for _ in range(59):
        dream.inner_loop()
        losses.append(float(dream._loss_sum) - before)
        before = float(dream._loss_sum)
    dream.inner_loop()

    assert losses[-1] < 0.5 * losses[0], "same network, same images: plain minimisation"
    assert float(dream.images.min()) >= 0
    assert float(dream.images.max()) <= 1


def test_the_seed_decides_the_images(digits: ImageData, tiny: Tiny) -> None:
    def images(seed: int) -> torch.Tensor:
        dream = Dream(tiny(seed=seed), digits)
        while dream.outer < 2:
            dream.inner_loop()
        return dream.images

    assert torch.equal(images(1), images(1))
    assert not torch.equal(images(1), images(2))


def test_the_global_generator_is_left_alone(digits: ImageData, tiny: Tiny) -> None:
    before = torch.random.get_rng_state()
    dream = Dream(tiny(), digits)
    dream.inner_loop()

    assert torch.equal(torch.random.get_rng_state(), before)


def test_representatives_are_kept_between_clusterings(digits: ImageData, tiny: Tiny) -> None:
    dream = Dream(tiny(n_inner=5, cluster_interval=2), digits)
    chosen = []
    for _ in range(5):
        dream.inner_loop()
        chosen.append(dream.representatives)

    assert chosen[0] is chosen[1]
    assert chosen[1] is not chosen[2]
    assert chosen[2] is chosen[3]
    assert chosen[3] is not chosen[4]


def test_random_choice_is_the_same_without_embedding(
    digits: ImageData, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> tuple[torch.Tensor, list[torch.Tensor]]:
        dream = Dream(tiny(clusterer="random", n_inner=2, cluster_interval=1), digits)
        dream.inner_loop()
        dream.inner_loop()
        return dream.images, [indices for indices, _ in dream.representatives]

    images, indices = run()
    monkeypatch.setattr(RandomPartition, "uses_points", True)
    images_of_twin, indices_of_twin = run()

    torch.testing.assert_close(indices, indices_of_twin, rtol=0, atol=0)
    torch.testing.assert_close(images, images_of_twin, rtol=0, atol=0)


@pytest.mark.parametrize("init", ["clusters", "kmeans", "centroids", "random", "noise"])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_starts_of_every_kind(digits: ImageData, tiny: Tiny, init: str, factor: int) -> None:
    dream = Dream(tiny(init=init, factor=factor, ipc=2), digits)

    assert dream.images.shape == (10, 2, 1, 8, 8)
    assert float(dream.images.min()) >= 0
    assert float(dream.images.max()) <= 1
    if init not in ("noise", "centroids") and factor == 1:
        for label in range(10):
            class_images = digits.train_images[digits.class_indices[label]].float() / 255
            for image in dream.images[label]:
                assert bool((class_images == image).flatten(1).all(dim=1).any()), (
                    "a real image of the class"
                )


def test_k_means_start_of_another_clusterer_is_that_of_k_means(
    digits: ImageData, tiny: Tiny
) -> None:
    k_means = Dream(tiny(clusterer="kmeans"), digits)
    random = Dream(tiny(clusterer="random", init="kmeans"), digits)
    torch.testing.assert_close(random.images, k_means.images, rtol=0, atol=0)


@pytest.mark.parametrize("linkage", ["ward", "average"])
def test_a_centroid_start_is_the_mean_of_each_cluster(
    digits: ImageData, tiny: Tiny, linkage: str
) -> None:
    """Clusters of pixels, which no network changes, by scikit-learn."""
    dream = Dream(
        tiny(
            clusterer="agglomerative",
            linkage=linkage,
            embedding="pixels",
            init="centroids",
            ipc=4,
            factor=1,
        ),
        digits,
    )
    for label in (0, 7):
        images = digits.train_images[digits.class_indices[label]]
        points = digits.normalize(images).flatten(1).double().numpy()
        labels = AgglomerativeClustering(4, linkage=linkage).fit_predict(points)
        sizes = np.bincount(labels)
        order = sizes.argsort()[::-1]
        means = [images.numpy()[labels == cluster].mean(axis=0) / 255 for cluster in order]

        assert len(set(sizes.tolist())) == 4, "no ties"
        expected = torch.tensor(np.stack(means), dtype=torch.float32)
        torch.testing.assert_close(dream.images[label], expected, rtol=0, atol=1e-6)


def test_a_centroid_start_with_one_image_is_the_class_mean(digits: ImageData, tiny: Tiny) -> None:
    dream = Dream(tiny(init="centroids", ipc=1, factor=1), digits)

    for label in range(10):
        mean = digits.train_images[digits.class_indices[label]].double().mean(dim=0) / 255
        torch.testing.assert_close(dream.images[label, 0], mean.float(), rtol=0, atol=1e-6)


def test_a_centroid_start_takes_the_largest_clusters_without_noise(
    digits: ImageData, tiny: Tiny
) -> None:
    config = tiny(
        clusterer="dbscan",
        eps=3.0,
        min_samples=2,
        embedding="pixels",
        init="centroids",
        ipc=1,
        factor=1,
    )
    dream = Dream(config, digits)
    images = digits.train_images[digits.class_indices[1]]
    points = digits.normalize(images).flatten(1)
    labels = DBSCAN(eps=3.0, min_samples=2).fit_predict(points.double().numpy())
    sizes = np.bincount(labels[labels >= 0])

    assert len(sizes) > 1
    assert (labels < 0).any()
    assert dream.cluster_sizes[1].sum() == sizes.sum()
    assert 0 < dream.cluster_statistics["noise_mean"] < 1
    expected = images.numpy()[labels == sizes.argmax()].mean(axis=0) / 255
    torch.testing.assert_close(
        dream.images[1, 0], torch.tensor(expected, dtype=torch.float32), rtol=0, atol=1e-6
    )


def test_too_few_clusters_for_a_centroid_start_are_infeasible(
    digits: ImageData, tiny: Tiny
) -> None:
    config = tiny(clusterer="dbscan", eps=1e6, init="centroids", ipc=2, factor=2)

    with pytest.raises(
        InfeasibleClusteringError,
        match="the clustering of class '0' gives 1 clusters, but 8 initial images are needed",
    ):
        Dream(config, digits)


def test_a_start_from_clusters_is_nearer_than_a_random_one(digits: ImageData, tiny: Tiny) -> None:
    """In pixel space, the mean distance to the nearest initial image is what k-means lowers."""

    def cost(init: str) -> float:
        dream = Dream(tiny(init=init, ipc=8, factor=1, embedding="pixels"), digits)
        total = 0.0
        for label in range(10):
            points = digits.train_images[digits.class_indices[label]].flatten(1).float() / 255
            total += float(torch.cdist(points, dream.images[label].flatten(1)).min(dim=1)[0].mean())
        return total

    assert cost("clusters") < cost("random")


SOUND = [name for name in CLUSTERERS if name not in CLUSTERERS.published_variants().values()]


@pytest.mark.parametrize("clusterer", [n for n in SOUND if n != "kmedoids_sklearn_extra"])
def test_every_clusterer_runs_in_every_embedding(
    digits: ImageData, tiny: Tiny, clusterer: str
) -> None:
    # Predictions of a hardly trained network lie close together.
    options = {"min_cluster_size": 2, "min_samples": 1} if clusterer == "hdbscan" else {}
    for embedding in ("features", "pixels", "gradients", "predictions"):
        config = tiny(clusterer=clusterer, embedding=embedding, weights="size", **options)
        dream = Dream(config, digits)
        dream.inner_loop()

        assert [len(indices) for indices, _ in dream.representatives] == [8] * 10
        for label, (indices, weights) in enumerate(dream.representatives):
            assert bool((digits.train_labels[indices] == label).all())
            assert len(set(indices.tolist())) == 8
            assert float(weights.mean()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("clusterer", ["kmeans", "kmeans++", "kmedoids", "agglomerative"])
def test_the_published_variants_run(digits: ImageData, tiny: Tiny, clusterer: str) -> None:
    dream = Dream(tiny(clusterer=clusterer, protocol="published", weights="size"), digits)

    while dream.outer < 2:
        dream.inner_loop()

    assert dream.matching_loss is not None
    assert dream.cluster_statistics["n_representatives_mean"] <= 10


def test_the_sizes_of_the_last_clustering_are_noted(digits: ImageData, tiny: Tiny) -> None:
    """Paper 1's single linkage: one cluster that holds nearly all of a class, and singletons."""
    dream = Dream(
        tiny(clusterer="agglomerative", protocol="published", n_representatives=20), digits
    )
    assert dream.cluster_size_columns() == {}, "its start takes no clustering"
    dream.inner_loop()

    found = dream.cluster_size_columns()
    histogram, shares = found["cluster_size_histogram"], found["cluster_size_shares"]
    assert sum(histogram) == 10 * 20
    assert histogram[0] > 100
    assert sum(shares) == pytest.approx(1)
    assert shares[0] == pytest.approx(histogram[0] / len(digits.train_images), rel=0.01)
    assert sum(shares[5:]) > 0.7


def test_published_agglomerative_starts_from_the_first_images(
    digits: ImageData, tiny: Tiny
) -> None:
    dream = Dream(tiny(clusterer="agglomerative", protocol="published", ipc=3, factor=1), digits)

    first = digits.train_images[digits.class_indices[4][:3]].float() / 255
    assert torch.equal(dream.images[4], first)


def test_published_dbscan_without_clusters_is_infeasible(digits: ImageData, tiny: Tiny) -> None:
    config = tiny(clusterer="dbscan", protocol="published", eps=1e-3)

    with pytest.raises(InfeasibleClusteringError, match="eps"):
        Dream(config, digits)


def test_published_dbscan_with_one_cluster_is_infeasible(digits: ImageData, tiny: Tiny) -> None:
    config = tiny(clusterer="dbscan", protocol="published", eps=1e6, ipc=10)

    with pytest.raises(InfeasibleClusteringError, match="gives 1 images, but 40 initial images"):
        Dream(config, digits)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_representatives": 1000}, "n_representatives asks for 1000 representatives per class"),
        ({"ipc": 100}, r"ipc · factor² asks for 400 initial images per class"),
    ],
)
def test_more_images_than_there_are_is_an_error(
    digits: ImageData, tiny: Tiny, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_fit(tiny(**changes), digits)


@pytest.mark.parametrize("option", ["net_lr", "lr_img"])
def test_too_large_learning_rates_are_divergence(
    digits: ImageData, tiny: Tiny, option: str
) -> None:
    dream = Dream(tiny(n_inner=20, **{option: 1e38}), digits)

    def run() -> None:
        for _ in range(20):
            dream.inner_loop()

    with pytest.raises(DivergedError, match=r"lower lr_img \(now .*\) or net_lr \(now .*\)"):
        run()


@pytest.mark.parametrize("match", ["features", "both"])
def test_feature_matching_moves_the_images(digits: ImageData, tiny: Tiny, match: str) -> None:
    dream = Dream(tiny(match=match), digits)
    start = dream.images.clone()
    dream.inner_loop()

    assert not torch.equal(dream.images, start)


def test_quality_is_of_the_loops_clusterings(digits: ImageData, tiny: Tiny) -> None:
    dream = Dream(tiny(n_inner=4, cluster_interval=2, n_outer=1), digits)
    start = dream.quality_columns()
    assert "stability_last" not in start
    for _ in range(4):
        dream.inner_loop()
    columns = dream.quality_columns()

    assert columns["quantization_error_mean"] < 1, "better than random"
    assert -1 <= columns["stability_last"] <= 1
    assert dream._quality_sums["silhouette"][1] == 2
    assert dream._quality_sums["stability"][1] == 1, "of the second with the first"


def test_random_choices_are_measured_at_the_last_clustering_only(
    digits: ImageData, tiny: Tiny
) -> None:
    config = tiny(clusterer="random", init="kmeans", n_outer=2, n_inner=2, cluster_interval=1)
    dream = Dream(config, digits)
    for _ in range(3):
        dream.inner_loop()
        assert dream.quality_columns() == {}
    dream.inner_loop()
    columns = dream.quality_columns()
    assert {name.rpartition("_")[2] for name in columns} == {"last"}
    # As many random representatives as the reference has: their ratio is one up to chance.
    assert 0.7 < columns["quantization_error_last"] < 1.4
    assert columns["effective_clusters_last"] == pytest.approx(config.n_representatives, rel=0.01)


def test_starts_from_mean_images_are_measured(digits: ImageData, tiny: Tiny) -> None:
    dream = Dream(tiny(init="centroids", match="none", ipc=4, factor=1), digits)
    columns = dream.quality_columns()
    assert 0 < columns["quantization_error_last"] < 1
    assert 1 < columns["effective_clusters_last"] <= 4
    assert "stability_last" not in columns


def test_random_starts_without_matching_are_measured(digits: ImageData, tiny: Tiny) -> None:
    dream = Dream(tiny(clusterer="random", match="none", ipc=4), digits)
    assert 0.7 < dream.quality_columns()["quantization_error_last"] < 1.4


@pytest.mark.parametrize(
    ("left", "at_once"),
    [(None, 10), (10**12, 10), (2 * 32 * 3 * 24 * 64 * 8, 3), (32 * 24 * 64 * 8, 1)],
)
def test_a_pass_takes_as_many_classes_as_memory_allows(
    digits: ImageData, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, left: int | None, at_once: int
) -> None:
    """A class has 24 images of 8×8, the network 8 maps; half of the memory that is left counts."""
    config = tiny(ipc=2, factor=2, n_representatives=16)
    whole = Dream(config, digits, dtype=torch.float64)
    monkeypatch.setattr("distill.dream.loop.available_bytes_on", lambda _: left)
    words = f"{at_once} classes are matched at once in place of 10"
    with pytest.warns(SlowerWarning, match=words) if at_once < 10 else contextlib.nullcontext():
        parts = Dream(config, digits, dtype=torch.float64)

    assert max(part.stop - part.start for part in parts._passes) == at_once
    assert [i for part in parts._passes for i in range(part.start, part.stop)] == list(range(10))
    for _ in range(2):
        whole.inner_loop()
        parts.inner_loop()
    torch.testing.assert_close(parts.images, whole.images, rtol=0, atol=1e-12)


def test_a_class_that_does_not_fit_is_an_error(
    digits: ImageData, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill.runtime.devices.available_bytes_on", lambda _: 1000)
    config = tiny(ipc=2, factor=2, n_representatives=16, init="noise")
    words = "the maps of one class, 24 images, need 197 kB, 1 kB are available; take a narrower"
    with pytest.raises(InsufficientMemoryError, match=words):
        Dream(config, digits)


@pytest.mark.parametrize(
    ("embedding", "n_bytes"),
    [("features", 128), ("pixels", 256), ("predictions", 40), ("gradients", 1280)],
)
def test_points_that_do_not_fit_are_an_error(
    digits: ImageData, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, embedding: str, n_bytes: int
) -> None:
    """The network has 2 blocks of 8 maps: 32 features of 8×8 pixels."""
    config = tiny(embedding=embedding, init="noise")
    dream = Dream(config, digits)
    needed = n_bytes * len(digits.train_images)
    monkeypatch.setattr("distill.runtime.devices.available_bytes_on", lambda _: needed - 1)
    with pytest.raises(InsufficientMemoryError, match=f"the {embedding} of .* images need"):
        dream.inner_loop()
    monkeypatch.setattr("distill.runtime.devices.available_bytes_on", lambda _: needed)
    dream.inner_loop()
