"""Options that the sweeps' commands share."""

import argparse
from pathlib import Path

import pytest

from distill.cli.options import OneLineParser
from distill.errors import UserError
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
from sweeps.cluster.runner import Cluster


def parsed(*words: str) -> argparse.Namespace:
    parser = OneLineParser()
    add_run_options(parser, fields_help="the docs")
    options = parser.parse_args(list(words))
    assert isinstance(options, argparse.Namespace)
    return options


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gpus-per-trial", "1.5"], r"--gpus-per-trial must be in \[0, 1\] or a whole number"),
        (["--gpus-per-trial", "-1"], "got -1"),
        (["--cpus-per-trial", "0"], "--cpus-per-trial must be at least 1, got 0"),
        (["--max-concurrent", "0"], "--max-concurrent must be at least 1, got 0"),
        (["--checkpoint-seconds", "-1"], "--checkpoint-seconds must be at least 0, got -1"),
    ],
)
def test_values_out_of_range_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_run_options(parsed(*words))


def test_fields_to_set_are_read() -> None:
    assert set_values(parsed("--set", "n-outer=3", "--set", "augment=color")) == {
        "n_outer": "3",
        "augment": "color",
    }
    with pytest.raises(UserError, match="--set takes FIELD=VALUE, got 'ipc'"):
        set_values(parsed("--set", "ipc"))


def test_a_relative_folder_is_refused_inside_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    assert results_store(parsed("--results", "out")).local_path == Path.cwd() / "out"
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")

    with pytest.raises(UserError, match="--results out is relative, and a Ray job runs in a temp"):
        results_store(parsed("--results", "out"))
    with pytest.raises(UserError, match="--results results is relative"):
        results_store(parsed())
    assert results_store(parsed("--results", "/shared/out")).uri == "/shared/out"


def test_the_data_outlive_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_root(parsed()) == "data"
    assert data_root(parsed("--data-root", "d")) == "d"
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")

    assert data_root(parsed()) == "~/.cache/dream-sweep"
    assert data_root(parsed("--data-root", "/shared/d")) == "/shared/d"
    assert data_root(parsed("--data-root", "~/d")) == "~/d"
    with pytest.raises(UserError, match="--data-root d is relative, and a Ray job runs"):
        data_root(parsed("--data-root", "d"))


def cluster(cpus: float, gpus: float) -> Cluster:
    return Cluster(n_nodes=1, cpus=cpus, gpus=gpus, most_cpus=cpus, most_gpus=gpus, is_local=False)


def test_a_gpu_is_shared_where_there_is_one() -> None:
    assert gpu_share(parsed(), cluster(2, 0)) == 0
    assert gpu_share(parsed(), cluster(2, 2)) == 0.25
    assert gpu_share(parsed("--device", "cpu"), cluster(2, 2)) == 0
    assert gpu_share(parsed("--gpus-per-trial", "0.5"), cluster(2, 0)) == 0.5


def test_an_empty_cluster_does_not_say_whether_it_will_have_gpus() -> None:
    """An autoscaled one starts with a head that takes no trials: the CPU must not be a guess."""
    empty = cluster(0, 0)
    with pytest.raises(UserError, match=r"no node for trials yet.* give --gpus-per-trial"):
        gpu_share(parsed(), empty)
    assert gpu_share(parsed("--gpus-per-trial", "0"), empty) == 0
    assert gpu_share(parsed("--device", "cpu"), empty) == 0


def test_bad_usage_and_interruptions_become_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    def bad() -> int:
        raise UserError("ipc must be at least 1, got 0")

    def interrupted() -> int:
        raise KeyboardInterrupt

    assert run_command(bad) == 2
    assert capsys.readouterr().err == "error: ipc must be at least 1, got 0\n"
    assert run_command(interrupted) == 130
    assert run_command(lambda: 1) == 1


def test_the_command_is_shown_so_that_a_shell_takes_it_back() -> None:
    command = this_command("sweeps/full_grid.py", ["--only", "method=kmeans|dbscan"])

    assert command == "uv run sweeps/full_grid.py --only 'method=kmeans|dbscan'"
