"""The searcher and the pruning scheduler, called as Tune calls them."""

import math
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from distill.config.distillation import DistillationConfig
from distill.datasets import ImageData
from distill.kinds import config_from_dict
from sweeps.cluster.worker import WorkOrder, run_and_store
from sweeps.optuna_search.searcher import PruningScheduler, StudySearcher
from sweeps.optuna_search.spaces import Space, load_space
from sweeps.optuna_search.study import SearchStudy, median_pruner, open_study
from sweeps.store.store import Store
from tests.sweeps.plain_results import row_of

CHECKPOINT = f"00000001-{'f' * 32}.safetensors"

SIZES = {
    "ipc": 1,
    "width": 8,
    "depth": 2,
    "n_representatives": 8,
    "n_outer": 8,
    "n_inner": 1,
    "n_net_batches": 1,
    "net_batch_size": 16,
    "eval_epochs": 2,
    "n_eval": 1,
}


class Tune:
    """What Tune does with a searcher and a scheduler, for trials that run one at a time."""

    def __init__(self, searcher: StudySearcher) -> None:
        self.searcher = searcher
        self.scheduler = PruningScheduler(searcher)
        self._n_trials = 0

    def next(self) -> tuple[str, DistillationConfig] | None:
        self._n_trials += 1
        tune_id = f"tune_{self._n_trials:05d}"
        suggestion = self.searcher.suggest(tune_id)
        if suggestion == Searcher.FINISHED:
            return None
        assert isinstance(suggestion, dict)
        config = config_from_dict(suggestion["point"])
        assert isinstance(config, DistillationConfig)
        return tune_id, config

    def report(
        self, tune_id: str, step: int | None = None, accuracy: float | None = None, **more: Any
    ) -> str:
        result = {"status": "running", "curve_step": step, "curve_accuracy": accuracy} | more
        result["trial_id"] = tune_id  # as Tune does: its id in the place of the trial's
        trial: Any = SimpleNamespace(trial_id=tune_id)
        decision = self.scheduler.on_trial_result(None, trial, result)
        if decision == TrialScheduler.STOP:
            self.searcher.on_trial_complete(tune_id, result=result)
        else:
            self.searcher.on_trial_result(tune_id, result)
        return decision

    def end(self, tune_id: str, **result: Any) -> None:
        self.searcher.on_trial_complete(tune_id, result={"status": "ok"} | result)


@pytest.fixture
def search(tmp_path: Path, store: Store) -> Iterator[Callable[..., tuple[Tune, SearchStudy]]]:
    """Opens and repairs the study of a search; what was open before is closed."""
    opened: list[SearchStudy] = []

    def search(
        space: Space | None = None,
        *,
        n_trials: int = 20,
        objectives: tuple[str, ...] = ("accuracy",),
        **options: Any,
    ) -> tuple[Tune, SearchStudy]:
        for study in opened:
            study.close()
        space = space or load_space("dbscan").narrowed(SIZES)
        study = open_study(
            "s",
            str(tmp_path / "s.journal"),
            space=space.name,
            shared=space.shared,
            objectives=objectives,
            pruner=median_pruner(DistillationConfig(n_outer=8)),
        )
        opened.append(study)
        study.repair(store)
        return Tune(StudySearcher(study, space, store, n_trials=n_trials, **options)), study

    yield search
    for study in opened:
        study.close()


Search = Callable[..., tuple[Tune, SearchStudy]]


def user_space(path: Path, body: str) -> Space:
    (path / "mine.py").write_text(f"import optuna\ndef suggest(trial):\n    {body}\n")
    return load_space(str(path / "mine.py")).narrowed(SIZES)


def put(store: Store, config: DistillationConfig, accuracy: float | None, **changes: Any) -> None:
    assert store.put_result(row_of(config, val_accuracy_mean=accuracy, **changes), [], None)


def finish(tune: Tune, store: Store, accuracy: float) -> DistillationConfig:
    """One whole trial, with a curve that is its accuracy from iteration 1 on."""
    following = tune.next()
    assert following is not None
    tune_id, config = following
    for step in range(1, 9):
        assert tune.report(tune_id, step, accuracy) == TrialScheduler.CONTINUE
    put(store, config, accuracy)
    tune.end(tune_id)
    return config


def states(study: SearchStudy) -> list[str]:
    return [trial.state.name for trial in study.trials]


def statuses(study: SearchStudy) -> list[str | None]:
    return [trial.user_attrs.get("status") for trial in study.trials]


