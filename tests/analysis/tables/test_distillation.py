"""Tables of distillations: numbers by hand, missing numbers, order and labels of rows."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.data.published import load_published
from analysis.data.trials import plan_of
from analysis.statistics.simultaneous import critical_t
from analysis.tables.build import build
from analysis.tables.layout import Table
from analysis.tables.render import sheet
from distill.config.distillation import DistillationConfig
from sweeps.store.store import Store, load_results
from tests.analysis import golden
from tests.analysis.results import Row, config_of, failure_of, frame_of, row_of, rows_of


def only_table(
    rows: list[Row],
    plan: tuple[DistillationConfig, ...] | list[DistillationConfig] = (),
    **arguments: Any,
) -> Table:
    paper = build(frame_of(rows), plan_of(plan), kinds=["distillation"], **arguments)
    assert len(paper.tables) == 1
    return paper.tables[0]


def cells(table: Table, method: str, weights: str, label: str | None = None) -> pd.Series:
    rows = table.rows
    found = rows[(rows["method"] == method) & (rows["weights"] == weights)]
    if label is not None:
        found = found[found["label"] == label]
    assert len(found) == 1, found["label"].tolist()
    return found.iloc[0]


def published_rows() -> list[tuple[str, str]]:
    """Method and weights of the paper's nine rows in its order."""
    numbers = load_published("paper1")
    return list(dict.fromkeys(zip(numbers["method"], numbers["weights"], strict=True)))


@pytest.fixture(scope="module")
def table() -> Table:
    return golden.tables().tables[0]


def test_a_row_by_hand(table: Table) -> None:
    # 0.60, 0.62, 0.64: s = 0.02; t(2) at 97.5 % is 4.302653.
    row = cells(table, "kmeans", "F")

    assert row["baseline"]
    assert row["sound_accuracy"] == pytest.approx(0.62)
    half = 4.302653 * 0.02 / math.sqrt(3)
    assert row["sound_low"] == pytest.approx(0.62 - half, rel=1e-6)
    assert row["sound_high"] == pytest.approx(0.62 + half, rel=1e-6)
    assert (row["sound_seeds"], row["sound_failed"], row["sound_missing"]) == (3, 0, "")
    assert row["sound_loss"] == 5.0
    assert row["sound_seconds"] == 200.0
    assert row["sound_gpu_seconds"] == 100.0  # half of a GPU
    assert (row["published_accuracy"], row["published_loss"]) == (0.6651, 4.78)


def test_reproduced_columns_have_the_best_of_four(
    table: Table,
) -> None:
    # 0.63 and 0.64 after the last epoch, so 0.66 and 0.67: s = 0.01 / √2, t(1) = 12.7062.
    row = cells(table, "kmeans", "F")

    assert row["reproduced_accuracy"] == pytest.approx(0.665)
    assert row["reproduced_high"] - 0.665 == pytest.approx(12.7062 * 0.01 / 2, rel=1e-5)
    assert row["reproduced_seeds"] == 2
    assert row["reproduced_missing"] == "2"
    # K-Medoids with the paper's inert weights is its T row, and has nothing under `sound`.
    weighted = cells(table, "kmedoids", "T")
    assert weighted["reproduced_accuracy"] == pytest.approx(0.58)
    assert weighted["sound_seeds"] is pd.NA


