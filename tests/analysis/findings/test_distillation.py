"""Findings on made-up results whose answer is known."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.findings.claims import Finding, claims
from analysis.findings.distillation import (
    levels,
    printed_deviation,
    printed_tests,
    published_noise,
)
from analysis.findings.findings import findings, in_short, markdown
from analysis.findings.joint import interaction
from analysis.statistics.simultaneous import critical_t
from analysis.tables.build import build
from analysis.tables.distillation import METHODS
from analysis.tables.layout import Table
from tests.analysis import golden
from tests.analysis.results import Row, frame_of, rows_of

BASELINE = (0.600, 0.610, 0.604, 0.615, 0.596)
"""Of five seeds."""

JITTER = (0.001, -0.001, 0.002, 0.0, -0.002)


def shifted(by: float, jitter: float = 1.0) -> list[float]:
    """Scores so much above the baseline, whatever the seed."""
    return [score + by + jitter * j for score, j in zip(BASELINE, JITTER, strict=True)]


PUBLISHED = {"protocol": "published"}


def table_of(*more: Row, **fields: object) -> Table:
    rows = [*rows_of("kmeans", "none", BASELINE, **fields), *more]
    return build(frame_of(rows)).tables[0]


def claim(table: Table, topic: str, method: str, protocol: str = "sound") -> pd.Series:
    numbers = claims(table)
    numbers = numbers[numbers["protocol"] == protocol]
    found = numbers[(numbers["topic"] == topic) & (numbers["method"] == method)]
    assert len(found) == 1
    return found.iloc[0]


@pytest.mark.parametrize(
    ("by", "jitter", "verdict", "contradicts"),
    [
        (-0.0884, 1, "holds", False),  # printed: −8.84 points
        (-0.06, 1, "holds", True),
        (0.05, 1, "reverses", True),
        (0.0, 1, "equivalent", True),
        (0.02, 12, "undecided", True),
        (-0.05, 60, "undecided", False),
    ],
)
def test_a_difference_of_the_papers_own_computation(
    by: float, jitter: float, verdict: str, contradicts: bool
) -> None:
    table = table_of(*rows_of("kmedoids", "none", shifted(by, jitter), **PUBLISHED), **PUBLISHED)

    found = claim(table, "methods", "kmedoids", "published")

    assert found["published"] == pytest.approx(0.5767 - 0.6651)
    assert (found["verdict"], found["contradicts"]) == (verdict, contradicts)


@pytest.mark.parametrize(
    ("by", "jitter", "verdict"),
    [
        (-0.09, 1, "lower"),
        (0.05, 1, "higher"),
        (0.001, 1, "equivalent"),
        (0.0, 12, "undecided"),
    ],
)
def test_other_computations_are_findings_of_their_own(
    by: float, jitter: float, verdict: str
) -> None:
    """The paper's K-Medoids is not FasterPAM: its printed number is no claim about that."""
    found = claim(
        table_of(*rows_of("kmedoids", "none", shifted(by, jitter))), "methods", "kmedoids"
    )

    assert found["verdict"] == verdict
    assert math.isnan(found["published"])
    assert not found["contradicts"]


@pytest.mark.parametrize("fields", [{"dataset": "digits"}, {"n_outer": 20}])
def test_other_images_and_sizes_are_findings_of_their_own(fields: Row) -> None:
    rows = rows_of("kmedoids", "none", shifted(-0.09), **PUBLISHED, **fields)

    found = claim(table_of(*rows, **PUBLISHED, **fields), "methods", "kmedoids", "published")

    assert found["verdict"] == "lower"


def test_weights_are_compared_with_none_seed_by_seed() -> None:
    # Seeds differ by 2 points, T and F of one seed by 0.3: only pairs show it.
    table = table_of(*rows_of("kmeans", "size", shifted(0.003, 0.1)))

    found = claim(table, "weights", "kmeans")

    assert found["difference"] == pytest.approx(0.003)
    assert (found["n_pairs"], found["verdict"]) == (5, "higher")


