"""Seconds to an accuracy, by hand."""

from pathlib import Path
from typing import Any

import pytest

from analysis.data.reading import Sweeps, load
from analysis.findings.findings import findings
from analysis.tables.build import build
from sweeps.store.store import Store
from tests.analysis.results import rows_of

SECONDS = [1.0, 11.0, 21.0]
BASELINE = [[0.1, 0.3, 0.5], [0.1, 0.3, 0.403]]
"""Accuracies of seeds 0 and 1: all reach 40 %, after 16 s and 20.7087 s."""


def put(store: Store, curves: list[list[float]], seconds: list[float] | None, **row: Any) -> None:
    for result, accuracies in zip(
        rows_of("kmeans", "none", [curve[-1] for curve in curves], **row), curves, strict=True
    ):
        points = [
            {"trial_id": result["trial_id"], "outer": outer, "accuracy_mean": accuracy}
            | ({} if seconds is None else {"seconds": seconds[outer]})
            for outer, accuracy in enumerate(accuracies)
        ]
        store.put_result(result, points)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "results")
    found.create()
    return found


def cases(store: Store, **options: Any) -> list[str]:
    sweeps: Sweeps = load(store.uri)
    tables = build(sweeps.results, **options).tables
    return [
        case
        for finding in findings(tables, sweeps)
        if finding.topic.name == "time"
        for case in finding.cases
    ]


def test_seconds_and_their_ratio_to_the_baseline(store: Store) -> None:
    put(store, BASELINE, SECONDS)
    put(store, [[0.1, 0.5], [0.2, 0.4]], [3.0, 5.0], networks="pool")

    # √(16 · 20.7087) = 18.2025, its logarithm ± 12.7062 · 0.25798 / 2: × or ÷ 5.150.
    # 4.5 and 5 s: √22.5 = 4.7434, × or ÷ 1.9530; ratios 0.28125 and 0.241445: √ = 0.260590.
    assert cases(store) == [
        "K-Means F to 40.00 %: 18.2 (3.53 to 93.7) s (2 seeds)",
        "K-Means (pool of networks) F to 40.00 %: 4.74 (2.43 to 9.26) s (2 seeds), "
        "0.261 (0.0988 to 0.687) times K-Means F's (2 pairs)",
    ]


def test_no_mean_of_those_that_reach_it_only(store: Store) -> None:
    put(store, BASELINE, SECONDS)
    put(store, [[0.1, 0.5], [0.2, 0.39]], [3.0, 5.0], networks="pool")

    assert cases(store)[1] == "K-Means (pool of networks) F to 40.00 %: reached by 1 of 2 seeds"
    first, second = cases(store, target_accuracy=0.45)
    assert first == "K-Means F to 45.00 %: reached by 1 of 2 seeds"
    assert second == "K-Means (pool of networks) F to 45.00 %: reached by 1 of 2 seeds"
    assert cases(store, target_accuracy=0.3)[0] == "K-Means F to 30.00 %: 11 s (2 seeds)"
    assert not cases(store, target_accuracy=0.9)


def test_ratios_are_of_the_seeds_that_both_rows_have(store: Store) -> None:
    put(store, BASELINE, SECONDS)
    put(store, [[0.1, 0.5]], [3.0, 5.0], networks="pool")

    assert cases(store)[1] == (  # 4.5 s of 16
        "K-Means (pool of networks) F to 40.00 %: 4.5 s (1 seed), 0.281 times K-Means F's (1 pair)"
    )


def test_a_start_that_costs_nothing_has_neither_mean_nor_ratio(store: Store) -> None:
    put(store, BASELINE, SECONDS)
    put(store, [[0.5, 0.5], [0.2, 0.4]], [0.0, 5.0], networks="pool")

    assert cases(store)[1] == (
        "K-Means (pool of networks) F to 40.00 %: reached by the start of 1 of 2 seeds"
    )


def test_rows_of_earlier_versions_have_no_seconds(store: Store) -> None:
    put(store, BASELINE, None)

    assert not cases(store)
