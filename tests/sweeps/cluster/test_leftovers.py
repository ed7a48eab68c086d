"""What killed processes leave: ended and removed by the next one; all else stays."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweeps.cluster.leftovers import OWNER, PREFIX, remove_leftovers, temporary_folder
from tests.paths import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

OWNER_PROGRAM = """
import subprocess, sys, time
from sweeps.cluster.leftovers import temporary_folder
with temporary_folder([sys.argv[1]]) as folder:
    with open(folder / "child.out", "w") as output:
        child = subprocess.Popen(["sleep", "600"], stdout=output)
    print(folder, child.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are ended after the test."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def owner_of_folder(
    parent: Path, started: list[subprocess.Popen[str]]
) -> tuple[subprocess.Popen[str], Path, int]:
    """Starts a process with a folder and a child; returns it, the folder and the child's id."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER_PROGRAM, str(parent)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    started.append(process)
    assert process.stdout is not None
    folder, child = process.stdout.readline().split()
    return process, Path(folder), int(child)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_folder_goes_with_its_processes(tmp_path: Path) -> None:
    with temporary_folder([tmp_path / "missing", tmp_path]) as folder:
        assert folder.parent == tmp_path
        with (folder / "out").open("w") as output:
            child = subprocess.Popen(["sleep", "600"], stdout=output)
    assert child.wait(60) == -signal.SIGTERM
    assert not list(tmp_path.iterdir())


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    with temporary_folder([tmp_path]) as folder, (folder / "out").open("w") as output:
        script = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
        child = subprocess.Popen(
            [sys.executable, "-c", f"{script}; time.sleep(600)"], stderr=output, stdout=-1
        )
        assert child.stdout is not None
        child.stdout.readline()
    assert child.wait(60) == -signal.SIGKILL
    child.stdout.close()


def test_leftovers_of_a_killed_process_are_removed(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    process, folder, child = owner_of_folder(tmp_path, started)
    process.kill()
    process.wait(60)
    assert is_running(child)
    with temporary_folder([tmp_path]) as own:
        assert list(tmp_path.iterdir()) == [own]
    wait_for(lambda: not is_running(child))
    assert not folder.exists()


@pytest.mark.parametrize("stopped", [False, True])
def test_folders_of_living_processes_stay(
    tmp_path: Path, started: list[subprocess.Popen[str]], stopped: bool
) -> None:
    process, folder, child = owner_of_folder(tmp_path, started)
    if stopped:
        process.send_signal(signal.SIGSTOP)
    assert remove_leftovers(tmp_path) == []
    assert is_running(child)
    assert (folder / OWNER).is_file()
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait(60)
    assert remove_leftovers(tmp_path) == [folder]


@pytest.mark.parametrize(
    ("changes", "is_left"),
    [
        ({}, True),
        ({"host": "another"}, False),
        ({"boot": "another"}, False),
        ({"namespace": "pid:[1]"}, False),
        ({"pid": "x"}, False),
        ({"pid": os.getpid()}, True),  # its id was given to another process: this one
    ],
)
def test_only_surely_dead_owners_lose_their_folders(
    tmp_path: Path, started: list[subprocess.Popen[str]], changes: dict[str, object], is_left: bool
) -> None:
    process, folder, child = owner_of_folder(tmp_path, started)
    process.kill()
    process.wait(60)
    owner = json.loads((folder / OWNER).read_text())
    (folder / OWNER).write_text(json.dumps(owner | changes))
    assert remove_leftovers(tmp_path) == ([folder] if is_left else [])
    assert folder.exists() != is_left
    if not is_left:
        assert is_running(child)
        os.kill(child, signal.SIGKILL)


def test_other_folders_and_other_processes_stay(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    """A folder without an owner, one of another name, and who only reads a log."""
    (tmp_path / f"{PREFIX}unknown").mkdir()
    (tmp_path / "ray").mkdir()
    process, folder, child = owner_of_folder(tmp_path, started)
    reader = subprocess.Popen(
        ["tail", "-f", str(folder / "child.out")], stdout=subprocess.DEVNULL, text=True
    )
    started.append(reader)
    wait_for(lambda: any(
        os.readlink(link) == str(folder / "child.out")  # noqa: PTH115
        for link in Path(f"/proc/{reader.pid}/fd").iterdir()
    ))  # fmt: skip
    process.kill()
    process.wait(60)
    assert remove_leftovers(tmp_path) == [folder]
    assert reader.poll() is None
    assert not is_running(child)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ray", f"{PREFIX}unknown"]


def test_no_place_for_a_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing cannot be written to"), \
            temporary_folder([tmp_path / "missing"]):  # fmt: skip
        pass