@pytest.mark.parametrize("n", [0, 1])
def test_without_two_pairs_nothing_can_be_said(n: int) -> None:
    rows = rows_of("dbscan", "none", [0.5] * n, eps=15.0, **PUBLISHED)

    found = claim(table_of(*rows, **PUBLISHED), "methods", "dbscan", "published")

    assert found["verdict"] == "not tested"
    assert found["n_pairs"] == n


def test_a_verdict_needs_the_correction_over_all_of_its_question() -> None:
    """Alone p = 0.04 would do; among five methods with the same spread it does not."""

    def verdict(*others: str) -> str:
        rows = rows_of("kmeans++", "none", shifted(0.0033, 1.5))
        for method in others:
            rows += rows_of(method, "none", shifted(0.0, 1.5))
        return str(claim(table_of(*rows), "methods", "kmeans++")["verdict"])

    assert verdict() == "higher"
    assert verdict("kmedoids") == "higher"
    numbers = claims(table_of(*rows_of("kmeans++", "none", shifted(0.0033, 1.5))))
    assert numbers["p"][0] == numbers["p_family"][0] < 0.05


def test_equal_differences_are_undecided_for_lack_of_spread() -> None:
    table = table_of(*rows_of("kmedoids", "none", shifted(-0.09, 0)))

    assert Finding(
        setting="CIFAR-10, 10 images a class, clustering of features",
        topic=METHODS,
        verdict="undecided",
        cases=("K-Medoids (−9.00, 5 pairs, no spread)",),
    ) in findings([table])


def test_how_many_seeds_find_the_printed_difference_in_four_fifths_of_cases() -> None:
    # Paired differences of s = 0.02; printed 0.0040: d = 0.2. Normal: (1.95996 + 0.84162)² / d² =
    # 196.2, and 2 more for the t distribution. σ from 4 df: χ² quantiles 0.4844 and 11.1433.
    spread = [score + 0.02 * e for score, e in zip(BASELINE, (-1, -1, 0, 1, 1), strict=True)]

    table = table_of(*rows_of("kmeans++", "none", spread, **PUBLISHED), **PUBLISHED)

    found = claim(table, "methods", "kmeans++", "published")
    assert found["verdict"] == "undecided"
    assert found["seeds_needed"] == pytest.approx(198, abs=1)
    assert found["seeds_low"] == pytest.approx(196.2 * 4 / 11.1433 + 2, abs=1)
    assert found["seeds_high"] == pytest.approx(196.2 * 4 / 0.4844 + 2, abs=4)


def test_sentences_name_verdict_numbers_and_seeds() -> None:
    rows = rows_of("kmedoids", "none", shifted(-0.06), **PUBLISHED)

    text = markdown(findings([table_of(*rows, **PUBLISHED)]))

    # s of the differences is 0.0015811, t(4) = 2.776445: half 0.0019632.
    assert (
        "- holds: K-Medoids (−6.00 ± 0.20, 5 pairs, printed −8.84, outside this interval)" in text
    )
    assert "Methods, published protocol: of 4 comparisons with K-Means F, 1 as published" in text


# --- the paper's own ranking ---------------------------------------------------------------------

PRINTED = ("kmeans++", "kmeans", "kmedoids", "agglomerative", "dbscan")
"""In the printed order at ten images a class, without weights."""


def ranked_table(levels_: tuple[float, ...], noise: float = 0.001) -> Table:
    random = np.random.default_rng(0)
    rows: list[Row] = []
    for method, level in zip(PRINTED, levels_, strict=True):
        scores = level + random.normal(0, noise, 4)
        rows += rows_of(method, "none", scores.tolist(), **PUBLISHED)
    return build(frame_of(rows)).tables[0]


