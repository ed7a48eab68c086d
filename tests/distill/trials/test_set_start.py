"""Distillations that start from a set in files."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distill.config.distillation import DistillationConfig, ResolvedDistillation
from distill.config.evaluation import EvaluationConfig
from distill.datasets import ImageData
from distill.errors import InterruptedTrialError, UserError
from distill.runtime.checkpoint import LocalFolder
from distill.trials.base import Result
from distill.trials.distilled_files import (
    distilled_table,
    parquet_bytes,
    read_distilled,
    save_distilled,
    with_soft_labels,
)
from distill.trials.runner import check, notices_of, run
from tests.distill.trials.test_distillation import repeatable

pytestmark = pytest.mark.lengthy

Tiny = Callable[..., ResolvedDistillation]
LABELS = torch.arange(10)


@pytest.fixture
def pixels(digits: ImageData) -> Tensor:
    """The last training image of each digit, (10, 1, 8, 8) uint8."""
    return torch.stack([digits.train_images[rows[-1]] for rows in digits.class_indices])


@pytest.fixture
def set_file(digits: ImageData, pixels: Tensor, tmp_path: Path) -> Path:
    """A set of this project, in the order of its classes, that notes factor 2."""
    path = tmp_path / "start.parquet"
    save_distilled(path, pixels, LABELS, digits.class_names, metadata={"factor": "2"})
    return path


def images_of(result: Result) -> Tensor:
    return read_distilled(result.artifacts["distilled"]).images


def test_without_matching_the_set_is_left_as_it_is(
    digits: ImageData, tiny: Tiny, pixels: Tensor, set_file: Path
) -> None:
    result = run(tiny(init=f"set:{set_file}", match="none", factor=2), digits)

    assert torch.equal(images_of(result), pixels)


def test_matching_moves_the_images_away_from_the_set(
    digits: ImageData, tiny: Tiny, pixels: Tensor, set_file: Path
) -> None:
    moved = images_of(run(tiny(init=f"set:{set_file}", factor=2, lr_img=0.01), digits))
    noise = images_of(run(tiny(init="noise", factor=2, lr_img=0.01), digits))

    def distance(images: Tensor) -> float:
        return float((images.float() - pixels.float()).abs().mean())

    assert 0 < distance(moved) < distance(noise) / 2


@pytest.mark.parametrize("factor", [1, 2])
def test_without_matching_scores_are_those_of_an_evaluation(
    factor: int, digits: ImageData, pixels: Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "start.parquet"
    save_distilled(path, pixels, LABELS, digits.class_names, metadata={"factor": str(factor)})
    recipe: dict[str, Any] = {"width": 8, "eval_epochs": 3, "n_eval": 2, "seed": 4}
    start = DistillationConfig(init=f"set:{path}", match="none", factor=factor, **recipe)
    judged = EvaluationConfig(set=str(path), **recipe)

    scores = [run(config, digits).row["network_scores"] for config in (start, judged)]

    assert scores[0] == scores[1]
    assert len(scores[0]["convnet"]["accuracies"]) == 2


def test_trials_that_go_on_from_a_set_are_judged_by_the_same_networks(
    digits: ImageData, tiny: Tiny, set_file: Path
) -> None:
    """Steps of length almost 0: equal scores, as those of the set itself."""
    options = {"init": f"set:{set_file}", "factor": 2}
    still = run(tiny(**options, match="none"), digits)
    moved = run(tiny(**options, lr_img=1e-12), digits)

    assert still.row["network_scores"] == moved.row["network_scores"]


def test_files_of_other_codes_are_taken_class_by_class(
    digits: ImageData, tiny: Tiny, pixels: Tensor, tmp_path: Path
) -> None:
    order = torch.tensor([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    images = (pixels.float() / 255 - digits.mean) / digits.std
    torch.save({"data": [[images[order], order]], "accs_all_exps": {}}, tmp_path / "dc.pt")
    result = run(tiny(init=f"set:{tmp_path / 'dc.pt'}", match="none", factor=1), digits)

    assert torch.equal(images_of(result), pixels)


def test_a_forced_range_is_taken(
    digits: ImageData, tiny: Tiny, pixels: Tensor, tmp_path: Path
) -> None:
    torch.save([(pixels.float() / 255 - 0.5) / 0.25, LABELS], tmp_path / "set.pt")
    options = {"set_mean": ("0.5",), "set_std": ("0.25",), "match": "none", "factor": 1}
    result = run(tiny(init=f"set:{tmp_path / 'set.pt'}", **options), digits)

    assert torch.equal(images_of(result), pixels)


@pytest.mark.parametrize("n_units", [1, 3, 6])
def test_a_resumed_trial_ends_bit_for_bit_the_same(
    digits: ImageData, tiny: Tiny, set_file: Path, tmp_path: Path, n_units: int
) -> None:
    config = tiny(init=f"set:{set_file}", factor=2, n_inner=2)
    plain, done = run(config, digits), 0

    def stop() -> bool:
        nonlocal done
        done += 1
        return done == n_units

    folder = LocalFolder(tmp_path / "checkpoints")
    with pytest.raises(InterruptedTrialError, match="stopped in outer iteration"):
        run(config, digits, checkpoint_folder=folder, should_stop=stop)
    resumed = run(config, digits, checkpoint_folder=folder)

    assert repeatable(resumed) == repeatable(plain)
    assert plain.artifacts["distilled"].equals(resumed.artifacts["distilled"])


# --- identity ------------------------------------------------------------------------------------


def test_identity_has_the_content_and_not_the_path(
    digits: ImageData,
    pixels: Tensor,
    set_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = DistillationConfig(init=f"set:{set_file}", factor=2)
    moved = tmp_path / "elsewhere.parquet"
    shutil.copy(set_file, moved)
    monkeypatch.chdir(tmp_path)

    for name in (moved, "elsewhere.parquet"):
        assert DistillationConfig(init=f"set:{name}", factor=2).trial_id == config.trial_id
    save_distilled(moved, pixels.flip(0), LABELS, digits.class_names, metadata={"factor": "2"})
    assert DistillationConfig(init=f"set:{moved}", factor=2).trial_id != config.trial_id


def test_relative_paths_become_absolute(
    set_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert DistillationConfig(init="set:start.parquet").init == f"set:{set_file}"


def test_a_resolved_configuration_needs_no_files(set_file: Path) -> None:
    resolved = DistillationConfig(init=f"set:{set_file}", factor=2).resolve()
    set_file.unlink()

    again = DistillationConfig.from_dict(resolved.to_dict())
    assert again.resolve().trial_id == resolved.trial_id


def test_a_set_that_changed_under_a_planned_trial_is_refused(
    digits: ImageData, pixels: Tensor, set_file: Path
) -> None:
    config = DistillationConfig(init=f"set:{set_file}", factor=2).resolve()
    save_distilled(set_file, pixels.flip(0), LABELS, digits.class_names)

    with pytest.raises(UserError, match=r"has changed: its hash is .*run the command again"):
        check(config, digits)


def test_identities_of_other_starts_are_as_before() -> None:
    """Literal ids of before this option; `init` was a plain word then."""
    assert DistillationConfig().trial_id == "6431454d25f9dcec"
    assert DistillationConfig(init="random", ipc=10).trial_id == "700d7e406d2ca4b0"


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"ipc": 3, "factor": 1},
            r"has 1 images of a class and factor 2, the trial ipc 3 and factor 1; start from it "
            r"with --ipc 1 --factor 2",
        ),
        ({"factor": 1}, "factor 2, the trial ipc 1 and factor 1"),
        ({"ipc": 2, "factor": 2}, "has 1 images of a class and factor 2, the trial ipc 2"),
    ],
)
def test_another_size_than_the_trials_is_one_line_with_both(
    options: dict[str, Any], message: str, digits: ImageData, set_file: Path
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        check(DistillationConfig(init=f"set:{set_file}", **options), digits)
    assert "\n" not in str(caught.value)


def test_files_without_a_factor_take_the_trials(
    digits: ImageData, pixels: Tensor, tmp_path: Path
) -> None:
    torch.save([pixels.float() / 255, LABELS], tmp_path / "idc.pt")

    check(DistillationConfig(init=f"set:{tmp_path / 'idc.pt'}", factor=2), digits)
    with pytest.raises(UserError, match=r"1 images of a class and no factor noted, .* ipc 5"):
        check(DistillationConfig(init=f"set:{tmp_path / 'idc.pt'}", ipc=5), digits)


def test_classes_of_different_sizes_are_refused(
    digits: ImageData, pixels: Tensor, tmp_path: Path
) -> None:
    images, labels = torch.cat([pixels, pixels[:1]]), torch.cat([LABELS, LABELS[:1]])
    torch.save([images, labels], tmp_path / "set.pt")

    with pytest.raises(UserError, match=r"equally many images of every class, .* have 1 to 2"):
        check(DistillationConfig(init=f"set:{tmp_path / 'set.pt'}"), digits)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"init": "cluster"}, "unknown init 'cluster'; did you mean 'clusters'"),
        ({"init": "a/set.pt"}, "unknown init 'a/set.pt'"),
        ({"init": "set"}, "init 'set' needs the path of a set; give set:PATH"),
        ({"init": "set:"}, "init 'set:' needs the path of a set; give set:PATH"),
        ({"set_range": "unit"}, "set_range does not apply to init 'clusters', only to init set"),
        ({"init": "set:a.pt", "set_mean": ("0.5",)}, "give set_mean and set_std together"),
        (
            {"init": "set:a.pt", "weights": "size", "weights_in": "both"},
            "needs a start from clusters, whose sizes are the weights, got init 'set:",
        ),
    ],
)
def test_bad_configurations_are_one_clear_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        DistillationConfig(**values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such set: '.*gone\.pt'"):
        DistillationConfig(init=f"set:{tmp_path / 'gone.pt'}").resolve()


# --- notices -------------------------------------------------------------------------------------


def test_notices_say_what_is_not_used(digits: ImageData, pixels: Tensor, tmp_path: Path) -> None:
    table = distilled_table(pixels, LABELS, digits.class_names, weights=torch.arange(1.0, 11.0))
    path = tmp_path / "soft.parquet"
    path.write_bytes(parquet_bytes(with_soft_labels(table, torch.full((10, 10), 0.1))))
    config = DistillationConfig(init=f"set:{path}", factor=1)

    notices = notices_of(config, digits)

    unused = "its soft labels and weights are not used, only images and classes"
    assert f"set {path}: {unused}" in notices
    assert notices[0].startswith(
        f"set {path}: Parquet in the Hub's layout, 10 images of 10 classes"
    )


def test_pixels_outside_the_range_are_clamped_and_told(
    digits: ImageData, tiny: Tiny, pixels: Tensor, tmp_path: Path
) -> None:
    images = (pixels.float() / 255 - digits.mean) / digits.std
    images[0, 0, :2] = float((1.5 - digits.mean) / digits.std)
    torch.save([images, LABELS], tmp_path / "set.pt")
    config = tiny(init=f"set:{tmp_path / 'set.pt'}", factor=1, match="none")

    assert "2.5 % of its pixels are outside 0 … 1" in "\n".join(notices_of(config, digits))
    assert images_of(run(config, digits))[0, 0, :2].flatten().tolist() == [255] * 16
