"""Distillations: result, curve, artifacts, and resuming from any interruption."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from distill.config.distillation import ResolvedDistillation
from distill.datasets import ImageData
from distill.datasets.images import with_classes
from distill.dream.loop import Dream
from distill.dream.multiformation import encode
from distill.errors import InterruptedTrialError, UserError
from distill.evaluation.recipe import random_images_baseline
from distill.kinds import COMMON_COLUMNS, kind_of
from distill.runtime.checkpoint import LocalFolder, load_checkpoint, save_checkpoint
from distill.trials.base import Progress, Result
from distill.trials.distillation import CURVE_COLUMNS, DistillationTrial
from distill.trials.distilled_files import (
    DistilledSet,
    load_distilled,
    read_distilled,
    to_uint8,
)
from distill.trials.runner import check, run

pytestmark = pytest.mark.lengthy

Tiny = Callable[..., ResolvedDistillation]
UNREPEATABLE = {"started_at", "peak_memory_bytes", "n_resumes"}


def repeatable(result: Result) -> dict[str, object]:
    """The row without what a second run cannot repeat."""
    return {
        name: value
        for name, value in result.row.items()
        if not name.endswith("_seconds") and name not in UNREPEATABLE
    }


def repeatable_curve(result: Result) -> list[dict[str, object]]:
    """The curve without the seconds, which a second run cannot repeat."""
    return [{**point, "seconds": None} for point in result.curve]


def distilled(result: Result) -> DistilledSet:
    """Returns the images that a trial left."""
    return read_distilled(result.artifacts["distilled"])


def test_a_trial_ends_with_scores_a_curve_and_images(digits: ImageData, tiny: Tiny) -> None:
    config = tiny(eval_networks=["resnet10"], norm="batch")
    result = run(config, digits)
    row, kind = result.row, kind_of(config)

    assert row["status"] == "ok"
    assert row["trial_id"] == config.trial_id
    assert json.loads(json.dumps(row)) == row, "everything is plain"
    assert 0 <= row["test_accuracy_mean"] <= row["test_accuracy_best_mean"] <= 1
    assert row["val_accuracy_mean"] is None, "a missing number is null"
    assert row["n_networks"] == 2
    assert (row["kind"], row["n_classes"]) == ("distillation", 10)
    assert (row["n_train"], row["n_test"]) == (len(digits.train_images), len(digits.test_images))
    assert row.keys() == {*COMMON_COLUMNS, *kind.config_columns, *kind.result_columns}
    assert (row["width"], row["norm"], row["eps"], row["linkage"]) == (8, "batch", None, None)
    assert len(row["network_scores"]["resnet10"]["accuracies"]) == 2
    assert [point["outer"] for point in result.curve] == [0, 1, 2]
    assert [point["matching_loss"] is None for point in result.curve] == [True, False, False]
    assert [point["n_networks"] for point in result.curve] == [1, 1, 2]
    assert all(point.keys() == set(CURVE_COLUMNS) for point in result.curve)
    assert result.curve[-1]["accuracy_mean"] == row["test_accuracy_mean"]
    images = distilled(result)
    assert images.images.shape == (10, 1, 8, 8)
    assert images.images.dtype == torch.uint8
    assert images.labels.tolist() == list(range(10))
    assert images.class_names == digits.class_names
    assert images.metadata["trial_id"] == config.trial_id
    assert images.metadata["factor"] == "2"
    assert images.metadata["eval_epochs"] == "2", "the recipe"
    assert row["largest_cluster_mean"] is not None


def test_validation_scores_come_from_the_validation_images(digits: ImageData, tiny: Tiny) -> None:
    row = run(tiny(eval_split="val"), digits).row

    assert row["test_accuracy_mean"] is None
    n_right = row["val_accuracy_mean"] * 2 * len(digits.val_images)
    assert n_right == pytest.approx(round(n_right), abs=1e-6)


def test_test_images_have_no_influence_on_the_result(digits: ImageData, tiny: Tiny) -> None:
    changed = dataclasses.replace(digits, test_images=255 - digits.test_images)
    plain, inverted = run(tiny(), digits), run(tiny(), changed)

    assert torch.equal(distilled(plain).images, distilled(inverted).images)
    assert plain.row["test_loss_mean"] != inverted.row["test_loss_mean"]


def test_what_is_evaluated_is_what_is_saved(digits: ImageData, tiny: Tiny) -> None:
    """The evaluation sees the 8-bit images, so a reader of the file gets the printed accuracy."""
    trial = DistillationTrial(tiny(eval_every=0, n_outer=0, factor=1), digits)
    trial.dream.images.add_(torch.rand(1) / 300).clamp_(0, 1)
    trial.advance()
    assert trial._evaluation is not None

    expected = digits.normalize(to_uint8(trial.dream.images.flatten(end_dim=1)).float() / 255)
    assert torch.equal(trial._evaluation.images, expected)


@pytest.mark.parametrize("init", ["clusters", "centroids"])
def test_weights_in_training_are_those_of_the_clusters_at_the_start(
    digits: ImageData, tiny: Tiny, init: str
) -> None:
    """Every stored image starts from one cluster of its class and has that cluster's size."""
    start = {"init": init, "n_outer": 0, "ipc": 5, "factor": 1}
    config = tiny(weights="size", weights_in="training", **start)
    trial = DistillationTrial(config, digits)
    dream, weights = trial.dream, trial.dream.stored_weights
    assert weights is not None
    n_train = len(digits.train_images)
    for label, sizes in enumerate(dream.cluster_sizes):
        shares = weights[5 * label : 5 * label + 5] / 50 * n_train
        torch.testing.assert_close(shares.sort().values, sizes.sort().values.double().cpu())
    assert weights.mean() == pytest.approx(1, rel=1e-12)
    trial.advance()
    assert trial._evaluation is not None
    assert trial._evaluation._trainer.weights is not None
    assert torch.equal(trial._evaluation._trainer.weights, weights.float())


