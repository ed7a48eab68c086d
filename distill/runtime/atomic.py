"""Atomic file writes."""

import contextlib
import os
import re
import shutil
import time
import uuid
from pathlib import Path

_TEMPORARY = re.compile(r"\..+\.tmp-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Names of `temporary_beside`."""

_ABANDONED_SECONDS = 24 * 60 * 60


def atomic_write(path: Path | str, data: bytes, *, replace: bool = True) -> bool:
    """Writes a file atomically: readers, also after a crash, see the old or the new content.

    The bytes are written to a hidden, uniquely named file in the same directory, synced to the disk
    and renamed over the target; then the directory is synced, so that the new name survives a
    power failure. On any failure the temporary file is removed and the target is unchanged.

    Args:
        path: the target, in an existing directory.
        data: the whole content.
        replace: whether to replace an existing target; if False, the first of several concurrent
            writers wins.

    Returns:
        Whether the target now has this content; False only if it exists and `replace` is False.

    Raises:
        OSError: the directory is missing or not writable, the disk is full, …

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "notes.txt")
        ...     atomic_write(path, b"first"), atomic_write(path, b"second", replace=False)
        (True, False)
    """
    path = Path(path)
    temporary = temporary_beside(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        published = _publish(temporary, path, replace=replace)
    except BaseException:  # interrupts included: no temporary file may be left
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)
    return published


def _publish(temporary: Path, path: Path, *, replace: bool) -> bool:
    """Renames a complete file to its target; returns False if the target exists and is kept."""
    if not replace:
        try:
            path.hardlink_to(temporary)  # unlike a rename, it fails if the target exists
        except FileExistsError:
            temporary.unlink()
            return False
        except OSError:
            # The file system has no hard links: the check is not safe against a concurrent
            # writer, but the file is complete. If a rename is impossible too, it raises below.
            if path.exists():
                temporary.unlink()
                return False
        else:
            temporary.unlink()
            return True
    temporary.replace(path)
    return True


def _sync_directory(directory: Path) -> None:
    """Syncs the entries of a directory if the file system supports it."""
    # Network file systems may refuse; the file is complete and in place already.
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def temporary_beside(path: Path) -> Path:
    """Returns a new name beside a target, hidden, which `remove_abandoned` knows."""
    return path.with_name(f".{path.name}.tmp-{uuid.uuid4()}")


def remove_abandoned(folder: Path) -> list[Path]:
    """Removes temporary files and folders of `temporary_beside` that killed processes left.

    Only those that nothing was written to for a day: others may be at work.

    Args:
        folder: that they are in; it need not exist.

    Returns:
        What was removed.
    """
    removed = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not _TEMPORARY.fullmatch(entry.name):
                continue
            with contextlib.suppress(OSError):
                if time.time() - entry.stat(follow_symlinks=False).st_mtime < _ABANDONED_SECONDS:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    Path(entry.path).unlink()
                removed.append(Path(entry.path))
    return removed
