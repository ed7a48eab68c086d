"""Work that several processes need and one of them does: a lease in a folder that all of them see.

The holder renews the lease at every step of the work. The others look at it now and then; where it
does not change for longer than a few steps, or its holder is known to be gone, they take it over.
A process does one piece of work at a time: a lease of its own is one that it has left behind.
Clocks are not compared: each waiting process times by its own how long the lease has not changed.
Two holders at once are possible, after a long pause of one, and must do no harm but double work.
"""

import contextlib
import json
import os
import socket
import time
import uuid
import weakref
from pathlib import Path

from distill.runtime.atomic import atomic_write

PATIENCE_SECONDS = 60.0
"""Least time without a change after which a lease is taken over."""

FIRST_STEP_SECONDS = 600.0
"""The same while the holder has not finished a step, so that nobody knows how long one takes."""

_STEPS = 4
"""Steps of the holder without a change after which a lease is taken over."""


class Lease:
    """A lease on a piece of work.

    Args:
        path: of its file; the folder need not exist.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     lease = Lease(Path(folder, "work.lease"))
        ...     lease.hold(), lease.path.exists(), lease.release(), lease.path.exists()
        (True, True, None, False)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._holder = uuid.uuid4().hex
        self._renewed: float | None = None
        self._seen: bytes | None = None
        self._since = 0.0
        weakref.finalize(self, _give_back, path, self._holder)  # also when the process ends

    def hold(self) -> bool:
        """Takes or renews the lease; returns whether this process is to do the next step.

        It is, too, where the folder cannot be written to.
        """
        if self._renewed is not None:
            now = time.monotonic()
            self._write(seconds=now - self._renewed)
            self._renewed = now
            return True
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not atomic_write(self.path, self._content(None), replace=False):
                if not self._is_abandoned():
                    return False
                self._write(seconds=None)
        except OSError:
            return True
        self._renewed = time.monotonic()
        return True

    def release(self) -> None:
        """Gives the lease back, if this process holds it."""
        self._renewed = None
        _give_back(self.path, self._holder)

    def _content(self, seconds: float | None) -> bytes:
        """Returns what no other state of any lease is.

        Args:
            seconds: that the last step took; None before the first has ended.
        """
        values = {"holder": self._holder, "host": socket.gethostname(), "pid": os.getpid()}
        return json.dumps(values | {"seconds": seconds, "at": time.monotonic_ns()}).encode()

    def _write(self, seconds: float | None) -> None:
        with contextlib.suppress(OSError):
            atomic_write(self.path, self._content(seconds))

    def _is_abandoned(self) -> bool:
        """Whether the lease of another process is to be taken over."""
        try:
            content = self.path.read_bytes()
        except OSError:
            return False  # given back meanwhile: the next look takes it
        try:
            found = json.loads(content)
            seconds, pid = found["seconds"], int(found["pid"])
            is_here = found["host"] == socket.gethostname()
            if is_here and (pid == os.getpid() or not _is_running(pid)):
                return True
            patience = (
                FIRST_STEP_SECONDS
                if seconds is None
                else max(PATIENCE_SECONDS, _STEPS * float(seconds))
            )
        except (ValueError, TypeError, KeyError):
            patience = PATIENCE_SECONDS  # no lease of this code
        if content != self._seen:
            self._seen, self._since = content, time.monotonic()
        return time.monotonic() - self._since > patience


def _give_back(path: Path, holder: str) -> None:
    """Removes a lease if it is this holder's."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        if json.loads(path.read_bytes())["holder"] == holder:
            path.unlink()


def _is_running(pid: int) -> bool:
    """Whether there is a process of a number on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
