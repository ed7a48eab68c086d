"""What a search prints at its end."""

from pathlib import Path

import pytest

from distill.config.distillation import DistillationConfig
from sweeps.optuna_search.report import dashboard_command, describe_search, failure_counts
from sweeps.optuna_search.spaces import load_space
from sweeps.optuna_search.study import SearchStudy, confirm_plan, open_study
from sweeps.store.store import Store
from tests.sweeps.plain_results import row_of


def study_of(tmp_path: Path, objectives: list[str]) -> SearchStudy:
    space = load_space("dbscan")
    return open_study(
        "s",
        str(tmp_path / "s.journal"),
        space=space.name,
        shared=space.shared,
        objectives=objectives,
    )


def begin(study: SearchStudy, eps_quantile: float) -> tuple[int, DistillationConfig]:
    study.study.enqueue_trial({"eps_quantile": eps_quantile, "min_samples": 2})
    trial = study.ask()
    config = load_space("dbscan").config(trial)
    assert isinstance(config, DistillationConfig)
    study.note_config(trial.number, config)
    return trial.number, config


def fill(study: SearchStudy) -> list[DistillationConfig]:
    """Four trials that ended, one that failed, one that was stopped early and one that runs."""
    configs = []
    for eps_quantile, accuracy, seconds in ((0.25, 0.5, 9), (0.5, 0.801, 12), (0.75, 0.8, 30)):
        number, config = begin(study, eps_quantile)
        row = row_of(config, val_accuracy_mean=accuracy, total_seconds=float(seconds))
        study.tell_row(number, row)
        configs.append(config)
    number, config = begin(study, 0.1)
    study.tell_row(number, row_of(config, status="infeasible"))
    number, config = begin(study, 0.2)
    study.tell_failed(number, "no images")
    number, config = begin(study, 0.3)
    study.tell_pruned(number)
    begin(study, 0.4)
    return configs


def test_one_objective(tmp_path: Path, store: Store) -> None:
    with study_of(tmp_path, ["accuracy"]) as study:
        configs = fill(study)
        plan = confirm_plan([configs[1], configs[2]], 3)
        for config, accuracy in zip(plan, (0.7, 0.6, 0.72, None, 0.74, None), strict=True):
            if accuracy is not None:
                assert isinstance(config, DistillationConfig)
                store.put_result(row_of(config, test_accuracy_mean=accuracy), [], None)
        text = describe_search(study, store, n_trials=9, n_confirmed=2, n_seeds=3)

    assert text.splitlines() == [
        "",
        "search s: 7 of 9 trials: 3 complete, 1 infeasible, 1 failed, 1 stopped early, 1 running",
        "the best, by accuracy:",
        "",
        "   validation             test  parameters",
        "1      80.1 %     72.0 ± 2.0 %  eps_quantile 0.5, min_samples 2",
        "2      80.0 %  60.0 % (1 of 3)  eps_quantile 0.75, min_samples 2",
        "3      50.0 %                -  eps_quantile 0.25, min_samples 2",
        "",
        "validation: one trial each; test: mean ± standard deviation over fresh seeds (3 each)",
    ]


def test_the_front_of_two_objectives(tmp_path: Path, store: Store) -> None:
    with study_of(tmp_path, ["accuracy", "seconds"]) as study:
        fill(study)
        text = describe_search(study, store, n_trials=7, n_confirmed=0, n_seeds=3)

    assert "best compromises of accuracy and seconds, by accuracy:" in text
    assert text.splitlines()[4:-2] == [
        "   validation  seconds  test  parameters",
        "1      80.1 %       12     -  eps_quantile 0.5, min_samples 2",
        "2      50.0 %        9     -  eps_quantile 0.25, min_samples 2",
    ]


def test_nothing_found_yet(tmp_path: Path, store: Store) -> None:
    with study_of(tmp_path, ["accuracy"]) as study:
        text = describe_search(study, store, n_trials=9, n_confirmed=2, n_seeds=3)

    assert text.splitlines()[1:] == [
        "search s: 0 of 9 trials: none yet",
        "no trial has come to a value yet",
    ]


def test_reasons_of_failures(tmp_path: Path, store: Store) -> None:
    with study_of(tmp_path, ["accuracy"]) as study:
        confirmed = confirm_plan(fill(study)[:1], 2)
        for config in confirmed:
            store.put_failure(config.trial_id, {"message": "a full disk"})
        number, _ = begin(study, 0.6)
        study.tell_failed(number, "no images")

        assert failure_counts(study, store, confirmed) == {"no images": 2, "a full disk": 2}
        study.repair(store, retry_failed=True)
        assert not failure_counts(study, store, []), "they are queued again"


@pytest.mark.parametrize(
    ("storage", "shown"),
    [
        ("/a b/s.journal", "uv run optuna-dashboard '/a b/s.journal'"),
        ("sqlite:///s.db", "uv run optuna-dashboard sqlite:///s.db"),
    ],
)
def test_the_command_for_the_dashboard(storage: str, shown: str) -> None:
    assert dashboard_command(storage) == shown
