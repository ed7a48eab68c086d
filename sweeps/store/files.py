"""Atomic files in a folder on a disk or in an object store: the only module that knows which.

A disk is used through the standard library, everything else through `pyarrow.fs`. Both guarantee
atomic writes: a file appears whole or not at all.
"""

import contextlib
import datetime as dt
import itertools
import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

import pyarrow as pa
import pyarrow.fs

from distill.errors import UserError, require_known
from distill.runtime.atomic import atomic_write

Result = TypeVar("Result")

SCHEMES = ("file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
"""Schemes of the supported URIs."""

_FLAT = ("s3", "gcs", "abfs")
"""pyarrow's names of file systems without folders."""

_HARMLESS = ("region", "scheme", "endpoint_override", "allow_bucket_creation", "tls_ca_file_path")
"""Parts of a URI's query that messages may show; others might be passwords."""

MIN_SECRET = 4
"""Least length of a secret that is removed from messages; shorter ones occur in any text."""

REACH_SECONDS = 25.0
"""Seconds for the first answer of an object store."""

_GCS_RETRY_SECONDS = 5  # for each of several requests; pyarrow's default is a quarter of an hour
_S3_REQUEST_SECONDS, _S3_ATTEMPTS = 5.0, 2  # for the first answer
_REASON_CHARACTERS = 240  # of a library's message that are shown

N_CONNECTIONS = 16
"""Files read at once from an object store, where each takes tens of milliseconds."""


NAME_TIME = "%Y%m%dT%H%M%S%fZ"
"""Format of the time that unique names begin with, UTC."""


class Stamp(NamedTuple):
    """Size and time of a file; they change when it is replaced.

    Attributes:
        size: bytes.
        mtime_ns: when it was last written, in nanoseconds since 1970, by the storing side's clock.
    """

    size: int
    mtime_ns: int


class Files:
    """Files below one folder. Names are relative to it, `/` between their parts.

    Opens nothing until it is used; can be pickled. All methods raise an OSError where the place
    cannot be reached, is full, … and a UserError where pyarrow does not take the URI.

    Args:
        uri: a path, or a URI that `pyarrow.fs` opens, credentials and options included.

    Raises:
        UserError: the URI cannot be right.
    """

    def __init__(self, uri: str | Path) -> None:
        self.local_path = _local_path(uri)
        self.uri = str(self.local_path or uri)

    def __reduce__(self) -> tuple[type["Files"], tuple[str]]:
        return Files, (self.uri,)

    def __repr__(self) -> str:
        return f"Files({self.shown!r})"

    @cached_property
    def shown(self) -> str:
        """The path or URI for messages: without passwords."""
        return str(self.local_path) if self.local_path is not None else _without_secrets(self.uri)

    def uri_of(self, name: str) -> str:
        """Returns the path or whole URI of what has a name here."""
        if self.local_path is not None:
            return str(self.local_path / name)
        parts = urlsplit(self.uri)
        return parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name)}").geturl()

    def read(self, name: str) -> bytes:
        """Returns a file's content.

        Raises:
            FileNotFoundError: there is none.
        """
        if self.local_path is not None:
            return _regular(self.local_path / name).read_bytes()
        file_system, base = self._remote
        with file_system.open_input_stream(f"{base}/{name}") as stream:
            content: bytes = stream.read()
        return content

    def read_start(self, name: str, n_bytes: int) -> bytes:
        """Returns the first bytes of a file, fewer where it is shorter.

        Raises:
            FileNotFoundError: there is none.
        """
        if self.local_path is not None:
            with _regular(self.local_path / name).open("rb") as local:
                return local.read(n_bytes)
        file_system, base = self._remote
        with file_system.open_input_file(f"{base}/{name}") as remote:
            content: bytes = remote.read(n_bytes)
        return content

    def map_many(
        self, function: Callable[[str], Result], names: Iterable[str]
    ) -> Iterator[tuple[str, Result]]:
        """Yields names with what a function that reads returns, in order, many at once remotely."""
        if self.local_path is not None:
            yield from ((name, function(name)) for name in names)
            return
        with ThreadPoolExecutor(N_CONNECTIONS) as pool:
            names = list(names)
            yield from zip(names, pool.map(function, names), strict=True)

    def read_many(self, names: Iterable[str]) -> Iterator[tuple[str, bytes | OSError]]:
        """Yields names with their contents, in order; an error in the place of what fails."""
        if self.local_path is not None:
            yield from ((name, self._read_or_error(name)) for name in names)
            return
        left = iter(names)
        with ThreadPoolExecutor(N_CONNECTIONS) as pool:
            while some := list(itertools.islice(left, 16 * N_CONNECTIONS)):  # not all in memory
                yield from zip(some, pool.map(self._read_or_error, some), strict=True)

    def _read_or_error(self, name: str) -> bytes | OSError:
        try:
            return self.read(name)
        except OSError as error:
            return error

    def write(self, name: str, data: bytes, *, replace: bool = True) -> bool:
        """Writes a file whole or not at all; its folder must exist on a disk.

        Args:
            name: of the file.
            data: its content.
            replace: whether a file of that name is replaced. Without it the first of several
                writers wins on a disk; on an object store that is only looked up beforehand, for
                want of a conditional write in pyarrow.

        Returns:
            Whether the file is now this content.
        """
        if self.local_path is not None:
            return atomic_write(self.local_path / name, data, replace=replace)
        if not replace and self.exists(name):
            return False
        file_system, base = self._remote
        # The whole content in one call: an exception between two of them would still publish
        # what was written so far, as closing the stream completes the object.
        with file_system.open_output_stream(f"{base}/{name}") as stream:
            stream.write(data)
        return True

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""
        if self.local_path is not None:
            return (self.local_path / name).is_file()
        file_system, base = self._remote
        return bool(file_system.get_file_info(f"{base}/{name}").is_file)

    def delete(self, name: str) -> None:
        """Deletes a file; one that is missing is fine."""
        if self.local_path is not None:
            (self.local_path / name).unlink(missing_ok=True)
            return
        file_system, base = self._remote
        with contextlib.suppress(FileNotFoundError):
            file_system.delete_file(f"{base}/{name}")

    def stamps(self, folder: str) -> dict[str, Stamp]:
        """Returns the files directly in a folder, without hidden ones; none if it is missing."""
        if self.local_path is not None:
            return _local_stamps(self.local_path / folder)
        file_system, base = self._remote
        selector = pa.fs.FileSelector(f"{base}/{folder}", allow_not_found=True)
        return {
            info.base_name: Stamp(info.size, info.mtime_ns)
            for info in file_system.get_file_info(selector)
            if info.is_file and not info.base_name.startswith(".")
        }

    def nested_stamps(self, folder: str) -> dict[str, Stamp]:
        """Returns the files in the folders of a folder as `SUBFOLDER/NAME`, no hidden ones."""
        if self.local_path is not None:
            return {
                f"{entry.name}/{name}": stamp
                for entry in _local_folders(self.local_path / folder)
                for name, stamp in _local_stamps(Path(entry.path)).items()
            }
        file_system, base = self._remote
        place = f"{base}/{folder}"
        selector = pa.fs.FileSelector(place, allow_not_found=True, recursive=True)
        found = {
            info.path.removeprefix(f"{place}/"): Stamp(info.size, info.mtime_ns)
            for info in file_system.get_file_info(selector)
            if info.is_file and not info.base_name.startswith(".")
        }
        return {name: stamp for name, stamp in found.items() if name.count("/") == 1}

    def entries(self) -> set[str]:
        """Returns the names of all files and folders directly below, without hidden ones."""
        if self.local_path is not None:
            names = os.listdir(self.local_path) if self.local_path.exists() else []  # noqa: PTH208
        else:
            file_system, base = self._remote
            selector = pa.fs.FileSelector(base, allow_not_found=True)
            names = [info.base_name for info in file_system.get_file_info(selector)]
        return {name for name in names if not name.startswith(".")}

    def make_folder(self, name: str, *, parents: bool = False) -> None:
        """Makes a folder where file systems have them; one that exists is fine.

        Args:
            name: of the folder; "" is the place itself.
            parents: whether to make the folders above it, too. Without it a place that is not
                there, such as a share that is not mounted, stays an error.
        """
        if self.local_path is not None:
            (self.local_path / name).mkdir(exist_ok=True, parents=parents)
            return
        file_system, base = self._remote
        if file_system.type_name not in _FLAT:
            file_system.create_dir(f"{base}/{name}", recursive=parents)

    def remove_folder(self, name: str) -> None:
        """Removes a folder with all that is in it; one that is missing is fine."""
        with contextlib.suppress(FileNotFoundError):
            if self.local_path is not None:
                shutil.rmtree(self.local_path / name)
                return
            file_system, base = self._remote
            file_system.delete_dir(f"{base}/{name}")

    def remove_empty_folder(self, name: str) -> None:
        """Removes a folder if it exists and is empty."""
        if self.local_path is not None:
            with contextlib.suppress(OSError):
                (self.local_path / name).rmdir()
            return
        file_system, base = self._remote
        # Also on object stores: pyarrow leaves an empty object as the "folder" of a deleted one.
        path = f"{base}/{name}"
        selector = pa.fs.FileSelector(path, allow_not_found=True)
        if not file_system.get_file_info(selector):
            with contextlib.suppress(FileNotFoundError):
                file_system.delete_dir(path)

    @cached_property
    def _remote(self) -> tuple[Any, str]:
        """The file system, and the path of the place in it."""
        uri = self.uri
        if uri.startswith("s3:") and "allow_delayed_open=" not in uri:
            # One request for a small file in place of the three of an upload in parts.
            uri += ("&" if "?" in uri else "?") + "allow_delayed_open=true"
        try:
            return _within(REACH_SECONDS, lambda: _open_and_ask(uri))
        except OSError as error:
            reason = _scrubbed(str(error), self.uri)
            if len(reason) > _REASON_CHARACTERS:
                reason = f"{reason[:_REASON_CHARACTERS]}…"
            raise ConnectionError(
                f"{self.shown} cannot be reached: {reason}; check the network, the credentials and "
                "the name"
            ) from None
        except (pa.ArrowException, ValueError, ImportError) as error:
            reason = _scrubbed(str(error), self.uri)
            raise UserError(f"{self.shown} cannot be opened: {reason}") from None


