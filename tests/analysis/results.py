"""Results of sweeps as `load_results` gives them, built from plain values."""

from collections.abc import Iterable
from typing import Any

import pandas as pd
import pyarrow as pa

from distill.config.base import SCHEMA_VERSION, Config
from distill.config.distillation import DistillationConfig
from distill.config.evaluation import EvaluationConfig
from distill.config.selection import SelectionConfig
from distill.config.sets import SETS
from sweeps.store.schema import trial_schema

Row = dict[str, Any]


def planned(config: Config) -> Row:
    """A configuration as records of submissions hold it."""
    return {"kind": config.kind, **config.to_dict()}


def failure_of(config: Config, **values: Any) -> Row:
    """The record of an attempt that failed, as workers write it."""
    return {"phase": "grid", "config": config.to_dict()} | values


def config_of(
    clusterer: str, weights: str = "none", seed: int = 0, **fields: Any
) -> DistillationConfig:
    """A distillation of CIFAR-10, ten images a class, under the sound protocol."""
    values = {"dataset": "cifar10", "ipc": 10, "clusterer": clusterer, "weights": weights}
    return DistillationConfig.from_dict(values | {"seed": seed} | fields)


def row_of(config: DistillationConfig, accuracy: float | None, **values: Any) -> Row:
    """A finished trial's row; the best of four tests is three points above the last one."""
    row: Row = dict.fromkeys(trial_schema().names) | config.resolve().to_dict()
    row |= {
        "trial_id": config.trial_id,
        "schema_version": SCHEMA_VERSION,
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


def selection_config_of(selector: str, seed: int = 0, **fields: Any) -> SelectionConfig:
    """A selection from photos, a tenth of the images where the selector takes a fraction."""
    values = {"dataset": "folder:photos", "selector": selector, "seed": seed}
    return SelectionConfig.from_dict(values | fields)


def selection_rows_of(
    selector: str, accuracies: Iterable[float | None], values: Row | None = None, **fields: Any
) -> list[Row]:
    """Rows of seeds 0, 1, …; without an accuracy the trial diverged."""
    rows = []
    for seed, accuracy in enumerate(accuracies):
        config = selection_config_of(selector, seed, **fields)
        row: Row = dict.fromkeys(trial_schema().names) | config.resolve().to_dict()
        row |= {
            "trial_id": config.trial_id,
            "schema_version": SCHEMA_VERSION,
            "kind": "selection",
            "status": "ok" if accuracy is not None else "diverged",
            "phase": "grid",
            "test_accuracy_mean": accuracy,
            "test_loss_mean": 0.5,
            "n_trained_on": 1350,
            "total_seconds": 10.0,
            "gpu_share": 0.5,
        }
        rows.append(row | (values or {}))
    return rows


def evaluation_rows_of(
    set_name: str, accuracies: Iterable[float], values: Row | None = None, **fields: Any
) -> list[Row]:
    """Rows of seeds 0, 1, … of a set on CIFAR-10; of a path with what its files would say."""
    rows = []
    if set_name not in SETS:
        fields = {"set_hash": "0123456789abcdef", "ipc": 1, "factor": 1} | fields
    for seed, accuracy in enumerate(accuracies):
        config = EvaluationConfig(dataset="cifar10", set=set_name, seed=seed, **fields)
        row: Row = dict.fromkeys(trial_schema().names) | config.resolve().to_dict()
        row |= {
            "trial_id": config.trial_id,
            "schema_version": SCHEMA_VERSION,
            "kind": "evaluation",
            "status": "ok",
            "phase": "grid",
            "test_accuracy_mean": accuracy,
            "n_test": 10_000,
            "n_networks": 5,
            "coverage_mean": 1.5,
            "representativeness": 0.25,
            "total_seconds": 10.0,
            "gpu_share": 0.5,
        }
        rows.append(row | (values or {}))
    return rows


def frame_of(rows: Iterable[Row]) -> pd.DataFrame:
    """The frame that `load_results` gives for these rows."""
    table = pa.Table.from_pylist(list(rows), schema=trial_schema())
    integers = {pa.int64(): pd.Int64Dtype()}
    frame: pd.DataFrame = table.sort_by("trial_id").to_pandas(types_mapper=integers.get)
    return frame


def as_it_is(table: pa.Table) -> pa.Table:
    """What `Sweeps.artifact` builds of a table."""
    return table
