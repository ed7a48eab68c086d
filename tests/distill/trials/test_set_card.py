"""Cards of distilled sets: the Hub's library reads their folders, and their lines train as told."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy import stats

from distill.augment.siamese import Augmentation
from distill.cli.command import _prepare, _write
from distill.config.distillation import DistillationConfig, ResolvedDistillation
from distill.datasets import ImageData
from distill.errors import UserError
from distill.evaluation.scores import TrainingRecipe
from distill.trials.base import Result
from distill.trials.distilled_files import distilled_table, load_distilled, save_distilled
from distill.trials.runner import run
from distill.trials.set_card import CARD, card_files, interval
from distill.trials.training_lines import RECIPE, LinesOf, recipe_module

NOTES = {"mean": "0.3,0.4,0.5", "std": "0.2,0.2,0.2"}


def written(folder: Path, data: ImageData, **options: Any) -> tuple[ResolvedDistillation, Result]:
    """Runs a small trial into a folder, as `python -m distill` does."""
    config = DistillationConfig(n_outer=1, n_inner=2, eval_every=0, **options).resolve()
    result = run(config, data)
    _prepare(folder, config, overwrite=False)
    _write(folder, config, result, result.row)
    return config, result


def python_blocks(card: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)


def run_alone(code: str, folder: Path) -> str:
    """Runs code in a process that cannot import this project, and returns what it prints."""
    guard = (
        "import importlib.util\n"
        "for name in ('distill', 'sweeps', 'analysis'):\n"
        "    assert importlib.util.find_spec(name) is None, name\n"
    )
    # Without `site`, which would find the project where it is installed for development.
    packages = [p for p in sys.path if p.endswith("site-packages")]
    # Isolated, Python leaves out the folder that it is run in, where `training_recipe.py` is.
    path = f"import sys\nsys.path += {['.', *packages]!r}\n"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", path + guard + code],
        cwd=folder,
        env={"OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SEVERAL_RUNS = """
import torch

for seed in range({n}):
    torch.manual_seed(seed)
    exec({lines!r}, {{}})