def test_differences_are_tested_within_their_question(table: Table) -> None:
    # Methods: three rows without weights, one model. Double centring gives residuals with 4 df, and
    # a difference the variance 2 s² / 3; two differences from one baseline have Dunnett's p.
    rows = np.array([[0.60, 0.62, 0.64], [0.50, 0.52, 0.55], [0.61, 0.60, 0.64]])
    residuals = rows - rows.mean(axis=1, keepdims=True) - rows.mean(axis=0) + rows.mean()
    error = math.sqrt(2 / 3 * (residuals**2).sum() / 4)
    for method, mean in (("kmedoids", -29 / 300), ("birch", -1 / 300)):
        row = cells(table, method, "F")
        assert row["sound_difference"] == pytest.approx(mean)
        assert row["sound_p"] == pytest.approx(2 * stats.t.sf(abs(mean) / error, 4))
        # Dunnett's critical value for two differences and 4 df.
        half = row["sound_difference_high"] - mean
        assert half == pytest.approx(critical_t(0.95, 4, 0.5, 2) * error)
        assert row["sound_pairs"] == 3
    # Weights: 0.01, 0.02, 0.01 by themselves: the paired t-test, p = 1 − t / √(t² + 2) for t = 4.
    weights = cells(table, "kmeans", "T")
    assert weights["sound_difference"] == pytest.approx(0.04 / 3)
    assert weights["sound_p"] == pytest.approx(1 - 4 / math.sqrt(18), rel=1e-9)
    assert weights["sound_p_family"] == weights["sound_p"]
    verdicts = table.rows.set_index(["method", "weights"])["sound_verdict"]
    assert verdicts[verdicts != ""].to_dict() == {
        ("kmeans", "T"): "undecided",
        ("kmedoids", "F"): "different",
        ("agglomerative", "F"): "undecided",
        ("birch", "F"): "undecided",
    }


def test_every_protocol_has_differences() -> None:
    rows = rows_of("kmeans", "none", (0.60, 0.62, 0.64), protocol="published")
    rows += rows_of("kmedoids", "none", (0.50, 0.52, 0.55), protocol="published")

    table = only_table(rows)

    row = cells(table, "kmedoids", "F")
    assert row["reproduced_difference"] == pytest.approx(-29 / 300)
    assert row["reproduced_verdict"] == "different"
    assert math.isnan(row["sound_difference"])


def test_the_smallest_effect_of_interest_decides_on_equivalence() -> None:
    rows = rows_of("kmeans", "none", (0.600, 0.610, 0.604, 0.615))
    rows += rows_of("kmeans++", "none", (0.601, 0.612, 0.604, 0.613))

    verdicts = [
        cells(only_table(rows, smallest_effect=effect), "kmeans++", "F")["sound_verdict"]
        for effect in (0.001, 0.01)
    ]

    assert verdicts == ["undecided", "equivalent"]


def test_the_rounding_of_accuracies_enters_the_intervals() -> None:
    rows = rows_of("kmeans", "none", (0.60, 0.62)) + rows_of("kmeans++", "none", (0.61, 0.65))
    coarse = [row | {"n_test": 50, "n_networks": 2} for row in rows]

    exact, rounded = (
        cells(only_table(of), "kmeans++", "F")["sound_difference_high"] for of in (rows, coarse)
    )

    # Differences 0.01 and 0.03: s² = 0.0002 of a difference, 0.0001 of a score; t(1) = 12.7062.
    assert exact == pytest.approx(0.02 + 12.7062 * math.sqrt(0.0001), rel=1e-5)
    assert rounded == pytest.approx(0.02 + 12.7062 * math.sqrt(0.0001 + 0.01**2 / 12), rel=1e-5)


def test_compared_trials_of_other_versions_are_named() -> None:
    rows = rows_of("kmeans", "none", (0.5, 0.6)) + rows_of("kmeans++", "none", (0.5, 0.7))
    for number, row in enumerate(rows):
        row |= {"device": "cpu", "torch_version": "2.9" if number < 3 else "2.11"}

    printed = sheet(only_table(rows))

    assert "Careful: compared trials differ in torch (2.11, 2.9)." in printed.notes
    rows[3]["torch_version"] = "2.9"
    assert not any("differ in" in note for note in sheet(only_table(rows)).notes)


def test_only_seeds_that_both_rows_have_are_compared() -> None:
    rows = rows_of("kmeans", "none", (0.5, 0.6, 0.7)) + rows_of("kmeans++", "none", (0.1,) * 3)[2:]

    row = cells(only_table(rows), "kmeans++", "F")

    assert row["sound_difference"] == pytest.approx(0.1 - 0.7)
    assert row["sound_pairs"] == 1
    assert math.isnan(row["sound_difference_low"])
    assert math.isnan(row["sound_p"])


