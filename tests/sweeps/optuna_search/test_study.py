"""The persistent study of a search: who may open it, what is told, what survives a kill."""

import json
import math
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from distill.config.distillation import DistillationConfig
from distill.errors import UserError
from distill.kinds import config_from_dict
from sweeps.optuna_search import locks
from sweeps.optuna_search import study as study_module
from sweeps.optuna_search.searcher import StudySearcher
from sweeps.optuna_search.spaces import Space, load_space
from sweeps.optuna_search.study import (
    CONNECT_SECONDS,
    SearchStudy,
    confirm_plan,
    engine_options,
    open_study,
    shown_storage,
)
from sweeps.store.store import Store
from tests.sweeps import plain_results

pytestmark = pytest.mark.lengthy

Open = Callable[..., SearchStudy]
CHECKPOINT = f"00000001-{'f' * 32}.safetensors"


def row_of(
    config: DistillationConfig,
    accuracy: float | None,
    *,
    seconds: float | None = 2.0,
    status: str = "ok",
) -> dict[str, Any]:
    return plain_results.row_of(
        config, val_accuracy_mean=accuracy, total_seconds=seconds, status=status
    )


@pytest.fixture
def open_(tmp_path: Path) -> Open:
    """Opens the study `s` in a journal file, of a search in the space `dbscan`."""

    def open_(own: Space | None = None, storage: str = "", **options: Any) -> SearchStudy:
        searched = own or load_space("dbscan")
        values: dict[str, Any] = {
            "space": searched.name,
            "shared": searched.shared,
            "objectives": ["accuracy"],
        }
        return open_study("s", storage or str(tmp_path / "s.journal"), **(values | options))

    return open_


def begin(study: SearchStudy, space: Space | None = None) -> tuple[int, DistillationConfig]:
    """A trial that runs, as far as the study knows."""
    trial = study.ask()
    config = (space or load_space("dbscan")).config(trial)
    assert isinstance(config, DistillationConfig)
    study.note_config(trial.number, config)
    return trial.number, config


def finish(study: SearchStudy, accuracy: float, *, seconds: float = 2.0) -> DistillationConfig:
    number, config = begin(study)
    study.tell_row(number, row_of(config, accuracy, seconds=seconds))
    return config


def states(study: SearchStudy) -> list[str]:
    return [trial.state.name for trial in study.trials]


# Opening


def test_a_study_goes_on_where_it_was(open_: Open) -> None:
    with open_(seed=3) as study:
        first = [finish(study, 0.1 * i).trial_id for i in range(3)]
    with open_(seed=3) as study:
        assert [trial.user_attrs["trial_id"] for trial in study.trials] == first
        assert [trial.value for trial in study.trials] == pytest.approx([0.0, 0.1, 0.2])
        later = [finish(study, 0.5).trial_id for _ in range(3)]

    assert not set(first) & set(later), "the sampler began from its first seed again"


def test_the_seed_decides_what_is_drawn(open_: Open, tmp_path: Path) -> None:
    drawn = []
    for i, seed in enumerate((3, 3, 4)):
        with open_(storage=str(tmp_path / f"{i}.journal"), seed=seed) as study:
            drawn.append([finish(study, 0.5).trial_id for _ in range(3)])

    assert drawn[0] == drawn[1]
    assert not set(drawn[0]) & set(drawn[2])


def test_the_first_point_comes_first_and_once(open_: Open) -> None:
    space = load_space("dbscan")
    for _ in range(2):
        with open_(first_point=space.first_point) as study:
            assert states(study) == ["WAITING"]
    with open_(first_point=space.first_point) as study:
        first = finish(study, 0.5)
        second = finish(study, 0.5)

    assert (first["eps_quantile"], first["min_samples"]) == (0.5, 2)
    assert first.trial_id != second.trial_id


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"objectives": ["accuracy", "seconds"]},
            "objectives is accuracy there and accuracy,seconds here",
        ),
        ({"space": "joint"}, "space is dbscan there and joint here"),
        ({"shared": {"ipc": 1}}, "clusterer is dbscan there and unset here; "),
        ({"shared": {"ipc": 1}}, "ipc is 10 there and 1 here"),
    ],
)
def test_another_search_is_refused_with_what_differs(
    open_: Open, change: dict[str, Any], message: str
) -> None:
    open_().close()

    with pytest.raises(UserError, match=re.escape(message)) as caught:
        open_(**change)
    assert "choose another --name" in str(caught.value)
    open_().close()  # and it is free again