"""
"""Runs the lines as they stand several times."""


@pytest.mark.lengthy
@pytest.mark.parametrize("options", [{"factor": 1}, {"factor": 2}], ids=str)
def test_lines_of_the_card_reach_the_accuracy_of_the_row(
    options: dict[str, Any], digits: ImageData, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    small = {"width": 16, "eval_epochs": 100, "n_eval": 8}
    _, result = written(folder, digits, **small, **options)
    save_distilled(
        folder / "test.parquet", digits.test_images, digits.test_labels, digits.class_names
    )
    accuracies = result.row["network_scores"]["convnet"]["accuracies"]
    low, high = stats.t.interval(0.95, 7, loc=np.mean(accuracies), scale=stats.sem(accuracies))

    card = (folder / CARD).read_text()
    lines = python_blocks(card)[1]  # the first block loads by `datasets`
    assert len([line for line in lines.splitlines() if line]) == 12, "a dozen"
    printed = run_alone(SEVERAL_RUNS.format(n=8, lines=lines), folder)

    found = re.findall(r"^accuracy: ([\d.]+) %$", printed, flags=re.MULTILINE)
    assert len(found) == 8
    assert len(set(found)) > 1, "another network each"
    assert low <= np.mean([float(percent) for percent in found]) / 100 <= high
    assert f"{100 * low:.2f} … {100 * high:.2f} %" in card


@pytest.mark.lengthy
@pytest.mark.parametrize(
    ("dataset_options", "changes"),
    [
        ({"eval_augment": "flip_color_crop_translate_cutout", "norm": "batch"}, {}),
        ({"eval_augment": "none", "cutmix_prob": 0.0, "pooling": "max"}, {"factor": 3}),
        (
            {"eval_augment": "cutout_scale", "norm": "none"},
            {"weights": "size", "weights_in": "training"},
        ),
    ],
)
def test_lines_of_every_recipe_run(
    dataset_options: dict[str, Any], changes: dict[str, Any], digits: ImageData, tmp_path: Path
) -> None:
    options = (
        dataset_options | changes | ({"weights_in": "training"} if "weights" in changes else {})
    )
    written(tmp_path / "run", digits, width=4, eval_epochs=1, n_eval=1, **options)
    save_distilled(
        *(tmp_path / "run" / "test.parquet", digits.test_images[:20], digits.test_labels[:20]),
        digits.class_names,
    )
    card = (tmp_path / "run" / CARD).read_text()
    lines = python_blocks(card)[1]

    assert "accuracy: " in run_alone(lines, tmp_path / "run")
    recipe = (tmp_path / "run" / RECIPE).read_text()
    assert ("weights[partners]" in recipe) == ("weights" in changes)


LOAD = """
import json, sys
from datasets import load_dataset
loaded = {name: load_dataset(sys.argv[1], name) for name in (None, *sys.argv[2:])}
print(json.dumps({
    str(name): {
        split: [part["image"][0].size, part["label"][:], part.features["label"].names]
        for split, part in splits.items()
    }
    for name, splits in loaded.items()
}))
"""


@pytest.mark.lengthy
def test_the_hubs_library_loads_the_folder_as_it_is(digits: ImageData, tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="the package datasets is in the dev environment only")
    folder = tmp_path / "run"
    written(folder, digits, factor=2, width=4, eval_epochs=1, n_eval=2)
    environment = os.environ | {
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder), "decoded"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    names = [str(i) for i in range(10)]
    assert loaded["None"] == {"train": [[8, 8], list(range(10)), names]}
    assert loaded["decoded"] == {"train": [[8, 8], list(range(10)) * 4, names]}


def card_of(n_per_class: int = 1, row: dict[str, Any] | None = None, **options: Any) -> str:
    config = DistillationConfig(**({"n_outer": 0} | options)).resolve()
    side = options.get("image_size", 32)
    images = torch.zeros(2 * n_per_class, 3, side, side, dtype=torch.uint8)
    labels = torch.tensor([0, 1]).repeat_interleave(n_per_class)
    table = distilled_table(images, labels, ("cat", 'a "dog"'), metadata=NOTES)
    scores = {"convnet": {"accuracies": [0.5, 0.6, 0.7]}}
    return card_files(config, row or {"eval_split": "test", "network_scores": scores}, table)[CARD]


def test_head_is_the_hubs_and_leaves_the_licence_to_the_user() -> None:
    card = card_of(dataset="cifar10", factor=1)
    head = card.split("---\n")[1]

    assert yaml.safe_load(head) == {
        "pretty_name": "cifar10, distilled",
        "task_categories": ["image-classification"],
        "size_categories": ["n<1K"],
        "tags": ["dataset-distillation"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": "distilled.parquet"}],
            }
        ],
    }
    assert head.startswith("# license: ")


def test_size_category_follows_the_number_of_images() -> None:
    assert "- 1K<n<10K\n" in card_of(n_per_class=500, dataset="cifar10")


def test_score_has_the_interval_of_students_t() -> None:
    # By hand: mean 0.6, std 0.1, t(0.975, 2) = 4.302653, so 0.6 ± 4.302653 · 0.1 / √3.
    assert "| convnet | 60.00 % | 35.16 … 84.84 % | 3 |" in card_of(dataset="cifar10")
    assert interval([0.5]) == pytest.approx((np.nan, np.nan), nan_ok=True)


def test_a_single_network_has_no_interval() -> None:
    row = {"eval_split": "val", "network_scores": {"convnet": {"accuracies": [0.5]}}}
    card = card_of(row=row, dataset="cifar10")

    assert "| convnet | 50.00 % | – | 1 |" in card
    assert "Accuracy on val images" in card


def test_card_says_the_normalisation_and_no_folder() -> None:
    files = "parquet:train=/home/me/a.parquet,test=/home/me/b.parquet"
    card = card_of(dataset=files, factor=2)

    assert "mean 0.3, 0.4, 0.5, std 0.2, 0.2, 0.2" in card
    assert "/home" not in card
    assert "# a.parquet, b.parquet, distilled" in card


def test_names_of_classes_are_shown_and_do_nothing() -> None:
    config = DistillationConfig(n_outer=0, dataset="cifar10").resolve()
    names = ("<script>x</script>", "a\nb\x1b[31m\u202e", "c" * 300)
    table = distilled_table(torch.zeros(3, 3, 8, 8), torch.arange(3), names, metadata=NOTES)
    scores = {"convnet": {"accuracies": [0.5]}}
    card = card_files(config, {"eval_split": "test", "network_scores": scores}, table)[CARD]

    assert "<script>" not in card
    assert "c" * 100 not in card
    assert all(line.isprintable() for line in card.split("\n"))
    assert "\\<script\\>" in card


def test_card_of_another_network_says_what_its_lines_train() -> None:
    card = card_of(dataset="cifar10", network="resnet10")

    assert "The lines train a ConvNet; the score above is that of resnet10." in card


def test_card_of_a_start_says_that_nothing_was_matched() -> None:
    start = card_of(dataset="cifar10", match="none")
    matched = card_of(dataset="cifar10", match="gradients", n_outer=3)

    assert "\n2 images of 2 classes" in start
    assert "The start of [" in start
    assert "| n_outer |" not in start
    assert "\n2 learnt images of 2 classes" in matched
    assert "| n_outer | 3 |" in matched


def test_card_names_pick_and_options_of_the_clusterer() -> None:
    card = card_of(dataset="cifar10", clusterer="dbscan", eps=3.5, pick="hard", difficulty="loss")

    assert "| pick | hard |" in card
    assert "| difficulty | loss |" in card
    assert "| eps | 3.5 |" in card


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 120])
def test_learning_rate_of_the_lines_is_the_recipes(epochs: int) -> None:
    lines = python_blocks(card_of(dataset="cifar10", eval_epochs=epochs, eval_lr=0.5))[1]
    milestones = re.search(r"MultiStepLR\(optimizer, (\[.*?\]), gamma=(\S+)\)", lines)
    assert milestones is not None
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    schedule = torch.optim.lr_scheduler.MultiStepLR(
        optimizer, json.loads(milestones[1]), gamma=float(milestones[2])
    )
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()

    recipe = TrainingRecipe(
        lr=0.5,
        momentum=0.0,
        weight_decay=0.0,
        cutmix_prob=0.0,
        cutmix_beta=1.0,
        augment=Augmentation(strategy="none"),
        epochs=epochs,
        batch_size=1,
    )
    assert rates == pytest.approx([recipe.lr_at(epoch) for epoch in range(epochs)])


def test_a_set_without_its_normalisation_has_no_card() -> None:
    config = DistillationConfig(n_outer=0).resolve()
    table = distilled_table(torch.zeros(1, 1, 8, 8), torch.tensor([0]), ("0",))

    with pytest.raises(UserError, match=f"{config.trial_id} does not note its normalisation"):
        card_files(config, {}, table)


def test_file_notes_normalisation_and_recipe(digits: ImageData, tmp_path: Path) -> None:
    config, _ = written(tmp_path / "run", digits, width=4, eval_epochs=7, n_eval=1)
    noted = load_distilled(tmp_path / "run" / "distilled.parquet").metadata

    assert float(noted["mean"]) == pytest.approx(float(digits.mean), rel=1e-7)
    assert float(noted["std"]) == pytest.approx(float(digits.std), rel=1e-7)
    assert (noted["eval_epochs"], noted["trial_id"]) == ("7", config.trial_id)


def test_grey_images_of_28_pixels_are_padded() -> None:
    recipe = {
        "n_eval": 1,
        "eval_epochs": 1,
        "eval_batch_size": 4,
        "eval_lr": 0.1,
        "eval_momentum": 0.0,
        "eval_weight_decay": 0.0,
        "eval_augment": "none",
        "cutmix_prob": 0.0,
        "cutmix_beta": 1.0,
    }
    network = {"width": 4, "depth": 3, "norm": "instance", "pooling": "avg"}
    given = LinesOf(
        recipe=recipe,
        network=network,
        mean=(0.1,),
        std=(0.3,),
        image_size=(28, 28),
        n_classes=10,
        factor=1,
        is_weighted=False,
    )
    lines = recipe_module(given)
    padding = "3 if block == 0 else 1"  # 28 + 2 · 2 = 32

    assert f"nn.Conv2d(1 if block == 0 else 4, 4, 3, padding={padding})" in lines
    assert "nn.Linear(64, 10)" in lines  # 4 channels of (32 / 8)² pixels
