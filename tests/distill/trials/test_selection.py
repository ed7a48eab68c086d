"""Selections: both protocols, every selector, and resuming from any interruption."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.components import known_names
from distill.config.selection import SelectionConfig
from distill.datasets import ImageData, load_dataset
from distill.datasets.images import with_classes
from distill.errors import InterruptedTrialError, UserError
from distill.evaluation.classifier_evaluation import ClassifierEvaluation
from distill.kinds import COMMON_COLUMNS, KINDS
from distill.runtime.checkpoint import LocalFolder
from distill.selection.registry import SELECTORS
from distill.trials.base import Progress, Result
from distill.trials.distilled_files import read_distilled
from distill.trials.image_selection import ImageSelection
from distill.trials.runner import check
from distill.trials.runner import run as run_trial
from distill.trials.selection import COUNT_COLUMNS, CURVE_COLUMNS, SelectionTrial
from tests.distill.datasets.sources import needs

pytestmark = pytest.mark.lengthy

SELECTOR_NAMES = known_names(SelectionConfig.static_fields()["selector"])
PUBLISHED_SELECTORS = tuple(SELECTORS.published_variants())
UNREPEATABLE = {"started_at", "peak_memory_bytes", "n_resumes", "git_commit"}
CASES: list[dict[str, Any]] = [
    *({"selector": selector} for selector in SELECTOR_NAMES),
    *({"selector": selector, "protocol": "published"} for selector in PUBLISHED_SELECTORS),
    {"selector": "augmentation", "augment_mode": "add"},
    {"selector": "augmentation", "augment_selector": "cluster_grid", "augment_contrast": True},
    {"selector": "augmentation", "augment_selector": "k_center", "embedding": "pixels"},
    {"selector": "herding", "embedding": "pca"},
    {"selector": "nearest_center", "clusterer": "kmedoids", "embedding": "pixels"},
    {"network": "convnet", "width": 8, "depth": 2},
    {"network": "convnet", "width": 8, "depth": 2, "norm": "batch", "pooling": "max"},
    {"network": "resnet10", "norm": "batch"},
    {
        "selector": "herding",
        "ipc": 3,
        "recipe": "distillation",
        "network": "convnet",
        "eval_epochs": 5,
    },
]
IDS = ["-".join(str(value) for value in case.values()) for case in CASES]


def small(**changes: object) -> SelectionConfig:
    """Two digits, two epochs: about a second."""
    values: dict[str, object] = {"classes": ["3", "8"], "val_fraction": 0.1}
    if changes.get("recipe") != "distillation":
        values["epochs"] = 2
    if changes.get("embedding", "features") == "features" and changes.get("selector") in (
        "herding",
        "k_center",
        "nearest_center",
    ):
        values["feature_epochs"] = 2
    return SelectionConfig.from_dict(values | changes)


def run(data: ImageData, **changes: object) -> Result:
    return run_trial(small(**changes), data)


def repeatable(result: Result) -> dict[str, object]:
    """The row without what a second run cannot repeat."""
    return {
        name: value
        for name, value in result.row.items()
        if not name.endswith("_seconds") and name not in UNREPEATABLE
    }


def samples_of(result: Result) -> tuple[list[object], list[int]]:
    samples = read_distilled(result.artifacts["samples"])
    return samples.images.tolist(), samples.labels.tolist()


def selection_of(result: Result) -> dict[str, list[Any]]:
    """The pool and what was selected of it, by column."""
    columns: dict[str, list[Any]] = result.artifacts["selections"].to_pydict()
    return columns


def grids_of(result: Result) -> list[dict[str, Any]]:
    metadata = result.artifacts["selections"].schema.metadata
    grids: list[dict[str, Any]] = json.loads(metadata[b"distill"])["grids"]
    return grids


def trial_of(data: ImageData, **changes: object) -> SelectionTrial:
    """A trial on two digits, to advance by hand."""
    config = small(**changes).resolve()
    return SelectionTrial(config, with_classes(data, config.classes))


def selected(result: Result) -> list[int]:
    """Rows of the training set that were chosen; none of them of another part."""
    columns = selection_of(result)
    return [
        row
        for row, part, times in zip(
            columns["row"], columns["part"], columns["times_selected"], strict=True
        )
        if times and part == "train"
    ]


@pytest.mark.parametrize("changes", CASES, ids=IDS)
def test_every_selector_ends_with_scores_and_a_selection(
    digits: ImageData, changes: dict[str, object]
) -> None:
    result = run(digits, **changes)
    row, columns = result.row, selection_of(result)

    assert (row["status"], row["status_message"]) == ("ok", "")
    assert row["trial_id"] == small(**changes).trial_id
    assert json.loads(json.dumps(row)) == row, "everything is plain"
    assert 0 <= row["test_accuracy_mean"] <= 1
    assert row["test_loss_mean"] > 0
    assert row["val_accuracy_mean"] is None, "a missing number is null"
    assert row["n_networks"] == 1
    assert (row["kind"], row["n_classes"]) == ("selection", 2)
    assert row["n_test"] == int(torch.isin(digits.test_labels, torch.tensor([3, 8])).sum())
    kind = KINDS["selection"]
    assert row.keys() == {*COMMON_COLUMNS, *kind.config_columns, *kind.result_columns}
    assert set(COUNT_COLUMNS) <= row.keys()
    assert {len(column) for column in columns.values()} == {row["n_pool"]}
    assert sum(columns["times_selected"]) == row["n_selected"]
    assert sum(times > 0 for times in columns["times_selected"]) == row["n_distinct"]
    assert all(point.keys() == set(CURVE_COLUMNS) for point in result.curve)
    assert bool(grids_of(result)) == (row["n_cells_occupied"] is not None)
    assert (row["cluster_size_histogram"] is None) == (row["n_clusters_mean"] is None)


def test_all_rows_have_the_same_columns(digits: ImageData) -> None:
    results = [
        run(digits),
        run(digits, protocol="published", selector="cluster_grid"),
        run(digits, selector="nearest_center", clusterer="dbscan", eps=1e-6, embedding="pixels"),
    ]

    assert [result.row["status"] for result in results] == ["ok", "ok", "infeasible"]
    assert len({tuple(result.row) for result in results}) == 1
    assert "eps" in results[2].row["status_message"]
    assert results[2].artifacts == {}
    assert results[2].row["test_accuracy_mean"] is None


@pytest.mark.parametrize("selector", SELECTOR_NAMES)
def test_the_sound_fraction_is_exact_and_stratified(digits: ImageData, selector: str) -> None:
    changes = {} if selector == "base" else {"fraction": 0.2}
    result = run(digits, selector=selector, epochs=1, **changes)
    n_train = len(trial_of(digits).data.train_images)
    rows = selected(result)

    assert len(rows) == (n_train if selector == "base" else int(0.2 * n_train + 0.5))
    assert result.row["n_selected"] == result.row["n_distinct"] == len(rows)
    assert result.row["n_test_selected"] == 0
    columns = selection_of(result)
    assert set(columns["part"]) == {"train"}
    labels = [columns["label"][row] for row in rows]
    assert abs(labels.count(0) / len(rows) - columns["label"].count(0) / n_train) < 0.02


def test_images_of_each_class_can_be_asked_for_by_number(digits: ImageData) -> None:
    result = run(digits, selector="k_center", embedding="pixels", ipc=7)
    labels = [selection_of(result)["label"][row] for row in selected(result)]

    assert (labels.count(0), labels.count(1)) == (7, 7)


def test_the_curve_has_every_epoch_of_every_classifier(digits: ImageData) -> None:
    result = run(digits, n_eval=2, epochs=3)

    assert [(point["network_index"], point["epoch"]) for point in result.curve] == [
        (index, epoch) for index in (0, 1) for epoch in (1, 2, 3)
    ]
    assert [point["n_steps"] for point in result.curve] == [1, 2, 3] * 2
    assert all(0 <= point["val_accuracy"] <= 1 for point in result.curve)
    assert all(point["train_loss"] > 0 for point in result.curve)
    assert result.row["n_networks"] == 2
    assert result.row["test_accuracy_std"] is not None


def test_without_validation_images_only_the_end_is_scored(digits: ImageData) -> None:
    data = dataclasses.replace(
        digits, val_images=digits.val_images[:0], val_labels=digits.val_labels[:0]
    )
    result = run(data)

    assert [point["val_accuracy"] for point in result.curve] == [None, None]
    assert result.row["test_accuracy_mean"] is not None
    assert result.row["test_accuracy_best_mean"] is None


def test_val_scores_never_see_the_test_images(
    digits: ImageData,
) -> None:
    changed = dataclasses.replace(digits, test_images=255 - digits.test_images)
    plain, inverted = (run(data, eval_split="val") for data in (digits, changed))

    assert plain.curve == inverted.curve
    assert plain.row["val_accuracy_mean"] == plain.curve[-1]["val_accuracy"]
    assert plain.row["val_accuracy_best_mean"] == max(p["val_accuracy"] for p in plain.curve)
    assert plain.row["test_accuracy_mean"] is None


@pytest.mark.parametrize("selector", ["cluster_grid", "herding", "augmentation"])
def test_test_images_have_no_influence_on_sound_selections(
    digits: ImageData, selector: str
) -> None:
    changed = dataclasses.replace(digits, test_images=255 - digits.test_images)
    plain, inverted = (run(data, selector=selector) for data in (digits, changed))

    assert selection_of(plain) == selection_of(inverted)
    assert plain.curve == inverted.curve
    assert plain.row["test_loss_mean"] != inverted.row["test_loss_mean"]


@pytest.mark.parametrize("protocol", ["sound", "published"])
def test_the_samples_are_images_that_were_trained_on(digits: ImageData, protocol: str) -> None:
    """Eight of each class; the augmentation's are transformed ones."""
    for selector in ("random", "augmentation"):
        trial = trial_of(digits, selector=selector, protocol=protocol)
        while not trial.selection.done:
            trial.advance()
        images, labels = trial._training_set()
        pairs = list(zip(images.flatten(1).tolist(), labels.tolist(), strict=True))
        found = trial.samples

        assert found is not None
        assert found.class_names == ("3", "8")
        assert found.labels.tolist() == [0] * 8 + [1] * 8
        for image, label in zip(found.images.flatten(1).tolist(), found.labels, strict=True):
            assert (image, int(label)) in pairs