def test_a_study_of_somebody_else_is_refused(open_: Open, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/other.db"
    optuna.create_study(study_name="s", storage=url).ask()

    with pytest.raises(UserError, match="was not made by dream-sweep"):
        open_(storage=url)


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        (["acuracy"], "unknown objective 'acuracy'; did you mean 'accuracy'?"),
        ([], "objectives must be one or more of accuracy, seconds, each once, got none"),
        (["seconds", "seconds"], "each once, got seconds, seconds"),
    ],
)
def test_unknown_objectives(open_: Open, objectives: list[str], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        open_(objectives=objectives)


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("s3://bucket/x", "needs a file or a database, not an object store: s3://bucket/x"),
        ("mysterydb://u:secret@host/x", "in mysterydb://u:***@host/x: NoSuchModuleError"),
        ("sqlite:////proc/nowhere/x.db", "OperationalError"),
        ("/proc/nowhere/x.journal", "no study can be opened at /proc/nowhere/x.journal: "),
    ],
)
def test_storages_that_cannot_be(open_: Open, storage: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        open_(storage=storage)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_passwords_are_not_shown() -> None:
    assert shown_storage("postgresql://me:secret@db:5432/x") == "postgresql://me:***@db:5432/x"
    assert shown_storage("sqlite:///a.db") == "sqlite:///a.db"


def test_a_second_driver_is_refused_until_the_first_is_dead(open_: Open, tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\n"
            "from sweeps.optuna_search.study import open_study\n"
            "s = open_study('s', sys.argv[1], space='dbscan', shared=eval(sys.argv[2]),"
            " objectives=['accuracy'])\n"
            "s.ask()\n"
            "print('open', flush=True)\n"
            "time.sleep(600)",
            str(tmp_path / "s.journal"),
            repr(load_space("dbscan").shared),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(UserError, match=rf"in use by another search \(process {holder.pid} on"):
            open_()
    finally:
        holder.kill()
        holder.communicate()

    with open_() as study:
        assert states(study) == ["RUNNING"]
        with pytest.raises(UserError, match=rf"\(process {os.getpid()} on"):
            open_()


def test_a_torn_last_line_of_the_journal_is_cut(open_: Open, tmp_path: Path) -> None:
    with open_() as study:
        finish(study, 0.5)
    journal = tmp_path / "s.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole.splitlines()[-1][:-4])

    with open_() as study:
        finish(study, 0.6)
    with open_() as study:
        assert [trial.value for trial in study.trials] == [0.5, 0.6]
    assert journal.read_bytes().startswith(whole)


def test_a_lock_that_a_killed_optuna_left_is_taken(
    open_: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_module, "_LOCK_SECONDS", 3)
    open_().close()
    (tmp_path / "s.journal.lock").symlink_to(tmp_path / "s.journal")

    with open_() as study:
        finish(study, 0.5)


def test_a_damaged_journal_is_named(open_: Open, tmp_path: Path) -> None:
    with open_() as study:
        finish(study, 0.5)
    journal = tmp_path / "s.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:2], b'{"op_code": 4\n', *lines[2:]]))

    with pytest.raises(UserError, match=r"s\.journal, cannot be read: JSONDecodeError"):
        open_()


def test_a_database_has_one_driver_at_a_time(
    open_: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LEASE_SECONDS", 0.3)
    url = f"sqlite:///{tmp_path}/s.db"
    with open_(storage=url) as study:
        config = finish(study, 0.5)
        with pytest.raises(UserError, match=rf"in use by another search \(process {os.getpid()}"):
            open_(storage=url)
        begin(study)
        # As kill -9 leaves it: no more signs of life, and not released.
        study._lock._released.set()  # type: ignore[union-attr]
        study._lock._thread.join()  # type: ignore[union-attr]
        with open_(storage=url) as other:
            assert states(other) == ["COMPLETE", "RUNNING"]
            assert [found.config for found in other.best(3)] == [config]
    start = time.monotonic()
    open_(storage=url).close()  # released, so there is nothing to wait for
    assert time.monotonic() - start < 3 * 0.3


# Telling


@pytest.mark.parametrize(
    ("row", "state", "status", "value"),
    [
        ({}, "COMPLETE", "ok", 0.5),
        ({"status": "infeasible"}, "PRUNED", "infeasible", None),
        ({"status": "diverged"}, "PRUNED", "diverged", None),
        ({"status": "out_of_memory"}, "PRUNED", "out_of_memory", None),
        ({"val_accuracy_mean": None}, "FAIL", "failed", None),
        ({"val_accuracy_mean": math.nan}, "FAIL", "failed", None),
        ({"val_accuracy_mean": math.inf}, "FAIL", "failed", None),
    ],
)
def test_a_row_is_told_by_its_status_and_numbers(
    open_: Open, row: dict[str, Any], state: str, status: str, value: float | None
) -> None:
    with open_() as study:
        number, config = begin(study)
        study.tell_row(number, row_of(config, 0.5) | row)
    with open_() as study:
        (trial,) = study.trials

    assert (trial.state.name, trial.value) == (state, value)
    assert trial.user_attrs["status"] == status
    assert trial.user_attrs["trial_id"] == config.trial_id
    assert DistillationConfig.from_dict(trial.user_attrs["config"]) == config
    assert trial.user_attrs.get("seconds") == (2.0 if state == "COMPLETE" else None)
    assert ("message" in trial.user_attrs) == (state == "FAIL")


def test_the_reason_is_told(open_: Open) -> None:
    with open_() as study:
        number, config = begin(study)
        row = row_of(config, None, status="infeasible") | {"status_message": "no cluster"}
        study.tell_row(number, row)
        failed, _ = begin(study)
        study.tell_failed(failed, "no such file")

        assert [trial.user_attrs["message"] for trial in study.trials] == [
            "no cluster",
            "no such file",
        ]


def test_two_objectives(open_: Open) -> None:
    with open_(objectives=["accuracy", "seconds"]) as study:
        finish(study, 0.5, seconds=9.0)
        number, config = begin(study)
        study.tell_row(number, row_of(config, 0.5, seconds=None))

        assert study.trials[0].values == [0.5, 9.0]
        assert states(study) == ["COMPLETE", "FAIL"]


@pytest.mark.parametrize("objectives", [["accuracy"], ["accuracy", "seconds"]])
def test_tpe_keeps_away_from_infeasible_points(
    open_: Open, tmp_path: Path, objectives: list[str]
) -> None:
    def share_infeasible(tell_as_failed: bool) -> float:
        """Of the trials after TPE's random ones; the better points lie at the border."""
        storage = str(tmp_path / f"{tell_as_failed}.journal")
        with open_(storage=storage, objectives=objectives) as study:
            for _ in range(45):
                number, config = begin(study)
                x = config["eps_quantile"] or 0.0
                row = row_of(config, 1.5 - x, seconds=float(config["min_samples"] or 0))
                if x > 0.5:
                    study.tell_row(number, row)
                elif tell_as_failed:
                    study.tell_failed(number, "")
                else:
                    study.tell_row(number, row | {"status": "infeasible"})
            last = [trial.params["eps_quantile"] <= 0.5 for trial in study.trials[20:]]
            return float(sum(last) / len(last))

    assert share_infeasible(tell_as_failed=False) < 0.6 < share_infeasible(tell_as_failed=True)


# After a kill


def test_a_running_trial_with_a_row_is_told(open_: Open, store: Store) -> None:
    with open_() as study:
        _, config = begin(study)
        _, infeasible = begin(study)
    store.put_result(row_of(config, 0.7), [], None)
    store.put_result(row_of(infeasible, None, status="infeasible"), [], None)

    with open_() as study:
        assert study.repair(store) == 0
        assert states(study) == ["COMPLETE", "PRUNED"]
        assert study.trials[0].value == 0.7
        assert study.n_counted == 2


def test_a_running_trial_without_a_row_is_queued_again_once(open_: Open, store: Store) -> None:
    space = load_space("joint")
    with open_(space) as study:
        number, config = begin(study, space)
        study.study.tell(study.ask(), state=TrialState.FAIL)  # something else in between

    for _ in range(3):
        with open_(space) as study:
            assert study.repair(store) == 1
            assert states(study) == ["FAIL", "FAIL", "WAITING"]
            assert study.n_counted == 1
            assert study.trials[number].user_attrs["status"] == "interrupted"
    with open_(space) as study:
        assert begin(study, space)[1] == config
        assert study.n_counted == 2


def test_repair_may_be_killed_between_its_two_steps(open_: Open, store: Store) -> None:
    with open_() as study:
        _, config = begin(study)
        study._queue_again(study.trials[0], set())
        assert states(study) == ["RUNNING", "WAITING"]
    with open_() as study:
        assert study.repair(store) == 1
        assert states(study) == ["FAIL", "WAITING"]
        assert begin(study)[1] == config


def test_queued_trial_may_be_killed_before_it_is_sampled(open_: Open, store: Store) -> None:
    with open_() as study:
        _, config = begin(study)
    for _ in range(2):
        with open_() as study:
            study.repair(store)
            study.ask()
    with open_() as study:
        assert study.repair(store) == 1
        assert begin(study)[1] == config
        assert states(study) == ["FAIL", "FAIL", "FAIL", "RUNNING"]
        assert study.n_counted == 1


def test_a_trial_killed_while_it_is_drawn_keeps_what_is_drawn(open_: Open, store: Store) -> None:
    with open_() as study:
        quantile = study.ask().suggest_float("eps_quantile", 0.05, 1.0)
    with open_() as study:
        study.repair(store)
        assert begin(study)[1]["eps_quantile"] == quantile


def test_a_repeated_trial_keeps_its_curve(open_: Open, store: Store) -> None:
    with open_() as study:
        trial = study.ask()
        study.note_config(trial.number, load_space("dbscan").config(trial))
        trial.report(0.25, 0)
        trial.report(0.5, 2)
    with open_() as study:
        study.repair(store)
        again = study.ask()
        assert study.trials[again.number].intermediate_values == {0: 0.25, 2: 0.5}


def test_failed_trials_are_queued_again_when_asked(open_: Open, store: Store) -> None:
    with open_() as study:
        number, config = begin(study)
        study.tell_failed(number, "a full disk")
        assert study.n_counted == 1
        assert study.repair(store) == 0
        assert study.repair(store, retry_failed=True) == 1
        assert study.repair(store, retry_failed=True) == 1
        assert study.n_counted == 0
        assert begin(study)[1] == config


def test_checkpoints_of_trials_that_were_stopped_early_go(open_: Open, store: Store) -> None:
    with open_() as study:
        number, config = begin(study)
        study.tell_pruned(number)
        running = begin(study)[1]
    for stopped in (config, running):
        store.checkpoint_folder(stopped.trial_id).write(CHECKPOINT, b"x")

    with open_() as study:
        study.repair(store)

    assert store.checkpoint_folder(config.trial_id).names() == []
    assert store.checkpoint_folder(running.trial_id).names() == [CHECKPOINT]


def driver(folder: Path, n_trials: int, kill_at: int) -> None:
    """A driver that kills itself at its nth write to the journal, or to the store."""
    n_writes = 0

    def step() -> None:
        nonlocal n_writes
        n_writes += 1
        if n_writes == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    append = JournalFileBackend.append_logs

    def append_or_die(self: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
        step()
        append(self, logs)

    JournalFileBackend.append_logs = append_or_die  # type: ignore[method-assign]
    log = (folder / "log").open("a")
    store = Store(folder / "results")
    store.create()
    space = load_space("joint")
    with open_study(
        "s",
        str(folder / "s.journal"),
        space=space.name,
        shared=space.shared,
        objectives=["accuracy"],
    ) as study:
        study.repair(store)
        searcher = StudySearcher(study, space, store, n_trials=n_trials)
        for i in range(10 * n_trials):
            suggestion = searcher.suggest(f"tune-{i}")
            if isinstance(suggestion, str):
                break
            config = config_from_dict(suggestion["point"])
            assert isinstance(config, DistillationConfig)
            print("begin", config.trial_id, file=log, flush=True)
            searcher.on_trial_result(f"tune-{i}", {"curve_outer": 0, "curve_accuracy": 0.1})
            step()
            store.put_result(row_of(config, 0.5), [], None)
            print("end", config.trial_id, file=log, flush=True)
            step()
            searcher.on_trial_complete(f"tune-{i}", {"status": "ok"})


def test_driver_killed_at_any_write_loses_and_repeats_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.sweeps.optuna_search.test_study"])
    n_trials, n_killed = 2, 0
    for kill_at in range(1, 1000):
        folder = tmp_path / str(kill_at)
        folder.mkdir()
        # A second driver is killed soon after its start, so that the repair is hit as well.
        exit_codes = []
        for write_number in (kill_at, 1 + kill_at % 9, 0):
            process = context.Process(target=driver, args=(folder, n_trials, write_number))
            process.start()
            process.join()
            exit_codes.append(process.exitcode)
        assert exit_codes[-1] == 0
        n_killed += exit_codes[0] == -9
        check_nothing_lost_nothing_twice(folder, n_trials)
        if exit_codes[0] == 0:
            break

    assert n_killed > 20, "there are that many writes"


def check_nothing_lost_nothing_twice(folder: Path, n_trials: int) -> None:
    events = [line.split() for line in (folder / "log").read_text().splitlines()]
    begun = [trial_id for what, trial_id in events if what == "begin"]
    ended = [trial_id for what, trial_id in events if what == "end"]
    rows = Store(folder / "results").statuses()
    space = load_space("joint")
    with open_study(
        "s",
        str(folder / "s.journal"),
        space=space.name,
        shared=space.shared,
        objectives=["accuracy"],
    ) as study:
        complete = [t for t in study.trials if t.state == TrialState.COMPLETE]
        assert study.n_counted == len(complete) == n_trials
        assert not [t for t in study.trials if t.state in (TrialState.RUNNING, TrialState.WAITING)]
    told = [trial.user_attrs["trial_id"] for trial in complete]
    assert len(set(told)) == n_trials
    assert set(begun) == set(told) == set(rows), "a trial that was begun was not gone on with"
    # A kill between a row and its line in the log leaves the line out.
    assert len(ended) == len(set(ended)), "a finished trial was run again"
    for trial_id in set(ended):
        assert trial_id not in begun[begun.index(trial_id) + begun.count(trial_id) :]
        last_begin = max(i for i, event in enumerate(events) if event == ["begin", trial_id])
        assert last_begin < events.index(["end", trial_id])


# The best


def test_the_best_are_different_and_the_best_come_first(open_: Open) -> None:
    with open_() as study:
        second = finish(study, 0.6)
        worst = finish(study, 0.2)
        first = finish(study, 0.9)
        study.study.enqueue_trial(dict(study.trials[0].params))
        assert finish(study, 0.6) == second

        assert [found.config for found in study.best(9)] == [first, second, worst]
        assert [found.values for found in study.best(1)] == [{"accuracy": 0.9}]
        assert study.best(1)[0].parameters == study.trials[2].params


def test_the_best_of_two_objectives_are_the_front(open_: Open) -> None:
    with open_(objectives=["accuracy", "seconds"]) as study:
        fast = finish(study, 0.5, seconds=1.0)
        finish(study, 0.4, seconds=2.0)  # slower and worse
        good = finish(study, 0.9, seconds=9.0)
        finish(study, 0.5, seconds=1.5)  # slower, not better
        number, config = begin(study)
        study.tell_row(number, row_of(config, None, status="infeasible"))

        assert [found.config for found in study.best(9)] == [good, fast]
        assert study.best(9)[1].values == {"accuracy": 0.5, "seconds": 1.0}
    assert study.best(1)[0].config == good


def test_trial_of_another_version_is_refused(open_: Open) -> None:
    with open_() as study:
        number, config = begin(study)
        study.note(number, "trial_id", "0" * 16)
        study.tell_row(number, row_of(config, 0.5))
        with pytest.raises(UserError, match="its trial 0 has another identity today"):
            study.best(1)


def test_no_trial_ended(open_: Open) -> None:
    with open_() as study:
        begin(study)
        assert study.best(3) == []


def test_the_plan_that_confirms() -> None:
    configs = [
        DistillationConfig(eval_split="val", val_fraction=0.1, ipc=ipc, eval_networks=("resnet10",))
        for ipc in (1, 2)
    ]
    plan = confirm_plan(configs, 3)

    assert [(config.to_dict()["ipc"], config.to_dict()["seed"]) for config in plan] == [
        (1, 1000),
        (2, 1000),
        (1, 1001),
        (2, 1001),
        (1, 1002),
        (2, 1002),
    ]
    for config in plan:
        assert isinstance(config, DistillationConfig)
        assert (config.eval_split, config.val_fraction) == ("test", 0.0)
        assert config.eval_networks == ("resnet10",)


def test_the_dashboard_lists_a_study(open_: Open, tmp_path: Path) -> None:
    with open_() as study:
        finish(study, 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    program = str(Path(sys.executable).with_name("optuna-dashboard"))
    dashboard = subprocess.Popen(
        [program, "--host", "127.0.0.1", "--port", str(port), str(tmp_path / "s.journal")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        listed = _get_json(f"http://127.0.0.1:{port}/api/studies", dashboard)
    finally:
        dashboard.kill()
        dashboard.wait()

    (summary,) = listed["study_summaries"]
    assert summary["study_name"] == "s"
    assert summary["directions"] == ["maximize"]
    assert "dbscan" in json.dumps(summary["user_attrs"])


def _get_json(url: str, process: "subprocess.Popen[bytes]") -> Any:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the dashboard ended"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
                return json.load(answer)
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the dashboard does not answer")


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("postgresql://user:word@host/db", {"connect_args": {"connect_timeout": CONNECT_SECONDS}}),
        ("mysql+pymysql://host/db", {"connect_args": {"connect_timeout": CONNECT_SECONDS}}),
        ("sqlite:///study.db", {}),
    ],
)
def test_a_database_that_does_not_answer_ends_in_time(url: str, options: dict[str, Any]) -> None:
    """No such server is here: drivers of both take this option, SQLite has no connection."""
    assert engine_options(url) == options
