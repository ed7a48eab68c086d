"""The store on an object store: real HTTP to moto's server, also through a line that breaks."""

import contextlib
import pickle
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from socket import SHUT_RDWR, create_connection, socket
from typing import Any

import boto3
import pandas as pd
import pytest
import torch
from moto.server import ThreadedMotoServer

from distill.config.distillation import DistillationConfig
from distill.errors import UserError
from distill.runtime.checkpoint import load_checkpoint, remove_checkpoints, save_checkpoint
from sweeps import console
from sweeps.store.files import Files
from sweeps.store.rows import table_content
from sweeps.store.store import Store, load_curves, load_results
from tests.paths import ROOT
from tests.sweeps.plain_results import curve_of, images_of, row_of

pytestmark = pytest.mark.lengthy

CONFIGS = [DistillationConfig(seed=seed) for seed in range(4)]
IDS = [config.trial_id for config in CONFIGS]


class Line:
    """A TCP line to a server that can be made to break in certain requests, again and again.

    Attributes:
        breaks_in: part of the head of the requests in which it breaks; None: it holds.
        breaks_after: bytes that pass from there.
        n_breaks: how often it has.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        line = self
        self.breaks_in: bytes | None = None
        self.breaks_after = 0
        self.n_breaks = 0

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with create_connection(target) as server:
                    back = threading.Thread(target=pump, args=(server, self.request))
                    back.start()
                    pump(self.request, server, line.may_break)
                    back.join()

        def pump(
            source: socket,
            sink: socket,
            checked: Callable[[Iterator[bytes]], Iterator[bytes]] = iter,
        ) -> None:
            with contextlib.suppress(OSError):
                for data in checked(iter(lambda: source.recv(2048), b"")):
                    sink.sendall(data)
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(SHUT_RDWR)

        socketserver.ThreadingTCPServer.allow_reuse_address = True
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = "{}:{}".format(*self._server.server_address)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def may_break(self, stream: Iterator[bytes]) -> Iterator[bytes]:
        """Passes on what a client sends until the line breaks."""
        n_left: int | None = None
        for data in stream:
            if self.breaks_in is not None and self.breaks_in in data:
                n_left = self.breaks_after
            if n_left is not None:
                n_left -= len(data)
                if n_left < 0:
                    self.n_breaks += 1
                    return
            yield data

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadedMotoServer]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(server: ThreadedMotoServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A second opinion on what is in the bucket."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    host, port = server.get_host_and_port()
    return boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")


@pytest.fixture
def bucket(client: Any, request: pytest.FixtureRequest) -> str:
    name = f"bucket-{abs(hash(request.node.name))}"
    client.create_bucket(Bucket=name)
    return name


@pytest.fixture
def query(server: ThreadedMotoServer) -> str:
    host, port = server.get_host_and_port()
    return f"endpoint_override={host}:{port}&scheme=http"


@pytest.fixture
def remote(bucket: str, query: str) -> Store:
    """An empty store in a bucket."""
    store = Store(f"s3://{bucket}/my/results?{query}")
    store.create()
    return store


@pytest.fixture
def line(server: ThreadedMotoServer) -> Iterator[Line]:
    line = Line(server.get_host_and_port())
    yield line
    line.close()


def fail(message: str) -> None:
    pytest.fail(f"unexpected: {message}")


def objects(client: Any, bucket: str) -> dict[str, int]:
    """Names below the store, and sizes; without pyarrow's empty stand-ins for folders."""
    listed = client.list_objects_v2(Bucket=bucket).get("Contents", [])
    return {
        entry["Key"].removeprefix("my/results/"): entry["Size"]
        for entry in listed
        if not entry["Key"].endswith("/")
    }


def put(store: Store, config: DistillationConfig, *, replace: bool = False, **changes: Any) -> bool:
    return store.put_result(row_of(config, **changes), curve_of(), images_of(), replace=replace)