def test_a_single_seed_has_no_interval(table: Table) -> None:
    row = cells(table, "dbscan", "T")

    assert row["sound_accuracy"] == 0.45
    assert math.isnan(row["sound_low"])
    assert math.isnan(row["sound_high"])


def test_failed_trials_are_counted_and_enter_no_mean(table: Table) -> None:
    dbscan, agglomerative = cells(table, "dbscan", "T"), cells(table, "agglomerative", "F")

    assert (dbscan["sound_seeds"], dbscan["sound_failed"], dbscan["sound_missing"]) == (1, 1, "2")
    assert dbscan["sound_seconds"] == 100.0  # the infeasible trial took 3
    # One seed of agglomerative crashed, which only its record of failure tells.
    assert (agglomerative["sound_seeds"], agglomerative["sound_failed"]) == (1, 1)
    assert agglomerative["sound_missing"] == "1"
    assert table.failed == {"failed": 1, "infeasible": 1}


def test_a_row_of_failures_only_has_no_numbers() -> None:
    rows = rows_of("kmeans", "none", (0.5, 0.6))
    rows += [row_of(config_of("kmedoids", seed=s), None, status="diverged") for s in (0, 1)]

    row = cells(only_table(rows), "kmedoids", "F")

    assert (row["sound_seeds"], row["sound_failed"]) == (0, 2)
    numbers = row[
        ["sound_accuracy", "sound_low", "sound_loss", "sound_seconds", "sound_difference"]
    ]
    assert numbers.isna().all()


def test_cells_without_data_are_missing_never_zero(table: Table) -> None:
    row = cells(table, "kmeans++", "T")

    numbers = row.drop(["ipc", "published_accuracy", "published_loss", "baseline"])
    numbers = numbers[[not isinstance(value, str | int) for value in numbers]]
    assert len(numbers) == 2 * (5 + 3 + 2 + 7)
    assert numbers.isna().all()
    assert row["published_accuracy"] == 0.6687


def test_missing_trials_are_named(table: Table) -> None:
    assert cells(table, "dbscan", "F")["sound_missing"] == "0-2"
    assert cells(table, "dbscan", "F")["sound_seeds"] is pd.NA
    assert cells(table, "kmeans", "F")["sound_missing"] == ""
    # Never planned, so nothing is missing.
    assert cells(table, "kmeans++", "F")["sound_missing"] == ""


def test_a_table_that_is_planned_and_not_begun() -> None:
    paper = golden.tables()

    assert len(paper.tables) == 1
    (entry,) = paper.unstarted
    assert (entry.scope.setting["ipc"], entry.n_trials) == (50, 1)


def test_a_plan_without_any_result() -> None:
    paper = build(frame_of([]), plan_of(golden.plan()))

    assert paper.tables == ()
    found = [(entry.scope.setting["ipc"], entry.n_trials) for entry in paper.unstarted]
    assert found == [(10, 24), (50, 1)]


def test_plans_of_other_kinds_versions_and_splits_are_skipped() -> None:
    plan: dict[str, dict[str, Any]] = {
        "0" * 16: {"kind": "selection", "seed": 0},
        "1" * 16: {"kind": "distillation", "no_such_field": 1},
        "2" * 16: {"kind": "distillation", "val_fraction": 0.1, "eval_split": "val"},
        "3" * 16: {"kind": "no such kind"},
    }

    assert build(frame_of([]), plan, kinds=["distillation"]).unstarted == ()


def test_the_ids_of_a_plan_are_taken_as_they_are() -> None:
    """They are hashes that take long to compute."""
    config = config_of("kmeans")
    table = build(frame_of([row_of(config, 0.5)]), {config.trial_id: {}}).tables[0]

    assert (table.rows["sound_missing"] == "").all()


