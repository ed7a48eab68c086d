"""What a sweep says of itself while it runs."""

import pytest

from distill.config.distillation import DistillationConfig
from sweeps.cli.display import SweepDisplay, SweepState

KMEANS = DistillationConfig(clusterer="kmeans", ipc=10)
DBSCAN = DistillationConfig(
    clusterer="dbscan", eps=15, weights="size", protocol="published", seed=2
)


def report(config: DistillationConfig, **values: object) -> dict[str, object]:
    return {"trial_id": config.trial_id, "status": "running"} | values


def test_trials_are_counted_from_start_to_end() -> None:
    state = SweepState("grid", n_planned=4, n_finished_before=1)
    assert state.summary(0) == "1/4 done · 0 running · 0 failed"

    state.started(KMEANS)
    state.started(DBSCAN)
    assert state.summary(0) == "1/4 done · 2 running · 0 failed"

    state.reported(report(KMEANS, status="ok", curve_accuracy=0.934))
    state.ended(KMEANS.trial_id)
    state.reported(report(DBSCAN, status="infeasible"))
    state.ended(DBSCAN.trial_id)
    assert state.summary(10) == (
        "3/4 done · 0 running · 0 failed · 1 infeasible · best 93.4 % (kmeans, ipc 10, seed 0) "
        "· 0:05 left"
    )


def test_the_time_left_counts_what_running_trials_have_done() -> None:
    state = SweepState("grid", n_planned=3, n_finished_before=1)
    assert state.seconds_left(7) is None, "nothing is known yet"
    state.started(KMEANS)
    state.reported(report(KMEANS, fraction=0.5))

    assert state.seconds_left(10) == pytest.approx(30), "half a trial in 10 s, one and a half left"
    assert state.fraction == pytest.approx(1.5 / 3)


def test_a_missing_number_leaves_the_one_before() -> None:
    state = SweepState("grid", n_planned=None, n_finished_before=0)
    state.started(DBSCAN)
    state.reported(
        report(DBSCAN, step=3, n_steps=9, loss=0.25, curve_accuracy=0.5, seconds_left=65)
    )
    state.reported(report(DBSCAN, step=None, message="a warning"))

    assert state.trial_line(DBSCAN.trial_id) == "step 3/9 · loss 0.25 · 50.0 % · 1:05 left"
    assert state.summary(0).startswith("0 done · 1 running")
    assert state.label(DBSCAN.trial_id) == "dbscan eps=15, weights size, ipc 1, published, seed 2"


def test_failures_and_warnings_stay_on_the_terminal_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with SweepDisplay("grid", 2, 0) as display:
        display.started(KMEANS)
        for _ in range(2):
            display.reported(report(KMEANS, message="checkpoint x is damaged"))
        display.reported(report(KMEANS, status="failed", message="no more memory"))
        display.reported(report(KMEANS, status="ok", message=""))

    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "kmeans, ipc 10, seed 0: checkpoint x is damaged",
        "kmeans, ipc 10, seed 0: failed: no more memory",
    ]


def test_trial_of_a_lost_process_is_not_running_until_restarted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with SweepDisplay("grid", 2, 0) as display:
        for _ in range(2):
            display.started(KMEANS)
            assert display.state.summary(0) == "0/2 done · 1 running · 0 failed"
            display.lost(KMEANS)
            assert display.state.summary(0) == "0/2 done · 0 running · 0 failed"

    lost = "kmeans, ipc 10, seed 0: its process was lost; it resumes from its last checkpoint"
    assert capsys.readouterr().err.splitlines() == [lost] * 2


def test_plain_lines_come_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with SweepDisplay("grid", 2, 0) as display:
        display.started(KMEANS)
        display.refresh()
        assert capsys.readouterr().err == ""
        monkeypatch.setattr("sweeps.cli.display.PLAIN_SECONDS", 0.0)
        display.refresh()

    assert capsys.readouterr().err == "0/2 done · 1 running · 0 failed\n"
