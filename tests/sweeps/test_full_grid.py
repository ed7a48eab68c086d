"""The grid's command as a user runs it: a process of its own, a real Ray, a real store."""

import contextlib
import fcntl
import functools
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from distill.config.distillation import DistillationConfig
from distill.datasets import load_dataset
from distill.trials import runner
from sweeps.cluster.leftovers import OWNER, PREFIX
from sweeps.full_grid import COMMAND
from sweeps.monitor.status import StatusReader
from sweeps.store.compaction import COMPACT_FROM
from sweeps.store.rows import row_content
from sweeps.store.store import Store, load_results
from tests.paths import ROOT
from tests.sweeps.cluster.patience import LIMIT_SECONDS, TEST_SECONDS
from tests.sweeps.plain_results import row_of

pytestmark = pytest.mark.timeout(TEST_SECONDS)

SCRIPT = str(ROOT / "sweeps" / "full_grid.py")
SMOKE = ("--preset", "smoke", "--checkpoint-seconds", "0.2")
LONG = (*SMOKE, "--only", "method=kmeans", "--set", "n_outer=60", "--set", "eval_every=20")
"""One trial that is long enough to be interrupted."""


def command(results: Path, *options: str) -> list[str]:
    return [sys.executable, SCRIPT, "--results", str(results), *options]


def environment(results: Path | None = None) -> dict[str, str]:
    """What a command runs in; its workers inherit the mark that `trial_processes` looks for."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHON"))}
    return kept | {"COLUMNS": "100", "TEST_RESULTS": str(results)}


def run(results: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(results, *options),
        env=environment(results),
        cwd=results.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def without_cpu_time(output: str) -> str:
    """Returns what a sweep printed at its end, the same every time."""
    found = re.findall(r"^CPU time: .*\(trials .*, this command .*\)\n", output, re.MULTILINE)
    assert len(found) == 1
    return output.replace(found[0], "")


def start(results: Path, *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command(results, *options),
        env=environment(results),
        cwd=results.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(
    condition: Callable[[], object], process: "subprocess.Popen[str] | None" = None
) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        if process is not None and process.poll() is not None:
            raise AssertionError(f"it ended early: {process.communicate()}")
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def checkpoints(results: Path) -> list[Path]:
    return sorted(results.glob("checkpoints/*/*.safetensors"))


def number_of(checkpoint: Path) -> int:
    return int(checkpoint.name.split("-")[0])


def planned(*options: str) -> list[DistillationConfig]:
    return COMMAND.plan(options)


@functools.cache
def undisturbed(config: DistillationConfig) -> float:
    """The accuracy of a trial that nothing happened to."""
    row = runner.run(config, load_dataset(config.dataset)).row
    return float(row["test_accuracy_mean"])


def trial_processes(results: Path) -> list[int]:
    """The processes in which Ray runs trials of a store now."""
    return processes(results, b"ray::ImplicitFunc")


def processes(results: Path, beginning: bytes = b"") -> list[int]:
    """What commands on a store have started, by how its command line begins."""
    found = []
    mark = f"TEST_RESULTS={results}".encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            is_wanted = path.read_bytes().startswith(beginning)
            if is_wanted and mark in (path.parent / "environ").read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue  # it has just ended
    return found


@pytest.mark.ray
def test_sweep_runs_with_a_long_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Slurm's; Ray puts sockets there, whose paths may have 107 bytes."""
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))

    result = run(tmp_path / "results", *SMOKE, "--limit", "1")

    assert result.returncode == 0, result.stderr
    assert "1 of 1 trials finished: 1 ok" in result.stdout
    assert not list(folder.glob("ray*")), "torch may leave a folder of its own there"


