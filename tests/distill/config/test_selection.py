"""Configurations of selections: the options of each selector, defaults, identity."""

import json
import subprocess
import sys

import pytest

from distill.clustering.registry import CLUSTERERS
from distill.components import fields_of, known_names, option_type
from distill.config.base import Config
from distill.config.distillation import DistillationConfig
from distill.config.selection import SelectionConfig
from distill.errors import UserError
from distill.kinds import config_from_dict
from distill.selection.registry import POOL_EMBEDDINGS, PUBLISHED_FORMS
from distill.trials.image_selection import build_selector

SELECTOR_NAMES = known_names(SelectionConfig.static_fields()["selector"])
AUGMENTATION_ID = "03cf04e2ca6e6caf"
"""Identity of the default augmentation, from before its latest options."""


def test_defaults_are_those_of_paper_2() -> None:
    config = SelectionConfig(selector="cluster_grid").resolve()

    assert (config["fraction"], config.test_fraction) == (0.1, 0.1)
    assert (config["embedding"], config["clusterer"], config["n_clusters"]) == (
        "pixels",
        "kmeans",
        2,
    )
    assert (config["pca_dim"], config["grid_size"]) == (2, None)
    assert (config.network, config["epochs"], config.batch_size, config.lr) == (
        "photo_cnn",
        20,
        32,
        1e-3,
    )


@pytest.mark.parametrize("selector", SELECTOR_NAMES)
def test_resolving_twice_changes_nothing(selector: str) -> None:
    config = SelectionConfig(selector=selector).resolve()

    assert config.resolve() == config
    assert config.trial_id == SelectionConfig(selector=selector).trial_id


@pytest.mark.parametrize("clusterer", CLUSTERERS)
def test_every_clusterer_can_be_used(clusterer: str) -> None:
    for selector in ("cluster_grid", "nearest_center"):
        config = SelectionConfig(selector=selector, clusterer=clusterer).resolve()
        selector_object = build_selector(config)
        built = CLUSTERERS.build(clusterer, **config.options_for(CLUSTERERS, clusterer))
        assert vars(selector_object)["clusterer"] == built
        assert config.resolve() == config


def test_without_a_clusterer_there_are_no_options_of_it() -> None:
    config = SelectionConfig(selector="random").resolve()
    options = {name for known in CLUSTERERS.values() for name in fields_of(known.options)}

    assert config["clusterer"] is None
    assert {"eps", "linkage"} <= options
    assert not options & config.to_dict().keys()
    assert [config[name] for name in options] == [None] * len(options)


def test_a_fixed_eps_switches_the_default_quantile_off() -> None:
    config = SelectionConfig(selector="nearest_center", clusterer="dbscan", eps=3).resolve()

    assert (config["eps"], config["eps_quantile"], config["min_samples"]) == (3.0, None, 2)


@pytest.mark.parametrize("embedding", POOL_EMBEDDINGS)
def test_an_embedding_brings_its_own_options(embedding: str) -> None:
    config = SelectionConfig.from_dict({"selector": "herding", "embedding": embedding}).resolve()

    assert config["feature_epochs"] == (5 if embedding == "features" else None)
    assert config["pca_dim"] == (32 if embedding == "pca" else None)


def test_pca_dim_of_the_grid_is_that_of_the_selector() -> None:
    assert SelectionConfig(selector="cluster_grid", embedding="pca").resolve()["pca_dim"] == 2
    assert SelectionConfig(selector="cluster_grid", embedding="features", pca_dim=3)["pca_dim"] == 3


def test_the_convnet_is_as_wide_as_in_the_distillation() -> None:
    widths = [
        (
            SelectionConfig(network="convnet", dataset=dataset).resolve()["width"],
            DistillationConfig(dataset=dataset).resolve()["width"],
        )
        for dataset in ("digits", "cifar10")
    ]

    assert widths == [(32, 32), (128, 128)]


def test_ipc_replaces_the_fraction() -> None:
    config = SelectionConfig(selector="herding", ipc=10).resolve()

    assert (config["ipc"], config["fraction"]) == (10, None)
    assert config.resolve() == config


def test_the_recipe_of_the_distillation_has_its_epochs() -> None:
    configs = [
        SelectionConfig(recipe="distillation", network="convnet", dataset=dataset).resolve()
        for dataset in ("digits", "cifar10")
    ]

    assert [config["epochs"] for config in configs] == [None, None]
    assert [config["eval_epochs"] for config in configs] == [
        DistillationConfig(dataset=dataset).resolve().eval_epochs
        for dataset in ("digits", "cifar10")
    ]


@pytest.mark.parametrize(
    ("protocol", "statistics"), [("sound", "recomputed"), ("published", "running")]
)
def test_published_protocol_scores_with_running_statistics(protocol: str, statistics: str) -> None:
    config = SelectionConfig.from_dict({"protocol": protocol}).resolve()

    assert config["norm_statistics"] == statistics


