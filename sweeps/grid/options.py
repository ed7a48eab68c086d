"""Command-line options of the commands that run a grid."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from distill.cli.options import OneLineParser, ParsedOption
from distill.errors import require_known
from distill.parsing import number, whole_number
from sweeps.cli.options import RunOptions, add_run_options
from sweeps.grid.grid import Grid
from sweeps.grid.plan import parse_seeds

PROTOCOLS = {"sound": ("sound",), "published": ("published",), "both": ("published", "sound")}

MAX_PRICE = 1e9
"""For a GPU hour, in any currency."""


@dataclass(frozen=True, kw_only=True)
class FurtherArguments:
    """Arguments of a command whose grid follows from them, in place of presets.

    Attributes:
        add: adds them to the parser.
        grid: returns the grid that they ask for; may raise a UserError.
        usage: the arguments in the usage line.
        check: takes the trials that a dry run would run and the folder of torchvision's data sets;
            raises a UserError where one does not fit its images, as far as that takes seconds, and
            returns in a line what it leaves to the sweep itself, or None.
    """

    add: Callable[[argparse.ArgumentParser], None]
    grid: Callable[[argparse.Namespace], Grid[Any]]
    usage: str
    check: Callable[[Sequence[Any], str], str | None] = lambda *_: None


@dataclass(frozen=True, kw_only=True)
class GridOptions:
    """Which trials of which preset are run, and what is done with the plan.

    Attributes:
        preset: name of the preset; that of the grid where it follows from further arguments.
        grid: the grid that follows from further arguments (`FurtherArguments`); None: the preset's.
        dataset: in place of the preset's.
        protocols: in place of the preset's.
        seeds: in place of the preset's.
        only: conditions that trials must meet, see `sweeps.grid.plan.select_only`.
        limit: only so many trials of the plan.
        retry_failed: whether failed trials are run again.
        dry_run: whether the plan is only shown.
        calibrate: whether the dry run measures short trials.
        price_per_gpu_hour: for the dry run, in any currency.
        run: where results go, what trials run on and how.
    """

    preset: str
    grid: Grid[Any] | None
    dataset: str | None
    protocols: tuple[str, ...] | None
    seeds: tuple[int, ...] | None
    only: tuple[str, ...]
    limit: int | None
    retry_failed: bool
    dry_run: bool
    calibrate: bool
    price_per_gpu_hour: float | None
    run: RunOptions

    @property
    def name(self) -> str:
        """Name of the sweep."""
        return self.run.name or self.preset

    @classmethod
    def from_parsed(
        cls, parsed: argparse.Namespace, further: "FurtherArguments | None" = None
    ) -> Self:
        """Returns what the options of `grid_parser` say.

        Args:
            parsed: by the parser.
            further: that were added to it.

        Raises:
            UserError: a value is unknown or out of range.
        """
        if parsed.protocol is not None:
            require_known("protocol", parsed.protocol, PROTOCOLS)
        grid = None if further is None else further.grid(parsed)
        return cls(
            preset=parsed.preset if grid is None else grid.name,
            grid=grid,
            dataset=parsed.dataset,
            protocols=PROTOCOLS[parsed.protocol] if parsed.protocol else None,
            seeds=None if parsed.seeds is None else tuple(parse_seeds(parsed.seeds)),
            only=tuple(parsed.only),
            limit=parsed.limit,
            retry_failed=parsed.retry_failed,
            dry_run=parsed.dry_run,
            calibrate=parsed.calibrate,
            price_per_gpu_hour=parsed.price_per_gpu_hour,
            run=RunOptions.from_parsed(parsed),
        )


def grid_parser(
    program: str,
    *,
    description: str,
    presets: Mapping[str, Grid[Any]],
    only_example: str,
    fields_help: str,
    further: FurtherArguments | None = None,
) -> OneLineParser:
    """Returns the parser of a command that runs a grid.

    Args:
        program: how the command is started, after `uv run`.
        description: for the help.
        presets: the grids, by name; the first is the default.
        only_example: a condition of `--only`, for the help.
        fields_help: where the fields of the configuration are listed, for the help.
        further: arguments that the grid follows from, in place of presets and data set.
    """
    parser = OneLineParser(
        prog=program,
        usage=f"uv run {program} {further.usage + ' ' if further else ''}[options]",
        description=description,
        allow_abbrev=False,
    )
    if further is not None:
        further.add(parser)
    what = parser.add_argument_group("what")
    if further is None:
        _add_preset_options(what, presets)
    what.add_argument(
        "--protocol", metavar="NAME", help="sound, published or both (default: the preset's)"
    )
    what.add_argument(
        "--seeds", metavar="N", help="number of seeds, or the seeds themselves: 3,7 or 10-14"
    )
    what.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="FIELD=VALUE,…",
        help=f"run only trials that meet all conditions, such as {only_example}",
    )
    what.add_argument(
        "--limit",
        action=ParsedOption,
        parse=partial(whole_number, minimum=1),
        metavar="N",
        help="run only the first N trials",
    )
    what.add_argument("--retry-failed", action="store_true", help="run failed trials again")
    what.add_argument(
        "--dry-run", action="store_true", help="print the plan and an estimate of its time"
    )
    what.add_argument(
        "--calibrate",
        action="store_true",
        help="with --dry-run: run short trials for the estimate, where no similar trials have "
        "finished",
    )
    what.add_argument(
        "--price-per-gpu-hour",
        action=ParsedOption,
        parse=partial(number, minimum=0, maximum=MAX_PRICE),
        metavar="X",
        help="price for the dry run's estimate of cost",
    )
    add_run_options(parser, fields_help=fields_help)
    return parser


def _add_preset_options(what: Any, presets: Mapping[str, Grid[Any]]) -> None:
    summaries = "; ".join(f"{name}: {grid.summary}" for name, grid in presets.items())
    default = next(iter(presets))
    what.add_argument(
        "--preset",
        default=default,
        metavar="NAME",
        help=f"grid to run. {summaries} (default: {default})".replace("%", "%%"),
    )
    what.add_argument("--dataset", metavar="NAME", help="data set, in place of the preset's")
