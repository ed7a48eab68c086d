"""Run a search: trials compared on validation images, then the best again on the test images.

The same command resumes after an interruption, and a larger --trials continues a finished search.
Exit codes: 0 success, 1 some trials failed, 2 bad usage, 130 or 143 interrupted.
"""

# ruff: noqa: PLC0415 - Ray takes seconds to import: not before there is something to run
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optuna.exceptions import StorageInternalError

from distill.config.base import Config
from distill.errors import UserError
from sweeps.cli.json_output import json_output
from sweeps.cli.options import check_execution_applies
from sweeps.cli.program import command_line, program_of, run_command
from sweeps.cli.set_options import with_set_options
from sweeps.monitor.documents import outcome_document
from sweeps.optuna_search.comparison import (
    Comparison,
    Pairing,
    Reference,
    compare,
    comparison_documents,
    describe_comparisons,
    references_for,
)
from sweeps.optuna_search.options import SearchOptions, search_parser
from sweeps.optuna_search.report import (
    dashboard_command,
    describe_search,
    failure_counts,
    search_document,
)
from sweeps.optuna_search.study import (
    SearchStudy,
    confirm_plan,
    median_pruner,
    open_study,
    shown_storage,
)
from sweeps.store.progress import PlanProgress, progress_of

if TYPE_CHECKING:
    from sweeps.cluster.connection import Cluster
    from sweeps.cluster.runner import Outcome


@dataclass(frozen=True, kw_only=True)
class SearchCommand:
    """The command of a search.

    Attributes:
        pairing: statistics of the best against what needs no search.
        installed: whether it was started by `dream-sweep`.
    """

    pairing: Pairing
    installed: bool = False

    def main(self, arguments: list[str] | None = None) -> int:
        """Runs the command; returns its exit code.

        Args:
            arguments: of the command line; None: those of this process.
        """
        given = sys.argv[1:] if arguments is None else arguments
        return run_command(lambda: self._main(given), self._reworded)

    def options(self, arguments: Sequence[str]) -> SearchOptions:
        """Returns what some arguments ask for.

        Raises:
            UserError: an option or a value is unknown or out of range.
        """
        return SearchOptions.from_parsed(search_parser(self._program).parse_args(arguments))

    @property
    def _program(self) -> str:
        return program_of("search", installed=self.installed)

    def _reworded(self, text: str) -> str:
        return with_set_options(text, search_parser(self._program).option_strings())

    def _main(self, arguments: list[str]) -> int:
        options = self.options(arguments)
        with json_output(enabled=options.run.json) as document:
            exit_code = self._search(options, arguments, document)
            document["exit_code"] = exit_code
        return exit_code

    def _search(
        self, options: SearchOptions, arguments: list[str], document: dict[str, Any]
    ) -> int:
        """Runs the search; fills the object that `--json` prints."""
        searched = options.space.check()
        check_execution_applies(options.space.examples(), options.run.execution)
        store = options.run.store
        document |= {"command": "search", "name": options.name, "results": store.shown}
        store.create()
        try:
            with _open_study(options) as study:
                search = _Search(study, options, self.pairing)
                study.repair(store, retry_failed=options.retry_failed)
                outcome = search.run(searched, self._program, arguments)
                study.remove_leftovers(store)
                return search.finish(outcome, command_line(self._program, arguments), document)
        except (OSError, StorageInternalError) as error:
            reason = str(error).strip().split("\n", 1)[0]
            raise UserError(
                f"the study in {shown_storage(options.storage)}, or the results in {store.shown}, "
                f"cannot be read or written: {reason}"
            ) from error


def _open_study(options: SearchOptions) -> SearchStudy:
    space = options.space
    prunes = options.prune and len(options.objectives) == 1
    return open_study(
        options.name,
        options.storage,
        space=space.name,
        shared=space.shared,
        objectives=options.objectives,
        first_point=space.first_point,
        config_class=space.config_class,
        seed=options.seed,
        pruner=median_pruner(space.example()) if prunes else None,
    )


