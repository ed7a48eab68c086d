"""Tables of evaluations: sets beside as many random images, one table for each size."""

import json
import sys
from typing import Any

import pandas as pd
import pytest

from analysis.tables.build import build
from analysis.tables.evaluation import set_label
from analysis.tables.printing import print_tables
from tests.analysis.results import Row, evaluation_rows_of, frame_of

RANDOM = (0.20, 0.22, 0.21, 0.19)
GOOD = (0.30, 0.33, 0.30, 0.29)


def frame() -> pd.DataFrame:
    rows = evaluation_rows_of("random", RANDOM, ipc=1)
    rows += evaluation_rows_of("random", RANDOM, ipc=10)
    rows += evaluation_rows_of("herding", (0.25,) * 4, ipc=1)
    rows += evaluation_rows_of("all", (0.8, 0.8, 0.81, 0.79))
    rows += evaluation_rows_of("/data/kmeans/distilled.parquet", GOOD)
    rows += evaluation_rows_of("random", RANDOM, ipc=1, labels="teacher")
    rows += evaluation_rows_of("/data/dc.pt", GOOD, {"teacher_accuracy": 0.77}, labels="teacher")
    return frame_of(rows)


def test_each_size_and_way_of_labelling_has_a_table() -> None:
    tables = build(frame(), kinds=["evaluation"]).tables

    assert [table.title for table in tables] == [
        "Sets judged on CIFAR-10, 1 image a class, convnet, hard labels",
        "Sets judged on CIFAR-10, 10 images a class, convnet, hard labels",
        "Sets judged on CIFAR-10, 1 image a class, convnet, teacher labels",
    ]
    assert [table.labels for table in tables] == [
        ("random real images", "herding", "all real images", "kmeans/distilled"),
        ("random real images", "all real images"),
        ("random real images", "dc"),
    ]


def test_sets_are_compared_with_random_images_by_seed() -> None:
    table = build(frame(), kinds=["evaluation"]).tables[0]
    rows = table.rows.set_index("label")

    assert rows.loc["kmeans/distilled", "sound_difference"] == pytest.approx(0.1)
    assert rows.loc["kmeans/distilled", "sound_verdict"] == "different"
    assert rows.loc["herding", "sound_difference"] == pytest.approx(0.045)
    assert rows.loc["all real images", "sound_verdict"] == "", "a mark, not a rival"


def test_a_changed_file_has_a_row_of_its_own() -> None:
    rows = evaluation_rows_of("random", RANDOM, ipc=1)
    rows += evaluation_rows_of("a/dc.pt", GOOD)
    rows += evaluation_rows_of("a/dc.pt", GOOD[:2], set_hash="ffff456789abcdef")
    (table,) = build(frame_of(rows), kinds=["evaluation"]).tables

    assert table.labels == ("random real images", "dc", "dc (content ffff45)")
    assert [len(row.trials) for row in table.entries] == [4, 4, 2]


def test_a_moved_file_stays_in_its_row_and_another_of_its_name_has_its_own() -> None:
    rows = evaluation_rows_of("random", RANDOM, ipc=1)
    moved = [*evaluation_rows_of("a/dc.pt", GOOD)[:2], *evaluation_rows_of("b/dc.pt", GOOD)[2:]]
    rows += moved + evaluation_rows_of("b/dc.pt", GOOD, set_hash="ffff456789abcdef")
    (table,) = build(frame_of(rows), kinds=["evaluation"]).tables

    assert table.labels == ("random real images", "dc", "dc (content ffff45)")
    assert [len(row.trials) for row in table.entries] == [4, 4, 4]


def test_a_file_with_the_name_of_a_way_to_choose_is_a_file() -> None:
    rows = evaluation_rows_of("random", RANDOM, ipc=1)
    rows += evaluation_rows_of("a/random.pt", GOOD)
    rows += evaluation_rows_of("a/herding", GOOD, set_hash="f" * 16)  # a folder
    (table,) = build(frame_of(rows), kinds=["evaluation"]).tables

    assert table.labels == ("random real images", "herding (file)", "random")
    assert table.rows["set"].to_list() == ["random", "herding/", "random.pt"]
    assert table.baseline == 0


