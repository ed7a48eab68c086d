"""Evaluations: work counted in images of a class, priced by what was measured."""

from typing import Any

import pytest

from distill.config.evaluation import EvaluationConfig
from sweeps.cost import calibration_configs, estimate
from sweeps.cost.evaluation import EVALUATION

FILE: dict[str, Any] = {"set": "dc.pt", "set_hash": "0" * 16, "ipc": 3, "factor": 2}
RANDOM = EvaluationConfig(set="random", ipc=12, eval_epochs=10, n_eval=2)


def row(config: EvaluationConfig, **seconds: float) -> dict[str, Any]:
    parts = {f"{part}_seconds": seconds.get(part, 0.0) for part in EVALUATION.groups}
    return {"status": "ok", "kind": "evaluation", **config.resolve().to_dict(), **parts}


@pytest.mark.parametrize(
    ("config", "units"),
    [
        (RANDOM, {"clustering": 1, "network": 0, "evaluation": 2 * 10 * 12}),
        (
            EvaluationConfig(**FILE, eval_epochs=10, n_eval=2),
            {"clustering": 1, "network": 0, "evaluation": 2 * 10 * 3 * 4},
        ),
        (
            EvaluationConfig(set="all", all_epochs=7, n_eval=3),
            {"clustering": 1, "network": 0, "evaluation": 3 * 7},
        ),
        (
            EvaluationConfig(
                set="herding",
                eval_epochs=1,
                n_eval=1,
                labels="soft",
                teacher_epochs=6,
                feature_epochs=2,
            ),
            {"clustering": 1, "network": 8, "evaluation": 1},
        ),
    ],
)
def test_work_follows_from_the_configuration(
    config: EvaluationConfig, units: dict[str, float]
) -> None:
    found = EVALUATION.units(EVALUATION.values(config.resolve().to_dict()))
    assert {part: value for part, (value, _) in found.items()} == units


def test_sets_of_equal_size_cost_the_same() -> None:
    """12 random images a class as 3 stored ones that hold 4 each."""
    measured = [row(RANDOM, clustering=5.0, evaluation=48.0)]
    config = EvaluationConfig(**FILE, eval_epochs=20, n_eval=1)

    assert estimate([config], measured).seconds[config.trial_id] == pytest.approx(5 + 48)


def test_all_images_are_not_priced_by_few() -> None:
    config = EvaluationConfig(set="all")
    assert estimate([config], [row(RANDOM, clustering=5.0, evaluation=48.0)]).n_unknown == 1


def test_a_calibration_prices_the_whole_plan() -> None:
    plan = [
        EvaluationConfig(**values, labels=labels, seed=seed)
        for seed in (0, 1)
        for labels in ("hard", "teacher")
        for values in (FILE, {"set": "random", "ipc": 3}, {"set": "all"}, {"set": "herding"})
    ]
    short = calibration_configs(plan)
    measured = [row(config, clustering=1.0, network=1.0, evaluation=1.0) for config in short]

    assert estimate(plan, measured).n_unknown == 0
    assert all(config.seed == 0 and config.n_eval == 1 for config in short)
    assert all(config["teacher_epochs"] in (None, 1) for config in short)
