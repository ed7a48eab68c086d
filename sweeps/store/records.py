"""JSON records of a store: failures of trials, and submissions of sweeps."""

import datetime as dt
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from distill.errors import shortened
from sweeps.store.files import NAME_TIME, Files, unique_name
from sweeps.store.rows import check_trial_id

OnInvalid = Callable[[str], None]
"""Called with a line for every file that is left out."""

_TYPES: Mapping[str, type] = {
    **dict.fromkeys(("trial_id", "sweep", "phase", "message", "host", "time", "kind"), str),
    **dict.fromkeys(("cause", "traceback", "name", "script", "plan_digest", "cluster"), str),
    **dict.fromkeys(("attempt", "n_trials"), int),
    **dict.fromkeys(("command", "trial_ids", "plan", "searched"), list),
    "config": dict,
}
"""Types of the fields of records; each may be missing or null."""

MOST = 10**9
"""Largest number of trials or attempts in a record that is believed."""

_JSON_NAMES = {str: "a text", int: "a whole number", list: "a list", dict: "an object"}

_SUBMISSION = re.compile(r"\d{8}T\d{12}Z-[0-9a-f]{8}\.json")
_FAILURE = re.compile(r"[0-9a-f]{16}-\d{8}T\d{12}Z-[0-9a-f]{8}\.json")


def put_failure(files: Files, trial_id: str, record: Mapping[str, Any]) -> None:
    """Writes why an attempt at a trial failed.

    Args:
        files: of the store.
        trial_id: of the trial.
        record: values that JSON can hold.
    """
    name = f"{check_trial_id(trial_id)}-{unique_name()}.json"
    files.write(f"failures/{name}", json_content(record))


def last_failures(files: Files, on_invalid: OnInvalid) -> dict[str, dict[str, Any]]:
    """Returns the last record of every trial that failed, by its trial_id.

    The last is that of the highest attempt: clocks of nodes may differ.
    """
    last: dict[str, dict[str, Any]] = {}
    records = _records(files, "failures", _failure_names(files), on_invalid)
    for name, record in sorted(records, key=lambda item: item[0]):
        trial_id = name[:16]
        if trial_id not in last or _attempt(record) >= _attempt(last[trial_id]):
            last[trial_id] = record
    return last


def failures_of(files: Files, trial_id: str, on_invalid: OnInvalid) -> list[dict[str, Any]]:
    """Returns all records of a trial's failures, by attempt."""
    names = [name for name in _failure_names(files) if name.startswith(check_trial_id(trial_id))]
    records = _records(files, "failures", names, on_invalid)
    return sorted((record for _, record in records), key=_attempt)


def failed_ids(files: Files) -> set[str]:
    """Returns the trial_ids that have a record of a failure."""
    return {name[:16] for name in _failure_names(files)}


def delete_failures(files: Files, trial_id: str) -> None:
    """Deletes all records of a trial's failures."""
    for name in _failure_names(files):
        if name.startswith(trial_id):
            files.delete(f"failures/{name}")


def put_submission(files: Files, record: Mapping[str, Any]) -> str:
    """Writes that a sweep was started; returns the name of the record."""
    name = unique_name()
    files.write(f"submissions/{name}.json", json_content(record))
    return name


def submissions(files: Files, on_invalid: OnInvalid) -> list[dict[str, Any]]:
    """Returns the records of all submissions, oldest first."""
    return [record for _, record in dated_submissions(files, on_invalid)]


def dated_submissions(
    files: Files, on_invalid: OnInvalid
) -> list[tuple[dt.datetime, dict[str, Any]]]:
    """Returns when each sweep was started, UTC by the driver's clock, and its record."""
    names = sorted(name for name in files.stamps("submissions") if _SUBMISSION.fullmatch(name))
    return [
        (dt.datetime.strptime(name.partition("-")[0], NAME_TIME).replace(tzinfo=dt.UTC), record)
        for name, record in _records(files, "submissions", names, on_invalid)
    ]


def json_content(record: Mapping[str, Any]) -> bytes:
    """Returns a record with a line for each field; indented, a large plan takes twice as long."""
    fields = (
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"
        for key, value in record.items()
    )
    return ("{\n" + ",\n".join(fields) + "\n}\n").encode()


def _failure_names(files: Files) -> list[str]:
    """Returns the names of the records of failures, by trial, oldest first by writers' clocks."""
    return sorted(name for name in files.stamps("failures") if _FAILURE.fullmatch(name))


def parsed_json(content: bytes | str) -> Any:
    """Returns what a text in JSON holds.

    Raises:
        ValueError: it is not JSON, or nested deeper than Python reads.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _records(
    files: Files, folder: str, names: Iterable[str], on_invalid: OnInvalid
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the records in a folder by name, without damaged or vanished files."""
    for path, content in files.read_many(f"{folder}/{name}" for name in names):
        if isinstance(content, FileNotFoundError):
            continue
        if isinstance(content, OSError):
            raise content
        try:
            record = _checked(parsed_json(content))
        except ValueError as error:
            on_invalid(f"{files.shown}/{path} is left out: it is no record ({error})")
        else:
            yield path.removeprefix(f"{folder}/"), record


def _checked(record: Any) -> dict[str, Any]:
    """Returns a record; raises a ValueError for what code that reads it cannot take."""
    if not isinstance(record, dict):
        raise ValueError(f"it must be an object, got {shortened(record)}")
    for name, kind in _TYPES.items():
        value = record.get(name)
        if value is not None and not isinstance(value, kind):
            raise ValueError(f"{name} must be {_JSON_NAMES[kind]}, got {shortened(value)}")
        if isinstance(value, int) and not 0 <= value <= MOST:
            raise ValueError(f"{name} must be from 0 to {MOST:,}, got {shortened(value)}")
    for trial_id in record.get("trial_ids") or ():
        if not isinstance(trial_id, str):
            raise ValueError(f"trial_ids must be texts, got {shortened(trial_id)}")
    for name, value in (record.get("config") or {}).items():
        if isinstance(value, dict) or (
            isinstance(value, list) and not all(isinstance(part, str) for part in value)
        ):
            raise ValueError(f"{name} of config must be a value, got {shortened(value)}")
    return record


def _attempt(record: Mapping[str, Any]) -> int:
    attempt = record.get("attempt")
    return attempt if isinstance(attempt, int) else 1
