"""The check of a cluster's nodes before a sweep, on real nodes; one of them sees other disks."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
from PIL import Image
from ray.cluster_utils import Cluster as RayCluster

from distill.cli.options import OneLineParser
from distill.config.distillation import DistillationConfig
from distill.datasets import describe_source
from distill.errors import UserError
from sweeps.cli.display import SweepDisplay
from sweeps.cli.options import RunOptions, add_run_options
from sweeps.cluster.preflight import (
    Answer,
    Node,
    Question,
    _differences,
    _remarks,
    check_nodes,
    versions,
)
from sweeps.search import main as search
from sweeps.store.store import Store
from tests.sweeps.cluster.patience import LIMIT_SECONDS, PATIENT_RAY, TEST_SECONDS

pytestmark = [pytest.mark.ray, pytest.mark.timeout(TEST_SECONDS)]

Tiny = Callable[..., DistillationConfig]


@pytest.fixture(scope="module")
def head() -> Iterator[RayCluster]:
    """A head without trials and a node for them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in PATIENT_RAY.items():
            patch.setenv(name, value)
        cluster = RayCluster(initialize_head=True, head_node_args={"num_cpus": 0})
        cluster.add_node(num_cpus=1, num_gpus=2)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.full((4, 4), 50 * number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def check(
    store: Store,
    configs: list[DistillationConfig],
    *,
    gpu_share: float = 0,
    device: str = "auto",
    answer_seconds: float = LIMIT_SECONDS,
) -> None:
    parser = OneLineParser()
    add_run_options(parser, fields_help="")
    words = ["--results", store.uri, "--device", device]
    options = RunOptions.from_parsed(parser.parse_args(words))
    with SweepDisplay("check", None, 0) as display:
        check_nodes(
            configs,
            options,
            gpu_share=gpu_share,
            display=display,
            answer_seconds=answer_seconds,
        )


@pytest.fixture
def another_node(head: RayCluster) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Starts a node after some shell commands, in a mount namespace of its own."""
    started: list[subprocess.Popen[bytes]] = []

    def start(before: str) -> "subprocess.Popen[bytes]":
        ray_program = Path(sys.executable).with_name("ray")
        start = f"{ray_program} start --address={head.address} --num-cpus=1 --block"
        n_before = n_alive()
        process = subprocess.Popen(
            ["unshare", "--mount", "--propagation=private", "sh", "-c", f"{before} exec {start}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        started.append(process)
        deadline = time.monotonic() + LIMIT_SECONDS
        while n_alive() == n_before:
            if process.poll() is not None:
                assert process.stdout is not None
                output = process.stdout.read().decode()
                if "unshare" in output or "mount" in output:
                    pytest.skip(f"nothing can be mounted here: {output.strip()}")
                raise AssertionError(output)
            assert time.monotonic() < deadline, "the node does not come up"
            time.sleep(0.2)
        return process

    yield start
    for process in started:
        process.terminate()  # `ray start` ends what it has started
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    while n_alive() > 2:
        time.sleep(0.2)


def n_alive() -> int:
    return sum(entry["Alive"] for entry in ray.nodes())


@pytest.mark.usefixtures("head")
def test_nodes_that_are_well_are_shown(
    tiny: Tiny, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    check(store, [tiny(), tiny(seed=1)])

    text = capsys.readouterr().err
    shown = " · ".join(f"{name} {version}" for name, version in versions().items())
    assert f"1 node: 0 CPUs, 0 GPUs · {shown} · " in text
    assert f"1 node: 1 CPU, 2 GPUs · {shown} · " in text
    assert "every node writes the results" in text
    assert f"1 node for trials: digits, {describe_source('digits')}" in text
    assert store.local_path is not None
    assert not list(store.local_path.glob(".marker-*"))


@pytest.mark.usefixtures("head")
def test_a_share_of_a_gpu_that_torch_does_not_see_stops_the_sweep(tiny: Tiny, store: Store) -> None:
    """These GPUs are there by name only, as behind a driver that is too old for torch."""
    with pytest.raises(UserError, match=r": 2 GPUs by Ray's count, but torch .* sees \d "):
        check(store, [tiny()], gpu_share=0.5)
    check(store, [tiny()], gpu_share=0.5, device="cpu")


@pytest.mark.usefixtures("head")
def test_missing_images_stop_the_sweep(tiny: Tiny, store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r": cannot read folder:.*none: no such folder"):
        check(store, [tiny(dataset=f"folder:{tmp_path}/none")])


def test_a_node_with_a_disk_of_its_own_is_found_out(
    another_node: Callable[..., object], tiny: Tiny, tmp_path: Path, photos: Path
) -> None:
    """Its results are not the driver's and its photos are fewer: both are said, at once.

    Of two nodes neither is the usual one: both are named.
    """
    shared = tmp_path / "shared"
    shared.mkdir()
    store = Store(shared / "results")
    store.create()
    another_node(
        f"set -e; mount -t tmpfs none {shared}; mount -t tmpfs none {photos}/dog;"
        f"cp {photos}/cat/0.png {photos}/dog;"
    )

    with pytest.raises(UserError, match=r"^not all nodes can run trials: ") as raised:
        check(store, [tiny(dataset=f"folder:{photos}")])
    assert "sees other results than the driver in" in str(raised.value)
    assert "sees 4 images of 2 classes" in str(raised.value)
    assert "other nodes 6 images of 2 classes" in str(raised.value)
    assert "sees 6 images of 2 classes" in str(raised.value)
    assert "other nodes 4 images of 2 classes" in str(raised.value)


def test_a_node_that_does_not_answer_stops_the_sweep(
    another_node: Callable[..., "subprocess.Popen[bytes]"], tiny: Tiny, store: Store
) -> None:
    process = another_node("")
    os.killpg(process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(UserError, match="no answer within 3 seconds"):
            check(store, [tiny()], answer_seconds=3)
    finally:
        os.killpg(process.pid, signal.SIGCONT)


def test_search_on_a_full_cluster_needs_max_concurrent(
    head: RayCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where an autoscaler starts from nothing, it would draw one point at a time for ever."""
    words = ["dbscan", "--results", str(tmp_path / "results"), "--address", head.address]

    assert search([*words, "--gpus-per-trial", "4"]) == 2
    assert "give --max-concurrent" in capsys.readouterr().err


def answer(**changes: str) -> Answer:
    return Answer(versions=versions() | changes, sources={"digits": "3 images"}, problems=[])


def node(name: str) -> Node:
    return Node(node_id=name, name=name, cpus=1, gpus=0, accelerator="")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"Python": "3.9.1"}, "has Python 3.9.1, the driver "),
        ({"Ray": "2.1.0"}, "has Ray 2.1.0, the driver "),
        ({"torch": "1.0"}, None),
    ],
)
def test_versions_must_be_the_drivers(changes: dict[str, str], problem: str | None) -> None:
    """Ray itself lets no such node in, but a node's runtime environment can bring another one."""
    problems = _differences(node("b"), {"a": answer(), "b": answer(**changes)})
    assert [found.startswith(str(problem)) for found in problems] == ([True] if problem else [])


def test_what_the_user_should_know_of_nodes_that_are_well(store: Store) -> None:
    question = Question(
        store=store, marker="", sources=("digits", "cifar10"), data_root="/data", folder="/"
    )
    answers = [answer(), answer(torch="1.0")]
    for node_answer, description in zip(answers, (None, "50,000 images"), strict=True):
        node_answer.sources["cifar10"] = description
    text = "\n".join(_remarks(answers, question))

    assert f"nodes differ in torch (1.0, {versions()['torch']})" in text
    assert "2 nodes for trials: digits, 3 images" in text
    assert "1 node for trials: cifar10, 50,000 images" in text
    assert "cifar10 is not in /data on 1 node for trials" in text
