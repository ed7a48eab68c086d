"""The command `dream-sweep`, its verbs and what they load."""

import subprocess
import sys
from pathlib import Path

import pytest

from distill import __version__
from sweeps.console import VERBS, main


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], []])
def test_help_shows_every_verb_with_a_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0

    lines = capsys.readouterr().out.splitlines()
    names = "distill grid photos evaluate search status logs export analyse completion"
    assert list(VERBS) == names.split()
    for name, verb in VERBS.items():
        (line,) = (line for line in lines if line.split()[:1] == [name])
        assert line.endswith(verb.summary)
    assert max(map(len, lines)) <= 100


def test_version_is_that_of_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dream-sweep {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serach"], "unknown verb 'serach'; did you mean 'search'?"),
        (["--resluts", "x"], "unknown option '--resluts'; a verb comes first: distill, grid,"),
        (["grid", "--preset", "papr"], "unknown preset 'papr'; did you mean 'paper'?"),
        (["photos", "--sed", "1"], "did you mean '--seed"),
        (["evaluate"], "give at least one SET to judge"),
        (["search", "dbskan"], "unknown space 'dbskan'; did you mean 'dbscan'?"),
        (["distill", "--ipc", "0"], "ipc must be at least 1, got 0"),
        (["analyse", "nowhere"], "there are no results at"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("verb", ["grid", "photos", "search"])
def test_help_of_a_sweep_shows_the_verb(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([verb, "--help"])

    assert left.value.code == 0
    assert f"usage: uv run dream-sweep {verb} " in capsys.readouterr().out


def test_printed_commands_start_as_the_command_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = ["--results", str(tmp_path / "results"), "--preset", "smoke"]

    assert main(["grid", *results, "--dry-run"]) == 0
    assert "2 trials: digits" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()


def test_verbs_load_only_the_modules_they_need(tmp_path: Path) -> None:
    code = (
        "import sys; from sweeps.console import main\n"
        "assert main(['--help']) == 0 and main(['nonsense']) == 2\n"
        "assert not {'torch', 'ray', 'optuna', 'pandas'} & sys.modules.keys()\n"
        "assert main(['grid', '--preset', 'smoke', '--dry-run']) == 0\n"
        "assert not {'torch', 'ray', 'optuna'} & sys.modules.keys()\n"
    )
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