def _open_and_ask(uri: str) -> tuple[Any, str]:
    """Returns the file system of a URI and the path in it, once the place has answered.

    Raises:
        OSError: it cannot be reached or used.
        Exception: pyarrow does not take the URI.
    """
    if uri.startswith("abfs") and shutil.which("az") is None:
        # Else Azure's library starts `az`, whose shell complains beside our line.
        os.environ.setdefault("AZURE_TOKEN_CREDENTIALS", "prod")
    file_system, base = pa.fs.FileSystem.from_uri(uri)
    asked = file_system
    if uri.startswith(("gs:", "gcs:")) and "retry_limit_seconds=" not in uri:
        limited = f"{uri}{'&' if '?' in uri else '?'}retry_limit_seconds={_GCS_RETRY_SECONDS}"
        asked, _ = pa.fs.FileSystem.from_uri(limited)
    elif file_system.type_name == "s3":
        asked = _impatient(file_system)
    base = base.rstrip("/")
    try:
        asked.get_file_info(base)
    except pa.ArrowException as error:  # Azure's, which are no OSError
        raise OSError(str(error)) from error
    return file_system, base


def _impatient(file_system: pa.fs.S3FileSystem) -> pa.fs.S3FileSystem:
    """Returns the same S3 file system with requests that end soon where nothing answers.

    At its end the process waits for all requests to S3; with pyarrow's own limits for more than a
    minute. A URI cannot say these limits, the file system's pickled form can.
    """
    rebuild, (options,) = file_system.__reduce__()
    limits = dict.fromkeys(("connect_timeout", "request_timeout"), _S3_REQUEST_SECONDS)
    retries = pa.fs.AwsStandardS3RetryStrategy(max_attempts=_S3_ATTEMPTS)
    return rebuild(options | limits | {"retry_strategy": retries})


