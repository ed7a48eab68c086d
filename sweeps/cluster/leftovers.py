"""Temporary folders that go with the process that made them, and what was started in them.

A process that is killed cannot clean up: the next one that makes such a folder ends what the dead
one has left running, and removes its folder. A file in the folder says whose it is: process id and
start time (an id alone is given to others later), boot and process namespace. Folders without such
a file, of other users, of other machines and of processes that live, stopped ones included, are not
touched; nor is anything else.

A process belongs to a folder if its standard output or error is a file there, as those of all
processes that Ray starts are; their names and environments are not reliable.
"""

import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PREFIX = "sweep-"
"""Beginning of the names of the folders; short, as the paths of sockets below them must be."""

OWNER = "owner.json"
"""File in a folder that says whose it is."""

_END_SECONDS = 5.0
"""For a process to end after SIGTERM, before SIGKILL."""

_START_TIME = 19
"""Place of the start time in `/proc/PID/stat`, counted behind the name of the program."""


@contextmanager
def temporary_folder(parents: Sequence[Path | str]) -> Iterator[Path]:
    """Yields a new folder, which goes at the end with all that runs in it.

    Before, folders that killed processes left in the same place are removed.

    Args:
        parents: where to make it: the first one that can be written to.

    Raises:
        OSError: none can be written to.
    """
    folder = _new_folder([Path(parent) for parent in parents])
    remove_leftovers(folder.parent)
    try:
        yield folder
    finally:
        _remove(folder)


def remove_leftovers(parent: Path) -> list[Path]:
    """Removes the folders of processes that were killed, and ends what they have left running.

    Args:
        parent: where the folders are.

    Returns:
        The folders that were removed.
    """
    with contextlib.suppress(OSError):
        folders = [folder for folder in sorted(parent.glob(f"{PREFIX}*")) if _is_left(folder)]
        for folder in folders:
            _remove(folder)
        return folders
    return []


def _new_folder(parents: list[Path]) -> Path:
    for parent in parents:
        try:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
            (folder / OWNER).write_text(json.dumps(_this_process()))
        except OSError:
            continue
        return folder
    places = ", ".join(str(parent) for parent in parents)
    raise OSError(f"{places} cannot be written to")


def _this_process() -> dict[str, object]:
    return {**_place(), "pid": os.getpid(), "started": _start_time(os.getpid())}


def _place() -> dict[str, object]:
    """Returns what must be equal for a process id to mean the same."""
    place: dict[str, object] = {"host": os.uname().nodename}
    with contextlib.suppress(OSError):
        place["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        place["namespace"] = str(Path("/proc/self/ns/pid").readlink())
    return place


def _start_time(pid: int) -> str | None:
    """Returns when a process started, in ticks since the boot; None where that is unknown."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[_START_TIME]
    except (OSError, IndexError):
        return None


def _is_left(folder: Path) -> bool:
    """Returns whether the process of a folder is surely gone."""
    try:
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return False
        owner = json.loads((folder / OWNER).read_text())
        pid, started = int(owner.pop("pid")), owner.pop("started")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    if owner != _place():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return started is not None and _start_time(pid) not in (started, None)


def _remove(folder: Path) -> None:
    """Ends the processes of a folder and removes it."""
    deadline = time.monotonic() + _END_SECONDS
    while _signal_processes(folder, signal.SIGTERM) and time.monotonic() < deadline:
        time.sleep(0.05)
    _signal_processes(folder, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def _signal_processes(folder: Path, number: int) -> int:
    """Sends a signal to every process of a folder but this one; returns their number."""
    n_found = 0
    for pid in _process_ids():
        if pid == os.getpid() or not _writes_below(pid, folder):
            continue
        with contextlib.suppress(OSError):
            # The descriptor stays with the process: an id may be another one's by now.
            descriptor = os.pidfd_open(pid)
            try:
                if _writes_below(pid, folder):
                    signal.pidfd_send_signal(descriptor, number)
                    n_found += 1
            finally:
                os.close(descriptor)
    return n_found


def _process_ids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208
    except OSError:  # not Linux: what Ray's own end leaves stays
        return []


def _writes_below(pid: int, folder: Path) -> bool:
    """Returns whether the standard output or error of a process is a file below a folder."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            target = Path(f"/proc/{pid}/fd/{descriptor}").readlink()
            if target.is_relative_to(folder):
                return True
    return False
