"""Labels of trials, derived from their configurations."""

import pytest

from distill.config.base import Config
from distill.config.distillation import DistillationConfig
from distill.config.evaluation import EvaluationConfig
from distill.config.selection import SelectionConfig
from sweeps.cli.labels import method_label, number_ranges, trial_label


@pytest.mark.parametrize(
    ("config", "label"),
    [
        (DistillationConfig(), "kmeans"),
        (DistillationConfig(width=16, n_outer=3, ipc=2), "kmeans"),
        (
            DistillationConfig(clusterer="dbscan", eps=15, min_samples=3),
            "dbscan eps=15 min_samples=3",
        ),
        (
            DistillationConfig(embedding="gradients", projection_dim=8, clusterer="birch"),
            "gradients: birch",
        ),
        (DistillationConfig(weights="size", weights_in="both"), "kmeans weights_in=both"),
        (
            DistillationConfig(pick="hard", quota="stratified", n_strata=4, difficulty="el2n"),
            "kmeans pick=hard quota=stratified difficulty=el2n n_strata=4",
        ),
        (
            DistillationConfig(pick="easy", el2n_epochs=2, embedding="pixels"),
            "pixels: kmeans pick=easy el2n_epochs=2",
        ),
        (SelectionConfig(), "random"),
        (
            SelectionConfig(selector="nearest_center", pick="hard", difficulty="loss", ipc=2),
            "nearest_center ipc=2 pick=hard difficulty=loss",
        ),
        (SelectionConfig(fraction=0.25, equal_steps=True), "random fraction=0.25 equal_steps"),
        (
            SelectionConfig(selector="cluster_grid", clusterer="agglomerative", linkage="single"),
            "cluster_grid clusterer=agglomerative linkage=single",
        ),
        (
            EvaluationConfig(set="/a/x.pt,/a/y.pt", set_hash="0" * 16, ipc=10, factor=1),
            "x.pt,y.pt set_hash=0000000000000000 ipc=10 factor=1",
        ),
        (
            SelectionConfig(selector="herding", embedding="pca", pca_dim=4, ipc=3),
            "herding ipc=3 embedding=pca pca_dim=4",
        ),
    ],
)
def test_label_has_the_method_and_its_given_options(config: Config, label: str) -> None:
    assert method_label(config) == label


def test_trial_label_tells_the_trials_of_a_sweep_apart() -> None:
    weighted = DistillationConfig(weights="size", ipc=10, protocol="published", seed=2)

    assert trial_label(weighted) == "kmeans, weights size, ipc 10, published, seed 2"
    assert trial_label(SelectionConfig(fraction=0.5)) == "random fraction=0.5, seed 0"


def test_number_ranges_join_more_than_two_neighbours() -> None:
    assert number_ranges([3, 1, 2, 7, 9, 8, 11, 12]) == ["1–3", "7–9", "11", "12"]
