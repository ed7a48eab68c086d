"""What a worker does with one configuration, without Ray."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from distill.config.base import Config
from distill.config.distillation import DistillationConfig
from distill.config.selection import SelectionConfig
from distill.datasets import ImageData
from distill.errors import SlowerWarning
from distill.networks.photo_cnn import PhotoCNN
from distill.runtime.execution import AUTOMATIC, Execution
from distill.trials import runner
from distill.trials.distilled_files import load_distilled, read_distilled
from sweeps.cluster import worker
from sweeps.cluster.worker import (
    REPORTS_PER_SECOND,
    WorkOrder,
    hide_gpus,
    memory_fraction,
    run_and_store,
    slower_warnings_to,
    spaced_reports,
)
from sweeps.store.store import Store
from tests.paths import ROOT
from tests.sweeps.cluster.patience import LIMIT_SECONDS, TEST_SECONDS

pytestmark = pytest.mark.timeout(TEST_SECONDS)

Tiny = Callable[..., DistillationConfig]
Reports = list[dict[str, Any]]


def run(config: Config, data: ImageData, order: WorkOrder, **options: Any) -> list[dict[str, Any]]:
    reports: Reports = []
    run_and_store(config, lambda: data, order, reports.append, **options)
    return reports


def test_a_trial_leaves_a_row_a_curve_and_images(
    digits: ImageData, tiny: Tiny, store: Store
) -> None:
    config = tiny()
    reports = run(
        config, digits, WorkOrder(store=store, sweep="s", phase="confirm", report_seconds=0)
    )

    row = store.read_row(config.trial_id)
    plain = runner.run(config, digits)
    assert row is not None
    assert row["test_accuracy_mean"] == plain.row["test_accuracy_mean"]
    assert (row["sweep"], row["phase"], row["attempt"], row["gpu_share"]) == ("s", "confirm", 1, 0)
    files = {path.parent.name: path for path in (store.local_path or Path()).rglob("*.parquet")}
    assert set(files) == {"trials", "curves", "distilled"}
    assert not list((store.local_path or Path()).glob("checkpoints/*"))

    running, last = reports[:-1], reports[-1]
    assert all(report["status"] == "running" for report in running)
    assert [report["fraction"] for report in running] == sorted(r["fraction"] for r in running)
    assert {report["curve_step"] for report in running} == {None, 0, 1, 2}
    assert last["status"] == "ok"
    assert last["curve_accuracy"] == row["test_accuracy_mean"]


def test_selection_leaves_its_images_their_plane_and_samples(
    digits: ImageData, store: Store
) -> None:
    config = SelectionConfig(selector="cluster_grid", fraction=0.3, epochs=1, classes=("3", "8"))
    run(config, digits, WorkOrder(store=store, sweep="s"))
    plain = runner.run(config, digits)
    folder = store.local_path or Path()
    files = {path.parent.name: path for path in folder.rglob("*.parquet")}

    assert set(files) == {"trials", "curves", "selections", "samples"}
    selection = pq.read_table(files["selections"])
    assert selection.equals(plain.artifacts["selections"], check_metadata=True)
    about = json.loads(selection.schema.metadata[b"distill"])
    assert about["class_names"] == ["3", "8"]
    assert about["grids"]
    saved, samples = load_distilled(files["samples"]), read_distilled(plain.artifacts["samples"])
    assert torch.equal(saved.images, samples.images)
    assert torch.equal(saved.labels, samples.labels)
    assert saved.class_names == ("3", "8")
    assert saved.metadata == {"trial_id": config.trial_id}


def test_the_network_of_the_best_epoch_is_stored_if_asked_for(
    digits: ImageData, store: Store
) -> None:
    config = SelectionConfig(val_fraction=0.1, epochs=2, classes=("3", "8"))
    order = WorkOrder(store=store, sweep="s", execution=Execution(save_network=True))
    run(config, digits, order)
    run(config.replace(seed=1), digits, dataclasses.replace(order, execution=AUTOMATIC))
    networks = (store.local_path or Path()) / "networks"

    assert [path.name for path in networks.iterdir()] == [f"{config.trial_id}.pt"]
    saved = torch.load(networks / f"{config.trial_id}.pt", weights_only=True)
    row = store.read_row(config.trial_id)
    assert row is not None
    assert saved["trial_id"] == row["trial_id"]
    assert saved["weights"].keys() == PhotoCNN(**saved["arguments"]).state_dict().keys()


def test_a_finished_trial_is_not_run_again(digits: ImageData, tiny: Tiny, store: Store) -> None:
    config = tiny()
    run(config, digits, WorkOrder(store=store, sweep="first"))
    reports: Reports = []

    def images() -> ImageData:
        raise AssertionError("the images were asked for")

    run_and_store(config, images, WorkOrder(store=store, sweep="second"), reports.append)

    assert [report["status"] for report in reports] == ["ok"]
    row = store.read_row(config.trial_id)
    assert row is not None
    assert row["sweep"] == "first"


def test_a_trial_that_raises_leaves_a_record(digits: ImageData, tiny: Tiny, store: Store) -> None:
    config = tiny(ipc=10_000)  # more than there are
    reports = run(config, digits, WorkOrder(store=store, sweep="s"), attempt=2)

    assert [report["status"] for report in reports] == ["failed"]
    assert "class '8' has 125 training images" in reports[0]["message"]
    (record,) = store.failures().values()
    assert record["message"] == reports[0]["message"]
    assert (record["cause"], record["attempt"]) == ("error", 2)
    assert "Traceback" in record["traceback"]
    assert DistillationConfig.from_dict(record["config"]).trial_id == config.trial_id
    assert not store.has_row(config.trial_id)


def test_an_infeasible_trial_is_a_result(digits: ImageData, tiny: Tiny, store: Store) -> None:
    config = tiny(clusterer="dbscan", eps=1e-6, min_samples=5)
    reports = run(config, digits, WorkOrder(store=store, sweep="s"))

    assert reports[-1]["status"] == "infeasible"
    assert store.statuses() == {config.trial_id: "infeasible"}
    assert store.failures() == {}


def test_a_row_out_of_memory_is_replaced_when_asked(
    digits: ImageData, tiny: Tiny, store: Store
) -> None:
    config = tiny()
    run(config, digits, WorkOrder(store=store, sweep="s"))
    row = store.read_row(config.trial_id)
    assert row is not None
    store.put_result(row | {"status": "out_of_memory"}, [], None, replace=True)

    run(config, digits, WorkOrder(store=store, sweep="t"))
    assert store.statuses() == {config.trial_id: "out_of_memory"}, "not asked for"
    run(config, digits, WorkOrder(store=store, sweep="t", replace=True))
    assert store.statuses() == {config.trial_id: "ok"}


def test_it_stops_when_another_driver_has_finished_the_trial(
    digits: ImageData, tiny: Tiny, store: Store, tmp_path: Path
) -> None:
    config = tiny(n_outer=50)
    finished = Store(tmp_path / "elsewhere")
    finished.create()
    run(config, digits, WorkOrder(store=finished, sweep="other"))
    row = finished.read_row(config.trial_id)
    assert row is not None
    reports: Reports = []

    def report(values: dict[str, Any]) -> None:
        if not reports:
            store.put_result(row, [], None)
        reports.append(values)

    order = WorkOrder(store=store, sweep="second", checkpoint_seconds=0)
    run_and_store(config, lambda: digits, order, report)

    assert reports[-1]["status"] == "ok"
    assert max(report["step"] for report in reports[:-1]) < 50, "it did not go on to the end"
    kept = store.read_row(config.trial_id)
    assert kept is not None
    assert kept["sweep"] == "other"
    assert not list((store.local_path or Path()).glob("checkpoints/*"))


def test_full_disk_stops_the_run_and_loses_no_result(
    digits: ImageData,
    tiny: Tiny,
    small_disk: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "RETRY_SECONDS", (0.0,))
    disk = small_disk("1m")
    store = Store(disk / "results")
    store.create()
    order = WorkOrder(store=store, sweep="s", checkpoint_seconds=0)
    first, second = tiny(), tiny(seed=1)
    run(first, digits, order)
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    filler.write_bytes(bytes(free))

    reports = run(second, digits, order)

    assert reports[-1]["status"] == "failed"
    assert reports[-1]["fatal"]
    assert reports[-1]["message"].startswith(f"results cannot be written to {store.uri}: ")
    assert any("the state of the trial cannot be saved" in report["message"] for report in reports)
    assert store.statuses() == {first.trial_id: "ok"}

    filler.unlink()
    assert run(second, digits, order)[-1]["status"] == "ok"
    assert set(store.statuses()) == {first.trial_id, second.trial_id}


LOGGED_TRIAL = """
import json, sys
from pathlib import Path
from distill.config.distillation import DistillationConfig
from distill.datasets import load_dataset
from sweeps.store.store import Store
from sweeps.cluster.worker import WorkOrder, run_and_store

