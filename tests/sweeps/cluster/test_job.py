"""`ray job submit` against a real head of its own, which asks for a token."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweeps.store.store import Store, load_results
from tests.paths import ROOT
from tests.sweeps.cluster.patience import LIMIT_SECONDS, PATIENT_RAY, TEST_SECONDS

pytestmark = [pytest.mark.ray, pytest.mark.timeout(TEST_SECONDS)]

PROGRAMS = Path(sys.executable).parent
SMOKE = ("--preset", "smoke", "--limit", "1")


@dataclass(frozen=True)
class Head:
    """A Ray head on this machine."""

    dashboard: str
    environment: dict[str, str]

    def submit(self, project: Path, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [
                *(str(PROGRAMS / "ray"), "job", "submit", "--address", self.dashboard),
                *("--working-dir", str(project), "--", *words),
            ],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    home = tmp_path_factory.mktemp("home")
    port, dashboard_port = free_port(), free_port()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHON"))}
    environment = kept | {
        "HOME": str(home),
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "OMP_NUM_THREADS": "1",
        **PATIENT_RAY,
    }
    subprocess.run(
        [str(PROGRAMS / "ray"), "get-auth-token", "--generate"],
        env=environment,
        check=True,
        capture_output=True,
    )
    short = Path("/tmp") / f"ray-{os.getpid()}"  # noqa: S108 - socket paths must be short
    with (home / "head.log").open("w") as log:
        process = subprocess.Popen(
            [
                *(str(PROGRAMS / "ray"), "start", "--head", "--block", "--disable-usage-stats"),
                *("--num-cpus=2", f"--port={port}", f"--dashboard-port={dashboard_port}"),
                # Another Ray on this machine has the default ones.
                *(f"--dashboard-agent-listen-port={free_port()}", "--metrics-export-port=0"),
                f"--temp-dir={short}",
            ],
            env=environment,
            cwd=home,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = Head(f"http://127.0.0.1:{dashboard_port}", environment)
    try:
        deadline = time.monotonic() + LIMIT_SECONDS
        while running.submit(home, "true").returncode:  # the dashboard is up before its agent
            assert process.poll() is None, (home / "head.log").read_text()
            assert time.monotonic() < deadline, (home / "head.log").read_text()
            time.sleep(0.5)
        yield running
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(short, ignore_errors=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a fresh clone has: the committed and new files, nothing that git ignores."""
    folder = tmp_path_factory.mktemp("project")
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).exists() and not name.startswith("tests/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def test_a_job_runs_and_submitting_it_again_does_nothing_twice(
    head: Head, project: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    words = ("python", "sweeps/full_grid.py", *SMOKE, "--results", str(results))
    first = head.submit(project, *words)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "1 of 1 trials finished: 1 ok" in first.stdout
    (file,) = (results / "trials").iterdir()
    before = file.stat().st_mtime_ns
    (row,) = load_results(results).to_dict("records")
    assert row["status"] == "ok"

    second = head.submit(project, *words)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "1 of 1 trials finished: 1 ok" in second.stdout
    assert file.stat().st_mtime_ns == before
    assert len(Store(results).submissions()) == 1, "the second had nothing to run"


def test_a_relative_folder_is_refused(head: Head, project: Path) -> None:
    result = head.submit(project, "python", "sweeps/full_grid.py", *SMOKE, "--results", "out")

    assert result.returncode == 1
    assert "error: --results out is relative, and a Ray job runs in a temporary copy" in (
        result.stdout + result.stderr
    )


def test_job_without_the_token_is_refused(head: Head, project: Path, tmp_path: Path) -> None:
    stranger = Head(head.dashboard, head.environment | {"HOME": str(tmp_path)})
    result = stranger.submit(project, "true")

    assert result.returncode != 0
    assert "token" in (result.stdout + result.stderr).lower()


@pytest.mark.service
def test_with_uv_the_workers_get_the_project_s_environment(
    head: Head, project: Path, tmp_path: Path
) -> None:
    """uv makes the environment from the project's own file: it needs the package registry."""
    if shutil.which("uv") is None:
        pytest.skip("uv is not on the path")
    results = tmp_path / "results"
    result = head.submit(
        project,
        *("uv", "run", "--no-default-groups", "--python", sys.executable),
        *("sweeps/full_grid.py", *SMOKE, "--results", str(results)),
    )

    assert result.returncode == 0, result.stdout + result.stderr
    assert set(load_results(results)["status"]) == {"ok"}