def test_whether_the_printed_order_comes_out_again_is_the_first_finding() -> None:
    found = findings([ranked_table((0.60, 0.61, 0.52, 0.51, 0.45))])

    assert found[0].topic.name == "agreement"
    # One of ten pairs is turned round: τ = 8 / 10.
    (case,) = found[0].cases
    assert case.startswith(
        "the printed order of 5 rows, and that here: Kendall's τ 0.80 (95 %: 0.80"
    )
    neighbours = {f.verdict: f.cases for f in found if f.topic.name == "ranking"}
    assert len(neighbours["holds"]) == 3
    assert neighbours["reverses"][0].startswith("K-Means++ − K-Means (−1.")
    assert "contradicts the printed +0.40" in neighbours["reverses"][0]


def test_rows_that_an_order_lacks_are_named() -> None:
    rows = [
        r for m in PRINTED if m != "dbscan" for r in rows_of(m, "none", (0.5, 0.6), **PUBLISHED)
    ]
    rows += rows_of("dbscan", "none", (0.5, 0.6), eps=1.4, **PUBLISHED)
    rows += rows_of("dbscan", "none", (0.5, 0.6))

    (case,) = findings(build(frame_of(rows)).tables)[0].cases
    assert case.startswith("the printed order of 4 rows")
    assert case.endswith("; not run with the printed options: DBSCAN")


def test_an_order_under_the_sound_protocol_is_not_the_papers() -> None:
    rows = [row for method in PRINTED for row in rows_of(method, "none", (0.5, 0.6, 0.7))]

    found = findings(build(frame_of(rows)).tables)

    assert not {"agreement", "ranking"} & {finding.topic.name for finding in found}


# --- printed accuracies --------------------------------------------------------------------------


def published_rows(method: str, weights: str, scores: tuple[float, ...], apart: float) -> list[Row]:
    """Rows of trials with two networks each, so far apart."""
    rows = rows_of(method, weights, scores, **PUBLISHED)
    for row, score in zip(rows, scores, strict=True):
        best = [score + 0.03 - apart / 2, score + 0.03 + apart / 2]
        row["network_scores"] = json.dumps({"convnet": {"best_accuracies": best}})
        row["n_networks"] = 2
    return rows


def test_printed_accuracies_against_one_further_network() -> None:
    # Best of four is three points above: mean 66.5, printed 66.51; 57.47 is far from 70.
    table = table_of(
        *published_rows("kmeans", "none", (0.63, 0.64), 0.004),
        *published_rows("kmedoids", "size", (0.67, 0.672, 0.668), 0.004),
        *published_rows("dbscan", "none", (0.5,), 0.004),
    )

    verdicts = levels(table).set_index(["label", "weights"])["verdict"]

    assert verdicts["K-Means", "F"] == "as printed"
    assert verdicts["K-Medoids", "T"] == "not as printed"
    assert verdicts["DBSCAN", "F"] == "not tested"


def test_the_spread_of_single_networks_widens_what_is_expected() -> None:
    narrow, wide = (
        levels(table_of(*published_rows("kmeans", "none", (0.63, 0.635, 0.64, 0.632), apart)))
        for apart in (0.0, 0.04)
    )

    width = [(of["high"] - of["low"]).max() for of in (narrow, wide)]
    assert width[1] > 2 * width[0]


@pytest.mark.parametrize(
    "fields", [{"dataset": "digits"}, {"n_outer": 20}, {"embedding": "pixels"}]
)
def test_on_other_images_or_sizes_no_printed_accuracy_can_come_out(fields: Row) -> None:
    rows = rows_of("kmeans", "none", (0.63, 0.64), protocol="published", **fields)

    assert levels(table_of(*rows, **fields)).empty


# --- weights × images a class --------------------------------------------------------------------


def weighted_rows(ipc: int, effects: Mapping[str, tuple[float, ...]]) -> list[Row]:
    rows: list[Row] = []
    for method, effect in effects.items():
        base = [0.5 + 0.01 * seed for seed in range(len(effect))]
        with_weights = [score + by for score, by in zip(base, effect, strict=True)]
        rows += rows_of(method, "none", base, ipc=ipc)
        rows += rows_of(method, "size", with_weights, ipc=ipc)
    return rows


