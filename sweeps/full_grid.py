"""Study 1's grid: one trial per clustering method, weight, ipc, parameters and seed.

    uv run sweeps/full_grid.py                              # quick start on a laptop
    ray job submit --working-dir . -- python sweeps/full_grid.py --preset paper --results s3://…

Submitting again runs what is missing and nothing else, after an interruption, a lost node or a new
idea. Exit codes: 0 all well, 1 some trials failed, 2 bad usage, 130 or 143 interrupted.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # a script's own folder is on the path, the project's is not always
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import contextlib
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distill.config import TrialConfig
from distill.errors import require_known
from distill.options import OneLineParser
from sweeps.grids import PRESETS
from sweeps.options import (
    add_run_options,
    check_run_options,
    gpu_share,
    results_store,
    run_command,
    set_values,
    this_command,
)
from sweeps.plan import make_plan, parse_seeds, plan_digest
from sweeps.progress import RETRIED, PlanProgress, progress_of
from sweeps.store import Store, load_results

if TYPE_CHECKING:
    from sweeps.runner import Cluster, Outcome

PROTOCOLS = {"sound": ("sound",), "published": ("published",), "both": ("published", "sound")}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    return run_command(lambda: _main(arguments))


def _main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    check_run_options(options)
    plan = _plan(options)
    store = results_store(options)
    progress = progress_of(plan, store, retry_failed=options.retry_failed, on_invalid=_warn)
    if options.dry_run:
        return _dry_run(plan, progress, store, options)
    store.create()
    command = this_command("sweeps/full_grid.py", arguments)
    outcome = None
    if progress.to_do:
        outcome = _run(plan, progress, store, options, arguments)
        with contextlib.suppress(OSError):  # a copy that only saves time
            store.compact()
    return _finish(plan, store, outcome, command)


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog="sweeps/full_grid.py",
        usage="uv run sweeps/full_grid.py [options]",
        description="Run a grid of distillation trials on Ray; run again to go on. Without "
        "options: study 1's nine rows on scikit-learn's digits, in minutes on two CPU cores.",
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what")
    what.add_argument(
        "--preset",
        default="quickstart",
        metavar="NAME",
        help="; ".join(f"{name}: {grid.summary}" for name, grid in PRESETS.items()).replace(
            "%", "%%"
        ),
    )
    what.add_argument("--dataset", metavar="NAME", help="instead of the preset's")
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
        help="only trials that meet all conditions, such as method=dbscan|kmeans,ipc=10",
    )
    what.add_argument("--limit", type=int, metavar="N", help="only the first N trials")
    what.add_argument("--retry-failed", action="store_true", help="try failed trials again")
    what.add_argument("--dry-run", action="store_true", help="show the plan, and what it takes")
    what.add_argument(
        "--calibrate",
        action="store_true",
        help="with --dry-run: measure short trials, where none like the plan's have finished",
    )
    what.add_argument(
        "--price-per-gpu-hour", type=float, metavar="X", help="for the dry run's estimate of cost"
    )
    add_run_options(parser)
    return parser


def _plan(options: argparse.Namespace) -> list[TrialConfig]:
    require_known("preset", options.preset, PRESETS)
    if options.protocol is not None:
        require_known("protocol", options.protocol, PROTOCOLS)
    return make_plan(
        PRESETS[options.preset],
        protocols=PROTOCOLS[options.protocol] if options.protocol else None,
        seeds=parse_seeds(options.seeds) if options.seeds else None,
        dataset=options.dataset,
        set_values=set_values(options),
        only=options.only,
        limit=options.limit,
    )


def _run(
    plan: Sequence[TrialConfig],
    progress: PlanProgress[TrialConfig],
    store: Store,
    options: argparse.Namespace,
    arguments: list[str],
) -> "Outcome":
    # Ray and torch take seconds to import: not before there is something to run.
    from sweeps.display import SweepDisplay
    from sweeps.runner import connect, run_trials
    from sweeps.trackers import check_trackers
    from sweeps.worker import WorkOrder

    name = options.name or options.preset
    trackers = tuple(part for part in options.track.split(",") if part)
    check_trackers(trackers, store)
    n_before = len(plan) - len(progress.to_do)
    with connect(options.address) as cluster, SweepDisplay(name, len(plan), n_before) as display:
        share = gpu_share(options, cluster.gpus)
        cluster.check_fits(options.cpus_per_trial, share)
        display.phase(_introduction(plan, n_before, cluster, share, options))
        store.put_submission(
            {
                "name": name,
                "command": arguments,
                "plan_digest": plan_digest(plan),
                "trial_ids": [config.trial_id for config in plan],
                "plan": [config.to_dict() for config in plan],
                "cluster": str(cluster),
            }
        )
        return run_trials(
            progress.to_do,
            data_for=progress.to_do,
            order=WorkOrder(
                store=store,
                sweep=name,
                device=options.device,
                gpu_share=share,
                n_threads=options.cpus_per_trial,
                checkpoint_seconds=options.checkpoint_seconds,
                trackers=trackers,
                replace=options.retry_failed,
            ),
            cpus_per_trial=options.cpus_per_trial,
            data_root=options.data_root,
            max_concurrent=options.max_concurrent,
            display=display,
            attempts=progress.attempts,
        )


def _introduction(
    plan: Sequence[TrialConfig],
    n_before: int,
    cluster: "Cluster",
    share: float,
    options: argparse.Namespace,
) -> str:
    done = f", {n_before} of them done" if n_before else ""
    per_trial = f"{options.cpus_per_trial} CPU" + (f", {share:g} GPU" if share else "")
    return f"{len(plan)} trials{done} · {cluster} · {per_trial} a trial"


def _dry_run(
    plan: Sequence[TrialConfig],
    progress: PlanProgress[TrialConfig],
    store: Store,
    options: argparse.Namespace,
) -> int:
    """Prints the plan, what of it is done and what the rest takes."""
    from sweeps.cost import estimate
    from sweeps.dry_run import describe_plan

    measured: list[Mapping[Any, Any]] = []
    if store.exists():
        measured += load_results(store.uri, on_invalid=_warn).to_dict("records")
    resources, share = "not looked at; --calibrate does", options.gpus_per_trial or 0.0
    slots = options.max_concurrent or 1
    if options.calibrate and progress.to_do:
        rows, resources, slots, share = _calibrate(progress.to_do, store, options)
        measured += rows
    guess = estimate(
        progress.to_do,
        measured,
        slots=slots,
        gpu_share=share,
        price_per_gpu_hour=options.price_per_gpu_hour,
    )
    text = describe_plan(
        plan,
        finished=progress.finished,
        failed=progress.failures,
        to_do={config.trial_id for config in progress.to_do},
        estimate=guess,
        resources=resources,
    )
    print(text, end="")
    return 0


def _calibrate(
    to_do: Sequence[TrialConfig], store: Store, options: argparse.Namespace
) -> tuple[list[dict[str, Any]], str, int, float]:
    """Returns rows of short trials, the resources in words, trials at once and a trial's share."""
    from sweeps.calibration import calibrate
    from sweeps.cost import calibration_configs
    from sweeps.display import SweepDisplay
    from sweeps.runner import connect
    from sweeps.worker import WorkOrder

    with connect(options.address) as cluster, SweepDisplay("calibration", None, 0) as display:
        share = gpu_share(options, cluster.gpus)
        cluster.check_fits(options.cpus_per_trial, share)
        order = WorkOrder(
            store=store,
            sweep="calibration",
            device=options.device,
            gpu_share=share,
            n_threads=options.cpus_per_trial,
        )
        rows = calibrate(
            calibration_configs(to_do),
            order=order,
            cpus_per_trial=options.cpus_per_trial,
            data_root=options.data_root,
            display=display,
        )
        slots = cluster.slots(options.cpus_per_trial, share)
        slots = min(slots, options.max_concurrent or slots)
        return rows, f"{cluster}; {slots} trials at once", slots, share