def test_equal_configs_are_one_trial_and_changes_another() -> None:
    configs = [
        SelectionConfig(),
        SelectionConfig(seed=1),
        SelectionConfig(fraction=0.2),
        SelectionConfig(equal_steps=True),
        SelectionConfig(protocol="published"),
        SelectionConfig(classes=("3", "8")),
        *(
            SelectionConfig(selector=selector)
            for selector in SELECTOR_NAMES
            if selector != "random"
        ),
    ]

    assert len({config.trial_id for config in configs}) == len(configs)
    assert SelectionConfig(fraction=0.1).trial_id == SelectionConfig().trial_id
    assert (
        SelectionConfig(classes=("8", "3")).trial_id == SelectionConfig(classes=("3", "8")).trial_id
    )


def test_the_kind_is_part_of_the_identity() -> None:
    """A trial of another kind with the same values is another trial."""

    class Other(SelectionConfig):
        kind = "other"

    assert Other().to_dict() == SelectionConfig().to_dict()
    assert Other().trial_id != SelectionConfig().trial_id


def test_the_identity_needs_no_torch_and_no_state() -> None:
    code = (
        "import sys; from distill.config.selection import SelectionConfig; "
        "print(SelectionConfig(seed=7).trial_id, 'torch' in sys.modules)"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout

    assert output.split() == [SelectionConfig(seed=7).trial_id, "False"]


@pytest.mark.parametrize(
    "config",
    [
        DistillationConfig(clusterer="dbscan", eps=2.5, eval_networks=("resnet10",)),
        SelectionConfig(selector="cluster_grid", classes=("3", "8"), grid_size=7, equal_steps=True),
    ],
    ids=["distillation", "selection"],
)
def test_json_and_back_by_kind(config: Config) -> None:
    values = json.loads(json.dumps({"kind": config.kind, **config.to_dict()}))

    assert config_from_dict(values) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "selections"}, "unknown kind of trial 'selections'; did you mean 'selection'?"),
        ({"kind": "selection", "factor": 1}, "unknown option 'factor'"),
        ({"selector": PUBLISHED_FORMS[0]}, f"unknown selector {PUBLISHED_FORMS[0]!r}"),
        ({"selector": "randm"}, "unknown selector 'randm'; did you mean 'random'?"),
        ({"selector": "cluster_grid", "clusterer": "kmean"}, "unknown clusterer 'kmean'"),
        (
            {"network": "vgg"},
            "unknown network 'vgg'; did you mean 'vgg11'?",
        ),
        ({"fraction": 0.0}, "fraction must be above 0 and at most 1, got 0.0"),
        ({"fraction": 0.1, "ipc": 3}, "give fraction or ipc, not both; got 0.1 and 3"),
        (
            {"selector": "base", "ipc": 3},
            "ipc does not apply to selector 'base', only to selector random",
        ),
        ({"eval_epochs": 3}, "eval_epochs does not apply to recipe 'classifier', only to recipe"),
        (
            {"recipe": "distillation"},
            "trains the networks of the distillation, got network 'photo_cnn'",
        ),
        (
            {"recipe": "distillation", "network": "convnet", "epochs": 3},
            "epochs does not apply to recipe 'distillation', only to recipe classifier",
        ),
        (
            {"recipe": "distillation", "network": "convnet", "equal_steps": True},
            "equal_steps applies to recipe 'classifier' only",
        ),
        (
            {"recipe": "distillation", "network": "convnet", "protocol": "published"},
            "the published protocol has no recipe 'distillation'",
        ),
        ({"norm_statistics": "recomputed", "network": "convnet"}, "only to network photo_cnn"),
        ({"batch_size": 1}, "batch_size must be at least 2, got 1"),
        ({"equal_steps": 1}, "equal_steps must be of type bool, got 1"),
        ({"classes": ["3"]}, "classes must name at least two, each once, got '3'"),
        ({"classes": ["3", "3"]}, "classes must name at least two, each once, got '3,3'"),
        (
            {"selector": "base", "fraction": 0.5},
            "fraction does not apply to selector 'base', only to selector",
        ),
        (
            {"clusterer": "kmeans"},
            "clusterer does not apply to selector 'random', only to selector cluster",
        ),
        ({"eps": 1.0}, "eps does not apply to selector 'random', only to clusterer dbscan"),
        (
            {"selector": "cluster_grid", "eps": 1.0},
            "eps does not apply to clusterer 'kmeans', only to clusterer dbscan",
        ),
        (
            {"selector": "herding", "pca_dim": 3},
            "pca_dim does not apply to selector 'herding', embedding 'features', only to selector "
            "cluster_grid; embedding pca; augmented selector cluster_grid; leave it out",
        ),
        (
            {"selector": "herding", "embedding": "pixels", "feature_epochs": 3},
            "feature_epochs does not apply to embedding 'pixels', only to embedding features",
        ),
        ({"width": 8}, "width does not apply to network 'photo_cnn', only to network convnet"),
        ({"eval_split": "val"}, "val_fraction is 0; set val_fraction"),
        (
            {"protocol": "published", "selector": "herding"},
            "the published protocol has no selector 'herding', only base, random, cluster_grid, "
            "augmentation; use protocol sound",
        ),
        (
            {"protocol": "published", "selector": "augmentation", "augment_mode": "add"},
            "trains on transformed images only, got augment_mode 'add'",
        ),
        (
            {
                "protocol": "published",
                "selector": "augmentation",
                "augment_selector": "cluster_grid",
            },
            "transforms random images only, got augment_selector 'cluster_grid'; use protocol",
        ),
        (
            {"protocol": "published", "selector": "augmentation", "augment_contrast": True},
            "has no contrast transform, got augment_contrast True; use protocol sound",
        ),
        (
            {"selector": "augmentation", "augment_selector": "base"},
            "unknown augmented selector 'base' (known: random, cluster_grid, herding, k_center",
        ),
        (
            {"selector": "augmentation", "grid_size": 3},
            "grid_size does not apply to selector 'augmentation', augmented selector 'random', "
            "only to selector cluster_grid; augmented selector cluster_grid; leave it out",
        ),
        (
            {"protocol": "published", "eval_split": "val", "val_fraction": 0.1},
            "scores on the test images, as the paper did, got eval_split 'val'",
        ),
        *(
            (
                {"selector": selector, "weights_in": "training"},
                f"weights_in 'training' needs a selector that compares images, got selector "
                f"{selector!r}",
            )
            for selector in ("base", "random", "augmentation")
        ),
        (
            {"protocol": "published", "selector": "cluster_grid", "weights_in": "both"},
            "the published protocol has no weights in training, got weights_in 'both'",
        ),
    ],
)
def test_bad_values_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as error:
        config_from_dict({"kind": "selection"} | values)

    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_options_of_the_augmented_selector_are_its_own() -> None:
    config = SelectionConfig(
        selector="augmentation", augment_selector="cluster_grid", clusterer="dbscan", eps=3.0
    ).resolve()

    assert config.choosing_selector == "cluster_grid"
    assert (config["fraction"], config["n_clusters"], config["embedding"]) == (0.1, 2, "pixels")
    assert (config["eps"], config["augment_copies"], config["augment_contrast"]) == (3.0, 5, False)


