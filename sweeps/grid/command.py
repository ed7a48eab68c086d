"""What the commands that run a grid do: plan, run what the results lack, print the tables.

Submitting again runs what is missing and nothing else, after an interruption, a lost node or a new
idea. Exit codes: 0 all well, 1 some trials failed, 2 bad usage, 130 or 143 interrupted.
"""

import argparse
import contextlib
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

import pandas as pd

from distill.cli.options import OneLineParser, execution_of
from distill.config.distillation import AnyConfig, Config
from distill.errors import require_known
from sweeps.cli.options import (
    add_run_options,
    check_run_options,
    data_root,
    gpu_share,
    results_store,
    run_command,
    set_values,
    this_command,
)
from sweeps.grid.distillation_presets import Grid
from sweeps.grid.plan import make_plan, parse_seeds, plan_digest
from sweeps.grid.progress import RETRIED, PlanProgress, progress_of
from sweeps.store.store import Store, load_results

if TYPE_CHECKING:
    from sweeps.cluster.runner import Cluster, Outcome

PROTOCOLS = {"sound": ("sound",), "published": ("published",), "both": ("published", "sound")}


@dataclass(frozen=True, kw_only=True)
class GridCommand(Generic[AnyConfig]):
    """A command that runs one of several grids.

    Attributes:
        script: its file, from the root of the project.
        description: for the help.
        presets: the grids, by name; the first is the default.
        only_example: a condition of `--only`, for the help.
        fields_help: the command that lists the fields of the configuration.
        print_tables: prints the tables of the results of a plan: the rows, the plan, and the
            records of failures by trial id.
        next_options: options of the command to try next.
    """

    script: str
    description: str
    presets: Mapping[str, Grid[AnyConfig]]
    only_example: str
    fields_help: str
    print_tables: Callable[[pd.DataFrame, Sequence[AnyConfig], Mapping[str, Any]], None]
    next_options: str

    def main(self, arguments: list[str] | None = None) -> int:
        """Runs the command; returns its exit code."""
        arguments = sys.argv[1:] if arguments is None else arguments
        return run_command(lambda: self._main(arguments))

    def plan(self, arguments: Sequence[str]) -> list[AnyConfig]:
        """Returns the trials that some arguments ask for."""
        return self._plan(self._parser().parse_args(arguments))

    def _main(self, arguments: list[str]) -> int:
        options = self._parser().parse_args(arguments)
        check_run_options(options)
        plan = self._plan(options)
        store = results_store(options)
        if not options.dry_run:
            store.create()
            _compact(store)  # a driver that was killed has not
        progress = progress_of(plan, store, retry_failed=options.retry_failed, on_invalid=_warn)
        if options.dry_run:
            return _dry_run(plan, progress, store, options)
        outcome = None
        if progress.to_do:
            outcome = self._run(plan, progress, store, options, arguments)
            _compact(store)
        return self._finish(plan, store, outcome, this_command(self.script, arguments))

    def _parser(self) -> OneLineParser:
        parser = OneLineParser(
            prog=self.script,
            usage=f"uv run {self.script} [options]",
            description=self.description,
            allow_abbrev=False,
        )
        what = parser.add_argument_group("what")
        summaries = "; ".join(f"{name}: {grid.summary}" for name, grid in self.presets.items())
        what.add_argument(
            "--preset",
            default=next(iter(self.presets)),
            metavar="NAME",
            help=summaries.replace("%", "%%"),
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
            help=f"only trials that meet all conditions, such as {self.only_example}",
        )
        what.add_argument("--limit", type=int, metavar="N", help="only the first N trials")
        what.add_argument("--retry-failed", action="store_true", help="try failed trials again")
        what.add_argument("--dry-run", action="store_true", help="show the plan, what it takes")
        what.add_argument(
            "--calibrate",
            action="store_true",
            help="with --dry-run: measure short trials, where none like the plan's have finished",
        )
        what.add_argument(
            "--price-per-gpu-hour",
            type=float,
            metavar="X",
            help="for the dry run's estimate of cost",
        )
        add_run_options(parser, fields_help=self.fields_help)
        return parser

    def _plan(self, options: argparse.Namespace) -> list[AnyConfig]:
        require_known("preset", options.preset, self.presets)
        if options.protocol is not None:
            require_known("protocol", options.protocol, PROTOCOLS)
        return make_plan(
            self.presets[options.preset],
            protocols=PROTOCOLS[options.protocol] if options.protocol else None,
            seeds=parse_seeds(options.seeds) if options.seeds else None,
            dataset=options.dataset,
            set_values=set_values(options),
            only=options.only,
            limit=options.limit,
        )

    def _run(
        self,
        plan: Sequence[AnyConfig],
        progress: PlanProgress[AnyConfig],
        store: Store,
        options: argparse.Namespace,
        arguments: list[str],
    ) -> "Outcome":
        # Ray and torch take seconds to import: not before there is something to run.
        from sweeps.cli.display import SweepDisplay
        from sweeps.cluster.preflight import check_nodes
        from sweeps.cluster.runner import connect, run_trials
        from sweeps.cluster.trackers import check_trackers
        from sweeps.cluster.worker import WorkOrder

        name = options.name or options.preset
        trackers = tuple(part for part in options.track.split(",") if part)
        check_trackers(trackers, store)
        n_before = len(plan) - len(progress.to_do)
        with (
            connect(options.address) as cluster,
            SweepDisplay(name, len(plan), n_before) as display,
        ):
            share = gpu_share(options, cluster)
            cluster.check_fits(options.cpus_per_trial, share)
            display.phase(_introduction(plan, n_before, cluster, share, options))
            if not cluster.is_local:
                check_nodes(
                    store,
                    progress.to_do,
                    data_root=data_root(options),
                    cpus_per_trial=options.cpus_per_trial,
                    gpu_share=share,
                    uses_gpu=share > 0 and options.device != "cpu",
                    display=display,
                )
            store.put_submission(
                {
                    "name": name,
                    "script": self.script,
                    "command": arguments,
                    "plan_digest": plan_digest(plan),
                    "trial_ids": [config.trial_id for config in plan],
                    "plan": [{"kind": config.kind, **config.to_dict()} for config in plan],
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
                    execution=execution_of(options),
                    gpu_share=share,
                    n_threads=options.cpus_per_trial,
                    checkpoint_seconds=options.checkpoint_seconds,
                    trackers=trackers,
                    replace=options.retry_failed,
                ),
                cpus_per_trial=options.cpus_per_trial,
                data_root=data_root(options),
                max_concurrent=options.max_concurrent,
                display=display,
                attempts=progress.attempts,
            )

    def _finish(
        self,
        plan: Sequence[AnyConfig],
        store: Store,
        outcome: "Outcome | None",
        command: str,
    ) -> int:
        """Prints the tables and how it ended; returns the exit code."""
        results = load_results(store.uri, on_invalid=_warn)
        planned = {config.trial_id for config in plan}
        results = results[results["trial_id"].isin(planned)]
        failures = {k: v for k, v in store.failures().items() if k in planned}
        if len(results):
            self.print_tables(results, plan, failures)
        by_status = results["status"].value_counts()
        n_unfinished = len(plan) - len(results)
        print(f"\n{len(results)} of {len(plan)} trials finished: {_counts(by_status)}")
        print(f"results: {store.uri}")
        print(f"  in Python: sweeps.store.store.load_results('{store.uri}')")
        print(f"  or         pd.read_parquet('{store.uri}/trials')")
        n_failed = len(failures) + sum(int(by_status.get(status, 0)) for status in RETRIED)
        if outcome is not None and outcome.stopped:
            print(f"stopped: {outcome.stopped}; once that is mended: {command}", file=sys.stderr)
            return 1
        if outcome is not None and outcome.signal_number:
            to_go = f"interrupted with {n_unfinished} trials to go"
            print(f"{to_go}; continue: {command}", file=sys.stderr)
            return 128 + outcome.signal_number
        if n_failed:
            _print_failures(failures, store, n_failed, command)
            return 1
        print(f"next: uv run python -m analysis {shlex.quote(store.uri)}")
        print(f"      uv run {self.script} {self.next_options}")
        return 0


