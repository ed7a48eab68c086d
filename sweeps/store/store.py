"""The results of sweeps as Parquet files, in a folder or an object store.

    RESULTS/trials/<trial_id>.parquet       one row; its presence means finished
    RESULTS/curves/<trial_id>.parquet       one row for each step
    RESULTS/distilled/<trial_id>.parquet    distilled images, in the Hub's layout
    RESULTS/selections/<trial_id>.parquet   the real images that a selection chose
    RESULTS/samples/<trial_id>.parquet      some of the images that it trained on, as distilled ones
    RESULTS/<artifact>/<trial_id>.parquet   the like, of other kinds of trials
    RESULTS/networks/<trial_id>.pt          the network of the best epoch, where it was asked for
    RESULTS/checkpoints/<trial_id>/         while the trial runs
    RESULTS/failures/<trial_id>-….json      why an attempt failed; deleted when the trial finishes
    RESULTS/submissions/….json              one for every start of a sweep
    RESULTS/compacted/….parquet             copies of many rows in one file, to read them faster
    RESULTS/sweep.json                      schema version of the store

A row is written last, by an atomic write, and any number of drivers, trials and readers may work
on one store at once. `load_results` reads it; `pandas.read_parquet` on `trials` works as well.
Deleting a row's file makes its trial run again; so does changing it (`sweeps.store.checks`).

Free of torch and Ray: the analysis reads with it.
"""

import contextlib
import datetime as dt
import re
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from distill import __version__
from distill.config.base import SCHEMA_VERSION
from distill.errors import UserError
from distill.runtime.atomic import remove_abandoned
from sweeps.store import records
from sweeps.store.checkpoints import SavedTrial, saved_trials
from sweeps.store.checks import InvalidFileError
from sweeps.store.compaction import COMPACT_FROM, SETTLED_SECONDS, compact, read_compacted
from sweeps.store.files import Files, FilesFolder, Stamp
from sweeps.store.rows import (
    check_trial_id,
    curve_content,
    is_trial_id,
    parse_curve,
    parse_row,
    read_tables,
    row_content,
    table_content,
    trial_stamps,
)
from sweeps.store.schema import curve_schema, trial_schema

ARTIFACTS = ("distilled", "selections", "samples")
"""Folders of the artifacts of the project's own kinds; others are made when they are needed."""

_RESERVED = ("trials", "curves", "checkpoints", "failures", "submissions", "compacted")

FOLDERS = (*_RESERVED, *ARTIFACTS)

NETWORKS = "networks"
"""Folder of saved networks; made when it is needed."""

_ARTIFACT_NAME = re.compile(r"[a-z][a-z0-9_]*")


BULKY_COLUMNS = ("correct_images",)
"""Columns that are larger than all others together: they are read only when they are asked for."""


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)


