"""The figure of differences from random images: its numbers, and that it is drawn."""

import pytest

from analysis.figures.evaluation import build, plots
from analysis.tables.build import build as build_tables
from analysis.tables.layout import Table
from tests.analysis.results import evaluation_rows_of, frame_of


def tables() -> tuple[Table, ...]:
    rows = []
    for network in ("convnet", "resnet10"):
        for ipc in (1, 10):
            rows += evaluation_rows_of("random", (0.2, 0.24, 0.22), ipc=ipc, network=network)
            rows += evaluation_rows_of("herding", (0.25, 0.27, 0.3), ipc=ipc, network=network)
        rows += evaluation_rows_of("dc.pt", (0.3, 0.36, 0.32), network=network)
    rows += evaluation_rows_of("all", (0.8, 0.8, 0.8))
    return build_tables(frame_of(rows), kinds=["evaluation"]).tables


def test_numbers_are_the_paired_differences() -> None:
    numbers = build(tables())

    assert len(numbers) == 2 * 3
    assert set(numbers["network"]) == {"convnet", "resnet10"}
    assert "all" not in set(numbers["set"])
    file = numbers[numbers["set"] == "dc.pt"]
    assert file["difference"].to_list() == pytest.approx([0.32 / 3, 0.32 / 3])
    assert file["ipc"].to_list() == [1, 1]
    assert set(numbers["n"]) == {3}


def test_every_network_has_a_panel() -> None:
    (plot,) = plots(tables())
    figure = plot.figure()

    titles = [axes.get_title("left") for axes in figure.axes if axes.axison]
    assert titles == ["convnet, hard labels", "resnet10, hard labels"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["herding", "dc"]


def test_no_two_sets_look_alike() -> None:
    rows = evaluation_rows_of("random", (0.2, 0.24, 0.22), ipc=1)
    for i in range(9):
        rows += evaluation_rows_of(f"{i}.pt", (0.3, 0.31, 0.32), set_hash=f"{i}" * 16)
    for weights_in in ("matching", "training"):
        rows += evaluation_rows_of("herding", (0.3, 0.31, 0.3), ipc=1, weights_in=weights_in)
    (plot,) = plots(build_tables(frame_of(rows), kinds=["evaluation"]).tables)
    lines = [
        line for axes in plot.figure().axes for line in axes.lines if line.get_marker() != "None"
    ]

    looks = {(x.get_color(), x.get_marker(), str(x.get_markerfacecolor())) for x in lines}
    assert len(looks) == len(lines) == 11


def test_nothing_is_drawn_without_comparisons() -> None:
    rows = evaluation_rows_of("dc.pt", (0.3, 0.31))
    assert list(plots(build_tables(frame_of(rows), kinds=["evaluation"]).tables)) == []
