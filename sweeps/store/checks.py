"""Checks of rows: version, identity, ranges of results, checksum.

A row is written once. One that was changed afterwards must neither count as a finished trial nor
enter a table. The identity is computed again from the configuration columns and guards these; the
checksum guards all columns. Rows of earlier versions have none: their results are checked for what
results can be.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from distill.config.base import SCHEMA_VERSION
from distill.errors import shortened
from distill.kinds import KINDS, STATUSES
from sweeps.store.schema import CHECKSUM

CHECKS_VERSION = "2"
"""Raised when a row that passed these checks may no longer pass: compacted copies of rows that an
earlier version checked are not read."""

_ACCURACY = re.compile(r"(^|_)(accuracy|accuracies)(_best)?(_mean|_std)?$")
_AMOUNT = re.compile(r"^n_|(^|_)seconds$|_bytes$|^gpu_share$|^attempt$")
_SHARE = re.compile(r"^(noise_mean|largest_cluster_mean|saturated_share|plane_explained)$")
_SHARE_ERROR = 1e-6
"""By which a share may leave [0, 1]: rounding."""


class InvalidFileError(Exception):
    """A file does not hold what its name says; the message has the reason."""


def check_row(row: Mapping[str, Any]) -> None:
    """Checks that a row says what its trial found, as far as that can be known.

    A row of a later schema version is not checked: only its own code can.

    Args:
        row: the values of a row that are not null, also those of columns that this code does not
            know. `trial_id` is that of the file.

    Raises:
        InvalidFileError: it cannot be right; the message begins with `its` or a column.
    """
    version = row.get("schema_version")
    if not isinstance(version, int) or version < 1:
        raise InvalidFileError(
            f"its schema_version must be from 1 to {SCHEMA_VERSION}, got {_text(version)}"
        )
    if version > SCHEMA_VERSION:
        _check_checksum(row)  # a version that was changed is no later one
        return
    _check_identity(row, version)
    if row.get("status") not in STATUSES:
        raise InvalidFileError(
            f"its status must be one of {', '.join(STATUSES)}, got {_text(row.get('status'))}"
        )
    for name, value in row.items():
        if isinstance(value, int | float):
            check_range(name, value)
    _check_network_scores(row.get("network_scores"))
    _check_correct_images(row)
    _check_checksum(row)


def _check_checksum(row: Mapping[str, Any]) -> None:
    if CHECKSUM in row and row[CHECKSUM] != checksum(row):
        raise InvalidFileError("its checksum does not match: a column was changed")


def checksum(row: Mapping[str, Any]) -> str:
    """Returns 16 hexadecimal digits: the hash of all columns of a row but the checksum.

    Args:
        row: its values that are not null.
    """
    values = {name: value for name, value in row.items() if name != CHECKSUM}
    content = json.dumps(values, sort_keys=True, default=repr)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _check_identity(row: Mapping[str, Any], version: int) -> None:
    if row.get("kind") not in KINDS:
        raise InvalidFileError(
            f"its kind must be one of {', '.join(KINDS)}, got {_text(row.get('kind'))}"
        )
    kind = KINDS[row["kind"]]
    values = {name: row.get(name) for name in kind.config_columns}
    identity = kind.config.identity_of(values, schema_version=version)
    if identity != row["trial_id"]:
        raise InvalidFileError(
            f"its configuration columns are those of trial {identity}: they were changed, or some "
            "belong to options that this code does not have"
        )


def check_range(name: str, value: Any) -> None:
    """Raises an InvalidFileError for a number that a column of this name cannot hold.

    Losses and the quality of clusterings may be any number: those of networks whose weights left
    the range of numbers are NaN.
    """
    if _ACCURACY.search(name):
        low, high, allowed = 0.0, 1.0, "from 0 to 1"
    elif _AMOUNT.search(name):
        low, high, allowed = 0.0, math.inf, "a finite number of at least 0"
    elif _SHARE.search(name):
        low, high, allowed = -_SHARE_ERROR, 1 + _SHARE_ERROR, "from 0 to 1"
    else:
        return
    if not (math.isfinite(value) and low <= value <= high):
        raise InvalidFileError(f"{name} must be {allowed}, got {value}")


def _check_network_scores(text: str | None) -> None:
    """Raises an InvalidFileError unless a text is JSON of networks → scores → lists of numbers."""
    if text is None:
        return
    try:
        for scores in json.loads(text).values():
            for name, values in scores.items():
                for value in values:
                    check_range(name, float(value))
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        raise InvalidFileError(
            "network_scores must be JSON of networks, each with lists of numbers"
        ) from None


def _check_correct_images(row: Mapping[str, Any]) -> None:
    if row.get("eval_split") != "test" or not row.get("correct_images"):
        return
    n_test, sizes = row.get("n_test", 0), {len(packed) for packed in row["correct_images"]}
    if sizes != {math.ceil(n_test / 8)}:
        raise InvalidFileError(
            f"correct_images must have a bit for each of {n_test} test images, got "
            f"{_text(sorted(sizes))} bytes"
        )


def _text(value: object) -> str:
    return "null" if value is None else shortened(value)