def test_copies_of_test_images_are_left_out_with_a_warning(digits: ImageData) -> None:
    config = small(selector="base", epochs=1)
    data = with_classes(digits, config.classes)
    images = data.train_images.clone()
    images[[2, 9]] = data.test_images[:2]
    warnings: list[str] = []
    leaky = dataclasses.replace(data, train_images=images)
    result = run_trial(config, leaky, on_warning=warnings.append)

    assert result.row["n_duplicates"] == 2
    assert result.row["n_pool"] == len(images) - 2
    assert not {2, 9} & set(selected(result))
    assert warnings == ["left out 2 training images whose very pixels are among those held out"]


def test_two_digits_are_told_apart_in_seconds(digits: ImageData) -> None:
    assert run(digits, selector="base", epochs=10).row["test_accuracy_mean"] > 0.9
    assert run(digits, fraction=0.2, epochs=10).row["test_accuracy_mean"] > 0.8


class TestPublished:
    """The paper's defects, counted on ten digits."""

    def test_the_cluster_grid_takes_test_images_and_too_many(self, digits: ImageData) -> None:
        """Of 1,797 images and groups of two classes and two clusters, each as large as the whole.

        Distinct images are under half of all, so about that share of the test images is chosen,
        and those are known to the classifier.
        """
        result = run(digits, protocol="published", selector="cluster_grid", fraction=0.3)
        row = result.row
        data = trial_of(digits).data
        n_meant = int(0.3 * len(data.train_images) + 0.5)

        assert row["n_selected"] == row["n_trained_on"] == 4 * n_meant
        assert row["n_pool"] == sum(
            len(part) for part in (data.train_images, data.val_images, data.test_images)
        )
        assert row["n_distinct"] < row["n_selected"], "drawn with replacement"
        share = row["n_test_selected"] / len(data.test_images)
        # The test images are chosen like all others; ± 0.09 is three standard deviations.
        assert share == pytest.approx(row["n_distinct"] / row["n_pool"], abs=0.18)
        assert share > 0.3
        seen, unseen = row["test_seen_accuracy_mean"], row["test_unseen_accuracy_mean"]
        n_seen = row["n_test_selected"]
        n_unseen = len(data.test_images) - n_seen
        assert row["test_accuracy_mean"] == pytest.approx(
            (seen * n_seen + unseen * n_unseen) / len(data.test_images)
        )

    def test_the_test_set_serves_as_validation_set(self, digits: ImageData) -> None:
        result = run(digits, protocol="published", epochs=3)
        accuracies = [point["val_accuracy"] for point in result.curve]

        assert result.row["test_accuracy_mean"] == accuracies[-1], "the last epoch's"
        assert result.row["test_accuracy_best_mean"] == max(accuracies)
        assert result.row["test_unseen_accuracy_mean"] == accuracies[-1]
        assert result.row["test_seen_accuracy_mean"] is None

    def test_copies_of_test_images_are_not_noticed(self, digits: ImageData) -> None:
        data = trial_of(digits).data
        images = data.train_images.clone()
        images[2] = data.test_images[0]
        row = run(
            dataclasses.replace(data, train_images=images), protocol="published", selector="base"
        ).row

        assert row["n_duplicates"] == 0
        assert row["n_test_selected"] == 0, "not by its place, which is all the paper looked at"
        assert row["test_seen_accuracy_mean"] in (0.0, 1.0)

    def test_augmentation_draws_five_times_and_keeps_no_original(self, digits: ImageData) -> None:
        trial = trial_of(digits, protocol="published", selector="augmentation")
        while not trial.selection.done:
            trial.advance()
        n = sum(trial.selection.quotas)
        originals, _ = trial.selection.chosen()
        images, labels = trial._training_set()

        assert trial.selection.selection is not None
        assert len(images) == 5 * n
        assert len(torch.unique(trial.selection.selection.rows)) < 5 * n
        assert torch.bincount(labels).tolist() == [5 * quota for quota in trial.selection.quotas]
        destroyed = ((images == 0) | (images == 255)).flatten(1).all(dim=1)
        # A fifth, ± 0.03 (one standard deviation); four of them.
        assert float(destroyed.double().mean()) == pytest.approx(0.2, abs=0.12)
        assert not ((originals == 0) | (originals == 255)).flatten(1).all(dim=1).any()

    def test_running_statistics_are_the_paper_s(self) -> None:
        assert small(protocol="published").resolve()["norm_statistics"] == "running"
        assert small().resolve()["norm_statistics"] == "recomputed"


