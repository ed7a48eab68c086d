"""Configurations of distillations: values accepted and refused, defaults, identity."""

import json
import subprocess
import sys

import pytest

from distill.clustering.registry import CLUSTERERS
from distill.components import option_type
from distill.config.distillation import DistillationConfig, ResolvedDistillation
from distill.config.seeds import derive_seed
from distill.dream.loop import build_clusterer
from distill.errors import UserError


def test_resolve_fills_in_the_defaults_of_the_paper() -> None:
    config = DistillationConfig(dataset="cifar10", ipc=50).resolve()

    assert (config.n_outer, config.n_inner, config.n_representatives) == (1000, 100, 128)
    assert (config["width"], config["depth"], config["norm"]) == (128, 3, "instance")
    assert config.metric == "mse"
    assert config.lr_img == pytest.approx(0.025)
    assert (config.n_net_batches, config.net_batch_size) == (16, 128)
    assert (config.eval_epochs, config.eval_batch_size) == (1000, 64)


def test_defaults_depend_on_the_data_set() -> None:
    mnist = DistillationConfig(dataset="mnist", ipc=10).resolve()

    assert mnist.metric == "l1"
    assert mnist.lr_img == pytest.approx(1e-4)
    assert mnist.eval_augment == "color_crop_scale_rotate"


def test_lr_img_grows_with_the_area_of_the_images() -> None:
    def lr(dataset: str, image_size: int | None = None) -> float | None:
        return DistillationConfig(dataset=dataset, ipc=10, image_size=image_size).resolve().lr_img

    assert lr("cifar10", 64) == pytest.approx(0.02)
    assert lr("mnist", 56) == pytest.approx(4e-4)
    assert lr("digits") == pytest.approx(3e-4)
    assert lr("parquet:x") == pytest.approx(5e-3)


def test_a_given_value_is_never_replaced() -> None:
    config = DistillationConfig(n_outer=0, lr_img=0.5, eval_every=0).resolve()

    assert (config.n_outer, config.lr_img, config.eval_every) == (0, 0.5, 0)


def test_replacing_ipc_changes_the_derived_learning_rate() -> None:
    config = DistillationConfig(dataset="cifar10", ipc=1).replace(ipc=10)

    assert config.resolve().lr_img == pytest.approx(5e-3)


@pytest.mark.parametrize("name", CLUSTERERS)
@pytest.mark.parametrize("protocol", ["sound", "published"])
def test_resolving_twice_changes_nothing(name: str, protocol: str) -> None:
    config = DistillationConfig(clusterer=name, protocol=protocol, weights="size").resolve()

    assert config.resolve() == config
    assert ResolvedDistillation.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("name", CLUSTERERS)
@pytest.mark.parametrize("protocol", ["sound", "published"])
def test_a_resolved_distillation_has_no_missing_number(name: str, protocol: str) -> None:
    config = DistillationConfig(clusterer=name, protocol=protocol).resolve()

    for field_name, declared in config.static_fields().items():
        if not option_type(declared).is_optional:
            assert config[field_name] is not None, field_name


@pytest.mark.parametrize("name", CLUSTERERS)
def test_every_clusterer_can_be_built_from_a_config(name: str) -> None:
    config = DistillationConfig(clusterer=name).resolve()

    assert build_clusterer(config) == CLUSTERERS.build(
        name, **config.options_for(CLUSTERERS, config.clusterer)
    )


def test_the_published_protocol_runs_what_paper_1_ran() -> None:
    variants = CLUSTERERS.published_variants()
    assert set(variants) == {"kmeans", "kmeans++", "kmedoids", "dbscan", "agglomerative"}
    for name, variant in variants.items():
        config = DistillationConfig(protocol="published", clusterer=name)
        assert variant == f"{name}_published"
        assert config.resolve().clusterer == variant
    config = DistillationConfig(
        protocol="published", clusterer="dbscan", weights="size", embedding="gradients"
    ).resolve()

    assert (config["eps"], config["min_samples"], config["eps_quantile"]) == (15.0, 2, None)
    assert (config.weights, config.embedding) == ("published", "predictions")


def test_a_fixed_eps_switches_the_default_quantile_off() -> None:
    config = DistillationConfig(clusterer="dbscan", eps=3).resolve()

    assert (config["eps"], config["eps_quantile"]) == (3.0, None)


def test_equal_configs_are_one_trial_and_changes_another() -> None:
    plain = DistillationConfig()
    spelt_out = DistillationConfig(n_outer=4, linkage=None, feature_weight=1)
    ids = {
        plain.trial_id,
        DistillationConfig(seed=1).trial_id,
        DistillationConfig(ipc=2).trial_id,
        DistillationConfig(clusterer="agglomerative").trial_id,
        DistillationConfig(clusterer="agglomerative", linkage="single").trial_id,
    }

    assert spelt_out.trial_id == plain.trial_id == plain.resolve().trial_id
    assert len(ids) == 5