@pytest.mark.ray
def test_sweep_on_a_terminal_of_80_columns_wraps_no_line(tmp_path: Path) -> None:
    main_end, terminal_end = pty.openpty()
    fcntl.ioctl(terminal_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    results = tmp_path / "r"
    variables = environment(results) | {"TERM": "xterm", "NO_COLOR": "1"}
    del variables["COLUMNS"]
    with subprocess.Popen(
        command(results, *SMOKE),
        env=variables,
        cwd=tmp_path,
        stdout=terminal_end,
        stderr=terminal_end,
    ) as process:
        os.close(terminal_end)
        written = b"".join(iter(lambda: read_terminal(main_end), b"")).decode()
    os.close(main_end)

    assert process.returncode == 0, written
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", written)
    lines = [part for line in text.split("\n") for part in line.rstrip("\r").split("\r")]
    shown = [line.rstrip() for line in lines if str(tmp_path) not in line]
    assert max(map(len, shown)) <= 80
    assert any(line.startswith("smoke ━") and "2 running" in line for line in shown)
    assert "2 of 2 trials finished: 2 ok" in shown
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l"), "the cursor is shown again"


def read_terminal(main_end: int) -> bytes:
    """Returns what was written to a pseudo-terminal; nothing once its other end is closed."""
    try:
        return os.read(main_end, 65_536)
    except OSError:
        return b""


@pytest.mark.ray
def test_submitting_again_runs_what_is_missing(tmp_path: Path) -> None:
    results = tmp_path / "results"
    first = run(results, *SMOKE, "--limit", "1", "--track", "tensorboard", "--name", "mine")
    assert first.returncode == 0, first.stderr
    assert "1 of 1 trials finished: 1 ok" in first.stdout
    (row_file,) = (results / "trials").iterdir()
    before = row_file.stat()
    (noted,) = Store(results).submissions()
    (config,) = planned(*SMOKE, "--limit", "1")
    assert noted["name"] == "mine"
    assert noted["trial_ids"] == [config.trial_id]
    assert noted["plan"] == json.loads(json.dumps([{"kind": "distillation", **config.to_dict()}]))
    assert noted["command"][:2] == ["--results", str(results)]

    # What a killed writer on another file system may leave behind:
    (half,) = (config for config in planned(*SMOKE) if config.trial_id != row_file.stem)
    (results / "trials" / f"{half.trial_id}.parquet").write_bytes(row_file.read_bytes()[:1000])

    second = run(results, *SMOKE)
    assert second.returncode == 0, second.stderr
    assert f"{half.trial_id}.parquet" in second.stderr, "the damaged file is named"
    assert "2 of 2 trials finished: 2 ok" in second.stdout
    assert f"pd.read_parquet('{results}/trials')" in second.stdout
    assert f"next: uv run python -m analysis {results}" in second.stdout
    assert (row_file.stat().st_mtime_ns, row_file.stat().st_ino) == (
        before.st_mtime_ns,
        before.st_ino,
    ), "what is finished is not touched"

    table = pd.read_parquet(results / "trials")
    assert sorted(table["trial_id"]) == sorted(config.trial_id for config in planned(*SMOKE))
    assert set(table["test_accuracy_mean"]) == {undisturbed(config) for config in planned(*SMOKE)}
    assert list((results / "tensorboard" / row_file.stem).iterdir())

    third = run(results, *SMOKE)
    assert third.returncode == 0
    status = StatusReader(Store(results)).read()
    assert (status.planned, status.finished, status.left.n_trials) == (2, {"ok": 2}, 0)
    assert without_cpu_time(third.stdout) == without_cpu_time(second.stdout)
    assert third.stderr == "", "nothing is started for nothing"


def folders_of(pid: int) -> list[Path]:
    """The temporary folders of a driver."""
    found = []
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if json.loads((folder / OWNER).read_text())["pid"] == pid:
                found.append(folder)
    return found


@pytest.mark.parametrize("what", ["driver", pytest.param("trial", marks=pytest.mark.slow)])
@pytest.mark.ray
def test_kill_9_loses_only_work_since_the_last_checkpoint(tmp_path: Path, what: str) -> None:
    results = tmp_path / "results"
    (config,) = planned(*LONG)
    process = start(results, *LONG)
    wait_for(lambda: [path for path in checkpoints(results) if number_of(path) >= 3], process)
    if what == "trial":
        (victim,) = trial_processes(results)
        os.kill(victim, signal.SIGKILL)
        output, errors = process.communicate(timeout=LIMIT_SECONDS)
        assert process.returncode == 0, errors
        assert "its process was lost; it resumes from its last checkpoint" in errors
    else:
        os.killpg(process.pid, signal.SIGSTOP)  # so that the checkpoints can be looked at in peace
        os.kill(process.pid, signal.SIGKILL)
        os.killpg(process.pid, signal.SIGCONT)
        process.communicate()
        wait_for(lambda: not trial_processes(results))
        assert not list((results / "trials").iterdir())
        n_saved = number_of(checkpoints(results)[-1])
        assert n_saved >= 3
        left = folders_of(process.pid)
        assert left, "nobody was there to remove them"
        again = run(results, *LONG)
        assert again.returncode == 0, again.stderr
        output = again.stdout
        assert not [folder for folder in left if folder.exists()]
        wait_for(lambda: not processes(results))

    assert "1 of 1 trials finished: 1 ok" in output
    (row,) = load_results(results).to_dict("records")
    assert row["n_resumes"] == 1
    assert row["test_accuracy_mean"] == undisturbed(config)
    assert not checkpoints(results)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, 143, id="SIGTERM", marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 129, id="SIGHUP", marks=pytest.mark.slow),
    ],
)
@pytest.mark.ray
def test_interruption_is_graceful_and_prints_how_to_resume(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    results = tmp_path / "results"
    (config,) = planned(*LONG)
    process = start(results, *LONG)
    wait_for(lambda: checkpoints(results), process)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # a terminal sends it to the whole group,
        process.send_signal(number)  # and `uv run` once more to its child
    else:
        process.send_signal(number)
    output, errors = process.communicate(timeout=LIMIT_SECONDS)

    assert process.returncode == code, errors
    assert "interrupted with 1 trials to go; continue: uv run" in errors
    assert "Traceback" not in errors
    assert "0 of 1 trials finished" in output
    wait_for(lambda: not trial_processes(results))

    # A checkpoint that was damaged meanwhile: the one before it is used.
    newest = checkpoints(results)[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    continued = re.search(r"continue: (.*)", errors)
    assert continued is not None
    assert continued[1].split()[2:] == ["sweeps/full_grid.py", "--results", str(results), *LONG]
    again = run(results, *LONG)
    assert again.returncode == 0, again.stderr
    assert f"checkpoint {newest.parent}" in again.stderr
    assert "is corrupt" in again.stderr
    (row,) = load_results(results).to_dict("records")
    assert row["test_accuracy_mean"] == undisturbed(config)


@pytest.mark.slow
@pytest.mark.ray
def test_a_driver_that_is_stopped_and_continued_goes_on(tmp_path: Path) -> None:
    """As by Ctrl-Z for half a minute: nothing is lost, resumed or reported."""
    results = tmp_path / "results"
    (config,) = planned(*LONG)
    process = start(results, *LONG)
    wait_for(lambda: checkpoints(results), process)
    process.send_signal(signal.SIGSTOP)
    time.sleep(30)
    process.send_signal(signal.SIGCONT)
    output, errors = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 0, errors
    assert "1 of 1 trials finished: 1 ok" in output
    (row,) = load_results(results).to_dict("records")
    assert row["n_resumes"] == 0
    assert row["test_accuracy_mean"] == undisturbed(config)


@pytest.mark.slow
@pytest.mark.ray
def test_two_drivers_on_the_same_results_are_safe(tmp_path: Path) -> None:
    results = tmp_path / "results"
    drivers = [start(results, *SMOKE) for _ in range(2)]
    for driver in drivers:
        output, errors = driver.communicate(timeout=LIMIT_SECONDS)
        assert driver.returncode == 0, errors
        assert "2 of 2 trials finished: 2 ok" in output
    table = load_results(results)
    assert len(table) == 2
    assert set(table["test_accuracy_mean"]) == {undisturbed(config) for config in planned(*SMOKE)}
    assert not checkpoints(results)
    assert len(Store(results).submissions()) == 2


@pytest.mark.ray
def test_failed_trials_are_reported_and_retried_when_asked(tmp_path: Path) -> None:
    """A folder of images in which some cannot be read, and later can."""
    results = tmp_path / "results"
    options = (*SMOKE, "--limit", "1")
    (config,) = planned(*options)
    store = Store(results)
    store.create()
    record = {"trial_id": config.trial_id, "message": "no luck", "cause": "error", "attempt": 1}
    store.put_failure(config.trial_id, record)

    held_back = run(results, *options)
    assert held_back.returncode == 1
    assert "0 of 1 trials finished" in held_back.stdout
    assert "1 failed; try them again: uv run" in held_back.stderr
    assert "--retry-failed" in held_back.stderr
    assert "1 × no luck" in held_back.stderr

    retried = run(results, *options, "--retry-failed", "--json")
    assert retried.returncode == 0, retried.stderr
    assert json.loads(retried.stdout)["finished"] == {"ok": 1}, "Ray printed nothing beside it"
    (row,) = load_results(results).to_dict("records")
    assert row["attempt"] == 2
    assert store.failures() == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "quickstrat"], "unknown preset 'quickstrat'; did you mean 'quickstart'"),
        (["--protocol", "sond"], "unknown protocol 'sond'; did you mean 'sound'"),
        (["--only", "method=kmean"], "did you mean 'kmeans'"),
        (["--gpu-per-trial", "1"], "did you mean '--gpus-per-trial'"),
        (["--set", "ipc=0"], "ipc must be at least 1, got 0"),
        (["--track", "tensorbord"], "unknown tracker 'tensorbord'; did you mean 'tensorboard'"),
        (["--address", "127.0.0.1:1"], "no connection to the Ray cluster at 127.0.0.1:1"),
    ],
)
def test_bad_usage_is_one_line_and_code_2(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    assert COMMAND.main(options) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert not list(tmp_path.glob("results/trials/*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gpus-per-trial", "64"], "a trial asks for 64 GPUs, this machine has "),
        (["--dataset", "parquet:nowhere.parquet"], "nowhere.parquet"),
    ],
)
@pytest.mark.ray
def test_what_only_the_cluster_can_tell_is_one_line_and_code_2(
    tmp_path: Path, options: list[str], message: str
) -> None:
    result = run(tmp_path / "results", *options)

    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in result.stderr
    assert not list((tmp_path / "results").glob("trials/*"))


