"""The best of a search against what needs no search: references, differences, texts."""

import math
import statistics
from typing import Any

import pytest
from scipy import stats

from analysis.statistics.intervals import paired_difference
from distill.config.base import Config
from distill.config.distillation import DistillationConfig
from distill.config.selection import SelectionConfig
from sweeps.optuna_search.comparison import (
    compare,
    comparison_documents,
    describe_comparisons,
    references_for,
)
from sweeps.optuna_search.spaces import load_space
from sweeps.optuna_search.study import CONFIRM_SEEDS_FROM, confirm_plan
from sweeps.store.store import Store
from tests.sweeps.plain_results import row_of

SHARED = {"eval_split": "val", "val_fraction": 0.1}


def references(space: str, best: Config, **fixed: Any) -> dict[str, Config]:
    found = references_for(best, load_space(space).narrowed(fixed))
    return {reference.label: reference.config for reference in found}


def test_references_are_the_default_and_the_baseline() -> None:
    best = DistillationConfig(**SHARED, clusterer="dbscan", ipc=10, eps_quantile=0.3, width=16)

    assert references("dbscan", best, width=16) == {
        "default": DistillationConfig(**SHARED, clusterer="dbscan", ipc=10, width=16),
        "K-Means": DistillationConfig(**SHARED, clusterer="kmeans", ipc=10, width=16),
    }


def test_fixed_options_of_another_clusterer_are_left_out_of_the_baseline() -> None:
    best = DistillationConfig(**SHARED, clusterer="dbscan", ipc=10, eps=3.0, min_samples=4)
    found = references("dbscan", best, eps=3.0, weights="size")

    assert found["default"]["eps"] == 3.0
    assert found["default"]["weights"] == "size"
    assert found["K-Means"] == DistillationConfig(**SHARED, ipc=10, weights="none")


def test_equal_references_are_one_and_the_best_is_none() -> None:
    best = DistillationConfig(**SHARED, ipc=10, clusterer="kmedoids")
    assert list(references("joint", best)) == ["default = K-Means"]

    default = DistillationConfig(**SHARED, ipc=10, clusterer="dbscan", seed=4)
    assert list(references("dbscan", default)) == ["K-Means"]
    assert references("joint", DistillationConfig(**SHARED, ipc=10)) == {}


def test_references_keep_as_many_images_as_the_best() -> None:
    """A larger fraction is better by itself: the comparison is of the choice."""
    best = SelectionConfig(**SHARED, selector="herding", fraction=0.3)
    found = references("selection", best)

    assert found == {"default = random": SelectionConfig(**SHARED, fraction=0.3)}
    grid = SelectionConfig(**SHARED, selector="cluster_grid", fraction=0.1, n_eval=2, grid_size=4)
    assert list(references("grid_size", grid)) == ["default", "random"]


def test_a_space_without_a_default_has_the_baseline_alone() -> None:
    """Its shared fields belong to a clusterer that is searched."""
    best = DistillationConfig(**SHARED, ipc=10, clusterer="dbscan", eps=2.0, weights="size")
    found = references("joint", best, eps=2.0)

    assert set(found) == {"default = K-Means"}
    assert found["default = K-Means"]["eps"] is None


def put(store: Store, config: Config, accuracies: list[float | None]) -> None:
    for trial, accuracy in zip(confirm_plan([config], len(accuracies)), accuracies, strict=True):
        if accuracy is not None:
            assert isinstance(trial, DistillationConfig)
            store.put_result(row_of(trial, test_accuracy_mean=accuracy), [])


def test_differences_are_paired_by_seed(store: Store) -> None:
    """By the textbook: mean ± t(0.975, n − 1) · s / √n of the differences."""
    best = DistillationConfig(**SHARED, ipc=10, clusterer="dbscan", eps_quantile=0.3)
    space = load_space("dbscan")
    found = references_for(best, space)
    put(store, best, [0.60, 0.62, 0.65, None, 0.61])
    put(store, found[0].config, [0.58, 0.61, 0.61, 0.70, 0.60])
    put(store, found[1].config, [0.61, None, None, 0.70, None])

    default, k_means = compare(best, found, store, n_seeds=5, pairing=paired_difference)
    differences = [0.02, 0.01, 0.04, 0.01]
    half = stats.t.ppf(0.975, 3) * statistics.stdev(differences) / 2
    assert default.difference.n == 4
    assert default.difference.mean == pytest.approx(0.02)
    assert default.difference.low == pytest.approx(0.02 - half)
    assert k_means.difference.n == 1
    assert k_means.difference.mean == pytest.approx(-0.01)
    assert math.isnan(k_means.difference.low)

    assert describe_comparisons([default, k_means]) == [
        "the best less what needs no search (test accuracy, paired, single intervals):",
        "  best − default  +2.0 ± 2.3 points (95 % interval, 4 seeds)",
        "  best − K-Means  -1.0 points (one seed: no interval)",
    ]
    documents = comparison_documents([default, k_means])
    assert [document["reference"] for document in documents] == ["default", "K-Means"]
    assert documents[0]["high"] == pytest.approx(0.02 + half)
    assert (documents[1]["n"], documents[1]["low"], documents[1]["high"]) == (1, None, None)
    assert documents[0]["config"]["clusterer"] == "dbscan"


def test_nothing_is_claimed_without_a_spread_or_without_pairs(store: Store) -> None:
    best = DistillationConfig(**SHARED, ipc=10, clusterer="dbscan", eps_quantile=0.3)
    found = references_for(best, load_space("dbscan"))
    put(store, best, [0.5, 0.75])
    put(store, found[0].config, [0.25, 0.5])

    lines = describe_comparisons(compare(best, found, store, n_seeds=2, pairing=paired_difference))
    assert lines[1:] == [
        "  best − default  +25.0 points (2 seeds, all alike: no interval)",
        "  best − K-Means  no seed is confirmed for both",
    ]
    assert describe_comparisons([]) == []


def test_references_are_confirmed_on_the_seeds_of_the_best() -> None:
    best = DistillationConfig(**SHARED, ipc=10, clusterer="kmedoids")
    (reference,) = references_for(best, load_space("joint"))
    plan = confirm_plan([best, reference.config], 3)

    assert [(c["clusterer"], c.seed - CONFIRM_SEEDS_FROM) for c in plan] == [
        (name, seed) for seed in range(3) for name in ("kmedoids", "kmeans")
    ]
    assert {(c.eval_split, c.val_fraction) for c in plan} == {("test", 0.0)}
