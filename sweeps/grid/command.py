"""Commands that run a grid: plan, run the trials that have no result yet, print the tables.

Running a command again runs the missing trials and nothing else, after an interruption, a lost node
or a new idea. Exit codes: 0 success, 1 some trials failed, 2 bad usage, 130 or 143 interrupted.
"""

import contextlib
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

import pandas as pd

from distill.cli.options import OneLineParser
from distill.config.base import AnyConfig, Config
from distill.errors import printable, require_known
from sweeps.cli.json_output import json_output
from sweeps.cli.options import check_execution_applies
from sweeps.cli.program import command_line, program_of, run_command
from sweeps.cli.set_options import with_set_options
from sweeps.grid.grid import Grid
from sweeps.grid.options import FurtherArguments, GridOptions, grid_parser
from sweeps.grid.plan import make_plan, plan_digest
from sweeps.monitor.documents import end_document, outcome_document, plan_document
from sweeps.store.progress import RETRIED, PlanProgress, progress_of
from sweeps.store.store import Store, distinct_notices, load_results

if TYPE_CHECKING:
    from sweeps.cluster.connection import Cluster
    from sweeps.cluster.runner import Outcome


@dataclass(frozen=True, kw_only=True)
class GridCommand(Generic[AnyConfig]):
    """A command that runs a grid: one of several presets, or one that follows from arguments.

    Attributes:
        verb: of `dream-sweep`, see `sweeps.cli.program`.
        description: for the help.
        presets: the grids, by name; the first is the default.
        only_example: a condition of `--only`, for the help.
        fields_help: where the fields of the configuration are listed, for the help.
        print_tables: prints the tables of the results of a plan: the rows, the plan, and the
            records of failures by trial id.
        next_options: options of the command to try next.
        further: arguments that the grid follows from, in place of presets; None: there are none.
        installed: whether it was started by `dream-sweep`.
    """

    verb: str
    description: str
    presets: Mapping[str, Grid[AnyConfig]]
    only_example: str
    fields_help: str
    print_tables: Callable[[pd.DataFrame, Sequence[AnyConfig], Mapping[str, Any]], None]
    next_options: str
    further: FurtherArguments | None = None
    installed: bool = False

    def main(self, arguments: list[str] | None = None) -> int:
        """Runs the command; returns its exit code.

        Args:
            arguments: of the command line; None: those of this process.
        """
        given = sys.argv[1:] if arguments is None else arguments
        return run_command(lambda: self._main(given), self._reworded)

    def parser(self) -> OneLineParser:
        """Returns the parser of the command."""
        return grid_parser(
            self._program,
            description=self.description,
            presets=self.presets,
            only_example=self.only_example,
            fields_help=self.fields_help,
            further=self.further,
        )

    def options(self, arguments: Sequence[str]) -> GridOptions:
        """Returns what some arguments ask for.

        Raises:
            UserError: an option or a value is unknown or out of range.
        """
        return GridOptions.from_parsed(self.parser().parse_args(arguments), self.further)

    def plan(self, arguments: Sequence[str]) -> list[AnyConfig]:
        """Returns the trials that some arguments ask for."""
        return self._plan(self.options(arguments))

    @property
    def _program(self) -> str:
        return program_of(self.verb, installed=self.installed)

    def _reworded(self, text: str) -> str:
        """Returns a message of a trial with the options of this command."""
        return with_set_options(text, self.parser().option_strings())

    def _main(self, arguments: list[str]) -> int:
        options = self.options(arguments)
        with json_output(enabled=options.run.json) as document:
            exit_code = self._plan_and_run(options, arguments, document)
            document["exit_code"] = exit_code
        return exit_code

    def _plan_and_run(
        self, options: GridOptions, arguments: list[str], document: dict[str, Any]
    ) -> int:
        """Runs the command; fills the object that `--json` prints."""
        plan = self._plan(options)
        check_execution_applies(plan, options.run.execution)
        store = options.run.store
        document |= {"command": self.verb, "name": options.name, "results": store.shown}
        if options.dry_run:
            progress = _progress(plan, options)
            remark = self._checked(progress.to_do, options)
            exit_code = _dry_run(plan, progress, options, document)
            if remark is not None:
                print(f"notice: {remark}")
            return exit_code
        with store.reserved():
            _compact(store)  # a driver that was killed has not
            progress = _progress(plan, options)
            outcome = None
            if progress.to_do:
                outcome = self._run(plan, progress, options, arguments)
                _compact(store)
            command = command_line(self._program, arguments)
            return self._finish(plan, store, outcome, command, document)

    def _checked(self, to_do: Sequence[AnyConfig], options: GridOptions) -> str | None:
        """Checks, as far as a dry run may, that trials fit their images; returns what it leaves.

        Raises:
            UserError: one does not.
        """
        if self.further is None:
            return None
        return self.further.check(to_do, options.run.data_root)

    def _plan(self, options: GridOptions) -> list[AnyConfig]:
        grid: Grid[AnyConfig] | None = options.grid
        if grid is None:
            require_known("preset", options.preset, self.presets)
            grid = self.presets[options.preset]
        return make_plan(
            grid,
            protocols=options.protocols,
            seeds=options.seeds,
            dataset=options.dataset,
            set_values=options.run.set_values,
            only=options.only,
            limit=options.limit,
        )

    def _run(
        self,
        plan: Sequence[AnyConfig],
        progress: PlanProgress[AnyConfig],
        options: GridOptions,
        arguments: list[str],
    ) -> "Outcome":
        # Ray and torch take seconds to import: not before there is something to run.
        from sweeps.cli.display import SweepDisplay
        from sweeps.cluster.connection import connect
        from sweeps.cluster.preflight import check_nodes
        from sweeps.cluster.runner import run_trials
        from sweeps.cluster.trackers import check_trackers
        from sweeps.cluster.worker import work_order

        run = options.run
        name = options.name
        check_trackers(run.trackers, run.store)
        n_before = len(plan) - len(progress.to_do)
        with connect(run.address) as cluster, SweepDisplay(name, len(plan), n_before) as display:
            share = cluster.gpu_share(run)
            cluster.check_fits(run.cpus_per_trial, share)
            display.phase(_introduction(plan, n_before, cluster, share, options))
            if not cluster.is_local:
                check_nodes(progress.to_do, run, gpu_share=share, display=display)
            script, *words = self._program.split()

            def begin() -> None:
                """Writes the first files: nothing is wrong with the plan."""
                run.store.create()
                run.store.put_submission(
                    {
                        "name": name,
                        "script": script,
                        "command": [*words, *arguments],
                        "plan_digest": plan_digest(plan),
                        "trial_ids": [config.trial_id for config in plan],
                        "plan": [{"kind": config.kind, **config.to_dict()} for config in plan],
                        "cluster": str(cluster),
                    }
                )

            return run_trials(
                progress.to_do,
                data_for=progress.to_do,
                order=work_order(run, sweep=name, gpu_share=share, replace=options.retry_failed),
                cpus_per_trial=run.cpus_per_trial,
                data_root=run.data_root,
                max_concurrent=run.max_concurrent,
                display=display,
                attempts=progress.attempts,
                on_checked=begin,
            )

    def _finish(
        self,
        plan: Sequence[AnyConfig],
        store: Store,
        outcome: "Outcome | None",
        command: str,
        document: dict[str, Any],
    ) -> int:
        """Prints the tables and how the run ended; returns the exit code."""
        results = load_results(store.uri, on_invalid=_warn)
        planned = {config.trial_id for config in plan}
        results = results[results["trial_id"].isin(planned)]
        failures = {k: v for k, v in store.failures(_warn).items() if k in planned}
        document |= end_document(plan, results.to_dict("records"), failures)
        document |= outcome_document(outcome, command)
        if len(results):
            self.print_tables(results, plan, failures)
        for notice in distinct_notices(results):
            print(f"notice: {printable(self._reworded(notice))}")
        by_status = results["status"].value_counts()
        n_unfinished = len(plan) - len(results)
        print(f"\n{len(results)} of {len(plan)} trials finished: {_counts(by_status)}")
        print(_cpu_line(results))
        print(f"results: {store.uri}")
        print(f"  in Python: sweeps.load_results('{store.uri}')")
        print(f"  or         pd.read_parquet('{store.uri}/trials')")
        n_failed = len(failures) + sum(int(by_status.get(status, 0)) for status in RETRIED)
        if outcome is not None and outcome.stopped:
            print(f"stopped: {outcome.stopped}; once that is fixed: {command}", file=sys.stderr)
            return 1
        if outcome is not None and outcome.signal_number:
            to_go = f"interrupted with {n_unfinished} trials to go"
            print(f"{to_go}; continue: {command}", file=sys.stderr)
            return 128 + outcome.signal_number
        if n_failed:
            _print_failures(failures, store, n_failed, command, self._reworded)
            return 1
        analysis = program_of("analyse", installed=self.installed)
        print(f"next: {command_line(analysis, [store.uri])}")
        print(f"      {command_line(self._program, shlex.split(self.next_options))}")
        return 0


