"""Rows and curves as the sweep writes them, without running any trial."""

from typing import Any

import pyarrow as pa

from distill.config.base import SCHEMA_VERSION
from distill.config.distillation import DistillationConfig


def row_of(config: DistillationConfig, **changes: Any) -> dict[str, Any]:
    """A finished trial's row; columns that do not matter to the tests are left out."""
    return {
        "trial_id": config.trial_id,
        "schema_version": SCHEMA_VERSION,
        "kind": "distillation",
        "status": "ok",
        "status_message": "",
        "attempt": 1,
        **config.resolve().to_dict(),
        "test_accuracy_mean": 0.5 + config.seed % 500 / 1000,
        "test_accuracy_std": 0.01,
        "network_scores": {"convnet": {"accuracies": [0.49, 0.51]}},
        "n_corrupt": 0,
        "total_seconds": 12.5,
        **changes,
    }


def curve_of(n_outer: int = 2) -> list[dict[str, Any]]:
    """A curve with a point for the start, which has no loss."""
    return [
        {
            "outer": outer,
            "matching_loss": 0.1 * outer if outer else None,
            "accuracy_mean": 0.4 + outer / 100,
            "accuracy_std": None,
            "n_networks": 1,
        }
        for outer in range(n_outer + 1)
    ]


def images_of(content: bytes = b"images") -> dict[str, pa.Table]:
    """Artifacts of a distillation, with any content."""
    return {"distilled": pa.table({"image": [content]})}