def test_without_a_plan_nothing_is_missing() -> None:
    table = only_table(golden.rows())

    assert (table.rows["sound_missing"] == "").all()
    assert cells(table, "dbscan", "F")["sound_seeds"] is pd.NA


def test_rows_follow_the_paper_and_then_the_registry() -> None:
    rows: list[Row] = []
    for clusterer, weights, fields in (
        ("random", "none", {}),
        ("birch", "size", {}),
        ("birch", "none", {}),
        ("agglomerative", "size", {}),
        ("agglomerative", "none", {"linkage": "single"}),
        ("agglomerative", "none", {}),
        ("dbscan", "none", {"eps_quantile": 0.75}),
        ("dbscan", "none", {"eps_quantile": 0.5}),
        ("dbscan", "none", {"eps": 20.0}),
        ("dbscan", "none", {"eps": 15.0}),
        ("dbscan", "none", {"eps": 9.0}),
        ("kmedoids_sklearn_extra", "none", {}),
    ):
        rows += rows_of(clusterer, weights, (0.5,), **fields)

    table = only_table(rows)

    methods, labels = (
        list(zip(table.rows[name], table.rows["weights"], strict=True))
        for name in ("method", "label")
    )
    assert methods[:9] == published_rows()
    assert labels[6:] == [
        ("DBSCAN (eps 15)", "T"),
        ("DBSCAN (eps 15)", "F"),
        ("Agglomerative (ward)", "F"),
        ("DBSCAN (eps 9)", "F"),
        ("DBSCAN (eps 20)", "F"),
        ("DBSCAN (eps_quantile 0.5)", "F"),
        ("DBSCAN (eps_quantile 0.75)", "F"),
        ("Agglomerative (single)", "F"),
        ("Agglomerative (ward)", "T"),
        ("BIRCH", "T"),
        ("BIRCH", "F"),
        ("Random", "F"),
        ("K-Medoids, scikit-learn-extra", "F"),
    ]


def test_published_numbers_are_in_the_usual_rows_only() -> None:
    rows = rows_of("dbscan", "none", (0.5,), eps=9.0) + rows_of("dbscan", "none", (0.5,), eps=15.0)

    table = only_table(rows)

    assert cells(table, "dbscan", "F", "DBSCAN (eps 15)")["published_accuracy"] == 0.5282
    assert math.isnan(cells(table, "dbscan", "F", "DBSCAN (eps 9)")["published_accuracy"])


def test_the_usual_row_falls_back_to_the_defaults() -> None:
    rows = rows_of("dbscan", "none", (0.5,), eps_quantile=0.25)
    rows += rows_of("dbscan", "none", (0.5,))  # the default: the quantile 0.5

    table = only_table(rows)

    assert table.rows["label"][7] == "DBSCAN (eps_quantile 0.5)"
    assert table.rows["label"][9] == "DBSCAN (eps_quantile 0.25)"


def test_the_published_variants_join_the_rows_of_their_methods() -> None:
    rows: list[Row] = []
    for protocol in ("sound", "published"):
        for method in ("kmeans", "kmeans++", "kmedoids", "agglomerative"):
            rows += rows_of(method, "none", (0.5,), protocol=protocol)
        rows += rows_of("kmeans", "size", (0.5,), protocol=protocol)
    rows += rows_of("dbscan", "none", (0.5,))  # the quantile
    rows += rows_of("dbscan", "none", (0.5,), protocol="published")  # eps 15
    rows += rows_of("birch", "none", (0.5,), protocol="published")

    table = only_table(rows)

    assert len(table.rows) == 10
    for method, weights in (("kmeans", "T"), *((m, "F") for m in ("kmeans++", "agglomerative"))):
        row = cells(table, method, weights)
        assert (row["sound_seeds"], row["reproduced_seeds"]) == (1, 1)
    dbscan = cells(table, "dbscan", "F")
    assert dbscan["sound_parameters"] == "eps_quantile 0.5, min_samples 2"
    assert dbscan["reproduced_parameters"] == "eps 15, min_samples 2"
    birch = cells(table, "birch", "F")
    assert (birch["sound_seeds"], birch["reproduced_seeds"]) == (pd.NA, 1)


