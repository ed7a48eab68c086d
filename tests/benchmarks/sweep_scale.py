"""What a very large plan costs the driver, the store and Ray, measured piece by piece.

    uv run python tests/benchmarks/sweep_scale.py [N_TRIALS …]

For every N (10,000 and 100,000 by default): the plan and what is made of it, the comparison of
plan and store, the driver until the first trial runs and while trials run. Then, whatever N: how
many reports of progress the driver takes, and what a trial asks of an object store. Every step runs
in a process of its own. Seconds are by the clock, and of a core (the driver's alone); peak memory
is that of the process, its imports included (Linux only). Trials of the driver's steps are trivial;
their plan is cut short by an interruption.
"""

# ruff: noqa: PLC0415 - a step that needs neither Ray nor torch must not import them

import asyncio
import collections
import contextlib
import io
import itertools
import logging
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from distill.config.base import Config
from distill.config.distillation import DistillationConfig
from sweeps.full_grid import COMMAND
from sweeps.grid.distillation_presets import EXTENDED
from sweeps.grid.plan import make_plan, plan_digest
from sweeps.store.compaction import stamped
from sweeps.store.files import Files
from sweeps.store.progress import progress_of
from sweeps.store.rows import row_content, table_content
from sweeps.store.schema import trial_schema
from sweeps.store.store import Store
from tests.sweeps.plain_results import row_of

TRIVIAL: dict[str, Any] = {
    "clusterer": "random",
    "init": "random",
    "width": 8,
    "depth": 2,
    "n_outer": 0,
    "n_eval": 1,
    "eval_epochs": 1,
    "eval_every": 0,
}

N_RUN = 60
"""Trials that the driver runs before the interruption."""

CONCURRENT = (2, 8, 24)
"""Trials that report at the same time, each from a process of its own."""

OUTSTANDING = (4, 100, 500, 1000, 2000, 4000)
"""Trials that the event loop waits for, all of them in one process."""

N_REPORTS = 3000
"""Reports of progress that are counted."""


def main(*counts: int) -> None:
    """Runs all steps and prints a line for each."""
    print(f"{'':<52}{'seconds':>10}{'of a core':>11}{'peak MB':>9}")
    for n_trials in counts or (10_000, 100_000):
        print(f"{n_trials:,} trials")
        with tempfile.TemporaryDirectory() as folder:
            for step in ("plan", "submission", "dry_run"):
                _run(step, folder, n_trials)
            _run("fill", folder, n_trials)
            for step in ("resume", "compact", "resume"):
                _run(step, folder, n_trials)
            for percent in (99, 100):
                _run("fill_compacted", folder, n_trials, percent)
                _run("resume", folder, n_trials)
                if percent == 99:
                    _run("failures", folder, n_trials)
            _run("nothing_left", folder, n_trials)
            _run("drive", folder, n_trials)
    print("whatever the number of trials")
    with tempfile.TemporaryDirectory() as folder:
        for n_concurrent in CONCURRENT:
            _run("reports", folder, n_concurrent)
        _run("waiting", folder, 0)
        _run("requests", folder, 0)


def _run(step: str, folder: str, *numbers: int) -> None:
    command = [sys.executable, __file__, "--step", step, folder, *map(str, numbers)]
    subprocess.run(command, check=True)


@contextlib.contextmanager
def _measured(name: str) -> Iterator[list[str]]:
    """Prints the cost of what is done inside, with the remarks that are left in the list."""
    remarks: list[str] = []
    start, cpu = time.perf_counter(), time.process_time()
    yield remarks
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    _print(name, seconds, cpu, *remarks)


def _print(name: str, seconds: float, cpu: float, *remarks: str) -> None:
    # Not resource.getrusage: a child begins with its parent's peak there.
    status = Path("/proc/self/status").read_text()
    peak = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024
    about = "   " + ", ".join(remarks) if remarks else ""
    print(f"  {name:<50}{seconds:10.2f}{cpu:11.2f}{peak:9,.0f}{about}", flush=True)


def _plan(folder: str) -> list[DistillationConfig]:
    """Returns the plan that the first step made."""
    configs: list[DistillationConfig] = pickle.loads(Path(folder, "plan").read_bytes())  # noqa: S301
    return configs


