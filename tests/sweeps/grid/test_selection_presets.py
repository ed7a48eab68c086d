"""Paper 2's presets: what is in them, that they are planned right, and that they can be run."""

import re
from collections import Counter
from typing import Any

import pytest
import torch

from distill.config.selection import SelectionConfig
from distill.datasets import load_dataset
from distill.errors import UserError
from distill.selection.registry import SELECTORS
from distill.trials import runner
from distill.trials.image_selection import build_selector
from sweeps.grid.plan import make_plan
from sweeps.grid.selection_presets import PRESETS
from tests.distill.clustering.blobs import blobs
from tests.sweeps.grid.test_distillation_presets import PICKS_OF_METHODS

PHOTOS = "folder:photos"
PAPERS = {"kmeans", "kmeans++", "kmedoids", "dbscan", "agglomerative", "birch"}
FURTHER = {"hdbscan", "gmm", "spectral", "minibatch_kmeans", "facility_location"}
DIVIDE_ALL = PAPERS | FURTHER | {"k_center"}
DIVIDE_CLASSES = PAPERS | FURTHER | {"bisecting_kmeans"}


def plan_of(name: str, **options: object) -> list[SelectionConfig]:
    options = ({"dataset": PHOTOS} if PRESETS[name].needs_dataset else {}) | options
    return make_plan(PRESETS[name], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "n_trials"),
    [
        ("quickstart", (6 + 9) * 3),
        ("paper", (7 + 7) * 5),
        ("extended", (90 + 5) * 5),
        ("coreset", (11 + (16 + 8 + 15) * 2) * 5),
    ],
)
def test_the_number_of_trials(name: str, n_trials: int) -> None:
    said = re.search(r"(\d+) trials", PRESETS[name].summary)

    assert len(plan_of(name)) == n_trials
    assert said is not None
    assert said[1] == str(n_trials)
    assert PRESETS[name].name == name


@pytest.mark.parametrize("name", ["quickstart", "paper"])
@pytest.mark.parametrize("protocol", ["published", "sound"])
def test_the_rows_of_paper_2_in_the_order_of_its_table(name: str, protocol: str) -> None:
    plan = plan_of(name, protocols=[protocol], seeds=[0])

    assert [(config.selector, config["fraction"]) for config in plan[:6]] == [
        ("base", None),
        ("random", 0.5),
        ("random", 0.25),
        ("random", 0.1),
        ("cluster_grid", 0.1),
        ("augmentation", 0.1),
    ]


def test_published_protocol_has_only_selectors_of_the_paper() -> None:
    for name in PRESETS:
        plan = plan_of(name, protocols=["published", "sound"])
        published = {config.selector for config in plan if config.protocol == "published"}

        assert published <= SELECTORS.published_variants().keys()
        assert {config.selector for config in plan if config.protocol == "sound"} >= published


def test_the_paper_preset_is_made_of_defaults() -> None:
    first = plan_of("paper")[0]

    assert first == SelectionConfig(
        dataset=PHOTOS, image_size=150, selector="base", protocol="published"
    )


def test_paper_preset_has_as_many_random_images_as_the_clustering() -> None:
    plan = plan_of("paper", seeds=[0], protocols=["published"])
    grid = next(config for config in plan if config.selector == "cluster_grid").resolve()

    n_groups = 2 * grid["n_clusters"]  # classes × clusters, each of which gives the fraction
    assert plan[-1] == SelectionConfig(
        dataset=PHOTOS,
        image_size=150,
        selector="random",
        fraction=grid["fraction"] * n_groups,
        protocol="published",
    )