def test_a_published_variant_is_a_method_when_run_sound() -> None:
    rows = rows_of("kmeans", "none", (0.5,)) + rows_of("kmeans_published", "none", (0.4,))
    rows += rows_of("kmeans", "published", (0.3,))

    table = only_table(rows)

    assert cells(table, "kmeans", "F")["sound_accuracy"] == 0.5
    assert cells(table, "kmeans_published", "F")["sound_accuracy"] == 0.4
    assert cells(table, "kmeans", "inert")["sound_accuracy"] == 0.3
    assert cells(table, "kmeans", "T")["sound_seeds"] is pd.NA


def test_search_trials_validation_scores_and_other_kinds_stay_out() -> None:
    rows = rows_of("kmeans", "none", (0.5,))
    searched = config_of("kmeans", seed=1)
    rows.append(row_of(searched, 0.9, phase="search"))
    validated = config_of("kmeans", seed=2, eval_split="val", val_fraction=0.1)
    rows.append(row_of(validated, None, val_accuracy_mean=0.9))
    rows.append(row_of(config_of("kmeans", seed=3), 0.9, kind="selection"))
    rows.append(row_of(config_of("kmeans", seed=1000), 0.7, phase="confirm"))

    row = cells(only_table(rows), "kmeans", "F")

    assert row["sound_seeds"] == 2
    assert row["sound_accuracy"] == pytest.approx(0.6)


def test_trials_of_other_sizes_are_tables_of_their_own() -> None:
    rows = rows_of("kmeans", "none", (0.5, 0.6))
    rows += rows_of("kmeans", "none", (0.3,), n_outer=10)
    rows += rows_of("kmeans", "none", (0.4,), ipc=1)
    rows += rows_of("kmeans", "none", (0.2,), embedding="gradients")
    rows += rows_of("kmeans", "none", (0.7,), dataset="digits")
    rows += rows_of(
        "kmeans", "none", (0.8,), dataset="parquet:a.parquet", eval_networks=["resnet10"]
    )

    paper = build(frame_of(rows))

    found = [
        (t.setting["dataset"], t.setting["ipc"], t.setting["embedding"], dict(t.distinguishing))
        for t in paper.tables
    ]
    assert found == [
        ("digits", 10, "features", {}),
        ("cifar10", 1, "features", {}),
        ("cifar10", 10, "features", {"n_outer": 10}),
        ("cifar10", 10, "features", {"n_outer": 1000}),
        ("cifar10", 10, "gradients", {}),
        ("parquet:a.parquet", 10, "features", {}),
    ]
    assert [cells(t, "kmeans", "F")["sound_seeds"] for t in paper.tables] == [1, 1, 1, 2, 1, 1]


def test_published_numbers_of_another_task_say_so(table: Table) -> None:
    digits = only_table(rows_of("kmeans", "none", (0.9,), dataset="digits"))

    assert (digits.rows["dataset"] == "digits").all()
    assert (digits.rows["published_task"] == "cifar10, features").all()
    assert cells(digits, "kmeans", "F")["published_accuracy"] == 0.6651
    no_numbers = only_table(rows_of("kmeans", "none", (0.9,), ipc=50))
    assert no_numbers.rows["published_accuracy"].isna().all()


def test_different_images_are_counted() -> None:
    rows = rows_of("kmeans", "none", (0.5, 0.6))
    rows[1]["fingerprint"] = "g"

    assert only_table(rows).n_fingerprints == 2


def test_the_order_of_the_results_does_not_matter(table: Table) -> None:
    shuffled = frame_of(golden.rows()).sample(frac=1, random_state=3)

    again = build(shuffled, plan_of(golden.plan()[::-1]), golden.failures()).tables[0]
    pd.testing.assert_frame_equal(again.rows, table.rows, check_exact=True)


