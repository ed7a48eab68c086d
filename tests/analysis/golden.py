"""Small results of distillations, and the files of their table.

    uv run python -m tests.analysis.golden      # writes the golden files again; then look at them

Nothing is random; the numbers in `tables/test_distillation.py` are worked out by hand.
"""

from pathlib import Path
from typing import Any

from analysis.data.trials import plan_of
from analysis.tables.build import Tables, build
from analysis.tables.files import write_table
from distill.config.distillation import DistillationConfig
from tests.analysis.results import Row, config_of, failure_of, frame_of, row_of, rows_of

FOLDER = Path(__file__).parent / "golden"

SEEDS = (0, 1, 2)


def _costs(seed: int) -> dict[str, float]:
    return {"total_seconds": 100.0 * (seed + 1), "gpu_share": 0.5, "matching_loss": 4.0 + seed}


def rows() -> list[Row]:
    """Rows of both protocols with gaps: missing seeds, a failed trial, methods without any."""
    found = [
        *rows_of("kmeans", "none", (0.60, 0.62, 0.64)),
        *rows_of("kmeans", "size", (0.61, 0.64, 0.65)),
        *rows_of("kmedoids", "none", (0.50, 0.52, 0.55)),
        *rows_of("dbscan", "size", (0.45,), eps=15.0),
        *rows_of("agglomerative", "none", (0.40,)),
        *rows_of("birch", "none", (0.61, 0.60, 0.64)),
        *rows_of("kmeans", "none", (0.63, 0.64), protocol="published"),
        *rows_of("kmedoids", "size", (0.55,), protocol="published"),
    ]
    for row in found:
        row |= _costs(row["seed"])
    infeasible = config_of("dbscan", "size", 1, eps=15.0)
    return [*found, row_of(infeasible, None, status="infeasible", total_seconds=3.0)]


def plan() -> list[DistillationConfig]:
    """The grid that these rows come from."""
    sound = [
        config_of(clusterer, weights, seed, **fields)
        for clusterer, weights, fields in (
            ("kmeans", "none", {}),
            ("kmeans", "size", {}),
            ("kmedoids", "none", {}),
            ("dbscan", "size", {"eps": 15.0}),
            ("dbscan", "none", {"eps": 15.0}),
            ("agglomerative", "none", {}),
            ("birch", "none", {}),
        )
        for seed in SEEDS
    ]
    published = [config_of("kmeans", "none", seed, protocol="published") for seed in SEEDS]
    return [*sound, *published, config_of("kmeans", "none", ipc=50)]


def failures() -> dict[str, dict[str, Any]]:
    """A trial that crashed: the third seed of agglomerative."""
    config = config_of("agglomerative", "none", 2)
    return {config.trial_id: failure_of(config, message="ZeroDivisionError: …")}


def tables() -> Tables:
    """The tables of these results."""
    return build(frame_of(rows()), plan_of(plan()), failures())


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for table in tables().tables:
        for file in write_table(table, FOLDER):
            print(file)