def _introduction(
    plan: Sequence[Config],
    n_before: int,
    cluster: "Cluster",
    share: float,
    options: argparse.Namespace,
) -> str:
    done = f", {n_before} of them done" if n_before else ""
    per_trial = f"{options.cpus_per_trial} CPU" + (f", {share:g} GPU" if share else "")
    trials = "1 trial" if len(plan) == 1 else f"{len(plan):,} trials"
    return f"{trials}{done} · {cluster} · {per_trial} a trial"


def _dry_run(
    plan: Sequence[AnyConfig],
    progress: PlanProgress[AnyConfig],
    store: Store,
    options: argparse.Namespace,
) -> int:
    """Prints the plan, what of it is done and what the rest takes."""
    from sweeps.cost import estimate
    from sweeps.grid.dry_run import describe_plan

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
    to_do: Sequence[Config], store: Store, options: argparse.Namespace
) -> tuple[list[dict[str, Any]], str, int, float]:
    """Returns rows of short trials, the resources in words, trials at once and a trial's share."""
    from sweeps.cli.display import SweepDisplay
    from sweeps.cluster.calibration import calibrate
    from sweeps.cluster.runner import connect
    from sweeps.cluster.worker import WorkOrder
    from sweeps.cost import calibration_configs

    with connect(options.address) as cluster, SweepDisplay("calibration", None, 0) as display:
        share = gpu_share(options, cluster)
        cluster.check_fits(options.cpus_per_trial, share)
        order = WorkOrder(
            store=store,
            sweep="calibration",
            device=options.device,
            execution=execution_of(options),
            gpu_share=share,
            n_threads=options.cpus_per_trial,
        )
        rows = calibrate(
            calibration_configs(to_do),
            order=order,
            cpus_per_trial=options.cpus_per_trial,
            data_root=data_root(options),
            display=display,
        )
        # A cluster that an autoscaler has yet to fill has no slot now.
        slots = max(1, cluster.slots(options.cpus_per_trial, share))
        slots = min(slots, options.max_concurrent or slots)
        return rows, f"{cluster}; {slots} trials at once", slots, share


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


def _compact(store: Store) -> None:
    with contextlib.suppress(OSError):  # a copy that only saves time
        store.compact()


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)
