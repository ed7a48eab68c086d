"""The benchmarks compare things that are equal, and run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "benchmarks"


def run(script: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, str(FOLDER / script), "--device", "cpu", *options],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("batching", ["class", "all"])
def test_the_inner_loop_ends_with_the_reference_s_images(batching: str) -> None:
    out = run(
        "inner_loop.py",
        *("--ipc", "1", "--width", "8", "--classes", "3", "--representatives", "16"),
        *("--repeats", "1", "--batching", batching),
    )
    difference = float(out.split()[-1])

    assert 0 <= difference < 1e-5


@pytest.mark.slow
def test_the_whole_trial_is_compared() -> None:
    out = run(
        "trial.py",
        *("--ipc", "1", "--width", "8", "--networks", "1", "--repeats", "1"),
        *("--loops", "1", "--epochs", "1", "--images", "2000"),
    )

    assert "trial of 1 inner loops" in out
