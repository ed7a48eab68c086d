"""The network of the best epoch: what is saved, that it loads, resuming, refusals."""

import dataclasses
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.cli.command import run_command
from distill.cli.options import RunOptions
from distill.config.base import Config
from distill.config.distillation import DistillationConfig
from distill.config.selection import SelectionConfig
from distill.datasets import ImageData
from distill.datasets.images import with_classes
from distill.errors import InterruptedTrialError, UserError
from distill.networks.build import build_network
from distill.runtime.checkpoint import LocalFolder
from distill.runtime.execution import Execution
from distill.trials.base import Result
from distill.trials.runner import check, run

SAVING = Execution(save_network=True)
CONVNET = {"network": "convnet", "width": 8, "depth": 2, "norm": "batch"}
UNREPEATABLE = {"started_at", "peak_memory_bytes", "n_resumes", "git_commit"}


def small(**changes: Any) -> SelectionConfig:
    values = {"classes": ["3", "8"], "val_fraction": 0.1, "epochs": 6, "fraction": 0.3}
    return SelectionConfig.from_dict(values | changes)


def saved_by(result: Result) -> dict[str, Any]:
    assert result.network is not None
    saved: dict[str, Any] = torch.load(BytesIO(result.network), weights_only=True)
    return saved


def repeatable(result: Result) -> dict[str, Any]:
    return {
        name: value
        for name, value in result.row.items()
        if not name.endswith("_seconds") and name not in UNREPEATABLE
    }


@pytest.mark.parametrize(
    "changes",
    [{}, {"n_eval": 2}, CONVNET, {"protocol": "published"}],
    ids=["photo_cnn", "two", "convnet", "published"],
)
def test_the_saved_network_scores_as_the_best_epoch_did(
    digits: ImageData, changes: dict[str, Any]
) -> None:
    """Loaded as the documentation says, on pixels: nothing of the trial is needed."""
    result = run(small(**changes), digits, execution=SAVING)
    saved = saved_by(result)
    network = build_network(saved["network"], generator=torch.Generator(), **saved["arguments"])
    network.eval().load_state_dict(saved["weights"])

    data = with_classes(digits, ["3", "8"])
    images, labels = (
        (data.test_images, data.test_labels)
        if changes.get("protocol") == "published"
        else (data.val_images, data.val_labels)
    )
    mean, std = (torch.tensor(saved[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        right = network((images / 255 - mean) / std).argmax(dim=1) == labels
    accuracies = [point["val_accuracy"] for point in result.curve]
    best = result.curve[accuracies.index(max(accuracies))]  # the first of equal ones

    assert float(right.double().mean()) == pytest.approx(best["val_accuracy"])
    assert saved["accuracy"] == best["val_accuracy"] == max(accuracies)
    assert (saved["network_index"], saved["epoch"]) == (best["network_index"], best["epoch"])
    assert saved["class_names"] == ["3", "8"]
    assert saved["split"] == ("test" if changes.get("protocol") == "published" else "val")
    assert saved["trial_id"] == result.row["trial_id"]


def test_saving_a_network_changes_no_number(digits: ImageData) -> None:
    plain, saving = run(small(), digits), run(small(), digits, execution=SAVING)

    assert repeatable(plain) == repeatable(saving)
    assert plain.curve == saving.curve
    assert plain.network is None


def interrupted(config: Config, digits: ImageData, folder: LocalFolder, n_units: int) -> None:
    """Runs so many units of a trial that saves nothing."""
    left = iter(range(n_units))
    with pytest.raises(InterruptedTrialError):
        run(
            *(config, digits),
            checkpoint_folder=folder,
            should_stop=lambda: next(left) == n_units - 1,
        )


@pytest.mark.parametrize("n_units", [1, 3, 6])
def test_a_resumed_trial_saves_the_same_network(
    digits: ImageData, tmp_path: Path, n_units: int
) -> None:
    config = small()
    plain = saved_by(run(config, digits, execution=SAVING))
    left = iter(range(n_units))
    folder = LocalFolder(tmp_path)
    with pytest.raises(InterruptedTrialError):
        run(
            *(config, digits),
            checkpoint_folder=folder,
            should_stop=lambda: next(left) == n_units - 1,
            execution=SAVING,
        )
    resumed = saved_by(run(config, digits, checkpoint_folder=folder, execution=SAVING))

    weights, expected = resumed.pop("weights"), plain.pop("weights")
    assert resumed == plain
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)


def test_no_later_network_is_saved_as_the_best(digits: ImageData, tmp_path: Path) -> None:
    """The best epoch ran in a process that kept nothing: a warning, and no file."""
    config, warnings = small(epochs=2, lr=1e-9), list[str]()  # it learns nothing: ties
    folder = LocalFolder(tmp_path)
    interrupted(config, digits, folder, 2)
    result = run(
        *(config, digits),
        checkpoint_folder=folder,
        execution=SAVING,
        on_warning=warnings.append,
    )
    accuracies = [point["val_accuracy"] for point in result.curve]

    assert accuracies[0] >= accuracies[1], "else this test tests nothing"
    assert result.network is None
    assert len(warnings) == 1
    assert "the best epoch was in a process without --save-network" in warnings[0]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DistillationConfig(), "--save-network does not apply to a distillation: none of its"),
        (
            SelectionConfig(recipe="distillation", network="convnet", ipc=1),
            "--save-network applies to recipe 'classifier' only, got 'distillation'",
        ),
        (small(val_fraction=0.0), "but there are none; set val_fraction, for example to 0.1"),
    ],
)
def test_trials_without_a_best_epoch_are_refused(
    digits: ImageData, config: Config, message: str
) -> None:
    without = dataclasses.replace(
        digits, val_images=digits.val_images[:0], val_labels=digits.val_labels[:0]
    )
    with pytest.raises(UserError, match=message):
        check(config, without, SAVING)


def test_a_single_run_writes_the_file(tmp_path: Path) -> None:
    config = small(epochs=2)
    options = RunOptions(
        out=str(tmp_path / "run"),
        overwrite=False,
        data_root="data",
        device="cpu",
        threads=1,
        baseline=False,
        checkpoint_seconds=5,
        execution=SAVING,
    )
    assert run_command(options, config) == 0
    single = torch.load(tmp_path / "run" / "network.pt", weights_only=True)
    assert single["trial_id"] == config.trial_id
    assert single["epoch"] in (1, 2)