def _within(seconds: float, function: Callable[[], Result]) -> Result:
    """Returns what a function returns, or raises what it raises, in a limited time.

    Raises:
        TimeoutError: it takes longer; its thread goes on, and does not keep the process alive.
    """
    outcome: Future[Result] = Future()

    def call() -> None:
        try:
            outcome.set_result(function())
        except Exception as error:
            outcome.set_exception(error)

    # Not a pool: the process would wait at its end for a thread that hangs.
    threading.Thread(target=call, daemon=True, name="reach-store").start()
    try:
        return outcome.result(timeout=seconds)
    except TimeoutError:
        raise TimeoutError(f"no answer within {seconds:g} seconds") from None


class FilesFolder:
    """One folder of a `Files` for checkpoints: a `distill.runtime.checkpoint.Folder`."""

    def __init__(self, files: Files, folder: str) -> None:
        self._files = files
        self._folder = folder

    def __str__(self) -> str:
        return f"{self._files.shown}/{self._folder}"

    def names(self) -> list[str]:
        """Returns the names of its files; none where there is no such folder."""
        return list(self._files.stamps(self._folder))

    def read(self, name: str) -> bytes:
        """Returns a file's content; FileNotFoundError where there is none."""
        return self._files.read(f"{self._folder}/{name}")

    def write(self, name: str, data: bytes) -> None:
        """Writes a file whole or not at all, and makes the folder when it is missing."""
        self._files.make_folder(self._folder)
        self._files.write(f"{self._folder}/{name}", data)

    def remove(self, name: str) -> None:
        """Removes a file; one that is missing is fine."""
        self._files.delete(f"{self._folder}/{name}")

    def discard_empty(self) -> None:
        """Removes the folder if it exists and is empty."""
        self._files.remove_empty_folder(self._folder)


