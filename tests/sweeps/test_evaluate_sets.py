"""The command that judges sets: its plan, its bad usage, and a run in a process of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from distill.datasets import ImageData
from distill.trials.distilled_files import save_distilled
from sweeps.evaluate_sets import COMMAND
from sweeps.store.store import load_results
from tests.paths import ROOT
from tests.sweeps.cluster.patience import TEST_SECONDS
from tests.sweeps.test_full_grid import environment

pytestmark = pytest.mark.timeout(TEST_SECONDS)

SCRIPT = str(ROOT / "sweeps" / "evaluate_sets.py")


@pytest.fixture
def files(digits: ImageData, tmp_path: Path) -> list[str]:
    """Sets of one and of two real images of each digit."""
    paths = []
    for n in (1, 2):
        rows = torch.cat([indices[:n] for indices in digits.class_indices])
        path = tmp_path / f"set{n}.pt"
        torch.save([digits.train_images[rows], digits.train_labels[rows]], path)
        paths.append(str(path))
    return paths


def test_random_images_stand_beside_every_size(files: list[str]) -> None:
    plan = COMMAND.plan([*files, "--beside", "herding,all", "--seeds", "1"])

    assert [(Path(c.set).name, c["ipc"]) for c in plan] == [
        ("random", 1),
        ("herding", 1),
        ("all", None),
        ("random", 2),
        ("herding", 2),
        ("set1.pt", 1),
        ("set2.pt", 2),
    ]
    assert {c.dataset for c in plan} == {"digits"}


def test_plan_crosses_labels_networks_and_augmentations(files: list[str]) -> None:
    plan = COMMAND.plan(
        [
            *(files[0], "--on", "mnist", "--labels", "hard,teacher", "--seeds", "3"),
            *("--networks", "convnet,resnet10", "--augmentations", "color_crop,none"),
        ]
    )

    assert len(plan) == 3 * 2 * 2 * 2 * 2
    assert {c.dataset for c in plan} == {"mnist"}
    recipes = {(c.eval_augment, c.cutmix_prob) for c in plan}
    assert recipes == {("color_crop", 0.5), ("none", 0.0)}


def weighted(file: str) -> str:
    """Writes the set of a file of tensors with weights; returns its path."""
    images, labels = torch.load(file, weights_only=True)
    path = Path(file).with_name("weighted.parquet")
    weights = torch.arange(1.0, len(labels) + 1)
    save_distilled(path, images, labels, tuple(map(str, range(10))), weights=weights)
    return str(path)


def test_sets_are_planned_with_weights_where_they_have_them(files: list[str]) -> None:
    words = [files[1], weighted(files[1]), "--beside", "herding,all"]
    plan = COMMAND.plan([*words, "--weights-in", "matching,training", "--seeds", "1"])

    assert [(Path(c.set).name, c.weights_in) for c in plan] == [
        ("random", "matching"),
        ("herding", "matching"),
        ("herding", "training"),
        ("all", "matching"),
        ("set2.pt", "matching"),
        ("weighted.parquet", "matching"),
        ("weighted.parquet", "training"),
    ]


def test_one_chosen_image_a_class_is_not_weighted(files: list[str]) -> None:
    words = [files[0], "--beside", "herding", "--weights-in", "matching,training"]
    plan = COMMAND.plan([*words, "--seeds", "1"])

    assert {c.weights_in for c in plan} == {"matching"}


def test_random_images_stand_beside_sets_that_are_only_weighted(files: list[str]) -> None:
    plan = COMMAND.plan([weighted(files[0]), "--weights-in", "training", "--seeds", "1"])

    assert [(Path(c.set).name, c.weights_in) for c in plan] == [
        ("random", "matching"),
        ("weighted.parquet", "training"),
    ]


def test_a_plan_does_not_read_the_files_again(files: list[str]) -> None:
    plan = COMMAND.plan([files[0], "--seeds", "1"])
    identities = {c.trial_id for c in plan}
    Path(files[0]).unlink()

    assert {type(c).from_dict(c.to_dict()).trial_id for c in plan} == identities


def test_a_changed_set_is_not_finished(files: list[str], digits: ImageData) -> None:
    before = COMMAND.plan([files[0], "--seeds", "1"])[-1].trial_id
    rows = torch.cat([indices[5:6] for indices in digits.class_indices])
    torch.save([digits.train_images[rows], digits.train_labels[rows]], files[0])

    assert COMMAND.plan([files[0], "--seeds", "1"])[-1].trial_id != before


BAD = [
    ([], "give at least one SET to judge"),
    (["nowhere.pt"], "no such set: 'nowhere.pt'"),
    (["{file}", "--beside", "herdng"], "unknown set 'herdng'; did you mean 'herding'?"),
    (["{file}", "--labels", "sort"], "unknown labels 'sort'"),
    (
        ["{file}", "--weights-in", "all"],
        "unknown weights_in 'all' (known: matching, training, both)",
    ),
    (
        ["{file}", "--weights-in", "training"],
        "carries none; use --weights-in matching,training to judge it equally weighted",
    ),
    (["{file}", "--networks", "resnet99"], "unknown network 'resnet99'; did you mean"),
    (["{file}", "--on", "cifar11"], "unknown dataset 'cifar11'"),
    (["{file}", "--set", "n_outer=2"], "unknown field in --set 'n_outer'"),
    (["{file}", "--batching", "all"], "--batching all does not apply to a"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_usage_is_one_line_and_code_2(
    arguments: list[str],
    message: str,
    files: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [word.format(file=files[0]) for word in arguments]

    assert COMMAND.main([*words, "--results", str(tmp_path / "results")]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


LABELS = torch.arange(10)

BAD_FITS: list[tuple[str, str, list[str], str]] = [
    ("size", "digits", [], "digits 8×8; resize the data set to the set's size with --set image_s"),
    ("size", "digits", ["--set", "image_size=9"], "of digits 9×9; .* with --set image_size=16$"),
    ("dark", "digits", ["--set", "set_range=unit"], "--set set_range=unit: pixels must be in 0 …"),
    ("range", "digits", [], "force it with --set set_range=unit, bytes or .* --set set_mean=… and"),
    ("labels", "digits", [], "labels go up to 900000000000, but there are only 10 images"),
    ("labels", "mnist", [], "labels go up to 900000000000, but there are only 10 images"),
    ("one", "digits", ["--set", "repetition=2"], "repetition 2 does not exist: .* holds one set"),
    ("one", "mnist", ["--set", "repetition=2"], "repetition 2 does not exist: .* holds one set"),
]


def unfitting(name: str, folder: Path) -> str:
    """Writes a set that does not fit the digits; returns its path."""
    images = torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    values = {
        "size": [images.repeat(1, 1, 2, 2), LABELS],
        "dark": [images * 255, LABELS],
        "range": [images * 10_000 - 5_000, LABELS],
        "labels": [images, LABELS * 10**11],
        "one": [images, LABELS],
    }
    torch.save(values[name], folder / "set.pt")
    return str(folder / "set.pt")


@pytest.mark.parametrize(("name", "dataset", "options", "message"), BAD_FITS)
def test_dry_run_refuses_sets_that_do_not_fit_with_the_options_of_the_command(
    name: str,
    dataset: str,
    options: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = ["--results", str(tmp_path / "results"), "--data-root", str(tmp_path)]
    words = [unfitting(name, tmp_path), "--on", dataset, *options, *place]

    assert COMMAND.main([*words, "--dry-run"]) == 2
    captured = capsys.readouterr()
    assert re.search(message, captured.err.rstrip("\n"))
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["set.pt"]


def test_dry_run_says_which_data_sets_it_does_not_read(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--results", str(tmp_path / "results"), "--data-root", str(tmp_path), "--dry-run"]

    assert COMMAND.main([*files, *words]) == 0
    assert "notice" not in capsys.readouterr().out
    assert COMMAND.main([*files, "--on", "mnist", *words]) == 0
    assert (
        "notice: whether the sets fit mnist is checked before the first trial: a dry run reads "
        "only built-in data sets that are on this machine\n"
    ) in capsys.readouterr().out


@pytest.mark.ray
def test_nothing_is_written_for_a_set_that_does_not_fit(tmp_path: Path) -> None:
    results = tmp_path / "new" / "results"
    ran = subprocess.run(
        [sys.executable, SCRIPT, unfitting("size", tmp_path), "--results", str(results)],
        env=environment(results) | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 2
    assert "--set image_size=16 (data set digits)" in ran.stderr
    assert not results.parent.exists()


@pytest.mark.ray
def test_a_set_is_judged_beside_random_images(files: list[str], tmp_path: Path) -> None:
    results = tmp_path / "results"
    command = [
        *(sys.executable, SCRIPT, files[0], "--results", str(results), "--seeds", "2"),
        *("--labels", "teacher", "--set", "eval_epochs=2", "--set", "n_eval=1"),
        *("--set", "teacher_epochs=1", "--set", "width=4", "--set", "depth=1"),
    ]
    variables = environment(results) | {
        "DREAM_SWEEP_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": str(ROOT),
    }
    first, second = (
        subprocess.run(
            command,
            env=variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        for _ in range(2)
    )

    assert first.returncode == 0, first.stderr
    assert "4 of 4 trials finished: 4 ok" in first.stdout
    assert "Sets judged on digits, 1 image a class, convnet, teacher labels" in first.stdout
    assert "IDC/DREAM tensors, 10 images of 10 classes" in first.stdout
    rows = load_results(str(results))
    assert rows["teacher_accuracy"].nunique() == 1
    assert len(list((tmp_path / "cache" / "teachers").iterdir())) == 1
    assert second.returncode == 0, second.stderr
    assert second.stderr == "", "nothing was run again"
