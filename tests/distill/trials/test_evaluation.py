"""Evaluations of sets: paired with random images, resumed bit for bit, taught once."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from distill.__main__ import main
from distill.config.evaluation import EvaluationConfig
from distill.config.selection import SelectionConfig
from distill.datasets import ImageData
from distill.dream.multiformation import encode
from distill.errors import UserError
from distill.evaluation.classifier import Classifier
from distill.evaluation.shared_weights import cache_folder
from distill.evaluation.teacher import Teacher, teacher_folder
from distill.runtime.checkpoint import LocalFolder
from distill.trials.distilled_files import distilled_table, parquet_bytes, with_soft_labels
from distill.trials.evaluation import EvaluationTrial
from distill.trials.image_selection import ImageSelection
from distill.trials.runner import check, notices_of, run

TINY = {"eval_epochs": 3, "n_eval": 2, "width": 4, "depth": 1}
TEACHER = {"teacher_epochs": 2}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of teachers for each test."""
    monkeypatch.setenv("DREAM_SWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def config_of(**values: Any) -> EvaluationConfig:
    return EvaluationConfig(**{**TINY, "val_fraction": 0.1, **values})


@pytest.fixture
def set_file(digits: ImageData, tmp_path: Path) -> Path:
    """Two real images of each digit, as IDC stores them."""
    rows = torch.cat([indices[:2] for indices in digits.class_indices])
    path = tmp_path / "idc.pt"
    torch.save([digits.train_images[rows].float() / 255, digits.train_labels[rows]], path)
    return path


def finished(config: EvaluationConfig, data: ImageData) -> EvaluationTrial:
    trial = EvaluationTrial(config.resolve(), data)
    while not trial.done:
        trial.advance()
    return trial


def test_a_set_of_chosen_images_scores_as_these_do(digits: ImageData, tmp_path: Path) -> None:
    """Networks, batches and augmentation are paired: only the images make a difference."""
    config = config_of(set="random", ipc=2, seed=3)
    chosen = finished(config, digits)
    selection = ImageSelection(
        SelectionConfig(
            selector="random",
            ipc=2,
            seed=3,
            val_fraction=0.1,
            recipe="distillation",
            network="convnet",
        ).resolve(),
        digits,
    )
    selection.advance()
    images, labels = selection.chosen()
    torch.save([images, labels], tmp_path / "set.pt")

    read = finished(config_of(set=str(tmp_path / "set.pt"), seed=3), digits)
    columns = [trial.result_columns(is_ok=True) for trial in (chosen, read)]

    assert columns[0]["network_scores"] == columns[1]["network_scores"]
    assert columns[0]["coverage_mean"] == columns[1]["coverage_mean"]
    assert columns[0]["n_stored"] == columns[1]["n_stored"] == 20


@pytest.mark.parametrize("labels", ["hard", "teacher"])
def test_weights_of_a_set_count_as_those_of_chosen_images(
    digits: ImageData, tmp_path: Path, labels: str
) -> None:
    """The same images and weights, chosen and from a file, train the same networks."""
    values = {"labels": labels, "seed": 3, **(TEACHER if labels == "teacher" else {})}
    chosen = finished(config_of(set="k_center", ipc=2, weights_in="training", **values), digits)
    assert chosen._set is not None
    assert chosen._set.weights is not None
    stored = {
        "images": chosen._set.images,
        "labels": chosen._set.labels,
        "weights": chosen._set.weights * 7,
    }
    path = str(tmp_path / "set.pt")
    torch.save(stored, path)
    read, equal = (
        finished(config_of(set=path, weights_in=way, **values), digits)
        for way in ("both", "matching")
    )
    scores = [t.result_columns(is_ok=True)["network_scores"] for t in (chosen, read, equal)]
    losses = [of_networks["convnet"]["losses"] for of_networks in scores]

    assert read.config.weights_in == "training", "nothing is matched"
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert losses[2] != pytest.approx(losses[0], rel=1e-3)


def test_weights_need_a_set_that_has_them(digits: ImageData, set_file: Path) -> None:
    with pytest.raises(UserError, match=r"carries no weights \(IDC.*use weights_in matching"):
        check(config_of(set=str(set_file), weights_in="training"), digits)
    with pytest.raises(UserError, match=r"got set 'random', whose images stand for equally many"):
        config_of(set="random", weights_in="training")


def test_factor_enlarges_the_parts_of_each_image(digits: ImageData, tmp_path: Path) -> None:
    images = torch.cat([digits.train_images[rows[:4]] for rows in digits.class_indices])
    by_part = images.view(10, 4, 1, 8, 8).transpose(0, 1).flatten(0, 1)
    path = tmp_path / "set.pt"
    torch.save([encode(by_part.float() / 255, 2), torch.arange(10)], path)

    row = run(config_of(set=str(path), factor=2), digits).row

    assert (row["ipc"], row["factor"], row["n_stored"], row["n_trained_on"]) == (1, 2, 10, 40)
    assert "2×2 images in each" in row["notices"][0]


def test_content_of_the_files_is_part_of_the_identity(digits: ImageData, set_file: Path) -> None:
    planned = config_of(set=str(set_file)).resolve()
    before = planned.trial_id
    assert config_of(set=str(set_file)).trial_id == before

    images, labels = torch.load(set_file)
    torch.save([images.flip(0), labels.flip(0)], set_file)

    assert config_of(set=str(set_file)).trial_id != before
    with pytest.raises(UserError, match=r"idc\.pt' has changed: its hash is .*run the command"):
        check(planned, digits)


def test_a_set_that_is_moved_is_the_same_trial(set_file: Path) -> None:
    before = config_of(set=str(set_file)).trial_id
    moved = set_file.with_name("elsewhere.pt")
    set_file.rename(moved)

    assert config_of(set=str(moved)).trial_id == before
    assert config_of(set=str(moved), factor=2).trial_id != before


def test_a_planned_trial_keeps_its_identity_without_the_files(set_file: Path) -> None:
    """So that results are analysed where the set is not."""
    planned = config_of(set=str(set_file)).resolve().to_dict()
    identity = EvaluationConfig.from_dict(planned).trial_id
    set_file.unlink()

    assert EvaluationConfig.from_dict(planned).trial_id == identity
    with pytest.raises(UserError, match="no such set"):
        config_of(set=str(set_file)).resolve()


@pytest.mark.parametrize("labels", ["hard", "soft", "teacher"])
def test_a_stopped_evaluation_resumes_bit_for_bit(labels: str, digits: ImageData) -> None:
    options = {} if labels == "hard" else {**TEACHER, "label_loss": "mixture"}
    config = config_of(set="herding", ipc=2, labels=labels, feature_epochs=1, **options).resolve()
    whole = EvaluationTrial(config, digits)
    trial = EvaluationTrial(config, digits)
    while not whole.done:
        whole.advance()
    for file in teacher_folder().glob("*"):
        file.unlink()  # else the stopped trial would take the trained teacher
    steps = 0
    while not trial.done:
        trial.advance()
        steps += 1
        tensors, values = trial.state()
        trial = EvaluationTrial(config, digits)
        trial.load_state(
            {name: tensor.clone() for name, tensor in tensors.items()},
            json.loads(json.dumps(values)),
        )
    expected = whole.result_columns(is_ok=True)
    found = trial.result_columns(is_ok=True)

    assert steps >= 1 + 1 + 1 + 2 * 3
    for name, value in expected.items():
        if not name.endswith("_seconds"):
            assert found[name] == value, name


def test_a_teacher_is_trained_once_for_equal_trials(digits: ImageData, set_file: Path) -> None:
    first = finished(config_of(set=str(set_file), labels="teacher", **TEACHER), digits)
    (file,) = teacher_folder().iterdir()
    written = file.read_bytes()
    second = EvaluationTrial(
        config_of(set="random", ipc=2, seed=5, labels="teacher", **TEACHER).resolve(), digits
    )

    assert second.teacher is not None
    assert second.teacher.done
    assert first.teacher is not None
    for name, tensor in first.teacher.network.state_dict().items():
        assert torch.equal(second.teacher.network.state_dict()[name], tensor)
    columns = second.result_columns(is_ok=False)
    assert columns["teacher_accuracy"] == first.teacher.accuracy
    recipe = json.loads(columns["teacher_recipe"])
    assert (recipe["eval_lr"], recipe["eval_split"]) == (0.1, "test")
    assert recipe.keys() >= {"eval_batch_size", "eval_augment", "cutmix_prob"}
    assert file.read_bytes() == written


@pytest.mark.parametrize("change", [{"teacher_epochs": 3}, {"teacher_seed": 1}, {"width": 8}])
def test_another_teacher_is_trained_anew(change: dict[str, Any], digits: ImageData) -> None:
    values = {"labels": "teacher", **TEACHER}
    trained = Teacher(config_of(**values).resolve(), digits)
    while not trained.done:
        trained.run_epoch()

    students = {"seed": 9, "eval_augment": "none", "eval_lr": 0.02, "ipc": 3, "label_loss": "kl"}
    assert Teacher(config_of(**values, **students).resolve(), digits).done
    assert not Teacher(config_of(**values | change).resolve(), digits).done


def test_a_teacher_of_other_images_is_trained_anew(digits: ImageData) -> None:
    config = config_of(labels="teacher", **TEACHER).resolve()
    trained = Teacher(config, digits)
    while not trained.done:
        trained.run_epoch()
    brighter = dataclasses.replace(digits, mean=digits.mean + 0.1)

    assert not Teacher(config, brighter).done


def test_the_first_of_two_teachers_is_kept(digits: ImageData) -> None:
    config = config_of(labels="teacher", **TEACHER).resolve()
    slow, fast = Teacher(config, digits), Teacher(config, digits)
    slow.run_epoch()
    while not fast.done:
        fast.run_epoch()
    slow.run_epoch()  # takes what the other has written

    assert slow.done
    assert slow.accuracy == fast.accuracy
    (file,) = teacher_folder().iterdir()
    file.write_bytes(b"cut off")
    assert not Teacher(config, digits).done


def test_a_trial_waits_for_the_teacher_that_another_one_trains(
    digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another machine: its lease is there, its process is not."""
    monkeypatch.setattr("distill.evaluation.shared_weights.WAIT_SECONDS", 0.01)
    config = config_of(labels="teacher", set="random", ipc=1, **TEACHER).resolve()
    trained = Teacher(config, digits)
    while not trained.done:
        trained.run_epoch()
    (file,) = teacher_folder().iterdir()
    weights = file.read_bytes()
    file.unlink()
    lease = {"holder": "other", "host": "another-machine", "pid": 1, "seconds": None, "at": 0}
    file.with_suffix(".lease").write_text(json.dumps(lease))

    trial = EvaluationTrial(config, digits)
    while trial.statistics is None:
        trial.advance()
    spent = dict(trial.seconds)
    for _ in range(3):
        trial.advance()

    assert trial.teacher is not None
    assert trial.teacher.epochs_left == TEACHER["teacher_epochs"]
    assert trial.seconds == spent, "waiting is no work"
    file.write_bytes(weights)
    trial.advance()
    assert trial.teacher.accuracy == trained.accuracy


def test_classes_that_are_capped_are_said_in_the_row(digits: ImageData) -> None:
    config = config_of(set="random", ipc=1000, on_small_class="cap")

    (line,) = notices_of(config, digits)

    assert "ipc" in line
    assert run(config_of(set="random", ipc=1000, on_small_class="cap", eval_epochs=1), digits).row[
        "notices"
    ] == [line]


def test_notices_hold_no_control_characters(digits: ImageData) -> None:
    data = dataclasses.replace(digits, notices=("left out: a\x1b[31m\u202eb\udce9.png",))

    (line,) = notices_of(config_of(set="random", ipc=1), data)

    assert line.isprintable()
    line.encode()


def test_networks_that_give_features_are_trained_once(
    digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another coreset of the seed takes the weights, and chooses as without them."""
    values = {"ipc": 2, "feature_epochs": 2}
    finished(config_of(set="herding", **values), digits)
    (file,) = (cache_folder() / "features").iterdir()
    epochs: list[int] = []
    run_epoch = Classifier.run_epoch

    def counted(self: Classifier, *given: Any, **named: Any) -> Any:
        epochs.append(1)
        return run_epoch(self, *given, **named)

    monkeypatch.setattr(Classifier, "run_epoch", counted)
    taken = finished(config_of(set="k_center", **values), digits)
    assert not epochs
    file.unlink()
    trained = finished(config_of(set="k_center", **values), digits)
    assert len(epochs) == 2
    rows = [trial.result_columns(is_ok=True) for trial in (taken, trained)]
    assert rows[0]["network_scores"] == rows[1]["network_scores"]
    assert rows[0]["coverage_mean"] == rows[1]["coverage_mean"]

    finished(config_of(set="k_center", seed=1, **values), digits)
    finished(config_of(set="k_center", ipc=2, feature_epochs=1), digits)
    assert len(epochs) == 2 + 2 + 1, "another seed or recipe is another network"


def test_a_coreset_waits_for_the_network_that_another_trial_trains(
    digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill.evaluation.shared_weights.WAIT_SECONDS", 0.01)
    config = config_of(set="herding", ipc=1, feature_epochs=1).resolve()
    finished(config, digits)
    (file,) = (cache_folder() / "features").iterdir()
    weights = file.read_bytes()
    file.unlink()
    lease = {"holder": "other", "host": "another-machine", "pid": 1, "seconds": None, "at": 0}
    file.with_suffix(".lease").write_text(json.dumps(lease))
    trial = EvaluationTrial(config, digits)

    for _ in range(3):
        trial.advance()
    assert set(trial.seconds.values()) == {0.0}, "waiting is no work"
    file.write_bytes(weights)
    while not trial.done:
        trial.advance()
    assert trial.result_columns(is_ok=True)["coverage_mean"] is not None


def test_a_folder_that_cannot_be_written_costs_only_time(
    digits: ImageData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DREAM_SWEEP_CACHE", str(tmp_path / "file"))

    trial = finished(config_of(labels="teacher", ipc=1, **TEACHER), digits)

    assert trial.result_columns(is_ok=True)["teacher_accuracy"] is not None


def test_soft_labels_of_the_set_need_no_teacher(digits: ImageData, tmp_path: Path) -> None:
    pixels = torch.stack([digits.train_images[rows[0]] for rows in digits.class_indices])
    torch.save({"images": pixels, "labels": 9 * torch.eye(10)}, tmp_path / "soft.pt")
    set_of = {"set": str(tmp_path / "soft.pt"), "labels": "soft", "label_loss": "cross_entropy"}

    row = run(config_of(**set_of), digits).row

    assert row["labels_from"] == "set"
    assert row["teacher_accuracy"] is None
    assert not teacher_folder().exists()
    hard = run(config_of(**set_of | {"labels": "hard", "label_loss": None}), digits).row
    assert hard["labels_from"] is None
    assert hard["test_loss_mean"] != row["test_loss_mean"]


def test_a_labelled_set_can_be_judged_again(digits: ImageData, tmp_path: Path) -> None:
    """With the teacher's labels in the file, the same scores come out without a teacher."""
    config = config_of(set="random", ipc=2, labels="soft", label_loss="cross_entropy", **TEACHER)
    result = run(config, digits)
    path = tmp_path / "labelled.parquet"
    path.write_bytes(parquet_bytes(result.artifacts["labelled"]))

    again = run(config.replace(set=str(path), ipc=None), digits).row

    assert (result.row["labels_from"], again["labels_from"]) == ("teacher", "set")
    assert "soft labels (probabilities)" in again["notices"][0]
    assert again["ipc"] == 2
    assert again["test_loss_mean"] == pytest.approx(result.row["test_loss_mean"], rel=1e-3)


def test_soft_labels_must_be_of_the_images_of_a_table() -> None:
    table = distilled_table(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), ("a", "b"))
    with pytest.raises(ValueError, match=r"must have the shape \(2, 2\), got \(2, 3\)"):
        with_soft_labels(table, torch.zeros(2, 3))


def test_sure_soft_labels_train_as_hard_ones_do(digits: ImageData, tmp_path: Path) -> None:
    pixels = torch.stack([digits.train_images[rows[0]] for rows in digits.class_indices])
    torch.save({"images": pixels, "labels": torch.eye(10)}, tmp_path / "soft.pt")
    path = str(tmp_path / "soft.pt")

    rows = [
        run(config_of(set=path, **labels), digits).row
        for labels in ({}, {"labels": "soft", "label_loss": "cross_entropy"})
    ]

    assert rows[0]["test_loss_mean"] == pytest.approx(rows[1]["test_loss_mean"], rel=1e-4)


def test_all_real_images_have_epochs_of_their_own(digits: ImageData) -> None:
    row = run(config_of(set="all", all_epochs=1, n_eval=1), digits).row

    assert row["n_trained_on"] == row["n_stored"] == len(digits.train_images)
    assert row["ipc"] is None
    assert row["coverage_max"] == pytest.approx(0, abs=0.01)


def test_classes_of_different_sizes_are_told(digits: ImageData, tmp_path: Path) -> None:
    rows = torch.cat([indices[: 1 + (i == 3)] for i, indices in enumerate(digits.class_indices)])
    path = tmp_path / "set.pt"
    torch.save([digits.train_images[rows], digits.train_labels[rows]], path)
    config = config_of(set=str(path), labels="soft")

    lines = notices_of(config, digits)

    assert config.resolve()["ipc"] == 2
    assert any("its classes have 1 to 2 images" in line for line in lines)
    assert any("carries no soft labels; a teacher gives them" in line for line in lines)


def test_test_images_in_a_set_are_told(digits: ImageData, tmp_path: Path) -> None:
    images = torch.stack([digits.train_images[rows[0]] for rows in digits.class_indices])
    path = tmp_path / "set.pt"
    torch.save([images, torch.arange(10)], path)
    assert len(notices_of(config_of(set=str(path)), digits)) == 1
    images[3] = digits.test_images[digits.test_labels == 3][0]
    torch.save([images, torch.arange(10)], path)

    (_, line) = notices_of(config_of(set=str(path)), digits)

    assert "1 of its images are test images, pixel by pixel" in line


BAD = [
    ({"set": "file"}, "stands for a path"),
    ({"set": "randm"}, "no such set: 'randm'"),
    ({"protocol": "published"}, "an evaluation has no protocol 'published'"),
    ({"label_loss": "kl"}, "label_loss does not apply to labels 'hard'"),
    ({"temperature": 2.0, "labels": "soft", "label_loss": "cross_entropy"}, "temperature does not"),
    ({"factor": 2}, "factor does not apply to set 'random'"),
    ({"network": "photo_cnn"}, "unknown network 'photo_cnn'"),
]


@pytest.mark.parametrize(("values", "message"), BAD)
def test_bad_configurations_are_one_clear_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        config_of(**values).resolve()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"set_mean": ("0.5",)}, "give set_mean and set_std together"),
        ({"set_mean": ("0.5",), "set_std": ("0",)}, "set_std must be above 0"),
        ({"set_mean": ("x",), "set_std": ("1",)}, "set_mean"),
        ({"set_mean": ("0.5",), "set_std": ("1",), "set_range": "unit"}, "for set_range"),
        ({"ipc": 7}, "has 2 images of its largest class, got ipc 7"),
        ({"factor": 9}, "factor must be at most the 8 pixels"),
        ({"eval_augment": "zoom"}, "zoom"),
    ],
)
def test_bad_options_of_a_file_are_one_clear_line(
    values: dict[str, Any], message: str, set_file: Path, digits: ImageData
) -> None:
    with pytest.raises(UserError, match=message):
        check(config_of(set=str(set_file), **values), digits)


