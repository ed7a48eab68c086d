"""The status of real stores: rows, failures and checkpoints as trials leave them."""

import datetime as dt
import os
from collections.abc import Callable
from typing import Any

import pytest
import torch

from distill.config.base import Config
from distill.config.distillation import DistillationConfig
from distill.config.selection import SelectionConfig
from distill.datasets import ImageData
from distill.errors import InterruptedTrialError, UserError
from distill.runtime.checkpoint import save_checkpoint
from distill.trials.runner import run
from sweeps.monitor.render import WIDTH, status_text
from sweeps.monitor.status import Status, StatusReader
from sweeps.monitor.summary import number
from sweeps.store.store import Store
from tests.sweeps.cost.test_distillation_cost import priced
from tests.sweeps.plain_results import row_of

CONFIGS = [DistillationConfig(seed=seed) for seed in range(6)]
IDS = [config.trial_id for config in CONFIGS]
NOW = 1_800_000_000.0


def submit(store: Store, configs: list[Any], name: str = "sweep", **changes: Any) -> None:
    store.put_submission(
        {
            "name": name,
            "script": "sweeps/full_grid.py",
            "command": ["--results", "a folder"],
            "trial_ids": [config.trial_id for config in configs],
            "plan": [{"kind": config.kind, **config.to_dict()} for config in configs],
            **changes,
        }
    )


def save(
    store: Store, config: Config, *, age: float, gap: float | None = None, **progress: Any
) -> None:
    """Saves a checkpoint, or two, as a trial does; with an age in seconds at the time NOW."""
    folder = store.checkpoint_folder(config.trial_id)
    ages = [age] if gap is None else [age + gap, age]
    for seconds in ages:
        values = {"trial_id": config.trial_id, "total_seconds": 40.0, "progress": progress}
        name = save_checkpoint(folder, {"images": torch.zeros(3)}, values)
        assert store.local_path is not None
        path = store.local_path / "checkpoints" / config.trial_id / name
        os.utime(path, (NOW - seconds, NOW - seconds))


def fail(store: Store, config: Config, message: str, *, age: float = 500.0) -> None:
    time = dt.datetime.fromtimestamp(NOW - age, dt.UTC).isoformat(timespec="seconds")
    store.put_failure(config.trial_id, {"message": message, "attempt": 1, "time": time})


def iso(age: float) -> str:
    return dt.datetime.fromtimestamp(NOW - age, dt.UTC).isoformat(timespec="seconds")


def status_of(store: Store, **options: Any) -> Status:
    return StatusReader(store, **options).read(NOW)


def test_a_store_without_a_sweep_has_nothing_to_show(store: Store) -> None:
    status = status_of(store)

    assert (status.planned, status.n_finished, status.n_failed) == (None, 0, 0)
    assert status.last_activity is None
    assert status_text(status, "results").startswith("0 trials done · 0 running · 0 failed\n")


def test_every_planned_trial_is_counted_once(store: Store) -> None:
    submit(store, CONFIGS)
    store.put_result(row_of(CONFIGS[0]), [])
    store.put_result(row_of(CONFIGS[1], status="diverged"), [])
    fail(store, CONFIGS[2], "UserError: no images")
    save(store, CONFIGS[3], age=5, fraction=0.25, step=1, n_steps=4, accuracy=0.5)
    save(store, CONFIGS[4], age=5000)

    status = status_of(store)

    assert (status.planned, status.n_finished, status.n_failed) == (6, 2, 1)
    assert status.finished == {"ok": 1, "diverged": 1}
    (running,) = status.running
    assert (running.trial_id, running.fraction, running.step) == (IDS[3], 0.25, 1)
    assert running.age_seconds == pytest.approx(5)
    assert running.label == "kmeans, ipc 1, seed 3"
    assert [trial.trial_id for trial in status.interrupted] == [IDS[4]]
    assert status.left.n_trials == 3, "running, interrupted, not begun"
    assert status.last_activity == iso(5)


@pytest.mark.parametrize(
    ("age", "gap", "runs"),
    [(59, None, True), (61, None, False), (299, 100, True), (301, 100, False), (1801, 9e6, False)],
)
def test_a_trial_runs_while_its_checkpoints_keep_their_rhythm(
    age: float, gap: float | None, runs: bool, store: Store
) -> None:
    submit(store, CONFIGS)
    save(store, CONFIGS[0], age=age, gap=gap)

    status = status_of(store)

    assert [len(status.running), len(status.interrupted)] == [runs, not runs]


