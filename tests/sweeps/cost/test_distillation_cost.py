"""Work is counted right, priced by what was measured, and unknown where nothing was."""

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
import pytest
import torch

from distill.config.distillation import DistillationConfig
from distill.config.selection import SelectionConfig
from distill.datasets import load_dataset
from distill.kinds import KINDS
from distill.trials import runner
from sweeps.cost import calibration_configs, estimate
from sweeps.cost.distillation import DISTILLATION, Work, work_units
from sweeps.cost.model import cost_model_of
from sweeps.grid.distillation_presets import PRESETS
from sweeps.grid.plan import make_plan

PARTS = tuple(DISTILLATION.groups)

SMALL = DistillationConfig(
    n_outer=4, n_inner=25, cluster_interval=10, eval_every=2, n_eval=3, eval_epochs=100
)


def row(
    config: DistillationConfig, *, status: str = "ok", **seconds: float | None
) -> dict[str, Any]:
    """A result row with the seconds of its parts (`clustering=…`, …)."""
    parts = {f"{part}_seconds": seconds.get(part) for part in PARTS}
    columns = dict.fromkeys(KINDS[config.kind].config_columns) | config.resolve().to_dict()
    return {"status": status, "kind": config.kind, **columns, **parts}


def priced(config: DistillationConfig, **changes: Any) -> dict[str, Any]:
    """A row under fixed prices: clustering 2 s, inner loop 0.1 + 0.2 s, network 3 s + 10 ms·ipc."""
    work = work_units(config)
    seconds = {
        "clustering": 2.0 * work.n_clusterings,
        "matching": 0.1 * work.n_inner_loops,
        "network": 0.2 * work.n_inner_loops,
        "evaluation": 3.0 * work.n_networks + 0.01 * config.ipc * work.n_epochs,
    }
    return row(config, **(seconds | changes))


def replace(config: DistillationConfig, **changes: Any) -> DistillationConfig:
    return config.replace(**changes)


def seconds_of(config: DistillationConfig, measured: Iterable[Mapping[Any, Any]]) -> float | None:
    return estimate([config], measured).seconds[config.trial_id]


@pytest.mark.parametrize(
    ("changes", "work"),
    [
        # 1 + 4 × (loops 0, 10, 20); curve after 0 and 2 of 4 outer iterations; 2 × 1 + 3 networks.
        ({}, Work(n_clusterings=13, n_inner_loops=100, n_networks=5, n_epochs=500)),
        ({"init": "random"}, Work(n_clusterings=12, n_inner_loops=100, n_networks=5, n_epochs=500)),
        ({"eval_every": 0}, Work(n_clusterings=13, n_inner_loops=100, n_networks=3, n_epochs=300)),
        ({"eval_every": 3}, Work(n_clusterings=13, n_inner_loops=100, n_networks=5, n_epochs=500)),
        ({"eval_every": 4}, Work(n_clusterings=13, n_inner_loops=100, n_networks=4, n_epochs=400)),
        (
            {"n_eval_curve": 2, "eval_networks": ("resnet10", "resnet18", "convnet")},
            Work(n_clusterings=13, n_inner_loops=100, n_networks=13, n_epochs=1300),
        ),
        ({"n_outer": 0}, Work(n_clusterings=1, n_inner_loops=0, n_networks=3, n_epochs=300)),
        (
            {"clusterer": "agglomerative", "protocol": "published", "cluster_interval": 1},
            Work(n_clusterings=100, n_inner_loops=100, n_networks=5, n_epochs=500),
        ),
    ],
)
def test_work_is_counted_from_the_configuration(changes: dict[str, Any], work: Work) -> None:
    assert work_units(replace(SMALL, **changes)) == work


def test_the_defaults_of_the_paper_are_counted() -> None:
    work = work_units(DistillationConfig(dataset="cifar10"))

    assert work == Work(n_clusterings=10_001, n_inner_loops=100_000, n_networks=25, n_epochs=25_000)


def test_counts_are_what_a_trial_does() -> None:
    data = load_dataset("digits", device=torch.device("cpu"))
    config = replace(
        SMALL,
        n_outer=3,
        n_inner=3,
        cluster_interval=2,
        eval_epochs=2,
        width=4,
        n_net_batches=1,
        norm="batch",
        eval_networks=("resnet10",),
    )
    steps: list[float] = []

    result = runner.run(config, data, on_progress=lambda step: steps.append(step.fraction))
    work = work_units(config)

    # A step of a trial is an inner loop or an epoch.
    assert len(steps) == work.n_inner_loops + work.n_epochs
    assert sum(len(s["accuracies"]) for s in result.row["network_scores"].values()) == 6
    assert sum(point["n_networks"] or 0 for point in result.curve) + 3 == work.n_networks


def test_seconds_scale_with_the_counts_of_each_part() -> None:
    measured = [row(SMALL, clustering=26.0, matching=10.0, network=20.0, evaluation=5.0)]
    larger = replace(SMALL, n_outer=8, n_inner=50, eval_epochs=200, seed=9)

    # 1 + 8 × 5 clusterings at 2 s; 400 loops at 0.1 and 0.2 s; (4 + 3) × 200 epochs at 10 ms.
    assert seconds_of(SMALL, measured) == pytest.approx(61.0)
    assert seconds_of(larger, measured) == pytest.approx(82 + 40 + 80 + 14)


