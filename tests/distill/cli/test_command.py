"""The command `python -m distill`: files, summary, resuming, errors."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from distill.__main__ import main
from distill.config.distillation import DistillationConfig
from distill.datasets import load_dataset
from distill.errors import SlowerWarning
from distill.trials.distilled_files import load_distilled

pytestmark = pytest.mark.lengthy

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
        "README.md",
        "config.json",
        "curve.csv",
        "decoded.parquet",
        "distilled.parquet",
        "distilled.png",
        "result.json",
        "training_recipe.py",
    ]
    assert f"{100 * row['test_accuracy_mean']:.1f}" in printed
    assert f"{100 * row['random_images_accuracy_mean']:.1f}" in printed
    assert "chance               10.0 %" in printed
    assert str(out) in printed
    curve = list(csv.DictReader((out / "curve.csv").read_text().splitlines()))
    assert [point["outer"] for point in curve] == ["0", "1", "2"]
    assert curve[0]["matching_loss"] == "", "a missing number is empty"
    config = json.loads((out / "config.json").read_text())
    assert (config["kind"], config["clusterer"]) == ("distillation", "kmeans")
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


def test_a_finished_run_is_not_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "run")
    first = capsys.readouterr().out
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()}

    assert run(tmp_path / "run") == 0
    second = capsys.readouterr().out

    assert second == first + "already finished; --overwrite starts again\n"
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


def test_notices_are_printed_once_and_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = load_digits()
    for index, (pixels, label) in enumerate(zip(digits.images[:200], digits.target, strict=False)):
        folder = tmp_path / "photos" / ("Train" if index % 3 else "TEST") / f"digit {label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 255 / 16).astype("uint8")).save(folder / f"{index:03}.png")
    (folder / "list.txt").write_text("a list")

    options = ["--dataset", f"folder:{tmp_path}/photos", "--no-baseline"]
    assert run(tmp_path / "run", *options) == 0

    printed = capsys.readouterr().err
    row = json.loads((tmp_path / "run" / "result.json").read_text())
    assert row["notices"][0] == "taken for training: Train; for test: TEST"
    assert row["notices"][1].startswith("1 of 201 files left out (.txt)")
    for notice in row["notices"]:
        assert printed.count(notice) == 1


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
        ("--eps 1", "eps does not apply to clusterer 'kmeans', only to clusterer dbscan"),
        ("--dataset digit", "unknown dataset 'digit'; did you mean 'digits'?"),
        ("--dataset parquet:/nowhere.parquet", "/nowhere.parquet"),
        ("--dataset folder:/nowhere", "/nowhere"),
        ("--n-representatives 500", "n_representatives must be at most"),
        ("--ipc 200", "asks for 200 initial images per class"),
        ("--device tpu", "device must be auto, cpu, cuda or cuda:N, got 'tpu'"),
        ("--device cuda:99", "device cuda:99 does not exist: torch sees"),
        ("--config /nowhere.json", "config file /nowhere.json cannot be read"),
        ("--augment color_crops", "crops"),
        ("--eval-split val", "val_fraction is 0"),
        ("--threads 0", "threads must be at least 1, got 0"),
        ("--threads two", "--threads must be a whole number, got 'two'"),
        ("--checkpoint-seconds -1", "checkpoint-seconds must be at least 0"),
        ("--eval-networks resnet10", "instance norm needs images larger than 8×8"),
        ("--classes 3", "classes must name at least two, each once, got '3'"),
        ("--classes 3,twelve", "unknown class 'twelve'"),
        ("--kind selections", "unknown kind of trial 'selections'; did you mean 'selection'?"),
        ("--kind", "argument --kind: expected one argument; see --help"),
        ("--kind selection --factor 2", "unknown option '--factor'"),
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


def test_folders_with_other_files_are_left_alone(
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


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"status": "ok"}', "[" * 100_000])
def test_a_damaged_record_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    """Only the record's folder is looked at: the trial would run else."""
    record = tmp_path / "run" / "result.json"
    record.parent.mkdir()
    config = DistillationConfig(dataset="digits").resolve()
    about = {"kind": config.kind, **config.to_dict()}
    (record.parent / "config.json").write_text(json.dumps(about))
    record.write_text(content)

    assert main(["--dataset", "digits", "--out", str(record.parent)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {record} is damaged (")
    assert line.endswith("--overwrite starts the trial again, or name another folder")


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


def test_a_full_disk_is_one_line_and_the_run_resumes(tmp_path: Path) -> None:
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


def test_help_of_a_selection_says_what_each_component_has(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["--help", "--kind", "selection"])
    text = " ".join(capsys.readouterr().out.split())

    assert leaving.value.code == 0
    for part in (
        "--n-clusters N cluster_grid: clusters of all images together; nearest_center: clusters of "
        "each class; default: one for each image wanted (default: cluster_grid: 2)",
        "(default: cluster_grid: pixels; herding: features; k_center: features; ",
        "neighbourhood radius in feature units (default: dbscan_published: 15.0)",
        "(default: cluster_grid: 2; pca: 32)",
        "--equal-steps {true,false} make every epoch",
        "(default: false)",
        "options of the embedding:",
        "Example: python -m distill --kind selection",
    ):
        assert part in text
    assert "--factor" not in text


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["ctrl-c", "sigterm", "hangup"],
)
def test_a_signalled_run_resumes_with_the_same_command(
    tmp_path: Path, number: int, code: int
) -> None:
    """The process is signalled in the middle; the resumed run ends as an uninterrupted one."""
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
    assert "the same command resumes" in error
    assert "Traceback" not in error
    assert list((tmp_path / "run").glob("checkpoints/*"))
    assert not (tmp_path / "run" / "result.json").exists()
    for folder in ("run", "whole"):
        subprocess.run([*command, "--out", str(tmp_path / folder)], check=True, env=environment)
    resumed, whole = (load_distilled(tmp_path / f / "distilled.parquet") for f in ("run", "whole"))
    assert torch.equal(resumed.images, whole.images)
    rows = [json.loads((tmp_path / f / "result.json").read_text()) for f in ("run", "whole")]
    assert rows[0]["network_scores"] == rows[1]["network_scores"]
    assert not list((tmp_path / "run").glob("checkpoints"))


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("[1, 2]", "", "must hold an object with the fields of a configuration, got list"),
        ("{", "", "cannot be read: "),
        ("[" * 100_000, "", "cannot be read: "),
        ('{"kind": "selektion"}', "", "unknown kind of trial 'selektion'; did you mean"),
        ('{"kind": ["selection"]}', "", "unknown kind of trial \"['selection']\""),
        ('{"kind": "selection"}', "--kind distillation", "is of kind 'selection', not 'distil"),
        ('{"icp": 1}', "", "unknown option 'icp'; did you mean 'ipc'?"),
        ('{"ipc": true}', "", "ipc must be of type int, got True"),
        ('{"lr_img": 1e999}', "", "lr_img must be finite, got inf"),
        ('{"clusterer": null}', "", "clusterer must be of type str, got None"),
        ('{"clusterer": 5}', "", "clusterer must be of type str, got 5"),
        ('{"eval_networks": [["a"]]}', "", "unknown network \"['a']\""),
        (
            '{"kind": "selection", "selector": "cluster_grid", "clusterer": 5}',
            "",
            "unknown clusterer 5 (known: kmeans, ",
        ),
        (
            '{"clusterer": "dbscan", "eps_quantile": 0.5, "min_samples": 2}',
            "--clusterer kmeans",
            "gives eps_quantile, min_samples, which do not apply (eps_quantile does not apply to "
            "clusterer 'kmeans', only to clusterer dbscan); to leave them out: "
            "--eps-quantile none --min-samples none",
        ),
        (
            '{"clusterer": "dbscan"}',
            "--linkage ward",
            "linkage does not apply to clusterer 'dbscan', only to clusterer agglomerative; leave",
        ),
    ],
)
def test_a_bad_config_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, arguments: str, message: str
) -> None:
    file, out = tmp_path / "config.json", tmp_path / "run"
    file.write_text(content)

    assert main(["--config", str(file), "--out", str(out), *arguments.split()]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert not out.exists()


def test_none_leaves_out_an_option_of_the_config_file(tmp_path: Path) -> None:
    """The clusterer of a finished run is changed, its options are left out."""
    assert run(tmp_path / "first", "--clusterer", "dbscan", "--eps-quantile", "0.9") == 0
    change = "--clusterer kmeans --eps-quantile none --min-samples none".split()
    file = str(tmp_path / "first" / "config.json")

    assert main(["--config", file, "--out", str(tmp_path / "second"), *change]) == 0
    row = json.loads((tmp_path / "second" / "result.json").read_text())
    assert (row["clusterer"], row["eps_quantile"], row["min_samples"]) == ("kmeans", None, None)


def test_classes_restrict_a_distillation(tmp_path: Path) -> None:
    assert run(tmp_path / "run", "--classes", "8,3", "--no-baseline") == 0
    stored = load_distilled(tmp_path / "run" / "distilled.parquet")

    assert stored.class_names == ("3", "8")
    assert stored.images.shape == (2, 1, 8, 8)


SELECTION = "--kind selection --classes 3,8 --epochs 2".split()


def select(folder: Path, *more: str) -> int:
    return main([*SELECTION, "--out", str(folder), *more])


def test_a_selection_writes_its_files_and_a_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"

    assert select(out, "--selector", "cluster_grid", "--val-fraction", "0.1") == 0
    printed = capsys.readouterr()
    row = json.loads((out / "result.json").read_text())
    config = json.loads((out / "config.json").read_text())

    assert sorted(path.name for path in out.iterdir()) == [
        "config.json",
        "curve.csv",
        "result.json",
        "samples.parquet",
        "samples.png",
        "selections.parquet",
    ]
    assert printed.out.splitlines()[0] == "digits: cluster_grid, sound protocol, seed 0"
    assert f"{100 * row['test_accuracy_mean']:.1f} %   (1 networks, last epoch)" in printed.out
    assert "chance               50.0 %" in printed.out
    assert "random real images" not in printed.out + printed.err, "a selection has no baseline"
    assert str(out) in printed.out
    assert (config["kind"], config["selector"], config["pca_dim"]) == (
        "selection",
        "cluster_grid",
        2,
    )
    curve = list(csv.DictReader((out / "curve.csv").read_text().splitlines()))
    assert [(point["epoch"], point["val_accuracy"] != "") for point in curve] == [
        ("1", True),
        ("2", True),
    ]
    selections = pq.read_table(out / "selections.parquet")
    assert sum(selections["times_selected"].to_pylist()) == row["n_selected"]
    assert json.loads(selections.schema.metadata[b"distill"])["class_names"] == ["3", "8"]
    assert load_distilled(out / "samples.parquet").class_names == ("3", "8")
    with Image.open(out / "samples.png") as picture:
        assert min(picture.size) > 50


def test_a_finished_selection_is_not_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    select(tmp_path / "run", "--ipc", "3")
    first = capsys.readouterr().out
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()}

    assert first.startswith("digits: random, 3 images per class, sound protocol, seed 0\n")
    assert select(tmp_path / "run", "--ipc", "3") == 0
    assert capsys.readouterr().out == first + "already finished; --overwrite starts again\n"
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()} == before


