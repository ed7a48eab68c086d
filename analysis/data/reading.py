"""Everything that stores know of their sweeps: what is finished, what was planned, what failed."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.data.selection_trials import SelectionTrial, selection_trials
from analysis.data.trials import Plan, paper1_trials, plan_of
from distill.config.distillation import Config
from distill.config.selection import config_from_dict
from distill.errors import UserError
from sweeps.store.store import Store, load_curves, load_results

BULKY = ("plan", "trial_ids")
"""What is left out of the records of submissions: it is in `Sweeps.plan`."""


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


@dataclass(frozen=True, kw_only=True)
class Sweeps:
    """What one or more stores hold.

    Attributes:
        stores: where it was read from.
        results: one row a finished trial, see `sweeps.load_results`; of a trial that is in
            several stores the first counts.
        plan: what submissions planned and is not in the results, by trial_id.
        failures: the newest record of every trial that failed and has no row, by trial_id.
        submissions: a record for every time that a sweep was started, oldest first, without plan.
    """

    stores: tuple[Store, ...]
    results: pd.DataFrame
    plan: Plan
    failures: Mapping[str, Mapping[str, Any]]
    submissions: tuple[Mapping[str, Any], ...]

    @cached_property
    def paper1_trials(self) -> pd.DataFrame:
        """Paper 1's trials, finished, failed and missing; see `paper1_trials`."""
        return paper1_trials(self.results, self.plan, self.failures)

    @cached_property
    def selection_trials(self) -> list[SelectionTrial]:
        """Paper 2's trials, finished, failed and missing."""
        return selection_trials(self.results, self.plan, self.failures)

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

    def distilled(self, trial_id: str) -> pa.Table | None:
        """Returns the images that a trial left: columns `image` (PNG bytes) and `label`.

        None where it left none, or a damaged file.
        """
        return self._read("distilled", trial_id)

    def samples(self, trial_id: str) -> pa.Table | None:
        """Returns a few of the images that a trial of paper 2 trained on, like `distilled`."""
        return self._read("samples", trial_id)

    def selection(self, trial_id: str) -> pa.Table | None:
        """Returns what a trial of paper 2 chose from what: one row an image to choose from.

        See `Choice.columns`. None where it left nothing, or a damaged file.
        """
        return self._read("selections", trial_id)

    def _read(self, folder: str, trial_id: str) -> pa.Table | None:
        for store in self.stores:
            with contextlib.suppress(OSError, pa.ArrowException):
                content = store.read_file(f"{folder}/{trial_id}.parquet")
                return pq.ParquetFile(pa.BufferReader(content)).read()
        return None

    @property
    def journals(self) -> dict[str, Path]:
        """The journals of Optuna's studies that lie in the stores, by the name of the search."""
        folders = [store.local_path / "studies" for store in self.stores if store.local_path]
        files = [file for folder in folders for file in sorted(folder.glob("*.journal"))]
        return {file.stem: file for file in reversed(files)}


def load(*uris: str | Path, on_invalid: Callable[[str], None] = _warn) -> Sweeps:
    """Reads one or more stores, also while sweeps write to them.

    Args:
        uris: paths or URIs of the results, at least one.
        on_invalid: is told of every file that is not a row, in one line; by default it is printed
            to the standard error.

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
            submissions += store.submissions()
            failures = store.failures() | failures
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
    """Yields what submissions planned: trial_id and configuration, of all kinds of trials."""
    for record in submissions:
        known = [values for values in record.get("plan") or () if isinstance(values, dict)]
        trial_ids = record.get("trial_ids")
        if trial_ids is not None and len(trial_ids) == len(known):
            yield from zip(trial_ids, known, strict=True)
        else:  # written before submissions named their trials
            yield from plan_of(_configs(known)).items()


def _configs(plan: Iterable[Mapping[str, Any]]) -> Iterable[Config]:
    """Yields the trials of a plan; those of other versions of the code are not."""
    for values in plan:
        with contextlib.suppress(UserError):
            yield config_from_dict(values)
