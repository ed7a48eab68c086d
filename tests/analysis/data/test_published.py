"""The published numbers: all there, and the ones that were printed."""

import pytest

from analysis.data.published import load_published

NINE_ROWS = (
    ("kmeans", "T"),
    ("kmeans", "F"),
    ("kmeans++", "T"),
    ("kmeans++", "F"),
    ("kmedoids", "T"),
    ("kmedoids", "F"),
    ("dbscan", "T"),
    ("dbscan", "F"),
    ("agglomerative", "F"),
)
"""Method and weights of the rows of paper 1's tables, in its order."""


@pytest.mark.parametrize(
    ("table", "row", "accuracy", "loss"),
    [
        ("Table 1", "K-Means T", 0.5019, 22.42),
        ("Table 1", "K-Means F (baseline)", 0.5009, 22.20),
        ("Table 1", "DBSCAN T", 0.4507, 47.96),
        ("Table 1", "Agglomerative F", 0.4236, 18.67),
        ("Table 2", "K-Means F (baseline)", 0.6651, 4.78),
        ("Table 2", "K-Means++ F", 0.6691, 4.23),
        ("Table 2", "K-Medoids T", 0.5747, 4.49),
        ("Table 2", "DBSCAN F", 0.5282, 17.81),
        ("Results", "random 50 %", 0.7480, 1.2986),
        ("Results", "clustering", 0.8947, 0.4024),
        ("Results", "augmentation", 0.7707, 0.8599),
    ],
)
def test_numbers_as_they_were_printed(table: str, row: str, accuracy: float, loss: float) -> None:
    published = load_published()
    found = published[(published["table"] == table) & (published["row"] == row)]

    assert dict(zip(found["column"], found["value"], strict=True)) == {
        "accuracy": accuracy,
        "loss": loss,
    }


def test_paper_1_has_its_nine_rows_for_both_sizes() -> None:
    published = load_published("paper1")

    for ipc, table in ((1, "Table 1"), (10, "Table 2")):
        of_table = published[(published["ipc"] == ipc) & (published["column"] == "accuracy")]
        assert set(of_table["table"]) == {table}
        assert tuple(zip(of_table["method"], of_table["weights"], strict=True)) == NINE_ROWS
    assert set(published["dataset"]) == {"cifar10"}
    assert len(published) == 2 * 9 * 2


def test_weights_changed_the_accuracies_of_paper_1_by_at_most_a_point() -> None:
    """Two unseeded runs of one algorithm, which is its noise: 0.04 to 0.93 points."""
    published = load_published("paper1")
    accuracies = published[published["column"] == "accuracy"].pivot_table(
        index=["ipc", "method"], columns="weights", values="value"
    )
    changes = 100 * (accuracies["T"] - accuracies["F"]).dropna().abs()

    assert len(changes) == 8
    assert changes.min() == pytest.approx(0.04)
    assert changes.max() == pytest.approx(0.93)


def test_every_value_has_a_place_and_a_source() -> None:
    published = load_published()

    for column in ("paper", "table", "row", "column", "value", "dataset", "source"):
        assert published[column].notna().all(), column
    assert set(published["paper"]) == {"paper1", "paper2", "reference"}
    key = ["paper", "table", "row", "column", "ipc", "n_outer"]
    assert not published.duplicated(key).any()
    accuracies = published[published["column"] == "accuracy"]["value"]
    assert accuracies.between(0.1, 0.95).all()


def test_what_others_report_grows_with_the_images() -> None:
    reference = load_published("reference")
    reported = reference[reference["table"] == "CIFAR-10, ConvNet-3"].dropna(subset=["ipc"])

    for _, rows in reported.groupby("row"):
        assert rows["ipc"].tolist() == [1, 10, 50]
        assert rows["value"].is_monotonic_increasing
