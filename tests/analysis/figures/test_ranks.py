"""Critical-difference pictures: ranks by hand, groups, and nothing where nothing is shared."""

import pytest

from analysis.figures.plot import svg
from analysis.figures.ranks import build, groups, plots
from analysis.tables.build import build as build_tables
from analysis.tables.layout import Table
from tests.analysis.results import Row, frame_of, rows_of

METHODS = ("kmeans", "kmeans++", "kmedoids", "dbscan", "random")


def tables_of(n_settings: int = 3, methods: tuple[str, ...] = METHODS) -> list[Table]:
    rows: list[Row] = []
    for ipc in (1, 10, 50)[:n_settings]:
        for place, method in enumerate(methods):
            level = 0.6 - 0.05 * place
            rows += rows_of(method, "none", (level, level + 0.001), ipc=ipc)
    return list(build_tables(frame_of(rows)).tables)


def test_the_ranks_of_rows_that_all_tables_have() -> None:
    numbers = build(tables_of(), "sound")

    assert numbers["row"].tolist()[:2] == ["K-Means F", "K-Means++ F"]
    assert numbers["mean_rank"].tolist() == [1, 2, 3, 4, 5]
    # Nemenyi: q = 2.728 for five rows, CD = 2.728 · √(5 · 6 / 18).
    assert numbers["critical_difference"][0] == pytest.approx(3.522, abs=1e-3)
    assert numbers["settings"].tolist() == [3] * 5


def test_groups_are_as_large_as_the_difference_allows() -> None:
    assert groups([1.0, 2.0, 3.0, 4.0, 5.0], 3.522) == [(0, 3), (1, 4)]
    assert groups([1.0, 5.0], 2.0) == []
    assert groups([1.0, 1.0, 1.0], 0.5) == [(0, 2)]


@pytest.mark.parametrize("tables", [tables_of(1), tables_of(3, ("kmeans", "random"))])
def test_one_setting_or_two_rows_have_no_picture(tables: list[Table]) -> None:
    assert list(plots(tables)) == []


def test_the_picture_is_drawn_the_same_every_time() -> None:
    (first,), (second,) = list(plots(tables_of())), list(plots(tables_of()))

    assert first.name == "distillation-ranks"
    assert "Mean ranks over 3 tables" in first.title
    assert svg(first.figure()) == svg(second.figure())
    axes = first.figure().axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == first.numbers["row"].tolist()
    bars = [line for line in axes.lines if line.get_linewidth() == 3]
    assert len(bars) == 2