def test_a_stored_image_has_the_masses_of_all_its_parts(digits: ImageData, tiny: Tiny) -> None:
    """By the images themselves: which clusters the parts of each stored image started from."""
    values = {"weights": "size", "weights_in": "training", "n_outer": 0}
    trial = DistillationTrial(tiny(**values, ipc=2, factor=2), digits)
    parts = Dream(tiny(**values, ipc=8, factor=1), digits)  # the same clusters, one an image
    assert trial.dream.stored_weights is not None
    assert parts.stored_weights is not None
    for label in range(10):
        stored, single = trial.dream.images[label], parts.images[label]
        # The parts of the first image are 0, 2, 4 and 6, those of the second the others.
        torch.testing.assert_close(stored, encode(single, 2))
        expected = parts.stored_weights[8 * label : 8 * label + 8].reshape(4, 2).mean(dim=0)
        weights = trial.dream.stored_weights[2 * label : 2 * label + 2]
        torch.testing.assert_close(weights, expected)

    trial.advance()
    assert trial._evaluation is not None
    used = trial._evaluation._trainer.weights
    assert used is not None
    for label in range(10):  # image i of the training set is part i // 20 of image i mod 20
        rows = torch.arange(80) % 20 // 2 == label
        assert torch.equal(
            used[rows], trial.dream.stored_weights[2 * label : 2 * label + 2].float().repeat(4)
        )