def _n_seeds(n_trials: int) -> int:
    return -(-n_trials // len(EXTENDED.configs))


def _arguments(folder: str, n_trials: int, *others: str) -> list[str]:
    sizes = ("--seeds", str(_n_seeds(n_trials)), "--limit", str(n_trials))
    return ["--preset", "extended", *sizes, "--results", f"{folder}/results", *others]


def _store(folder: str) -> Store:
    store = Store(f"{folder}/results")
    store.create()
    return store


def plan(folder: str, n_trials: int) -> None:
    """The list of trials, and its name."""
    with _measured("make the plan"):
        configs = make_plan(EXTENDED, seeds=range(_n_seeds(n_trials)), limit=n_trials)
    with _measured("plan_digest"):
        plan_digest(configs)
    Path(folder, "plan").write_bytes(pickle.dumps(configs))


def submission(folder: str, n_trials: int) -> None:
    """The record of a submission, which holds the plan."""
    configs, store = _plan(folder), _store(folder)
    with _measured("write the submission") as remarks:
        name = store.put_submission(
            {
                "trial_ids": [config.trial_id for config in configs],
                "plan": [{"kind": config.kind, **config.to_dict()} for config in configs],
            }
        )
        remarks.append(_megabytes(Path(store.uri) / "submissions" / f"{name}.json"))
    with _measured("read the submissions"):
        store.submissions()
    for path in (Path(store.uri) / "submissions").iterdir():
        path.unlink()


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


def dry_run(folder: str, n_trials: int) -> None:
    """The command, before anything has run."""
    with _measured("--dry-run, nothing finished"), contextlib.redirect_stdout(io.StringIO()):
        assert COMMAND.main(_arguments(folder, n_trials, "--dry-run")) == 0


def fill(folder: str, n_trials: int) -> None:
    """Puts the rows of half of the trials into the store; each is a file of its own."""
    trials = Path(_store(folder).uri) / "trials"
    for config in _plan(folder)[: n_trials // 2]:
        (trials / f"{config.trial_id}.parquet").write_bytes(row_content(row_of(config)))


def fill_compacted(folder: str, n_trials: int, percent: int) -> None:
    """Makes a store of so many trials that are compacted already.

    The rows' own files hold nothing: of a compacted row only their size and time are read.
    """
    files = Files(_store(folder).uri)
    for name in files.stamps("compacted"):
        files.delete(f"compacted/{name}")
    configs = _plan(folder)[: n_trials * percent // 100]
    for config in configs:
        Path(files.uri, "trials", f"{config.trial_id}.parquet").write_bytes(b"")
    plain = ({**row_of(config), "network_scores": "{}"} for config in configs)
    parts = iter(lambda: list(itertools.islice(plain, 5000)), [])
    rows = pa.concat_tables([pa.Table.from_pylist(part, trial_schema()) for part in parts])
    rows = stamped(rows, files.stamps("trials"))
    files.write("compacted/benchmark.parquet", table_content(rows))


def resume(folder: str, n_trials: int) -> None:
    """What a plan lacks, from single files or from those and their compacted copy."""
    configs, store = _plan(folder), _store(folder)
    stamps = Files(store.uri).stamps
    with _measured("list the rows") as remarks:
        n_rows = len(stamps("trials"))
        remarks.append(f"{n_rows:,} rows")
    n_copies = len(stamps("compacted"))
    with _measured(f"compare plan and store, {n_rows:,} rows {'compacted' * bool(n_copies)}"):
        progress = progress_of(configs, store, retry_failed=False, on_invalid=print)
    assert len(progress.to_do) == n_trials - n_rows


def compact(folder: str, n_trials: int) -> None:
    """A copy of the rows that lack one."""
    store = _store(folder)
    with _measured("compact") as remarks:
        remarks.append(f"{store.compact(settled_seconds=0):,} new rows")


def failures(folder: str, n_trials: int) -> None:
    """As many failed trials as there are without a row, and a tenth of the others."""
    configs, store = _plan(folder), _store(folder)
    failed = [config for config in configs if int(config.trial_id, 16) % 10 == 0]
    record = {"attempt": 1, "message": "RuntimeError: benchmark", "traceback": "line\n" * 50}
    for config in failed:
        store.put_failure(config.trial_id, record | {"config": config.to_dict()})
    with _measured("read the failures") as remarks:
        n_without_row = len(store.failures())
        remarks.append(f"{len(failed):,} records, {n_without_row:,} without a row")
    row = row_of(configs[0].replace(seed=10**6))
    with _measured("write one more result"):
        store.put_result(row, [])
    (Path(store.uri) / "trials" / f"{row['trial_id']}.parquet").unlink()
    for path in (Path(store.uri) / "failures").iterdir():
        path.unlink()


def nothing_left(folder: str, n_trials: int) -> None:
    """The command where all is done: it compares, reads everything and prints the tables."""
    with _measured("the command, all finished"), contextlib.redirect_stdout(io.StringIO()):
        assert COMMAND.main(_arguments(folder, n_trials)) == 0
    with (
        _measured("--dry-run, all finished"),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        assert COMMAND.main(_arguments(folder, n_trials, "--dry-run")) == 0


def drive(folder: str, n_trials: int) -> None:
    """The driver until the first trial runs, for N_RUN trials, and until it has ended."""
    from sweeps.cli.display import SweepDisplay
    from sweeps.cluster.connection import connect
    from sweeps.cluster.runner import run_trials
    from sweeps.cluster.worker import WorkOrder

    events: list[tuple[str, float, float]] = []

    def note(what: str) -> None:
        events.append((what, time.perf_counter(), time.process_time()))

    class Display(SweepDisplay):
        def phase(self, text: str) -> None:
            note(text)
            super().phase(text)

        def started(self, config: Config) -> None:
            if not self.state.running and not self.state.statuses:
                note("started")
            super().started(config)

        def ended(self, trial_id: str) -> None:
            super().ended(trial_id)
            if len(self.state.statuses) == N_RUN:
                note("enough")
                os.kill(os.getpid(), signal.SIGUSR1)

    configs = [DistillationConfig.from_dict(TRIVIAL | {"seed": seed}) for seed in range(n_trials)]
    store = Store(f"{folder}/driven")
    store.create()
    with (
        connect("local"),
        contextlib.redirect_stderr(io.StringIO()),
        Display("scale", n_trials, 0) as display,
    ):
        run_trials(
            configs,
            data_for=configs,
            order=WorkOrder(store=store, sweep="scale"),
            cpus_per_trial=1,
            data_root="data",
            max_concurrent=None,
            display=display,
        )
        note("end")
    names = {
        "reading the images": "check the plan against its images",
        "starting the first trials": "from there until the first trial runs",
        "started": f"from there until {N_RUN} trivial trials have ended",
        "enough": "from there to the end of the driver",
    }
    for (what, start, cpu), (_, end, cpu_end) in itertools.pairwise(events):
        _print(names[what], end - start, cpu_end - cpu)


def reports(folder: str, n_concurrent: int) -> None:
    """Reports a second that the driver takes from trials that do nothing else."""
    import ray
    from ray import tune

    from sweeps.cli.display import SweepDisplay
    from sweeps.cluster.metrics import SweepMetrics
    from sweeps.cluster.plan_searcher import InOrder, PlanSearcher
    from sweeps.cluster.runner import _Callback, point_of
    from sweeps.cluster.worker import WorkOrder

    values = {
        "trial_id": "0123456789abcdef",
        "status": "running",
        "message": "",
        "fraction": 0.5,
        "outer": 10,
        "matching_loss": 12.5,
        "seconds_left": 100.0,
        "curve_outer": None,
        "curve_accuracy": None,
    }
    each = N_REPORTS // n_concurrent

    def trial(params: dict[str, Any]) -> None:
        for _ in range(each):
            tune.report(values)
        tune.report(values | {"status": "ok"})

    class Callback(_Callback):
        begin: tuple[float, float] | None = None
        end: tuple[float, float] | None = None
        n_reports = 0

        def on_trial_result(self, *arguments: Any, **info: Any) -> None:
            super().on_trial_result(*arguments, **info)
            self.n_reports += 1
            if self.n_reports == 10 * n_concurrent:  # all of them run by now
                self.begin = time.perf_counter(), time.process_time()
            if self.n_reports == N_REPORTS - 5 * n_concurrent:
                self.end = time.perf_counter(), time.process_time()

    options: dict[str, Any] = {"include_dashboard": False, "logging_level": logging.ERROR}
    ray.init(address="local", num_cpus=n_concurrent, log_to_driver=False, **options)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    with SweepDisplay("reports", None, 0) as display:
        order = WorkOrder(store=Store(folder), sweep="reports")
        metrics = SweepMetrics(order.sweep, None, display.warn)
        callback = Callback(order, display, metrics, {})
        points = [point_of(DistillationConfig(seed=seed)) for seed in range(n_concurrent)]
        tune.Tuner(
            tune.with_resources(trial, tune.PlacementGroupFactory([{"CPU": 1}])),
            tune_config=tune.TuneConfig(
                search_alg=PlanSearcher(points),
                scheduler=InOrder(),
                num_samples=-1,
                max_concurrent_trials=n_concurrent,
            ),
            run_config=tune.RunConfig(storage_path=folder, callbacks=[callback], verbose=0),
        ).fit()
    assert callback.begin is not None
    assert callback.end is not None
    n_counted = N_REPORTS - 15 * n_concurrent
    seconds, cpu = (end - begin for end, begin in zip(callback.end, callback.begin, strict=True))
    each_ms = f"{1000 * cpu / n_counted:.2f} ms of a core each"
    rate = f"{n_counted / seconds:.0f} a second"
    _print(f"{n_counted:,} reports, {n_concurrent} trials at once", seconds, cpu, rate, each_ms)


def waiting(folder: str, unused: int) -> None:
    """What an event costs Tune's loop by the number of trials that it waits for."""
    import ray

    class Trials:
        async def report(self, seconds: float) -> None:
            await asyncio.sleep(seconds)

    options: dict[str, Any] = {"include_dashboard": False, "logging_level": logging.ERROR}
    ray.init(address="local", num_cpus=2, log_to_driver=False, **options)
    decorate: Any = ray.remote
    remote = decorate(num_cpus=0, max_concurrency=10_000)(Trials)
    for n_outstanding in OUTSTANDING:
        actor = remote.remote()
        futures = [actor.report.remote(1e6) for _ in range(n_outstanding - 1)]
        ray.get(actor.report.remote(0))
        seconds = cpu = 0.0
        for _ in range(200):
            ready = actor.report.remote(0)
            ray.wait([ready])
            start, cpu_start = time.perf_counter(), time.process_time()
            everything = [*futures, ready]
            random.shuffle(everything)  # as Ray's RayActorManager.next does
            ray.get(ray.wait(everything, num_returns=1)[0])
            seconds += time.perf_counter() - start
            cpu += time.process_time() - cpu_start
        each_ms = f"{1000 * seconds / 200:.2f} ms each"
        _print(f"200 events, {n_outstanding:,} trials waited for", seconds, cpu, each_ms)
        ray.kill(actor)


def requests(folder: str, unused: int) -> None:
    """What trials ask of an object store, by kind of request."""
    import boto3
    from moto.server import ThreadedMotoServer

    from distill.datasets import load_dataset
    from sweeps.cluster.worker import WorkOrder, run_and_store

    seen: collections.Counter[str] = collections.Counter()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if found := re.search(r'"(?:\x1b\[[\d;]*m)*(\w+) (\S+) HTTP', record.getMessage()):
                seen[_kind(*found.groups())] += 1

    logger = logging.getLogger("werkzeug")
    logger.addHandler(Handler())
    logger.setLevel(logging.INFO)
    logger.propagate = False
    os.environ |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=True)
    server.start()
    host, port = server.get_host_and_port()
    boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1").create_bucket(
        Bucket="bucket"
    )
    store = Store(f"s3://bucket/results?endpoint_override={host}:{port}&scheme=http")
    store.create()
    base = DistillationConfig(
        dataset="digits", ipc=1, n_outer=20, n_inner=1, eval_epochs=1, n_eval=1
    )
    data = load_dataset("digits")
    sizes = _checkpoint_sizes()

    def count(name: str, config: DistillationConfig, **order: Any) -> collections.Counter[str]:
        seen.clear()
        start, cpu = time.perf_counter(), time.process_time()
        work = WorkOrder(store=store, sweep="requests", report_seconds=1e6, **order)
        run_and_store(config, lambda: data, work, lambda _: None)
        told = ", ".join(f"{n} {kind}" for kind, n in sorted(seen.items()))
        _print(name, time.perf_counter() - start, time.process_time() - cpu, told)
        return seen.copy()

    count("a trial without a checkpoint", base, checkpoint_seconds=1e6)
    count("the same again, finished already", base, checkpoint_seconds=1e6)
    another = base.replace(seed=1)
    count("another, 20 checkpoints", another, checkpoint_seconds=0.0)
    for i in range(2500):
        store.put_failure(f"{i:016x}", {"message": ""})
    count("another, beside 2,500 failures", base.replace(seed=2))
    print(f"  bytes of a checkpoint, CIFAR-10: {sizes}")
    server.stop()


def _kind(method: str, path: str) -> str:
    """Returns what a request is, in the words of the price lists."""
    if method == "GET" and "list-type=2" in path:
        return "LIST"
    return method


def _checkpoint_sizes() -> str:
    """Returns the sizes of the images that are learnt and of the network, each with momentum."""
    import torch

    from distill.networks.build import build_network

    generator = torch.Generator()
    network = build_network(
        "convnet", channels=3, image_size=(32, 32), n_classes=10, generator=generator
    )
    n_weights = sum(own.numel() for own in network.parameters())
    sizes = {ipc: 8 * (10 * ipc * 3 * 32 * 32 + n_weights) for ipc in (1, 10, 50)}
    return ", ".join(f"{size / 1e6:.1f} MB at ipc {ipc}" for ipc, size in sizes.items())


STEPS: Sequence[Callable[..., None]] = (
    *(plan, submission, dry_run, fill, fill_compacted, resume, compact, failures),
    *(nothing_left, drive, reports, waiting, requests),
)

if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        by_name = {step.__name__: step for step in STEPS}
        by_name[sys.argv[2]](sys.argv[3], *map(int, sys.argv[4:]))
    else:
        main(*map(int, sys.argv[1:]))
