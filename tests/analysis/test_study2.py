"""Study 2's table: numbers by hand, variants in rows of their own, the studies kept apart."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.findings import in_short
from analysis.study2_findings import study2_findings
from analysis.tables.files import write_study2_table
from analysis.tables.sheet import Sheet
from analysis.tables.study1 import build as build_study1
from analysis.tables.study2 import Study2Table, build
from analysis.tables.study2_sheet import study2_sheet
from distill.subset_config import SubsetConfig
from sweeps.schema import TRIAL_SCHEMA
from tests.analysis import golden
from tests.analysis.results import Row, frame_of


def rows_of(arm: str, accuracies: tuple[float | None, ...], **fields: Any) -> list[Row]:
    rows = []
    for seed, accuracy in enumerate(accuracies):
        config = SubsetConfig.from_dict(
            {"dataset": "folder:photos", "arm": arm, "seed": seed} | fields
        )
        row = dict.fromkeys(TRIAL_SCHEMA.names) | config.resolved().to_dict()
        rows.append(
            row
            | {
                "trial_id": config.trial_id,
                "schema_version": 1,
                "kind": "subset",
                "status": "ok" if accuracy is not None else "diverged",
                "phase": "grid",
                "test_accuracy_mean": accuracy,
                "test_loss_mean": 0.5,
                "n_trained_on": 1350,
                "total_seconds": 10.0,
                "gpu_share": 0.5,
            }
        )
    return rows


def results() -> list[Row]:
    return [
        *rows_of("base", (0.91,)),
        *rows_of("random", (0.70, 0.72, 0.74)),
        *rows_of("random", (0.80, 0.81, None), fraction=0.25),
        *rows_of("cluster_grid", (0.72, 0.75, 0.76)),
        *rows_of("cluster_grid", (0.71,), n_clusters=4),
        *rows_of("cluster_grid", (0.89, 0.90), protocol="published"),
        *rows_of("herding", (0.6, 0.61, 0.62)),
    ]


@pytest.fixture(scope="module")
def table() -> Study2Table:
    (found,) = build(frame_of(results())).tables
    return found


def cells(table: Study2Table, arm: str, fraction: float = 0.1, options: str = "") -> pd.Series:
    rows = table.rows
    own = rows[(rows["arm"] == arm) & (rows["options"] == options)]
    own = own[(own["fraction"] == fraction) | own["fraction"].isna()]
    assert len(own) == 1
    return own.iloc[0]


def column(printed: Sheet, heading: str) -> tuple[str, ...]:
    return next(c.cells for c in printed.columns if c.heading.startswith(heading))


def test_the_rows_stand_in_the_study_s_order_and_then_the_others(table: Study2Table) -> None:
    assert study2_sheet(table).keys[0].cells == (
        "base (all images)",
        "random 50 %",
        "random 25 %",
        "random 10 %",
        "clustering 10 %",
        "augmentation 10 %",
        "clustering 10 % (n_clusters 4)",
        "herding 10 %",
    )


def test_a_row_by_hand(table: Study2Table) -> None:
    row = cells(table, "cluster_grid")

    assert (row["published_accuracy"], row["published_loss"]) == (0.8947, 0.4024)
    assert row["reproduced_accuracy"] == pytest.approx(0.895)
    assert row["sound_accuracy"] == pytest.approx(2.23 / 3)
    # From random 10 %, seed by seed: 0.02, 0.03, 0.02; s = 0.01 / √3, t(2) = 4.302653.
    assert row["difference"] == pytest.approx(0.07 / 3)
    assert row["difference_high"] - row["difference"] == pytest.approx(4.302653 * 0.01 / 3)
    assert (row["sound_images"], row["sound_gpu_seconds"]) == (1350, 5.0)


def test_members_are_the_trials_behind_the_rows(table: Study2Table) -> None:
    own = table.members[table.members["row"] == 2]

    assert table.rows["arm"][2] == "random"
    assert own["seed"].tolist() == [0, 1, 2]
    assert own["state"].tolist() == ["ok", "ok", "failed"]
    expected = [row["trial_id"] for row in rows_of("random", (0.8, 0.81, None), fraction=0.25)]
    assert own["trial_id"].tolist() == expected
    clustering = table.members[table.members["row"] == 4]
    assert clustering["protocol"].value_counts().to_dict() == {"sound": 3, "published": 2}
    assert len(table.members) == len(results())


def test_gaps_and_failures(table: Study2Table) -> None:
    assert cells(table, "augmentation")["sound_seeds"] is pd.NA
    quarter = cells(table, "random", 0.25)
    assert (quarter["sound_seeds"], quarter["sound_failed"]) == (2, 1)
    assert table.failed == {"diverged": 1}
    assert math.isnan(cells(table, "base")["sound_high"])


def test_the_baseline_is_a_random_tenth(table: Study2Table) -> None:
    printed = study2_sheet(table)

    assert column(printed, "difference")[3] == "baseline"
    assert column(printed, "difference")[4] == "+2.33 ± 1.43 *"
    assert column(printed, "published")[:2] == ("91.20", "74.80")
    assert column(printed, "reproduced")[4] == "89.50 ± 6.35 (2)"
    assert printed.title == "Study 2: folder photos. Test accuracy in %"


def test_findings(table: Study2Table) -> None:
    found = {finding.verdict: finding.cases for finding in study2_findings([table])}

    # Published: 0.8947 − 0.7553. That it is so much more than here is the leak's doing.
    assert found["holds"] == (
        "random 25 % (+9.50 ± 6.35, 2 pairs, published +5.80)",
        "clustering 10 % (+2.33 ± 1.43, 3 pairs, published +13.94, outside this interval)",
    )
    assert found["lower"] == ("herding 10 % (−11.00 ± 2.48, 3 pairs)",)
    assert found["cannot be said"][0] == "base (all images) (+21.00, 1 pair, published +15.67)"
    assert "random 50 % (no pairs, published −0.73)" in found["cannot be said"]
    short = in_short(study2_findings([table]))
    assert len(short) == 1
    assert short[0].startswith("Ways of choosing images: of 7 comparisons with random 10 %, 2 as")


def test_settings_that_differ_are_tables_of_their_own() -> None:
    found = build(frame_of(rows_of("random", (0.7,)) + rows_of("random", (0.5,), epochs=2))).tables

    assert [t.distinguishing for t in found] == [{"epochs": 2}, {"epochs": 20}]
    assert len({study2_sheet(t).name for t in found}) == 2


def test_the_protocols_may_hold_out_different_images_for_validation() -> None:
    """The study had none for that; each protocol's commonest options are its main row."""
    rows = rows_of("base", (0.9,), val_fraction=0.1) + rows_of("base", (0.8,), protocol="published")

    (found,) = build(frame_of(rows)).tables

    row = cells(found, "base")
    assert (row["sound_accuracy"], row["reproduced_accuracy"]) == (0.9, 0.8)


def test_the_order_of_the_results_does_not_matter(table: Study2Table, tmp_path: Path) -> None:
    shuffled = frame_of(results()).sample(frac=1, random_state=0)

    for name, own in (("a", table), ("b", build(shuffled).tables[0])):
        (tmp_path / name).mkdir()
        files = write_study2_table(own, tmp_path / name)
    for file in files:
        assert file.read_bytes() == (tmp_path / "a" / file.name).read_bytes()


def test_the_two_studies_do_not_mix() -> None:
    both = frame_of(golden.rows() + results())

    assert len(build(both).tables[0].rows) == 8
    (first,) = build_study1(both).tables
    assert first.rows.equals(build_study1(frame_of(golden.rows())).tables[0].rows)
    assert build(frame_of(golden.rows())).is_empty
