"""The benchmarks compare things that are equal, and run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "benchmarks"


def run(script: str, *options: str, has_device: bool = True) -> str:
    device = ["--device", "cpu"] if has_device else []
    done = subprocess.run(
        [sys.executable, str(FOLDER / script), *device, *options],
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


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_classes() -> None:
    """From 200 classes on, a pass takes the same number of them."""
    lines = run("many_classes.py", "--classes", "200", "400", "--width", "64").splitlines()[1:]
    (few, at_once, few_mib, _), (many, at_once_of_many, many_mib, _) = (
        [float(word) for word in line.split()] for line in lines
    )
    assert (few, many) == (200, 400)
    assert at_once == at_once_of_many < 200
    assert many_mib < 1.5 * few_mib


@pytest.mark.slow
@pytest.mark.parametrize(
    ("clusterer", "n_measured", "n_embedded"),
    [("kmeans", 2, 0), ("random", 1, 1)],  # of the start and of the loop; of the last one
)
def test_the_share_of_the_measures_counts_embeddings_for_them_alone(
    clusterer: str, n_measured: int, n_embedded: int
) -> None:
    options = ("--clusterer", clusterer, "--loops", "2", "--outer", "1", "--ipc", "1")
    out = run("quality.py", *options)
    words = out.splitlines()[1].replace(",", "").replace(";", "").split()
    seconds, embedding, total = float(words[4]), float(words[-3]), float(words[-1])

    assert f"measures of {n_measured} clusterings" in out
    assert f"{n_embedded} embeddings for them alone" in out
    assert (embedding > 0) == (n_embedded > 0)
    share = float(out.split("share ")[1].split()[0])
    assert share == pytest.approx(100 * (seconds + embedding) / total, abs=1.5)  # rounded seconds


@pytest.mark.slow
def test_the_parts_of_small_work_explain_a_step() -> None:
    out = run("small_work.py", "--side", "8", "16", "--width", "8", "--repeats", "3")
    lines = [line.split() for line in out.splitlines()[2:]]
    assert [line[:2] for line in lines] == [["8", "8"], ["16", "8"]]
    for _, _, step, least, share, of_convolutions, *parts in lines:
        assert float(share) == pytest.approx(float(least) / float(step), abs=0.02)  # rounded
        assert 0 < float(share) < float(of_convolutions) < 1.5
        assert sum(map(float, parts)) == pytest.approx(100, abs=4)
        assert min(map(float, parts[:2])) > 0


@pytest.mark.slow
def test_other_ways_to_convolve_are_timed() -> None:
    options = ("--convolutions", "--side", "8", "--width", "8", "16", "--repeats", "3")
    head, *lines = run("small_work.py", *options).splitlines()[1:]

    assert head.split() == ["side", "width", "ms", "unfolded", "native", "last", "five"]
    assert [line.split()[:2] for line in lines] == [["8", "8"], ["8", "16"]]
    assert all(0 < float(number) < 100 for line in lines for number in line.split()[2:])


@pytest.mark.slow
def test_the_fixed_costs_of_a_process_are_printed() -> None:
    out = run("fixed_costs.py", "--dataset", "digits", "--width", "8", has_device=False)
    lines = out.splitlines()
    seconds = [float(line.split()[-1]) for line in lines]

    assert [line.split()[0] for line in lines[-2:]] == ["first", "second"]
    assert min(seconds[1:]) > 0


@pytest.mark.slow
def test_seconds_to_an_accuracy_are_those_of_one_clock(tmp_path: Path) -> None:
    """What is there is not run again, but for another clock."""
    short = ("n_outer=4", "n_inner=2", "cluster_interval=2", "n_net_batches=1", "eval_epochs=2")
    changes = [word for change in short for word in ("--set", change)]
    options = ("--seeds", "2", "--ipc", "10", "--out", str(tmp_path), *changes)
    first = run("time_to_accuracy.py", *options, "--clock", "cpu")
    again = run("time_to_accuracy.py", *options, "--clock", "cpu")
    other = run("time_to_accuracy.py", *options)

    assert first.count("% after") == other.count("% after") == 8
    assert again.count("% after") == 0
    assert "\nCPU seconds of one thread" in again
    assert "\nseconds of one thread" in other
    assert list(tmp_path.glob("*-time-*.png"))