def test_a_real_trial_from_suggestion_to_value(
    search: Search, store: Store, digits: ImageData
) -> None:
    tune, study = search(n_trials=2)
    for _ in range(2):
        following = tune.next()
        assert following is not None
        tune_id, config = following

        def report(values: dict[str, Any], tune_id: str = tune_id) -> None:
            more = {k: v for k, v in values.items() if k not in ("step", "accuracy")}
            tune.report(tune_id, **more)

        order = WorkOrder(store=store, sweep="s", phase="search", report_seconds=0)
        run_and_store(config, lambda: digits, order, report)
        tune.end(tune_id)

    assert tune.next() is None
    assert states(study) == ["COMPLETE", "COMPLETE"]
    for trial in study.trials:
        row = store.read_row(trial.user_attrs["trial_id"])
        assert row is not None
        assert trial.value == row["val_accuracy_mean"]
        assert trial.user_attrs["seconds"] == row["total_seconds"]
        assert trial.params["min_samples"] == row["min_samples"]
        assert sorted(trial.intermediate_values) == list(range(9))
        assert trial.intermediate_values[8] == row["val_accuracy_mean"]


def test_the_budget_counts_all_that_ended(search: Search, store: Store, tmp_path: Path) -> None:
    tune, study = search(n_trials=3)
    finish(tune, store, 0.5)
    tune_id, config = tune.next() or pytest.fail("no trial")
    put(store, config, None, status="infeasible")
    tune.end(tune_id, status="infeasible")
    tune_id, _ = tune.next() or pytest.fail("no trial")
    assert tune.next() is None, "one ran, and counts"
    tune.end(tune_id, status="failed", message="no images")

    assert tune.next() is None
    assert states(study) == ["COMPLETE", "PRUNED", "FAIL"]
    assert study.trials[2].user_attrs["message"] == "no images"
    tune, study = search(n_trials=4)
    finish(tune, store, 0.5)
    assert tune.next() is None


def test_trials_at_once(search: Search, store: Store) -> None:
    tune, study = search(n_trials=4)
    running = [tune.next() or pytest.fail("no trial") for _ in range(4)]
    assert tune.next() is None
    for i, (tune_id, config) in reversed(list(enumerate(running))):
        put(store, config, i / 10)
        tune.end(tune_id)

    assert [trial.value for trial in study.trials] == [0.0, 0.1, 0.2, 0.3]


def test_a_configuration_in_the_store_is_not_run_again(
    search: Search, store: Store, tmp_path: Path
) -> None:
    space = user_space(tmp_path, "return {'lr_img': trial.suggest_categorical('lr_img', [.1, .2])}")
    known = space.config(optuna.trial.FixedTrial({"lr_img": 0.1}))  # type: ignore[arg-type]
    assert isinstance(known, DistillationConfig)
    put(store, known, 0.8)
    tune, study = search(space, n_trials=12)

    finish(tune, store, 0.4)
    assert tune.next() is None, "a space of two points comes to its end"
    assert len(study.trials) == 12
    assert set(states(study)) == {"COMPLETE"}
    assert {trial.value for trial in study.trials} == {0.8, 0.4}
    assert study.best(1)[0].config == known
    assert len(study.best(5)) == 2


def test_a_configuration_that_runs_is_waited_for(
    search: Search, store: Store, tmp_path: Path
) -> None:
    space = user_space(tmp_path, "return {'lr_img': trial.suggest_categorical('lr_img', [.1, .2])}")
    tune, study = search(space, n_trials=8)
    first, second = (tune.next() or pytest.fail("no trial") for _ in range(2))
    assert tune.next() is None
    assert states(study) == ["RUNNING"] * 8
    tune.report(first[0], 1, 0.3)
    put(store, first[1], 0.4)
    tune.end(first[0])
    tune.end(second[0], status="failed", message="broken")

    of_first = [t for t in study.trials if t.user_attrs["trial_id"] == first[1].trial_id]
    of_second = [t for t in study.trials if t.user_attrs["trial_id"] == second[1].trial_id]
    assert len(of_first) > 1
    assert len(of_second) > 1
    assert {(t.state.name, t.value) for t in of_first} == {("COMPLETE", 0.4)}
    assert all(t.intermediate_values == {1: 0.3} for t in of_first)
    assert {t.state.name for t in of_second} == {"FAIL"}


