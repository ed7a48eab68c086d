"""The search's command as a user runs it: a process of its own, a real Ray, a real study."""

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial

from distill.config.distillation import DistillationConfig
from distill.datasets import load_dataset
from distill.trials import runner
from sweeps.monitor.status import StatusReader
from sweeps.optuna_search.spaces import load_space
from sweeps.optuna_search.study import open_study
from sweeps.search import main
from sweeps.store.store import Store, load_results
from tests.paths import ROOT
from tests.sweeps.cluster.patience import TEST_SECONDS
from tests.sweeps.test_full_grid import checkpoints, environment, number_of, wait_for

pytestmark = pytest.mark.timeout(TEST_SECONDS)

SIZES = {
    "ipc": 1,
    "width": 8,
    "depth": 2,
    "n_outer": 4,
    "n_inner": 2,
    "n_net_batches": 1,
    "net_batch_size": 16,
    "eval_epochs": 5,
    "n_eval": 1,
    "seed": 0,
}
CHECKPOINTS = ("--checkpoint-seconds", "0.2")


def command(results: Path, space: str, *options: str) -> list[str]:
    script = str(ROOT / "sweeps" / "search.py")
    given = {word.partition("=")[0] for word in options}
    sizes = [f"{name}={value}" for name, value in SIZES.items() if name not in given]
    tiny = [word for text in sizes for word in ("--set", text)]
    return [sys.executable, script, space, "--results", str(results), *tiny, *options]