def test_a_trial_that_is_there_twice_counts_once(table: Table) -> None:
    frame = frame_of(golden.rows())

    again = build(pd.concat([frame, frame]), plan_of(golden.plan()), golden.failures()).tables[0]

    pd.testing.assert_frame_equal(again.rows, table.rows, check_exact=True)


def test_results_from_a_store_and_from_pandas_give_the_same_table(
    tmp_path: Path, table: Table
) -> None:
    store = Store(tmp_path / "results")
    store.create()
    for row in golden.rows():
        store.put_result(row, [], None)

    for results in (
        load_results(store.uri),
        pd.read_parquet(tmp_path / "results" / "trials"),
    ):
        again = build(results, plan_of(golden.plan()), golden.failures()).tables[0]
        pd.testing.assert_frame_equal(again.rows, table.rows, check_exact=True)
        assert sheet(again) == sheet(table)


def test_columns_that_an_earlier_version_did_not_have_are_null() -> None:
    rows = rows_of("kmeans", "none", (0.5, 0.6))
    for row in rows:
        row |= {"eval_networks": None, "norm": None, "gpu_share": None, "fingerprint": None}

    found = cells(only_table(rows), "kmeans", "F")

    assert found["sound_accuracy"] == pytest.approx(0.55)
    assert math.isnan(found["sound_gpu_seconds"])


def test_no_results_no_tables() -> None:
    assert build(frame_of([])).tables == ()
    assert build(frame_of([])).unstarted == ()


def test_failures_that_cannot_be_placed_are_left_out() -> None:
    config = config_of("kmeans", seed=1)
    records = {
        config.trial_id: failure_of(config, phase="search"),
        "0" * 16: {"kind": "distillation", "config": {"no_such_field": 1}},
        "1" * 16: {"message": "unknown"},
        "2" * 16: {"kind": "selection", "config": {"selector": "base"}},
    }

    table = only_table(rows_of("kmeans", "none", (0.5,)), failures=records)

    assert table.failed == {}
    assert cells(table, "kmeans", "F")["sound_failed"] == 0


def test_a_finished_trial_is_no_failure() -> None:
    config = config_of("kmeans")
    records = {config.trial_id: failure_of(config)}

    table = only_table(rows_of("kmeans", "none", (0.5,)), failures=records)

    assert cells(table, "kmeans", "F")["sound_failed"] == 0


def test_starts_and_starts_without_matching_are_rows_of_one_table() -> None:
    rows = [
        *rows_of("kmeans", "none", [0.5, 0.6]),
        *rows_of("kmeans", "none", [0.4, 0.5], match="none"),
        *rows_of("kmeans", "none", [0.4, 0.5], init="random"),
        *rows_of("random", "none", [0.4, 0.5]),
        *rows_of("random", "none", [0.4, 0.5], init="kmeans"),
        *rows_of("random", "none", [0.3, 0.4], match="none"),
    ]
    (table,) = build(frame_of(rows)).tables
    shown = [label for label, row in zip(table.labels, table.entries, strict=True) if row.trials]
    assert shown == [
        "K-Means",
        "K-Means (random start)",
        "K-Means (start only)",
        "Random",
        "Random (K-Means start)",
        "Random real images",
    ]
    assert table.entries[table.baseline].label == "K-Means"