@pytest.mark.parametrize(
    ("mode", "copies", "factor"), [("replace", 5, 5), ("add", 5, 6), ("replace", 1, 1)]
)
def test_sound_augmentation_copies_the_exact_fraction(
    digits: ImageData, mode: str, copies: int, factor: int
) -> None:
    trial = trial_of(digits, selector="augmentation", augment_mode=mode, augment_copies=copies)
    while not trial.selection.done:
        trial.advance()
    originals, original_labels = trial.selection.chosen()
    images, labels = trial._training_set()

    assert len(images) == factor * len(originals) == factor * sum(trial.selection.quotas)
    assert torch.equal(labels, original_labels.repeat(factor))
    kept = torch.equal(images[: len(originals)], originals)
    assert kept == (mode == "add")


@pytest.mark.parametrize(
    "changes",
    [
        {"augment_selector": "cluster_grid", "grid_size": 3},
        {"augment_selector": "nearest_center", "embedding": "pixels"},
    ],
)
def test_clustered_augmentation_transforms_what_its_selector_chooses(
    digits: ImageData, changes: dict[str, object]
) -> None:
    """The same images as that selector alone chooses, with its clusters and grids."""
    names = dict(changes)
    alone = run(digits, selector=names.pop("augment_selector"), **names)
    augmented = run(digits, selector="augmentation", augment_mode="add", **changes)

    assert selection_of(augmented) == selection_of(alone)
    assert grids_of(augmented) == grids_of(alone)
    assert augmented.row["n_trained_on"] == 6 * alone.row["n_trained_on"]
    for name in ("n_clusters_mean", "n_cells_occupied", "n_filled", "plane_explained"):
        assert augmented.row[name] == alone.row[name]
    assert augmented.row["n_clusters_mean"] is not None
    random = run(digits, selector="augmentation", augment_mode="add")
    assert selected(random) != selected(augmented)