def run(results: Path, space: str, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(results, space, *options),
        env=environment(),
        cwd=results.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def start(results: Path, space: str, *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command(results, space, *options),
        env=environment(),
        cwd=results.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def trials_of(results: Path, name: str = "dbscan") -> list[FrozenTrial]:
    journal = str(results / "studies" / f"{name}.journal")
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(journal))
    return optuna.load_study(study_name=name, storage=storage).trials


def states(results: Path) -> list[str]:
    return [trial.state.name for trial in trials_of(results)]


def rows(results: Path) -> list[dict[str, Any]]:
    found: Any = load_results(results).to_dict("records")
    return list(found)


def is_of(trial: FrozenTrial, row: dict[str, Any]) -> bool:
    """Whether a row is of the parameters of a trial of the space `dbscan`."""
    return row["clusterer"] == "dbscan" and all(row[k] == v for k, v in trial.params.items())


@pytest.mark.ray
def test_a_search_its_confirmation_and_more_of_it(tmp_path: Path) -> None:
    results = tmp_path / "results"
    short = ("--confirm", "1", "--seeds", "2")
    first = run(results, "dbscan", "--trials", "3", *short)
    assert first.returncode == 0, first.stderr
    assert "search dbscan: 3 of 3 trials: 3 complete" in first.stdout
    assert f"uv run optuna-dashboard {results}/studies/dbscan.journal" in first.stdout

    by_phase: dict[str, list[dict[str, Any]]] = {"search": [], "confirm": []}
    for row in rows(results):
        by_phase[row["phase"]].append(row)
    trials = trials_of(results)
    assert {row["trial_id"]: row["val_accuracy_mean"] for row in by_phase["search"]} == {
        trial.user_attrs["trial_id"]: trial.value for trial in trials
    }
    best = max(trials, key=lambda trial: (trial.value or 0, -trial.number))
    of_best = [row for row in by_phase["confirm"] if is_of(best, row)]
    k_means = [row for row in by_phase["confirm"] if row["clusterer"] == "kmeans"]
    assert sorted(row["seed"] for row in of_best) == [1000, 1001]
    assert sorted(row["seed"] for row in k_means) == [1000, 1001]
    default = len(by_phase["confirm"]) - 4  # unless the default is the best
    assert default in (0, 2)
    assert {row["eval_split"] for row in by_phase["confirm"]} == {"test"}
    assert {row["val_fraction"] for row in by_phase["confirm"]} == {0.0}
    tested = [100 * row["test_accuracy_mean"] for row in of_best]
    assert f"{sum(tested) / 2:.1f} ± " in first.stdout
    gain = (sum(tested) - sum(100 * row["test_accuracy_mean"] for row in k_means)) / 2
    assert re.search(rf"best − K-Means +{re.escape(f'{gain:+.1f}')} (±|points)", first.stdout)
    assert ("best − default" in first.stdout) == (default == 2)

    again = run(results, "dbscan", "--trials", "3", *short)
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout
    assert "reading the images" not in again.stderr, "there was nothing to run"

    machine = run(results, "dbscan", "--trials", "3", *short, "--json")
    document = json.loads(machine.stdout)
    assert machine.stderr.startswith(first.stdout), "text for people is on standard error"
    assert (document["finished"], document["exit_code"]) == ({"complete": 3}, 0)
    assert document["best"][0]["n_confirmed"] == 2
    assert document["best"][0]["test_accuracy_mean"] == pytest.approx(sum(tested) / 200)
    assert document["comparisons"][-1]["reference"] == "K-Means"
    assert document["comparisons"][-1]["difference"] == pytest.approx(gain / 100)
    status = StatusReader(Store(results)).read()
    n_rows = 3 + len(by_phase["confirm"])
    assert (status.planned, status.n_finished, status.left.n_trials) == (n_rows, n_rows, 0)

    more = run(results, "dbscan", "--trials", "4", "--confirm", "0")
    assert more.returncode == 0, more.stderr
    assert states(results) == ["COMPLETE"] * 4
    assert [trial.value for trial in trials_of(results)][:3] == [trial.value for trial in trials]

    other = run(results, "dbscan", "--trials", "4", "--set", "ipc=2")
    assert other.returncode == 2
    assert "is another search: ipc is 1 there and 2 here" in other.stderr


@pytest.mark.ray
def test_killed_search_resumes(tmp_path: Path) -> None:
    results = tmp_path / "results"
    options = ("--trials", "2", "--confirm", "0", "--set", "n_outer=40", *CHECKPOINTS)
    killed = start(results, "dbscan", *options)
    try:
        wait_for(lambda: any(number_of(path) >= 3 for path in checkpoints(results)), killed)
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
    running = {path.parent.name: number_of(path) for path in checkpoints(results)}
    assert max(running.values()) >= 3

    again = start(results, "dbscan", *options)
    try:
        later = {}

        def goes_on() -> bool:
            later.update({path.parent.name: number_of(path) for path in checkpoints(results)})
            return any(later.get(trial_id, 0) > number for trial_id, number in running.items())

        wait_for(goes_on, again)
    finally:
        out, errors = again.communicate()
    assert again.returncode == 0, errors

    trials = trials_of(results)
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    failed = [trial for trial in trials if trial.state.name == "FAIL"]
    assert len(complete) == 2
    assert "2 of 2 trials: 2 complete" in out
    assert {trial.user_attrs["status"] for trial in failed} == {"interrupted"}
    ids = [trial.user_attrs["trial_id"] for trial in complete]
    assert set(running) <= set(ids), "what had a checkpoint was not gone on with"
    assert sorted(ids) == sorted(row["trial_id"] for row in rows(results))
    config = DistillationConfig.from_dict(complete[0].user_attrs["config"])
    undisturbed = runner.run(config, load_dataset("digits", val_fraction=0.1)).row
    assert complete[0].value == undisturbed["val_accuracy_mean"]
    assert not checkpoints(results)


@pytest.mark.slow
@pytest.mark.ray
def test_interrupted_search_prints_how_to_resume(tmp_path: Path) -> None:
    results = tmp_path / "results"
    options = ("--trials", "2", "--confirm", "1", "--seeds", "1", "--set", "n_outer=20")
    interrupted = start(results, "dbscan", *options, *CHECKPOINTS)
    wait_for(lambda: checkpoints(results), interrupted)
    interrupted.send_signal(signal.SIGINT)
    _, errors = interrupted.communicate()

    assert interrupted.returncode == 130, errors
    assert "interrupted; continue: uv run sweeps/search.py dbscan --results" in errors
    assert "RUNNING" in states(results)
    again = run(results, "dbscan", *options)
    assert again.returncode == 0, again.stderr
    assert sorted(states(results)).count("COMPLETE") == 2
    phases = Counter(row["phase"] for row in rows(results))
    assert phases["search"] == 2
    assert phases["confirm"] in (2, 3), "the best, K-Means, and the default where it is another"


@pytest.mark.slow
@pytest.mark.ray
def test_two_objectives_in_a_user_space_with_failing_trials(tmp_path: Path) -> None:
    space = tmp_path / "mine.py"
    space.write_text(
        '"""Mine."""\n'
        'DEFAULT = {"n_representatives": 8}\n'
        "def suggest(trial):\n"
        '    n = trial.suggest_categorical("n_representatives", [8, 9, 100_000])\n'
        '    dbscan = {"clusterer": "dbscan", "eps": 1e-6, "min_samples": 5}\n'
        '    return {"n_representatives": n, **(dbscan if n == 9 else {})}\n'
    )
    results = tmp_path / "results"
    done = run(
        results,
        str(space),
        *("--trials", "9", "--objectives", "accuracy,seconds", "--confirm", "1", "--seeds", "1"),
        *("--storage", f"sqlite:///{tmp_path}/studies.db"),
    )

    assert done.returncode == 1, done.stderr
    study = optuna.load_study(study_name="mine", storage=f"sqlite:///{tmp_path}/studies.db")
    by_choice = {(t.params["n_representatives"], t.state.name) for t in study.trials}
    assert by_choice == {(8, "COMPLETE"), (9, "PRUNED"), (100_000, "FAIL")}
    assert len(study.trials) == 9
    assert "best compromises of accuracy and seconds" in done.stdout
    assert "validation  seconds" in done.stdout
    assert "n_representatives asks for 100000 representatives" in done.stderr
    assert "--retry-failed" in done.stderr
    assert sorted(row["status"] for row in rows(results)) == ["infeasible", "ok", "ok", "ok"]
    assert "best − default = K-Means" in done.stdout


@pytest.mark.slow
@pytest.mark.ray
def test_references_that_do_not_fit_leave_the_best_confirmed(tmp_path: Path) -> None:
    """The default asks for 64 representatives of classes of 20 images."""
    space = tmp_path / "few.py"
    space.write_text(
        '"""Few."""\n'
        'BASE = {"train_per_class": 20}\n'
        "def suggest(trial):\n"
        '    return {"n_representatives": trial.suggest_int("n_representatives", 4, 9)}\n'
    )
    results = tmp_path / "results"
    done = run(results, str(space), "--trials", "2", "--confirm", "1", "--seeds", "2")

    assert done.returncode == 0, done.stderr
    assert Counter(row["phase"] for row in rows(results)) == {"search": 2, "confirm": 2}
    assert "not compared with what needs no search: n_representatives asks for 64" in done.stdout
    assert "best −" not in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["dbskan"], "unknown space 'dbskan'; did you mean 'dbscan'?"),
        (["dbscan", "--trails", "3"], "did you mean '--trials'?"),
        (["dbscan", "--trials", "0"], "--trials must be at least 1, got 0"),
        (["dbscan", "--objectives", "speed"], "unknown objective 'speed'"),
        (["dbscan", "--set", "epz=3"], "unknown option 'epz'; did you mean 'eps'?"),
        (["dbscan", "--set", "eps=3", "--set", "min_samples=2"], "nothing to search"),
        (["dbscan", "--set", "eval_split=test"], "judged on validation images"),
        (["dbscan", "--range", "eps_quantile=0.1"], "--range takes PARAMETER=LOW:HIGH, got 'eps"),
        (["dbscan", "--range", "eps_quantile=0.5:a"], "--range takes PARAMETER=LOW:HIGH, got"),
        (["dbscan", "--range", "eps-quantil=0.1:1"], "did you mean 'eps_quantile'?"),
        (["dbscan", "--val-fraction", "1.5"], "val_fraction must be at least 0 and below 1"),
        (["grid_size", "--precision", "bfloat16"], "--precision bfloat16 does not apply to a sel"),
        (["dbscan", "--name", "a/b"], "--name must do as the name of a file, got 'a/b'"),
        (["dbscan", "--results", "s3://bucket/x"], "where no study can lie; give --storage"),
        (["dbscan", "--storage", "s3://bucket/x"], "needs a file or a database, not an object"),
    ],
)
def test_bad_usage_is_one_clear_line(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(options) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_relative_places_are_refused_inside_a_job(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")

    assert main(["dbscan"]) == 2
    assert "--results results is relative" in capsys.readouterr().err
    assert main(["dbscan", "--results", str(tmp_path / "r"), "--storage", "s.journal"]) == 2
    assert "--storage s.journal is relative" in capsys.readouterr().err


def test_a_second_search_of_the_same_name_has_to_wait(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    Store(results).create()
    space = load_space("dbscan")
    with open_study(
        "dbscan",
        str(results / "studies" / "dbscan.journal"),
        space=space.name,
        shared=space.shared,
        objectives=["accuracy"],
    ):
        assert main(["dbscan", "--results", str(results)]) == 2

    assert f"in use by another search (process {os.getpid()} on" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.ray
def test_the_submission_is_noted(tmp_path: Path) -> None:
    results = tmp_path / "results"
    done = run(results, "dbscan", "--trials", "1", "--confirm", "0", "--range", "min_samples=3:4")
    assert done.returncode == 0, done.stderr

    (record,) = Store(results).submissions()
    assert record["name"] == record["space"] == "dbscan"
    assert record["searched"] == ["eps_quantile", "min_samples"]
    assert record["shared"]["width"] == 8
    assert json.dumps(record["command"]).count("min_samples=3:4") == 1
    assert trials_of(results)[0].params["min_samples"] in (3, 4)