def _finish(
    plan: Sequence[TrialConfig], store: Store, outcome: "Outcome | None", command: str
) -> int:
    """Prints the tables and how it ended; returns the exit code."""
    from analysis.tables import print_study1_tables

    results = load_results(store.uri, on_invalid=_warn)
    planned = {config.trial_id for config in plan}
    results = results[results["trial_id"].isin(planned)]
    failures = {k: v for k, v in store.failures().items() if k in planned}
    if len(results):
        print_study1_tables(results, plan=plan, failures=failures)
    by_status = results["status"].value_counts()
    n_unfinished = len(plan) - len(results)
    print(f"\n{len(results)} of {len(plan)} trials finished: {_counts(by_status)}")
    print(f"results: {store.uri}")
    print(f"  in Python: sweeps.store.load_results('{store.uri}')")
    print(f"  or         pd.read_parquet('{store.uri}/trials')")
    n_failed = len(failures) + sum(int(by_status.get(status, 0)) for status in RETRIED)
    if outcome is not None and outcome.stopped:
        print(f"stopped: {outcome.stopped}; once that is mended: {command}", file=sys.stderr)
        return 1
    if outcome is not None and outcome.signal_number:
        print(f"interrupted with {n_unfinished} trials to go; continue: {command}", file=sys.stderr)
        return 128 + outcome.signal_number
    if n_failed:
        _print_failures(failures, store, n_failed, command)
        return 1
    print(f"next: uv run python -m analysis {shlex.quote(store.uri)}")
    print("      uv run sweeps/full_grid.py --preset paper --dry-run")
    return 0


def _counts(by_status: Any) -> str:
    return ", ".join(f"{n} {status}" for status, n in by_status.items()) or "none"


def _print_failures(
    failures: dict[str, dict[str, Any]], store: Store, n_failed: int, command: str
) -> None:
    retry = command if "--retry-failed" in command else f"{command} --retry-failed"
    print(f"{n_failed} failed; try them again: {retry}", file=sys.stderr)
    reasons: dict[str, list[str]] = {}
    for trial_id, record in failures.items():
        reasons.setdefault(record.get("message", "unknown"), []).append(trial_id)
    for reason, trial_ids in reasons.items():
        print(f"  {len(trial_ids)} × {reason}", file=sys.stderr)
        print(f"    such as {store.uri}/failures/{trial_ids[0]}-….json", file=sys.stderr)


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