def test_the_extended_preset_holds_what_the_paper_left_open() -> None:
    plan = [config.resolve() for config in plan_of("extended", seeds=[0])]
    ids = {config.trial_id for config in plan}

    assert {c.trial_id for c in plan_of("paper", seeds=[0], protocols=["sound"])} <= ids
    assert {c["clusterer"] for c in plan if c.selector == "cluster_grid"} == DIVIDE_ALL
    nearest = [c for c in plan if c.selector == "nearest_center"]
    assert {c["clusterer"] for c in nearest} == DIVIDE_CLASSES
    assert {c["clusterer"] for c in nearest if c["center"] == "medoid"} == DIVIDE_CLASSES - {
        *("kmedoids", "facility_location", "dbscan", "hdbscan")
    }
    picks = {(c["pick"], c["quota"], c["difficulty"]) for c in nearest}
    assert picks == {("nearest", "one", None), *PICKS_OF_METHODS} - {("medoid", "one", None)}
    assert {c["embedding"] for c in plan if c.selector == "herding"} == {
        "features",
        "pixels",
        "pca",
    }
    assert min(c["fraction"] for c in plan if c["fraction"] is not None) == 0.01
    assert Counter(c.equal_steps for c in plan)[True] == 5
    augmented = [c for c in plan if c.selector == "augmentation"]
    assert {(c["augment_selector"], c["augment_mode"]) for c in augmented} == {
        (selector, mode) for selector in ("random", "cluster_grid") for mode in ("replace", "add")
    }
    assert Counter(c["augment_contrast"] for c in augmented)[True] == 1


def test_extended_crosses_grid_sizes_with_numbers_of_images() -> None:
    plan = plan_of("extended", seeds=[0])
    defaults = SelectionConfig(dataset=PHOTOS, image_size=150, selector="cluster_grid")
    sizes = (None, 2, 4, 8, 16, 32)
    wanted = {
        defaults.replace(fraction=fraction, grid_size=size).trial_id
        for fraction in (0.25, 0.1, 0.05, 0.02)
        for size in sizes
    }

    assert len(wanted) == 4 * len(sizes)
    assert wanted <= {config.trial_id for config in plan}
    random = {config["fraction"] for config in plan if config.selector == "random"}
    assert {0.25, 0.1, 0.05, 0.02} <= random, "each has as many random images beside it"


def test_the_coreset_preset_evaluates_as_distilled_images_are() -> None:
    plan = [config.resolve() for config in plan_of("coreset")]

    assert {config.recipe for config in plan} == {"distillation"}
    assert {config.dataset for config in plan} == {"cifar10"}
    assert {config["ipc"] for config in plan} == {1, 10, 50}
    assert {config["eval_epochs"] for config in plan} == {1000}
    for ipc, expected in ((1, PAPERS | {"hdbscan"}), (10, DIVIDE_CLASSES), (50, DIVIDE_CLASSES)):
        of_size = [c for c in plan if c["ipc"] == ipc]
        assert {c["clusterer"] for c in of_size if c.selector == "nearest_center"} == expected
        assert {c["clusterer"] for c in of_size if c["strength_weights"]} == (
            {"hdbscan"} if ipc > 1 else set()
        )
    picks = Counter(
        (c["pick"], c["quota"], c["difficulty"]) for c in plan if c.selector == "nearest_center"
    )
    del picks["nearest", "one", None]
    assert picks == dict.fromkeys(PICKS_OF_METHODS, 2 * 5), "ipc 10 and 50, five seeds"
    weighted = [c for c in plan if c.trains_with_weights]
    assert {c["ipc"] for c in weighted} == {10, 50}
    assert {c.selector for c in weighted} == {"herding", "k_center", "nearest_center"}
    by_size = [c for c in weighted if not c["strength_weights"]]
    assert {c.replace(weights_in="matching").trial_id for c in by_size} < {c.trial_id for c in plan}
    assert len(weighted) - len(by_size) == 2 * 5


@pytest.mark.parametrize("name", ["k_center", "herding"])
def test_clusterers_left_out_of_the_rows_choose_what_selectors_choose(name: str) -> None:
    points, labels = blobs(0, n=90), torch.arange(90) % 2
    nearest, selector = (
        build_selector(SelectionConfig(selector=selector, **options).resolve())
        for selector, options in (("nearest_center", {"clusterer": name}), (name, {}))
    )
    ours, theirs = (
        one.select(points, labels, [5, 7], torch.Generator().manual_seed(0))
        for one in (nearest, selector)
    )

    assert sorted(ours.rows.tolist()) == sorted(theirs.rows.tolist())


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("gmm", "kmeans"),
        ("spectral", "kmeans"),
        ("bisecting_kmeans", "kmeans"),
        ("minibatch_kmeans", "kmeans"),
        ("facility_location", "kmedoids"),
    ],
)
def test_one_image_a_class_is_the_same_by_what_the_rows_leave_out(name: str, like: str) -> None:
    points, labels = blobs(1, n=90), torch.arange(90) % 2
    chosen = [
        build_selector(SelectionConfig(selector="nearest_center", clusterer=clusterer).resolve())
        .select(points, labels, [1, 1], torch.Generator().manual_seed(0))
        .rows.tolist()
        for clusterer in (name, like)
    ]

    assert chosen[0] == chosen[1]