def test_a_checkpoint_of_a_failed_trial_is_no_running_trial(store: Store) -> None:
    submit(store, CONFIGS)
    for config in CONFIGS[:2]:
        fail(store, config, "full disk", age=30)
    save(store, CONFIGS[0], age=40)
    save(store, CONFIGS[1], age=10)  # tried again since

    status = status_of(store)

    assert [trial.trial_id for trial in status.running] == [IDS[1]]
    (reason,) = status.failed
    assert (status.n_failed, reason.trial_ids) == (1, [IDS[0]])


def test_failures_are_grouped_by_their_reason(store: Store) -> None:
    submit(store, CONFIGS)
    for config in CONFIGS[:3]:
        fail(store, config, "UserError: no images")
    fail(store, CONFIGS[3], "OSError: full disk")

    reasons = status_of(store).failed

    assert [(reason.message, reason.n_trials) for reason in reasons] == [
        ("UserError: no images", 3),
        ("OSError: full disk", 1),
    ]
    assert reasons[0].trial_ids == sorted(IDS[:3])


def test_a_real_interrupted_trial_says_how_far_it_came(
    store: Store, digits: ImageData, tiny: Callable[..., DistillationConfig]
) -> None:
    config = tiny(val_fraction=0.1, n_outer=3)
    steps: list[float] = []
    with pytest.raises(InterruptedTrialError):
        run(
            config,
            digits,
            checkpoint_folder=store.checkpoint_folder(config.trial_id),
            on_progress=lambda progress: steps.append(progress.fraction),
            should_stop=lambda: len(steps) == 7,
        )

    (trial,) = StatusReader(store).read().running

    assert trial.fraction == steps[-1]
    assert trial.n_steps == 3
    assert trial.label.startswith("kmeans, ipc 1"), "its configuration is in the checkpoint"
    assert trial.seconds is not None
    assert trial.seconds > 0


def test_a_real_selection_says_how_far_it_came(store: Store, digits: ImageData) -> None:
    config = SelectionConfig(selector="random", fraction=0.1, epochs=4, val_fraction=0.1)
    seen: list[int] = []
    with pytest.raises(InterruptedTrialError):
        run(
            config,
            digits,
            checkpoint_folder=store.checkpoint_folder(config.trial_id),
            on_progress=lambda progress: seen.append(progress.step),
            should_stop=lambda: bool(seen) and seen[-1] == 2,
        )

    (trial,) = StatusReader(store).read().running

    assert (trial.step, trial.n_steps, trial.fraction) == (2, 4, 0.5)


def test_checkpoints_of_earlier_versions_and_damaged_ones_are_shown(store: Store) -> None:
    assert store.local_path is not None
    save(store, CONFIGS[0], age=10)
    folder = store.local_path / "checkpoints" / IDS[1]
    folder.mkdir()
    (folder / f"00000000-{'0' * 32}.safetensors").write_bytes(b"damaged")
    (folder / "notes.txt").write_text("not a checkpoint")
    (store.local_path / "checkpoints" / "not a trial").mkdir()

    status = StatusReader(store).read()

    trials = {trial.trial_id: trial for trial in (*status.running, *status.interrupted)}
    assert trials.keys() == set(IDS[:2])
    assert trials[IDS[0]].fraction is None
    assert trials[IDS[1]].label == IDS[1]


def test_time_left_comes_from_finished_trials_and_the_pace_of_checkpoints(store: Store) -> None:
    measured = priced(CONFIGS[0])
    seconds = sum(value for name, value in measured.items() if name.endswith("_seconds") and value)
    submit(store, CONFIGS)
    store.put_result(row_of(CONFIGS[0]) | measured, [])
    save(store, CONFIGS[1], age=0, fraction=0.5)
    save(store, CONFIGS[2], age=10, fraction=0.5)

    left = status_of(store).left

    # Three whole trials and two halves, two at once; one of these has saved 10 seconds ago.
    assert (left.n_trials, left.n_at_once, left.n_unknown) == (5, 2, 0)
    assert left.trial_seconds == pytest.approx(4 * seconds - 10)
    assert left.seconds == pytest.approx(2 * seconds)


def test_time_left_is_unknown_while_nothing_runs_or_has_finished(store: Store) -> None:
    submit(store, CONFIGS)
    left = status_of(store).left
    assert (left.seconds, left.trial_seconds, left.n_unknown) == (None, None, 6)

    store.put_result(row_of(CONFIGS[0]) | priced(CONFIGS[0]), [])
    left = status_of(store).left
    assert left.seconds is None
    assert left.trial_seconds is not None
    assert left.n_at_once == 0


def test_trials_too_short_for_checkpoints_show_how_many_run_at_once(store: Store) -> None:
    submit(store, CONFIGS)
    spans = [(30, 20), (28, 20), (20, 10), (19, 10)]
    for config, (begin, end) in zip(CONFIGS, spans, strict=False):
        times = {"started_at": iso(begin), "finished_at": iso(end)}
        store.put_result(row_of(config) | priced(config) | times, [])

    assert status_of(store).left.n_at_once == 2
    assert StatusReader(store).read(NOW + 1000).left.n_at_once == 0


