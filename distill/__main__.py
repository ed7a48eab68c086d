"""`python -m distill`: one trial from the shell.

Distils a data set, tests the result with fresh networks and writes it to a folder: `result.json`,
`curve.csv`, `distilled.parquet` (the Hub's image layout), `distilled.png` and `config.json`. The
same command again goes on where it was interrupted, or says that it is finished.
"""

import json
import sys
from pathlib import Path
from typing import Any

from distill.cli.options import (
    OneLineParser,
    add_config_options,
    add_execution_options,
    given_values,
)
from distill.config.distillation import DistillationConfig
from distill.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code.

    0: finished; 1: the trial ended without a result (its `result.json` says why); 2: bad usage;
    130 or 143: interrupted, the same command goes on.
    """
    try:
        options = _parser().parse_args(arguments)
        config = _configuration(options.config, given_values(options))
        # torch takes seconds to import: only once the options are known to be right.
        from distill.cli.command import run_command

        return run_command(options, config)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog="python -m distill",
        usage="python -m distill [options]",
        description="Distil a data set: learn a few images per class that train a network nearly "
        "as well as all of them (DREAM with a choice of clusterings). Without options: real "
        "handwritten digits, about a minute on two CPU cores.",
        epilog="Example: python -m distill --dataset cifar10 --data-root data --clusterer kmedoids "
        "--ipc 10 --n-outer 40",
        allow_abbrev=False,
    )
    run = parser.add_argument_group("where and how to run (no influence on the result)")
    run.add_argument("--out", metavar="DIR", help="folder of the results (default: distilled/…)")
    run.add_argument("--overwrite", action="store_true", help="start anew in a used folder")
    run.add_argument("--config", metavar="FILE", help="start from a config.json of another run")
    run.add_argument("--data-root", metavar="DIR", default="data", help="torchvision's data sets")
    run.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:N")
    run.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads (default: one for small images and networks, else one per core)",
    )
    run.add_argument(
        "--no-baseline",
        dest="baseline",
        action="store_false",
        help="leave out the networks trained on random real images",
    )
    run.add_argument(
        "--checkpoint-seconds",
        type=float,
        default=5.0,
        metavar="X",
        help="seconds of work between two checkpoints (default: 5)",
    )
    add_execution_options(run)
    add_config_options(parser)
    return parser


def _configuration(path: str | None, given: dict[str, Any]) -> DistillationConfig:
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"config file {path} cannot be read: {error}") from None
    return DistillationConfig.from_dict(values | given)


if __name__ == "__main__":
    sys.exit(main())
