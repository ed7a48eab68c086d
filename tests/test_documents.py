"""The README's commands and code run as written; its tables name what exists."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from distill.__main__ import _configuration, _parser
from distill.cli.options import given_values
from distill.clustering.registry import CLUSTERERS
from distill.config.distillation import DATASETS
from sweeps import cats_vs_dogs, full_grid
from sweeps.optuna_search.spaces import SPACES
from sweeps.search import _parser as search_parser
from sweeps.store.store import Store, load_results
from tests.analysis import golden
from tests.analysis.results import selection_rows_of
from tests.paths import ROOT

README = (ROOT / "README.md").read_text()
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language: `bash` and `python` are run, `console` needs more."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def commands(language: str) -> list[str]:
    return [line for block in blocks(language) for line in block.splitlines() if line]


def words_after(program: str, command: str) -> list[str]:
    """What a command hands to a program of ours."""
    words = shlex.split(command)
    return words[words.index(program) + 1 :]


def run(command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Runs a README command; `uv run` and `uv run python` are this interpreter, made by uv."""
    words = shlex.split(command.removeprefix("uv run ").removeprefix("python "))
    program = [str(ROOT / words[0])] if words[0].endswith(".py") else [words[0]]
    return subprocess.run(
        [sys.executable, *program, *words[1:]],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_first_two_commands_are_the_job_and_the_tests() -> None:
    job, tests = commands("bash")[:2]
    assert job == "uv run sweeps/full_grid.py"
    assert tests.startswith("uv run pytest")
    assert tests in (ROOT / ".ci" / "run").read_text().splitlines()
    assert f"{len(full_grid.COMMAND.plan([]))} small trials" in README


@pytest.mark.slow
def test_the_first_command_runs_as_a_newcomer_would(tmp_path: Path) -> None:
    result = run("uv run sweeps/full_grid.py", tmp_path)

    assert result.returncode == 0, result.stderr
    assert "54 of 54 trials finished: 54 ok" in result.stdout
    assert "Paper 1: digits, 1 image a class" in result.stdout
    assert "Paper 1: digits, 10 images a class" in result.stdout
    results = load_results(tmp_path / "results")
    accuracy = results.groupby("ipc")["test_accuracy_mean"].mean()
    assert accuracy[1] > 0.6, "far above chance, which is 0.1"
    assert accuracy[10] > 0.9


def test_the_commands_for_one_trial_run_one_after_the_other(tmp_path: Path) -> None:
    """In an empty folder."""
    for command in commands("bash"):
        if "-m distill" not in command:
            continue
        result = run(command, tmp_path)

        assert result.returncode == 0, (command, result.stderr)
        if command == "uv run python -m distill":
            accuracy, baseline = (
                float(re.search(rf"{name} +([0-9.]+) ±", result.stdout)[1])  # type: ignore[index]
                for name in ("test accuracy", "random real images")
            )
            assert accuracy > baseline + 3, "above random images"
            assert accuracy > 60, "far above chance, which is 10"
    (default,) = (tmp_path / "distilled").glob("digits-kmeans-ipc1-*")
    assert (default / "distilled.png").exists()


@pytest.mark.parametrize("command", commands("console"))
def test_commands_that_need_more_than_this_machine_are_spelt_right(
    command: str, pytestconfig: pytest.Config
) -> None:
    if "pytest" in command:
        marker = command.removeprefix("uv run pytest -m ")
        assert marker in {own.split(":")[0] for own in pytestconfig.getini("markers")}
        assert any(f"pytest.mark.{marker}" in path.read_text() for path in TESTS)
    elif "sweeps/full_grid.py" in command:
        full_grid.COMMAND.plan(words_after("sweeps/full_grid.py", command))
    elif "sweeps/cats_vs_dogs.py" in command:
        cats_vs_dogs.COMMAND.plan(words_after("sweeps/cats_vs_dogs.py", command))
    elif "sweeps/search.py" in command:
        options = search_parser().parse_args(words_after("sweeps/search.py", command))
        assert options.space in SPACES or options.space.endswith(".py")
    elif "-m distill" in command:
        options = _parser().parse_args(words_after("distill", command))
        _configuration(options.config, given_values(options)).resolved()
    elif "tests/benchmarks/" in command:
        script, *options = shlex.split(command.removeprefix("uv run python "))
        told = subprocess.run(
            [sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert all(word in told.stdout for word in options if word.startswith("--"))
    else:
        assert command.startswith(("uv run optuna-dashboard ", "uv run python -m analysis "))


@pytest.mark.parametrize("code", blocks("python"))
def test_the_python_runs(code: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.create()
    for row in (*golden.rows(), *selection_rows_of("random", (0.5, 0.6), fraction=0.1)):
        store.put_result(row, [])
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_every_data_set_and_clusterer_is_named() -> None:
    for name in (*DATASETS, *CLUSTERERS):
        assert f"`{name}`" in README or f"clusterer {name}" in README, name


def test_the_map_shows_files_that_exist() -> None:
    (tree,) = blocks("text")
    for line in tree.splitlines():
        name = line.split()[0]
        if not line.startswith("    "):
            folder = ROOT / name
            assert folder.is_dir(), name
        else:
            assert (folder / name).exists(), name