def test_weights_in_training_are_rows_compared_with_those_without() -> None:
    trials = [
        *rows_of("kmeans", "none", [0.5, 0.6]),
        *rows_of("kmeans", "size", [0.52, 0.6]),
        *rows_of("kmeans", "size", [0.55, 0.67], weights_in="training"),
        *rows_of("kmeans", "size", [0.5, 0.65], weights_in="both"),
        *rows_of("kmeans", "none", [0.4, 0.42], match="none"),
        *rows_of("kmeans", "size", [0.45, 0.47], weights_in="training", match="none"),
        *rows_of("birch", "size", [0.45, 0.47], weights_in="training"),  # nothing without weights
    ]
    (table,) = build(frame_of(trials)).tables
    asked = {answered.question.topic.name: answered for answered in table.tested}
    (in_training, in_matching) = (asked["weights-in-training"], asked["weights"])
    rows = table.row_names
    names = {rows[pair.row]: rows[pair.baseline] for pair in in_training.pairs}

    assert names == {
        "K-Means (weights in training) T": "K-Means F",
        "K-Means (weights in matching and training) T": "K-Means F",
        "K-Means (start only, weights in training) T": "K-Means (start only) F",
    }
    differences = [difference.mean for difference in in_training.family.differences]
    assert sorted(differences) == pytest.approx([0.025, 0.05, 0.06])
    of_matching = {rows[pair.row] for pair in in_matching.pairs}
    assert "K-Means T" in of_matching
    assert not of_matching & names.keys()


def test_rows_of_before_networks_could_be_chosen_are_methods() -> None:
    """The baseline's older rows had no `networks`: HDBSCAN's with `fresh` counted as a control."""
    older = {"networks": None, "pick": None, "quota": None}
    trials = [row | older for row in rows_of("kmeans", "none", [0.5, 0.6])]
    trials += rows_of("hdbscan", "none", [0.52, 0.6])
    (table,) = build(frame_of(trials)).tables
    compared = {
        asked.question.topic.name: {pair.label for pair in asked.pairs} for asked in table.tested
    }

    assert "HDBSCAN" in compared["methods"]
    assert not compared["controls"]


def test_clusterings_of_the_papers_code_are_compared_with_what_they_are_named() -> None:
    """Each with the method of its name; DBSCAN of another radius is another method."""
    trials = [
        *rows_of("kmeans", "none", [0.5, 0.6, 0.7]),
        *rows_of("kmedoids", "none", [0.52, 0.6, 0.7]),
        *rows_of("kmedoids_published", "none", [0.42, 0.51, 0.6]),
        *rows_of("agglomerative", "none", [0.5, 0.6, 0.7]),
        *rows_of("agglomerative", "none", [0.5, 0.6, 0.7], linkage="single"),
        *rows_of("agglomerative_published", "none", [0.4, 0.56, 0.6]),
        *rows_of("dbscan", "none", [0.52, 0.61, 0.7], eps=15.0, min_samples=2),
        *rows_of("dbscan_published", "none", [0.52, 0.61, 0.7], eps=12.0, min_samples=2),
    ]
    (table,) = build(frame_of(trials)).tables
    (asked,) = (a for a in table.tested if a.question.topic.name == "code")
    names = [(table.row_names[p.row], table.row_names[p.baseline]) for p in asked.pairs]

    assert names == [
        ("K-Medoids, the paper's F", "K-Medoids F"),
        ("Agglomerative, the paper's F", "Agglomerative (ward) F"),
    ]