def test_weights_against_images_a_class_by_hand() -> None:
    small = {"kmeans": (0.001, 0.002, 0.0), "kmedoids": (0.0, 0.001, 0.002)}
    large = {"kmeans": (0.021, 0.020, 0.022), "kmedoids": (0.002, 0.0, 0.001)}
    tables = build(frame_of([*weighted_rows(1, small), *weighted_rows(10, large)])).tables

    tested = interaction(tables[0], tables[1])

    assert tested.labels == ("K-Means", "K-Medoids")
    first, second = tested.family.differences
    assert (first.mean, second.mean) == pytest.approx((0.02, 0.0))
    effects = np.array([large["kmeans"], small["kmeans"], large["kmedoids"], small["kmedoids"]])
    residuals = effects - effects.mean(axis=1, keepdims=True) - effects.mean(axis=0)
    residuals += effects.mean()
    error = math.sqrt(2 / 3 * (residuals**2).sum() / 6)  # 3 · 2 df
    assert first.p_single == pytest.approx(2 * stats.t.sf(0.02 / error, 6))
    assert first.high - first.mean == pytest.approx(critical_t(0.95, 6, 0.0, 2) * error)
    found = {f.verdict: f.cases for f in findings(tables) if f.topic.name.startswith("weights and")}
    assert found["higher"][0].startswith("K-Means (+2.00 ± ")
    assert found["equivalent"][0].startswith("K-Medoids (0.00 ± ")


def test_sizes_pair_where_the_learning_rate_is_the_same_multiple_of_the_default() -> None:
    """And rows whose labels differ, as one table has more variants of the method."""
    effects = {"dbscan": (0.001, 0.002, 0.0)}
    small = [row | {"lr_img": 64 * row["lr_img"]} for row in weighted_rows(1, effects)]
    large = [row | {"lr_img": 64 * row["lr_img"]} for row in weighted_rows(10, effects)]
    start = rows_of("dbscan", "none", (0.4, 0.5), ipc=10, match="none")
    large += [row | {"lr_img": large[0]["lr_img"]} for row in start]
    tables = build(frame_of([*small, *large])).tables

    assert len(tables) == 2
    found = [f for f in findings(tables) if f.topic.name.startswith("weights and")]
    assert [case for f in found for case in f.cases if case.startswith("DBSCAN")]


def test_weights_against_images_a_class_under_the_published_protocol() -> None:
    effects = {"kmeans": (0.001, 0.002, 0.0)}
    rows = [*weighted_rows(1, effects), *weighted_rows(10, effects)]
    published = [row | PUBLISHED for row in rows]

    found = findings(build(frame_of(published)).tables)
    (one,) = (f for f in found if f.topic.name.startswith("weights and"))
    assert "published protocol" in one.setting
    assert one.protocol == "published"


def test_tables_of_other_settings_are_not_compared() -> None:
    effects = {"kmeans": (0.001, 0.002, 0.0)}
    rows = weighted_rows(1, effects)
    rows += rows_of("kmeans", "size", (0.5, 0.6), ipc=10, n_outer=20)

    found = findings(build(frame_of(rows)).tables)

    assert not any(f.topic.name.startswith("weights and") for f in found)


def test_ranks_over_settings() -> None:
    random = np.random.default_rng(0)
    rows: list[Row] = []
    for ipc in (1, 10, 50):
        for method, level in (("kmeans", 0.6), ("kmedoids", 0.5), ("dbscan", 0.4)):
            scores = (level + random.normal(0, 0.001, 2)).tolist()
            rows += rows_of(method, "none", scores, ipc=ipc)

    found = [f for f in findings(build(frame_of(rows)).tables) if f.topic.name == "ranks"]

    # Friedman: χ²(2) of 3 · 2 = 6, p = e⁻³; Nemenyi: 2.343 · √(3 · 4 / 18) = 1.91.
    (case,) = found[0].cases
    assert case == (
        "mean ranks over 3 tables: K-Means F 1.00, K-Medoids F 2.00, DBSCAN F 3.00; Friedman's "
        "p = 0.05; ranks less than 1.91 apart (Nemenyi) cannot be told apart"
    )


