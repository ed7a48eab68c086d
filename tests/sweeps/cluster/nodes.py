"""A Ray cluster of several nodes on this machine, made of real `ray start` processes.

Every node has its own processes, its own share of logical CPUs and, by name only, GPUs. A node can
be lost as a machine is: all its processes at once, without a word. What the trials on the nodes do
is noted by `node_probe`, from which `Journal` counts what was lost and what was done twice.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from distill.config.distillation import DistillationConfig
from distill.datasets import load_dataset
from distill.trials.runner import run
from sweeps.full_grid import COMMAND
from sweeps.store.rows import (
    curve_content,
    parse_curve,
    parse_row,
    row_content,
    table_content,
)
from sweeps.store.schema import curve_schema, trial_schema
from sweeps.store.store import Store, load_results
from tests.paths import ROOT

PROGRAMS = Path(sys.executable).parent
PROBE = Path(__file__).parent / "node_probe"

HEAD = "head"

CIRCUMSTANCES = {
    *("sweep", "phase", "attempt", "host", "gpu_share", "started_at", "finished_at", "n_resumes"),
    *(f"{part}_seconds" for part in ("clustering", "matching", "network", "evaluation", "total")),
    *("peak_memory_bytes", "git_commit", "ray_version"),
}
"""Columns of a row that say how it came about; all others are what the trial found."""


def wait_for(
    condition: Callable[[], object],
    what: str,
    *,
    driver: "Driver | None" = None,
    seconds: float = 400,
) -> None:
    """Waits until something is so; fails where it takes too long or the driver ends before."""
    deadline = time.monotonic() + seconds
    while not condition():
        if driver is not None and driver.process.poll() is not None and not condition():
            raise AssertionError(f"it ended before {what}: {driver.output()}")
        if time.monotonic() > deadline:
            raise AssertionError(f"waited too long for {what}: {driver.output() if driver else ''}")
        time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def plain_environment() -> dict[str, str]:
    """The environment without what may steer a Ray or a Python, and without a token."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHON"))}
    return kept | {
        "COLUMNS": "100",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "disabled",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_worker_niceness": "0",  # Ray's trials give way to all else on a busy machine
    }


def copy_project(folder: Path) -> Path:
    """Copies the code, so that a long test runs one state of it; returns the folder."""
    for package in ("distill", "sweeps", "analysis"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    return folder


class Nodes:
    """A head without CPUs, and the nodes that are added to it.

    Args:
        folder: for the logs.
    """

    def __init__(self, folder: Path) -> None:
        self.id = uuid.uuid4().hex[:8]
        self.folder = folder
        self.journal_file = folder / "journal.jsonl"
        self.journal_file.touch()
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._temporary = Path("/tmp") / f"rn-{self.id}"  # noqa: S108 - socket paths must be short
        self._starters: list[subprocess.Popen[bytes]] = []
        try:
            self.start_head()
        except BaseException:
            self.__exit__()
            raise

    def start_head(self) -> None:
        """Starts a head, for the first time or, after it was lost, at the same address."""
        options = ("--head", f"--port={self.port}", "--include-dashboard=false", "--num-cpus=0")
        self._start(HEAD, options, {})

    def add(
        self, name: str, *, cpus: int = 1, gpus: int = 0, environment: dict[str, str] | None = None
    ) -> None:
        """Adds a node; returns when it is part of the cluster.

        Args:
            name: of its own; one that was lost can be used again.
            cpus: logical ones.
            gpus: logical ones; there need not be any.
            environment: added to that of its processes.
        """
        options = (f"--address={self.address}", f"--num-cpus={cpus}", f"--num-gpus={gpus}")
        self._start(name, options, environment or {})

    def _start(self, name: str, options: tuple[str, ...], environment: dict[str, str]) -> None:
        log = self.folder / f"{name}-{uuid.uuid4().hex[:4]}.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                [
                    *(str(PROGRAMS / "ray"), "start", "--block", "--disable-usage-stats"),
                    *options,
                    *("--object-store-memory=100000000", "--node-ip-address=127.0.0.1"),
                    *(f"--dashboard-agent-listen-port={free_port()}", "--metrics-export-port=0"),
                    # Of its own: nodes that share one unpack the code over each other's.
                    f"--temp-dir={self._temporary / name}",
                ],
                env=plain_environment()
                | {
                    "NODE_PROBE_NODE": name,
                    "NODE_PROBE_MARK": f"{self.id}/{name}",
                    "NODE_PROBE_LOG": str(self.journal_file),
                    "PYTHONPATH": str(PROBE),
                }
                | environment,
                cwd=self.folder,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._starters.append(process)
        deadline = time.monotonic() + 240
        while "Ray runtime started" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)

    def processes(self, *names: str) -> list[int]:
        """Returns the ids of all processes of some nodes; without names of all."""
        marks = {f"NODE_PROBE_MARK={self.id}/{name}".encode() for name in names}
        of_all = f"NODE_PROBE_MARK={self.id}/".encode()
        parents: dict[int, int] = {}
        found: set[int] = set()
        for path in Path("/proc").glob("[0-9]*"):
            try:
                parents[int(path.name)] = int(
                    (path / "stat").read_text().rpartition(")")[2].split()[1]
                )
                environment = (path / "environ").read_bytes().split(b"\0")
            except OSError:
                continue  # it has just ended
            if any(
                word in marks or (not names and word.startswith(of_all)) for word in environment
            ):
                found.add(int(path.name))
        while children := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= children
        return sorted(found)

    def trial_processes(self, *names: str) -> list[int]:
        """Returns the processes on some nodes, or on all, that run trials now."""
        found = []
        for pid in self.processes(*names):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::ImplicitFunc"):
                    found.append(pid)
        return found

    def signal(self, number: signal.Signals, *names: str) -> None:
        """Sends a signal to all processes of some nodes."""
        for pid in self.processes(*names):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self, *names: str) -> None:
        """Takes nodes away as machines go: all their processes at once; without names all nodes."""
        self.signal(signal.SIGSTOP, *names)  # so that none of them sees another one go
        deadline = time.monotonic() + 60
        while self.processes(*names):
            self.signal(signal.SIGKILL, *names)
            for process in self._starters:
                process.poll()
            assert time.monotonic() < deadline, "processes that cannot be killed"
            time.sleep(0.05)

    def __enter__(self) -> "Nodes":
        return self

    def __exit__(self, *error: object) -> None:
        """Ends all that was started, whatever state it is in."""
        self.kill()
        for process in self._starters:
            process.wait()
        shutil.rmtree(self._temporary, ignore_errors=True)


