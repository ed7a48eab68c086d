"""Command-line options of a search."""

import argparse
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from distill.cli.options import OneLineParser, ParsedOption
from distill.errors import UserError, shortened
from distill.parsing import file_name, number, path, path_or_uri, whole_number
from sweeps.cli.job import in_job
from sweeps.cli.options import RunOptions, add_run_options, without_repetitions
from sweeps.optuna_search.spaces import SPACES, Space, load_space
from sweeps.optuna_search.study import OBJECTIVES, check_objectives, check_storage, is_database
from sweeps.store.store import Store

MAX_CONFIRMED = 1000
"""Configurations that are confirmed, at most."""

MAX_SEEDS = 1000
"""Seeds of each, at most, as for grids."""

MAX_SAMPLER_SEED = 2**32 - 1
"""Largest seed that Optuna's samplers take."""


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """What is searched, how long, and how the best are confirmed.

    Attributes:
        space: with the fields that the user fixed and the ranges that the user changed.
        name: of the study, and of the sweep in every row.
        storage: path of the study's journal file, or the URL of a database.
        n_trials: trials of the search in all.
        objectives: names of `sweeps.optuna_search.study.OBJECTIVES`.
        n_confirmed: how many of the best are confirmed.
        n_seeds: fresh seeds for each of them.
        seed: of the sampler.
        prune: whether trials are stopped early.
        retry_failed: whether failed trials are run again.
        run: where results go, what trials run on and how.
    """

    space: Space
    name: str
    storage: str
    n_trials: int
    objectives: tuple[str, ...]
    n_confirmed: int
    n_seeds: int
    seed: int
    prune: bool
    retry_failed: bool
    run: RunOptions

    @classmethod
    def from_parsed(cls, parsed: argparse.Namespace) -> Self:
        """Returns what the options of `search_parser` say.

        Raises:
            UserError: a value is unknown or out of range, or a path is relative inside a Ray job.
        """
        run = RunOptions.from_parsed(parsed)
        space = _space(parsed, run)
        name = run.name or file_name("the name of the space", space.name)
        objectives = tuple(parsed.objectives.split(","))
        check_objectives(objectives)
        return cls(
            space=space,
            name=name,
            storage=_storage(parsed.storage, name, run.store),
            n_trials=parsed.trials,
            objectives=objectives,
            n_confirmed=parsed.confirm,
            n_seeds=parsed.seeds,
            seed=parsed.seed,
            prune=not parsed.no_prune,
            retry_failed=parsed.retry_failed,
            run=run,
        )


def search_parser(program: str) -> OneLineParser:
    """Returns the parser of a search.

    Args:
        program: how the command is started, after `uv run`.
    """
    parser = OneLineParser(
        prog=program,
        usage=f"uv run {program} SPACE [options]",
        description="Search for good parameters with Optuna on Ray; run again to resume. "
        "Trials are compared on validation images; then the best run again under fresh seeds, on "
        "all training images, and are tested.",
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what")
    summaries = "; ".join(f"{name}: {load_space(name).summary}" for name in SPACES)
    what.add_argument(
        "space",
        action=ParsedOption,
        parse=path,
        metavar="SPACE",
        help=f"search space: a name or a Python file PATH.py. {summaries}".replace("%", "%%"),
    )
    what.add_argument(
        "--trials",
        action=ParsedOption,
        parse=partial(whole_number, minimum=1),
        default=30,
        metavar="N",
        help="trials of the search (default: 30)",
    )
    what.add_argument(
        "--objectives",
        default="accuracy",
        metavar="NAME,…",
        help=f"what is optimized: {', '.join(OBJECTIVES)}, or several, for their Pareto front "
        "(default: accuracy)",
    )
    what.add_argument("--dataset", metavar="NAME", help="data set, in place of the space's")
    what.add_argument(
        "--val-fraction",
        metavar="X",
        help="share of the training images held out for validation (default: 0.1)",
    )
    what.add_argument(
        "--range",
        action="append",
        default=[],
        metavar="PARAMETER=LOW:HIGH",
        help="limits of a parameter, in place of the space's; --set fixes a parameter",
    )
    what.add_argument(
        "--confirm",
        action=ParsedOption,
        parse=partial(whole_number, minimum=0, maximum=MAX_CONFIRMED),
        default=3,
        metavar="N",
        help="how many of the best configurations are confirmed (default: 3)",
    )
    what.add_argument(
        "--seeds",
        action=ParsedOption,
        parse=partial(whole_number, minimum=1, maximum=MAX_SEEDS),
        default=5,
        metavar="N",
        help="fresh seeds for each confirmed configuration (default: 5)",
    )
    what.add_argument(
        "--seed",
        action=ParsedOption,
        parse=partial(whole_number, minimum=0, maximum=MAX_SAMPLER_SEED),
        default=0,
        metavar="N",
        help="seed of the sampler (default: 0)",
    )
    what.add_argument(
        "--no-prune", action="store_true", help="run every trial to its end: no early stopping"
    )
    what.add_argument("--retry-failed", action="store_true", help="run failed trials again")
    what.add_argument(
        "--storage",
        action=ParsedOption,
        parse=path_or_uri,
        metavar="PATH|URL",
        help="storage of the study: a journal file (default: studies/NAME.journal in the "
        "results), or a database such as sqlite:///…, mysql://…, postgresql://…",
    )
    add_run_options(parser, fields_help="`python -m distill --help` lists them")
    return parser


def _space(parsed: argparse.Namespace, run: RunOptions) -> Space:
    """Returns the space, with what the options fix and limit."""
    space = load_space(parsed.space)
    options = [(name, getattr(parsed, name)) for name in ("dataset", "val_fraction")]
    given = [(name, text) for name, text in options if text is not None]
    texts = without_repetitions("--set", [*run.set_values.items(), *given])
    fixed = {name: space.config_class.parse_value(name, text) for name, text in texts.items()}
    return space.narrowed(fixed, without_repetitions("--range", map(_range, parsed.range)))


def _range(text: str) -> tuple[str, tuple[float, float]]:
    match = re.fullmatch(r"\s*([\w-]+)\s*=([^:]+):([^:]+)", text)
    try:
        if match is None:
            raise ValueError(text)
        return match[1].replace("-", "_"), (number("LOW", match[2]), number("HIGH", match[3]))
    except ValueError:
        raise UserError(f"--range takes PARAMETER=LOW:HIGH, got {shortened(text)}") from None


def _storage(given: str | None, name: str, store: Store) -> str:
    """Returns where the study is: by default beside the results."""
    if given is None:
        if store.local_path is None:
            raise UserError(
                f"the results are in {store.shown}, where no study can lie; give --storage a path "
                "on a disk that outlives the job, or the URL of a database"
            )
        return str(store.local_path / "studies" / f"{name}.journal")
    check_storage(given)
    is_relative = not is_database(given) and not Path(given).expanduser().is_absolute()
    if is_relative and in_job():
        raise UserError(
            f"--storage {given} is relative, and a Ray job runs in a temporary copy of the "
            "project that is deleted later; give an absolute path or the URL of a database"
        )
    return given
