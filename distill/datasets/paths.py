"""Paths that a user typed, with one clear line for those that the system cannot take."""

from pathlib import Path

from distill.errors import UserError

_SHOWN = 80
"""Characters of a path that cannot be used that messages show."""


def user_path(text: str) -> Path:
    """Returns a path with `~` expanded.

    Args:
        text: the path as typed.

    Raises:
        UserError: it names the home folder of an unknown user, is too long for the system or has
            characters that a path cannot have.
    """
    try:
        path = Path(text).expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # what is missing is the caller's to report
    except RuntimeError:
        user = text.split("/", 1)[0]
        raise UserError(
            f"there is no home folder for {user!r}, got {shortened(text)}; write the whole path"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(
            f"cannot use the path {shortened(text)}: {reason or error}; give another path"
        ) from None
    return path


def shortened(text: str) -> str:
    """Returns a path as messages show it: quoted, its middle left out where it is long."""
    if len(text) <= _SHOWN:
        return repr(text)
    half = _SHOWN // 2
    return f"{text[:half] + '…' + text[-half:]!r} ({len(text)} characters)"
