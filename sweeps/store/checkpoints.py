"""What the checkpoints of a store say about its running trials, read without their tensors.

A checkpoint is a safetensors file whose header holds the trial's values as JSON (see
`distill.runtime.checkpoint`): only the header is read here, and its hash is not checked.

Free of torch.
"""

import re
from dataclasses import dataclass
from typing import Any

from sweeps.store.files import Files
from sweeps.store.records import parsed_json
from sweeps.store.rows import is_trial_id

FOLDER = "checkpoints"

FIRST_BYTES = 2**16
"""Bytes of a checkpoint that are read at first; they hold all but very long headers."""

MOST_BYTES = 2**27
"""Longest header that is read: above it the file is damaged."""

_NAME = re.compile(r"(\d+)-[0-9a-f]{32}\.safetensors")


@dataclass(frozen=True, kw_only=True)
class SavedTrial:
    """The newest checkpoint of a trial.

    Attributes:
        trial_id: of the trial.
        saved_at: when it was written, in seconds since 1970, by the storing side's clock.
        gap_seconds: time since the checkpoint before it; None where there is only one.
        values: what the trial saved beside tensors; `progress` and `config` where it is of this
            version. Empty where the file is damaged.
    """

    trial_id: str
    saved_at: float
    gap_seconds: float | None
    values: dict[str, Any]

    @property
    def progress(self) -> dict[str, Any]:
        """The fields of `distill.trials.base.Progress`; empty where none were saved."""
        progress = self.values.get("progress")
        return progress if isinstance(progress, dict) else {}


def saved_trials(files: Files) -> dict[str, SavedTrial]:
    """Returns the newest checkpoint of every trial that has one, by its trial_id.

    Raises:
        OSError: a file cannot be read. One that vanishes meanwhile is passed over.
    """
    stamps = files.nested_stamps(FOLDER)
    names: dict[str, list[str]] = {}
    for path in stamps:
        trial_id, _, name = path.partition("/")
        if is_trial_id(trial_id) and _NAME.fullmatch(name):
            names.setdefault(trial_id, []).append(path)
    for paths in names.values():
        paths.sort(key=_number, reverse=True)
    found = {}
    newest = {paths[0]: trial_id for trial_id, paths in names.items()}
    for path, values in files.map_many(
        lambda path: checkpoint_values(files, f"{FOLDER}/{path}"), newest
    ):
        if values is None:
            continue
        times = [stamps[name].mtime_ns / 1e9 for name in names[newest[path]][:2]]
        found[newest[path]] = SavedTrial(
            trial_id=newest[path],
            saved_at=times[0],
            gap_seconds=max(0.0, times[0] - times[1]) if len(times) > 1 else None,
            values=values,
        )
    return found


def checkpoint_values(files: Files, path: str) -> dict[str, Any] | None:
    """Returns the values in the header of a checkpoint; none of a damaged one.

    Args:
        files: of the store.
        path: of the checkpoint.

    Returns:
        The values; None where the file was removed meanwhile, which its trial does as it goes on.
    """
    try:
        content = files.read_start(path, FIRST_BYTES)
        end = 8 + int.from_bytes(content[:8], "little")
        if len(content) < end <= MOST_BYTES:
            content = files.read_start(path, end)
    except FileNotFoundError:
        return None
    try:
        values = parsed_json(parsed_json(content[8:end])["__metadata__"]["values"])
    except (ValueError, KeyError, TypeError):
        return {}
    return values if isinstance(values, dict) else {}


def _number(path: str) -> int:
    return int(path.rpartition("/")[2].split("-", 1)[0])
