"""Trials on classes of very different sizes: notices, balanced accuracy, capped classes."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from distill.config.base import Config
from distill.config.distillation import DistillationConfig
from distill.config.selection import SelectionConfig
from distill.datasets import ImageData, load_dataset
from distill.errors import InterruptedTrialError, UserError
from distill.runtime.checkpoint import LocalFolder
from distill.trials.distilled_files import read_distilled
from distill.trials.runner import check, notices_of, run

SIZES = {"one": (1, 5), "two": (2, 40), "three": (3, 80)}
"""Class → the digit it shows, and its images."""


@pytest.fixture(scope="module")
def unequal(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    """Real digits: 5, 40 and 80 images, of which 4, 32 and 64 are for training."""
    top = tmp_path_factory.mktemp("unequal")
    digits = load_digits()
    for name, (digit, n) in SIZES.items():
        (top / name).mkdir()
        for i, pixels in enumerate(digits.images[digits.target == digit][:n]):
            Image.fromarray((pixels * 255 / 16).astype("uint8")).save(top / name / f"{i:03}.png")
    return load_dataset(f"folder:{top}")


def distillation(**changes: Any) -> DistillationConfig:
    values: dict[str, Any] = {
        "n_representatives": 16, "ipc": 3, "factor": 1, "n_outer": 1, "n_inner": 2, "width": 8,
        "n_net_batches": 1, "n_eval": 2, "eval_every": 0, "eval_epochs": 4, "cluster_interval": 1,
    }  # fmt: skip
    return DistillationConfig(**values | changes)


def selection(**changes: Any) -> SelectionConfig:
    values: dict[str, Any] = {"ipc": 6, "network": "convnet", "width": 8, "depth": 2, "epochs": 2}
    return SelectionConfig(**values | changes)


def test_unequal_classes_are_noted_and_scored_apart(unequal: ImageData) -> None:
    row = run(selection(ipc=4, n_eval=2), unequal).row
    assert row["notices"][1:] == [
        "the classes differ in size: 'one' has 4 training images, 'three' has 64; see the balanced "
        "accuracy beside the accuracy"
    ]
    scores = row["network_scores"]["convnet"]
    for accuracy, text in zip(scores["accuracies"], row["correct_images"], strict=True):
        packed = np.frombuffer(base64.b64decode(text), np.uint8)
        assert np.unpackbits(packed, count=25).mean() == accuracy
    assert len(scores["balanced_accuracies"]) == 2
    mean = sum(scores["balanced_accuracies"]) / 2
    assert row["test_balanced_accuracy_mean"] == pytest.approx(mean)
    assert row["test_balanced_accuracy_std"] is not None
    assert row["val_balanced_accuracy_mean"] is None
    # 25 test images of 1, 8 and 16: multiples of 1/25 and of (a + b/8 + c/16) / 3.
    for accuracy, balanced in zip(scores["accuracies"], scores["balanced_accuracies"], strict=True):
        assert accuracy * 25 == pytest.approx(round(accuracy * 25))
        assert balanced * 48 == pytest.approx(round(balanced * 48))


def test_classes_of_one_size_have_equal_scores(digits: ImageData) -> None:
    row = run(distillation(), digits).row
    assert row["notices"] == []
    assert row["test_balanced_accuracy_mean"] == pytest.approx(row["test_accuracy_mean"], abs=0.03)


def test_validation_scores_are_balanced_too(digits: ImageData) -> None:
    for config in (
        distillation(val_fraction=0.1, eval_split="val"),
        selection(val_fraction=0.1, eval_split="val"),
    ):
        row = run(config, digits).row
        assert row["val_balanced_accuracy_mean"] is not None
        assert row["test_balanced_accuracy_mean"] is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            distillation(),
            "n_representatives asks for 16 .* 'one' has 4 .*set on_small_class to cap",
        ),
        (distillation(n_representatives=4, ipc=5), r"ipc · factor² asks for 5 .* 'one' has 4"),
        (selection(), "'one' has 4 training images to choose from, fewer than the 6 wanted"),
        (
            distillation(on_small_class="cap", factor=3),
            r"than the 9 \(factor²\) that one stored im",
        ),
    ],
)
def test_small_classes_are_refused(unequal: ImageData, config: Config, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(config, unequal)


@pytest.mark.parametrize("init", ["clusters", "random", "noise"])
@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("clusterer", ["kmeans", "agglomerative"])
def test_capped_distillation_stores_what_a_class_gives(
    unequal: ImageData, init: str, factor: int, clusterer: str
) -> None:
    config = distillation(
        on_small_class="cap", init=init, factor=factor, clusterer=clusterer, batch_syn_max=8
    )
    result = run(config, unequal)
    assert result.row["status"] == "ok"
    labels = read_distilled(result.artifacts["distilled"]).labels
    small = 3 if init == "noise" or factor == 1 else 1
    assert torch.bincount(labels).tolist() == [small, 3, 3]
    caps = [line for line in result.row["notices"] if "on_small_class cap" in line]
    ipc = ", ipc 1 instead of 3" if small == 1 else ""
    assert caps == [
        "1 class gives fewer images than asked for (on_small_class cap): 'one' (4 training images)"
        f": n_representatives 4 instead of 16{ipc}"
    ]
    means = result.curve[-1]["n_representatives_mean"]
    assert means == pytest.approx((4 + 16 + 16) / 3)


def test_capping_changes_nothing_where_classes_are_large_enough(unequal: ImageData) -> None:
    values = {"n_representatives": 4, "ipc": 2}
    plain, capped = (
        run(distillation(**values, on_small_class=on_small_class), unequal)
        for on_small_class in ("error", "cap")
    )
    assert read_distilled(plain.artifacts["distilled"]).images.equal(
        read_distilled(capped.artifacts["distilled"]).images
    )
    assert plain.row["network_scores"] == capped.row["network_scores"]


def test_capped_distillation_resumes_to_the_same_result(unequal: ImageData, tmp_path: Path) -> None:
    config = distillation(on_small_class="cap", ipc=6)
    whole = run(config, unequal)
    folder = LocalFolder(tmp_path)
    n_stops = 0
    while True:
        calls = iter(range(100))
        try:
            resumed = run(
                config,
                unequal,
                checkpoint_folder=folder,
                checkpoint_seconds=0,
                should_stop=lambda calls=calls: next(calls) >= 2,  # type: ignore[misc]
            )
            break
        except InterruptedTrialError:
            n_stops += 1
    assert n_stops > 2
    assert resumed.row["network_scores"] == whole.row["network_scores"]
    assert torch.bincount(read_distilled(resumed.artifacts["distilled"]).labels).tolist() == [
        *(4, 6, 6)
    ]


@pytest.mark.parametrize("selector", ["random", "herding", "nearest_center"])
def test_capped_selection_takes_what_a_class_gives(unequal: ImageData, selector: str) -> None:
    options = {} if selector == "random" else {"embedding": "pixels"}
    config = selection(on_small_class="cap", selector=selector, **options)
    result = run(config, unequal)
    assert result.row["n_selected"] == 4 + 6 + 6
    assert notices_of(config, unequal) == result.row["notices"]
    assert (
        "1 class gives fewer images than asked for (on_small_class cap): 'one' (4 training images)"
        ": ipc 4 instead of 6"
    ) in result.row["notices"]


def test_notices_are_of_the_classes_that_are_kept(unequal: ImageData) -> None:
    config = selection(ipc=4, classes=("two", "three"))
    assert [line.split()[0] for line in notices_of(config, unequal)] == ["taken"]
