"""Files that are either the old ones or the new ones, never halves."""

import contextlib
import os
import uuid
from pathlib import Path


def atomic_write(path: Path | str, data: bytes) -> None:
    """Writes a file so that a reader, or a crash at any moment, sees it whole or not at all.

    The bytes go into a hidden, uniquely named file in the same directory, are synced to the disk
    and renamed over the target; then the directory is synced, so that the new name survives a
    power cut too. On any failure the temporary file is removed and the target is as it was.

    Args:
        path: the target; an existing file is replaced. Its directory must exist.
        data: the whole content.

    Raises:
        OSError: the directory is missing or not writable, the disk is full, …
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp-{uuid.uuid4()}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:  # an interrupt must not leave the temporary file behind either
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    """Syncs the entries of a directory, where the file system can."""
    # Network file systems may refuse; the file itself is already whole and in place by then.
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