def test_weights_act_only_where_they_are_asked_to(digits: ImageData, tiny: Tiny) -> None:
    """Matching alone moves other images, training alone scores the same ones differently."""
    ways = {
        "none": {"weights": "none"},
        **{way: {"weights": "size", "weights_in": way} for way in ("matching", "training", "both")},
    }
    shared = {"ipc": 4, "cluster_interval": 1, "n_representatives": 6, "eval_epochs": 20}
    results = {name: run(tiny(**shared, **values), digits) for name, values in ways.items()}
    sets = {name: distilled(result) for name, result in results.items()}
    losses = {name: result.row["test_loss_mean"] for name, result in results.items()}

    assert torch.equal(sets["training"].images, sets["none"].images)
    assert torch.equal(sets["both"].images, sets["matching"].images)
    assert not torch.equal(sets["matching"].images, sets["none"].images)
    assert len(set(losses.values())) == 4
    for name, images in sets.items():
        assert (images.weights is not None) == (name in ("training", "both"))
    trained, both = sets["training"].weights, sets["both"].weights
    assert trained is not None
    assert both is not None
    assert trained.mean() == pytest.approx(1, rel=1e-12)
    assert torch.equal(trained, both)
    assert [results[name].row["weights_in"] for name in ("none", "both")] == ["matching", "both"]


def test_decoded_images_have_the_weights_of_the_stored_ones(
    digits: ImageData, tiny: Tiny, tmp_path: Path
) -> None:
    config = tiny(weights="size", weights_in="both", ipc=2)
    result = run(config, digits)
    files = DistillationTrial.extra_files(config, result)
    (tmp_path / "decoded.parquet").write_bytes(files["decoded.parquet"])
    stored, decoded = distilled(result), load_distilled(tmp_path / "decoded.parquet")

    assert stored.weights is not None
    assert decoded.weights is not None
    assert torch.equal(decoded.weights, stored.weights.repeat(4))
    assert torch.equal(decoded.labels, stored.labels.repeat(4))


@pytest.mark.parametrize("n_units", [1, 3, 5, 8])
def test_a_resumed_weighted_trial_ends_bit_for_bit_the_same(
    digits: ImageData, tiny: Tiny, tmp_path: Path, n_units: int
) -> None:
    config = tiny(weights="size", weights_in="both", ipc=2)
    plain = run(config, digits)
    done = 0

    def stop() -> bool:
        nonlocal done
        done += 1
        return done == n_units

    with pytest.raises(InterruptedTrialError, match="stopped in outer iteration"):
        run(config, digits, checkpoint_folder=LocalFolder(tmp_path), should_stop=stop)
    resumed = run(config, digits, checkpoint_folder=LocalFolder(tmp_path))

    assert repeatable(resumed) == repeatable(plain)
    assert plain.artifacts["distilled"].equals(resumed.artifacts["distilled"])


def test_zero_outer_iterations_evaluate_the_initial_images(digits: ImageData, tiny: Tiny) -> None:
    result = run(tiny(n_outer=0), digits)

    assert [point["outer"] for point in result.curve] == [0]
    assert result.row["matching_loss"] is None
    assert result.row["test_accuracy_mean"] is not None


def test_the_same_trial_twice_is_the_same(digits: ImageData, tiny: Tiny) -> None:
    first, second = (run(tiny(clusterer="kmedoids"), digits) for _ in range(2))

    assert repeatable(first) == repeatable(second)
    assert repeatable_curve(first) == repeatable_curve(second)
    assert torch.equal(distilled(first).images, distilled(second).images)


@pytest.mark.parametrize("n_units", [1, 2, 3, 5, 8, 11])
def test_a_resumed_trial_ends_bit_for_bit_the_same(
    digits: ImageData, tiny: Tiny, tmp_path: Path, n_units: int
) -> None:
    """Units are inner loops (4 of them) and epochs of evaluations (8): 12 in all."""
    config = tiny(weights="size", init="random", n_inner=2, cluster_interval=2)
    plain = run(config, digits)
    done = 0

    def stop() -> bool:
        nonlocal done
        done += 1
        return done == n_units

    with pytest.raises(InterruptedTrialError, match="stopped in outer iteration"):
        run(config, digits, checkpoint_folder=LocalFolder(tmp_path), should_stop=stop)
    resumed = run(config, digits, checkpoint_folder=LocalFolder(tmp_path))

    assert (plain.row["n_resumes"], resumed.row["n_resumes"]) == (0, 1)
    assert repeatable(resumed) == repeatable(plain)
    assert repeatable_curve(resumed) == repeatable_curve(plain)
    assert torch.equal(distilled(resumed).images, distilled(plain).images)