def test_new_options_of_the_augmentation_keep_its_identity() -> None:
    """The identity is that of the code before `augment_selector` and `augment_contrast`."""
    config = SelectionConfig(selector="augmentation")

    assert config.trial_id == AUGMENTATION_ID
    assert config.replace(augment_selector="random").trial_id == AUGMENTATION_ID
    assert config.replace(augment_contrast=False).trial_id == AUGMENTATION_ID
    assert config.replace(augment_contrast=True).trial_id != AUGMENTATION_ID
    assert config.replace(augment_selector="cluster_grid").trial_id != AUGMENTATION_ID


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("fraction", "0.25", 0.25),
        ("grid_size", "none", None),
        ("classes", "3,8", ("3", "8")),
        ("equal_steps", "true", True),
        ("equal_steps", "False", False),
    ],
)
def test_parse_value_returns_the_type_of_the_field(name: str, text: str, value: object) -> None:
    assert SelectionConfig.parse_value(name, text) == value


def test_parse_value_refuses_other_words_for_true() -> None:
    with pytest.raises(UserError, match="unknown equal_steps 'ja'"):
        SelectionConfig.parse_value("equal_steps", "ja")


def test_shared_names_have_one_type_and_the_same_words_in_both_kinds() -> None:
    """They share columns of the results: a word of one kind must be known to the other."""
    distillation, selection = (
        kind.declared_fields() for kind in (DistillationConfig, SelectionConfig)
    )
    shared = distillation.keys() & selection.keys()

    assert {"dataset", "clusterer", "eps", "seed", "eval_split", "network", "n_eval"} <= shared
    for name in shared:
        first, second = option_type(distillation[name]), option_type(selection[name])
        assert (first.plain, first.words) == (second.plain, second.words), name


def test_a_replaced_field_is_checked_again() -> None:
    with pytest.raises(UserError, match="epochs must be at least 1, got 0"):
        SelectionConfig().replace(epochs=0)


def test_weights_in_both_are_weights_in_training_as_nothing_is_matched() -> None:
    both, training, plain = (
        SelectionConfig(selector="herding", weights_in=where)
        for where in ("both", "training", "matching")
    )
    assert both.resolve().weights_in == "training"
    assert both.trial_id == training.trial_id != plain.trial_id
    assert plain.trial_id == SelectionConfig(selector="herding").trial_id