log = Path(sys.argv[3]).open("a", buffering=1)
config = DistillationConfig.from_dict(json.loads(sys.argv[2]))
order = WorkOrder(
    store=Store(sys.argv[1]), sweep="s", checkpoint_seconds=0.0, report_seconds=0
)
data = load_dataset(config.dataset)
run_and_store(config, lambda: data, order, lambda report: log.write(json.dumps(report) + chr(10)))
"""


def test_killed_process_resumes_from_its_last_checkpoint(
    tiny: Tiny, store: Store, tmp_path: Path
) -> None:
    """kill -9; the outer iterations that were run twice are counted from a log beside it."""
    config = tiny(val_fraction=0.0, n_outer=30, eval_every=0)
    log = tmp_path / "log"
    command = [sys.executable, "-c", LOGGED_TRIAL, store.uri, json.dumps(config.to_dict())]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def lines() -> list[dict[str, Any]]:
        text = log.read_text() if log.exists() else ""
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    process = subprocess.Popen([*command, str(log)], env=environment)
    deadline = time.monotonic() + LIMIT_SECONDS
    while not any((line["step"] or 0) >= 8 for line in lines()):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not store.has_row(config.trial_id)
    before = lines()

    subprocess.run([*command, str(log)], env=environment, check=True)

    after = lines()[len(before) :]
    n_reached, n_again_from = before[-1]["step"], after[0]["step"]
    row = store.read_row(config.trial_id)
    assert row is not None
    assert row["n_resumes"] == 1
    # A unit of work is reported before its state is saved, so at most that one is repeated.
    assert abs(n_reached - n_again_from) <= 1


def test_reports_of_all_trials_together_are_bounded(store: Store) -> None:
    cluster = {"CPU": 4000.0, "GPU": 500.0, "memory": 1e12}

    def seconds(max_concurrent: int | None = None, **order: Any) -> float:
        given = WorkOrder(store=store, sweep="test", **order)
        return spaced_reports(given, cluster, max_concurrent).report_seconds

    on_a_laptop = WorkOrder(store=store, sweep="test")
    assert spaced_reports(on_a_laptop, {"CPU": 8.0}, None) == on_a_laptop
    assert spaced_reports(on_a_laptop, {}, None) == on_a_laptop, "no worker yet"
    assert seconds(gpu_share=0.25) == pytest.approx(2000 / REPORTS_PER_SECOND)
    assert seconds(gpu_share=0.25, max_concurrent=1000) == pytest.approx(1000 / REPORTS_PER_SECOND)
    assert seconds(n_threads=4) == pytest.approx(1000 / REPORTS_PER_SECOND)
    assert seconds(gpu_share=0.25, report_seconds=60.0) == 60.0, "never more often than asked"


@pytest.mark.parametrize(("share", "gigabytes"), [(0.25, 80), (0.5, 16), (0.1, 141), (0.25, 2)])
def test_a_share_of_a_gpu_leaves_room_for_the_contexts(share: float, gigabytes: int) -> None:
    total = gigabytes * 2**30
    fraction = memory_fraction(share, total)

    assert 0 < fraction < share
    n_trials = int(1 / share)
    contexts = n_trials * worker.CONTEXT_BYTES
    if share * total > 2 * worker.CONTEXT_BYTES:
        assert n_trials * fraction * total + contexts <= total * (1 + 1e-9), "all of them fit"


@pytest.mark.parametrize(
    ("share", "device", "visible"),
    [(0.0, "auto", ""), (0.0, "cpu", ""), (0.25, "auto", "0,1"), (0.0, "cuda", "0,1")],
)
def test_a_process_of_rays_without_a_share_sees_no_gpu(
    share: float, device: str, visible: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    hide_gpus(WorkOrder(store=store, sweep="s", gpu_share=share, device=device))

    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible


def test_a_trial_leaves_the_gpus_of_a_notebook_in_sight(
    digits: ImageData, tiny: Tiny, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    run(tiny(), digits, WorkOrder(store=store, sweep="s"))

    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"


def test_a_share_of_a_gpu_that_is_not_there_is_named(
    digits: ImageData, tiny: Tiny, store: Store
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    reports = run(tiny(), digits, WorkOrder(store=store, sweep="s", gpu_share=0.25))

    assert reports[-1]["status"] == "failed"
    assert reports[-1]["message"].startswith("the trial has 0.25 of a GPU, but torch sees none on")


def test_a_slow_store_is_not_looked_into_all_the_time(tiny: Tiny, tmp_path: Path) -> None:
    looks: list[float] = []

    class SlowStore(Store):
        def has_row(self, trial_id: str) -> bool:
            looks.append(time.monotonic())
            time.sleep(0.2)
            return super().has_row(trial_id)

    store = SlowStore(tmp_path / "results")
    store.create()
    order = WorkOrder(store=store, sweep="test", checkpoint_seconds=0)
    reporter = worker._Reporter(tiny(), order, lambda _: None)
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        assert not reporter.is_finished_elsewhere()
        time.sleep(0.01)

    assert len(looks) == 1, "0.2 seconds of looking in four of work"


def test_a_slower_way_is_told_and_other_warnings_stay_warnings() -> None:
    told: list[str] = []
    with warnings.catch_warnings(record=True) as others, slower_warnings_to(told.append):
        warnings.simplefilter("always")
        warnings.warn("no graphs here", SlowerWarning, stacklevel=1)
        warnings.warn("another", RuntimeWarning, stacklevel=1)

    assert told == ["no graphs here"]
    assert [str(warning.message) for warning in others] == ["another"]