def test_the_identity_is_the_same_in_a_fresh_process() -> None:
    code = (
        "from distill.config.distillation import DistillationConfig; "
        "print(DistillationConfig(ipc=7).trial_id)"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout

    assert output.strip() == DistillationConfig(ipc=7).trial_id


def test_json_and_back() -> None:
    config = DistillationConfig(clusterer="dbscan", eps=2.5, eval_networks=("resnet10",))

    assert DistillationConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ipc": 0}, "ipc must be at least 1, got 0"),
        ({"ipc": 1.5}, "ipc must be of type int, got 1.5"),
        ({"ipc": True}, "ipc must be of type int, got True"),
        ({"lr_img": float("nan")}, "lr_img must be finite, got nan"),
        ({"clusterer": "dbscan", "eps": -1.0}, "eps must be above 0, got -1.0"),
        ({"val_fraction": 1.0}, "val_fraction must be at least 0 and below 1, got 1.0"),
        ({"clusterer": "kmean"}, "unknown clusterer 'kmean'; did you mean 'kmeans'?"),
        ({"dataset": "cifar"}, "unknown dataset 'cifar'; did you mean 'cifar10'?"),
        ({"network": "resnet"}, "unknown network 'resnet'; did you mean 'resnet18'?"),
        ({"eval_networks": ["vgg"]}, "unknown network 'vgg'"),
        ({"weights": "sizes"}, "unknown weights 'sizes'; did you mean 'size'?"),
        ({"eps": 1.0}, "eps does not apply to clusterer 'kmeans', only to clusterer dbscan"),
        (
            {"clusterer": "dbscan", "eps": 1.0, "eps_quantile": 0.5},
            "give eps or eps_quantile, not both; got 1.0 and 0.5",
        ),
        (
            {"clusterer": "dbscan", "protocol": "published", "eps_quantile": 0.5},
            "eps_quantile does not apply to clusterer 'dbscan_published'",
        ),
        (
            {"projection_dim": 8},
            "projection_dim does not apply to embedding 'features', only to embedding gradients",
        ),
        ({"eval_split": "val"}, "val_fraction is 0; set val_fraction"),
        ({"weights_in": "train"}, "unknown weights_in 'train'; did you mean 'training'?"),
        (
            {"weights_in": "training"},
            "weights_in 'training' needs weights 'size', got weights 'none'; set weights size",
        ),
        (
            {"weights_in": "both", "weights": "published"},
            "weights_in 'both' needs weights 'size', got weights 'published'",
        ),
        (
            {"weights_in": "both", "weights": "size", "protocol": "published"},
            "the published protocol has no weights in training, got weights_in 'both'; use "
            "protocol sound",
        ),
        *(
            (
                {"weights_in": "both", "weights": "size", "init": init},
                f"weights_in 'both' needs a start from clusters, whose sizes are the weights, got "
                f"init {init!r}; use init clusters, centroids or kmeans",
            )
            for init in ("random", "noise")
        ),
        (
            {
                "weights_in": "training",
                "weights": "size",
                "clusterer": "agglomerative_published",
            },
            "starts from the first images; use init kmeans",
        ),
        ({"icp": 1}, "unknown option 'icp'; did you mean 'ipc'?"),
    ],
)
def test_bad_values_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as error:
        DistillationConfig.from_dict(values)

    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("ipc", "10", 10),
        ("lr_img", "1e-3", 1e-3),
        ("lr_img", "none", None),
        ("clusterer", "kmeans++", "kmeans++"),
        ("eval_networks", "resnet10,resnet18", ("resnet10", "resnet18")),
    ],
)
def test_parse_value_returns_the_type_of_the_field(name: str, text: str, value: object) -> None:
    assert DistillationConfig.parse_value(name, text) == value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("ipc", "ten", "ipc must be a whole number, got 'ten'"),
        ("eps", "big", "eps must be a number, got 'big'"),
        ("linkag", "ward", "unknown option 'linkag'; did you mean 'linkage'?"),
    ],
)
def test_parse_value_refuses_text_of_another_type(name: str, text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        DistillationConfig.parse_value(name, text)

    assert message in str(error.value)


def test_seeds_of_different_purposes_differ() -> None:
    seeds = {derive_seed(seed, purpose) for seed in range(50) for purpose in ("weights", "batches")}

    assert len(seeds) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(1, 11) != derive_seed(11, 1)