def test_the_command_judges_a_file(
    set_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        *("--kind", "evaluation", "--set", str(set_file), "--eval-epochs", "1", "--n-eval", "1"),
        *("--width", "4", "--depth", "1", "--out", str(tmp_path / "run")),
    ]

    assert main(arguments) == 0
    row = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (row["kind"], row["ipc"], row["n_stored"]) == ("evaluation", 2, 20)
    assert "IDC/DREAM tensors, 20 images of 10 classes" in capsys.readouterr().err
    assert (tmp_path / "run" / "samples.png").exists()
    set_file.write_bytes(b"changed")
    assert main(arguments) == 2
    assert "error: " in capsys.readouterr().err


SMALL = "--eval-epochs 1 --n-eval 1 --width 4 --depth 1 --seed 3".split()


@pytest.mark.parametrize("option", ["--on", "--dataset"])
def test_evaluate_is_the_kind_with_the_set_as_argument(
    option: str, set_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    long = ["--kind", "evaluation", "--set", str(set_file), "--dataset", "digits"]

    assert main([*long, *SMALL, "--out", "long"]) == 0
    assert main(["evaluate", str(set_file), option, "digits", *SMALL]) == 0

    (short,) = Path("distilled").iterdir()
    rows = [json.loads((folder / "result.json").read_text()) for folder in (Path("long"), short)]
    assert rows[0]["trial_id"] == rows[1]["trial_id"]
    assert rows[0]["network_scores"] == rows[1]["network_scores"]
    assert short.name == f"digits-idc-ipc2-{rows[0]['trial_id']}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one SET to judge"),
        (["a.pt", "b.pt"], "judges one set, got 2; .* dream-sweep evaluate a.pt b.pt"),
        (["a.pt", "--set", "b.pt"], "got it twice"),
        (["a.pt", "--kind", "selection"], "evaluate runs an evaluation, got kind 'selection'"),
        (["nowhere.pt"], r"no such set: 'nowhere\.pt'"),
        (["x" * 300], "cannot use the path|no such set"),
        (["a\x00b"], "cannot use the path|character"),
        (["a.pt", "--on", "cifar11"], "unknown dataset 'cifar11'; did you mean 'cifar10'"),
        (["a.pt", "--onn", "digits"], "unknown option '--onn'"),
    ],
)
def test_bad_usage_of_evaluate_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["evaluate", *arguments]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


