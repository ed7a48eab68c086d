"""The schema of the results is what a trial really gives."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from distill.config.distillation import DistillationConfig
from distill.config.selection import SelectionConfig
from distill.datasets import ImageData
from distill.trials import runner
from distill.trials.distillation import CURVE_COLUMNS
from distill.trials.selection import CURVE_COLUMNS as SELECTION_CURVE_COLUMNS
from sweeps.store.schema import curve_schema, trial_schema

OF_THE_SWEEP = {
    "kind": "distillation",
    "sweep": "test",
    "phase": "grid",
    "attempt": 1,
    "host": "here",
    "gpu_share": 0.25,
    "finished_at": "2026-01-01T00:00:00+00:00",
    "ray_version": "2.60.0",
}
OF_SUBSETS = set(trial_schema().names[trial_schema().names.index("ray_version") + 1 :])
"""Columns that only a choice of real images has."""


def test_a_real_trial_has_exactly_the_columns_and_types(
    digits: ImageData, tiny: Callable[..., DistillationConfig]
) -> None:
    result = runner.run(tiny(eval_networks=["resnet10"], norm="batch"), digits)
    row = result.row | OF_THE_SWEEP
    row["network_scores"] = "{}"

    ours = [name for name in trial_schema().names if name not in OF_SUBSETS]
    assert set(row) == set(ours)
    assert set(result.row) & set(OF_THE_SWEEP) == set()
    assert written(row, trial_schema()) == row
    assert ["trial_id", *CURVE_COLUMNS] == curve_schema().names[: len(CURVE_COLUMNS) + 1]
    curve = [{"trial_id": row["trial_id"], **point} for point in result.curve]
    assert [written(point, curve_schema()) for point in curve] == curve
    for name, value in row.items():
        if isinstance(value, float):
            assert trial_schema().field(name).type == pa.float64(), f"{name} would be cut"


def test_a_real_choice_of_images_has_columns_of_the_schema(digits: ImageData) -> None:
    config = SelectionConfig(selector="cluster_grid", fraction=0.2, epochs=1, classes=("3", "8"))
    result = runner.run(config, digits)
    row = result.row | OF_THE_SWEEP | {"network_scores": "{}"}

    assert set(trial_schema().names) >= set(row) >= OF_SUBSETS
    assert written(row, trial_schema()) == row
    assert set(SELECTION_CURVE_COLUMNS) <= set(curve_schema().names)
    assert [written(point, curve_schema()) for point in result.curve] == result.curve


def written(row: dict[str, Any], schema: pa.Schema) -> dict[str, Any]:
    """What comes back of a row, without the columns that it does not have."""
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
    types = {name: trial_schema().field(name).type for name in trial_schema().names}

    assert types["ipc"] == types["eval_every"] == pa.int64()
    assert types["eps"] == types["momentum_img"] == pa.float64()
    assert types["clusterer"] == types["norm"] == pa.string()
    assert types["eval_networks"] == pa.list_(pa.string())
