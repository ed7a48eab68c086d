"""Tables of selections: numbers by hand, variants in different rows, kinds in different tables."""

import io
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from analysis import print_tables
from analysis.data.trials import plan_of
from analysis.findings.findings import findings
from analysis.tables.build import build
from analysis.tables.files import write_table
from analysis.tables.layout import Table
from analysis.tables.printing import unstarted_lines
from analysis.tables.render import sheet
from analysis.tables.sheet import Sheet
from tests.analysis import golden
from tests.analysis.results import Row, failure_of, frame_of, selection_config_of, selection_rows_of


def results() -> list[Row]:
    return [
        *selection_rows_of("base", (0.91,)),
        *selection_rows_of("random", (0.70, 0.72, 0.74)),
        *selection_rows_of("random", (0.80, 0.81, None), fraction=0.25),
        *selection_rows_of("cluster_grid", (0.72, 0.75, 0.76)),
        *selection_rows_of("cluster_grid", (0.71,), n_clusters=4),
        *selection_rows_of("cluster_grid", (0.89, 0.90), protocol="published"),
        *selection_rows_of("herding", (0.6, 0.61, 0.62)),
    ]


@pytest.fixture(scope="module")
def table() -> Table:
    (found,) = build(frame_of(results())).tables
    return found


def cells(table: Table, selector: str, fraction: float = 0.1, options: str = "") -> pd.Series:
    rows = table.rows
    found = rows[(rows["selector"] == selector) & (rows["options"] == options)]
    found = found[(found["fraction"] == fraction) | found["fraction"].isna()]
    assert len(found) == 1
    return found.iloc[0]


def column(printed: Sheet, heading: str) -> tuple[str, ...]:
    return next(c.cells for c in printed.columns if c.heading.startswith(heading))


def test_rows_follow_the_paper_and_then_the_registry(table: Table) -> None:
    assert sheet(table).keys[0].cells == (
        "base (all images)",
        "random 50 %",
        "random 25 %",
        "random 10 %",
        "clustering 10 %",
        "augmentation 10 %",
        "clustering 10 % (n_clusters 4)",
        "herding 10 %",
    )


def test_a_row_by_hand(table: Table) -> None:
    row = cells(table, "cluster_grid")

    assert (row["published_accuracy"], row["published_loss"]) == (0.8947, 0.4024)
    assert row["reproduced_accuracy"] == pytest.approx(0.895)
    assert row["sound_accuracy"] == pytest.approx(2.23 / 3)
    # From random 10 %, seed by seed: 0.02, 0.03, 0.02.
    assert row["sound_difference"] == pytest.approx(0.07 / 3, abs=0.002)
    assert row["sound_pairs"] == 3
    assert (row["sound_images"], row["sound_gpu_seconds"]) == (1350, 5.0)


def test_members_are_the_trials_behind_the_rows(table: Table) -> None:
    trials = table.members[table.members["row"] == 2]

    assert table.rows["selector"][2] == "random"
    assert trials["seed"].tolist() == [0, 1, 2]
    assert trials["state"].tolist() == ["ok", "ok", "failed"]
    expected = [
        row["trial_id"] for row in selection_rows_of("random", (0.8, 0.81, None), fraction=0.25)
    ]
    assert trials["trial_id"].tolist() == expected
    clustering = table.members[table.members["row"] == 4]
    assert clustering["protocol"].value_counts().to_dict() == {"sound": 3, "published": 2}
    assert len(table.members) == len(results())


def test_gaps_and_failures(table: Table) -> None:
    assert cells(table, "augmentation")["sound_seeds"] is pd.NA
    quarter = cells(table, "random", 0.25)
    assert (quarter["sound_seeds"], quarter["sound_failed"]) == (2, 1)
    assert table.failed == {"diverged": 1}
    assert math.isnan(cells(table, "base")["sound_high"])


def test_the_baseline_is_a_random_tenth(table: Table) -> None:
    printed = sheet(table)

    assert column(printed, "difference")[3] == "baseline"
    assert column(printed, "difference")[4] == "+2.33 ± 1.82 *"
    assert column(printed, "published")[:2] == ("91.20", "74.80")
    assert column(printed, "reproduced")[4] == "89.50 ± 6.35 (2)"
    assert printed.title == "Paper 2: folder photos. Test accuracy in %"


def test_settings_that_differ_are_tables_of_their_own() -> None:
    found = build(
        frame_of(
            selection_rows_of("random", (0.7,)) + selection_rows_of("random", (0.5,), epochs=2)
        )
    ).tables

    assert [t.distinguishing for t in found] == [{"epochs": 2}, {"epochs": 20}]
    assert len({sheet(t).name for t in found}) == 2


def test_the_protocols_may_hold_out_different_images_for_validation() -> None:
    """The paper had none for that; each protocol's commonest options are its main row."""
    rows = selection_rows_of("base", (0.9,), val_fraction=0.1) + selection_rows_of(
        "base", (0.8,), protocol="published"
    )

    (found,) = build(frame_of(rows)).tables

    row = cells(found, "base")
    assert (row["sound_accuracy"], row["reproduced_accuracy"]) == (0.9, 0.8)


