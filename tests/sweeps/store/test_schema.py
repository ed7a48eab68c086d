"""The schema of results is derived from the kinds, and real trials have exactly its columns."""

import base64
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from distill.clustering.registry import CLUSTERERS
from distill.components import Component, option
from distill.config.base import Config
from distill.config.distillation import DistillationConfig
from distill.config.selection import SelectionConfig
from distill.datasets import ImageData
from distill.kinds import COMMON_COLUMNS, KINDS, Kind
from distill.trials import runner
from sweeps.store.schema import SWEEP_COLUMNS, curve_schema, trial_schema
from sweeps.store.store import Store, load_curves, load_results
from tests.sweeps.plain_results import row_of

OF_THE_SWEEP = {
    "sweep": "test",
    "phase": "grid",
    "attempt": 1,
    "host": "here",
    "gpu_share": 0.25,
    "finished_at": "2026-01-01T00:00:00+00:00",
    "ray_version": "2.60.0",
}


def columns_of(kind: Kind) -> set[str]:
    return {*COMMON_COLUMNS, *kind.config_columns, *kind.result_columns}


@pytest.mark.parametrize(
    "config",
    [
        DistillationConfig(
            ipc=1,
            width=8,
            depth=2,
            n_representatives=8,
            n_outer=1,
            n_inner=2,
            n_net_batches=1,
            net_batch_size=16,
            eval_epochs=2,
            n_eval=1,
            eval_networks=("resnet10",),
            norm="batch",
        ),
        SelectionConfig(
            selector="cluster_grid", fraction=0.2, epochs=1, classes=("3", "8"), val_fraction=0.1
        ),
    ],
    ids=lambda config: config.kind,
)
def test_real_trial_has_exactly_the_columns_and_types(config: Config, digits: ImageData) -> None:
    kind = KINDS[config.kind]
    result = runner.run(config, digits)
    row = result.row | OF_THE_SWEEP | {"network_scores": json.dumps(result.row["network_scores"])}
    row["correct_images"] = [base64.b64decode(text) for text in row["correct_images"]]

    assert set(OF_THE_SWEEP) == set(SWEEP_COLUMNS)
    assert set(result.row) == columns_of(kind)
    assert written(row, trial_schema()) == row
    assert result.curve
    for point in result.curve:
        assert set(point) == set(kind.curve_columns)
        assert written(point, curve_schema()) == point
    for name, value in row.items():
        if isinstance(value, float):
            assert trial_schema().field(name).type == pa.float64(), f"{name} would be cut"


def written(row: Mapping[str, Any], schema: pa.Schema) -> dict[str, Any]:
    """Returns a row as it comes back, without the columns that it does not have."""
    (back,) = pa.Table.from_pylist([row], schema=schema).to_pylist()
    assert all(back[name] is None for name in back.keys() - row.keys())
    return {name: back[name] for name in row}


def test_names_are_unique_and_everything_may_be_null() -> None:
    for schema in (trial_schema(), curve_schema()):
        assert len(set(schema.names)) == len(schema.names)
        assert all(field.nullable for field in schema)
        nothing = dict.fromkeys(schema.names)
        assert pa.Table.from_pylist([nothing], schema=schema).to_pylist() == [nothing]


def test_configuration_columns_have_the_types_of_their_fields() -> None:
    schema = trial_schema()
    types = {name: schema.field(name).type for name in schema.names}

    assert types["ipc"] == types["eval_every"] == pa.int64()
    assert types["eps"] == types["momentum_img"] == pa.float64()
    assert types["clusterer"] == types["norm"] == pa.string()
    assert types["eval_networks"] == pa.list_(pa.string())
    assert types["equal_steps"] == pa.bool_()


@dataclass(frozen=True, kw_only=True)
class _ToyOptions:
    toyness: float = option(0.5, "a number", above=0)


def test_option_of_a_registered_clusterer_is_a_column(store: Store) -> None:
    assert "toyness" not in trial_schema().names
    toy = Component(build="distill.clustering.kmeans:KMeans", options=_ToyOptions)
    with CLUSTERERS.registered("toy", toy):
        config = DistillationConfig(clusterer="toy", toyness=0.75)
        store.put_result(row_of(config), [])

        assert trial_schema().field("toyness").type == pa.float64()
        (found,) = load_results(store.uri).to_dict("records")
        assert (found["clusterer"], found["toyness"]) == ("toy", 0.75)
    named: list[str] = []
    left = load_results(store.uri, on_invalid=named.append)
    assert ("toyness" in left.columns, len(left), len(named)) == (False, 0, 1)
    assert named[0].endswith("belong to options that this code does not have")


@dataclass(frozen=True, kw_only=True, init=False)
class _ToyConfig(Config):
    kind: ClassVar[str] = "toy"
    method_field: ClassVar[str] = "flavour"

    flavour: str = option("plain", "a word", group="method")

    def _check(self) -> None:
        """Everything is allowed."""

    def resolve(self) -> "_ToyConfig":
        return self


TOY = Kind(
    config=_ToyConfig,
    trial="nowhere:Toy",
    layout="nowhere:LAYOUT",
    result_columns={"shine": float},
    curve_columns={"day": int},
)


def test_columns_of_a_registered_kind_come_back_from_the_store(store: Store) -> None:
    config = _ToyConfig(flavour="sweet")
    row = {"trial_id": config.trial_id, "kind": "toy", "status": "ok", "schema_version": 2}
    row |= config.to_dict() | {"shine": 1.5}
    picture = pa.table({"pixel": [1, 2]})
    with KINDS.registered(TOY):
        store.put_result(row, [{"day": 2}, {"day": 1}], {"toys": picture})

        (found,) = load_results(store.uri).to_dict("records")
        assert (found["flavour"], found["shine"]) == ("sweet", 1.5)
        assert load_curves(store.uri)["day"].to_list() == [2, 1], "in the order of the steps"
    stored = pa.parquet.read_table(
        pa.BufferReader(store.read_file(f"toys/{config.trial_id}.parquet"))
    )
    assert stored.equals(picture)


@pytest.mark.parametrize("name", ["trials", "curves", "../up", "a/b", "", "Big"])
def test_artifacts_do_not_replace_other_files(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of an artifact's folder"):
        store.put_result(row_of(DistillationConfig()), [], {name: pa.table({"a": [1]})})
    assert store.statuses() == {}


def test_two_types_of_one_column_are_an_error() -> None:
    clashing = dataclasses.replace(TOY, curve_columns={"outer": str})
    with (
        pytest.raises(ValueError, match="column outer of kind 'toy' must be of type"),
        KINDS.registered(clashing),
    ):
        pass

    @dataclass(frozen=True, kw_only=True)
    class Options:
        shine: int = option(1, "a whole number")

    toy = Component(build="distill.clustering.kmeans:KMeans", options=Options)
    with (
        KINDS.registered(TOY),
        CLUSTERERS.registered("toy", toy),
        pytest.raises(ValueError, match="column shine has type int in the configuration of 'dist"),
    ):
        trial_schema()
