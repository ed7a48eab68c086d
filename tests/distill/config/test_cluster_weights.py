"""Weights of clusters in configurations: one line where they have no effect or no meaning."""

from typing import Any

import pytest

from distill.config.base import Config
from distill.config.distillation import DistillationConfig
from distill.config.evaluation import EvaluationConfig
from distill.config.selection import SelectionConfig
from distill.errors import UserError

STRENGTHS = {"clusterer": "hdbscan", "strength_weights": True}
NO_EFFECT = "strength_weights has no effect: no weights of clusters act with "
NEEDS_CLUSTERS = (
    "needs a clusterer that compares images, got clusterer 'random', whose images stand"
)


def distillation(**fields: Any) -> Config:
    return DistillationConfig(**fields)


def nearest(**fields: Any) -> Config:
    return SelectionConfig(**({"selector": "nearest_center"} | fields))


def evaluation(**fields: Any) -> Config:
    return EvaluationConfig(set="nearest_center", **fields)


@pytest.mark.parametrize(
    ("build", "fields", "message"),
    [
        (
            distillation,
            {},
            NO_EFFECT + "weights 'none'; set weights size or leave it out",
        ),
        (distillation, {"weights": "published"}, "weights 'published'; set weights size"),
        (
            distillation,
            {"weights": "size", "protocol": "published"},
            NO_EFFECT + "protocol 'published'; use protocol sound",
        ),
        (
            distillation,
            {"weights": "size", "match": "none"},
            NO_EFFECT + "weights_in 'matching', match 'none' and init 'clusters'; leave it out",
        ),
        (distillation, {"weights": "size", "n_outer": 0}, NO_EFFECT + "weights_in 'matching'"),
        (
            distillation,
            {"weights": "size", "weights_in": "training", "init": "kmeans"},
            NO_EFFECT + "weights_in 'training', match 'gradients' and init 'kmeans'; leave it out",
        ),
        (
            distillation,  # the mean images weigh by the sizes of their clusters
            {"weights": "size", "weights_in": "training", "init": "centroids"},
            NO_EFFECT + "weights_in 'training', match 'gradients' and init 'centroids'; leave it",
        ),
        (
            nearest,
            {},
            NO_EFFECT + "selector 'nearest_center' and weights_in 'matching'; set weights_in "
            "training or leave it out",
        ),
        (
            nearest,
            {"selector": "cluster_grid", "weights_in": "training"},
            NO_EFFECT + "selector 'cluster_grid'; leave it out",
        ),
        (
            nearest,
            {"selector": "augmentation", "augment_selector": "nearest_center"},
            NO_EFFECT + "selector 'augmentation'; leave it out",
        ),
        (evaluation, {}, NO_EFFECT + "weights_in 'matching'; set weights_in training or leave it"),
    ],
)
def test_strengths_without_effect_are_refused(
    build: Any, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as raised:
        build(**STRENGTHS, **fields)
    assert "\n" not in str(raised.value)
    assert build(**(STRENGTHS | fields | {"strength_weights": False}))["clusterer"] == "hdbscan"


@pytest.mark.parametrize(
    ("build", "fields", "trial_id"),
    [
        (distillation, {"weights": "size"}, "1daa4e19ffbb8c91"),
        (distillation, {"weights": "size", "weights_in": "both", "init": "kmeans"}, None),
        (distillation, {"weights": "size", "weights_in": "training"}, None),
        (distillation, {"weights": "size", "weights_in": "both", "match": "none"}, None),
        (nearest, {"weights_in": "training"}, "b65f260e8a95d275"),
        (nearest, {"weights_in": "both"}, "b65f260e8a95d275"),
        (evaluation, {"weights_in": "training"}, "0b8b5d28f15b86a6"),
    ],
)
def test_strengths_that_act_make_trials_of_their_own(
    build: Any, fields: dict[str, Any], trial_id: str | None
) -> None:
    config = build(**STRENGTHS, **fields)
    assert config.resolve()["strength_weights"] is True
    assert config.resolve().resolve().trial_id == config.trial_id
    assert config.trial_id != config.replace(strength_weights=False).trial_id
    assert trial_id in (None, config.trial_id), "that of the code before the check"


@pytest.mark.parametrize(
    ("build", "fields", "remedy"),
    [
        (distillation, {"weights": "size"}, "use init kmeans or weights_in matching"),
        (
            distillation,
            {"weights": "size", "init": "centroids", "match": "none"},
            "use init kmeans or weights_in matching",
        ),
        (nearest, {}, "for equally many; use weights_in matching"),
        (nearest, {"selector": "cluster_grid"}, "for equally many; use weights_in matching"),
        (evaluation, {}, "for equally many; use weights_in matching"),
    ],
)
@pytest.mark.parametrize("weights_in", ["training", "both"])
def test_random_clusters_give_no_weights_in_training(
    build: Any, fields: dict[str, Any], remedy: str, weights_in: str
) -> None:
    with pytest.raises(UserError, match=f"weights_in '{weights_in}' {NEEDS_CLUSTERS}") as raised:
        build(clusterer="random", weights_in=weights_in, **fields)
    assert str(raised.value).endswith(remedy)
    assert build(clusterer="random", **fields)["clusterer"] == "random"


def test_a_k_means_start_gives_weights_to_random_batches() -> None:
    config = DistillationConfig(
        clusterer="random", weights="size", weights_in="training", init="kmeans"
    )
    assert config.resolve().weights_in == "training"