def test_only_new_points_of_the_curve_are_reported(search: Search) -> None:
    tune, study = search()
    tune_id, _ = tune.next() or pytest.fail("no trial")
    tune.report(tune_id)
    for accuracy in (0.3, 0.3, 0.4):  # the last one would be another value for the same point
        tune.report(tune_id, 0, accuracy)
    tune.report(tune_id, 2, math.nan)
    tune.report(tune_id, 4, 0.5)
    tune.report("unknown", 5, 0.5)

    assert study.trials[0].intermediate_values == {0: 0.3, 4: 0.5}


def test_a_bad_trial_is_stopped_early(search: Search, store: Store) -> None:
    tune, study = search()
    for i in range(5):
        finish(tune, store, 0.5 + i / 100)
    tune_id, config = tune.next() or pytest.fail("no trial")
    store.checkpoint_folder(config.trial_id).write(CHECKPOINT, b"x")

    assert tune.report(tune_id, 0, 0.1) == TrialScheduler.CONTINUE
    assert tune.report(tune_id, 1, 0.1) == TrialScheduler.CONTINUE, "within the first quarter"
    assert tune.report(tune_id, 2, 0.1) == TrialScheduler.STOP
    assert states(study)[5:] == ["PRUNED"]
    assert statuses(study)[5:] == ["pruned"]
    assert study.trials[5].intermediate_values == {0: 0.1, 1: 0.1, 2: 0.1}
    study.remove_leftovers(store)
    assert store.checkpoint_folder(config.trial_id).names() == []
    good = finish(tune, store, 0.9)
    assert study.best(1)[0].config == good


def test_the_first_trials_are_not_stopped_early(search: Search, store: Store) -> None:
    tune, _ = search()
    for _ in range(4):
        finish(tune, store, 0.9)
    finish(tune, store, 0.1)


def test_no_trial_is_stopped_in_its_last_iteration(search: Search, store: Store) -> None:
    tune, study = search()
    for _ in range(5):
        finish(tune, store, 0.9)
    tune_id, config = tune.next() or pytest.fail("no trial")

    assert tune.report(tune_id, 8, 0.1) == TrialScheduler.CONTINUE
    put(store, config, 0.1)
    assert tune.report(tune_id, 8, 0.1, status="ok") == TrialScheduler.CONTINUE
    tune.end(tune_id)
    assert states(study) == ["COMPLETE"] * 6


def test_a_row_that_was_written_before_the_stop_counts(search: Search, store: Store) -> None:
    tune, study = search()
    for _ in range(5):
        finish(tune, store, 0.9)
    tune_id, config = tune.next() or pytest.fail("no trial")
    put(store, config, 0.2)

    assert tune.report(tune_id, 2, 0.1) == TrialScheduler.STOP
    assert study.trials[5].value == 0.2
    assert states(study)[5] == "COMPLETE"


def test_what_was_stopped_early_is_not_run_again(
    search: Search, store: Store, tmp_path: Path
) -> None:
    choices = "[.1, .2, .3, .4, .5, .6]"
    space = user_space(
        tmp_path, f"return {{'lr_img': trial.suggest_categorical('lr_img', {choices})}}"
    )
    tune, study = search(space, n_trials=60)
    for _ in range(5):
        finish(tune, store, 0.9)
    tune_id, _ = tune.next() or pytest.fail("no trial")
    tune.report(tune_id, 2, 0.1)
    tune, study = search(space, n_trials=60)

    assert tune.next() is None
    pruned = [trial for trial in study.trials if trial.state.name == "PRUNED"]
    assert len(pruned) > 1
    assert all(trial.intermediate_values == {2: 0.1} for trial in pruned)
    assert len({trial.user_attrs["trial_id"] for trial in pruned}) == 1


def test_several_objectives_are_neither_reported_nor_stopped(search: Search, store: Store) -> None:
    tune, study = search(objectives=("accuracy", "seconds"))
    for _ in range(6):
        finish(tune, store, 0.9)
    finish(tune, store, 0.1)

    assert [trial.values for trial in study.trials[-2:]] == [[0.9, 12.5], [0.1, 12.5]]
    assert all(trial.intermediate_values == {} for trial in study.trials)


def test_a_lost_process_is_a_failure(search: Search) -> None:
    tune, study = search()
    tune_id, _ = tune.next() or pytest.fail("no trial")
    tune.searcher.on_trial_complete(tune_id, error=True)

    assert states(study) == ["FAIL"]
    assert study.trials[0].user_attrs["message"] == "its process was lost too often"


