"""Nodes that are lost, come back, come late or have other clocks: real sweeps on real nodes.

Every case prints what it cost (`pytest -s`): rows lost, finished trials repeated, iterations
repeated. The rows at the end are those of undisturbed runs, bit for bit.
"""

import datetime as dt
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from sweeps.store.store import Store, load_results
from tests.sweeps.cluster.nodes import (
    Counts,
    Driver,
    Journal,
    Nodes,
    References,
    check_results,
    copy_project,
    planned,
    wait_for,
)
from tests.sweeps.store.test_store_s3 import Line

PLAN = (
    *("--preset", "smoke", "--only", "method=kmeans"),
    *("--set", "n_outer=12", "--set", "eval_every=6", "--seeds", "3"),
)
"""Three trials of about four seconds each, of 60 iterations."""

OFTEN = ("--checkpoint-seconds", "1")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def references() -> References:
    return References()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    folder = tmp_path / "nodes"
    folder.mkdir()
    with Nodes(folder) as started:
        yield started


@pytest.fixture
def drive(project: Path, nodes: Nodes, tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Starts the sweep's command on the nodes, with some options."""
    drivers = []

    def start(*options: str, results: Path | str = tmp_path / "results") -> Driver:
        drivers.append(Driver(project, nodes, results, *options))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.kill()


def busy(nodes: Nodes, node: str, iterations: int = 20) -> set[str]:
    """Returns the trials that a node is in the middle of, with a checkpoint to go on from."""
    journal = Journal(nodes.journal_file)
    ended = {event["trial_id"] for event in journal.of("stored")}
    saved = {event["trial_id"] for event in journal.of("saved", node=node)}
    far = {e["trial_id"] for e in journal.of("unit", node=node) if e["iterations"] >= iterations}
    return saved & far - ended


def end(
    nodes: Nodes,
    results: Path | str,
    references: References,
    name: str,
    plan: tuple[str, ...] = PLAN,
) -> Counts:
    """Checks the rows at the end; prints and returns what it cost to come there."""
    configs = planned(plan)
    frame = check_results(results, configs, references)
    counts = Journal(nodes.journal_file).counts(
        [config.trial_id for config in configs], frame["trial_id"]
    )
    print(f"\n{name}: {counts}")
    assert not Store(results).failures()
    return counts


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("cpus", [3, 1])
def test_node_is_lost_during_a_trial_and_an_added_node_is_used(
    nodes: Nodes, drive: Callable[..., Driver], tmp_path: Path, references: References, cpus: int
) -> None:
    """The only node is lost, and with it the images that it had read.

    The new one has a CPU to spare, on which they are read again, or none.
    """
    plan = (*PLAN[:-1], "2")
    nodes.add("first")
    driver = drive(*plan, *OFTEN)
    wait_for(lambda: busy(nodes, "first"), "a checkpoint on the node", driver=driver)
    (trial_id,) = busy(nodes, "first")
    nodes.kill("first")
    nodes.add("late", cpus=cpus)
    assert driver.wait() == 0, driver.output()

    assert "its process was lost; it resumes from its last checkpoint" in driver.output()
    counts = end(
        nodes, tmp_path / "results", references, f"one node lost, one of {cpus} CPUs added", plan
    )
    counts.check()
    assert counts.resumed == 1
    journal = Journal(nodes.journal_file)
    assert journal.trials_on("first") == {trial_id}
    assert journal.trials_on("late") == {config.trial_id for config in planned(plan)}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_two_nodes_are_lost_at_once(
    nodes: Nodes, drive: Callable[..., Driver], tmp_path: Path, references: References
) -> None:
    """Trials share GPUs, which are there by name only, and go on sharing those that are left."""
    plan = (*PLAN[:-1], "6")
    for name in ("a", "b", "c"):
        nodes.add(name, cpus=2, gpus=1)
    driver = drive(*plan, *OFTEN, "--gpus-per-trial", "0.5", "--device", "cpu")
    wait_for(
        lambda: busy(nodes, "a") and busy(nodes, "b"), "checkpoints on two nodes", driver=driver
    )
    nodes.kill("a", "b")
    assert driver.wait() == 0, driver.output()

    counts = end(nodes, tmp_path / "results", references, "two nodes lost at once", plan)
    counts.check()
    assert counts.resumed >= 2
    journal = Journal(nodes.journal_file)
    assert len(journal.trials_on("c")) >= 4, "its own and those of the others"
    assert {most_at_once(journal, name) for name in ("a", "b", "c")} == {2}
    assert set(load_results(tmp_path / "results")["gpu_share"]) == {0.5}


def most_at_once(journal: Journal, node: str) -> int:
    """Returns how many trials were at work on a node at once, at most."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for number, event in enumerate(journal.events):
        if event["node"] == node and event["event"] == "unit":
            first.setdefault(event["trial_id"], number)
            last[event["trial_id"]] = number
    return max(
        sum(first[other] <= begin <= last[other] for other in first) for begin in first.values()
    )


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_head_is_lost_with_all_nodes_and_the_command_resumes(
    nodes: Nodes, drive: Callable[..., Driver], tmp_path: Path, references: References
) -> None:
    """The driver is on another machine: it sees the cluster go."""
    results = tmp_path / "results"
    for name in ("a", "b"):
        nodes.add(name)
    driver = drive(*PLAN, *OFTEN)
    wait_for(lambda: busy(nodes, "a") or busy(nodes, "b"), "a checkpoint on a node", driver=driver)
    nodes.kill()
    assert driver.wait() != 0
    print(f"\nthe driver without its cluster: exit code {driver.process.returncode}")

    nodes.start_head()
    nodes.add("c", cpus=2)
    again = drive(*PLAN, *OFTEN)
    assert again.wait() == 0, again.output()
    counts = end(nodes, results, references, "head and all nodes lost")
    counts.check()
    assert counts.resumed >= 1
    assert len(Store(results).submissions()) == 2


class SlowLine(Line):
    """A line on which whatever a client sends takes its time."""

    delay = 0.0
    n_delays = 0

    def may_break(self, stream: Iterator[bytes]) -> Iterator[bytes]:
        for data in stream:
            if b" HTTP/1.1\r\n" in data:  # the head of a request
                self.n_delays += 1
                time.sleep(self.delay)
            yield data


@pytest.fixture
def slow_line(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowLine]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    line = SlowLine(server.get_host_and_port())
    yield line
    line.close()
    server.stop()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_slow_store(
    slow_line: SlowLine, nodes: Nodes, drive: Callable[..., Driver], references: References
) -> None:
    """An object store that takes a second over every request; a node is lost besides."""
    results = f"s3://slow/results?endpoint_override={slow_line.address}&scheme=http"
    boto3.client(
        "s3", endpoint_url=f"http://{slow_line.address}", region_name="us-east-1"
    ).create_bucket(Bucket="slow")
    slow_line.delay = 1.0
    for name in ("a", "b"):
        nodes.add(name)
    driver = drive(*PLAN, *OFTEN, results=results)
    wait_for(lambda: busy(nodes, "a", 1), "a checkpoint on node a", driver=driver)
    nodes.kill("a")
    assert driver.wait(900) == 0, driver.output()

    print(f"\n{slow_line.n_delays} requests of {slow_line.delay} s more")
    slow_line.delay = 0.0
    assert slow_line.n_delays > 50
    counts = end(nodes, results, references, "slow store, one node lost")
    counts.check()
    assert counts.resumed == 1
    assert load_results(results)["n_resumes"].sum() == 1


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_clocks_that_differ(
    nodes: Nodes, drive: Callable[..., Driver], tmp_path: Path, references: References
) -> None:
    """Attempts on a node five hours ahead, then on others, of which one is five hours behind."""
    results, hours = tmp_path / "results", 5
    ahead = {"NODE_PROBE_CLOCK": str(hours * 3600), "CUDA_VISIBLE_DEVICES": ""}
    behind = {"NODE_PROBE_CLOCK": str(-hours * 3600), "CUDA_VISIBLE_DEVICES": ""}
    doomed = (*PLAN, *OFTEN, "--device", "cuda", "--gpus-per-trial", "0", "--retry-failed")
    ids = {config.trial_id for config in planned(PLAN)}
    for attempt, (name, clock) in enumerate((("ahead", ahead), ("behind", behind)), start=1):
        nodes.add(name, environment=clock)
        failing = drive(*doomed)
        assert failing.wait() == 1, failing.output()
        nodes.kill(name)
        records = Store(results).failures()
        assert {k: record["attempt"] for k, record in records.items()} == dict.fromkeys(
            ids, attempt
        )
    times = {record["time"] for record in records.values()}
    assert all(hours_from_now(time) == -hours for time in times), "the newest, by the clock oldest"

    nodes.add("ahead", environment=ahead)
    nodes.add("behind", environment=behind)
    driver = drive(*PLAN, *OFTEN, "--retry-failed")
    wait_for(lambda: busy(nodes, "ahead"), "a checkpoint on node ahead", driver=driver)
    nodes.kill("ahead")
    assert driver.wait() == 0, driver.output()

    counts = end(nodes, results, references, "clocks ten hours apart, a node lost")
    counts.check()
    assert counts.resumed == 1
    rows = load_results(results)
    assert set(rows["attempt"]) == {3}
    assert {hours_from_now(time) for time in rows["finished_at"]} == {-hours}
    assert rows["total_seconds"].between(1, 200).all()


def hours_from_now(time: str) -> int:
    """Returns how many hours ahead of now a time is, to the nearest hour."""
    return round(
        (dt.datetime.fromisoformat(time) - dt.datetime.now(dt.UTC)) / dt.timedelta(hours=1)
    )


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_node_that_was_given_up_comes_back(
    nodes: Nodes, drive: Callable[..., Driver], tmp_path: Path, references: References
) -> None:
    """A node that hangs until its trial runs elsewhere, and then goes on as if nothing had been.

    Both may work on the trial for a moment, so that iterations since the last checkpoint of one
    are repeated by the other; the row is written once.
    """
    for name in ("a", "b"):
        nodes.add(name)
    driver = drive(*PLAN, *OFTEN)
    wait_for(lambda: busy(nodes, "a"), "a checkpoint on node a", driver=driver)
    nodes.signal(signal.SIGSTOP, "a")
    (trial_id,) = busy(nodes, "a")
    wait_for(
        lambda: Journal(nodes.journal_file).of("unit", node="b", trial_id=trial_id),
        "the trial on node b",
        driver=driver,
    )
    nodes.signal(signal.SIGCONT, "a")
    assert driver.wait() == 0, driver.output()

    counts = end(nodes, tmp_path / "results", references, "a node hung and came back")
    assert counts.resumed >= 1
    assert len(Journal(nodes.journal_file).of("stored")) <= len(planned(PLAN)) + 1
