"""The installed wheel works outside the checkout: data files, commands, no commit of others."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.paths import ROOT

pytestmark = pytest.mark.lengthy

TINY = (
    "--ipc 1 --factor 1 --width 8 --depth 2 --n-representatives 8 --n-outer 1 --n-inner 1 "
    "--n-net-batches 1 --eval-epochs 1 --n-eval 1 --no-baseline"
).split()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the content of the wheel, as an installation has it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    target = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def run(installed: Path, folder: Path, *arguments: str) -> str:
    """Runs Python on the installed packages, in a folder outside the checkout."""
    environment = dict(os.environ, PYTHONPATH=str(installed), PYTHONSAFEPATH="1")
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_wheel_has_data_files_and_no_tests(installed: Path) -> None:
    names = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}

    for name in (
        *("analysis/data/published.csv", "analysis/report/page.css", "analysis/report/page.js"),
        *("distill/py.typed", "sweeps/py.typed", "analysis/py.typed"),
    ):
        assert name in names
    assert not any(name.startswith(("tests/", "docs/", "cluster_configs/")) for name in names)


def test_wheel_has_the_console_command(installed: Path) -> None:
    (entry_points,) = installed.glob("*.dist-info/entry_points.txt")

    assert "dream-sweep = sweeps.console:main" in entry_points.read_text()


def test_trial_and_analysis_run_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = run(installed, tmp_path, "-c", "import distill; print(distill.__file__)")
    assert Path(where.strip()).is_relative_to(installed)

    run(installed, tmp_path, "-m", "distill", *TINY, "--out", "run")

    row = json.loads((tmp_path / "run" / "result.json").read_text())
    assert row["status"] == "ok"
    assert row["git_commit"] is None


def test_commit_of_another_repository_is_not_taken(installed: Path, tmp_path: Path) -> None:
    """An environment inside somebody's own checkout, ignored by it."""
    subprocess.run(["git", "init", "-q"], cwd=installed, check=True)
    code = "from distill.runtime.provenance import git_commit; print(git_commit())"

    assert run(installed, tmp_path, "-c", code).strip() == "None"


def test_console_help_runs_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    code = "import sys; from sweeps.console import main; sys.exit(main(['--help']))"
    printed = run(installed, tmp_path, "-c", code)

    for verb in ("distill", "grid", "photos", "search", "analyse"):
        assert verb in printed
