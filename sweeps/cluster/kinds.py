"""What the kinds of trials have in common for a sweep: check, run, and files of results.

A distillation (`DistillationConfig`) and a choice of real images (`SelectionConfig`) go through the same
runner and store; this is the one place that tells them apart.
"""

import io
import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distill.config.distillation import Config, DistillationConfig
from distill.config.selection import SelectionConfig
from distill.datasets import ImageData
from distill.dream.loop import check_fit
from distill.runtime.execution import AUTOMATIC, Execution
from distill.trials.distillation import run_trial
from distill.trials.distilled_files import distilled_bytes
from distill.trials.selection import SelectionTrial, run_selection


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What a trial of any kind leaves behind.

    Attributes:
        row: one record.
        curve: one record per outer iteration, or per epoch of every classifier.
        files: folder of the store → content of the trial's Parquet file in it.
    """

    row: dict[str, Any]
    curve: list[dict[str, Any]]
    files: dict[str, bytes]


def check_config(config: Config, data: ImageData) -> None:
    """Raises a UserError for a configuration that does not fit its images."""
    if isinstance(config, DistillationConfig):
        check_fit(config.resolved(), data)
    elif isinstance(config, SelectionConfig):
        SelectionTrial(config, data, lambda _: None)
    else:
        raise _unknown(config)


def run_config(
    config: Config, data: ImageData, *, execution: Execution = AUTOMATIC, **options: Any
) -> Outputs:
    """Runs a trial, or what is left of it.

    Args:
        config: what to run.
        data: the images, on the device to run on.
        execution: how the arithmetic of a distillation is carried out.
        options: those that `run_trial` and `run_selection` share.

    Raises:
        UserError, OSError, InterruptedTrialError: as they do.
    """
    if isinstance(config, DistillationConfig):
        return _distill(config, data, execution=execution, **options)
    if isinstance(config, SelectionConfig):
        return _choose(config, data, **options)
    raise _unknown(config)


def _distill(config: DistillationConfig, data: ImageData, **options: Any) -> Outputs:
    result = run_trial(config, data, **options)
    files = {}
    if result.images is not None:
        metadata = {"trial_id": config.trial_id, "factor": str(config.resolved().factor)}
        files["distilled"] = distilled_bytes(
            result.images, result.labels, data.class_names, metadata=metadata
        )
    return Outputs(row=result.row, curve=result.curve, files=files)


def _choose(config: SelectionConfig, data: ImageData, **options: Any) -> Outputs:
    result = run_selection(config, data, **options)
    files = {}
    if result.selection is not None and result.samples is not None:
        about = {"class_names": result.samples.class_names, "grids": result.grids}
        files["selections"] = _parquet_bytes(result.selection, about)
        metadata = {"trial_id": config.trial_id}
        files["samples"] = distilled_bytes(*result.samples, metadata=metadata)
    return Outputs(row=result.row, curve=result.curve, files=files)


def _parquet_bytes(columns: dict[str, list[Any]], about: dict[str, Any]) -> bytes:
    """Returns columns as a Parquet file that says in JSON, under `distill`, what they are about."""
    buffer = io.BytesIO()
    table = pa.table(columns, metadata={"distill": json.dumps(about)})
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _unknown(config: Config) -> TypeError:
    return TypeError(f"config must be of a known kind, got {type(config).__name__}")