def test_a_trial_interrupted_after_every_unit_finishes(
    digits: ImageData, tiny: Tiny, tmp_path: Path
) -> None:
    config = tiny()
    plain, n_runs = run(config, digits), 0
    while True:
        n_runs += 1
        try:
            result = run(
                config, digits, checkpoint_folder=LocalFolder(tmp_path), should_stop=lambda: True
            )
        except InterruptedTrialError:
            continue
        break

    assert n_runs == 12
    assert result.row["n_resumes"] == 11
    assert repeatable(result) == repeatable(plain)


def test_a_corrupt_checkpoint_is_skipped_for_the_one_before(
    digits: ImageData, tiny: Tiny, tmp_path: Path
) -> None:
    config = tiny()
    plain = run(config, digits)
    n_calls = 0

    def stop() -> bool:
        nonlocal n_calls
        n_calls += 1
        return n_calls == 6

    with pytest.raises(InterruptedTrialError):
        run(
            config,
            digits,
            checkpoint_folder=LocalFolder(tmp_path),
            checkpoint_seconds=0,
            should_stop=stop,
        )
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    warnings: list[str] = []

    result = run(
        config, digits, checkpoint_folder=LocalFolder(tmp_path), on_warning=warnings.append
    )

    assert len(warnings) == 1
    assert "is corrupt; using the previous one" in warnings[0]
    assert repeatable(result) == repeatable(plain)


@pytest.mark.parametrize("what", ["trial_id", "fingerprint"])
def test_a_checkpoint_of_another_trial_is_refused(
    digits: ImageData, tiny: Tiny, tmp_path: Path, what: str
) -> None:
    config = tiny()
    with pytest.raises(InterruptedTrialError):
        run(config, digits, checkpoint_folder=LocalFolder(tmp_path), should_stop=lambda: True)
    other = config.replace(seed=1) if what == "trial_id" else config
    data = digits if what == "trial_id" else dataclasses.replace(digits, fingerprint="0" * 64)

    with pytest.raises(UserError, match=f"the checkpoint has {what}"):
        run(other, data, checkpoint_folder=LocalFolder(tmp_path))


def test_infeasible_and_diverged_trials_leave_a_record(digits: ImageData, tiny: Tiny) -> None:
    infeasible = run(tiny(clusterer="dbscan", eps=1e-6), digits)
    diverged = run(tiny(net_lr=1e30, n_inner=20, eval_every=0), digits)
    all_noise = run(tiny(clusterer="hdbscan", min_cluster_size=100), digits)

    assert all_noise.row["status"] == "infeasible"
    assert "min_cluster_size" in all_noise.row["status_message"]
    assert infeasible.row["status"] == "infeasible"
    assert "eps" in infeasible.row["status_message"]
    assert diverged.row["status"] == "diverged"
    assert "lower lr_img" in diverged.row["status_message"]
    finished = run(tiny(), digits)
    for result in (infeasible, all_noise, diverged):
        assert result.artifacts == {}
        assert result.row["test_accuracy_mean"] is None, "null, and not left out"
        assert result.row.keys() == finished.row.keys()


def test_progress_rises_to_one_and_estimates_the_time_left(digits: ImageData, tiny: Tiny) -> None:
    seen: list[Progress] = []
    run(tiny(), digits, on_progress=seen.append)
    fractions = [progress.fraction for progress in seen]

    assert len(seen) == 12
    assert fractions[-1] == 1.0
    assert seen[-1].seconds_left == 0
    assert seen[-1].accuracy is not None
    assert all(0 < fraction <= 1 for fraction in fractions)
    assert {progress.step for progress in seen} == {0, 1, 2}


