"""What a teacher's labels do to the lead over random images, by hand."""

from typing import Any

import pytest

from analysis.findings.findings import findings, in_short
from analysis.findings.labels import label_interaction
from analysis.tables.build import build
from tests.analysis.results import Row, evaluation_rows_of, frame_of

TEACHER: dict[str, Any] = {"labels": "teacher"}
OTHER: dict[str, Any] = {"set_hash": "f" * 16}


def rows() -> list[Row]:
    """Returns one set whose lead of ten points the teacher's labels take, and one that keeps it."""
    return [
        *evaluation_rows_of("random", (0.20, 0.21, 0.20), ipc=1),
        *evaluation_rows_of("a.pt", (0.30, 0.31, 0.301)),
        *evaluation_rows_of("b.pt", (0.30, 0.311, 0.30), **OTHER),
        *evaluation_rows_of("random", (0.40, 0.41, 0.40), ipc=1, **TEACHER),
        *evaluation_rows_of("a.pt", (0.40, 0.411, 0.40), **TEACHER),
        *evaluation_rows_of("b.pt", (0.50, 0.511, 0.50), **TEACHER, **OTHER),
    ]


def test_differences_under_the_teachers_labels_less_those_under_hard_ones() -> None:
    hard, teacher = build(frame_of(rows()), kinds=["evaluation"]).tables

    found = label_interaction(hard, teacher)

    assert found.labels == ("a", "b")
    # a: (0, 0.001, 0) − (0.1, 0.1, 0.101); b: (0.1, 0.101, 0.1) − (0.1, 0.101, 0.1)
    assert [d.mean for d in found.family.differences] == pytest.approx([-0.1, 0.0])


def test_finding_says_which_sets_lose_their_lead() -> None:
    tables = build(frame_of(rows()), kinds=["evaluation"]).tables
    found = {f.verdict: f for f in findings(tables) if f.topic.name == "labels"}

    assert found["lower"].cases[0].startswith("a (−10.00 ± ")
    assert found["equivalent"].cases[0].startswith("b (0.00 ± ")
    assert found["lower"].setting.endswith("convnet, teacher labels, against hard ones")
    line = next(line for line in in_short(list(found.values())) if line.startswith("Labels"))
    assert line.endswith(", 2 lower, 1 equivalent.")  # with the mean over the sets


@pytest.mark.parametrize("network", ["convnet", "mlp"])
def test_differences_are_from_those_of_as_many_images_and_of_the_same_network(
    network: str,
) -> None:
    """One image of k-center was compared with ten; a teacher's width hid the rows of an MLP."""
    found = {}
    given: Row = {"network": network}
    trials: list[Row] = []
    for ipc, (hard, teacher) in {1: (0.35, 0.3), 10: (0.1, 0.5)}.items():
        for labels, lead in (("hard", hard), ("teacher", teacher)):
            fields = given | {"ipc": ipc, "labels": labels}
            trials += evaluation_rows_of("random", (0.4, 0.41), **fields)
            trials += evaluation_rows_of("k_center", (0.4 + lead, 0.411 + lead), **fields)
    for finding in findings(build(frame_of(trials), kinds=["evaluation"]).tables):
        if finding.topic.name == "labels":
            found[finding.setting.split(", ")[1]] = finding.cases[0]

    assert found["1 image a class"].startswith("k-center (−5.00")
    assert found["10 images a class"].startswith("k-center (+40.00")


def test_sets_without_hard_labels_or_of_another_recipe_are_not_compared() -> None:
    other: dict[str, Any] = {"n_eval": 7}
    alone = [row for row in rows() if row["labels"] == "teacher"]
    changed = [
        *evaluation_rows_of("random", (0.2, 0.3), ipc=1, **other),
        *evaluation_rows_of("a.pt", (0.2, 0.3), **other),
    ]

    tables = build(frame_of([*alone, *changed]), kinds=["evaluation"]).tables

    assert not [f for f in findings(tables) if f.topic.name == "labels"]