class Driver:
    """A sweep's command while it runs.

    Args:
        project: where the code is.
        nodes: what it runs on.
        results: path or URI.
        options: of `sweeps/full_grid.py`.
    """

    def __init__(self, project: Path, nodes: Nodes, results: Path | str, *options: str) -> None:
        self._start(project, nodes.folder, results, "--address", nodes.address, *options)

    @classmethod
    def alone(cls, project: Path, folder: Path, results: Path | str, *options: str) -> "Driver":
        """Starts the command on a Ray of its own on this machine.

        Args:
            project: where the code is.
            folder: for the log.
            results: path or URI.
            options: of `sweeps/full_grid.py`.
        """
        driver = cls.__new__(cls)
        driver._start(project, folder, results, *options)
        return driver

    def _start(self, project: Path, folder: Path, results: Path | str, *options: str) -> None:
        self._log = folder / f"driver-{uuid.uuid4().hex[:8]}.log"
        with self._log.open("w") as file:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, str(project / "sweeps" / "full_grid.py")),
                    *("--results", str(results), *options),
                ],
                # The trials of a Ray of its own import what is on the path: not another copy.
                env=plain_environment() | {"PYTHONPATH": str(project)},
                cwd=folder,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> "Driver":
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def output(self) -> str:
        return self._log.read_text()

    def wait(self, seconds: float = 500) -> int:
        """Waits for its end; returns the exit code."""
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the driver does not end: {self.output()}") from None

    def kill(self) -> None:
        """Kills it and what it started, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What failures cost.

    Attributes:
        rows_lost: planned trials without a row.
        finished_repeated: trials that did any work after their row was there.
        resumed: times a trial was taken on from a checkpoint by another process.
        restarted: times one was begun anew, since there was no checkpoint yet.
        iterations: inner loops done in all.
        iterations_repeated: inner loops done more than once.
        iterations_at_risk: inner loops done since the last checkpoint by processes that were lost.
        epochs_repeated: of evaluations; done more than once.
        epochs_at_risk: of evaluations; done since the last checkpoint by processes that were lost.
        behind_checkpoint: resumptions from elsewhere than the newest checkpoint.
    """

    rows_lost: int
    finished_repeated: int
    resumed: int
    restarted: int
    iterations: int
    iterations_repeated: int
    iterations_at_risk: int
    epochs_repeated: int
    epochs_at_risk: int
    behind_checkpoint: int

    def check(self) -> None:
        """Asserts that nothing was lost, and nothing done twice that need not be."""
        assert self.rows_lost == 0, repr(self)
        assert self.finished_repeated == 0, repr(self)
        assert self.behind_checkpoint == 0, repr(self)
        assert self.iterations_repeated <= self.iterations_at_risk, repr(self)
        assert self.epochs_repeated <= self.epochs_at_risk, repr(self)

    def __str__(self) -> str:
        return (
            f"rows lost {self.rows_lost}, finished trials repeated {self.finished_repeated}, "
            f"iterations repeated {self.iterations_repeated} of {self.iterations} "
            f"(done since the last checkpoint when lost: {self.iterations_at_risk}), "
            f"epochs of evaluations repeated {self.epochs_repeated} ({self.epochs_at_risk}), "
            f"resumed {self.resumed} times, begun anew without a checkpoint {self.restarted} times"
        )


