"""What a sweep says of itself while it runs."""

import io
import os
import pty
import re
import time

import pytest
from rich.console import Console

from distill.config.distillation import DistillationConfig
from sweeps.cli.display import MOST_SHOWN, SweepDisplay, SweepState, picture

KMEANS = DistillationConfig(clusterer="kmeans", ipc=10)
DBSCAN = DistillationConfig(
    clusterer="dbscan", eps=15, weights="size", protocol="published", seed=2
)


def report(config: DistillationConfig, **values: object) -> dict[str, object]:
    return {"trial_id": config.trial_id, "status": "running"} | values


class Clock:
    """A clock that tests set."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_trials_are_counted_from_start_to_end() -> None:
    clock = Clock()
    state = SweepState("grid", n_planned=4, n_finished_before=1, clock=clock)
    assert state.summary() == "1/4 done · 0 running · 0 failed"

    state.started(KMEANS)
    state.started(DBSCAN)
    assert state.summary() == "1/4 done · 2 running · 0 failed"

    clock.seconds += 65
    state.reported(report(KMEANS, status="ok", curve_accuracy=0.934))
    state.ended(KMEANS.trial_id)
    state.reported(report(DBSCAN, status="infeasible"))
    state.ended(DBSCAN.trial_id)
    assert state.summary() == (
        "3/4 done · 0 running · 0 failed · 1 infeasible · best 93.4 % (kmeans, ipc 10, seed 0) "
        "· 1:05 left"
    )


def test_the_time_left_counts_what_running_trials_have_done() -> None:
    clock = Clock()
    state = SweepState("grid", n_planned=3, n_finished_before=1, clock=clock)
    clock.seconds += 7
    assert state.seconds_left() is None, "nothing is known yet"
    state.started(KMEANS)
    state.reported(report(KMEANS, fraction=0.0))
    clock.seconds += 10
    state.reported(report(KMEANS, fraction=0.5))
    assert state.seconds_left() is None, "as long as only a first trial of 20 s is known"
    clock.seconds += 90
    state.reported(report(KMEANS, fraction=0.5))

    assert state.seconds_left() == pytest.approx(300), "half a trial in 100 s, one and a half left"
    assert state.fraction == pytest.approx(1.5 / 3)


def test_a_missing_number_leaves_the_one_before() -> None:
    state = SweepState("grid", n_planned=None, n_finished_before=0)
    state.started(DBSCAN)
    state.reported(
        report(DBSCAN, step=3, n_steps=9, loss=0.25, curve_accuracy=0.5, seconds_left=65)
    )
    state.reported(report(DBSCAN, step=None, message="a warning"))

    assert state.trial_line(DBSCAN.trial_id) == "step 3/9 · loss 0.25 · 50.0 % · 1:05 left"
    assert state.summary().startswith("0 done · 1 running")
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
            assert display.state.summary() == "0/2 done · 1 running · 0 failed"
            display.lost(KMEANS)
            assert display.state.summary() == "0/2 done · 0 running · 0 failed"

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


def lines_of(state: SweepState, width: int) -> list[str]:
    """Returns the live display as a terminal of a width shows it."""
    console = Console(width=width, file=io.StringIO(), force_terminal=True, record=True)
    console.print(picture(state, width))
    *lines, last = console.export_text().splitlines()
    assert last == "", "the cursor's line"
    return lines


LONG = DistillationConfig(
    clusterer="agglomerative", linkage="complete", weights="size", init="random", seed=7
)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_live_display_has_one_line_per_trial(width: int) -> None:
    state = SweepState("a-long-name-" * 10, n_planned=1000, n_finished_before=1)
    for config in (KMEANS, DBSCAN, LONG):
        state.started(config)
        values = {"step": 999, "n_steps": 1000, "loss": 123.4567, "seconds_left": 36_000}
        state.reported(report(config, fraction=0.5, curve_accuracy=0.987, **values))

    lines = lines_of(state, width)

    assert len(lines) == 5, "the state, the best, and three trials"
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("a-long-n")
    assert lines[1].startswith("best 98.7 % (kmeans")
    for line, config in zip(lines[2:], (KMEANS, DBSCAN, LONG), strict=True):
        assert line.strip().startswith(str(config.clusterer)[:5])
        assert f"seed {config.seed}  " in line
        assert line.endswith("10:00:00 left")
        assert "step 999/1000" in line or width == 40


def test_live_display_of_80_columns_shows_everything() -> None:
    clock = Clock()
    state = SweepState("quickstart", n_planned=54, n_finished_before=0, clock=clock)
    state.started(KMEANS)
    values = {"step": 3, "n_steps": 15, "loss": 0.25, "seconds_left": 65, "fraction": 0.2}
    state.reported(report(KMEANS, **values, curve_accuracy=0.5))

    head, best, trial = lines_of(state, 80)

    assert head.startswith("quickstart ")
    assert head.endswith("0/54 done · 1:12:51 left · 1 running · 0 failed")
    assert best == "best 50.0 % (kmeans, ipc 10, seed 0)"
    assert trial.startswith("  kmeans, ipc 10, seed 0  ")
    assert trial.endswith("  step 3/15 · loss 0.25 · 50.0 % · 1:05 left")


def test_many_running_trials_are_counted_in_one_line() -> None:
    state = SweepState("grid", n_planned=20, n_finished_before=0)
    for seed in range(MOST_SHOWN + 3):
        state.started(KMEANS.replace(seed=seed))

    lines = lines_of(state, 80)

    assert len(lines) == 1 + MOST_SHOWN + 1
    assert lines[-1] == "  and 3 more"


def test_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """`TERM=dumb`, as in editors' shells: no control characters, and not nothing either."""
    written = run_on_terminal(monkeypatch, {"TERM": "dumb"})

    assert "\x1b" not in written
    assert written.split("\r\n")[:2] == ["reading the images", "0/2 done · 1 running · 0 failed"]


