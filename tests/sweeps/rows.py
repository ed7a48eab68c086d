"""Rows as finished trials leave them, without running any."""

from typing import Any

from distill.config import SCHEMA_VERSION, Config
from sweeps.schema import TRIAL_SCHEMA


def row_of(
    config: Config, accuracy: float | None, *, seconds: float | None = 2.0, status: str = "ok"
) -> dict[str, Any]:
    """The row of a trial with a validation accuracy in [0, 1]."""
    values = {k: v for k, v in config.resolved().to_dict().items() if k in TRIAL_SCHEMA.names}
    return values | {
        "trial_id": config.trial_id,
        "schema_version": SCHEMA_VERSION,
        "status": status,
        "status_message": "" if status == "ok" else f"it is {status}",
        "val_accuracy_mean": accuracy,
        "total_seconds": seconds,
    }
