"""Errors and warnings that callers can handle."""

import difflib
from collections.abc import Iterable


class DreamSweepError(Exception):
    """Base of all errors that this project raises for its callers."""


class UserError(DreamSweepError, ValueError):
    """Bad input. The message is one line: the value given, what is allowed, what to do.

    The commands print it and exit with code 2; library callers get it as a ValueError.
    """


class InapplicableOptionError(UserError):
    """An option was given that none of the chosen components has.

    Args:
        option: its name.
        message: see `UserError`.
    """

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


class InterruptedTrialError(DreamSweepError):
    """A trial was asked to stop; its state is saved if it has a checkpoint folder."""


class DivergedError(DreamSweepError):
    """A loss or a learnt value is no longer finite."""


class InfeasibleClusteringError(DreamSweepError):
    """A clustering leaves nothing to choose from (for example DBSCAN: every point is noise)."""


class SlowerWarning(UserWarning):
    """A fast path is unavailable on this machine; results are the same, but take longer."""


def require_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Raises a UserError for a name that is not among the known ones, with the nearest match.

    Args:
        kind: noun for the message (`clusterer`, `dataset`, …).
        name: the name given.
        known: the allowed names.
    """
    names = list(known)
    if name in names:
        return
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise UserError(f"unknown {kind} {name!r}{hint} (known: {', '.join(names)})")
