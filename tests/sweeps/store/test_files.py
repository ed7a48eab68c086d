"""Files on a disk, and which URIs are taken; object stores are in test_store_s3."""

import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from distill.errors import UserError
from sweeps.store import files as store_files
from sweeps.store.files import Files, FilesFolder


def test_files_come_and_go(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.make_folder("a")
    files.make_folder("a")

    assert files.write("a/x", b"one")
    assert files.read("a/x") == b"one"
    assert files.write("a/x", b"second")
    assert not files.write("a/x", b"third", replace=False)
    assert files.read("a/x") == b"second"
    assert files.write("a/y", b"", replace=False)
    assert files.exists("a/y")
    assert not files.exists("a")
    assert files.entries() == {"a"}
    files.delete("a/y")
    files.delete("a/y")
    assert not files.exists("a/y")
    with pytest.raises(FileNotFoundError):
        files.read("a/y")


def test_stamps_show_files_and_change_with_them(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.make_folder("a")
    files.make_folder("a/folder")
    files.write("a/x", b"123")
    (tmp_path / "a" / ".x.tmp-1").write_bytes(b"half")
    os.utime(tmp_path / "a" / "x", ns=(1, 123_456_789_000))

    assert files.stamps("a") == {"x": (3, 123_456_789_000)}
    files.write("a/x", b"321")
    assert files.stamps("a")["x"].mtime_ns > 123_456_789_000
    assert files.stamps("missing") == {}


def test_many_are_read_in_order_with_errors_in_their_place(tmp_path: Path) -> None:
    files = Files(tmp_path)
    for name in "abd":
        files.write(name, name.encode() * 2)

    read = list(files.read_many("dcab"))

    assert [name for name, _ in read] == list("dcab")
    assert [content for _, content in read if isinstance(content, bytes)] == [b"dd", b"aa", b"bb"]
    assert isinstance(read[1][1], FileNotFoundError)


def test_a_place_that_is_not_mounted_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    files = Files(tmp_path / "share" / "results")

    with pytest.raises(FileNotFoundError):
        files.make_folder("checkpoints/x")
    with pytest.raises(FileNotFoundError):
        files.write("trials/x", b"1")
    assert list(tmp_path.iterdir()) == []


def test_folders_are_removed(tmp_path: Path) -> None:
    files = Files(tmp_path)
    for name in ("empty", "full"):
        files.make_folder(name)
    files.write("full/x", b"1")

    for name in ("empty", "full", "missing"):
        files.remove_empty_folder(name)
    assert files.entries() == {"full"}
    files.remove_folder("full")
    files.remove_folder("full")
    assert files.entries() == set()


def test_a_folder_for_checkpoints(tmp_path: Path) -> None:
    folder = FilesFolder(Files(tmp_path), "a")

    assert folder.names() == []
    folder.write("x", b"1")
    assert folder.names() == ["x"]
    assert folder.read("x") == b"1"
    folder.discard_empty()
    assert folder.names() == ["x"]
    folder.remove("x")
    folder.remove("x")
    folder.discard_empty()
    assert not (tmp_path / "a").exists()
    assert str(folder) == f"{tmp_path}/a"


def test_local_places_become_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for given, path in (
        ("x/../results", tmp_path / "results"),
        (Path("results"), tmp_path / "results"),
        ("~/results", tmp_path / "home" / "results"),
        ("file:///data/my%20results", Path("/data/my results")),
        ("file://localhost/data", Path("/data")),
        ("C:results", tmp_path / "C:results"),
        ("/data/", Path("/data")),
    ):
        files = Files(given)
        assert files.local_path == path
        assert files.uri == files.shown == str(path)
        assert files.uri_of("trials") == f"{path}/trials"
    assert list(tmp_path.iterdir()) == [], "nothing is touched before it is used"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", "need a folder or a URI, got an empty name"),
        ("s4://bucket/x", "unknown kind of URI 's4'; did you mean 's3'"),
        ("https://bucket/x", r"unknown kind of URI 'https'.*\(known: file, s3, gs"),
        ("s3:/bucket/x", "two slashes: s3://bucket/path; got s3:/…"),
        ("s3:bucket", "two slashes"),
        ("gs://", "gs:// names no bucket"),
        ("s3://key:password@", "s3://…@ names no bucket"),
        ("file://host/data", "three slashes"),
        ("s3://[bucket/x", "s3://… is not a URI: Invalid IPv6 URL"),
    ],
)
def test_uris_that_cannot_be_right_are_refused_at_once(uri: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        Files(uri)
    assert "password" not in str(refusal.value)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("abfs://box@account.example/x", "abfs://box@account.example/x"),
        ("abfss://box:accountkey@account.example/x", "abfss://box:…@account.example/x"),
        ("abfs://:accountkey@account/box", "abfs://:…@account/box"),
        ("s3://KEYID:password@bucket/x", "s3://…@bucket/x"),
        ("hdfs://someuser@host/x", "hdfs://…@host/x"),
    ],
)
def test_credentials_are_not_shown_but_a_container_s_name_is(uri: str, shown: str) -> None:
    assert Files(uri).shown == shown


