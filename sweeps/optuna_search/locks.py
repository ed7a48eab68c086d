"""Locks that keep a second driver from a study: a file lock, or a lease in a database."""

import contextlib
import fcntl
import os
import socket
import threading
import time
import uuid
from pathlib import Path

import optuna

from distill.errors import UserError

LEASE_SECONDS = 10.0
"""Seconds between two renewals of the lease on a study in a database."""

_LEASE = "driver"


class FileLock:
    """A lock on a journal against a second driver; the system releases it with the process."""

    def __init__(self, path: Path) -> None:
        lock_path = path.with_name(f"{path.name}.driver")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = lock_path.open("a+")
        except OSError as error:
            raise UserError(f"no study can be opened at {path}: {error}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read().strip() or str(error)
            self._file.close()
            raise UserError(
                f"the study in {path} is in use by another search ({holder}); wait for its end, "
                "or choose another --name"
            ) from None
        with contextlib.suppress(OSError):  # the holder is only for the message of other drivers
            self._file.truncate(0)
            self._file.write(_this_process())
            self._file.flush()

    def release(self) -> None:
        """Releases the lock. The file stays: another driver may have opened it already."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed already
            self._file.truncate(0)
        with contextlib.suppress(OSError):
            self._file.close()


class Lease:
    """A lease on a study in a database against a second driver, renewed every few seconds.

    A lease that does not change while another driver waits belongs to a process that was killed.
    No clocks are compared.
    """

    def __init__(self, study: optuna.Study, where: str) -> None:
        self._study = study
        self._token = uuid.uuid4().hex
        if self._is_alive():
            raise UserError(
                f"{where} is in use by another search ({study.user_attrs[_LEASE]['holder']}); "
                "wait for its end, or choose another --name"
            )
        self._n_renewals = 0
        self._renew()
        time.sleep(LEASE_SECONDS / 10)
        if study.user_attrs[_LEASE]["token"] != self._token:
            raise UserError(f"{where} was taken by another search that started at the same time")
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._keep_renewing, daemon=True)
        self._thread.start()

    def _is_alive(self) -> bool:
        lease = self._study.user_attrs.get(_LEASE)
        deadline = time.monotonic() + 3 * LEASE_SECONDS
        while lease is not None and time.monotonic() < deadline:
            time.sleep(LEASE_SECONDS / 10)
            if self._study.user_attrs.get(_LEASE) != lease:
                return self._study.user_attrs.get(_LEASE) is not None
        return False

    def _keep_renewing(self) -> None:
        while not self._released.wait(LEASE_SECONDS):
            with contextlib.suppress(Exception):  # the database may be back at the next renewal
                self._renew()

    def _renew(self) -> None:
        self._n_renewals += 1
        lease = {"holder": _this_process(), "token": self._token, "sign": self._n_renewals}
        self._study.set_user_attr(_LEASE, lease)

    def release(self) -> None:
        """Ends the lease."""
        if not self._released.is_set():
            self._released.set()
            self._thread.join()
            self._study.set_user_attr(_LEASE, None)


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"