def test_the_order_of_the_results_does_not_matter(table: Table, tmp_path: Path) -> None:
    shuffled = frame_of(results()).sample(frac=1, random_state=0)

    for name, built in (("a", table), ("b", build(shuffled).tables[0])):
        (tmp_path / name).mkdir()
        files = write_table(built, tmp_path / name)
    for file in files:
        assert file.read_bytes() == (tmp_path / "a" / file.name).read_bytes()


def test_kinds_do_not_mix() -> None:
    both = frame_of(golden.rows() + results())

    first, second = build(both).tables
    assert len(second.rows) == 8
    (alone,) = build(frame_of(golden.rows())).tables
    assert first.rows.equals(alone.rows)
    selections = build(frame_of(golden.rows()), kinds=["selection"])
    assert (selections.tables, selections.unstarted) == ((), ())


def test_missing_trials_are_named() -> None:
    plan = [
        *(selection_config_of("base", seed) for seed in range(3)),
        *(selection_config_of("herding", seed, fraction=0.2) for seed in range(2)),
        selection_config_of("base", epochs=9),
        selection_config_of("base", eval_split="val", val_fraction=0.1),
    ]
    crashed = selection_config_of("random", 1)
    failures = {crashed.trial_id: failure_of(crashed)}
    rows = selection_rows_of("base", (0.9,)) + selection_rows_of("random", (0.7,))

    paper = build(frame_of(rows), plan_of([*plan, crashed]), failures)

    (found,) = paper.tables
    assert cells(found, "base")["sound_missing"] == "1-2"
    assert cells(found, "herding", 0.2)["sound_missing"] == "0-1"
    assert cells(found, "herding", 0.2)["sound_seeds"] is pd.NA
    assert (cells(found, "random")["sound_seeds"], cells(found, "random")["sound_failed"]) == (1, 1)
    assert found.members["state"].value_counts().to_dict() == {"missing": 4, "ok": 2, "failed": 1}
    notes = sheet(found).notes
    assert "Trials without a result: 1 failed." in notes
    assert (
        "Incomplete, sound protocol: seeds 1-2 of base (all images); seeds 0-1 of herding 20 %."
        in (notes)
    )
    assert unstarted_lines(paper) == [
        "Nothing yet of Paper 2: folder photos, epochs 9: 1 trial is planned."
    ]


def test_plans_of_one_kind_do_not_change_the_other() -> None:
    plan = plan_of([*golden.plan(), selection_config_of("base", 7)])
    both = frame_of(golden.rows() + selection_rows_of("base", (0.9,)))

    first, second = build(both, plan).tables
    assert cells(second, "base")["sound_missing"] == "7"
    assert first.rows.equals(build(both, plan_of(golden.plan())).tables[0].rows)


def test_the_usual_row_has_the_default_options() -> None:
    """However many trials another variant has."""
    rows = [
        *selection_rows_of("cluster_grid", (0.7,)),
        *selection_rows_of("cluster_grid", (0.8, 0.8), clusterer="dbscan"),
        *selection_rows_of("cluster_grid", (0.6, 0.6), clusterer="dbscan", min_samples=9),
        *selection_rows_of("cluster_grid", (0.5, 0.5), equal_steps=True),
        *selection_rows_of("cluster_grid", (0.4, 0.4), embedding="features"),
    ]

    (found,) = build(frame_of(rows)).tables

    assert cells(found, "cluster_grid")["sound_accuracy"] == 0.7
    assert [label for label in sheet(found).keys[0].cells if "clustering" in label] == [
        "clustering 10 %",
        "clustering 10 % (DBSCAN)",
        "clustering 10 % (DBSCAN, min_samples 9)",
        "clustering 10 % (embedding features)",
        "clustering 10 % (equal_steps)",
    ]


def coreset_rows(selector: str, accuracies: tuple[float | None, ...], **fields: Any) -> list[Row]:
    values = {"dataset": "cifar10", "recipe": "distillation", "network": "convnet"}
    return selection_rows_of(selector, accuracies, **(values | fields))


def coresets() -> list[Row]:
    return [
        *coreset_rows("random", (0.30, 0.32, 0.31), ipc=10),
        *coreset_rows("nearest_center", (0.41, 0.42, None), ipc=10),
        *coreset_rows("nearest_center", (0.38,), ipc=10, clusterer="dbscan"),
        *coreset_rows("herding", (0.2,), ipc=1),
        *coreset_rows("base", (0.85,)),
    ]