def test_equal_steps_are_those_of_the_whole_set(digits: ImageData) -> None:
    whole = run(digits, selector="base")
    for changes in ({"fraction": 0.1}, {"fraction": 0.5}, {"selector": "augmentation"}):
        part = run(digits, equal_steps=True, **changes)
        assert [p["n_steps"] for p in part.curve] == [p["n_steps"] for p in whole.curve]
    assert run(digits, fraction=0.1).row["n_steps"] < whole.row["n_steps"]


@pytest.mark.parametrize("selector", ["cluster_grid", "herding", "augmentation"])
def test_the_seed_decides_the_result(digits: ImageData, selector: str) -> None:
    first, again, other = (run(digits, selector=selector, seed=seed) for seed in (3, 3, 4))

    assert repeatable(first) == repeatable(again)
    assert first.curve == again.curve
    assert selection_of(first) == selection_of(again)
    assert first.curve != other.curve


RESUMED: list[dict[str, Any]] = [
    {"selector": "herding", "n_eval": 2},
    {"selector": "cluster_grid", "protocol": "published", "epochs": 5},
    {"selector": "augmentation", "epochs": 5},
    {"selector": "augmentation", "augment_selector": "cluster_grid", "epochs": 5},
    {"selector": "random", "network": "convnet", "width": 8, "depth": 2, "epochs": 5},
    {
        "selector": "random",
        "ipc": 3,
        "recipe": "distillation",
        "network": "convnet",
        "eval_epochs": 3,
        "n_eval": 2,
    },
]


