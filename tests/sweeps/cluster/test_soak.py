"""A soak: many short trials, and somebody who keeps killing trials, nodes and drivers.

    uv run pytest -m slow tests/sweeps/test_soak.py -s                  # about an hour
    SOAK_MINUTES=3 uv run pytest -m slow tests/sweeps/test_soak.py -s   # a first look

The plan is run undisturbed first, on a Ray of its own, for the rows that have to come out. Then it
is run on three nodes, and from a fixed seed (SOAK_SEED) something is killed again and again until
the plan is finished: after so many checkpoints, not seconds, so that a busy machine has as much
done between two kills as an idle one. Whoever submitted the sweep does what a user would: gives
the command again when it ended before its time.
"""

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from distill.config.distillation import DistillationConfig
from sweeps.store.store import Store, load_results
from tests.sweeps.cluster.nodes import (
    CIRCUMSTANCES,
    Driver,
    Journal,
    Nodes,
    content_of,
    copy_project,
    planned,
)

MINUTES = float(os.environ.get("SOAK_MINUTES", "60"))
SEED = int(os.environ.get("SOAK_SEED", "0"))
TRIALS_PER_MINUTE = 3
"""So that the disturbed run takes about as many minutes as it was asked for, on two cores."""

N_SEEDS = max(2, round(MINUTES * TRIALS_PER_MINUTE / 2))
PLAN = (
    *("--preset", "smoke", "--set", "n_outer=10", "--set", "eval_every=5"),
    *("--seeds", str(N_SEEDS)),
)
"""Two trials a seed, of a few seconds each."""

SWEEP = (*PLAN, "--checkpoint-seconds", "0.5", "--gpus-per-trial", "0")
"""Without the share of a GPU a command refuses a cluster whose nodes have all just been lost."""
N_NODES = 3
MEAN_CHECKPOINTS = 12
"""Between two kills; a trial saves about ten."""
LONGEST_PAUSE = 150.0
"""Seconds after which something is killed without a checkpoint: what is just starting."""

KINDS = {"trial": 50, "node": 25, "driver": 15, "two nodes": 6, "everything": 4}
"""What is killed, and how often of a hundred times; `everything` is the head with all nodes and
the driver, as when all of a cluster is taken away."""


@dataclass(frozen=True)
class Kill:
    """One act of a schedule.

    Attributes:
        n_checkpoints: saved since the act before, by all trials together.
        kind: see `KINDS`.
        choice: in [0, 1); which of those that are there.
        delay: seconds until a lost node is replaced.
    """

    n_checkpoints: int
    kind: str
    choice: float
    delay: float


def schedule(seed: int) -> Iterator[Kill]:
    """Yields the same acts for the same seed, without end."""
    generator = random.Random(seed)  # noqa: S311 - not a secret
    while True:
        yield Kill(
            n_checkpoints=round(generator.expovariate(1 / MEAN_CHECKPOINTS)),
            kind=generator.choices(list(KINDS), weights=list(KINDS.values()))[0],
            choice=generator.random(),
            delay=generator.uniform(0, 15),
        )