def test_coresets_have_tables_of_their_own() -> None:
    paper = build(frame_of(coresets() + results()))

    assert len(paper.tables) == 3
    assert paper.tables[0].rows.equals(build(frame_of(results())).tables[0].rows)
    one, ten = map(sheet, paper.tables[1:])
    assert [one.name, ten.name] == ["coresets-cifar10-ipc1", "coresets-cifar10-ipc10"]
    assert ten.title == (
        "Real images in place of distilled ones: CIFAR-10, 10 images a class. Test accuracy in %"
    )
    assert ten.keys[0].cells == (
        "random",
        "nearest center",
        "base (all images)",
        "nearest center (DBSCAN)",
    )
    assert column(ten, "reported") == ("31.00", "41.50", "84.80", "")
    assert column(one, "reported") == ("15.40", "25.20", "84.80", "")
    # The whole training set stands in every table.
    assert column(ten, "here") == ("31.00 ± 2.48 (3)", "41.50 ± 6.35 (2)", "85.00 (1)", "38.00 (1)")
    assert column(one, "here") == ("", "", "85.00 (1)", "20.00 (1)")
    assert column(ten, "failed") == ("0", "1", "0", "0")


def test_coresets_are_compared_with_random_images_of_their_number() -> None:
    (_, ten) = build(frame_of(coresets())).tables

    row = ten.rows.iloc[1]
    assert (row["selector"], row["sound_pairs"]) == ("nearest_center", 2)
    assert row["sound_difference"] == pytest.approx(0.105)  # 0.11 and 0.10
    assert column(sheet(ten), "difference")[0] == "baseline"
    notes = sheet(ten).notes
    assert "nearest center: of K-Means clusters, unless it says otherwise." in notes
    assert (
        "Reported for as many distilled images: IDC 67.50; DREAM 69.40; DANCE 70.80; "
        "NCFM, soft labels 71.80."
    ) in notes


def test_weighted_coresets_are_compared_with_the_same_images_without() -> None:
    rows = [
        *coresets(),
        *coreset_rows("nearest_center", (0.45, 0.44), ipc=10, weights_in="training"),
        *coreset_rows("k_center", (0.3, 0.31), ipc=10),
        *coreset_rows("k_center", (0.3, 0.33), ipc=10, weights_in="training"),
    ]
    (_, ten) = build(frame_of(rows)).tables
    (asked,) = [asked for asked in ten.tested if asked.question.topic.name == "weighted"]

    assert {ten.labels[pair.row]: ten.labels[pair.baseline] for pair in asked.pairs} == {
        "nearest center (weighted)": "nearest center",
        "k-center (weighted)": "k-center",
    }


def test_on_other_images_what_is_reported_says_what_it_is_of() -> None:
    (found,) = build(frame_of(coreset_rows("random", (0.8,), dataset="digits", ipc=10))).tables

    printed = sheet(found)
    assert printed.columns[0].heading == "reported,\nCIFAR-10"
    assert not any("distilled images:" in note for note in printed.notes)


def test_coresets_by_fraction_have_one_table() -> None:
    rows = [
        *coreset_rows("base", (0.85,)),
        *coreset_rows("nearest_center", (0.6, 0.62)),
        *coreset_rows("nearest_center", (0.5,), fraction=0.05),
        *coreset_rows("random", (0.55, 0.54)),
    ]

    (by_fraction,) = build(frame_of(rows)).tables
    (only_base,) = build(frame_of(rows[:1])).tables

    printed = sheet(by_fraction)
    assert printed.name == "coresets-cifar10"
    assert printed.keys[0].cells == (
        "base (all images)",
        "random 10 %",
        "nearest center 10 %",
        "nearest center 5 %",
    )
    assert column(printed, "reported") == ("84.80", "", "", "")
    assert column(printed, "difference")[2].startswith("+6.50 ± ")  # 0.05 and 0.08
    assert sheet(only_base).keys[0].cells == ("base (all images)", "random 10 %")
    assert findings(build(frame_of(rows[:1])).tables)[0].verdict == "not tested"


def test_planned_coresets_are_named() -> None:
    fields = {"recipe": "distillation", "network": "convnet", "dataset": "digits"}
    plan = [selection_config_of("random", 1, ipc=10, **fields)]

    nothing_yet = build(frame_of([]), plan_of(plan))
    begun = build(frame_of(coreset_rows("random", (0.8,), ipc=10, **fields)), plan_of(plan))

    assert unstarted_lines(nothing_yet) == [
        "Nothing yet of Real images in place of distilled ones: digits: 1 trial is planned."
    ]
    assert "Incomplete, sound protocol: seed 1 of random." in sheet(begun.tables[0]).notes


def test_all_tables_are_printed_and_written(tmp_path: Path) -> None:
    output = io.StringIO()
    plan = [selection_config_of("base", 5)]

    print_tables(frame_of(results() + coresets()), Console(file=output), plan=plan)

    text = output.getvalue()
    for part in (
        "Paper 2: folder photos. Test accuracy in %",
        "Real images in place of distilled ones: CIFAR-10, 1 image a class",
        "seed 5 of base (all images)",
    ):
        assert part in text, part
    files = write_table(build(frame_of(coresets())).tables[1], tmp_path)
    assert {file.suffix for file in files} == {".txt", ".md", ".tex", ".csv"}
    numbers = pd.read_csv(tmp_path / "coresets-cifar10-ipc10.csv")
    assert numbers["published_accuracy"].tolist()[:3] == [0.31, 0.415, 0.848]