def test_two_lengths_separate_fixed_costs_from_costs_per_unit() -> None:
    short = replace(SMALL, n_outer=1, n_inner=2, eval_every=0, n_eval=1, eval_epochs=4)
    long = replace(short, n_inner=6, eval_epochs=40)
    measured = [
        # 5 s to warm up + 0.1 s a loop; 2 s of tests a network + 10 ms an epoch.
        row(short, clustering=2.0, matching=5.2, network=0.4, evaluation=2.04),
        row(long, clustering=2.0, matching=5.6, network=1.2, evaluation=2.4),
    ]

    # 2 clusterings cost 2 s in both; 13 in SMALL. 5 networks of 100 epochs.
    assert seconds_of(SMALL, measured) == pytest.approx(13 + (5 + 10) + 20 + 5 * (2 + 1))


def test_noise_in_short_trials_does_not_make_long_ones_free() -> None:
    short = replace(SMALL, n_outer=1, n_inner=2, eval_every=0, n_eval=1, eval_epochs=4)
    long = replace(short, n_inner=6, eval_epochs=40)
    measured = [
        row(short, clustering=2.0, matching=3.0, network=2.0, evaluation=1.0),
        row(long, clustering=2.0, matching=2.4, network=1.2, evaluation=0.8),
    ]

    # The longer one was faster: medians of seconds per loop (1.5, 0.4) and epoch (0.25, 0.02).
    assert seconds_of(SMALL, measured) == pytest.approx(13 + 95 + 60 + 500 * 0.135)


def test_the_median_of_several_trials_counts() -> None:
    measured = [
        row(replace(SMALL, seed=seed), clustering=s, matching=s, network=s, evaluation=s)
        for seed, s in enumerate([10.0, 11.0, 1000.0])
    ]

    assert seconds_of(SMALL, measured) == pytest.approx(44.0)


def test_each_part_is_priced_by_what_it_depends_on() -> None:
    kmeans = priced(SMALL)
    weighted = replace(SMALL, weights="size", seed=4)
    other = replace(SMALL, clusterer="kmedoids")

    assert seconds_of(weighted, [kmeans]) == pytest.approx(13 * 2 + 30 + 20)
    assert seconds_of(other, [kmeans]) is None
    # A clustering is all that is missing, and it may come from a trial of another ipc.
    other_ipc = priced(replace(other, ipc=10), clustering=13 * 7.0)
    assert seconds_of(other, [kmeans, other_ipc]) == pytest.approx(13 * 7 + 30 + 20)


def test_the_nearest_group_that_has_been_measured_counts() -> None:
    ward = replace(SMALL, clusterer="agglomerative", linkage="ward")
    single = replace(SMALL, clusterer="agglomerative", linkage="single")
    average = replace(SMALL, clusterer="agglomerative", linkage="average")
    measured = [priced(ward, clustering=13 * 4.0), priced(single, clustering=13 * 8.0)]

    assert seconds_of(single, measured) == pytest.approx(13 * 8 + 30 + 20)
    assert seconds_of(average, measured) == pytest.approx(13 * 6 + 30 + 20)


def test_another_ipc_is_priced_by_its_images() -> None:
    measured = [row(SMALL, clustering=0.0, matching=6.5, network=0.0, evaluation=5.0)]
    larger = replace(SMALL, ipc=36)

    # Matching: 64 representatives and 1 against 36 images. Evaluation: 36 times the images.
    assert seconds_of(larger, measured) == pytest.approx(6.5 * 100 / 65 + 5.0 * 36)


def test_paper_1s_batches_have_the_sizes_of_their_clusterers() -> None:
    base = replace(SMALL, protocol="published")
    kmeans, dbscan = priced(base), priced(replace(base, clusterer="dbscan"), matching=100.0)

    assert seconds_of(base, [kmeans, dbscan]) == pytest.approx(26 + 30 + 20)
    assert seconds_of(replace(base, clusterer="dbscan"), [kmeans, dbscan]) == pytest.approx(
        26 + 100 + 20 + 20
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "mnist"},
        {"width": 64},
        {"network": "resnet10"},
        {"embedding": "pixels"},
        {"clusterer": "birch"},
        {"eval_networks": ("resnet10",)},
        {"match": "both"},
    ],
)
def test_what_is_not_alike_is_unknown(changes: dict[str, Any]) -> None:
    assert seconds_of(replace(SMALL, **changes), [priced(SMALL)]) is None


def test_rows_that_cannot_be_priced_by_are_passed_over() -> None:
    sound = priced(SMALL)
    diverged = priced(SMALL, matching=9999.0) | {"status": "diverged"}
    subset = {
        "status": "ok",
        "kind": "selection",
        **SelectionConfig(selector="base").resolve().to_dict(),
    }
    subset |= dict.fromkeys((f"{part}_seconds" for part in PARTS), 1.0)
    without = priced(SMALL, matching=None)

    assert seconds_of(SMALL, [diverged, subset]) is None
    assert seconds_of(SMALL, [without]) is None
    assert seconds_of(SMALL, [diverged, subset, without, sound]) == pytest.approx(76.0)


