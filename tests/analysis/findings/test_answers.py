"""The answer of a table in a sentence, and the picture beside it, on made-up results."""

import pytest

from analysis.figures.differences import MAX_PANELS, opening_plot
from analysis.findings.answers import answer, answers
from analysis.tables.build import build
from analysis.tables.layout import Table
from tests.analysis.findings.test_distillation import BASELINE, shifted, table_of
from tests.analysis.results import frame_of, rows_of


def mixed_table() -> Table:
    return table_of(
        *rows_of("kmedoids", "none", shifted(-0.09)),
        *rows_of("dbscan", "none", shifted(0.04)),
        *rows_of("agglomerative", "none", shifted(-0.001, 30)),
    )


def test_the_answer_names_what_differs_and_by_how_much() -> None:
    text = answer(mixed_table())

    assert text.startswith("CIFAR-10, 10 images a class, clustering of features: K-Means F (60.5")
    assert "is better than K-Medoids F by 9.00 ±" in text
    assert "is worse than DBSCAN F by 4.00 ±" in text
    assert text.endswith("and cannot be told apart from the other row (5 seeds).")


def test_nothing_decided_is_said() -> None:
    table = table_of(*rows_of("kmedoids", "none", shifted(-0.001, 30)))
    assert "K-Means F (60.50 %) cannot be told apart from the other row" in answer(table)


def test_one_seed_or_one_row_gives_no_verdict() -> None:
    alone = build(frame_of(rows_of("kmeans", "none", BASELINE))).tables
    assert answers(alone) == []
    assert opening_plot(alone) is None
    rows = [*rows_of("kmeans", "none", BASELINE[:1]), *rows_of("kmedoids", "none", [0.5])]
    tables = build(frame_of(rows)).tables
    assert all("better" not in text and "worse" not in text for text in answers(tables))
    assert opening_plot(tables) is None


def test_the_picture_holds_the_differences_of_the_table() -> None:
    table = mixed_table()
    plot = opening_plot([table])
    assert plot is not None
    numbers = plot.numbers.set_index("row")
    assert numbers.loc["K-Medoids F", "difference"] == pytest.approx(-9.0)
    assert [numbers.loc["K-Means F", name] for name in ("difference", "low", "high")] == [0, 0, 0]
    assert numbers["is_different"].to_dict() == {
        "K-Means F": False,
        "K-Medoids F": True,
        "DBSCAN F": True,
        "Agglomerative F": False,
    }
    assert len(plot.figure().axes) == 1


def test_the_picture_has_few_panels() -> None:
    rows = [
        row
        for ipc in (1, 10, 50, 100)
        for row in (
            *rows_of("kmeans", "none", BASELINE, ipc=ipc),
            *rows_of("kmedoids", "none", shifted(-0.09), ipc=ipc),
        )
    ]
    plot = opening_plot(build(frame_of(rows)).tables)
    assert plot is not None
    assert len(plot.figure().axes) == MAX_PANELS
