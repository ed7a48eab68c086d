"""A search with Optuna: trials on validation images, then the best again on the test images.

    uv run sweeps/search.py dbscan                          # a search on a laptop
    uv run sweeps/search.py joint --dataset cifar10 --trials 200 --objectives accuracy,seconds
    uv run sweeps/search.py my_space.py --storage postgresql://user@host/studies --results s3://…

The same command goes on after an interruption, and a larger --trials goes on after the end. What a
space is, and how to write one, is told in `sweeps/spaces/__init__.py`. Exit codes: 0 all well,
1 some trials failed, 2 bad usage, 130 or 143 interrupted.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # a script's own folder is on the path, the project's is not always
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from optuna.exceptions import StorageInternalError

from distill.cli.options import OneLineParser, execution_of
from distill.config.distillation import Config, parse_value
from distill.errors import UserError
from sweeps.cli.options import (
    add_run_options,
    check_run_options,
    data_root,
    gpu_share,
    in_job,
    results_store,
    run_command,
    set_values,
    this_command,
)
from sweeps.grid.progress import PlanProgress, progress_of
from sweeps.optuna_search.report import dashboard_command, describe_search, failure_lines
from sweeps.optuna_search.spaces import SPACES, Space, load_space
from sweeps.optuna_search.study import (
    OBJECTIVES,
    SearchStudy,
    check_objectives,
    confirm_plan,
    is_database,
    median_pruner,
    open_study,
    shown_storage,
)
from sweeps.store.store import Store

if TYPE_CHECKING:
    from sweeps.cluster.runner import Cluster, Outcome

SCRIPT = "sweeps/search.py"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    return run_command(lambda: _main(arguments))


def _main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    check_run_options(options)
    _check_options(options)
    space = _space(options)
    searched = space.check()
    store = results_store(options)
    options.name = _name(options, space)
    options.storage = _storage(options, store)
    objectives = options.objectives.split(",")
    check_objectives(objectives)
    store.create()
    try:
        with open_study(
            options.name,
            options.storage,
            space=space.name,
            shared=space.shared,
            objectives=objectives,
            first_point=space.first_point,
            config_class=space.config_class,
            seed=options.seed,
            pruner=_pruner(space, objectives, options),
        ) as study:
            study.repair(store, retry_failed=options.retry_failed)
            outcome = _run(study, space, searched, store, options, arguments)
            study.remove_leftovers(store)
            return _finish(study, store, options, outcome, arguments)
    except (OSError, StorageInternalError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise UserError(
            f"the study in {shown_storage(options.storage)}, or the results in {store.shown}, "
            f"cannot be read or written: {reason}"
        ) from error


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog=SCRIPT,
        usage=f"uv run {SCRIPT} SPACE [options]",
        description="Search for good parameters with Optuna on Ray; run again to go on. "
        "Trials are judged on validation images; then the best run again under fresh seeds, on "
        "all training images, and are tested.",
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what")
    summaries = "; ".join(f"{name}: {load_space(name).summary}" for name in SPACES)
    what.add_argument("space", metavar="SPACE", help=f"{summaries} Or a file of your own, PATH.py")
    what.add_argument("--trials", type=int, default=30, metavar="N", help="in all (default: 30)")
    what.add_argument(
        "--objectives",
        default="accuracy",
        metavar="NAME,…",
        help=f"{', '.join(OBJECTIVES)}, or several: then the front of the best compromises",
    )
    what.add_argument("--dataset", metavar="NAME", help="instead of the space's")
    what.add_argument(
        "--val-fraction", metavar="X", help="share of the training images held out (default: 0.1)"
    )
    what.add_argument(
        "--range",
        action="append",
        default=[],
        metavar="PARAMETER=LOW:HIGH",
        help="other limits for a parameter of the space; --set takes one out of the search",
    )
    what.add_argument(
        "--confirm", type=int, default=3, metavar="N", help="how many of the best (default: 3)"
    )
    what.add_argument(
        "--seeds", type=int, default=5, metavar="N", help="fresh seeds for each (default: 5)"
    )
    what.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn")
    what.add_argument("--no-prune", action="store_true", help="run bad trials to their end, too")
    what.add_argument("--retry-failed", action="store_true", help="try failed trials again")
    what.add_argument(
        "--storage",
        metavar="PATH|URL",
        help="of the study: a journal file (default: studies/NAME.journal in the results), or a "
        "database such as sqlite:///…, mysql://…, postgresql://…",
    )
    add_run_options(parser, fields_help="`python -m distill --help` lists them")
    return parser


def _check_options(options: argparse.Namespace) -> None:
    for name, least in (("trials", 1), ("confirm", 0), ("seeds", 1), ("seed", 0)):
        value = getattr(options, name)
        if value < least:
            raise UserError(f"--{name} must be at least {least}, got {value}")


def _space(options: argparse.Namespace) -> Space:
    """Returns the space, with what the options fix and limit."""
    space = load_space(options.space)
    texts = set_values(options)
    for name in ("dataset", "val_fraction"):
        if getattr(options, name) is not None:
            texts[name] = getattr(options, name)
    fixed = {name: parse_value(name, text, space.config_class) for name, text in texts.items()}
    return space.narrowed(fixed, dict(_range(text) for text in options.range))


def _range(text: str) -> tuple[str, tuple[float, float]]:
    match = re.fullmatch(r"\s*([\w-]+)\s*=([^:]+):([^:]+)", text)
    try:
        if match is None:
            raise ValueError(text)
        return match[1].replace("-", "_"), (float(match[2]), float(match[3]))
    except ValueError:
        raise UserError(f"--range takes PARAMETER=LOW:HIGH, got {text!r}") from None


def _name(options: argparse.Namespace, space: Space) -> str:
    name = str(options.name or space.name)
    if "/" in name or name.startswith("."):
        raise UserError(f"--name must do as the name of a file, got {name!r}")
    return name


def _storage(options: argparse.Namespace, store: Store) -> str:
    """Returns where the study is: by default beside the results."""
    if options.storage is None:
        if store.local_path is None:
            raise UserError(
                f"the results are in {store.shown}, where no study can lie; give --storage a path "
                "on a disk that outlives the job, or the URL of a database"
            )
        return str(store.local_path / "studies" / f"{options.name}.journal")
    storage = str(options.storage)
    is_relative = not is_database(storage) and not Path(storage).expanduser().is_absolute()
    if is_relative and in_job():
        raise UserError(
            f"--storage {storage} is relative, and a Ray job runs in a temporary copy of the "
            "project that is deleted later; give an absolute path or the URL of a database"
        )
    return storage


def _pruner(space: Space, objectives: Sequence[str], options: argparse.Namespace) -> Any:
    """Returns the rule that stops bad trials early; None: no rule."""
    if options.no_prune or len(objectives) > 1:
        return None
    return median_pruner(space.example())


def _run(
    study: SearchStudy,
    space: Space,
    searched: Sequence[str],
    store: Store,
    options: argparse.Namespace,
    arguments: list[str],
) -> "Outcome | None":
    """Searches, then confirms; returns how the last of the two ended, None if none was needed."""
    if study.n_counted >= options.trials and not _to_confirm(study, store, options).to_do:
        return None
    # Ray takes seconds to start: not before there is something to run.
    from sweeps.cluster.runner import connect
    from sweeps.cluster.trackers import check_trackers

    check_trackers(_trackers(options), store)
    outcome = None
    with connect(options.address) as cluster:
        _check_cluster(cluster, space, store, options)
        store.put_submission(
            {
                "name": options.name,
                "script": SCRIPT,
                "command": arguments,
                "space": space.name,
                "searched": list(searched),
                "shared": space.shared,
                "n_trials": options.trials,
                "cluster": str(cluster),
            }
        )
        if study.n_counted < options.trials:
            outcome = _search(study, space, searched, store, options, cluster)
        if outcome is None or not (outcome.stopped or outcome.signal_number):
            outcome = _confirm(study, store, options, cluster) or outcome
    return outcome


def _check_cluster(
    cluster: "Cluster", space: Space, store: Store, options: argparse.Namespace
) -> None:
    """Raises a UserError for a cluster that cannot run the search, or not as it was asked for."""
    share = gpu_share(options, cluster)
    cluster.check_fits(options.cpus_per_trial, share)
    if cluster.is_local:
        return
    if options.max_concurrent is None and not cluster.slots(options.cpus_per_trial, share):
        raise UserError(
            f"nothing of the cluster can hold a trial yet ({cluster}), so how many points are to "
            "be drawn at once cannot be seen: give --max-concurrent"
        )
    from sweeps.cli.display import SweepDisplay
    from sweeps.cluster.preflight import check_nodes

    with SweepDisplay(options.name, None, 0) as display:
        check_nodes(
            store,
            [space.example()],
            data_root=data_root(options),
            cpus_per_trial=options.cpus_per_trial,
            gpu_share=share,
            uses_gpu=share > 0 and options.device != "cpu",
            display=display,
        )


def _search(
    study: SearchStudy,
    space: Space,
    searched: Sequence[str],
    store: Store,
    options: argparse.Namespace,
    cluster: "Cluster",
) -> "Outcome":
    from sweeps.cli.display import SweepDisplay
    from sweeps.cluster.runner import run_trials
    from sweeps.optuna_search.searcher import PruningScheduler, StudySearcher

    n_before = study.n_counted
    with SweepDisplay(options.name, options.trials, n_before) as display:
        display.phase(
            f"{options.trials} trials over {', '.join(searched)}"
            f"{f'; {n_before} of them done' if n_before else ''} · {cluster}"
        )
        searcher = StudySearcher(
            study,
            space,
            store,
            n_trials=options.trials,
            on_warning=display.warn,
            on_pruned=lambda trial_id: display.reported({"trial_id": trial_id, "status": "pruned"}),
        )
        outcome = run_trials(
            searcher,
            data_for=[space.example()],
            scheduler=PruningScheduler(searcher),
            max_concurrent=_slots(cluster, options),
            display=display,
            **_common(store, options, cluster, "search"),
        )
    return replace(outcome, stopped=searcher.problem or outcome.stopped)


def _confirm(
    study: SearchStudy, store: Store, options: argparse.Namespace, cluster: "Cluster"
) -> "Outcome | None":
    from sweeps.cli.display import SweepDisplay
    from sweeps.cluster.runner import run_trials

    progress = _to_confirm(study, store, options)
    to_do = progress.to_do
    if not to_do:
        return None
    n_planned = len(_confirm_plan(study, options))
    with SweepDisplay(f"{options.name}, confirmed", n_planned, n_planned - len(to_do)) as display:
        display.phase(f"confirming the best: {n_planned} trials · {cluster}")
        return run_trials(
            to_do,
            data_for=to_do,
            max_concurrent=options.max_concurrent,
            display=display,
            attempts=progress.attempts,
            **_common(store, options, cluster, "confirm"),
        )


def _common(
    store: Store, options: argparse.Namespace, cluster: "Cluster", phase: str
) -> dict[str, Any]:
    """Returns what a phase's trials are run with."""
    from sweeps.cluster.worker import WorkOrder

    return {
        "order": WorkOrder(
            store=store,
            sweep=options.name,
            phase=phase,
            device=options.device,
            execution=execution_of(options),
            gpu_share=gpu_share(options, cluster),
            n_threads=options.cpus_per_trial,
            checkpoint_seconds=options.checkpoint_seconds,
            trackers=_trackers(options),
            replace=options.retry_failed and phase == "confirm",
        ),
        "cpus_per_trial": options.cpus_per_trial,
        "data_root": data_root(options),
    }


