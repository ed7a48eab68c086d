"""The schema of the results is what a trial really gives."""

from collections.abc import Callable

import pyarrow as pa

from distill.config import TrialConfig
from distill.datasets import ImageData
from distill.trial import CURVE_COLUMNS, run_trial
from sweeps.schema import CURVE_SCHEMA, TRIAL_SCHEMA

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


def test_a_real_trial_has_exactly_the_columns_and_types(
    digits: ImageData, tiny: Callable[..., TrialConfig]
) -> None:
    result = run_trial(tiny(eval_networks=["resnet10"], norm="batch"), digits)
    row = result.row | OF_THE_SWEEP
    row["network_scores"] = "{}"

    assert set(row) == set(TRIAL_SCHEMA.names)
    assert set(result.row) & set(OF_THE_SWEEP) == set()
    assert pa.Table.from_pylist([row], schema=TRIAL_SCHEMA).to_pylist() == [row]
    assert ["trial_id", *CURVE_COLUMNS] == CURVE_SCHEMA.names
    curve = [{"trial_id": row["trial_id"], **point} for point in result.curve]
    assert pa.Table.from_pylist(curve, schema=CURVE_SCHEMA).to_pylist() == curve
    for name, value in row.items():
        if isinstance(value, float):
            assert TRIAL_SCHEMA.field(name).type == pa.float64(), f"{name} would be cut"


def test_names_are_unique_and_everything_may_be_null() -> None:
    for schema in (TRIAL_SCHEMA, CURVE_SCHEMA):
        assert len(set(schema.names)) == len(schema.names)
        assert all(field.nullable for field in schema)
        nothing = dict.fromkeys(schema.names)
        assert pa.Table.from_pylist([nothing], schema=schema).to_pylist() == [nothing]


def test_configuration_columns_have_the_types_of_their_fields() -> None:
    types = {name: TRIAL_SCHEMA.field(name).type for name in TRIAL_SCHEMA.names}

    assert types["ipc"] == types["eval_every"] == pa.int64()
    assert types["eps"] == types["momentum_img"] == pa.float64()
    assert types["clusterer"] == types["norm"] == pa.string()
    assert types["eval_networks"] == pa.list_(pa.string())