def test_terminal_is_left_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cursor is shown again, and the live lines are erased."""
    written = run_on_terminal(monkeypatch, {"TERM": "xterm"})

    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1
    assert written.rindex("\x1b[?25h") > written.rindex("0/2 done")
    after = written[written.rindex("0/2 done") :]
    assert after.count("\x1b[2K") == 3, "all lines are erased, the cursor's too"


def test_no_color_leaves_out_colors(monkeypatch: pytest.MonkeyPatch) -> None:
    """See no-color.org; bold and dim text is allowed."""
    colored = run_on_terminal(monkeypatch, {"TERM": "xterm"})
    plain = run_on_terminal(monkeypatch, {"TERM": "xterm", "NO_COLOR": "1"})
    color = re.compile(r"\x1b\[(\d+;)*(3|4|9|10)\d(;\d+)*m")

    assert color.search(colored)
    assert not color.search(plain)


def show_until_interrupted() -> None:
    with SweepDisplay("grid", 2, 0) as display:
        display.phase("reading the images")
        display.started(KMEANS)
        display.refresh()
        time.sleep(0.6)
        raise KeyboardInterrupt


def run_on_terminal(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> str:
    """Returns what a display writes to a pseudo-terminal, interrupted by Ctrl-C."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sweeps.cli.display.PLAIN_SECONDS", 0.0)
    main_end, terminal_end = pty.openpty()
    with os.fdopen(terminal_end, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr("sys.stderr", terminal)
        with pytest.raises(KeyboardInterrupt):
            show_until_interrupted()
        terminal.flush()
        terminal.write(_END)
        terminal.flush()
        written = b""
        while not written.endswith(_END.encode()):  # a pseudo-terminal hands over piece by piece
            written += os.read(main_end, 1_000_000)
    os.close(main_end)
    return written.decode().removesuffix(_END)


_END = "end of test"
