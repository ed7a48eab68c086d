"""The README's commands and code run as written; its tables name what exists."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from distill.__main__ import _configuration, _parser
from distill.clustering.registry import CLUSTERERS
from distill.config import DATASETS
from distill.options import given_values

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language: `bash` and `python` are run, `console` needs more."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def commands(language: str) -> list[str]:
    return [line for block in blocks(language) for line in block.splitlines() if line]


def options_of(command: str) -> list[str]:
    """What a command hands to `python -m distill`."""
    words = shlex.split(command)
    return words[words.index("distill") + 1 :]


def test_the_first_two_commands_are_the_job_and_the_tests() -> None:
    assert commands("bash")[:2] == ["uv run python -m distill", "uv run pytest"]
    assert "uv run pytest" in (ROOT / ".ci" / "run").read_text().splitlines()


def test_the_commands_run_one_after_the_other_as_a_newcomer_would(tmp_path: Path) -> None:
    """In an empty folder; `uv run python` is this interpreter, whose environment uv made."""
    for command in commands("bash"):
        if command == "uv run pytest":  # this very run
            continue
        assert command.startswith("uv run python -m distill"), command
        result = subprocess.run(
            [sys.executable, "-m", "distill", *options_of(command)],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "error"},
            capture_output=True,
            text=True,
            check=False,
        )

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
def test_commands_that_need_more_than_this_machine_are_spelt_right(command: str) -> None:
    if "pytest" in command:
        marker = command.removeprefix("uv run pytest -m ")
        listed = subprocess.run(
            [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", marker],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert listed.returncode == 0, listed.stdout
    else:
        assert command.startswith("uv run ")
        options = _parser().parse_args(options_of(command))
        _configuration(options.config, given_values(options)).resolved()


@pytest.mark.parametrize("code", blocks("python"))
def test_the_python_runs(code: str, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert "ok" in result.stdout


def test_every_data_set_and_clusterer_is_named() -> None:
    for name in (*DATASETS, *CLUSTERERS):
        assert f"`{name}`" in README or f"clusterer {name}" in README, name


def test_the_map_shows_files_that_exist() -> None:
    (tree,) = blocks("text")
    for line in tree.splitlines():
        name = line.split()[0]
        folder = ROOT / "distill" if line.startswith("    ") else ROOT
        assert (folder / name).exists(), name
