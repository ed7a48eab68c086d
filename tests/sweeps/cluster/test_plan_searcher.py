"""A plan given to Tune point by point is what Tune makes of a grid of the same points."""

import os
import random
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune.experiment import Experiment, Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import BasicVariantGenerator, SearchGenerator

from distill.config.distillation import DistillationConfig
from sweeps.cluster.plan_searcher import InOrder, PlanSearcher, most_waiting
from sweeps.cluster.runner import point_of

NAME = "TUNE_MAX_PENDING_TRIALS_PG"


def nothing(params: dict[str, Any]) -> None:
    del params


def points_of(search: Any, folder: Path, **experiment: Any) -> list[Any]:
    """The points of the trials that a search algorithm makes, in their order."""
    search.add_configurations(
        [Experiment(name="test", run=nothing, storage_path=str(folder), **experiment)]
    )
    trials = iter(search.next_trial, None)
    return [trial.config["point"] for trial in trials]


def test_the_points_are_those_of_a_grid_in_its_order(tmp_path: Path) -> None:
    points = [
        point_of(DistillationConfig(seed=seed)) | {"attempt": seed + 1} for seed in (3, 1, 4, 1, 5)
    ]
    grid = {"point": tune.grid_search(points)}

    plain = points_of(BasicVariantGenerator(), tmp_path, config=grid)
    quick = points_of(SearchGenerator(PlanSearcher(points)), tmp_path, num_samples=100)

    assert quick == plain == points


class Controller:
    """What a scheduler sees of Tune."""

    def __init__(self) -> None:
        self.trials: list[Trial] = []

    def get_trials(self) -> list[Trial]:
        return self.trials


@pytest.mark.parametrize("seed", range(5))
def test_trials_are_chosen_as_tune_chooses_them(seed: int, tmp_path: Path) -> None:
    """While trials come, start, end and are lost at random."""
    dice = random.Random(seed)  # noqa: S311
    tune.register_trainable("nothing", nothing)
    controller: Any = Controller()
    plain, quick = FIFOScheduler(), InOrder()
    chosen = lost = 0
    for _ in range(300):
        running = [trial for trial in controller.trials if trial.status == Trial.RUNNING]
        event = dice.choice(["add", "start", "start", "end", "lose"])
        if event == "add":
            trial = Trial("nothing", stub=True)
            controller.trials.append(trial)
            quick.on_trial_add(controller, trial)
        elif event == "start" and (first := plain.choose_trial_to_run(controller)):
            first.status = Trial.RUNNING
            chosen += 1
        elif event == "end" and running:
            dice.choice(running).status = dice.choice([Trial.TERMINATED, Trial.ERROR])
        elif event == "lose" and running:  # as TuneController._requeue_trial does
            trial = dice.choice(running)
            trial.status = Trial.PENDING
            controller.trials.remove(trial)
            controller.trials.append(trial)
            quick.on_trial_add(controller, trial)
            lost += 1
        assert quick.choose_trial_to_run(controller) is plain.choose_trial_to_run(controller)
    assert chosen > 20
    assert lost > 10


def test_how_many_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAME, raising=False)
    with most_waiting(7):
        assert os.environ[NAME] == "7"
    assert NAME not in os.environ

    monkeypatch.setenv(NAME, "3")
    with most_waiting(7):
        assert os.environ[NAME] == "3", "the user's"
    assert os.environ[NAME] == "3"