def test_work_that_is_not_done_costs_nothing_and_needs_no_price() -> None:
    none = replace(SMALL, n_outer=0, init="noise", eval_every=0)

    assert seconds_of(none, [row(none, evaluation=6.0)]) == pytest.approx(6.0)


def test_rows_may_come_from_pandas() -> None:
    frame = pd.DataFrame([priced(SMALL), priced(replace(SMALL, seed=1), matching=None)])
    nullable = frame.convert_dtypes()

    assert nullable["eps"].isna().all()
    for rows in (frame, nullable):
        assert seconds_of(SMALL, rows.to_dict("records")) == pytest.approx(76.0)


def test_sums_hours_slots_and_cost_by_hand() -> None:
    configs = [replace(SMALL, n_outer=n, seed=n) for n in (1, 2, 3)]
    seconds = {1: 7200.0, 2: 3600.0, 3: 3600.0}
    measured = []
    for config in configs:  # three data sets, so that every trial has a price of its own
        other = replace(config, dataset=f"folder:{config.n_outer}")
        configs[configs.index(config)] = other
        measured.append(row(other, clustering=seconds[config.seed], matching=0, network=0))
        measured[-1]["evaluation_seconds"] = 0.0
    unknown = replace(SMALL, dataset="folder:4")

    result = estimate(
        [*configs, unknown], measured, slots=2, gpu_share=0.25, price_per_gpu_hour=2.0
    )

    assert result.n_unknown == 1
    assert result.seconds[unknown.trial_id] is None
    assert result.trial_hours == pytest.approx(4.0)
    assert result.wall_hours == pytest.approx(2.0)  # 2 on one slot, 1 + 1 on the other
    assert result.gpu_hours == pytest.approx(1.0)
    assert result.cost == pytest.approx(2.0)


def test_nothing_is_said_about_what_is_unknown() -> None:
    unknown = estimate([SMALL], [], slots=2, gpu_share=1.0, price_per_gpu_hour=2.0)
    on_cpu = estimate([SMALL], [priced(SMALL)], price_per_gpu_hour=2.0)
    unpriced = estimate([SMALL], [priced(SMALL)], gpu_share=0.5)

    assert unknown.n_unknown == 1
    assert unknown.trial_hours is unknown.wall_hours is unknown.gpu_hours is unknown.cost is None
    assert on_cpu.gpu_hours is on_cpu.cost is None
    assert unpriced.gpu_hours == pytest.approx(76 / 7200)
    assert unpriced.cost is None


def test_a_calibration_is_short_and_prices_the_whole_plan() -> None:
    plan = make_plan(PRESETS["extended"])
    short = calibration_configs(plan)

    result = estimate(plan, [priced(config) for config in short])

    assert result.n_unknown == 0
    assert len({config.trial_id for config in short}) == len(short)
    # 34 clusterings (4 + 4 + 9 + 8 + 2 + 1 + 6), three further ipcs and brief networks for the
    # difficulty, two lengths of each.
    assert len(short) == 2 * (34 + 3 + 1)
    for config in short:
        work = work_units(config)
        assert work.n_clusterings <= 3
        assert work.n_inner_loops <= 6
        assert work.n_networks == 1
        assert work.n_epochs <= 40


def test_a_calibration_finds_the_prices_again() -> None:
    plan = make_plan(PRESETS["paper"], protocols=["published", "sound"])
    measured = [priced(config) for config in calibration_configs(plan)]

    result = estimate(plan, measured)

    for config in plan:
        exact = sum(priced(config)[f"{part}_seconds"] for part in PARTS)
        assert result.seconds[config.trial_id] == pytest.approx(exact, rel=1e-9)


def test_the_groups_of_a_part_get_wider() -> None:
    for groups in (g for kind in KINDS.values() for g in cost_model_of(kind).names().values()):
        for narrow, wide in itertools.pairwise(groups):
            assert set(wide) < set(narrow)


@pytest.mark.slow
def test_a_real_calibration_predicts_a_real_trial() -> None:
    data = load_dataset("digits", device=torch.device("cpu"))
    config = make_plan(PRESETS["quickstart"], only=["method=kmeans,weight=F,ipc=10"])[0]
    measured = [runner.run(short, data).row for short in calibration_configs([config])]
    real = runner.run(config, data).row

    guess = seconds_of(config, measured)

    assert guess is not None
    # Other programs on the machine move both; the order of magnitude is what is promised.
    assert math.log2(guess / sum(real[f"{part}_seconds"] for part in PARTS)) == pytest.approx(
        0, abs=1.5
    )


def test_picks_of_a_start_alone_can_be_calibrated() -> None:
    config = DistillationConfig(match="none", pick="hard", ipc=10)
    assert {short.pick for short in calibration_configs([config])} == {"hard"}
