"""Search for good parameters with Optuna, then confirm the best on the test images.

    uv run sweeps/search.py dbscan                          # a search on a laptop
    uv run sweeps/search.py joint --dataset cifar10 --trials 200 --objectives accuracy,seconds
    uv run sweeps/search.py my_space.py --storage postgresql://user@host/studies --results s3://…

The same command resumes after an interruption, and a larger --trials continues a finished search.
See `sweeps.optuna_search.command`, and `sweeps.optuna_search.spaces` for how to write a space.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # a script's own folder is on the path, the project's is not always
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweeps.optuna_search.command import SearchCommand

if TYPE_CHECKING:
    from analysis.statistics.intervals import Difference


def _paired(values: Sequence[float], baseline: Sequence[float]) -> "Difference":
    from analysis.statistics.intervals import paired_difference

    return paired_difference(values, baseline)


COMMAND = SearchCommand(pairing=_paired)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command with the arguments, or those of this process; returns its exit code."""
    return COMMAND.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
