"""Results of sweeps as `load_results` gives them, built from plain values."""

from collections.abc import Iterable
from typing import Any

import pandas as pd
import pyarrow as pa

from distill.config import TrialConfig
from sweeps.schema import TRIAL_SCHEMA

Row = dict[str, Any]


def config_of(clusterer: str, weights: str = "none", seed: int = 0, **fields: Any) -> TrialConfig:
    """A trial of study 1 on CIFAR-10, ten images a class, under the sound protocol."""
    values = {"dataset": "cifar10", "ipc": 10, "clusterer": clusterer, "weights": weights}
    return TrialConfig.from_dict(values | {"seed": seed} | fields)


def row_of(config: TrialConfig, accuracy: float | None, **values: Any) -> Row:
    """A finished trial's row; the best of four tests is three points above the last one."""
    row = dict.fromkeys(TRIAL_SCHEMA.names) | config.resolved().to_dict()
    row |= {
        "trial_id": config.trial_id,
        "schema_version": 1,
        "kind": "distillation",
        "status": "ok",
        "status_message": "",
        "phase": "grid",
        "test_accuracy_mean": accuracy,
        "test_accuracy_best_mean": None if accuracy is None else accuracy + 0.03,
        "fingerprint": "f",
    }
    unknown = values.keys() - row.keys()
    assert not unknown, unknown
    return row | values


def rows_of(clusterer: str, weights: str, accuracies: Iterable[float], **fields: Any) -> list[Row]:
    """Rows of seeds 0, 1, …"""
    return [
        row_of(config_of(clusterer, weights, seed, **fields), accuracy)
        for seed, accuracy in enumerate(accuracies)
    ]


def frame_of(rows: Iterable[Row]) -> pd.DataFrame:
    """The frame that `load_results` gives for these rows."""
    table = pa.Table.from_pylist(list(rows), schema=TRIAL_SCHEMA)
    integers = {pa.int64(): pd.Int64Dtype()}
    frame: pd.DataFrame = table.sort_by("trial_id").to_pandas(types_mapper=integers.get)
    return frame