def test_sets_in_files_are_compared_with_coresets_and_all_images() -> None:
    rows = evaluation_rows_of("random", RANDOM, ipc=1)
    rows += evaluation_rows_of("herding", (0.25,) * 4, ipc=1)
    rows += evaluation_rows_of("k_center", (0.2,) * 4, ipc=1)
    rows += evaluation_rows_of("all", (0.8,) * 4)
    rows += evaluation_rows_of("a/dc.pt", GOOD)
    (table,) = build(frame_of(rows), kinds=["evaluation"]).tables
    asked = {answered.question.topic.name: answered for answered in table.tested}

    found = {
        pair.label: difference.mean
        for topic in ("coresets", "all images")
        for pair, difference in zip(
            asked[topic].pairs, asked[topic].family.differences, strict=True
        )
    }
    assert found == pytest.approx(
        {"dc − herding": 0.055, "dc − k-center": 0.105, "dc − all real images": -0.495}
    )


def test_weighted_sets_are_compared_with_random_images_and_with_themselves() -> None:
    rows = evaluation_rows_of("random", RANDOM, ipc=1)
    rows += evaluation_rows_of("a/dc.pt", GOOD)
    rows += evaluation_rows_of("a/dc.pt", [score + 0.02 for score in GOOD], weights_in="training")
    (table,) = build(frame_of(rows), kinds=["evaluation"]).tables
    asked = {answered.question.topic.name: answered for answered in table.tested}
    (pair,) = asked["weighted"].pairs

    assert table.labels == ("random real images", "dc", "dc (weighted)")
    assert (table.labels[pair.row], table.labels[pair.baseline]) == ("dc (weighted)", "dc")
    assert asked["weighted"].family.differences[0].mean == pytest.approx(0.02)
    assert table.rows.sound_difference.tolist()[1:] == pytest.approx([0.1, 0.12])


def test_tables_need_neither_the_files_nor_torch(capsys: pytest.CaptureFixture[str]) -> None:
    """The paths do not exist; `tests/test_imports.py` holds that nothing imports torch at once."""
    loaded = set(sys.modules)
    print_tables(frame(), kinds=["evaluation"])
    printed = capsys.readouterr().out

    assert "distill.sets.tensor_files" not in set(sys.modules) - loaded
    assert "teacher's own accuracy: 77.00 %." in printed
    assert max(map(len, printed.splitlines())) <= 80


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("k_center", "k-center"),
        ("/a/b/dc-cifar10.pt", "dc-cifar10"),
        ("/a/mtt/images_best.pt,/a/mtt/labels_best.pt", "mtt/images_best"),
        ("/a/b/photos", "photos"),
    ],
)
def test_labels_of_sets_say_which_file(name: str, label: str) -> None:
    assert set_label(name) == label


def test_rows_with_the_same_results_are_one_result() -> None:
    """At one image a class several choices take the same one: they were counted as three."""

    def rows(name: str, accuracies: tuple[float, ...], loss: float, **fields: Any) -> list[Row]:
        found = evaluation_rows_of(name, accuracies, **fields)
        for row, accuracy in zip(found, accuracies, strict=True):
            scores = {"convnet": {"accuracies": [accuracy], "losses": [loss + accuracy]}}
            row["network_scores"] = json.dumps(scores)
        return found

    alone = [
        *rows("random", (0.20, 0.22, 0.21), 1.0, ipc=1),
        *rows("k_center", (0.30, 0.33, 0.31), 2.0, ipc=1),
        *rows("a.pt", (0.30, 0.33, 0.31), 3.0),  # the same accuracies by chance
    ]
    same = rows("herding", (0.30, 0.33, 0.31), 2.0, ipc=1)
    (table,) = build(frame_of(alone)).tables
    (with_copy,) = build(frame_of([*alone, *same])).tables

    asked, again = (
        next(a for a in one.tested if a.question.topic.name == "sets") for one in (table, with_copy)
    )
    assert [pair.label for pair in again.pairs] == ["k-center = herding", "a"]
    assert again.family == asked.family
    shown = with_copy.rows.set_index("label")["sound_difference_high"]
    assert shown["k-center"] == shown["herding"]
    coresets = next(a for a in with_copy.tested if a.question.topic.name == "coresets")
    assert [pair.label for pair in coresets.pairs] == ["a − k-center = a − herding"]