def test_the_folder_of_another_kind_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "run")
    capsys.readouterr()

    assert select(tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert "belongs to another configuration (kind distillation there, selection here; " in error
    assert select(tmp_path / "run", "--overwrite") == 0
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert "selections.parquet" in names
    assert (
        not {"distilled.parquet", "distilled.png", "decoded.parquet", "training_recipe.py"} & names
    )


def test_the_config_file_of_a_selection_needs_no_kind(tmp_path: Path) -> None:
    assert select(tmp_path / "first", "--selector", "herding", "--feature-epochs", "1") == 0
    file = str(tmp_path / "first" / "config.json")

    assert main(["--config", file, "--out", str(tmp_path / "again")]) == 0
    rows = [json.loads((tmp_path / n / "result.json").read_text()) for n in ("first", "again")]
    assert rows[0]["trial_id"] == rows[1]["trial_id"]
    assert rows[0]["test_loss_mean"] == rows[1]["test_loss_mean"]


def test_a_signalled_selection_resumes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "distill", *SELECTION[:4], "--epochs", "60"]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "run"), "--checkpoint-seconds", "0"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not list((tmp_path / "run").glob("checkpoints/0000000[4-9]-*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=120)

    assert process.returncode == 143, error
    assert "stopped in epoch " in error
    assert "the same command resumes" in error
    assert not (tmp_path / "run" / "result.json").exists()
    for folder in ("run", "whole"):
        subprocess.run([*command, "--out", str(tmp_path / folder)], check=True)
    rows = [json.loads((tmp_path / f / "result.json").read_text()) for f in ("run", "whole")]
    assert [row["n_resumes"] for row in rows] == [1, 0]
    assert rows[0]["network_scores"] == rows[1]["network_scores"]
    assert not list((tmp_path / "run").glob("checkpoints"))


@pytest.mark.parametrize(
    ("option", "recipe"),
    [
        ("--precision bfloat16", "classifier"),
        ("--graphs on", "classifier"),
        ("--batching all", "classifier"),
        ("--batching class", "distillation"),
    ],
)
def test_execution_options_a_selection_cannot_use_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, recipe: str
) -> None:
    arguments = f"--kind selection --recipe {recipe} {option}".split()
    if recipe == "distillation":
        arguments += ["--network", "convnet"]

    assert main([*arguments, "--out", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {option} does not apply to a selection with selector ")
    assert f"recipe '{recipe}'" in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert not (tmp_path / "run").exists()


RECIPE = (
    "--kind selection --classes 3,8 --recipe distillation --network convnet --width 8 --depth 2 "
    "--ipc 3 --eval-epochs 5"
).split()


def test_precision_acts_on_the_distillation_recipe(tmp_path: Path) -> None:
    for name, more in {"plain": [], "rounded": ["--precision", "bfloat16"]}.items():
        assert main([*RECIPE, *more, "--out", str(tmp_path / name)]) == 0
    rows = [json.loads((tmp_path / n / "result.json").read_text()) for n in ("plain", "rounded")]

    assert [row["precision"] for row in rows] == ["float32", "bfloat16"]
    assert rows[0]["test_loss_mean"] != rows[1]["test_loss_mean"]
    assert rows[0]["test_loss_mean"] == pytest.approx(rows[1]["test_loss_mean"], rel=0.1)
    assert rows[0]["trial_id"] == rows[1]["trial_id"], "execution is no part of the identity"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU records graphs without a warning")
def test_graphs_act_on_the_distillation_recipe(tmp_path: Path) -> None:
    with pytest.warns(SlowerWarning, match="there are no CUDA graphs on cpu"):
        assert main([*RECIPE, "--graphs", "on", "--out", str(tmp_path / "run")]) == 0
