"""Picks and quotas in configurations: identities, and one line where they have no meaning."""

from typing import Any

import pytest
import torch

from distill.clustering.registry import CHOOSES_ITSELF, CLUSTERERS, WITH_NOISE
from distill.config.distillation import DistillationConfig
from distill.config.selection import SelectionConfig
from distill.errors import UserError
from distill.selection.registry import PICKS, QUOTAS
from tests.distill.clustering.blobs import blobs


def nearest(**fields: Any) -> SelectionConfig:
    return SelectionConfig(selector="nearest_center", **fields)


def test_neutral_values_are_not_part_of_the_identity() -> None:
    # Identities before picks existed.
    assert DistillationConfig().trial_id == DistillationConfig(pick="nearest").trial_id
    assert nearest().trial_id == nearest(pick="nearest", quota="one").trial_id
    assert DistillationConfig(clusterer="dbscan", ipc=10).trial_id == "05983cff1ac1c758"
    assert nearest(fraction=0.25).trial_id == "03ff4422b411dd9b"


def test_picks_make_trials_of_their_own() -> None:
    configs = [DistillationConfig(pick=pick, quota=quota) for pick in PICKS for quota in QUOTAS]
    configs += [
        DistillationConfig(pick="hard", difficulty="loss"),
        DistillationConfig(pick="hard", el2n_epochs=6),
        DistillationConfig(quota="stratified", n_strata=3),
        DistillationConfig(quota="stratified", prune_hardest=0.2),
    ]
    assert len({config.trial_id for config in configs}) == len(configs)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pick": "x"}, r"unknown pick 'x' \(known: nearest, medoid, random, hard, easy, middle"),
        ({"quota": "two"}, r"unknown quota 'two' \(known: one, proportional, stratified"),
        (
            {"difficulty": "loss"},
            "difficulty does not apply to pick 'nearest', quota 'one', only to pick hard, easy, "
            "middle; quota stratified; leave it out",
        ),
        ({"pick": "hard", "difficulty": "x"}, r"unknown difficulty 'x' \(known: el2n, loss, m"),
        ({"pick": "hard", "n_strata": 5}, "n_strata does not apply to quota 'one', only to quota"),
        (
            {"pick": "hard", "difficulty": "loss", "el2n_epochs": 5},
            "el2n_epochs does not apply to difficulty 'loss', only to difficulty el2n",
        ),
        ({"quota": "stratified", "prune_hardest": 1.0}, "prune_hardest must be at least 0 and be"),
        ({"quota": "stratified", "n_strata": 0}, "n_strata must be at least 1, got 0"),
        ({"pick": "hard", "el2n_networks": 0}, "el2n_networks must be at least 1, got 0"),
        (
            {"pick": "hard", "protocol": "published"},
            "the published protocol has no picks and quotas, got pick 'hard' with quota 'one'; "
            "use protocol sound",
        ),
        (
            {"pick": "medoid", "clusterer": "dbscan"},
            "pick 'medoid' needs every image in a cluster, but clusterer 'dbscan' leaves noise, "
            "which has no medoid; use another pick",
        ),
        ({"pick": "medoid", "clusterer": "hdbscan"}, "clusterer 'hdbscan' leaves noise"),
        (
            {"pick": "medoid", "clusterer": "kmedoids"},
            "pick 'medoid' changes nothing for clusterer 'kmedoids', whose centers are images "
            "already; use another pick",
        ),
        (
            {"pick": "random", "clusterer": "k_center"},
            "pick 'random' with quota 'one' needs a clusterer whose clusters offer several images, "
            "but clusterer 'k_center' chooses the images itself; leave pick and quota out",
        ),
        ({"quota": "proportional", "clusterer": "random"}, "clusterer 'random' chooses the images"),
        ({"pick": "easy", "clusterer": "kmeans_published"}, "'kmeans_published' chooses the"),
    ],
)
def test_combinations_without_meaning_are_one_line(fields: dict[str, Any], message: str) -> None:
    for config in (DistillationConfig, nearest):
        if fields.get("protocol") == "published" and config is nearest:
            continue
        with pytest.raises(UserError, match=message) as raised:
            config(**fields)
        assert "\n" not in str(raised.value)


def test_picks_without_effect_on_a_distillation_are_refused() -> None:
    with pytest.raises(UserError, match="has no effect: nothing is matched, and init 'kmeans'"):
        DistillationConfig(pick="hard", match="none", init="kmeans")
    with pytest.raises(UserError, match="has no effect: nothing is matched, and init 'noise'"):
        DistillationConfig(pick="hard", n_outer=0, init="noise")
    assert DistillationConfig(pick="hard", match="none").pick == "hard"
    assert DistillationConfig(pick="hard", n_outer=0).pick == "hard"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"pick": "hard", "difficulty": "margin", "embedding": "pixels"},
            "difficulty 'margin' is that of the network that gives features, got embedding "
            "'pixels'; use embedding features or difficulty el2n",
        ),
        (
            {"pick": "hard", "center": "medoid"},
            "center 'medoid' applies to pick 'nearest' only, got pick 'hard'; leave it out",
        ),
        (
            {"pick": "hard", "difficulty": "loss", "feature_epochs": 0},
            "difficulty 'loss' needs a network that knows the classes, but feature_epochs 0 leaves "
            "it untrained; use at least 1, or difficulty el2n",
        ),
        (
            {"center": "medoid", "clusterer": "dbscan"},
            "center 'medoid' needs every image in a cluster, but clusterer 'dbscan' leaves noise, "
            "which has no medoid; leave it out",
        ),
        ({"center": "medoid", "clusterer": "hdbscan"}, "clusterer 'hdbscan' leaves noise"),
        *(
            (
                {"center": "medoid", "clusterer": name},
                f"center 'medoid' changes nothing for clusterer '{name}', whose centers are images "
                "already; leave it out",
            )
            for name in ("kmedoids", "facility_location", "k_center", "herding")
        ),
        ({"protocol": "published"}, "the published protocol has no"),
    ],
)
def test_selections_refuse_what_they_do_not_have(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        nearest(**fields)


@pytest.mark.parametrize("selector", ["base", "random", "herding", "k_center", "cluster_grid"])
def test_selectors_without_clusters_to_pick_in_refuse_picks(selector: str) -> None:
    with pytest.raises(UserError, match=rf"pick does not apply to selector '{selector}', only to"):
        SelectionConfig(selector=selector, pick="hard")


def test_the_augmentation_of_nearest_centers_has_their_picks() -> None:
    config = SelectionConfig(
        selector="augmentation", augment_selector="nearest_center", pick="easy"
    ).resolve()
    assert (config["pick"], config["difficulty"], config["el2n_networks"]) == ("easy", "el2n", 3)


def test_the_names_of_clusterers_with_rules_of_their_own_are_right() -> None:
    assert set(WITH_NOISE) | set(CHOOSES_ITSELF) <= set(CLUSTERERS)
    points = blobs(0, n=40)
    points[-1] += 1000  # far from everything
    n_noise = {}
    for name in CLUSTERERS:
        if name == "kmedoids_sklearn_extra":  # needs another environment
            continue
        options = {"eps": 1.0} if name == "dbscan_published" else {}
        declared = CLUSTERERS[name].options()
        given = {n: getattr(declared, n) for n in vars(declared)} | options
        clustering = CLUSTERERS.build(name, **given).fit(
            points, 3, torch.Generator().manual_seed(0)
        )
        n_noise[name] = clustering.n_noise
    assert {name for name, n in n_noise.items() if n} <= set(WITH_NOISE)
    assert n_noise["dbscan"] > 0