def test_the_whole_store(remote: Store, client: Any, bucket: str) -> None:
    remote.create()
    assert remote.exists()
    assert not remote.is_local
    assert remote.local_path is None
    assert len(load_results(remote.uri)) == 0
    assert len(load_curves(remote.uri)) == 0
    remote.put_submission({"name": "first"})
    remote.put_submission({"name": "second"})
    remote.put_failure(IDS[0], {"attempt": 1})
    remote.put_failure(IDS[0], {"attempt": 2})
    remote.put_failure(IDS[1], {"attempt": 1})
    assert remote.failures() == {IDS[0]: {"attempt": 2}, IDS[1]: {"attempt": 1}}
    remote.checkpoint_folder(IDS[0]).write("x", b"1")

    assert put(remote, CONFIGS[0])
    assert not put(remote, CONFIGS[0], total_seconds=99.0)
    assert put(remote, CONFIGS[2], status="infeasible")

    assert remote.has_row(IDS[0])
    assert not remote.has_row(IDS[1])
    row = remote.read_row(IDS[0])
    assert row is not None
    assert row["total_seconds"] == 12.5
    assert put(remote, CONFIGS[0], total_seconds=99.0, replace=True)
    assert remote.statuses(fail) == {IDS[0]: "ok", IDS[2]: "infeasible"}
    frame = load_results(remote.uri, on_invalid=fail).set_index("trial_id")
    assert frame["total_seconds"].to_dict() == {IDS[0]: 99.0, IDS[2]: 12.5}
    assert set(load_curves(remote.uri, on_invalid=fail)["trial_id"]) == {IDS[0], IDS[2]}
    assert len(load_curves(remote.uri, [IDS[2]], on_invalid=fail)) == 3
    assert remote.failures() == {IDS[1]: {"attempt": 1}}
    assert [record["name"] for record in remote.submissions()] == ["first", "second"]
    found = objects(client, bucket)
    names = {
        f"{kind}/{IDS[i]}.parquet" for kind in ("trials", "curves", "distilled") for i in (0, 2)
    }
    assert names < found.keys()
    others = sorted(name.split("/")[0] for name in found.keys() - names)
    assert others == ["failures", "submissions", "submissions", "sweep.json"]
    assert found[f"distilled/{IDS[0]}.parquet"] == len(table_content(images_of()["distilled"]))


def test_pandas_reads_it(remote: Store, query: str) -> None:
    for config in CONFIGS:
        put(remote, config)

    assert remote.uri_of("trials").endswith(f"/my/results/trials?{query}")
    plain = pd.read_parquet(remote.uri_of("trials"))
    assert set(plain["trial_id"]) == set(IDS)


def test_it_is_found_again_by_its_uri_in_a_fresh_process(remote: Store) -> None:
    put(remote, CONFIGS[0])
    code = (
        "import pickle, sys\n"
        "from sweeps.store.store import Store, load_results\n"
        "store = pickle.load(sys.stdin.buffer)\n"
        "assert load_results(store.uri)['trial_id'].tolist() == [*Store(sys.argv[1]).statuses()]\n"
        "store.put_failure(sys.argv[2], {'host': 'elsewhere'})\n"
        "print(store.uri)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, remote.uri, IDS[1]],
        input=pickle.dumps(remote),
        cwd=ROOT,
        capture_output=True,
        check=True,
    )

    assert ran.stdout.decode().strip() == remote.uri
    assert remote.failures() == {IDS[1]: {"host": "elsewhere"}}


def test_checkpoints(remote: Store, client: Any, bucket: str) -> None:
    folder = remote.checkpoint_folder(IDS[0])
    assert load_checkpoint(folder, fail) is None
    for i in range(4):
        save_checkpoint(folder, {"x": torch.arange(i)}, {"i": i})
    newest = max(folder.names())
    assert len(folder.names()) == 2
    client.put_object(
        Bucket=bucket, Key=f"my/results/checkpoints/{IDS[0]}/{newest}", Body=b"damaged"
    )
    told: list[str] = []

    found = load_checkpoint(folder, told.append)

    assert found is not None
    assert found[1] == {"i": 2}
    assert len(told) == 1
    assert f"checkpoints/{IDS[0]}/{newest} is corrupt" in told[0]
    remove_checkpoints(folder)
    assert folder.names() == []
    assert objects(client, bucket).keys() == {"sweep.json"}


def test_running_trials_are_read_by_the_headers_of_their_checkpoints(remote: Store) -> None:
    for trial_id, step in zip(IDS[:2], (1, 2), strict=True):
        values = {"progress": {"step": step}, "notes": "long " * 30_000}
        save_checkpoint(remote.checkpoint_folder(trial_id), {"x": torch.zeros(10**5)}, values)
    before = time.time()

    found = remote.checkpoints()

    assert {i: trial.progress for i, trial in found.items()} == {
        IDS[0]: {"step": 1},
        IDS[1]: {"step": 2},
    }
    assert all(abs(trial.saved_at - before) < 600 for trial in found.values())
    assert remote.known_ids() == set(IDS[:2])


def test_status_of_a_sweep_in_a_bucket(remote: Store, capsys: pytest.CaptureFixture[str]) -> None:
    remote.put_submission({"name": "sweep", "trial_ids": IDS})
    put(remote, CONFIGS[0])
    remote.put_failure(IDS[1], {"message": "full disk"})

    assert console.main(["status", remote.uri]) == 0
    text = capsys.readouterr().out
    assert text.startswith("1 of 4 trials done · 0 running · 1 failed\n")
    assert "1 × full disk" in text
    assert console.main(["logs", remote.uri, IDS[1][:8]]) == 0
    assert "full disk" in capsys.readouterr().out