class Journal:
    """What the trials on the nodes did, in order, by the notes of `node_probe`."""

    def __init__(self, file: Path) -> None:
        lines = file.read_text().splitlines(keepends=True)
        self.events: list[dict[str, Any]] = [
            json.loads(line) for line in lines if line.endswith("\n")
        ]

    def of(self, event: str, **values: str) -> list[dict[str, Any]]:
        """Returns the events of a kind that have some values."""
        return [e for e in self.events if e["event"] == event and values.items() <= e.items()]

    def trials_on(self, node: str) -> set[str]:
        """Returns the trials that did work on a node."""
        return {event["trial_id"] for event in self.of("unit", node=node)}

    def counts(self, planned: Iterable[str], rows: Iterable[str]) -> Counts:
        """Counts what was lost and what was done twice.

        Args:
            planned: ids of the trials.
            rows: ids of the trials in the results.
        """
        total: Counter[str] = Counter(rows_lost=len(set(planned) - set(rows)))
        for trial_id in {event["trial_id"] for event in self.events}:
            total.update(_counts_of([e for e in self.events if e["trial_id"] == trial_id]))
        return Counts(**{name: total[name] for name in Counts.__dataclass_fields__})


def _counts_of(events: list[dict[str, Any]]) -> Counter[str]:
    """Counts for one trial; see `Counts`."""
    counts: Counter[str] = Counter()
    stored = False
    seen: set[tuple[int, int]] = set()
    last_saved = (0, 0)
    places: dict[int, tuple[int, int]] = {}  # of processes
    at_risk: dict[int, Counter[str]] = {}  # work of processes since their last checkpoint
    for event in events:
        pid, kind = event["pid"], event["event"]
        if kind in ("saved", "stored"):
            at_risk[pid] = Counter()
            last_saved = places.get(pid, (0, 0))
            stored |= kind == "stored"
            continue
        before = places.get(pid)
        place = places[pid] = (event["iterations"], event["epochs"])
        if kind == "resumed":
            counts["resumed"] += 1
            counts["behind_checkpoint"] += place < last_saved
            continue
        if before is None:
            counts["restarted"] += len(at_risk) > 0
            counts["behind_checkpoint"] += last_saved > (0, 0)
            before = (0, 0)
        counts["late"] += stored
        part = "iterations" if place[0] > before[0] else "epochs"
        counts[part] += 1
        counts[f"{part}_repeated"] += place in seen
        seen.add(place)
        at_risk.setdefault(pid, Counter())[f"{part}_at_risk"] += 1
    for process_counts in at_risk.values():
        counts.update(process_counts)
    counts["finished_repeated"] = min(counts.pop("late", 0), 1)
    counts.pop("epochs", None)
    return counts


def content_of(store: Store, trial_id: str) -> dict[str, Any]:
    """Returns all that a store holds of a finished trial: its row, with curve and images."""
    row = store.read_row(trial_id)
    assert row is not None, trial_id
    curve = store.read_file(f"curves/{trial_id}.parquet")
    return row | {
        "curve": _points(trial_id, curve),
        "distilled": store.read_file(f"distilled/{trial_id}.parquet"),
    }


def _points(trial_id: str, content: bytes) -> list[dict[str, Any]]:
    """Returns the points of a curve without the seconds, which no second run repeats."""
    points = parse_curve(trial_id, content, curve_schema()).to_pylist()
    return [{**point, "seconds": None} for point in points]


class References:
    """The results of undisturbed runs, each made once, in this process and without Ray."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Any]] = {}

    def of(self, config: DistillationConfig) -> dict[str, Any]:
        """Returns what a store would hold of a trial that nothing happens to."""
        if config.trial_id not in self._known:
            result = run(config, load_dataset(config.dataset))
            row = row_content(result.row)
            curve = curve_content(config.trial_id, result.curve)
            self._known[config.trial_id] = parse_row(
                config.trial_id, row, trial_schema()
            ).to_pylist()[0] | {
                "curve": _points(config.trial_id, curve),
                **{name: table_content(table) for name, table in result.artifacts.items()},
            }
        return self._known[config.trial_id]


def check_results(
    results: Path | str, plan: Iterable[DistillationConfig], references: References
) -> pd.DataFrame:
    """Asserts that a store holds the planned rows and no others, each as if nothing had happened.

    Returns:
        The rows.
    """
    plan = list(plan)
    store = Store(results)
    frame = load_results(results)
    assert sorted(frame["trial_id"]) == sorted(config.trial_id for config in plan)
    for config in plan:
        found, expected = content_of(store, config.trial_id), references.of(config)
        assert found.keys() == expected.keys()
        different = [k for k in found if k not in CIRCUMSTANCES and found[k] != expected[k]]
        assert not different, f"trial {config.trial_id}: {different}"
    return frame


def planned(options: Iterable[str]) -> list[DistillationConfig]:
    return COMMAND.plan(list(options))