def test_an_interrupted_trial_is_gone_on_with(search: Search, store: Store) -> None:
    tune, study = search(n_trials=2)
    following = [tune.next() or pytest.fail("no trial") for _ in range(2)]
    tune.report(following[0][0], 0, 0.25)
    tune.end(following[0][0], status="running")  # Tune was stopped; the other one hears nothing
    assert states(study) == ["RUNNING", "RUNNING"]

    tune, study = search(n_trials=2)
    again = [tune.next() or pytest.fail("no trial") for _ in range(2)]
    assert [config for _, config in again] == [config for _, config in following]
    assert study.trials[2].intermediate_values == {0: 0.25}
    tune.report(again[0][0], 0, 0.25)  # its last point, from the checkpoint
    tune.report(again[0][0], 1, 0.5)
    assert study.trials[2].intermediate_values == {0: 0.25, 1: 0.5}
    for tune_id, config in again:
        put(store, config, 0.5)
        tune.end(tune_id)
    assert tune.next() is None
    assert states(study) == ["FAIL", "FAIL", "COMPLETE", "COMPLETE"]


def test_a_row_without_a_score_fails_and_the_search_goes_on(search: Search, store: Store) -> None:
    tune, study = search(n_trials=2)
    tune_id, config = tune.next() or pytest.fail("no trial")
    put(store, config, None)
    tune.end(tune_id)
    finish(tune, store, 0.5)

    assert states(study) == ["FAIL", "COMPLETE"]
    assert tune.next() is None


def test_points_that_the_space_cannot_make(search: Search, store: Store, tmp_path: Path) -> None:
    space = user_space(
        tmp_path,
        "x = trial.suggest_int('x', 0, 3)\n"
        "    if x == 0: raise optuna.TrialPruned('zero makes no sense')\n"
        "    return {'lr_img': x - 1.0}",
    )
    warnings: list[str] = []
    tune, study = search(space, n_trials=30, on_warning=warnings.append)
    while following := tune.next():
        put(store, following[1], 0.5)
        tune.end(following[0])

    by_x = {trial.params["x"]: trial for trial in study.trials}
    assert {x: trial.state.name for x, trial in by_x.items()} == {
        0: "PRUNED",
        1: "FAIL",
        2: "COMPLETE",
        3: "COMPLETE",
    }
    assert by_x[0].user_attrs["message"] == "zero makes no sense"
    assert "lr_img must be above 0, got 0.0" in by_x[1].user_attrs["message"]
    assert set(warnings) == {by_x[1].user_attrs["message"]}
    assert study.n_counted == 30


def test_a_store_that_cannot_be_read_loses_nothing(search: Search, store: Store) -> None:
    warnings: list[str] = []
    tune, study = search(on_warning=warnings.append)
    tune_id, config = tune.next() or pytest.fail("no trial")
    assert store.local_path is not None
    row = store.local_path / "trials" / f"{config.trial_id}.parquet"
    row.mkdir()  # reading it fails, as when a share is gone
    tune.end(tune_id)

    assert states(study) == ["RUNNING"]
    assert tune.searcher.problem is not None
    assert "cannot be read or written: [Errno 21] " in tune.searcher.problem
    assert warnings == [tune.searcher.problem]
    assert tune.next() is None, "no more trials are drawn"
    row.rmdir()
    put(store, config, 0.5)
    _, study = search()
    assert states(study) == ["COMPLETE"]


def test_tune_may_pickle_it(search: Search) -> None:
    tune, _ = search()
    tune.next()

    copied = pickle.loads(pickle.dumps(tune.scheduler))  # noqa: S301 - our own bytes
    assert isinstance(copied, PruningScheduler)
    tune.searcher.save("nowhere")
    tune.searcher.restore("nowhere")


@pytest.mark.parametrize(("n_outer", "warm_up"), [(0, 1), (4, 1), (5, 2), (1000, 250)])
def test_the_warm_up_is_a_quarter_of_the_iterations(n_outer: int, warm_up: int) -> None:
    def stops(step: int) -> bool:
        study = optuna.create_study(
            direction="maximize", pruner=median_pruner(DistillationConfig(n_outer=n_outer))
        )
        for _ in range(5):
            trial = study.ask()
            trial.report(0.9, step)
            study.tell(trial, 0.9)
        trial = study.ask()
        trial.report(0.1, step)
        return trial.should_prune()

    assert not stops(warm_up - 1)
    assert stops(warm_up)