def test_compacted_copies(remote: Store, client: Any, bucket: str) -> None:
    for config in CONFIGS:
        put(remote, config)
    assert remote.compact(minimum=1) == 0, "too young"
    plain = load_results(remote.uri)

    assert remote.compact(minimum=4, settled_seconds=-5) == 4
    pd.testing.assert_frame_equal(load_results(remote.uri, on_invalid=fail), plain)
    client.delete_object(Bucket=bucket, Key=f"my/results/trials/{IDS[0]}.parquet")
    assert remote.statuses(fail).keys() == set(IDS[1:])


def test_damaged_objects_are_named(remote: Store, client: Any, bucket: str) -> None:
    for config in CONFIGS[:2]:
        put(remote, config)
    key = f"my/results/trials/{IDS[0]}.parquet"
    client.put_object(Bucket=bucket, Key=key, Body=b"PAR1")
    told: list[str] = []

    assert load_results(remote.uri, on_invalid=told.append)["trial_id"].tolist() == [IDS[1]]
    assert len(told) == 1
    assert f"trials/{IDS[0]}.parquet" in told[0]
    assert not remote.has_row(IDS[0])
    assert put(remote, CONFIGS[0])
    assert remote.statuses(fail).keys() == set(IDS[:2])


def test_a_write_that_breaks_off_leaves_nothing_or_the_old(
    remote: Store, line: Line, client: Any, bucket: str
) -> None:
    """The line breaks in the middle of each row, whatever is tried again."""
    put(remote, CONFIGS[0])
    before = objects(client, bucket)
    far = Store(f"s3://{bucket}/my/results?endpoint_override={line.address}&scheme=http")
    assert far.statuses(fail) == {IDS[0]: "ok"}, "the line works"

    line.breaks_after = 5_000
    for config, replace in ((CONFIGS[0], True), (CONFIGS[1], False)):
        line.breaks_in = f"PUT /{bucket}/my/results/trials/{config.trial_id}".encode()
        with pytest.raises(OSError, match=r"AWS Error|curlCode"):
            put(far, config, total_seconds=99.0, replace=replace)
    assert line.n_breaks > 2, "it was tried again"
    line.breaks_in = None
    assert objects(client, bucket)[f"curves/{IDS[1]}.parquet"] > 0, "it broke in the row"

    for name in (f"trials/{IDS[0]}.parquet", f"trials/{IDS[1]}.parquet"):
        assert objects(client, bucket).get(name) == before.get(name)
    assert load_results(far.uri, on_invalid=fail)["total_seconds"].tolist() == [12.5]
    assert not far.has_row(IDS[1])
    assert put(far, CONFIGS[1])
    assert far.statuses(fail).keys() == set(IDS[:2])


def test_a_large_write_that_breaks_off_leaves_nothing_or_the_old(
    remote: Store, line: Line, client: Any, bucket: str
) -> None:
    """Many megabytes travel in several parts; the object appears with the last one or never."""
    files = Files(f"s3://{bucket}/my/results?endpoint_override={line.address}&scheme=http")
    files.write("distilled/old", b"old")

    line.breaks_in, line.breaks_after = b"partNumber=2", 1_000_000
    for name in ("distilled/old", "distilled/new"):
        with pytest.raises(OSError, match=r"AWS Error|curlCode"):
            files.write(name, bytes(25_000_000))
    assert line.n_breaks > 2
    line.breaks_in = None

    assert files.read("distilled/old") == b"old"
    assert not files.exists("distilled/new")
    assert objects(client, bucket).keys() == {"sweep.json", "distilled/old"}
    assert files.write("distilled/new", bytes(25_000_000))
    assert objects(client, bucket)["distilled/new"] == 25_000_000


def test_a_store_out_of_reach_is_one_line(client: Any, query: str) -> None:
    missing = Store(f"s3://no-such-bucket/results?{query}")
    with pytest.raises(UserError, match=r"cannot be written to: .*bucket does not exist"):
        missing.create()
    with pytest.raises(UserError, match=r"there are no results at s3://no-such-bucket/results"):
        load_results(missing.uri)
    down = "s3://key:secret-word@b/x?scheme=http&endpoint_override=127.0.0.1:1"
    with pytest.raises(UserError, match=r"s3://…@b/x.* cannot be read: .*connect") as refusal:
        load_results(down)
    assert "secret-word" not in str(refusal.value)