def _trackers(options: argparse.Namespace) -> tuple[str, ...]:
    return tuple(part for part in options.track.split(",") if part)


def _slots(cluster: "Cluster", options: argparse.Namespace) -> int:
    """Returns how many trials are drawn before the first has ended.

    Tune asks a searcher for no more trials than that, so it is also how many wait for nodes that
    an autoscaler may add.
    """
    fit = cluster.slots(options.cpus_per_trial, gpu_share(options, cluster))
    return min(int(options.max_concurrent or max(fit, 1)), int(options.trials))


def _confirm_plan(study: SearchStudy, options: argparse.Namespace) -> list[Config]:
    best = [found.config for found in study.best(options.confirm)]
    return confirm_plan(best, options.seeds)


def _to_confirm(
    study: SearchStudy, store: Store, options: argparse.Namespace
) -> PlanProgress[Config]:
    """Returns what of the confirmation is done; damaged files are named by the report."""
    return progress_of(
        _confirm_plan(study, options),
        store,
        retry_failed=options.retry_failed,
        on_invalid=lambda _: None,
    )


def _finish(
    study: SearchStudy,
    store: Store,
    options: argparse.Namespace,
    outcome: "Outcome | None",
    arguments: list[str],
) -> int:
    """Prints what was found and how it ended; returns the exit code."""
    command = this_command(SCRIPT, arguments)
    print(
        describe_search(
            study,
            store,
            n_trials=options.trials,
            n_confirmed=options.confirm,
            n_seeds=options.seeds,
        )
    )
    print(f"study: {dashboard_command(options.storage)}")
    print(f"results: {store.shown}")
    if outcome is not None and outcome.stopped:
        print(f"stopped: {outcome.stopped}; once that is mended: {command}", file=sys.stderr)
        return 1
    if outcome is not None and outcome.signal_number:
        print(f"interrupted; continue: {command}", file=sys.stderr)
        return 128 + outcome.signal_number
    failed = failure_lines(study, store, _confirm_plan(study, options))
    if failed:
        retry = command if options.retry_failed else f"{command} --retry-failed"
        print(f"some trials failed; try them again: {retry}", file=sys.stderr)
        print("\n".join(failed), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
