"""The presets: what is in them, what must not be, and that they can be run."""

import re
from collections import Counter

import pytest
import torch

from distill.clustering.registry import CLUSTERERS
from distill.config.distillation import DistillationConfig
from distill.datasets import load_dataset
from distill.trials import runner
from sweeps.cli.fields import method_options
from sweeps.grid.distillation_presets import PRESETS
from sweeps.grid.plan import make_plan

BOTH = ("published", "sound")


@pytest.mark.parametrize(
    ("name", "n_trials"),
    [
        ("quickstart", (9 + 5) * 2 * 5),
        ("smoke", 2),
        ("cost", 12 * 3),
        ("paper", (9 + 5) * 2 * 3),
        ("small", (10 + 5 + 9 + 9) * 2 * 5 + 5 * 2 * (16 - 5)),
        ("methods", (6 + 8 + 1 + 8 + 2) * 5),
        # 8 partitions and birch, 8 linkages, 18 of dbscan, 16 of further clusterers, 10 controls,
        # 12 of gradients, 8 of picks and quotas; from ipc 10 on, 9 with weights in training
        ("extended", ((8 + 8 + 18 + 19 + 10 + 12 + 8) * 4 + 9 * 3) * 5),
    ],
)
def test_the_number_of_trials(name: str, n_trials: int) -> None:
    grid = PRESETS[name]
    said = re.search(r"(\d+|two) trials", grid.summary)

    assert len(make_plan(grid)) == n_trials
    assert said is not None
    assert said[1].replace("two", "2") == str(n_trials)
    assert grid.name == name


@pytest.mark.parametrize("name", ["quickstart", "paper"])
def test_the_rows_of_paper_1_in_the_order_of_its_tables(name: str) -> None:
    rows = PRESETS[name].configs[:9]

    assert [(config.clusterer, config.weights) for config in rows] == [
        ("kmeans", "size"),
        ("kmeans", "none"),
        ("kmeans++", "size"),
        ("kmeans++", "none"),
        ("kmedoids", "size"),
        ("kmedoids", "none"),
        ("dbscan", "size"),
        ("dbscan", "none"),
        ("agglomerative", "none"),
    ]


@pytest.mark.parametrize("name", PRESETS)
def test_no_two_rows_of_a_preset_are_the_same_trials(name: str) -> None:
    grid = PRESETS[name]

    further = len(grid.main) * max(0, grid.n_main_seeds - grid.n_seeds)
    assert len(make_plan(grid)) == len(grid.configs) * grid.n_seeds + further
    assert set(grid.main) <= set(grid.configs)


def test_the_paper_preset_is_made_of_defaults() -> None:
    first = make_plan(PRESETS["paper"])[0]
    dbscan = make_plan(PRESETS["paper"], only=["method=dbscan,ipc=10,weight=F"])[0].resolve()

    assert first == DistillationConfig(
        dataset="cifar10", protocol="published", clusterer="kmeans", weights="size"
    )
    assert (dbscan.clusterer, dbscan["eps"], dbscan["min_samples"]) == ("dbscan_published", 15.0, 2)
    assert (dbscan.n_outer, dbscan.n_inner, dbscan.cluster_interval) == (1000, 100, 10)


def test_paper_preset_runs_the_agglomerative_of_each_protocol() -> None:
    plan = make_plan(PRESETS["paper"], protocols=BOTH, only=["method=agglomerative"])

    assert len(plan) == 2 * 2 * 3
    assert {(c.protocol, c.resolve().clusterer, c.resolve()["linkage"]) for c in plan} == {
        ("published", "agglomerative_published", None),
        ("sound", "agglomerative", "ward"),
    }


def test_extended_preset_holds_the_sound_trials_of_paper() -> None:
    paper = {config.trial_id for config in make_plan(PRESETS["paper"], protocols=["sound"])}
    extended = {config.trial_id for config in make_plan(PRESETS["extended"])}

    assert paper < extended


def test_the_extended_preset_has_the_future_work() -> None:
    plan = make_plan(PRESETS["extended"], seeds=[0])

    assert {config.ipc for config in plan} == {1, 10, 50, 100}
    assert {config.embedding for config in plan} == {"features", "gradients"}
    assert {(config["linkage"], config.weights) for config in plan if config["linkage"]} == {
        (linkage, weights)
        for linkage in ("ward", "complete", "average", "single")
        for weights in ("size", "none")
    }
    assert {config.weights for config in plan if config.clusterer == "birch"} == {"size", "none"}
    radii = {(config["eps"], config["min_samples"]) for config in plan if config["eps"]}
    assert radii == {(eps, n) for eps in (12.5, 15, 17.5) for n in (2, 5)}
    quantiles = {config["eps_quantile"] for config in plan if config["eps_quantile"]}
    assert quantiles == {0.25, 0.5, 0.75}
    assert {config.weights for config in plan if config["strength_weights"]} == {"size"}
    assert Counter(
        (config["pick"], config["quota"], config["difficulty"])
        for config in map(DistillationConfig.resolve, plan)
        if (config["pick"], config["quota"]) not in (("nearest", "one"), (None, None))
    ) == dict.fromkeys(PICKS_OF_METHODS, 4), "once a number of images a class"