class Code:
    """Runs code where a pickle with it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("open('was_run', 'w')",))


LABELS = torch.arange(10)

BAD_SETS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "classes": (lambda x: [torch.cat([x, x[:1]]), torch.arange(11)], "digits has 10 classes"),
    "nan": (lambda x: [x / 0 * 0, LABELS], "640 pixels of 10 of 10 images are NaN or infinite"),
    "code": (lambda _: {"data": Code()}, "code in a file is never run"),
    "below": (lambda x: [x, LABELS - 1], "labels must number the classes from 0, got -1"),
    "above": (lambda x: [x, LABELS + 5], "labels go up to 14, but there are only 10 images"),
    "far above": (lambda x: [x, LABELS * 10**11], "labels go up to 900000000000, but there are on"),
    "sparse": (
        lambda x: [x.to_sparse(), LABELS],
        "must be a dense tensor of real numbers, got one",
    ),
    "empty": (lambda x: [x[:9], LABELS[:9]], "1 of 10 classes have no image in the set: '9'"),
    "large": (
        lambda x: [x.repeat(300, 1, 1, 1), LABELS.repeat(300)],
        "300 images of class '0', digits only",
    ),
    "list": (lambda x: [list(x), LABELS], "it must hold DC's dictionary"),
    "size": (lambda x: [x.repeat(1, 1, 2, 2), LABELS], "of digits 8×8; .* with --image-size 16"),
}


@pytest.mark.parametrize("command", ["evaluate", "init"])
@pytest.mark.parametrize("name", BAD_SETS)
def test_a_bad_set_is_one_line_and_code_2(
    command: str,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    change, message = BAD_SETS[name]
    torch.save(change(torch.rand(10, 1, 8, 8)), "set.pt")
    start = ["--init", "set:set.pt", "--factor", "1", "--ipc", "300" if name == "large" else "1"]

    assert main([command, "set.pt"] if command == "evaluate" else start) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["set.pt"]


@pytest.mark.parametrize("command", ["evaluate", "init"])
def test_images_of_mixed_sizes_are_one_line_and_code_2(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in range(10):
        (tmp_path / str(label)).mkdir()
        Image.new("L", (8, 8 + label % 2)).save(tmp_path / str(label) / "image.png")

    start = ["--init", f"set:{tmp_path}", "--factor", "1"]
    assert main([command, str(tmp_path)] if command == "evaluate" else start) == 2
    error = capsys.readouterr().err
    assert re.match(r"error: the images differ in size: .* 8×8 .* 8×9; a set has one size", error)
    assert error.count("\n") == 1


def test_an_unknown_format_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set.npz").write_bytes(b"no tensors")

    for arguments in (["evaluate", f"{tmp_path}/set.npz"], ["--init", f"set:{tmp_path}/set.npz"]):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert re.match(r"error: unknown format of the set .*set\.npz: known are \.parquet", error)
        assert error.count("\n") == 1


def test_help_of_evaluate_names_the_set(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert "usage: python -m distill evaluate SET [options]" in printed
    assert "--on NAME" in printed
    assert "--label-loss" in printed


def test_checkpoints_hold_the_state_of_every_part(digits: ImageData, tmp_path: Path) -> None:
    config = config_of(set="random", labels="teacher", **TEACHER)
    folder = LocalFolder(tmp_path / "checkpoints")

    row = run(config, digits, checkpoint_folder=folder, checkpoint_seconds=0).row

    assert row["status"] == "ok"
    assert folder.names()