@pytest.mark.parametrize("preset", ["extended", "coreset"])
def test_rows_of_every_clusterer_select_images(preset: str) -> None:
    points = torch.cat([blobs(2, n=60, k=3), blobs(3, n=60, k=3)]).float()
    labels = torch.arange(120) // 60
    seen: dict[str, set[Any]] = {"cluster_grid": set(), "nearest_center": set()}
    for config in plan_of(preset, seeds=[0], set_values={"fraction": "0.1"}):
        resolved = config.resolve()
        if resolved["pick"] not in (None, "nearest") or resolved["quota"] not in (None, "one"):
            continue  # these need the difficulty of images
        if resolved.choosing_selector in seen:
            selector = build_selector(resolved)
            chosen = selector.select(points, labels, [6, 6], torch.Generator().manual_seed(0))
            assert len(set(chosen.rows.tolist())) == 12
            seen[resolved.choosing_selector].add(resolved["clusterer"])
    assert seen["nearest_center"] == DIVIDE_CLASSES
    assert seen["cluster_grid"] == (DIVIDE_ALL if preset == "extended" else set())


def test_a_preset_without_images_asks_for_them() -> None:
    with pytest.raises(UserError, match="preset 'paper' is for images of your own: give --dataset"):
        make_plan(PRESETS["paper"])


def test_options_are_set_where_they_belong() -> None:
    plan = plan_of(
        "quickstart", set_values={"grid_size": "3", "fraction": "0.2", "clusterer": "birch"}
    )

    assert {c["grid_size"] for c in plan if c.selector == "cluster_grid"} == {3}
    assert {c["clusterer"] for c in plan if c.selector == "cluster_grid"} == {"birch"}
    assert {(c["grid_size"], c["clusterer"]) for c in plan if c.selector == "random"} == {
        (None, None)
    }
    assert {c["fraction"] for c in plan if c.selector == "base"} == {None}
    # The three random fractions are one now.
    assert Counter(c.selector for c in plan)["random"] == 2 * 3


def test_a_number_of_images_replaces_the_fraction() -> None:
    plan = plan_of("quickstart", set_values={"ipc": "5"}, only=["method=herding"])

    assert {(config["fraction"], config["ipc"]) for config in plan} == {(None, 5)}


@pytest.mark.parametrize(
    ("set_values", "message"),
    [
        (
            {"selector": "base"},
            "--set does not take selector: choose among the methods of the preset",
        ),
        ({"method": "base"}, "--set does not take method"),
        (
            {"linkage": "ward"},
            "changes no trial of the plan: it belongs to clusterer agglomerative",
        ),
        ({"width": "8"}, "it belongs to network convnet; the plan has selector base, random"),
        ({"weights": "T"}, "unknown field in --set 'weights'"),
        ({"weight": "T"}, "unknown field in --set 'weight'"),
        ({"embedding": "featres"}, "unknown embedding 'featres'; did you mean 'features'?"),
        ({"network": "resnet"}, "unknown network 'resnet'"),
    ],
)
def test_values_that_cannot_be_set(set_values: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as error:
        plan_of("quickstart", set_values=set_values)

    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("protocol", ["published", "sound"])
def test_every_selector_of_the_quick_start_runs(protocol: str) -> None:
    plan = plan_of("quickstart", seeds=[0], protocols=[protocol], set_values={"epochs": "1"})
    data = load_dataset("digits", val_fraction=0.1, device=torch.device("cpu"))

    rows = [runner.run(config, data).row for config in plan]

    assert {row["status"] for row in rows} == {"ok"}
    n_train = 357 - round(0.2 * 357) - round(0.1 * (357 - round(0.2 * 357)))
    by_selector = {
        (c.selector, c["fraction"]): row["n_trained_on"] for c, row in zip(plan, rows, strict=True)
    }
    assert by_selector["base", None] == pytest.approx(n_train, abs=4)
    assert by_selector["random", 0.5] == pytest.approx(n_train / 2, abs=2)
