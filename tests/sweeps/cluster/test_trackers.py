"""Experiment trackers, as a trial writes to them."""

import json
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from distill.config.distillation import DistillationConfig
from distill.errors import UserError
from distill.trials.base import Progress
from sweeps.cluster import trackers
from sweeps.cluster.trackers import TRACKERS, Trackers, check_trackers
from sweeps.store.store import Store
from tests.paths import ROOT

CONFIG = DistillationConfig(ipc=3)


def progress(step: int, accuracy: float | None, loss: float | None = 0.5) -> Progress:
    return Progress(
        step=step,
        n_steps=4,
        fraction=step / 4,
        loss=loss,
        accuracy=accuracy,
        accuracy_step=None if accuracy is None else step,
    )


def events(folder: Path) -> Iterator[Event]:
    """TensorBoard's records: length, check sum, content, check sum."""
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            yield Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def test_tensorboard_gets_losses_and_accuracies(store: Store) -> None:
    check_trackers(["tensorboard"], store)
    problems: list[str] = []
    trackers = Trackers(["tensorboard"], store, "sweep", CONFIG, on_problem=problems.append)
    trackers.log(progress(0, None, loss=None), new_point=False)
    trackers.log(progress(1, 0.25), new_point=True)
    trackers.log(progress(2, 0.25), new_point=False)
    trackers.close()

    assert problems == []
    folder = (store.local_path or Path()) / "tensorboard" / CONFIG.trial_id
    found = [
        (event.step, value.tag, value.simple_value)
        for event in events(folder)
        for value in event.summary.value
    ]
    assert found == [(1, "loss", 0.5), (1, "accuracy", 0.25), (2, "loss", 0.5)]


def test_a_tracker_that_fails_is_left_out_and_the_trial_goes_on(tmp_path: Path) -> None:
    blocked = tmp_path / "results"
    blocked.mkdir()
    (blocked / "tensorboard").write_text("a file where a folder should be")
    problems: list[str] = []
    trackers = Trackers(
        ["tensorboard"], Store(blocked), "sweep", CONFIG, on_problem=problems.append
    )
    for step in range(2):
        trackers.log(progress(step, None), new_point=False)
    trackers.close()

    assert len(problems) == 1
    assert problems[0].startswith("tracker tensorboard stopped: ")


def test_trackers_are_checked_before_anything_runs(store: Store) -> None:
    with pytest.raises(UserError, match="unknown tracker 'wand'; did you mean 'wandb'"):
        check_trackers(["wand"], store)
    with pytest.raises(UserError, match="tensorboard needs results on a local or shared disk"):
        check_trackers(["tensorboard"], Store("s3://bucket/results"))
    for name in ("mlflow", "wandb"):
        with pytest.raises(UserError, match=f"tracker {name} needs {name}; run with: uv run --ext"):
            check_trackers([name], store)


@pytest.mark.service
@pytest.mark.parametrize("name", sorted(TRACKERS.keys() - {"tensorboard"}))
def test_the_optional_trackers_work_without_a_server(name: str, tmp_path: Path) -> None:
    """In an environment of their own, made by uv; a trial that goes on is the same run."""
    if shutil.which("uv") is None:
        pytest.skip("uv is not on the path")
    script = f"""
import json, sys
from tests.sweeps.cluster.test_trackers import CONFIG, progress
from sweeps.store.store import Store
from sweeps.cluster.trackers import Trackers, check_trackers

store = Store({str(tmp_path)!r} + "/results")
check_trackers([{name!r}], store)
problems = []
for step in (1, 2):
    trackers = Trackers([{name!r}], store, "sweep", CONFIG, on_problem=problems.append)
    trackers.log(progress(step, 0.25 * step), new_point=True)
    trackers.close()
runs = None
if {name!r} == "mlflow":
    import mlflow
    runs = [
        [run.data.metrics["accuracy"], run.data.params["ipc"]]
        for run in mlflow.MlflowClient().search_runs(["0", "1"])
    ]
print(json.dumps([problems, runs]))
"""
    result = subprocess.run(
        ["uv", "run", "--isolated", "--extra", name, "python", "-c", script],
        cwd=tmp_path,
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "UV_PROJECT": str(ROOT),
            "WANDB_MODE": "offline",
            "WANDB_DIR": str(tmp_path),
            "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    problems, runs = json.loads(result.stdout.splitlines()[-1])
    assert problems == []
    if name == "mlflow":
        assert runs == [[0.5, "3"]]
    else:
        assert len(list((tmp_path / "wandb").glob(f"offline-run-*-{CONFIG.trial_id}"))) >= 1


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://someone:word@127.0.0.1:{server.getsockname()[1]}"


def test_a_server_of_mlflow_that_does_not_answer_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent_server: str
) -> None:
    monkeypatch.setattr(trackers, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"http://127.0.0.1:{server.getsockname()[1]}"
    for uri in (silent_server, closed):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(
            UserError, match=r"MLflow's server http://127\S+ \(MLFLOW_TRACKING_URI\)"
        ) as refusal:
            check_trackers(["mlflow"], Store(str(tmp_path)))
        assert "word" not in str(refusal.value)
        assert "\n" not in str(refusal.value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path))
    check_trackers(["mlflow"], Store(str(tmp_path)))