def test_a_network_that_does_not_fit_is_refused(digits: ImageData, tiny: Tiny) -> None:
    with pytest.raises(UserError, match="instance norm needs images larger than 8×8"):
        check(tiny(eval_networks=["resnet10"]), digits)


def test_the_baseline_is_repeatable_and_better_than_chance(digits: ImageData, tiny: Tiny) -> None:
    config = tiny(ipc=10, eval_epochs=40)
    first, second = (random_images_baseline(config, digits) for _ in range(2))

    assert first == second
    assert len(first) == 2
    assert min(first) > 0.2, "chance is 0.1"


def test_classes_restrict_a_distillation(digits: ImageData, tiny: Tiny) -> None:
    """The images of two classes, renumbered; the result is that of a data set of only these."""
    config = tiny(classes=["8", "3"])
    result = run(config, digits)
    images = distilled(result)

    assert config.classes == ("3", "8")
    assert (images.class_names, images.labels.tolist()) == (("3", "8"), [0, 1])
    assert result.row["n_classes"] == 2
    assert result.row["classes"] == ["3", "8"]
    assert result.row["n_train"] == int(torch.isin(digits.train_labels, torch.tensor([3, 8])).sum())
    assert result.row["trial_id"] != tiny().trial_id
    assert torch.equal(
        distilled(run(tiny(), with_classes(digits, ("3", "8")))).images, images.images
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["3", "ten"]}, "unknown class 'ten'"),
        ({"n_representatives": 1000}, "n_representatives asks for 1000 representatives per class"),
        ({"ipc": 100}, r"ipc · factor² asks for 400 initial images per class"),
        ({"augment": "crops"}, "crops"),
        ({"network": "resnet10", "width": None, "depth": None}, "needs images larger than 8×8"),
        (
            {"network": "vit", "width": None, "depth": None},
            "network 'vit' has no convolutions, whose gradients are matched",
        ),
    ],
)
def test_run_refuses_what_does_not_fit_before_any_work(
    digits: ImageData, tiny: Tiny, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    for begin in (check, run):
        with pytest.raises(UserError, match=message):
            begin(tiny(**changes), digits)
    with pytest.raises(UserError, match=message):
        run(tiny(**changes), digits, checkpoint_folder=LocalFolder(tmp_path / "checkpoints"))

    assert not (tmp_path / "checkpoints").exists()


def test_replacing_in_a_resolved_config_resolves_again(tiny: Tiny) -> None:
    """Options of the new component are filled in, and the published variant takes its place."""
    agglomerative = tiny().replace(clusterer="agglomerative")
    published = tiny().replace(protocol="published", weights="size")

    assert agglomerative["linkage"] == "ward"
    assert agglomerative == tiny(clusterer="agglomerative")
    assert (published.clusterer, published.weights) == ("kmeans_published", "published")
    assert published == tiny(protocol="published", weights="size")
    with pytest.raises(UserError, match="linkage does not apply to clusterer 'kmeans'"):
        agglomerative.replace(clusterer="kmeans")


def test_without_matching_the_start_is_evaluated(digits: ImageData, tiny: Tiny) -> None:
    config = tiny(match="none", factor=1, eval_epochs=2, n_eval=1, n_outer=3)
    result = run(config, digits)

    assert result.row["status"] == "ok"
    assert result.row["matching_seconds"] == result.row["network_seconds"] == 0
    assert result.row["matching_loss"] is None
    start = Dream(config, digits).images.flatten(0, 1)
    stored = distilled(result).images.float() / 255
    torch.testing.assert_close(stored, start, rtol=0, atol=1e-6)


@pytest.mark.parametrize("missing", ["cluster_quality", "cpu_seconds"])
def test_checkpoint_of_an_older_version_starts_the_trial_anew(
    digits: ImageData, tiny: Tiny, tmp_path: Path, missing: str
) -> None:
    config, folder = tiny(), LocalFolder(tmp_path)
    with pytest.raises(InterruptedTrialError):
        run(config, digits, checkpoint_folder=folder, should_stop=lambda: True)
    found = load_checkpoint(folder, lambda _: None)
    assert found is not None
    tensors, values = found
    del (values if missing in values else values["dream"])[missing]
    save_checkpoint(folder, tensors, values)

    warnings: list[str] = []
    result = run(config, digits, checkpoint_folder=folder, on_warning=warnings.append)

    assert warnings == [
        f"the checkpoint has no '{missing}': another version of the code has written it; the trial "
        "starts from its beginning"
    ]
    assert result.row["n_resumes"] == 0
    assert repeatable(result) == repeatable(run(config, digits))


def test_clustering_that_does_not_fit_leaves_a_record() -> None:
    """40,000 points need 8 GB in DBSCAN; the process may have 2 GB more than it has."""
    script = """
import dataclasses, json, resource
import torch
from distill import DistillationConfig, load_dataset, run

data = load_dataset("digits")
n = 40_000
many = dataclasses.replace(
    data,
    train_images=data.train_images[:1].repeat(2 * n, 1, 1, 1),
    train_labels=torch.arange(2 * n) % 2,
    test_images=data.test_images[data.test_labels < 2],
    test_labels=data.test_labels[data.test_labels < 2],
    class_names=("0", "1"),
)
config = DistillationConfig(
    clusterer="dbscan", eps=1.0, embedding="pixels", n_outer=1, n_inner=1, n_eval=1,
    eval_epochs=1, width=8, depth=1,
)
torch.zeros(1000, 1000) @ torch.zeros(1000, 1000)  # threads take address space, too
with open("/proc/self/status") as file:
    size = next(int(line.split()[1]) for line in file if line.startswith("VmSize:"))
limit = size * 1024 + 2 * 10**9
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
row = run(config, many).row
print(json.dumps([row["status"], row["status_message"]]))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    status, message = json.loads(ran.stdout)
    assert status == "out_of_memory"
    assert "the 40,000 points of a class need 8 GB (5 bytes a pair)" in message
    assert "take fewer images (--train-per-class)" in message


def test_what_the_allocator_refuses_is_a_row_and_other_failures_are_raised(
    digits: ImageData, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's allocator of the CPU raises a RuntimeError like many others."""
    monkeypatch.setattr(Dream, "match_all", lambda _: torch.empty(2**60))
    row = run(tiny(), digits).row
    assert row["status"] == "out_of_memory"
    assert "allocate" in row["status_message"]

    monkeypatch.setattr(Dream, "match_all", lambda _: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        run(tiny(), digits)


def test_saturated_images_are_counted_and_noticed(digits: ImageData, tiny: Tiny) -> None:
    """An update of thousands drives every pixel to a bound: an `ok` row at chance level."""
    warnings: list[str] = []
    result = run(tiny(lr_img=1e6, eval_every=0), digits, on_warning=warnings.append)
    images = read_distilled(result.artifacts["distilled"]).images.numpy()
    share = float(np.isin(images, (0, 255)).mean())
    assert result.row["status"] == "ok"
    assert result.row["saturated_share"] == pytest.approx(share)
    assert share > 0.9
    (notice,) = [line for line in result.row["notices"] if "saturated" in line]
    assert notice in warnings
    assert notice.endswith("the images are saturated; lower lr_img (now 1e+06)")
    assert notice.startswith(f"{share:.0%} of the pixel values of the learnt images are 0 or 255")


def test_images_that_are_not_saturated_give_no_notice(digits: ImageData, tiny: Tiny) -> None:
    """Real digits, of whose values half are 0."""
    result = run(tiny(n_outer=0), digits)
    images = read_distilled(result.artifacts["distilled"]).images.numpy()
    assert result.row["saturated_share"] == pytest.approx(np.isin(images, (0, 255)).mean())
    assert not [line for line in result.row["notices"] if "saturated" in line]