class Store:
    """The results of one or more sweeps in one place.

    Opens nothing until it is used; can be pickled. Methods that write or read raise an OSError
    where the place cannot be reached, is full, …

    Args:
        uri: a path (made absolute, `~` is the home folder) or any URI that `pyarrow.fs` opens:
            `s3://bucket/path?endpoint_override=…`, `gs://…`, `file:///…`.

    Raises:
        UserError: the URI cannot be right.
    """

    def __init__(self, uri: str | Path) -> None:
        self._files = Files(uri)

    def __repr__(self) -> str:
        return f"Store({self.shown!r})"

    @property
    def uri(self) -> str:
        """The absolute path or whole URI, as other processes need it; it may hold passwords."""
        return self._files.uri

    @property
    def shown(self) -> str:
        """The path or URI for messages, without passwords."""
        return self._files.shown

    def uri_of(self, name: str) -> str:
        """Returns the path or whole URI of `trials`, `curves`, … for other readers of Parquet."""
        return self._files.uri_of(name)

    def read_file(self, name: str) -> bytes:
        """Returns the content of a file, such as `distilled/ID.parquet`.

        Raises:
            FileNotFoundError: there is none.
        """
        return self._files.read(name)

    @property
    def local_path(self) -> Path | None:
        """The path of a store on a disk."""
        return self._files.local_path

    @property
    def is_local(self) -> bool:
        """Whether the store is a folder on a disk (or a share that is mounted)."""
        return self.local_path is not None

    def create(self) -> None:
        """Creates the store, or checks an existing one, and that it can be written to.

        Raises:
            UserError: it cannot be written to, holds other things, or results of another schema.
        """
        self._try_place()
        try:
            for folder in FOLDERS:
                self._files.make_folder(folder)
                if self.local_path is not None:
                    remove_abandoned(self.local_path / folder)
            if not self.exists():
                self._files.write("sweep.json", records.json_content(_description()), replace=False)
        except OSError as error:
            raise UserError(f"results {self.shown} cannot be written to: {error}") from None
        self._check_description()

    @contextlib.contextmanager
    def reserved(self) -> Iterator[None]:
        """Checks that the store can be written to, or made, and leaves nothing if it is not made.

        Inside the context a folder on a disk exists, so that other machines can be tried.

        Raises:
            UserError: see `create`.
        """
        place = self.local_path
        missing = [] if place is None else [p for p in (place, *place.parents) if not p.exists()]
        try:
            self._try_place()
            yield
        finally:
            for folder in missing:
                with contextlib.suppress(OSError):  # not empty: it was made by `create`
                    folder.rmdir()

    def _try_place(self) -> None:
        """Makes the folder of the store and tries to write there; raises a UserError."""
        try:
            is_made = self.exists()
            if not is_made:
                self._refuse_strangers()
                self._files.make_folder("", parents=True)
            self._try_to_write()
        except OSError as error:
            raise UserError(f"results {self.shown} cannot be written to: {error}") from None
        if is_made:
            self._check_description()

    def exists(self) -> bool:
        """Whether there is a store."""
        return self._files.exists("sweep.json")

    def _refuse_strangers(self) -> None:
        strangers = sorted(self._files.entries() - {*FOLDERS, NETWORKS})
        if strangers:
            raise UserError(
                f"results {self.shown} holds other things ({', '.join(strangers[:3])}); "
                "name a new or empty folder"
            )

    def _try_to_write(self) -> None:
        name = self.put_marker()
        try:
            self.check_marker(name)
        finally:
            self.remove_marker(name)

    def put_marker(self) -> str:
        """Writes a hidden file and returns its name: it is found in this store only."""
        name = f".marker-{uuid.uuid4()}"
        self._files.write(name, name.encode())
        return name

    def check_marker(self, name: str) -> None:
        """Raises an OSError unless the marker exists; FileNotFoundError where it is missing."""
        if self._files.read(name) != name.encode():
            raise OSError("a file was read back with another content")

    def remove_marker(self, name: str) -> None:
        """Removes a marker; one that is missing is fine."""
        self._files.delete(name)

    def _check_description(self) -> None:
        """Raises a UserError unless the store exists and has the schema version of this code."""
        try:
            description = records.parsed_json(self._files.read("sweep.json"))
            version = description["schema_version"]
            if type(version) is not int:
                raise TypeError("the version is no whole number")
        except FileNotFoundError:
            raise UserError(f"there are no results at {self.shown}: it has no sweep.json") from None
        except OSError as error:
            raise UserError(f"results {self.shown} cannot be read: {error}") from None
        except (ValueError, TypeError, KeyError):
            raise UserError(
                f"{self.shown}/sweep.json is damaged; delete it and start the sweep again: "
                "finished trials stay finished"
            ) from None
        if version != SCHEMA_VERSION:
            writer = description.get("created_by")
            is_named = isinstance(writer, str) and writer.isprintable()
            raise UserError(self._refusal(version, writer if is_named else "another version"))

    def _refusal(self, version: int, writer: str) -> str:
        reason = "trials have other identities and columns there"
        if version > SCHEMA_VERSION:
            what_to_do = "read or continue them with that version or a newer one"
        else:
            what_to_do = (
                "run the sweep again into a new --results folder, or read them with the version "
                "that wrote them"
            )
        return (
            f"results {self.shown} have schema_version {version}, written by {writer}; this code "
            f"has {SCHEMA_VERSION}: {reason}; {what_to_do}"
        )

    def check(self) -> None:
        """Raises a UserError unless there is a store of the schema version of this code."""
        self._check_description()

    def statuses(self, on_invalid: Callable[[str], None] = _warn) -> dict[str, str]:
        """Returns the status of every finished trial by its trial_id.

        Args:
            on_invalid: called with a line for every file in `trials` that is not a row.

        Raises:
            UserError: there is no store, or it is of another schema.
        """
        self._check_description()
        table = self._rows(on_invalid, ["trial_id", "status", "schema_version"])
        columns = (table[name].to_pylist() for name in ("trial_id", "status"))
        return dict(zip(*columns, strict=True))

    def has_row(self, trial_id: str) -> bool:
        """Whether a trial is finished: a valid row exists."""
        return self.read_row(trial_id) is not None

    def read_row(
        self, trial_id: str, on_invalid: Callable[[str], None] = lambda _: None
    ) -> dict[str, Any] | None:
        """Returns a finished trial's row, by the columns of `trial_schema`; else None.

        Args:
            trial_id: of the trial.
            on_invalid: called with a line for a file that is not a row.
        """
        try:
            path = f"trials/{check_trial_id(trial_id)}.parquet"
            table = parse_row(path, self._files.read(path), trial_schema())
        except FileNotFoundError:
            return None
        except InvalidFileError as error:
            on_invalid(f"{self.shown}/{path} is left out: {error}")
            return None
        row: dict[str, Any] = table.to_pylist()[0]
        return row

    def put_result(
        self,
        row: Mapping[str, Any],
        curve: Iterable[Mapping[str, Any]],
        artifacts: Mapping[str, pa.Table] | None = None,
        *,
        network: bytes | None = None,
        replace: bool = False,
    ) -> bool:
        """Writes the result of a trial, its row last, and deletes its checkpoints and failures.

        Of two processes that finish the same trial at once, one row stays, whole; curve and images
        may be the other one's, which has run the same configuration.

        Args:
            row: by the columns of `trial_schema`, `trial_id` and `status` at least; others are
                null. `network_scores` may be the dictionary that a trial gives.
            curve: one record of `curve_schema` for each step; may be empty.
            artifacts: folder (`distilled`, `selections`, …) → table for the trial's file in it.
            network: content of the file of a network that the trial leaves.
            replace: whether a finished trial is replaced.

        Returns:
            False, and nothing is overwritten, where the trial was finished already.

        Raises:
            ValueError: the row or the curve has unknown columns or values of a wrong type, or an
                artifact has no name for a folder.
            OSError: it cannot be written; an existing row is kept.
        """
        trial_id = check_trial_id(row["trial_id"])
        row_file, curve_file = row_content(row), curve_content(trial_id, curve)
        artifacts = artifacts or {}
        for folder in artifacts:
            if folder in (*_RESERVED, NETWORKS) or not _ARTIFACT_NAME.fullmatch(folder):
                raise ValueError(f"{folder!r} cannot be the name of an artifact's folder")
        if not replace and self.has_row(trial_id):
            self._clean_up(trial_id)
            return False
        for folder, table in artifacts.items():
            self._files.make_folder(folder)
            self._files.write(f"{folder}/{trial_id}.parquet", table_content(table))
        if network is not None:
            self._files.make_folder(NETWORKS)
            self._files.write(f"{NETWORKS}/{trial_id}.pt", network)
        self._files.write(f"curves/{trial_id}.parquet", curve_file)
        written = self._files.write(f"trials/{trial_id}.parquet", row_file, replace=replace)
        if not written and not self.has_row(trial_id):  # the name is taken by a damaged file
            written = self._files.write(f"trials/{trial_id}.parquet", row_file)
        self._clean_up(trial_id)
        return written

    def _clean_up(self, trial_id: str) -> None:
        # The result is safe by now: leftovers are harmless, and failing to delete them is no
        # reason to report a finished trial as failed.
        with contextlib.suppress(OSError):
            records.delete_failures(self._files, trial_id)
            self._files.remove_folder(f"checkpoints/{trial_id}")

    def checkpoint_folder(self, trial_id: str) -> FilesFolder:
        """Returns the folder of a running trial's checkpoints, as a trial takes it."""
        return FilesFolder(self._files, f"checkpoints/{check_trial_id(trial_id)}")

    def put_failure(self, trial_id: str, record: Mapping[str, Any]) -> None:
        """Writes why an attempt at a trial failed.

        Args:
            trial_id: of the trial.
            record: values that JSON can hold.
        """
        records.put_failure(self._files, trial_id, record)

    def failures(self, on_invalid: Callable[[str], None] = _warn) -> dict[str, dict[str, Any]]:
        """Returns the last record of every trial that failed and has no row, by its trial_id.

        The last is that of the highest attempt: clocks of nodes may differ.

        Args:
            on_invalid: called with a line for every file in `failures` that is not a record.
        """
        last = records.last_failures(self._files, on_invalid)
        finished = self._files.stamps("trials") if last else {}
        return {
            trial_id: record
            for trial_id, record in last.items()
            if not (f"{trial_id}.parquet" in finished and self.has_row(trial_id))
        }

    def failures_of(
        self, trial_id: str, on_invalid: Callable[[str], None] = _warn
    ) -> list[dict[str, Any]]:
        """Returns the records of all failed attempts at a trial without a row, first to last.

        Args:
            trial_id: of the trial.
            on_invalid: see `failures`.
        """
        return records.failures_of(self._files, trial_id, on_invalid)

    def known_ids(self) -> set[str]:
        """Returns the trial_ids of all finished trials, failures and checkpoints, by file names."""
        rows = {name.removesuffix(".parquet") for name in trial_stamps(self._files)}
        saved = {path.partition("/")[0] for path in self._files.nested_stamps("checkpoints")}
        return {i for i in rows | saved if is_trial_id(i)} | records.failed_ids(self._files)

    def row_stamps(self) -> dict[str, Stamp]:
        """Returns size and time of every file in `trials` by its trial_id: they tell new rows."""
        return {n.removesuffix(".parquet"): s for n, s in trial_stamps(self._files).items()}

    def checkpoints(self) -> dict[str, SavedTrial]:
        """Returns the newest checkpoint of every trial that has one, by its trial_id."""
        return saved_trials(self._files)

    def put_submission(self, record: Mapping[str, Any]) -> str:
        """Writes that a sweep was started; returns the name of the record.

        Args:
            record: values that JSON can hold: name, command, plan, …
        """
        return records.put_submission(self._files, record)

    def submissions(self, on_invalid: Callable[[str], None] = _warn) -> list[dict[str, Any]]:
        """Returns the records of all submissions, oldest first.

        Args:
            on_invalid: called with a line for every file in `submissions` that is not a record.
        """
        return records.submissions(self._files, on_invalid)

    def dated_submissions(
        self, on_invalid: Callable[[str], None] = _warn
    ) -> list[tuple[dt.datetime, dict[str, Any]]]:
        """Returns when each sweep was started, UTC by its driver's clock, and its record.

        Args:
            on_invalid: see `submissions`.
        """
        return records.dated_submissions(self._files, on_invalid)

    def compact(
        self, *, minimum: int = COMPACT_FROM, settled_seconds: float = SETTLED_SECONDS
    ) -> int:
        """Copies the rows into one file that is read much faster than thousands.

        Drivers and readers may be at work meanwhile; see `sweeps.store.compaction`.

        Args:
            minimum: least number of rows without a copy for which a file is written.
            settled_seconds: least age of the files that are copied.

        Returns:
            How many rows were copied for the first time; 0 also where there were too few.

        Raises:
            UserError: there is no store, or it is of another schema.
        """
        self._check_description()
        return compact(
            self._files, trial_schema(), minimum=minimum, settled_seconds=settled_seconds
        )

    def results(self, on_invalid: Callable[[str], None] = _warn) -> pd.DataFrame:
        """Returns the rows of all finished trials; see `load_results`."""
        columns = [name for name in trial_schema().names if name not in BULKY_COLUMNS]
        with self._readable():
            return _frame(self._rows(on_invalid, columns).sort_by("trial_id"))

    def correct_images(self, on_invalid: Callable[[str], None] = _warn) -> pa.Table:
        """Returns which test images the networks of all finished trials classify right.

        Returns:
            A table with `trial_id`, `n_test` and `correct_images`, only of trials that have it.
        """
        columns = ["trial_id", "schema_version", "n_test", "correct_images"]
        with self._readable():
            table = self._rows(on_invalid, columns)
        return table.filter(pc.is_valid(table["correct_images"]))

    def curves(
        self,
        trial_ids: Iterable[str] | None = None,
        on_invalid: Callable[[str], None] = _warn,
    ) -> pd.DataFrame:
        """Returns the curves of finished trials; see `load_curves`."""
        wanted = None if trial_ids is None else {f"{check_trial_id(i)}.parquet" for i in trial_ids}
        with self._readable():
            names = self._files.stamps("curves").keys() & trial_stamps(self._files).keys()
            if wanted is not None:
                names &= wanted
            table = read_tables(
                self._files,
                "curves",
                sorted(names),
                parse_curve,
                curve_schema(),
                on_invalid=on_invalid,
            )
        return _frame(table.sort_by("trial_id"))  # a stable sort: steps stay in their order

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """Checks that the store exists; failures to read it become UserErrors."""
        try:
            self._check_description()
            yield
        except OSError as error:
            raise UserError(f"results {self.shown} cannot be read: {error}") from None

    def _rows(self, on_invalid: Callable[[str], None], columns: list[str] | None) -> pa.Table:
        """Returns the rows of all finished trials.

        Args:
            on_invalid: called with a line for every file in `trials` that is not a row.
            columns: of `trial_schema`, `schema_version` among them; None: all.

        Raises:
            UserError: a row is of a later schema.
        """
        schema = trial_schema()
        kept = columns or schema.names
        stamps = trial_stamps(self._files)
        known = read_compacted(self._files, stamps, schema, kept)[1].select(kept)
        names = sorted(stamps.keys() - {f"{i}.parquet" for i in known["trial_id"].to_pylist()})
        rest = read_tables(
            self._files,
            "trials",
            names,
            parse_row,
            schema,
            columns=kept,
            on_invalid=on_invalid,
        )
        table = pa.concat_tables([known, rest])
        self._refuse_later(table)
        return table

    def _refuse_later(self, table: pa.Table) -> None:
        later = pc.filter(table["trial_id"], pc.greater(table["schema_version"], SCHEMA_VERSION))
        if len(later):
            raise UserError(
                f"{self.shown}/trials/{later[0]}.parquet is of a later schema_version than "
                f"{SCHEMA_VERSION}, the one of this code; use a newer dream-sweep"
            )


