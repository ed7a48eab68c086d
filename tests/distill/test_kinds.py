"""Kinds of trials: registration, columns, and configurations by the name of their kind."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from distill.components import option, resolve_reference
from distill.config.base import Config
from distill.config.distillation import DistillationConfig
from distill.config.selection import SelectionConfig
from distill.errors import UserError
from distill.kinds import COMMON_COLUMNS, KINDS, Kind, config_from_dict, kind_of
from distill.trials.base import Trial


@dataclass(frozen=True, kw_only=True, init=False)
class ToyConfig(Config):
    """A configuration of a kind with one field."""

    kind: ClassVar[str] = "toy"
    method_field: ClassVar[str] = "method"

    method: str = option("a", "what is compared")

    def _check(self) -> None: ...

    def resolve(self) -> "ToyConfig":
        return self


def toy(config: type[Config] = ToyConfig, **columns: Any) -> Kind:
    return Kind(config=config, trial=Trial, layout=None, **columns)


def test_a_registered_kind_is_there_for_a_context() -> None:
    with KINDS.registered(toy()):
        assert KINDS["toy"].config is ToyConfig
        assert config_from_dict({"kind": "toy", "method": "b"}) == ToyConfig(method="b")
        assert kind_of(ToyConfig()) is KINDS.get("toy")
    assert "toy" not in KINDS
    assert KINDS.get("toy") is None
    assert list(KINDS) == ["distillation", "selection", "evaluation"]
    assert len(KINDS) == 3


def test_a_taken_name_is_refused() -> None:
    with pytest.raises(ValueError, match="kind 'selection' is registered already"):
        KINDS.register(toy(SelectionConfig))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"result_columns": {"n_networks": float}},
            "column n_networks of kind 'toy' must be of type int, got float",
        ),
        (
            {"result_columns": {"plane_explained": str}},
            "column plane_explained of kind 'toy' must be of type float, got str",
        ),
        (
            {"result_columns": {"cluster_size_histogram": list[float]}},
            r"must be of type list\[int\], got list\[float\]",
        ),
        (
            {"curve_columns": {"epoch": float}},
            "column epoch of kind 'toy' must be of type int, got float",
        ),
        (
            {"result_columns": {"method": str}},
            "option method of kind 'toy' has the name of a result column",
        ),
    ],
)
def test_columns_that_clash_are_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KINDS.register(toy(**columns))
    assert "toy" not in KINDS


def test_a_field_of_another_type_is_refused() -> None:
    @dataclass(frozen=True, kw_only=True, init=False)
    class OtherConfig(ToyConfig):
        kind: ClassVar[str] = "other"
        eps: str = option("a", "in the distillation a number")

        def resolve(self) -> "OtherConfig":
            return self

    with pytest.raises(ValueError, match="column eps of kind 'other' must be of type float, got"):
        KINDS.register(toy(OtherConfig))


def test_a_kind_must_resolve_to_itself() -> None:
    """Otherwise its trials would be run and stored as those of the kind it inherits from."""

    class Derived(SelectionConfig):
        kind = "derived"

    with pytest.raises(ValueError, match="Derived must define resolve"):
        KINDS.register(toy(Derived))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "the kind of trial is missing (known: distillation, selection, evaluation)"),
        ({"ipc": 10}, "the kind of trial is missing (known: distillation, selection, evaluation)"),
        ({"kind": None}, "unknown kind of trial 'None' (known: distillation, selection, eval"),
        ({"kind": "distilation"}, "unknown kind of trial 'distilation'; did you mean 'distillat"),
        ({"kind": ["selection"]}, "unknown kind of trial \"['selection']\""),
        ({"kind": "selection", "n_outer": 3}, "unknown option 'n_outer'"),
    ],
)
def test_config_from_dict_names_what_is_wrong(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        config_from_dict(values)

    assert str(error.value).startswith(message)


@pytest.mark.parametrize("name", KINDS)
def test_columns_of_a_kind(name: str) -> None:
    """Configuration and results do not share names, and every option is a column."""
    kind = KINDS[name]

    assert kind.config_columns.keys() == kind.config.declared_fields().keys()
    assert not kind.config_columns.keys() & (COMMON_COLUMNS.keys() | kind.result_columns.keys())
    assert kind.config_columns["classes"] == list[str]
    assert kind.config_columns["eps"] is float
    assert kind.config().resolve().to_dict().keys() <= kind.config_columns.keys()


@pytest.mark.parametrize("name", KINDS)
def test_the_trial_of_a_kind_can_be_imported(name: str) -> None:
    assert issubclass(resolve_reference(KINDS[name].trial), Trial)


def test_kinds_do_not_import_torch() -> None:
    code = "import distill.kinds, sys; print('torch' in sys.modules, 'pyarrow' in sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout

    assert output.split() == ["False", "False"]


@pytest.mark.parametrize("config_class", [DistillationConfig, SelectionConfig])
def test_values_by_name(config_class: type[Config]) -> None:
    config = config_class()

    assert config["seed"] == 0
    assert config["eps"] is None, "does not apply"
    for name in ("epss", "given_options", "kind", ""):
        with pytest.raises(UserError, match="unknown option"):
            config[name]
    with pytest.raises(UserError, match="unknown option 'given_options'"):
        config.replace(given_options=())


@pytest.mark.parametrize("config_class", [DistillationConfig, SelectionConfig])
def test_parse_value_of_none_leaves_an_option_out(config_class: type[Config]) -> None:
    """Options of components are left out by `none`, but for those that have such a value."""
    assert config_class.parse_value("min_samples", "none") is None
    assert config_class.parse_value("linkage", "None") is None
    assert config_class.parse_value("pooling", "none") == "none"
    assert config_class.parse_value("image_size", "none") is None
    with pytest.raises(UserError, match="seed must be a whole number, got 'none'"):
        config_class.parse_value("seed", "none")


def test_none_is_no_component() -> None:
    with pytest.raises(UserError, match="clusterer must be of type str, got None"):
        DistillationConfig(clusterer=None)
    assert SelectionConfig(selector="cluster_grid", clusterer=None) == SelectionConfig(
        selector="cluster_grid"
    )


def test_options_of_networks_apply_to_all_that_are_evaluated() -> None:
    """An option is that of the network, or of one that the images are tested with."""
    both = DistillationConfig(
        network="resnet10", eval_networks=("convnet",), width=16, norm="batch"
    )

    assert both.resolve()["depth"] == 3
    assert both["norm"] == "batch"
    with pytest.raises(UserError) as error:
        DistillationConfig(network="resnet10", eval_networks=("resnet18",), width=16)
    assert str(error.value) == (
        "width does not apply to network 'resnet10', network 'resnet18', only to network convnet; "
        "leave it out"
    )
    with pytest.raises(UserError, match="unknown norm 'none'"):
        DistillationConfig(network="resnet10", eval_networks=("convnet",), norm="none")


def test_the_published_variant_decides_which_options_apply() -> None:
    published = DistillationConfig(protocol="published", clusterer="dbscan", eps=12.5)

    assert (published.clusterer, published.resolve().clusterer) == ("dbscan", "dbscan_published")
    assert published.resolve()["eps"] == 12.5
    with pytest.raises(UserError) as error:
        published.replace(eps=None, eps_quantile=0.5)
    assert str(error.value) == (
        "eps_quantile does not apply to clusterer 'dbscan_published', only to clusterer dbscan; "
        "leave it out"
    )
