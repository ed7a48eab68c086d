"""Everything that stores hold about their sweeps: finished, planned and failed trials."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analysis.data.trials import Plan, TrialRecord, read_trials
from analysis.statistics.images import unpack_correct
from distill.errors import UserError, one_line
from sweeps.store.store import Store, distinct_notices, load_curves, load_results

BULKY = ("plan", "trial_ids")
"""Keys that are left out of the records of submissions: they are in `Sweeps.plan`."""


Artifact = TypeVar("Artifact")

_DAMAGE = (pa.ArrowException, OSError, ValueError, TypeError, LookupError, AttributeError)
"""What reading a damaged table raises."""


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


@dataclass(frozen=True, kw_only=True)
class Sweeps:
    """The contents of one or more stores.

    Attributes:
        stores: that were read.
        results: one row a finished trial, see `sweeps.store.store.load_results`; of a trial that is
            in several stores the first counts.
        plan: trials that submissions planned and that are not in the results, by trial_id.
        failures: the newest record of every trial that failed and has no row, by trial_id.
        submissions: a record for every start of a sweep, oldest first, without its plan.
    """

    stores: tuple[Store, ...]
    results: pd.DataFrame
    plan: Plan
    failures: Mapping[str, Mapping[str, Any]]
    submissions: tuple[Mapping[str, Any], ...]

    def trials(self, kind: str) -> list[TrialRecord]:
        """Returns the trials of a kind, finished, failed and missing; see `read_trials`.

        Raises:
            UserError: there is no such kind.
        """
        if kind not in self._trials:
            self._trials[kind] = read_trials(kind, self.results, self.plan, self.failures)
        return self._trials[kind]

    @cached_property
    def _trials(self) -> dict[str, list[TrialRecord]]:
        return {}

    def curves(
        self, trial_ids: Iterable[str], *, on_invalid: Callable[[str], None] = _warn
    ) -> pd.DataFrame:
        """Returns the curves of trials, see `sweeps.store.store.load_curves`."""
        left = set(trial_ids)
        frames = []
        for store in self.stores:
            frames.append(load_curves(store.uri, left, on_invalid=on_invalid))
            left -= set(frames[-1]["trial_id"])
        return pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]

    def correct_images(self, trial_ids: Iterable[str]) -> dict[str, NDArray[np.bool_]]:
        """Returns which test images the networks of trials classify right.

        The column is read when it is first asked for: it is larger than all others together.

        Returns:
            Arrays (K, n) of K networks and n test images, by trial_id; without trials that did not
            store it.
        """
        found = {}
        for trial_id in trial_ids:
            n_test, packed = self._correct.get(trial_id, (0, None))
            if packed:
                found[trial_id] = unpack_correct(packed, n_test)
        return found

    @cached_property
    def _correct(self) -> dict[str, tuple[int, list[bytes] | None]]:
        known: dict[str, tuple[int, list[bytes] | None]] = {}
        for store in reversed(self.stores):
            table = store.correct_images(on_invalid=lambda _: None)  # named when it was loaded
            columns = (table[name].to_pylist() for name in ("trial_id", "n_test", "correct_images"))
            known |= {
                trial_id: (n_test or 0, packed)
                for trial_id, n_test, packed in zip(*columns, strict=True)
            }
        return known

    def artifact(
        self, folder: str, trial_id: str, build: Callable[[pa.Table], Artifact | None]
    ) -> Artifact | None:
        """Returns what a table holds that a trial left in a folder of the store.

        `distilled` and `samples` have the columns `image` (PNG bytes) and `label`, `selections` has
        one row an image to choose from.

        Args:
            folder: of the store.
            trial_id: of the trial.
            build: makes it of the table; whatever it raises for a damaged one is a warning.

        Returns:
            What `build` returns; None where the trial left no table, or a damaged one.
        """
        for store in self.stores:
            path = f"{folder}/{trial_id}.parquet"
            with contextlib.suppress(FileNotFoundError):
                content = store.read_file(path)
                try:
                    file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
                    return build(file.read())
                except _DAMAGE as error:
                    _warn(f"{store.shown}/{path} is left out: it is damaged ({one_line(error)})")
        return None

    @property
    def notices(self) -> list[str]:
        """What users were warned of before the trials, each once."""
        return distinct_notices(self.results)

    @property
    def journals(self) -> dict[str, Path]:
        """The journals of Optuna's studies that are in the stores, by the name of the search."""
        folders = [store.local_path / "studies" for store in self.stores if store.local_path]
        files = [file for folder in folders for file in sorted(folder.glob("*.journal"))]
        return {file.stem: file for file in reversed(files)}


def load(*uris: str | Path, on_invalid: Callable[[str], None] = _warn) -> Sweeps:
    """Reads one or more stores, also while sweeps write to them.

    Args:
        uris: paths or URIs of the results, at least one.
        on_invalid: called with a message of one line for every file that is not a valid row or
            record; by default the message is printed to the standard error.

    Raises:
        UserError: there is no store, it cannot be read, or it is of another schema.
    """
    if not uris:
        raise UserError("load needs the path or the URI of at least one folder of results")
    frames, submissions = [], []
    failures: dict[str, Mapping[str, Any]] = {}
    stores = tuple(Store(uri) for uri in uris)
    for store in stores:
        frames.append(load_results(store.uri, on_invalid=on_invalid))
        try:
            submissions += store.submissions(on_invalid)
            failures = store.failures(on_invalid) | failures
        except OSError as error:
            raise UserError(f"results {store.shown} cannot be read: {error}") from None
    results = frames[0]
    if len(frames) > 1:
        results = pd.concat(frames).drop_duplicates("trial_id").sort_values("trial_id")
        results = results.reset_index(drop=True)
    finished = set(results["trial_id"])
    return Sweeps(
        stores=stores,
        results=results,
        plan={k: values for k, values in _planned(submissions) if k not in finished},
        failures={k: record for k, record in failures.items() if k not in finished},
        submissions=tuple(
            {k: value for k, value in record.items() if k not in BULKY} for record in submissions
        ),
    )


def _planned(
    submissions: Iterable[Mapping[str, Any]],
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields trial_id and configuration of all trials that submissions planned."""
    for record in submissions:
        trial_ids, plan = record.get("trial_ids") or (), record.get("plan") or ()
        if len(trial_ids) == len(plan):
            for trial_id, values in zip(trial_ids, plan, strict=True):
                if isinstance(values, dict):
                    yield trial_id, values
