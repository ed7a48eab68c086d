"""Files that are either the old ones or the new ones, never halves."""

import contextlib
import os
import uuid
from pathlib import Path


def atomic_write(path: Path | str, data: bytes, *, replace: bool = True) -> bool:
    """Writes a file so that a reader, or a crash at any moment, sees it whole or not at all.

    The bytes go into a hidden, uniquely named file in the same directory, are synced to the disk
    and renamed over the target; then the directory is synced, so that the new name survives a
    power cut too. On any failure the temporary file is removed and the target is as it was.

    Args:
        path: the target. Its directory must exist.
        data: the whole content.
        replace: whether an existing target is replaced; without it the first writer wins, also
            of several at once.

    Returns:
        Whether the target is now this content; False only where it existed and may not be
        replaced.

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
        published = _publish(temporary, path, replace=replace)
    except BaseException:  # an interrupt must not leave the temporary file behind either
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)
    return published


def _publish(temporary: Path, path: Path, *, replace: bool) -> bool:
    """Gives a finished file its name; returns False where the name is taken."""
    if not replace:
        try:
            path.hardlink_to(temporary)  # unlike a rename it fails where the target exists
        except FileExistsError:
            temporary.unlink()
            return False
        except OSError:
            # A file system without hard links: not safe against a writer at the same moment,
            # but whole. Where the rename is impossible as well, it raises what is the matter.
            if path.exists():
                temporary.unlink()
                return False
        else:
            temporary.unlink()
            return True
    temporary.replace(path)
    return True


def _sync_directory(directory: Path) -> None:
    """Syncs the entries of a directory, where the file system can."""
    # Network file systems may refuse; the file itself is already whole and in place by then.
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