@pytest.mark.parametrize(
    "changes", RESUMED, ids=["-".join(map(str, case.values())) for case in RESUMED]
)
@pytest.mark.parametrize("n_units", [1, 3, 6])
def test_a_resumed_trial_ends_bit_for_bit_the_same(
    digits: ImageData, tmp_path: Path, changes: dict[str, Any], n_units: int
) -> None:
    """Units are epochs and the selection: seven in the first case, six in the next four."""
    config = small(**changes)
    plain = run_trial(config, digits)
    done = 0

    def stop() -> bool:
        nonlocal done
        done += 1
        return done == n_units

    folder = LocalFolder(tmp_path)
    try:
        resumed = run_trial(config, digits, checkpoint_folder=folder, should_stop=stop)
    except InterruptedTrialError:
        resumed = run_trial(config, digits, checkpoint_folder=folder)

    assert repeatable(resumed) == repeatable(plain)
    assert resumed.curve == plain.curve
    assert selection_of(resumed) == selection_of(plain)
    assert grids_of(resumed) == grids_of(plain)
    assert samples_of(resumed) == samples_of(plain)


def test_a_trial_interrupted_after_every_unit_finishes(digits: ImageData, tmp_path: Path) -> None:
    config = small(selector="herding", n_eval=2)
    plain, n_runs, places = run_trial(config, digits), 0, []
    while True:
        n_runs += 1
        try:
            result = run_trial(
                config,
                digits,
                checkpoint_folder=LocalFolder(tmp_path),
                should_stop=lambda: True,
            )
        except InterruptedTrialError as error:
            places.append(str(error))
            continue
        break

    assert n_runs == 7, "two epochs for the features, the selection, two epochs of two classifiers"
    assert repeatable(result) == repeatable(plain)
    assert result.row["n_resumes"] == 6
    assert places[0] == "stopped in the selection of images"
    assert places[-1] == "stopped in epoch 4 of 4"


