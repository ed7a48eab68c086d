"""Everything that a store knows of its sweeps: what is finished, what was planned, what failed."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from distill.config import TrialConfig
from distill.errors import UserError
from sweeps.store import Store, load_results


@dataclass(frozen=True, kw_only=True)
class Sweeps:
    """What a store holds.

    Attributes:
        results: one row a finished trial, see `sweeps.store.load_results`.
        plan: what all submissions planned, each trial once.
        failures: the newest record of every trial that failed and has no row, by trial_id.
    """

    results: pd.DataFrame
    plan: tuple[TrialConfig, ...]
    failures: Mapping[str, Mapping[str, Any]]


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


def load(uri: str | Path, *, on_invalid: Callable[[str], None] = _warn) -> Sweeps:
    """Reads a store, also while sweeps write to it.

    Args:
        uri: path or URI of the results.
        on_invalid: is told of every file that is not a row, in one line; by default it is printed
            to the standard error.

    Raises:
        UserError: there is no store, it cannot be read, or it is of another schema.
    """
    results = load_results(uri, on_invalid=on_invalid)
    store = Store(uri)
    try:
        plan = tuple(_planned(store.submissions()))
        return Sweeps(results=results, plan=plan, failures=store.failures())
    except OSError as error:
        raise UserError(f"results {store.shown} cannot be read: {error}") from None


def _planned(submissions: Iterable[Mapping[str, Any]]) -> Iterable[TrialConfig]:
    """Yields the trials that submissions planned; those of other versions of the code are not."""
    seen = set()
    for record in submissions:
        for values in record.get("plan") or ():
            text = json.dumps(values, sort_keys=True)
            if text in seen or values.get("kind", "distillation") != "distillation":
                continue
            seen.add(text)
            try:
                yield TrialConfig.from_dict({k: v for k, v in values.items() if k != "kind"})
            except UserError:
                continue