def unique_name() -> str:
    """Returns a name that no other process gives; names sort by time."""
    return f"{dt.datetime.now(dt.UTC):{NAME_TIME}}-{uuid.uuid4().hex[:8]}"


def _absolute(path: Path) -> Path:
    """Returns a path with the user's folder and the current one filled in.

    Raises:
        UserError: it holds a NUL character, or names a user that there is not.
    """
    if "\0" in str(path):
        raise UserError(f"the name of the results holds a NUL character: {str(path)!r}")
    try:
        return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - resolve follows links
    except RuntimeError:  # ~name of nobody
        raise UserError(f"{path}: there is no such user; give the folder's whole path") from None


def _local_path(uri: str | Path) -> Path | None:
    """Returns the absolute path of a place on a disk, None of one elsewhere.

    Raises:
        UserError: no such kind of place.
    """
    if isinstance(uri, Path):
        return _absolute(uri)
    if not uri:
        raise UserError("the results need a folder or a URI, got an empty name")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):(/*)", uri)
    if scheme is None or (not scheme[2] and scheme[1] not in SCHEMES):
        return _local_path(Path(uri))
    require_known("kind of URI", scheme[1], SCHEMES)
    if len(scheme[2]) < 2:
        raise UserError(f"a URI has two slashes: {scheme[1]}://bucket/path; got {scheme[0]}…")
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise UserError(f"{scheme[0]}… is not a URI: {error}") from None
    if scheme[1] == "file":
        if parts.netloc not in ("", "localhost"):
            raise UserError(f"a file URI has three slashes, such as file:///data; got {uri!r}")
        return Path(unquote(parts.path))
    if not parts.netloc.rpartition("@")[2] and scheme[1] not in ("hdfs", "viewfs"):
        raise UserError(f"{_without_secrets(uri)} names no bucket; write {scheme[1]}://bucket/path")
    return None


def _regular(path: Path) -> Path:
    """Returns a path; an OSError where a pipe or the like is, which would be waited for."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(f"{path} is not a regular file")
    return path


def _local_stamps(folder: Path) -> dict[str, Stamp]:
    stamps = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.is_file():
                continue
            with contextlib.suppress(FileNotFoundError):  # deleted since it was listed
                status = entry.stat()
                stamps[entry.name] = Stamp(status.st_size, status.st_mtime_ns)
    return stamps


def _local_folders(folder: Path) -> list[os.DirEntry[str]]:
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        return [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    return []


def _without_secrets(uri: str) -> str:
    parts = urlsplit(uri)
    query = "&".join(
        f"{name}={value if name in _HARMLESS else '…'}" for name, value in parse_qsl(parts.query)
    )
    netloc = parts.netloc
    for secret in _credentials(parts):
        netloc = netloc.replace(f"{secret}@", "…@")
    return f"{parts.scheme}://{netloc}{parts.path}" + (f"?{query}" if query else "")


def _credentials(parts: SplitResult) -> list[str]:
    """Returns what stands before the host of a URI and is secret: `key:password`.

    In Azure's `abfs://container:key@account/path` the container is none.
    """
    user, _, _ = parts.netloc.rpartition("@")
    if parts.scheme.startswith("abfs"):
        user = user.partition(":")[2]
    return [user] if user else []


def _scrubbed(text: str, uri: str) -> str:
    """Returns a message of pyarrow's in one line, without what a URI may hold in secret."""
    parts = urlsplit(uri)
    secrets = [value for name, value in parse_qsl(parts.query) if name not in _HARMLESS]
    secrets += [word for credentials in _credentials(parts) for word in credentials.split(":")]
    for secret in (uri, *secrets, *map(unquote, secrets)):
        if len(secret) >= MIN_SECRET:
            text = text.replace(secret, "…")
    return " ".join(text.split())