PICKS_OF_METHODS = [
    ("medoid", "one", None),
    ("random", "one", None),
    *((pick, "one", "el2n") for pick in ("hard", "easy", "middle")),
    ("hard", "one", "loss"),
    ("nearest", "proportional", None),
    ("random", "stratified", "el2n"),
]
"""Pick, quota and difficulty of the rows beside one image nearest to each center."""


@pytest.mark.parametrize("name", PRESETS)
def test_combinations_without_a_meaning_are_absent(name: str) -> None:
    for config in make_plan(PRESETS[name], protocols=BOTH):
        # Other clusterers' options are refused by DistillationConfig itself.
        if config.clusterer == "random":  # it looks at neither sizes nor distances
            assert config.weights == "none"
            assert config.embedding == "features"
        if config.embedding != "features":  # a distance between features means nothing here
            assert config["eps"] is None
        if config.protocol == "published" and config.clusterer != "hdbscan":  # not paper 1's
            assert list(method_options(config)) in ([], ["eps"], ["eps", "min_samples"])


@pytest.mark.parametrize("name", PRESETS)
def test_every_trial_of_every_preset_resolves(name: str) -> None:
    plan = make_plan(PRESETS[name], protocols=BOTH, seeds=[0])

    assert len({config.resolve().trial_id for config in plan}) == len(plan)


def test_the_cost_preset_changes_one_field_at_a_time() -> None:
    base, *others = (config.resolve().to_dict() for config in make_plan(PRESETS["cost"], seeds=[0]))

    differing = [{n for n in base if values[n] != base[n]} - {"lr_img"} for values in others]
    assert {len(names) for names in differing} == {1}
    assert {name for names in differing for name in names} == {
        *("ipc", "image_size", "width", "val_fraction", "n_representatives")
    }


def test_other_data_set_keeps_sizes_and_changes_the_recipe() -> None:
    digits = make_plan(PRESETS["smoke"], limit=1)[0].resolve()
    cifar = make_plan(PRESETS["smoke"], dataset="cifar10", limit=1)[0].resolve()

    for size in ("n_outer", "n_inner", "n_representatives", "width", "eval_epochs", "n_eval"):
        assert cifar[size] == digits[size]
    assert (digits.metric, digits.factor) == ("l1", 1)
    assert (cifar.metric, cifar.factor) == ("mse", 2)
    assert digits.lr_img == pytest.approx(3e-5)
    assert cifar.lr_img == pytest.approx(5e-4)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("dataset", ["digits", "mnist", "parquet:a.parquet"])
def test_every_preset_takes_every_data_set(name: str, dataset: str) -> None:
    plan = make_plan(PRESETS[name], dataset=dataset, protocols=BOTH, seeds=[0])

    assert len(plan) == len(make_plan(PRESETS[name], protocols=BOTH, seeds=[0]))
    assert {config.resolve().dataset for config in plan} == {dataset}


def test_a_preset_with_both_protocols_keeps_those_asked_for() -> None:
    whole = make_plan(PRESETS["small"], seeds=[0])
    parts = [make_plan(PRESETS["small"], seeds=[0], protocols=[name]) for name in BOTH]

    assert [len(part) for part in parts] == [9 * 2, 24 * 2]
    assert {c.trial_id for part in parts for c in part} == {c.trial_id for c in whole}
    assert [{c.protocol for c in part} for part in parts] == [{"published"}, {"sound"}]


def test_methods_are_all_clusterers_with_sizes_and_names_of_small() -> None:
    rows = make_plan(PRESETS["methods"])
    small = {config.trial_id for config in make_plan(PRESETS["small"])}

    twins = {n for n in CLUSTERERS if n.endswith(("_published", "_sklearn_extra"))}
    assert {config.clusterer for config in rows} == set(CLUSTERERS) - twins
    assert {config.clusterer for config in rows if config.trial_id in small} == {
        *("kmeans", "kmeans++", "kmedoids", "agglomerative", "dbscan", "random")
    }


def test_extended_preset_has_weights_in_training_where_they_act() -> None:
    rows = [c for c in PRESETS["extended"].configs if c.trains_with_weights]

    assert {c.ipc for c in rows} == {10, 50, 100}
    assert {(c.clusterer, c.weights_in) for c in rows} == {
        (name, where)
        for name in ("kmeans", "kmeans++", "kmedoids", "birch")
        for where in ("training", "both")
    }
    assert {(c.clusterer, c.weights_in) for c in rows if c.match == "none"} == {
        ("kmeans", "training")
    }


def test_controls_cross_start_and_matched_batches() -> None:
    for name in ("quickstart", "paper", "small", "extended"):
        rows = {(c.clusterer, c.weights, c.init, c.match) for c in PRESETS[name].configs}
        assert {
            ("kmeans", "none", "clusters", "gradients"),
            ("kmeans", "none", "random", "gradients"),
            ("random", "none", "clusters", "gradients"),
            ("random", "none", "kmeans", "gradients"),
            ("kmeans", "none", "clusters", "none"),
            ("random", "none", "clusters", "none"),
        } <= rows


def test_the_smoke_preset_runs() -> None:
    data = load_dataset("digits", device=torch.device("cpu"))

    for config in make_plan(PRESETS["smoke"]):
        result = runner.run(config, data)

        assert result.row["status"] == "ok"
        assert [point["outer"] for point in result.curve] == [0, 1, 2]
        assert all(point["accuracy_mean"] is not None for point in result.curve)
