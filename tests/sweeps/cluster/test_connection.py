"""Connections to clusters: their resources, the uploaded code, and Ray's environment variables."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from distill.cli.options import OneLineParser
from distill.errors import UserError
from sweeps.cli.options import RunOptions, add_run_options
from sweeps.cluster.connection import (
    MAX_FOLDER_BYTES,
    MAX_PARENT_BYTES,
    PACKAGES,
    Cluster,
    code_environment,
    session_folder,
)
from tests.paths import ROOT


def options(*words: str) -> RunOptions:
    parser = OneLineParser()
    add_run_options(parser, fields_help="")
    return RunOptions.from_parsed(parser.parse_args(list(words)))


def cluster(cpus: float, gpus: float) -> Cluster:
    return Cluster(n_nodes=1, cpus=cpus, gpus=gpus, most_cpus=cpus, most_gpus=gpus, is_local=False)


def test_trials_share_a_gpu_where_there_is_one() -> None:
    assert cluster(2, 0).gpu_share(options()) == 0
    assert cluster(2, 2).gpu_share(options()) == 0.25
    assert cluster(2, 2).gpu_share(options("--device", "cpu")) == 0
    assert cluster(2, 0).gpu_share(options("--gpus-per-trial", "0.5")) == 0.5


def test_empty_cluster_needs_the_share_of_a_gpu() -> None:
    """An autoscaled one starts with a head that takes no trials: the CPU must not be a guess."""
    empty = cluster(0, 0)
    with pytest.raises(UserError, match=r"no node for trials yet.* give --gpus-per-trial"):
        empty.gpu_share(options())
    assert empty.gpu_share(options("--gpus-per-trial", "0")) == 0
    assert empty.gpu_share(options("--device", "cpu")) == 0


def test_checkout_is_uploaded_whole_and_packages_alone(tmp_path: Path) -> None:
    checkout = code_environment(PACKAGES)
    assert checkout["working_dir"] == str(ROOT)
    assert "/.git" in checkout["excludes"]

    installed = code_environment(tmp_path)
    folders = [str(tmp_path / name) for name in ("distill", "sweeps", "analysis")]
    assert installed == {"py_modules": folders}


@pytest.mark.parametrize(
    "module",
    ["cluster.connection", "cluster.runner", "cluster.preflight", "optuna_search.searcher"],
)
def test_variables_of_ray_are_set_before_ray_is_imported(module: str) -> None:
    code = (
        "import os, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'ray':\n"
        "            print(os.environ.get('RAY_ENABLE_UV_RUN_RUNTIME_ENV'),\n"
        "                  os.environ.get('TUNE_GLOBAL_CHECKPOINT_S'))\n"
        "sys.meta_path.insert(0, Watch())\n"
        "import sweeps\n"
        "assert 'RAY_AIR_NEW_OUTPUT' not in os.environ\n"
        f"import sweeps.{module}\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.stdout.splitlines()[:1] == ["0 inf"], ran.stderr


def test_short_temporary_folder_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as parent:
        monkeypatch.delenv("RAY_TMPDIR", raising=False)
        monkeypatch.setenv("TMPDIR", parent)
        with session_folder() as folder:
            assert Path(folder).parent == Path(parent)
            assert len(folder) <= MAX_FOLDER_BYTES
        assert not Path(folder).exists()


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_long_temporary_folder_is_replaced_for_a_while(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(variable, "/" + "x" * MAX_PARENT_BYTES)

    with session_folder() as folder:
        assert len(folder) <= MAX_FOLDER_BYTES
        (Path(folder) / "session").mkdir()
    assert not Path(folder).exists()


def test_no_short_folder_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/scratch/" + "x" * 100)
    monkeypatch.setattr("sweeps.cluster.connection.SHORT_PARENTS", (str(tmp_path / "no"), "/proc"))

    with (
        pytest.raises(UserError, match=r"no, /proc cannot be written to; set RAY_TMPDIR to a fol"),
        session_folder(),
    ):
        pass


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "--address must not be empty"),
        ("host", "--address must be auto, host:port or ray://host:port, got 'host'"),
        ("host:٣", "the port of --address must be a whole number, got '٣'"),
        ("ray://host:70000", "the port of --address must be at most 65535, got 70000"),
    ],
)
def test_address_of_a_wrong_form_is_refused(address: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        options("--address", address)

    assert str(error.value) == message


@pytest.mark.parametrize(
    "address", ["auto", "local", "10.0.0.1:6379", "[::1]:6379", "ray://head:10001", "ray://head"]
)
def test_address_of_a_right_form_is_taken(address: str) -> None:
    assert options("--address", address).address == address