class _Search:
    """A search with its study open.

    Args:
        study: of the search.
        options: of the command.
        pairing: see `SearchCommand`.
    """

    def __init__(self, study: SearchStudy, options: SearchOptions, pairing: Pairing) -> None:
        self._study = study
        self._options = options
        self._pairing = pairing
        self._store = options.run.store
        self._uncompared: str | None = None  # why there are no references

    def run(
        self, searched: Sequence[str], program: str, arguments: Sequence[str]
    ) -> "Outcome | None":
        """Searches, then confirms; returns how the last of the two ended, None if none was needed.

        Args:
            searched: names of the parameters that are searched.
            program: how the command was started, for the record.
            arguments: of the command line, for the record.
        """
        options, run = self._options, self._options.run
        if self._study.n_counted >= options.n_trials and not self._to_confirm().to_do:
            return None
        # Ray takes seconds to start: not before there is something to run.
        from sweeps.cluster.connection import connect
        from sweeps.cluster.trackers import check_trackers

        check_trackers(run.trackers, self._store)
        outcome = None
        with connect(run.address) as cluster:
            self._check_cluster(cluster)
            script, *words = program.split()
            self._store.put_submission(
                {
                    "name": options.name,
                    "script": script,
                    "command": [*words, *arguments],
                    "space": options.space.name,
                    "searched": list(searched),
                    "shared": options.space.shared,
                    "n_trials": options.n_trials,
                    "cluster": str(cluster),
                }
            )
            if self._study.n_counted < options.n_trials:
                outcome = self._search(searched, cluster)
            if outcome is None or not (outcome.stopped or outcome.signal_number):
                outcome = self._confirm(cluster) or outcome
        return outcome

    def _check_cluster(self, cluster: "Cluster") -> None:
        """Raises a UserError for a cluster that cannot run the search as it was asked for."""
        run, space = self._options.run, self._options.space
        share = cluster.gpu_share(run)
        cluster.check_fits(run.cpus_per_trial, share)
        if cluster.is_local:
            return
        if run.max_concurrent is None and not cluster.slots(run.cpus_per_trial, share):
            raise UserError(
                f"no node of the cluster can hold a trial yet ({cluster}), so how many points are "
                "to be drawn at once is unknown: give --max-concurrent"
            )
        from sweeps.cli.display import SweepDisplay
        from sweeps.cluster.preflight import check_nodes

        with SweepDisplay(self._options.name, None, 0) as display:
            check_nodes([space.example()], run, gpu_share=share, display=display)

    def _search(self, searched: Sequence[str], cluster: "Cluster") -> "Outcome":
        from sweeps.cli.display import SweepDisplay
        from sweeps.cluster.runner import run_trials
        from sweeps.optuna_search.searcher import PruningScheduler, StudySearcher

        options, n_before = self._options, self._study.n_counted
        with SweepDisplay(options.name, options.n_trials, n_before) as display:
            display.phase(
                f"{options.n_trials} trials over {', '.join(searched)}"
                f"{f'; {n_before} of them done' if n_before else ''} · {cluster}"
            )
            searcher = StudySearcher(
                self._study,
                options.space,
                self._store,
                n_trials=options.n_trials,
                on_warning=display.warn,
                on_pruned=lambda trial_id: display.reported(
                    {"trial_id": trial_id, "status": "pruned"}
                ),
            )
            outcome = run_trials(
                searcher,
                data_for=[options.space.example()],
                scheduler=PruningScheduler(searcher),
                max_concurrent=self._slots(cluster),
                display=display,
                **self._common(cluster, "search"),
            )
        return dataclasses.replace(outcome, stopped=searcher.problem or outcome.stopped)

    def _confirm(self, cluster: "Cluster") -> "Outcome | None":
        """Confirms the best and the references; the best alone where a reference does not fit."""
        try:
            return self._run_confirmation(cluster)
        except UserError as error:
            if not self._references():
                raise
            self._uncompared = str(error)
            return self._run_confirmation(cluster)

    def _run_confirmation(self, cluster: "Cluster") -> "Outcome | None":
        from sweeps.cli.display import SweepDisplay
        from sweeps.cluster.runner import run_trials

        progress = self._to_confirm()
        to_do = progress.to_do
        if not to_do:
            return None
        name, n_planned = f"{self._options.name}, confirmed", len(self._confirm_plan())
        what = ", ".join(["the best", *(found.label for found in self._references())])
        with SweepDisplay(name, n_planned, n_planned - len(to_do)) as display:
            display.phase(f"confirming {what}: {n_planned} trials · {cluster}")
            return run_trials(
                to_do,
                data_for=to_do,
                max_concurrent=self._options.run.max_concurrent,
                display=display,
                attempts=progress.attempts,
                **self._common(cluster, "confirm"),
            )

    def _common(self, cluster: "Cluster", phase: str) -> dict[str, Any]:
        """Returns the arguments of `run_trials` for a phase's trials."""
        from sweeps.cluster.worker import work_order

        options, run = self._options, self._options.run
        if phase == "confirm":  # without validation images, so without a best epoch
            run = dataclasses.replace(
                run, execution=dataclasses.replace(run.execution, save_network=False)
            )
        return {
            "order": work_order(
                run,
                sweep=options.name,
                phase=phase,
                gpu_share=cluster.gpu_share(run),
                replace=options.retry_failed and phase == "confirm",
            ),
            "cpus_per_trial": run.cpus_per_trial,
            "data_root": run.data_root,
        }

    def _slots(self, cluster: "Cluster") -> int:
        """Returns how many trials are drawn before the first has ended.

        Tune asks a searcher for no more trials than that, so it is also how many wait for nodes
        that an autoscaler may add.
        """
        run = self._options.run
        fit = cluster.slots(run.cpus_per_trial, cluster.gpu_share(run))
        return min(int(run.max_concurrent or max(fit, 1)), self._options.n_trials)

    def _confirm_plan(self) -> list[Config]:
        best = [found.config for found in self._study.best(self._options.n_confirmed)]
        plan = {
            config.trial_id: config
            for config in confirm_plan(
                [*best, *(reference.config for reference in self._references())],
                self._options.n_seeds,
            )
        }
        return list(plan.values())

    def _references(self) -> list[Reference]:
        """Returns what the best is compared with; nothing where nothing is confirmed."""
        best = self._study.best(min(1, self._options.n_confirmed))
        if not best or self._uncompared is not None:
            return []
        return references_for(best[0].config, self._options.space)

    def _comparisons(self) -> list[Comparison]:
        references = self._references()
        if not references:
            return []
        (best,) = self._study.best(1)
        return compare(
            best.config,
            references,
            self._store,
            n_seeds=self._options.n_seeds,
            pairing=self._pairing,
        )

    def _to_confirm(self) -> PlanProgress[Config]:
        """Returns the progress of the confirmation; damaged files are named by the report."""
        return progress_of(
            self._confirm_plan(),
            self._store,
            retry_failed=self._options.retry_failed,
            on_invalid=lambda _: None,
        )

    def finish(self, outcome: "Outcome | None", command: str, document: dict[str, Any]) -> int:
        """Prints the results of the search and how it ended; returns the exit code.

        Args:
            outcome: of the trials; None if none had to run.
            command: the command line that resumes.
            document: what `--json` prints; is filled.
        """
        options, study, store = self._options, self._study, self._store
        numbers = {
            "n_trials": options.n_trials,
            "n_confirmed": options.n_confirmed,
            "n_seeds": options.n_seeds,
        }
        failed = failure_counts(study, store, self._confirm_plan())
        comparisons = self._comparisons()
        document |= search_document(study, store, **numbers) | outcome_document(outcome, command)
        document["comparisons"] = comparison_documents(comparisons)
        document["n_failed"] = failed.total()
        document["failed"] = [
            {"message": reason, "n_trials": n} for reason, n in failed.most_common()
        ]
        print(describe_search(study, store, **numbers))
        for line in describe_comparisons(comparisons):
            print(line)
        if self._uncompared is not None:
            print(f"not compared with what needs no search: {self._uncompared}")
        print(f"study: {dashboard_command(options.storage)}")
        print(f"results: {store.shown}")
        if outcome is not None and outcome.stopped:
            print(f"stopped: {outcome.stopped}; once that is fixed: {command}", file=sys.stderr)
            return 1
        if outcome is not None and outcome.signal_number:
            print(f"interrupted; continue: {command}", file=sys.stderr)
            return 128 + outcome.signal_number
        if failed:
            retry = command if options.retry_failed else f"{command} --retry-failed"
            print(f"some trials failed; try them again: {retry}", file=sys.stderr)
            for reason, n in failed.most_common():
                print(f"  {n} × {reason}", file=sys.stderr)
            return 1
        return 0