def load_results(uri: str | Path, *, on_invalid: Callable[[str], None] = _warn) -> pd.DataFrame:
    """Returns the rows of all finished trials of a store, sorted by trial_id.

    Args:
        uri: where the store is, see `Store`.
        on_invalid: called with a line for every file in `trials` that is not a row; a warning
            by default.

    Returns:
        A frame with the columns of `trial_schema` without `BULKY_COLUMNS`; whole numbers as pandas'
        nullable `Int64`, truth values as its `boolean`.
        Without rows for an empty store.

    Raises:
        UserError: there is no store, it cannot be read, or it is of another schema.
    """
    return Store(uri).results(on_invalid)


def distinct_notices(results: pd.DataFrame) -> list[str]:
    """Returns the notices of rows, each once, such as what was taken for what.

    Args:
        results: from `load_results`.
    """
    listed = (notices for notices in results["notices"] if isinstance(notices, Iterable))
    return list(dict.fromkeys(notice for notices in listed for notice in notices))


def load_curves(
    uri: str | Path,
    trial_ids: Iterable[str] | None = None,
    *,
    on_invalid: Callable[[str], None] = _warn,
) -> pd.DataFrame:
    """Returns the curves of finished trials of a store, sorted by trial_id, steps in order.

    Args:
        uri: where the store is, see `Store`.
        trial_ids: which; None: of all trials.
        on_invalid: called with a line for every file that is not a curve; a warning by default.

    Returns:
        A frame with the columns of `curve_schema`; trials without a curve have no rows.

    Raises:
        UserError: there is no store, it cannot be read, or it is of another schema.
    """
    return Store(uri).curves(trial_ids, on_invalid)


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(
        types_mapper={pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}.get
    )
    return frame


def _description() -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "created_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "created_by": f"dream-sweep {__version__}",
    }
