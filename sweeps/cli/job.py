"""Places that outlive a Ray job, whose working folder is a temporary copy of the project."""

import os
from pathlib import Path

from distill.errors import UserError

DEFAULT_DATA_ROOT = "data"
JOB_DATA_ROOT = "~/.cache/dream-sweep"
"""Inside a job, whose own folder is deleted with it."""


def in_job() -> bool:
    """Returns whether this process is the entry point of a `ray job submit`."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def default_data_root() -> str:
    """Returns the folder of torchvision's data sets where none is given."""
    return JOB_DATA_ROOT if in_job() else DEFAULT_DATA_ROOT


def refuse_relative_in_job(option: str, path: str, instead: str) -> None:
    """Raises a UserError for a relative path inside a job, where its content would be lost.

    Args:
        option: that the path was given by, for the message.
        path: a path, not a URI.
        instead: what to give.
    """
    if in_job() and not Path(path).expanduser().is_absolute():
        raise UserError(
            f"{option} {path} is relative, and a Ray job runs in a temporary copy of the project "
            f"that is deleted later; give {instead}"
        )