def test_a_checkpoint_of_another_trial_is_refused(digits: ImageData, tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    with pytest.raises(InterruptedTrialError):
        run_trial(small(), digits, checkpoint_folder=folder, should_stop=lambda: True)

    with pytest.raises(UserError, match="the checkpoint has trial_id"):
        run_trial(small(seed=1), digits, checkpoint_folder=folder)


def test_a_diverged_trial_leaves_a_record(digits: ImageData) -> None:
    row = run(digits, lr=1e30, epochs=4).row

    assert row["status"] == "diverged"
    assert "lower lr (now 1e+30)" in row["status_message"]
    assert row["test_accuracy_mean"] is None


@pytest.mark.parametrize(
    "changes", [{}, {"selector": "herding"}, {"selector": "cluster_grid", "protocol": "published"}]
)
def test_progress_rises_to_one_and_counts_epochs(
    digits: ImageData, changes: dict[str, object]
) -> None:
    seen: list[Progress] = []
    run_trial(small(**changes), digits, on_progress=seen.append)
    fractions = [progress.fraction for progress in seen]

    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert (seen[-1].step, seen[-1].n_steps, seen[-1].seconds_left) == (2, 2, 0)
    assert seen[-1].accuracy is not None
    assert seen[-1].accuracy_step == 2
    assert seen[-1].loss is not None


def test_coresets_are_scored_as_distilled_images_are(digits: ImageData) -> None:
    """Ten images a class of ten digits: above chance, with the distillation's four tests."""
    result = run_trial(
        SelectionConfig(
            selector="nearest_center",
            embedding="pixels",
            ipc=10,
            recipe="distillation",
            network="convnet",
            width=16,
            n_eval=2,
            eval_epochs=100,
        ),
        digits,
    )

    assert result.row["n_selected"] == 100
    assert result.row["n_networks"] == 2
    assert result.row["test_accuracy_mean"] > 0.7
    assert result.row["test_accuracy_best_mean"] >= result.row["test_accuracy_mean"]
    assert result.curve == []


WEIGHTED: list[dict[str, Any]] = [
    {"selector": "herding", "fraction": 0.05},
    {"selector": "k_center", "ipc": 6, "embedding": "pixels"},
    {"selector": "nearest_center", "ipc": 6, "embedding": "pixels"},
    {"selector": "nearest_center", "ipc": 5, "recipe": "distillation"},
    {"selector": "cluster_grid", "fraction": 0.05},
]


@pytest.mark.parametrize("changes", WEIGHTED, ids=lambda case: "-".join(map(str, case.values())))
def test_weights_are_the_shares_of_the_images_chosen(
    digits: ImageData, changes: dict[str, Any]
) -> None:
    if changes.get("recipe") == "distillation":
        changes = changes | {"network": "convnet", "width": 8, "depth": 2, "eval_epochs": 30}
    plain, weighted = (run(digits, **changes, weights_in=way) for way in ("matching", "training"))
    columns = selection_of(weighted)

    assert selection_of(plain) == {k: v for k, v in columns.items() if k != "weight"}
    assert weighted.row["test_loss_mean"] != plain.row["test_loss_mean"]
    chosen = [times > 0 for times in columns["times_selected"]]
    assert [weight is not None for weight in columns["weight"]] == chosen
    weights = [weight for weight in columns["weight"] if weight is not None]
    assert sum(weights) == pytest.approx(len(weights), rel=1e-12)
    assert max(weights) > (1.02 if changes["selector"] == "cluster_grid" else 1.2)
    # Every class has as much weight as it has images in the pool.
    n = len(columns["label"])
    for label in (0, 1):
        rows = [i for i in range(n) if columns["label"][i] == label]
        share = sum(columns["weight"][i] or 0.0 for i in rows) / len(weights)
        assert share == pytest.approx(len(rows) / n, rel=1e-9)
    if changes["selector"] in ("nearest_center", "cluster_grid"):
        groups = list(zip(columns["label"], columns["cluster"], strict=True))
        ratios: dict[int, list[float]] = {0: [], 1: []}
        for i in range(n):
            if chosen[i]:
                same = [j for j in range(n) if groups[j] == groups[i]]
                mass = len(same) / sum(chosen[j] for j in same)
                ratios[columns["label"][i]].append(columns["weight"][i] / mass)
        for label in (0, 1):  # in proportion: a small group may have given no image
            assert ratios[label] == pytest.approx([ratios[label][0]] * len(ratios[label]))


def test_weights_in_training_reach_the_loss(digits: ImageData) -> None:
    """In the order of the images; the training loss of the curve is the weighted one."""
    trial = trial_of(digits, selector="k_center", embedding="pixels", ipc=4, weights_in="training")
    trial.advance()
    assert trial.selection.selection is not None
    evaluation = trial._evaluation
    assert isinstance(evaluation, ClassifierEvaluation)
    assert evaluation.weights is not None

    pool = trial.selection.pool
    pixels = pool.images.flatten(1).float() / 255
    rows = trial.selection.selection.rows
    masses = [0] * 8
    for point, label in zip(pixels, pool.labels, strict=True):
        distances = (pixels[rows] - point).norm(dim=1)
        distances[pool.labels[rows] != label] = torch.inf
        masses[int(distances.argmin())] += 1
    expected = torch.tensor(masses) * 8 / len(pixels)
    torch.testing.assert_close(evaluation.weights, expected)
    assert torch.equal(evaluation.images, pool.images[rows])


@pytest.mark.parametrize("n_units", [2, 4, 5])
def test_a_resumed_weighted_selection_ends_bit_for_bit_the_same(
    digits: ImageData, tmp_path: Path, n_units: int
) -> None:
    config = small(selector="k_center", ipc=5, weights_in="training", n_eval=2)
    plain = run_trial(config, digits)
    done = 0

    def stop() -> bool:
        nonlocal done
        done += 1
        return done == n_units

    folder = LocalFolder(tmp_path)
    with pytest.raises(InterruptedTrialError):
        run_trial(config, digits, checkpoint_folder=folder, should_stop=stop)
    resumed = run_trial(config, digits, checkpoint_folder=folder)

    assert repeatable(resumed) == repeatable(plain)
    assert selection_of(resumed) == selection_of(plain)


def test_published_sampler_takes_a_third_of_the_test_photos() -> None:
    """Half of the paper's photos, small: the shares that its log and figures show."""
    data = load_dataset(
        f"parquet:{needs('cats-vs-dogs-0.parquet')}", image_size=16, test_fraction=0.1
    )
    counts = {}
    for protocol in ("published", "sound"):
        trial = SelectionTrial(
            SelectionConfig(selector="cluster_grid", protocol=protocol).resolve(), data
        )
        trial.advance()
        counts[protocol] = {name: value or 0 for name, value in trial.counts().items()}

    published, sound = counts["published"], counts["sound"]
    assert published["n_selected"] == 4 * 675
    assert 0.25 < published["n_test_selected"] / 750 < 0.36
    assert 0.8 < published["n_distinct"] / published["n_selected"] < 0.9
    assert 0.5 < published["n_filled"] / published["n_selected"] < 0.9
    assert sound["n_selected"] == sound["n_distinct"] == 675
    assert sound["n_test_selected"] == 0
    assert sound["n_filled"] < 0.5 * sound["n_selected"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["3", "ten"]}, "unknown class 'ten'"),
        ({"fraction": 0.001}, "fraction 0.001 of 256 images is 0, fewer than the 2 classes"),
        ({"ipc": 200}, "class '3' has 131 training images to choose from, fewer than the 200"),
        ({"network": "convnet", "depth": 5}, "depth must be at most 3 for 8×8 images"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    digits: ImageData, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check(small(**changes), digits)
    with pytest.raises(UserError, match=message):
        run(digits, **changes)


def test_random_clusters_train_no_network_and_choose_random_images(digits: ImageData) -> None:
    """The same images by whatever they would be compared."""
    values = {"selector": "nearest_center", "clusterer": "random", "ipc": 3, "epochs": 1}
    chosen = []
    for embedding in ("features", "pixels"):
        config = SelectionConfig.from_dict(values | {"embedding": embedding}).resolve()
        trial = ImageSelection(config, digits)
        assert trial.advance() is None, "no epoch of a network that gives features"
        assert trial.done
        assert trial.selection is not None
        assert "quantization_error_last" not in trial.selection.counts, "nothing to measure it by"
        chosen.append(trial.selection.rows.tolist())
    assert chosen[0] == chosen[1]
    labels = digits.train_labels[torch.tensor(chosen[0])]
    assert torch.bincount(labels).tolist() == [3] * 10
