"""Paper 2's grid: one trial per way of selecting real images, fraction, parameters and seed.

    uv run sweeps/cats_vs_dogs.py                           # quick start on a laptop
    uv run sweeps/cats_vs_dogs.py --preset paper --dataset folder:photos
    ray job submit --working-dir . -- python sweeps/cats_vs_dogs.py --preset coreset --results s3://…

Running it again runs the missing trials and nothing else, see `sweeps.grid.command`.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # a script's own folder is on the path, the project's is not always
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from distill.config.selection import SelectionConfig
from sweeps.grid.command import GridCommand
from sweeps.grid.selection_presets import PRESETS


def _print_tables(
    results: pd.DataFrame, plan: Sequence[SelectionConfig], failures: Mapping[str, Any]
) -> None:
    from analysis.findings.answers import answers
    from analysis.tables.printing import print_tables

    print_tables(results, plan=plan, failures=failures, opening=answers)


COMMAND = GridCommand(
    verb="photos",
    description="Select real images in several ways and train a classifier on them, on Ray; run "
    "again to resume. Without options: paper 2's six rows under both protocols on two of "
    "scikit-learn's digits, in two minutes on two CPU cores.",
    presets=PRESETS,
    only_example="method=random|cluster_grid,fraction=0.1",
    fields_help="fields of distill.config.selection.SelectionConfig",
    print_tables=_print_tables,
    next_options="--preset paper --dataset parquet:FILE --dry-run",
)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command with the arguments, or those of this process; returns its exit code."""
    return COMMAND.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
