"""Parse the texts of command-line options: whole numbers, numbers, texts, file names and paths.

Every command reads its options by these functions, so that the same rules hold everywhere: digits
are ASCII, numbers are finite and in a range, texts are UTF-8 in one line, and paths fit the file
system. Every UserError is one line that names the option.
"""

import errno
import math
import os
import unicodedata
from pathlib import Path

from distill.errors import UserError, shortened

MAX_COUNT = 10**9
"""Largest whole number of an option without a maximum: more than any trial or sweep can have."""

MAX_INT64 = 2**63 - 1
"""Largest whole number that results can store; the maximum of seeds."""

MAX_NAME_BYTES = 200
"""Length of a name that becomes a file name; file systems allow 255 with what is added to it."""

MAX_PART_BYTES = 255
"""Length of one part of a path on Linux's file systems."""

MAX_PATH_BYTES = 3840
"""Length of a path: Linux allows 4,096, and files are written below it."""

_CONTROL_CATEGORIES = ("Cc", "Zl", "Zp")


def whole_number(
    option: str, text: str, *, minimum: int | None = None, maximum: int = MAX_COUNT
) -> int:
    """Returns the whole number that a text of ASCII characters holds.

    Args:
        option: name of the option, for messages.
        text: the text given.
        minimum: least value.
        maximum: largest value.

    Raises:
        UserError: the text is no whole number, or the number is out of range.
    """
    try:
        if not text.isascii():
            raise ValueError(text)
        value = int(text)
    except ValueError:  # also of more than 4,300 digits
        raise UserError(f"{option} must be a whole number, got {shortened(text)}") from None
    if minimum is not None and value < minimum:
        raise UserError(f"{option} must be at least {minimum}, got {shortened(value)}")
    if value > maximum:
        raise UserError(f"{option} must be at most {maximum}, got {shortened(value)}")
    return value


def number(
    option: str, text: str, *, minimum: float | None = None, maximum: float | None = None
) -> float:
    """Returns the finite number that a text of ASCII characters holds.

    Args:
        option: name of the option, for messages.
        text: the text given.
        minimum: least value.
        maximum: largest value.

    Raises:
        UserError: the text is no number, or the number is not finite or out of range.
    """
    try:
        if not text.isascii():
            raise ValueError(text)
        value = float(text)
    except ValueError:
        raise UserError(f"{option} must be a number, got {shortened(text)}") from None
    if not math.isfinite(value):
        raise UserError(f"{option} must be finite, got {value}")
    if minimum is not None and value < minimum:
        raise UserError(f"{option} must be at least {minimum:g}, got {value:g}")
    if maximum is not None and value > maximum:
        raise UserError(f"{option} must be at most {maximum:g}, got {value:g}")
    return value


def plain_text(option: str, text: str) -> str:
    """Returns a text that is not empty and that files, tables and terminals can hold.

    Raises:
        UserError: the text is empty, has control characters (as newlines are), or is not UTF-8.
    """
    if not text:
        raise UserError(f"{option} must not be empty")
    check_characters(option, text)
    return text


def check_characters(option: str, text: str) -> None:
    """Raises a UserError for a text with control characters, or with bytes that are not UTF-8."""
    if any(unicodedata.category(character) in _CONTROL_CATEGORIES for character in text):
        raise UserError(
            f"{option} must be one line without control characters, got {shortened(text)}"
        )
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes of the command line, or half a character in JSON
        raise UserError(f"{option} must be UTF-8, got {shortened(text)}") from None


def file_name(option: str, text: str) -> str:
    """Returns a text that can be the name of a file.

    Raises:
        UserError: it cannot: see `plain_text`; or it has a `/`, begins with a `.` or is too long.
    """
    plain_text(option, text)
    if "/" in text or text.startswith("."):
        raise UserError(f"{option} must do as the name of a file, got {shortened(text)}")
    if len(text.encode()) > MAX_NAME_BYTES:
        raise UserError(
            f"{option} must be at most {MAX_NAME_BYTES} bytes long, got {len(text.encode())}"
        )
    return text


def path(option: str, text: str) -> str:
    """Returns a text that can be a path on this machine, as it was given.

    Raises:
        UserError: it cannot: see `plain_text`; or it is too long, names an unknown user's home
            folder, or is a circle of links.
    """
    plain_text(option, text)
    try:
        absolute = Path(text).expanduser().absolute()
    except RuntimeError:
        raise UserError(f"{option} {shortened(text)} names a home folder that is unknown") from None
    if any(len(os.fsencode(part)) > MAX_PART_BYTES for part in absolute.parts):
        raise UserError(
            f"{option} must have names of at most {MAX_PART_BYTES} bytes, got {shortened(text)}"
        )
    if len(os.fsencode(absolute)) > MAX_PATH_BYTES:
        raise UserError(
            f"{option} must be at most {MAX_PATH_BYTES} bytes long, got {shortened(text)}"
        )
    try:
        absolute.stat()
    except OSError as error:  # a file system may have lower limits
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise UserError(f"{option} {shortened(text)}: {error.strerror}") from None
    return text


def path_or_uri(option: str, text: str) -> str:
    """Returns a text that can be a path on this machine or a URI, as it was given.

    Raises:
        UserError: it cannot: see `path`.
    """
    if "://" not in text:
        return path(option, text)
    plain_text(option, text)
    if len(text.encode()) > MAX_PATH_BYTES:
        raise UserError(f"{option} must be at most {MAX_PATH_BYTES} bytes long")
    return text