def _progress(plan: Sequence[AnyConfig], options: GridOptions) -> PlanProgress[AnyConfig]:
    return progress_of(plan, options.run.store, retry_failed=options.retry_failed, on_invalid=_warn)


def _introduction(
    plan: Sequence[Config],
    n_before: int,
    cluster: "Cluster",
    share: float,
    options: GridOptions,
) -> str:
    done = f", {n_before} of them done" if n_before else ""
    per_trial = f"{options.run.cpus_per_trial} CPU" + (f", {share:g} GPU" if share else "")
    trials = "1 trial" if len(plan) == 1 else f"{len(plan):,} trials"
    return f"{trials}{done} · {cluster} · {per_trial} a trial"


def _dry_run(
    plan: Sequence[AnyConfig],
    progress: PlanProgress[AnyConfig],
    options: GridOptions,
    document: dict[str, Any],
) -> int:
    """Prints the plan, how much of it is finished and an estimate for the rest."""
    from sweeps.cost import estimate
    from sweeps.grid.dry_run import describe_plan

    run = options.run
    measured: list[Mapping[Any, Any]] = []
    if run.store.exists():
        measured += load_results(run.store.uri, on_invalid=_warn).to_dict("records")
    resources, share = "not looked at; --calibrate does", run.gpus_per_trial or 0.0
    slots = run.max_concurrent or 1
    if options.calibrate and progress.to_do:
        rows, resources, slots, share = _calibrate(progress.to_do, options)
        measured += rows
    guess = estimate(
        progress.to_do,
        measured,
        slots=slots,
        gpu_share=share,
        price_per_gpu_hour=options.price_per_gpu_hour,
    )
    to_do = {config.trial_id for config in progress.to_do}
    document |= plan_document(
        plan,
        finished=progress.finished,
        failures=progress.failures,
        to_do=to_do,
        estimate=guess,
        resources=resources,
    )
    text = describe_plan(
        plan,
        finished=progress.finished,
        failed=progress.failures,
        to_do=to_do,
        estimate=guess,
        resources=resources,
    )
    print(text, end="")
    return 0


