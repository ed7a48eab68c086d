"""The analysis of results in an object store: real HTTP to moto's server."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from analysis.__main__ import main
from analysis.data.reading import load
from sweeps.store.store import Store
from tests.analysis import made_up
from tests.analysis.results import as_it_is, selection_rows_of

pytestmark = pytest.mark.lengthy


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store in a bucket."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
    client.create_bucket(Bucket="bucket")
    store = Store(f"s3://bucket/my/results?endpoint_override={host}:{port}&scheme=http")
    store.create()
    yield store
    server.stop()


def fill(store: Store) -> None:
    made_up.fill(store, ipcs=(1,), seeds=2, n_outer=4, every=2)
    for row in selection_rows_of("random", (0.7, 0.72)) + selection_rows_of("base", (0.9, 0.91)):
        store.put_result(row, [])


def test_results_in_a_bucket_give_what_the_same_on_a_disk_give(
    remote: Store, tmp_path: Path
) -> None:
    local = Store(tmp_path / "results")
    local.create()
    fill(local)
    fill(remote)

    names = ["tables", "findings"]
    for store, out in ((local, "from disk"), (remote, "from bucket")):
        assert main([store.uri, *names, "--out", str(tmp_path / out)]) == 0

    written = sorted(file.name for file in (tmp_path / "from disk").iterdir())
    assert len(written) == 13  # two tables of paper 1, one of paper 2, in four formats; findings
    for name in written:
        remote_file, local_file = (tmp_path / out / name for out in ("from bucket", "from disk"))
        assert remote_file.read_bytes() == local_file.read_bytes(), name


def test_images_from_a_bucket(remote: Store, tmp_path: Path) -> None:
    """Also where another store, which has none of them, is looked into first."""
    empty = Store(tmp_path / "empty")
    empty.create()
    fill(remote)
    sweeps = load(empty.uri, remote.uri)
    trial_id = next(t.trial_id for t in sweeps.trials("distillation") if t.state == "ok")

    images = sweeps.artifact("distilled", trial_id, as_it_is)

    assert images is not None
    assert images.column_names == ["image", "label"]
    assert len(images) == 10
    assert sweeps.artifact("distilled", "0" * 16, as_it_is) is None
    assert len(sweeps.curves([trial_id])) == 5
