"""Errors and warnings that callers can handle."""

import difflib
from collections.abc import Iterable

MAX_SHOWN = 80
"""Characters of a given value that messages show."""


class DreamSweepError(Exception):
    """Base of all errors that this project raises for its callers."""


class UserError(DreamSweepError, ValueError):
    """Bad input. The message is one line: the value given, what is allowed, what to do.

    The commands print it and exit with code 2; library callers get it as a ValueError.
    """


class AdvisedError(UserError):
    """Bad images or labels, with advice for data sets that small sets in files cannot follow.

    Args:
        found: what is wrong.
        advice: the options of data sets that help, with the punctuation before it.
        otherwise: the advice where these options do not apply, with its punctuation.
    """

    def __init__(self, found: str, advice: str, otherwise: str = "") -> None:
        super().__init__(found + advice)
        self.found = found
        self.advice = advice
        self.otherwise = otherwise

    def __reduce__(self) -> tuple[type["AdvisedError"], tuple[str, str, str]]:
        return type(self), (self.found, self.advice, self.otherwise)

    def without_options(self) -> UserError:
        """Returns the error for callers that have none of the options."""
        return UserError(self.found + self.otherwise)


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


class InsufficientMemoryError(DreamSweepError, MemoryError):
    """A step needs more memory than there is; raised before any of it is allocated."""


class SlowerWarning(UserWarning):
    """A fast path is unavailable on this machine; results are the same, but take longer."""


class ProvenanceWarning(UserWarning):
    """Trials that are pooled differ in what a configuration does not say, such as the device."""


def one_line(error: BaseException) -> str:
    """Returns the message of an error in one line that every terminal can print."""
    return printable(" ".join(str(error).split()))


def printable(text: str) -> str:
    r"""Returns a text in which characters that are not printed are escaped.

    Such as control characters, lone surrogates and marks that change the direction of writing.

    Example:
        >>> printable("café \x1b[31m\u202e")
        'café \\x1b[31m\\u202e'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shortened(value: object) -> str:
    """Returns a value for messages, as Python writes it, cut where it is long."""
    if isinstance(value, str) and len(value) > MAX_SHOWN:
        return repr(f"{value[:MAX_SHOWN]}…")
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested very deep; a number of thousands of digits
        return f"a very long {type(value).__name__}"
    return text if len(text) <= 2 * MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


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
    close = difflib.get_close_matches(str(name)[:MAX_SHOWN], names, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise UserError(f"unknown {kind} {shortened(name)}{hint} (known: {', '.join(names)})")