def _calibrate(
    to_do: Sequence[Config], options: GridOptions
) -> tuple[list[dict[str, Any]], str, int, float]:
    """Returns rows of short trials, the resources as text, trials at once and a trial's share."""
    from sweeps.cli.display import SweepDisplay
    from sweeps.cluster.calibration import calibrate
    from sweeps.cluster.connection import connect
    from sweeps.cluster.worker import work_order
    from sweeps.cost import calibration_configs

    run = options.run
    with connect(run.address) as cluster, SweepDisplay("calibration", None, 0) as display:
        share = cluster.gpu_share(run)
        cluster.check_fits(run.cpus_per_trial, share)
        rows = calibrate(
            calibration_configs(to_do),
            order=work_order(run, sweep="calibration", gpu_share=share),
            cpus_per_trial=run.cpus_per_trial,
            data_root=run.data_root,
            display=display,
        )
        # A cluster whose autoscaler has not started nodes yet has no slot now.
        slots = max(1, cluster.slots(run.cpus_per_trial, share))
        slots = min(slots, run.max_concurrent or slots)
        return rows, f"{cluster}; {slots} trials at once", slots, share


def _cpu_line(results: pd.DataFrame) -> str:
    """Returns user and system time of the trials and of this process, with all threads."""
    trials = float(pd.to_numeric(results["cpu_seconds"]).sum())
    here = time.process_time()
    return f"CPU time: {trials + here:,.0f} s (trials {trials:,.0f}, this command {here:,.0f})"


def _counts(by_status: Any) -> str:
    return ", ".join(f"{n} {status}" for status, n in by_status.items()) or "none"


def _print_failures(
    failures: dict[str, dict[str, Any]],
    store: Store,
    n_failed: int,
    command: str,
    reworded: Callable[[str], str],
) -> None:
    retry = command if "--retry-failed" in command else f"{command} --retry-failed"
    print(f"{n_failed} failed; try them again: {retry}", file=sys.stderr)
    reasons: dict[str, list[str]] = {}
    for trial_id, record in failures.items():
        reasons.setdefault(record.get("message", "unknown"), []).append(trial_id)
    for reason, trial_ids in reasons.items():
        print(f"  {len(trial_ids)} × {reworded(reason)}", file=sys.stderr)
        print(f"    such as {store.uri}/failures/{trial_ids[0]}-….json", file=sys.stderr)


def _compact(store: Store) -> None:
    with contextlib.suppress(OSError):  # a copy that only saves time
        if store.exists():
            store.compact()


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)
