"""A whole trial: its result, its curve, and that it can be stopped and resumed anywhere."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from distill.config.distillation import ResolvedDistillation
from distill.datasets import ImageData
from distill.errors import InterruptedTrialError, UserError
from distill.evaluation.recipe import random_images_baseline
from distill.runtime.checkpoint import LocalFolder
from distill.trials.distillation import (
    CURVE_COLUMNS,
    Progress,
    Trial,
    TrialResult,
    run_trial,
)
from distill.trials.distilled_files import to_uint8

Tiny = Callable[..., ResolvedDistillation]
UNREPEATABLE = {"started_at", "peak_memory_bytes", "n_resumes"}


def repeatable(result: TrialResult) -> dict[str, object]:
    """The row without what a second run cannot repeat."""
    return {
        name: value
        for name, value in result.row.items()
        if not name.endswith("_seconds") and name not in UNREPEATABLE
    }


def test_a_trial_ends_with_scores_a_curve_and_images(digits: ImageData, tiny: Tiny) -> None:
    config = tiny(eval_networks=["resnet10"], norm="batch")
    result = run_trial(config, digits)
    row = result.row

    assert row["status"] == "ok"
    assert row["trial_id"] == config.trial_id
    assert json.loads(json.dumps(row)) == row, "everything is plain"
    assert 0 <= row["test_accuracy_mean"] <= row["test_accuracy_best_mean"] <= 1
    assert row["val_accuracy_mean"] is None, "a missing number is null"
    assert row["n_networks"] == 2
    assert len(row["network_scores"]["resnet10"]["accuracies"]) == 2
    assert [point["outer"] for point in result.curve] == [0, 1, 2]
    assert [point["matching_loss"] is None for point in result.curve] == [True, False, False]
    assert [point["n_networks"] for point in result.curve] == [1, 1, 2]
    assert all(point.keys() == set(CURVE_COLUMNS) for point in result.curve)
    assert result.curve[-1]["accuracy_mean"] == row["test_accuracy_mean"]
    assert result.images is not None
    assert result.images.shape == (10, 1, 8, 8)
    assert result.images.dtype == torch.uint8
    assert result.labels.tolist() == list(range(10))
    assert row["largest_cluster_mean"] is not None


def test_validation_scores_come_from_the_validation_images(digits: ImageData, tiny: Tiny) -> None:
    row = run_trial(tiny(eval_split="val"), digits).row

    assert row["test_accuracy_mean"] is None
    n_right = row["val_accuracy_mean"] * 2 * len(digits.val_images)
    assert n_right == pytest.approx(round(n_right), abs=1e-6)


def test_the_test_images_have_no_influence_on_the_distilled_ones(
    digits: ImageData, tiny: Tiny
) -> None:
    changed = dataclasses.replace(digits, test_images=255 - digits.test_images)
    ours, theirs = run_trial(tiny(), digits), run_trial(tiny(), changed)

    assert ours.images is not None
    assert theirs.images is not None
    assert torch.equal(ours.images, theirs.images)
    assert ours.row["test_loss_mean"] != theirs.row["test_loss_mean"]


def test_what_is_evaluated_is_what_is_saved(digits: ImageData, tiny: Tiny) -> None:
    """The evaluation sees the 8-bit images, so a reader of the file gets the printed accuracy."""
    trial = Trial(tiny(eval_every=0, n_outer=0, factor=1), digits)
    trial.dream.images.add_(torch.rand(1) / 300).clamp_(0, 1)
    trial.advance()
    assert trial._evaluation is not None

    expected = digits.normalize(to_uint8(trial.dream.images.flatten(end_dim=1)).float() / 255)
    assert torch.equal(trial._evaluation.images, expected)


def test_zero_outer_iterations_evaluate_the_initial_images(digits: ImageData, tiny: Tiny) -> None:
    result = run_trial(tiny(n_outer=0), digits)

    assert [point["outer"] for point in result.curve] == [0]
    assert result.row["matching_loss"] is None
    assert result.row["test_accuracy_mean"] is not None


def test_the_same_trial_twice_is_the_same(digits: ImageData, tiny: Tiny) -> None:
    first, second = (run_trial(tiny(clusterer="kmedoids"), digits) for _ in range(2))

    assert repeatable(first) == repeatable(second)
    assert first.curve == second.curve
    assert first.images is not None
    assert second.images is not None
    assert torch.equal(first.images, second.images)


@pytest.mark.parametrize("n_units", [1, 2, 3, 5, 8, 11])
def test_interrupted_anywhere_it_ends_bit_for_bit_the_same(
    digits: ImageData, tiny: Tiny, tmp_path: Path, n_units: int
) -> None:
    """Units are inner loops (4 of them) and epochs of evaluations (8): 12 in all."""
    config = tiny(weights="size", init="random", n_inner=2, cluster_interval=2)
    plain = run_trial(config, digits)
    done = 0

    def stop() -> bool:
        nonlocal done
        done += 1
        return done == n_units

    with pytest.raises(InterruptedTrialError, match="stopped in outer iteration"):
        run_trial(config, digits, checkpoint_folder=LocalFolder(tmp_path), should_stop=stop)
    resumed = run_trial(config, digits, checkpoint_folder=LocalFolder(tmp_path))

    assert (plain.row["n_resumes"], resumed.row["n_resumes"]) == (0, 1)
    assert repeatable(resumed) == repeatable(plain)
    assert resumed.curve == plain.curve
    assert resumed.images is not None
    assert plain.images is not None
    assert torch.equal(resumed.images, plain.images)


def test_interrupted_after_every_unit_it_still_arrives(
    digits: ImageData, tiny: Tiny, tmp_path: Path
) -> None:
    config = tiny()
    plain, n_runs = run_trial(config, digits), 0
    while True:
        n_runs += 1
        try:
            result = run_trial(
                config, digits, checkpoint_folder=LocalFolder(tmp_path), should_stop=lambda: True
            )
        except InterruptedTrialError:
            continue
        break

    assert n_runs == 12
    assert result.row["n_resumes"] == 11
    assert repeatable(result) == repeatable(plain)


def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_used(
    digits: ImageData, tiny: Tiny, tmp_path: Path
) -> None:
    config = tiny()
    plain = run_trial(config, digits)
    n_calls = 0

    def stop() -> bool:
        nonlocal n_calls
        n_calls += 1
        return n_calls == 6

    with pytest.raises(InterruptedTrialError):
        run_trial(
            config,
            digits,
            checkpoint_folder=LocalFolder(tmp_path),
            checkpoint_seconds=0,
            should_stop=stop,
        )
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    warnings: list[str] = []

    result = run_trial(
        config, digits, checkpoint_folder=LocalFolder(tmp_path), on_warning=warnings.append
    )

    assert len(warnings) == 1
    assert "damaged" in warnings[0]
    assert repeatable(result) == repeatable(plain)


@pytest.mark.parametrize("what", ["trial_id", "fingerprint"])
def test_a_checkpoint_of_another_trial_is_refused(
    digits: ImageData, tiny: Tiny, tmp_path: Path, what: str
) -> None:
    config = tiny()
    with pytest.raises(InterruptedTrialError):
        run_trial(config, digits, checkpoint_folder=LocalFolder(tmp_path), should_stop=lambda: True)
    other = config.replace(seed=1) if what == "trial_id" else config
    data = digits if what == "trial_id" else dataclasses.replace(digits, fingerprint="0" * 64)

    with pytest.raises(UserError, match=f"the checkpoint has {what}"):
        run_trial(other, data, checkpoint_folder=LocalFolder(tmp_path))


def test_infeasible_and_diverged_trials_leave_a_record(digits: ImageData, tiny: Tiny) -> None:
    infeasible = run_trial(tiny(clusterer="dbscan", eps=1e-6), digits)
    diverged = run_trial(tiny(net_lr=1e30, n_inner=20, eval_every=0), digits)

    assert infeasible.row["status"] == "infeasible"
    assert "eps" in infeasible.row["status_message"]
    assert diverged.row["status"] == "diverged"
    assert "lower lr_img" in diverged.row["status_message"]
    finished = run_trial(tiny(), digits)
    for result in (infeasible, diverged):
        assert result.images is None
        assert result.row["test_accuracy_mean"] is None, "null, and not left out"
        assert result.row.keys() == finished.row.keys()


def test_progress_rises_to_one_and_estimates_the_time_left(digits: ImageData, tiny: Tiny) -> None:
    seen: list[Progress] = []
    run_trial(tiny(), digits, on_progress=seen.append)
    fractions = [progress.fraction for progress in seen]

    assert len(seen) == 12
    assert fractions[-1] == 1.0
    assert seen[-1].seconds_left == 0
    assert seen[-1].accuracy is not None
    assert all(0 < fraction <= 1 for fraction in fractions)
    assert {progress.step for progress in seen} == {0, 1, 2}


def test_a_network_that_does_not_fit_is_refused_before_any_work(
    digits: ImageData, tiny: Tiny
) -> None:
    with pytest.raises(UserError, match="instance norm needs images larger than 8×8"):
        Trial(tiny(eval_networks=["resnet10"]), digits)


def test_the_baseline_is_repeatable_and_better_than_chance(digits: ImageData, tiny: Tiny) -> None:
    config = tiny(ipc=10, eval_epochs=40)
    first, second = (random_images_baseline(config, digits) for _ in range(2))

    assert first == second
    assert len(first) == 2
    assert min(first) > 0.2, "chance is 0.1"