@dataclass
class Soak:
    """The disturbed run.

    Attributes:
        kills: how often what was killed.
        endings: exit codes of drivers that were not killed.
        stamps: row file → what tells it from one that was written again, when first seen.
        rewritten: row files that changed after that.
    """

    project: Path
    nodes: Nodes
    results: Path
    kills: Counter[str] = field(default_factory=Counter)
    endings: Counter[int] = field(default_factory=Counter)
    stamps: dict[str, tuple[int, int]] = field(default_factory=dict)
    rewritten: set[str] = field(default_factory=set)
    _drivers: list[Driver] = field(default_factory=list)
    _alive: list[str] = field(default_factory=list)
    _due: list[float] = field(default_factory=list)
    _n_nodes: int = 0

    def run(self, acts: Iterator[Kill], seconds: float) -> None:
        """Runs the sweep to its end in spite of the acts."""
        end = time.monotonic() + seconds
        self._due = [0.0] * N_NODES
        self._replace_nodes()
        self.submit()
        for act in acts:
            if self._is_over_before(act, end):
                break
            self._do(act)
        self.look()

    def _is_over_before(self, act: Kill, end: float) -> bool:
        """Waits until it is time for an act; returns whether the sweep is over before."""
        latest = time.monotonic() + LONGEST_PAUSE
        n_before = self._n_saved()
        while self._n_saved() < n_before + act.n_checkpoints and time.monotonic() < latest:
            assert time.monotonic() < end, f"no end: {self.kills}, {self.driver.output()}"
            if self._is_over():
                return True
            self.look()
            self._replace_nodes()
            time.sleep(0.2)
        return self._is_over()

    def _n_saved(self) -> int:
        return self.nodes.journal_file.read_bytes().count(b'"event": "saved"')

    def submit(self) -> None:
        self._drivers.append(Driver(self.project, self.nodes, self.results, *SWEEP))

    @property
    def driver(self) -> Driver:
        return self._drivers[-1]

    @property
    def n_submissions(self) -> int:
        """How often the command was given."""
        return len(self._drivers)

    def close(self) -> None:
        """Ends what the sweep's commands left running."""
        for driver in self._drivers:
            driver.kill()

    def look(self) -> None:
        """Notes the rows that are there."""
        for path in self.results.glob("trials/*.parquet"):
            status = path.stat()
            stamp = (status.st_ino, status.st_mtime_ns)
            if self.stamps.setdefault(path.name, stamp) != stamp:
                self.rewritten.add(path.name)

    def _is_over(self) -> bool:
        """Whether the command came to a good end; gives it again where it came to another one."""
        code = self.driver.process.poll()
        if code is None:
            return False
        self.endings[code] += 1
        if code != 0:
            print(f"exit code {code}: {self.driver.output()[-300:]!r}")
            self.submit()
        return code == 0

    def _replace_nodes(self) -> None:
        while [moment for moment in self._due if moment <= time.monotonic()]:
            self._due.remove(min(self._due))
            self._n_nodes += 1
            self._alive.append(f"node-{self._n_nodes}")
            self.nodes.add(self._alive[-1])

    def _do(self, act: Kill) -> None:
        if act.kind == "driver":
            self._lose_driver()
        elif act.kind == "trial":
            processes = self.nodes.trial_processes(*self._alive) if self._alive else []
            if not processes:
                return
            os.kill(processes[int(act.choice * len(processes))], signal.SIGKILL)
        elif self._alive:
            n_lost = {"node": 1, "two nodes": 2, "everything": len(self._alive)}[act.kind]
            first = int(act.choice * len(self._alive))
            names = (self._alive[first:] + self._alive[:first])[:n_lost]
            self._lose_nodes(names, act.delay, with_head=act.kind == "everything")
        self.kills[act.kind] += 1

    def _lose_driver(self) -> None:
        self.driver.kill()
        self.submit()

    def _lose_nodes(self, names: list[str], delay: float, *, with_head: bool) -> None:
        if with_head:
            self.driver.kill()
            self.nodes.kill()
            self.nodes.start_head()
            self.submit()
        else:
            self.nodes.kill(*names)
        for name in names:
            self._alive.remove(name)
            self._due.append(time.monotonic() + delay)


def differences(
    plan: list[DistillationConfig], found: Store, expected: Store
) -> dict[str, list[str]]:
    """Returns for trials that differ in what: the columns of the row, the curve, the images."""
    different = {}
    for config in plan:
        own, other = (content_of(store, config.trial_id) for store in (found, expected))
        names = [k for k in own if k not in CIRCUMSTANCES and own[k] != other[k]]
        if names:
            different[config.trial_id] = names
    return different


@pytest.mark.slow
@pytest.mark.timeout(5 * 3600)
def test_soak(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    plan = planned(PLAN)
    folder = tmp_path / "nodes"
    folder.mkdir()
    begin = time.monotonic()
    with Driver.alone(project, folder, tmp_path / "expected", *SWEEP) as undisturbed:
        assert undisturbed.wait(2 * 3600) == 0, undisturbed.output()
    undisturbed_seconds = time.monotonic() - begin
    print(f"\n{len(plan)} trials undisturbed in {undisturbed_seconds:.0f} s")

    begin = time.monotonic()
    with Nodes(folder) as nodes:
        soak = Soak(project, nodes, tmp_path / "results")
        with contextlib.closing(soak):
            soak.run(schedule(SEED), seconds=max(900, 180 * MINUTES))
        seconds = time.monotonic() - begin
        before = dict(soak.stamps)
        with Driver(project, nodes, tmp_path / "results", *SWEEP) as once_more:
            assert once_more.wait() == 0, once_more.output()
        soak.look()

    rows = load_results(tmp_path / "results")
    counts = Journal(nodes.journal_file).counts(
        [config.trial_id for config in plan], rows["trial_id"]
    )
    different = differences(plan, Store(tmp_path / "results"), Store(tmp_path / "expected"))
    kills = ", ".join(f"{n} × {kind}" for kind, n in sorted(soak.kills.items()))
    print(
        f"soak: seed {SEED}, {len(plan)} trials in {seconds:.0f} s (undisturbed "
        f"{undisturbed_seconds:.0f} s)\n"
        f"killed: {soak.kills.total()} ({kills})\n"
        f"the command was given {soak.n_submissions} times; exit codes of drivers that were not "
        f"killed: {dict(soak.endings)}\n"
        f"{counts}\n"
        f"rows written again {len(soak.rewritten)}, rows that differ {len(different)}, "
        f"resumed at most {rows['n_resumes'].max()} times, attempts at most "
        f"{rows['attempt'].max()}"
    )
    assert sorted(rows["trial_id"]) == sorted(config.trial_id for config in plan)
    assert soak.stamps == before
    assert not soak.rewritten
    assert not different
    assert not Store(tmp_path / "results").failures()
    assert not list((tmp_path / "results" / "checkpoints").iterdir())
    assert soak.kills.total() >= MINUTES
    counts.check()