def test_the_best_trial_of_each_split_is_shown(store: Store) -> None:
    submit(store, CONFIGS[:3])
    for config, accuracy in zip(CONFIGS[:3], (0.6, 0.9, None), strict=True):
        store.put_result(row_of(config, test_accuracy_mean=accuracy), [])
    search = row_of(
        CONFIGS[3], test_accuracy_mean=None, val_accuracy_mean=0.7, sweep="s", phase="search"
    )
    store.put_result(search, [])
    store.put_submission({"name": "s", "n_trials": 5, "space": "dbscan"})

    best = {best.split: best for best in status_of(store).best}

    assert (best["test"].accuracy, best["test"].label) == (0.9, "kmeans, ipc 1, seed 1")
    assert (best["val"].accuracy, best["val"].trial_id) == (0.7, IDS[3])


def test_a_search_counts_its_budget_and_its_confirmations(store: Store) -> None:
    store.put_submission({"name": "s", "n_trials": 5, "space": "dbscan"})
    for config, phase in zip(CONFIGS[:3], ("search", "search", "confirm"), strict=True):
        store.put_result(row_of(config, sweep="s", phase=phase, total_seconds=10.0), [])

    status = status_of(store)

    assert (status.planned, status.n_finished, status.left.n_trials) == (6, 3, 3)
    assert status.left.trial_seconds == pytest.approx(30)
    assert [(sweep.name, sweep.search, sweep.planned) for sweep in status.sweeps] == [
        ("s", True, 6)
    ]


def test_the_last_sweep_alone_is_shown_on_request(store: Store) -> None:
    submit(store, CONFIGS[:4], name="first")
    submit(store, CONFIGS[3:], name="second")
    store.put_result(row_of(CONFIGS[0]), [])
    store.put_result(row_of(CONFIGS[3]), [])

    both, last = status_of(store), status_of(store, last_only=True)

    assert [sweep.name for sweep in both.sweeps] == ["second", "first"]
    assert (both.planned, both.n_finished, both.n_others) == (6, 2, 0)
    assert (last.planned, last.n_finished, last.n_others) == (3, 1, 1)


def test_a_reader_sees_new_and_replaced_rows(store: Store) -> None:
    submit(store, CONFIGS)
    store.put_result(row_of(CONFIGS[0], status="out_of_memory"), [])
    reader = StatusReader(store)
    assert reader.read(NOW).finished == {"out_of_memory": 1}

    store.put_result(row_of(CONFIGS[0]), [], replace=True)
    store.put_result(row_of(CONFIGS[1]), [])
    assert reader.read(NOW).finished == {"ok": 2}

    assert store.local_path is not None
    (store.local_path / "trials" / f"{IDS[1]}.parquet").unlink()
    assert reader.read(NOW).finished == {"ok": 1}


def test_plans_of_other_versions_are_counted(store: Store) -> None:
    submit(store, CONFIGS[:2], plan=[{"kind": "unheard of"}, "damaged"])
    store.put_result(row_of(CONFIGS[0]), [])

    status = status_of(store)

    assert (status.planned, status.n_finished, status.left.n_unknown) == (2, 1, 1)


def test_no_store_is_one_clear_line(store: Store) -> None:
    with pytest.raises(UserError, match="there are no results at"):
        StatusReader(Store(f"{store.uri}/nowhere")).read()


def test_the_text_fits_80_columns(store: Store) -> None:
    labels = [
        DistillationConfig(
            clusterer="agglomerative",
            linkage=linkage,
            protocol="sound",
            embedding="gradients",
            weights="size",
            seed=seed,
        )
        for linkage in ("ward", "single")
        for seed in range(8)
    ]
    submit(store, labels, name="a sweep with a rather long name of some forty characters")
    for number_, config in enumerate(labels[:12]):
        save(store, config, age=5 + number_, fraction=0.123, step=123, n_steps=1000, accuracy=0.5)
    for number_, config in enumerate(labels[12:]):
        fail(store, config, f"ValueError {number_}: " + "words of a message " * 30)

    lines = status_text(status_of(store), "results").splitlines()

    assert max(map(len, lines)) <= WIDTH
    assert sum("saved" in line and "%" in line for line in lines) == 10
    assert any(line.strip() == "and 2 more" for line in lines)
    assert sum("dream-sweep logs results" in line for line in lines) == 4


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "3", True])
def test_missing_numbers_are_none(value: Any) -> None:
    assert number(value) is None
