"""Leases: one holder, takeover of what was left behind, harmless where nothing can be written."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distill.runtime import lease as module
from distill.runtime.lease import FIRST_STEP_SECONDS, PATIENCE_SECONDS, Lease

ELSEWHERE = {"holder": "other", "host": "another-machine", "pid": 1, "seconds": None, "at": 0}


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def monotonic_ns(self) -> int:
        return int(self.now * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "work.lease"


def held_elsewhere(path: Path, **changes: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(ELSEWHERE | changes))


def test_the_holder_renews_and_gives_back(path: Path) -> None:
    lease = Lease(path)

    assert lease.hold()
    first = path.read_bytes()
    assert lease.hold()
    assert path.read_bytes() != first
    assert json.loads(path.read_bytes())["seconds"] >= 0
    lease.release()
    assert not path.exists()


def test_a_process_that_lives_keeps_its_lease(path: Path) -> None:
    code = (
        "import pathlib, sys; from distill.runtime.lease import Lease\n"
        "lease = Lease(pathlib.Path(sys.argv[1])); print(lease.hold(), flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        waiting = Lease(path)
        assert not waiting.hold()
        assert not waiting.hold()
        other.kill()
        other.wait()
        assert path.exists(), "killed, it cannot give back"
        assert waiting.hold(), "its process is gone"


def test_a_process_that_ends_gives_back(path: Path) -> None:
    code = (
        "import pathlib, sys; from distill.runtime.lease import Lease\n"
        "lease = Lease(pathlib.Path(sys.argv[1])); assert lease.hold()"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert path.parent.exists()
    assert not path.exists()


@pytest.mark.parametrize(
    ("seconds", "patience"),
    [(None, FIRST_STEP_SECONDS), (1.0, PATIENCE_SECONDS), (100.0, 400.0)],
)
def test_a_lease_that_does_not_change_is_taken_over(
    seconds: float | None, patience: float, path: Path, clock: Clock
) -> None:
    held_elsewhere(path, seconds=seconds)
    lease = Lease(path)

    assert not lease.hold()
    clock.now += patience
    assert not lease.hold()
    clock.now += 1
    assert lease.hold()
    assert json.loads(path.read_bytes())["host"] == socket.gethostname()


def test_every_change_of_a_lease_starts_the_wait_anew(path: Path, clock: Clock) -> None:
    lease = Lease(path)
    for step in range(5):
        held_elsewhere(path, seconds=1.0, at=step)
        assert not lease.hold()
        clock.now += PATIENCE_SECONDS


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"pid": "x"}'])
def test_a_file_that_is_no_lease_is_taken_over(content: bytes, path: Path, clock: Clock) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    lease = Lease(path)

    assert not lease.hold()
    clock.now += PATIENCE_SECONDS + 1
    assert lease.hold()


def test_a_lease_that_another_took_over_is_not_removed(path: Path) -> None:
    lease = Lease(path)
    assert lease.hold()
    held_elsewhere(path)

    lease.release()

    assert json.loads(path.read_bytes()) == ELSEWHERE


def test_without_a_folder_everybody_works(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert Lease(tmp_path / "file" / "work.lease").hold()
