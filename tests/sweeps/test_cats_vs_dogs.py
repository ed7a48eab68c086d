"""Paper 2's command as a user runs it: a process of its own, a real Ray, a real store."""

import json
import subprocess
import sys
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from distill.config.selection import SelectionConfig
from sweeps.cats_vs_dogs import COMMAND
from sweeps.store.store import Store, load_curves, load_results
from tests.paths import ROOT
from tests.sweeps.cluster.patience import TEST_SECONDS
from tests.sweeps.test_full_grid import environment, without_cpu_time

pytestmark = pytest.mark.timeout(TEST_SECONDS)

SCRIPT = str(ROOT / "sweeps" / "cats_vs_dogs.py")
SMALL = ("--seeds", "1", "--set", "epochs=2", "--only", "method=base|random|cluster_grid")
"""Three ways of choosing (one of them three times) under both protocols."""


def run(results: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, SCRIPT, "--results", str(results), *options],
        env=environment(results),
        cwd=results.parent,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.ray
def test_submitting_again_runs_what_is_missing(tmp_path: Path) -> None:
    results = tmp_path / "results"
    first = run(results, *SMALL, "--protocol", "sound")
    assert first.returncode == 0, first.stderr
    assert "5 of 5 trials finished: 5 ok" in first.stdout
    assert "Paper 2: digits" in first.stdout
    before = {file.name: file.stat() for file in (results / "trials").iterdir()}

    second = run(results, *SMALL)
    assert second.returncode == 0, second.stderr
    assert "10 of 10 trials finished: 10 ok" in second.stdout
    assert "10 trials, 5 of them done" in second.stderr
    after = {file.name: file.stat() for file in (results / "trials").iterdir()}
    assert {name: (file.st_ino, file.st_mtime_ns) for name, file in before.items()} == {
        name: (after[name].st_ino, after[name].st_mtime_ns) for name in before
    }

    third = run(results, *SMALL)
    assert third.returncode == 0, third.stderr
    assert third.stderr == ""
    assert without_cpu_time(third.stdout) == without_cpu_time(second.stdout)

    _check_store(results)


def _check_store(results: Path) -> None:
    plan = {config.trial_id: config for config in COMMAND.plan(SMALL)}
    rows = load_results(str(results))
    assert set(rows["trial_id"]) == set(plan)
    assert set(rows["kind"]) == {"selection"}
    assert rows["test_accuracy_mean"].between(0, 1).all()
    assert (rows["test_fraction"] == 0.2).all()
    curves = load_curves(str(results), plan)
    assert curves.groupby("trial_id")["epoch"].nunique().to_dict() == dict.fromkeys(plan, 2)

    for row in rows.to_dict("records"):
        chosen = pq.read_table(results / "selections" / f"{row['trial_id']}.parquet").to_pandas()
        assert row["n_selected"] == chosen["times_selected"].sum()
        _check_choice(plan[row["trial_id"]], row)

    last = Store(results).submissions()[-1]
    assert last["script"] == "sweeps/cats_vs_dogs.py"
    assert last["plan"] == json.loads(
        json.dumps([{"kind": "selection", **config.to_dict()} for config in COMMAND.plan(SMALL)])
    )


def _check_choice(config: SelectionConfig, row: Mapping[Hashable, Any]) -> None:
    """The fraction is exact under the sound protocol; paper 2's clustering takes four times it."""
    n = int(row["n_pool"])
    if config.protocol == "sound":
        fraction = 1.0 if config["fraction"] is None else config["fraction"]
        assert row["n_selected"] == row["n_distinct"] == int(fraction * n + 0.5)
        assert row["n_test_selected"] == 0
    elif config.selector == "cluster_grid":
        n_train = row["n_selected"] / 0.4
        assert n > n_train
        assert row["n_test_selected"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "paper"], "preset 'paper' is for images of your own: give --dataset"),
        (["--preset", "papr"], "unknown preset 'papr'; did you mean 'paper'?"),
        (["--only", "method=randm"], "unknown method in --only 'randm'; did you mean 'random'?"),
        (["--set", "fraction=2"], "fraction must be above 0 and at most 1, got 2"),
        (["--set", "n_outer=2"], "unknown field in --set 'n_outer'"),
        (["--precision", "bfloat16"], "--precision bfloat16 does not apply to a selection"),
        (
            ["--preset", "coreset", "--save-network"],
            "--save-network applies to recipe 'classifier'",
        ),
        (["--graphs", "off"], "--graphs off does not apply to a selection"),
        (["--batching", "class", "--dry-run"], "--batching class does not apply to a selection"),
        (["--preset", "coreset", "--batching", "all"], "--batching all does not apply to a sel"),
    ],
)
def test_bad_usage_is_one_line_and_code_2(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert COMMAND.main(["--results", str(tmp_path / "results"), *options]) == 2

    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_options_of_precision_are_taken_where_they_act(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = str(tmp_path / "results")
    words = ["--preset", "coreset", "--precision", "bfloat16", "--graphs", "off", "--dry-run"]

    assert COMMAND.main(["--results", results, *words]) == 0
    assert capsys.readouterr().out.startswith("445 trials: cifar10")


@pytest.mark.ray
def test_a_calibrated_dry_run_prices_the_plan_and_touches_nothing(tmp_path: Path) -> None:
    results = tmp_path / "results"
    done = run(
        results, "--dry-run", "--calibrate", "--seeds", "1", "--only", "method=random,fraction=0.5"
    )

    assert done.returncode == 0, done.stderr
    assert "2 trials: digits, protocol published and sound, seeds 0" in done.stdout
    assert "time       about" in done.stdout
    assert not results.exists()
