"""Options that the sweep commands share."""

import dataclasses
from pathlib import Path

import pytest

from distill.cli.options import OneLineParser
from distill.errors import UserError
from sweeps.cli.options import RunOptions, add_run_options


def parsed(*words: str) -> RunOptions:
    parser = OneLineParser()
    add_run_options(parser, fields_help="the docs")
    return RunOptions.from_parsed(parser.parse_args(list(words)))


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
        parsed(*words)


def test_fields_to_set_are_read() -> None:
    options = parsed("--set", "n-outer=3", "--set", "augment=color")

    assert options.set_values == {"n_outer": "3", "augment": "color"}
    with pytest.raises(UserError, match="--set takes FIELD=VALUE, got 'ipc'"):
        parsed("--set", "ipc")


def test_options_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        parsed().device = "cpu"  # type: ignore[misc]


def test_a_relative_folder_is_refused_inside_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parsed("--results", "out").store.local_path == Path.cwd() / "out"
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")

    with pytest.raises(UserError, match="--results out is relative, and a Ray job runs in a temp"):
        parsed("--results", "out")
    with pytest.raises(UserError, match="--results results is relative"):
        parsed()
    assert parsed("--results", "/shared/out").store.uri == "/shared/out"


def test_the_data_outlive_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parsed().data_root == "data"
    assert parsed("--data-root", "d").data_root == "d"
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")

    results = ("--results", "/shared/out")
    assert parsed(*results).data_root == "~/.cache/dream-sweep"
    assert parsed(*results, "--data-root", "/shared/d").data_root == "/shared/d"
    assert parsed(*results, "--data-root", "~/d").data_root == "~/d"
    with pytest.raises(UserError, match="--data-root d is relative, and a Ray job runs"):
        parsed(*results, "--data-root", "d")
