"""`python -m distill`, as a user meets it."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from distill.__main__ import main
from distill.datasets import load_dataset
from distill.trials.distilled_files import load_distilled

TINY = (
    "--ipc 1 --factor 2 --width 8 --depth 2 --n-representatives 8 --n-outer 2 --n-inner 2 "
    "--n-net-batches 1 --eval-epochs 2 --eval-every 1 --n-eval 2"
).split()


def run(folder: Path, *more: str) -> int:
    return main([*TINY, "--out", str(folder), *more])


def test_a_run_writes_everything_and_prints_a_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "run"

    assert run(out) == 0
    printed = capsys.readouterr().out
    row = json.loads((out / "result.json").read_text())

    assert sorted(path.name for path in out.iterdir()) == [
        "config.json",
        "curve.csv",
        "decoded.parquet",
        "distilled.parquet",
        "distilled.png",
        "result.json",
    ]
    assert f"{100 * row['test_accuracy_mean']:.1f}" in printed
    assert f"{100 * row['random_images_accuracy_mean']:.1f}" in printed
    assert "chance               10.0 %" in printed
    assert str(out) in printed
    curve = list(csv.DictReader((out / "curve.csv").read_text().splitlines()))
    assert [point["outer"] for point in curve] == ["0", "1", "2"]
    assert curve[0]["matching_loss"] == "", "a missing number is empty"
    config = json.loads((out / "config.json").read_text())
    assert config["clusterer"] == "kmeans"
    assert config["lr_img"] is not None, "defaults are written out"


def test_the_files_load_again(tmp_path: Path) -> None:
    assert run(tmp_path / "run") == 0
    stored = load_distilled(tmp_path / "run" / "distilled.parquet")

    assert stored.images.shape == (10, 1, 8, 8)
    assert stored.labels.tolist() == list(range(10))
    assert stored.metadata["factor"] == "2"
    decoded = load_distilled(tmp_path / "run" / "decoded.parquet")
    assert decoded.images.shape == (40, 1, 8, 8)
    data = load_dataset(f"parquet:{tmp_path}/run/decoded.parquet", test_fraction=0.25)
    assert len(data.train_images) + len(data.test_images) == 40


def test_the_same_command_again_says_that_it_is_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "run")
    first = capsys.readouterr().out
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()}

    assert run(tmp_path / "run") == 0
    second = capsys.readouterr().out

    assert second == first + "already finished; --overwrite starts anew\n"
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()} == before


def test_overwrite_replaces_another_configuration(tmp_path: Path) -> None:
    run(tmp_path / "run")

    assert run(tmp_path / "run", "--seed", "1", "--overwrite", "--no-baseline") == 0
    row = json.loads((tmp_path / "run" / "result.json").read_text())
    assert row["seed"] == 1
    assert row["random_images_accuracy_mean"] is None


def test_a_config_file_repeats_a_run_and_options_change_it(tmp_path: Path) -> None:
    run(tmp_path / "first", "--seed", "4")
    again = main(
        ["--config", str(tmp_path / "first" / "config.json"), "--out", str(tmp_path / "again")]
    )
    rows = [json.loads((tmp_path / n / "result.json").read_text()) for n in ("first", "again")]

    assert again == 0
    assert rows[0]["trial_id"] == rows[1]["trial_id"]
    assert rows[0]["test_accuracy_mean"] == rows[1]["test_accuracy_mean"]


def test_broken_images_are_left_out_counted_and_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = load_digits()
    for index, (pixels, label) in enumerate(zip(digits.images[:200], digits.target, strict=False)):
        folder = tmp_path / "photos" / f"digit {label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 255 / 16).astype("uint8")).save(folder / f"{index:03}.png")
    broken = tmp_path / "photos" / "digit 3" / "000.png"
    broken.write_bytes(b"not a picture")
    options = ["--dataset", f"folder:{tmp_path}/photos", "--no-baseline"]

    assert run(tmp_path / "run", *options) == 2
    assert str(broken) in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert run(tmp_path / "run", *options, "--on-corrupt", "skip") == 0
    assert "left out 1 images that cannot be decoded" in capsys.readouterr().err
    row = json.loads((tmp_path / "run" / "result.json").read_text())
    assert row["n_corrupt"] == 1
    assert str(broken) in row["corrupt"][0]


def test_a_trial_without_a_result_exits_with_1_and_a_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "run", "--clusterer", "dbscan", "--eps", "1e-6") == 1

    assert "infeasible: " in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "infeasible"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--ipc 0", "ipc must be at least 1, got 0"),
        ("--ipc ten", "ipc must be a whole number, got 'ten'"),
        ("--ipc", "argument --ipc: expected one argument; see --help"),
        ("--ipcc 1", "unknown option '--ipcc'; did you mean '--ipc'?"),
        ("digits", "unexpected argument 'digits'"),
        ("--clusterer kmeens", "unknown clusterer 'kmeens'; did you mean 'kmeans'?"),
        ("--clusterer dbscan --eps -1", "eps must be above 0, got -1.0"),
        ("--clusterer dbscan --min-samples 1", "min_samples must be at least 2 with eps_quantile"),
        ("--eps 1", "eps does not apply to clusterer 'kmeans', only to dbscan"),
        ("--dataset digit", "unknown dataset 'digit'; did you mean 'digits'?"),
        ("--dataset parquet:/nowhere.parquet", "/nowhere.parquet"),
        ("--dataset folder:/nowhere", "/nowhere"),
        ("--n-representatives 500", "n_representatives must be at most"),
        ("--ipc 200", "asks for 200 initial images per class"),
        ("--device tpu", "device must be auto, cpu, cuda or cuda:N, got 'tpu'"),
        ("--device cuda:99", "device cuda:99 is not there"),
        ("--config /nowhere.json", "config file /nowhere.json cannot be read"),
        ("--augment color_crops", "crops"),
        ("--eval-split val", "val_fraction is 0"),
        ("--threads 0", "threads must be at least 1, got 0"),
        ("--threads two", "argument --threads: invalid int value: 'two'"),
        ("--checkpoint-seconds -1", "checkpoint-seconds must be at least 0"),
        ("--eval-networks resnet10", "instance norm needs images larger than 8×8"),
    ],
)
def test_bad_input_is_one_line_and_touches_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    out = tmp_path / "run"

    assert main(["--out", str(out), *arguments.split()]) == 2
    printed = capsys.readouterr()

    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("error: ")
    assert printed.out == ""
    assert not out.exists()


def test_folders_of_others_are_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    (tmp_path / "file").write_text("mine")
    run(tmp_path / "run")
    capsys.readouterr()

    assert run(tmp_path / "full") == 2
    assert "holds other files" in capsys.readouterr().err
    assert run(tmp_path / "file") == 2
    assert "is a file; name a folder" in capsys.readouterr().err
    assert run(tmp_path / "run", "--seed", "3") == 2
    assert "belongs to another configuration (seed 0 there, 3 here)" in capsys.readouterr().err
    assert run(tmp_path / "full", "--overwrite") == 2
    assert "holds other files" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.tex"]
    (tmp_path / "full" / "config.json").write_text('["mine, too"]')
    assert run(tmp_path / "full", "--overwrite") == 2
    assert "is not a trial's configuration" in capsys.readouterr().err
    assert (tmp_path / "full" / "config.json").read_text() == '["mine, too"]'


def test_a_folder_that_cannot_be_made_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")

    assert run(tmp_path / "file" / "run") == 2
    printed = capsys.readouterr().err
    assert "cannot be written to" in printed
    assert printed.count("\n") == 1


def limited_run(kilobytes: int, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a tiny trial where no file may be larger: a disk that is full, for real."""
    command = [sys.executable, "-m", "distill", *TINY, "--out", str(folder)]
    limit = f'ulimit -f {kilobytes}; exec "$@"'
    return subprocess.run(
        ["bash", "-c", limit, "limited", *command, "--checkpoint-seconds", "0"],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_disk_that_is_full_is_one_line_and_the_run_goes_on_afterwards(tmp_path: Path) -> None:
    """The configuration and the curve fit, the images do not."""
    limited = limited_run(2, tmp_path / "run")

    assert limited.returncode == 2
    error = limited.stderr.splitlines()[-1]
    assert error.startswith("error: ")
    assert "cannot be written to: [Errno 27] File too large" in error
    assert "Traceback" not in limited.stderr
    written = {path.name for path in (tmp_path / "run").iterdir() if path.is_file()}
    assert written == {"config.json", "curve.csv"}
    assert not list((tmp_path / "run").glob("**/*.tmp*")), "no half-written file stays"
    assert run(tmp_path / "run") == 0


def test_checkpoints_that_do_not_fit_are_one_warning(tmp_path: Path) -> None:
    """The results fit, the checkpoints do not: hours of work are not thrown away for them."""
    limited = limited_run(8, tmp_path / "run")

    assert limited.returncode == 0
    warnings = [line for line in limited.stderr.splitlines() if "cannot be saved" in line]
    assert warnings == ["the state of the trial cannot be saved: [Errno 27] File too large"]
    assert (tmp_path / "run" / "result.json").exists()
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_help_names_every_option_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())

    assert leaving.value.code == 0
    for part in (
        "--clusterer NAME",
        "--linkage {ward,complete,average,single}",
        "(default: 128; digits: 64)",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"]
)
def test_interrupted_for_real_the_same_command_goes_on(
    tmp_path: Path, number: int, code: int
) -> None:
    """The process is signalled in the middle; the second run ends where a third, whole one does."""
    command = [sys.executable, "-m", "distill", *TINY, "--n-outer", "30", "--eval-every", "10"]
    environment = os.environ | {"PYTHONWARNINGS": "error"}
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "run"), "--checkpoint-seconds", "0"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    deadline = time.monotonic() + 300
    while not list((tmp_path / "run").glob("checkpoints/0000000[4-9]-*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    _, error = process.communicate(timeout=120)

    assert process.returncode == code, error
    assert "the same command goes on from there" in error
    assert "Traceback" not in error
    assert list((tmp_path / "run").glob("checkpoints/*"))
    assert not (tmp_path / "run" / "result.json").exists()
    for folder in ("run", "whole"):
        subprocess.run([*command, "--out", str(tmp_path / folder)], check=True, env=environment)
    ours, whole = (load_distilled(tmp_path / f / "distilled.parquet") for f in ("run", "whole"))
    assert torch.equal(ours.images, whole.images)
    rows = [json.loads((tmp_path / f / "result.json").read_text()) for f in ("run", "whole")]
    assert rows[0]["network_scores"] == rows[1]["network_scores"]
    assert not list((tmp_path / "run").glob("checkpoints"))