@pytest.mark.parametrize(("found", "expected"), [(None, "prod"), ("/usr/bin/az", None)])
def test_azure_s_command_is_tried_where_it_is_installed(
    found: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.store.files.shutil.which", lambda _: found)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "of before")
    monkeypatch.delenv("AZURE_TOKEN_CREDENTIALS")
    library = SimpleNamespace(FileSystem=SimpleNamespace(from_uri=lambda _: 1 / 0))
    monkeypatch.setattr("sweeps.store.files.pa", SimpleNamespace(fs=library))
    with pytest.raises(ZeroDivisionError):
        store_files._open_and_ask("abfss://box@account.example/x")
    assert os.environ.get("AZURE_TOKEN_CREDENTIALS") == expected


def test_uris_that_pyarrow_refuses_are_user_errors_without_secrets() -> None:
    uri = "s3://AKIAKEY:pass%2Fword@bucket/x?scheme=http&secret_token=hunter2&region=eu"
    files = Files(uri)

    with pytest.raises(UserError, match=r"cannot be opened: .*query parameter") as refusal:
        files.read("x")

    message = str(refusal.value) + repr(files)
    assert "s3://…@bucket/x?scheme=http&secret_token=…&region=eu" in message
    for secret in ("hunter2", "AKIAKEY", "pass%2Fword", "pass/word"):
        assert secret not in message
    assert files.uri == uri


def test_uris_keep_their_query_behind_a_longer_path() -> None:
    files = Files("s3://bucket/my%20path/?endpoint_override=host:1&scheme=http")

    assert files.uri_of("trials") == (
        "s3://bucket/my%20path/trials?endpoint_override=host:1&scheme=http"
    )
    assert pickle.loads(pickle.dumps(files)).uri == files.uri  # noqa: S301 - our own bytes


@pytest.mark.parametrize(
    "uri",
    [
        "s3://key:password@bucket/x?scheme=http&region=us-east-1&endpoint_override=127.0.0.1:{}",
        "gs://anonymous@bucket/x?scheme=http&endpoint_override=127.0.0.1:{}",
    ],
)
def test_store_that_does_not_answer_is_an_error_in_time(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that takes connections and says nothing: retries would take a quarter of an hour."""
    monkeypatch.setattr("sweeps.store.files.REACH_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        files = Files(uri.format(server.getsockname()[1]))
        with pytest.raises(ConnectionError, match=r"cannot be reached: no answer within 1 seconds"):
            files.exists("a")
        with pytest.raises(ConnectionError, match=r"check the network, the credentials and the na"):
            files.read("a")


def test_requests_to_a_silent_store_end_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process waits for them at its end: with pyarrow's own limits for more than a minute."""
    monkeypatch.setattr("sweeps.store.files._S3_REQUEST_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        query = (
            f"scheme=http&region=us-east-1&endpoint_override=127.0.0.1:{server.getsockname()[1]}"
        )
        with pytest.raises(ConnectionError, match=r"cannot be reached: .*AWS Error NETWORK_CONN"):
            Files(f"s3://key:password@bucket/x?{query}").exists("a")


@pytest.mark.parametrize("read", [Files.read, lambda files, name: files.read_start(name, 4)])
def test_a_pipe_is_no_file(read: Callable[[Files, str], bytes], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe is not a regular file"):
        read(Files(tmp_path), "pipe")


def test_store_that_refuses_connections_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    uri = f"gs://anonymous@bucket/x?scheme=http&endpoint_override=127.0.0.1:{port}"
    with pytest.raises(ConnectionError, match=r"gs://…@bucket/x.* cannot be reached") as caught:
        Files(uri + "&retry_limit_seconds=1").stamps("trials")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