def test_methods_and_controls_are_families_of_their_own() -> None:
    trials = [
        *rows_of("kmeans", "none", [0.5, 0.6]),
        *rows_of("kmedoids", "none", [0.52, 0.6]),
        *rows_of("dbscan", "none", [0.52, 0.61], init="kmeans"),  # too few clusters to start from
        *rows_of("dbscan", "none", [0.53, 0.61], eps=12.0),
        *rows_of("random", "none", [0.4, 0.5]),
        *rows_of("random", "none", [0.4, 0.52], init="kmeans"),
        *rows_of("random", "none", [0.3, 0.4], match="none"),
        *rows_of("kmeans", "none", [0.4, 0.53], init="random"),
        *rows_of("kmeans", "none", [0.4, 0.54], pick="hard"),
        *rows_of("kmedoids", "none", [0.4, 0.55], match="none"),
        *rows_of("kmedoids", "none", [0.4, 0.5], pick="hard"),
        *rows_of("kmedoids", "none", [0.4, 0.53], init="random"),
        *rows_of("agglomerative_published", "none", [0.4, 0.56]),
        *rows_of("kmeans", "size", [0.4, 0.57]),
    ]
    (table,) = build(frame_of(trials)).tables
    asked = {answered.question.topic.name: answered for answered in table.tested}
    compared = {
        name: {table.row_names[pair.row] for pair in asked[name].pairs}
        for name in ("methods", "controls")
    }

    assert {"K-Medoids F", "DBSCAN (eps 12) F", "Random F"} <= compared["methods"]
    assert any("K-Means start" in name for name in compared["methods"] if "DBSCAN" in name)
    assert compared["controls"] == {
        "Random (K-Means start) F",
        "Random real images F",
        "K-Means (random start) F",
        "K-Means (hard picks, by EL2N) F",
        "K-Medoids (start only) F",
        "K-Medoids (hard picks, by EL2N) F",
        "K-Medoids (random start) F",
        "Agglomerative, the paper's F",
    }
    assert not compared["methods"] & compared["controls"]
    everything = compared["methods"] | compared["controls"]
    assert {table.row_names[i] for i in table.compared("sound")} == everything


def test_picks_are_rows_compared_with_the_baseline_and_old_rows_with_new_ones() -> None:
    trials = [
        *rows_of("kmeans", "none", [0.5, 0.6]),
        *rows_of("kmeans", "none", [0.52, 0.6], pick="hard"),
        *rows_of("kmeans", "none", [0.52, 0.61], pick="hard", difficulty="loss"),
        *rows_of("kmeans", "none", [0.52, 0.62], pick="random", quota="proportional"),
        *rows_of("kmeans", "none", [0.52, 0.63], quota="stratified", n_strata=4),
        *rows_of("birch", "none", [0.45, 0.47], pick="medoid"),
    ]
    trials[0] |= {"pick": None, "quota": None}  # of a version without them
    (table,) = build(frame_of(trials)).tables
    rows = {row.label: row for row in table.entries if row.trials}

    assert set(rows) == {
        "K-Means",
        "K-Means (random picks, proportional quotas)",
        "K-Means (hard picks, by EL2N)",
        "K-Means (hard picks, by loss)",
        "K-Means (stratified quotas, by EL2N, n_strata 4)",
        "BIRCH",  # its only variant
    }
    assert len(rows["K-Means"].trials) == 2
    (asked,) = [a for a in table.tested if a.question.topic.name == "controls"]
    means = {
        pair.label: difference.mean
        for pair, difference in zip(asked.pairs, asked.family.differences, strict=True)
    }
    assert means["K-Means (hard picks, by loss)"] == pytest.approx(0.015)
    assert means["K-Means (stratified quotas, by EL2N, n_strata 4)"] == pytest.approx(0.025)


def test_balanced_accuracies_stand_below_where_they_differ() -> None:
    rows = [
        row | {"test_balanced_accuracy_mean": row["test_accuracy_mean"] - gap}
        for method, gap in (("kmeans", 0.25), ("kmedoids", 0.005))
        for row in rows_of(method, "none", [0.5, 0.6])
    ]
    (table,) = build(frame_of(rows)).tables
    assert (
        "Balanced accuracy, the mean of the classes' own ones, in %: K-Means F 30.00."
        in table.layout.more_notes(table)
    )


def test_starts_from_sets_are_rows_by_their_content() -> None:
    """The files need not be where results are analysed."""
    start = {"init": "set:/nowhere/dc.pt", "factor": 2}
    rows = [
        *rows_of("kmeans", "none", [0.5, 0.6]),
        *rows_of("kmeans", "none", [0.55, 0.65], **start, set_hash="0123456789abcdef"),
        *rows_of("kmeans", "none", [0.3, 0.3], **start, set_hash="f" * 16),
    ]
    labels = only_table(rows).rows["label"].dropna().tolist()

    assert "K-Means (start from dc, content 012345)" in labels
    assert "K-Means (start from dc, content ffffff)" in labels
