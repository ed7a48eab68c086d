"""The progress of a trial without a terminal: a few plain lines."""

import pytest

from distill.cli import display as module
from distill.cli.display import Display
from distill.trials.base import Progress

HALFWAY = Progress(
    step=2,
    n_steps=4,
    fraction=0.5,
    loss=12.3456,
    accuracy=0.714,
    accuracy_step=2,
    seconds_per_step=2.0,
    seconds_left=3725.0,
)


def test_a_line_says_everything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "PLAIN_SECONDS", 0.0)
    with Display() as display:
        display.trial(HALFWAY)
    printed = capsys.readouterr()

    assert printed.out == "", "standard output is for the result"
    assert printed.err == (
        "step 3/4 · loss 12.35 · 2 s/step · accuracy 71.4 % · 50 % · 1:02:05 left\n"
    )


def test_an_evaluation_names_the_step_it_follows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "PLAIN_SECONDS", 0.0)
    with Display() as display:
        display.trial(Progress(step=2, n_steps=4, fraction=0.5, evaluating=True))
        display.trial(Progress(step=4, n_steps=4, fraction=1.0))

    assert capsys.readouterr().err == "testing after 2/4 · 50 %\nstep 4/4 · 100 %\n"


def test_lines_are_seconds_apart(capsys: pytest.CaptureFixture[str]) -> None:
    with Display() as display:
        for _ in range(100):
            display.trial(HALFWAY)
            display.loading(1, 100)

    assert capsys.readouterr().err == ""


def test_warnings_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with Display() as display:
        display.warn("checkpoint [bold]x[/bold] is damaged " + "x" * 200)

    assert capsys.readouterr().err == f"checkpoint [bold]x[/bold] is damaged {'x' * 200}\n"