def test_ranks_that_no_result_could_tell_apart_are_said_to_be_so() -> None:
    """Three rows in two tables: 2.343 · √(3 · 4 / 12) = 2.34, and ranks are 2 apart at most."""
    rows: list[Row] = []
    for ipc in (1, 10):
        for method, level in (("kmeans", 0.6), ("kmedoids", 0.5), ("dbscan", 0.4)):
            rows += rows_of(method, "none", [level, level + 0.001], ipc=ipc)

    found = [f for f in findings(build(frame_of(rows)).tables) if f.topic.name == "ranks"]

    assert (
        found[0]
        .cases[0]
        .endswith(
            "2.34 apart (Nemenyi) cannot be told apart, and none can by "
            "so few tables: ranks are 2 apart at most"
        )
    )


def test_where_the_spread_comes_from() -> None:
    """Networks of a trial far apart, trials near: more networks are worth more."""

    def case(apart: float) -> str:
        rows: list[Row] = []
        for method, by in (("kmeans", 0.0), ("kmeans++", 0.01)):
            for row in rows_of(method, "none", shifted(by, 4 if by else 0), eval_every=0):
                score = row["test_accuracy_mean"]
                networks = [score - apart / 2, score + apart / 2]
                if by:  # what the first networks of both methods share would cancel
                    networks.reverse()
                scores: dict[str, Any] = {"convnet": {"accuracies": networks}}
                row |= {"network_scores": json.dumps(scores), "n_networks": 2}
                rows.append(row | {"evaluation_seconds": 30.0, "total_seconds": 100.0})
        found = findings(build(frame_of(rows)).tables)
        (text,) = next(f.cases for f in found if f.topic.name == "spread")
        return text

    cost = "as networks take 30 % of the seconds of a trial, more"
    assert case(0.012).endswith(f"{cost} networks narrow them more for the same time")
    assert case(0.001).endswith(f"{cost} seeds narrow them more for the same time")


def test_the_golden_findings() -> None:
    text = markdown(findings(golden.tables().tables))

    assert "- lower: K-Medoids (−9.67 ± 2.47, 3 pairs)" in text
    assert "- not tested: Agglomerative (−20.00, 1 pair)" in text
    assert text == markdown(findings(golden.tables().tables))


# --- the noise in print --------------------------------------------------------------------------


def test_the_papers_replicates_by_hand() -> None:
    # Points between rows with and without weights, from the printed tables.
    apart = (0.10, 0.08, 0.31, -0.93, 0.25, -0.04, -0.20, -0.09)

    deviation, n = printed_deviation()

    assert n == 8
    assert 100 * deviation == pytest.approx(math.sqrt(sum(d * d for d in apart) / 16))
    assert 100 * deviation == pytest.approx(0.26, abs=0.005)


def test_the_papers_claims_by_its_own_noise() -> None:
    tests = printed_tests().set_index(["method", "ipc"])

    # 66.91 − 66.51 = 0.40, over 0.261 · √2 of 8 df.
    assert tests.loc[("kmeans++", 10), "difference"] == pytest.approx(0.0040)
    assert tests.loc[("kmeans++", 10), "p"] == pytest.approx(0.31, abs=0.005)
    assert len(tests) == 8
    assert (tests.drop(index="kmeans++", level="method")["p"] < 0.001).all()
    text = published_noise()
    assert "0.04 to 0.93 points apart" in text
    assert "a standard deviation of 0.26 points" in text
    assert "K-Means++ against K-Means at 10 images a class (+0.40, p = 0.31)" in text


def test_nothing_at_all() -> None:
    assert findings([]) == []
    assert in_short([]) == []
