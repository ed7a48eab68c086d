"""Exit codes of the sweep commands, and how their command lines are shown."""

import shlex

import pytest

from distill.errors import UserError
from sweeps.cli.program import command_line, program_of, run_command


def test_bad_usage_and_interruptions_become_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    def bad() -> int:
        raise UserError("ipc must be at least 1, got 0")

    def interrupted() -> int:
        raise KeyboardInterrupt

    assert run_command(bad) == 2
    assert capsys.readouterr().err == "error: ipc must be at least 1, got 0\n"
    assert run_command(interrupted) == 130
    assert run_command(lambda: 1) == 1


@pytest.mark.parametrize(
    ("installed", "start"),
    [(False, "uv run sweeps/full_grid.py "), (True, "uv run dream-sweep grid ")],
)
def test_command_line_can_be_pasted_into_a_shell(installed: bool, start: str) -> None:
    arguments = ["--only", "method=kmeans|dbscan", "--results", "a folder"]
    line = command_line(program_of("grid", installed=installed), arguments)

    assert line.startswith(start)
    assert shlex.split(line)[-4:] == arguments


def test_command_without_arguments_has_no_trailing_space() -> None:
    assert command_line(program_of("analyse", installed=True), []) == "uv run dream-sweep analyse"


def test_store_that_cannot_be_reached_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> int:
        raise ConnectionError("gs://bucket/x cannot be reached:\nno network")

    assert run_command(body) == 2
    assert capsys.readouterr().err == "error: gs://bucket/x cannot be reached: no network\n"
