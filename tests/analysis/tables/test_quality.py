"""What goes with accuracy: groups, numbers by SciPy, the printed table, findings and figure."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from analysis.__main__ import main
from analysis.figures.plot import svg
from analysis.figures.quality import plots
from analysis.findings.findings import findings, in_short
from analysis.findings.quality import quality_findings
from analysis.tables.build import build
from analysis.tables.layout import Table
from analysis.tables.quality import correlations, joint_tables
from analysis.tables.sheet import text_lines
from sweeps.store.store import Store
from tests.analysis.results import Row, config_of, frame_of, row_of

METHODS = ("kmeans", "kmeans++", "kmedoids", "agglomerative", "random")


def rows(seeds: int = 4, methods: tuple[str, ...] = METHODS, **fields: Any) -> list[Row]:
    """Accuracy falls with the quantisation error; silhouettes are unrelated noise."""
    generator = np.random.default_rng(1)
    found = []
    for place, method in enumerate(methods):
        for seed in range(seeds):
            error = 0.5 + 0.1 * place + 0.01 * generator.random()
            found.append(
                row_of(
                    config_of(method, seed=seed, **fields),
                    0.9 - error / 2 + 0.005 * generator.random(),
                    quantization_error_last=error,
                    quantization_error_mean=None if method == "random" else error + 0.1,
                    silhouette_last=generator.random(),
                    clustering_seconds=10.0 - place,
                )
            )
    return found


def tables_of(found: list[Row]) -> list[Table]:
    return list(build(frame_of(found), kinds=["distillation"]).tables)


def by_measure(found: list[Row]) -> dict[tuple[str, str], Row]:
    """The correlations of one group by measure and when it was taken."""
    records: list[Any] = correlations(tables_of(found)).to_dict("records")
    return {(record["measure"], record["taken"]): record for record in records}


def test_correlations_are_those_of_scipy_with_the_random_control() -> None:
    found = rows()
    numbers = by_measure(found)
    accuracies = [row["test_accuracy_mean"] for row in found]
    for measure in ("quantization_error", "silhouette"):
        expected = stats.spearmanr([row[f"{measure}_last"] for row in found], accuracies)
        line = numbers[measure, "last"]
        assert line["correlation"] == pytest.approx(expected.statistic)
        assert (line["rows"], line["seeds"], line["trials"]) == (5, 4, 20)
    assert numbers["quantization_error", "last"]["is_claimed"]
    assert not numbers["silhouette", "last"]["is_claimed"]
    # Over the run the control has no measure: four rows are left.
    assert numbers["quantization_error", "mean"]["rows"] == 4
    assert ("stability", "last") not in numbers
    assert numbers["clustering_seconds", "mean"]["correlation"] > 0.9
    assert list(numbers)[-1] == ("clustering_seconds", "mean"), "after the measures of quality"


def test_groups_are_images_a_class_protocols_and_data() -> None:
    found = [
        *rows(),
        *rows(ipc=1),
        *rows(protocol="published", methods=METHODS[:4]),
        *rows(dataset="svhn"),
    ]
    numbers = correlations(tables_of(found))
    assert set(numbers["group"]) == {
        "10 images a class, CIFAR-10",
        "1 image a class, CIFAR-10",
        "10 images a class, published protocol, CIFAR-10",
        "10 images a class, SVHN",
    }
    # Methods, embeddings and their options do not make groups of their own.
    both = correlations(tables_of([*rows(), *rows(embedding="pixels", init="random")]))
    assert set(both["group"]) == {"10 images a class"}
    assert set(both["rows"]) == {8, 10}


def test_the_published_protocol_is_judged_by_its_own_score() -> None:
    found = rows(protocol="published", methods=METHODS[:4])
    generator = np.random.default_rng(5)
    for row in found:
        row["test_accuracy_best_mean"] = generator.random()
    line = by_measure(found)["silhouette", "last"]
    best = [row["test_accuracy_best_mean"] for row in found]
    expected = stats.spearmanr([row["silhouette_last"] for row in found], best).statistic
    assert line["correlation"] == pytest.approx(expected)


def test_the_finding_claims_only_what_excludes_zero() -> None:
    (finding,) = quality_findings(tables_of(rows()))
    (case,) = finding.cases
    assert finding.verdict == "measured"
    assert case.startswith("Accuracy is higher with less quantisation error at the end (−0.9")
    assert "silhouette" not in case
    assert "seconds" not in case, "they are no quality"
    assert "Of the other measures nothing is claimed" in case
    assert "Correlation is not cause" in case
    assert any(case in line for line in in_short(findings(tables_of(rows()))))


def test_noise_is_undecided_and_few_seeds_are_not_tested() -> None:
    found = rows()
    for row in found:
        row["quantization_error_last"] = row["quantization_error_mean"] = None
    (finding,) = quality_findings(tables_of(found))
    assert finding.verdict == "undecided"
    assert finding.cases[0].startswith("No measure of quality goes with accuracy")

    (few,) = quality_findings(tables_of(rows(seeds=2)))
    assert few.verdict == "not tested"
    assert few.cases[0] == (
        "nothing is claimed of what goes with accuracy (10 trials, 5 rows, 2 seeds): an interval "
        "needs 3 seeds and 4 rows"
    )
    numbers = correlations(tables_of(rows(seeds=4, methods=METHODS[:3])))
    assert numbers["low"].isna().all()
    assert not numbers["is_claimed"].any()


def test_two_rows_and_rows_without_measures_have_no_table() -> None:
    assert joint_tables(tables_of(rows(methods=METHODS[:2]))) == []
    assert joint_tables([]) == []
    found = [row | dict.fromkeys((k for k in row if k.endswith("_last")), None) for row in rows()]
    found = [row | {"quantization_error_mean": None} for row in found]
    assert joint_tables(tables_of(found)) == []
    assert list(plots(tables_of(found))) == []


def test_the_table_is_printed_with_intervals_and_marks() -> None:
    (table,) = joint_tables(tables_of(rows()))
    text = "\n".join(text_lines(table.sheet, 100))
    assert re.search(r"^quantisation error +at the end +−0\.9", text, re.MULTILINE)
    assert "] *" in text
    assert "Correlation is not cause" in " ".join(text.split())
    first = table.sheet.columns[0].cells
    assert len(first) == len(table.numbers) == 4
    assert re.search(r"^seconds of the clusterings +over the run", text, re.MULTILINE)


def test_rows_of_before_an_option_was_added_are_of_the_same_group() -> None:
    found = rows()
    for row in found[::3]:
        row["networks"] = None
    numbers = correlations(tables_of(found))
    assert numbers["group"].nunique() == 1
    assert set(numbers.loc[numbers["measure"] == "quantization_error", "trials"]) == {20, 16}


def test_a_seed_with_hardly_a_trial_leaves_the_interval() -> None:
    found = [row for row in rows(seeds=5) if row["seed"] < 4 or row["clusterer"] == "kmeans"]
    line = by_measure(found)["quantization_error", "last"]
    assert (line["seeds"], line["trials"]) == (5, 21)
    assert line["is_claimed"]


def test_starts_have_no_mean_over_a_run() -> None:
    numbers = correlations(tables_of(rows(match="none")))
    assert set(numbers["taken"]) == {"last"}


def test_the_figure_shows_every_number_and_is_the_same_every_time() -> None:
    found = [*rows(), *rows(ipc=1, seeds=2)]
    (first,), (second,) = list(plots(tables_of(found))), list(plots(tables_of(found)))
    assert svg(first.figure()) == svg(second.figure())
    lines = [line for axes in first.figure().axes for line in axes.lines]
    marks = [line for line in lines if line.get_marker() in ("o", "s")]
    drawn = sorted(float(np.asarray(mark.get_xdata())[0]) for mark in marks)
    assert drawn == pytest.approx(sorted(first.numbers["correlation"]))
    filled = [mark for mark in marks if mark.get_markerfacecolor() != "none"]
    assert len(filled) == int(first.numbers["is_claimed"].sum()) > 0
    many = [row for ipc in (1, 2, 5, 10, 20) for row in rows(ipc=ipc)]
    assert [plot.name for plot in plots(tables_of(many))] == [
        "distillation-quality-1",
        "distillation-quality-2",
    ]


def test_the_command_writes_table_figure_finding_and_report(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.create()
    for row in rows():
        store.put_result(row, [])
    out = tmp_path / "out"
    assert main([store.uri, "--out", str(out)]) == 0
    assert (out / "distillation-quality.csv").read_text().startswith("group,dataset,ipc,protocol")
    assert "quantisation error" in (out / "distillation-quality.md").read_text()
    assert (out / "figures" / "distillation-quality.svg").exists()
    assert "Accuracy is higher with less quantisation" in (out / "findings.md").read_text()
    page = (out / "report.html").read_text()
    assert "figure-distillation-quality" in page
    assert "What goes with accuracy" in page
    assert not math.isnan(float(correlations(tables_of(rows()))["low"].iloc[0]))
