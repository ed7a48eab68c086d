"""Paper 1's grid: one trial per clustering method, weight, ipc, parameters and seed.

    uv run sweeps/full_grid.py                              # quick start on a laptop
    ray job submit --working-dir . -- python sweeps/full_grid.py --preset paper --results s3://…

Running it again runs the missing trials and nothing else, see `sweeps.grid.command`.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # a script's own folder is on the path, the project's is not always
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from distill.config.distillation import DistillationConfig
from sweeps.grid.command import GridCommand
from sweeps.grid.distillation_presets import PRESETS


def _print_tables(
    results: pd.DataFrame, plan: Sequence[DistillationConfig], failures: Mapping[str, Any]
) -> None:
    from analysis.findings.answers import answers
    from analysis.tables.printing import print_tables

    print_tables(results, plan=plan, failures=failures, opening=answers)


COMMAND = GridCommand(
    verb="grid",
    description="Run a grid of distillation trials on Ray; run again to resume. Without "
    "options: paper 1's nine rows on scikit-learn's digits, in minutes on two CPU cores.",
    presets=PRESETS,
    only_example="method=dbscan|kmeans,ipc=10",
    fields_help="`python -m distill --help` lists them",
    print_tables=_print_tables,
    next_options="--preset paper --dry-run",
)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command with the arguments, or those of this process; returns its exit code."""
    return COMMAND.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
