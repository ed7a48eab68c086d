"""What a caller is meant to handle: bad input, divergence, being asked to stop, being slower."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input. The message is one line: the value that came, what is allowed, what to do.

    The commands print it and exit with code 2; library callers get it as a ValueError.
    """


class InterruptedTrialError(Exception):
    """A trial was asked to stop; its state is saved if it had a checkpoint folder."""


class DivergedError(Exception):
    """A loss, or what is learnt, is no longer a finite number."""


class SlowerWarning(UserWarning):
    """A fast way cannot be gone on this machine; the result is the same, later."""


def require_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Raises a UserError for a name that is not among the known ones, with the nearest match.

    Args:
        kind: what the name stands for, as the user calls it (`clusterer`, `dataset`, …).
        name: the name that came.
        known: the names that are allowed.
    """
    names = list(known)
    if name in names:
        return
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise UserError(f"unknown {kind} {name!r}{hint} (known: {', '.join(names)})")