def test_a_dry_run_touches_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results"

    assert COMMAND.main(["--results", str(results), "--preset", "paper", "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("84 trials: cifar10, protocol published, ipc 1 and 10, seeds 0–2\n")
    assert "time       unknown: no trial like these has been measured" in output
    assert not results.exists()


@pytest.mark.slow
@pytest.mark.ray
def test_a_calibrated_dry_run_prices_the_plan_and_touches_nothing(tmp_path: Path) -> None:
    results = tmp_path / "results"
    dry = run(results, *SMOKE, "--dry-run", "--calibrate")

    assert dry.returncode == 0, dry.stderr
    assert "this machine: " in dry.stdout
    assert re.search(r"^time +about \d+ s; one after the other \d+ s$", dry.stdout, re.MULTILINE)
    assert not results.exists()


def test_what_a_killed_driver_left_is_compacted_by_the_next(tmp_path: Path) -> None:
    """Before it compares: thousands of files would be read again at every start. Not dry ones."""
    results = tmp_path / "results"
    store = Store(results)
    store.create()
    others = [DistillationConfig(seed=seed) for seed in range(COMPACT_FROM)]
    for config in [*planned("--preset", "smoke"), *others]:
        path = results / "trials" / f"{config.trial_id}.parquet"
        path.write_bytes(row_content(row_of(config)))
        os.utime(path, (0, 0))
    arguments = ["--results", str(results), "--preset", "smoke"]

    assert COMMAND.main([*arguments, "--dry-run"]) == 0
    assert not list((results / "compacted").iterdir())
    assert COMMAND.main(arguments) == 0
    assert len(list((results / "compacted").iterdir())) == 1
    assert len(store.statuses()) == COMPACT_FROM + 2


@pytest.mark.ray
def test_unwritable_results_are_refused_before_anything_starts(tmp_path: Path) -> None:
    taken = tmp_path / "results"
    taken.mkdir()
    (taken / "thesis.txt").write_text("precious")
    result = run(taken, *SMOKE)

    assert result.returncode == 2
    assert "error: " in result.stderr
    assert [path.name for path in taken.iterdir()] == ["thesis.txt"]
    shutil.rmtree(taken)
