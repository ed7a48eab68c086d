"""The progress of a trial where there is no terminal: plain lines, and not too many."""

import pytest

from distill.cli import display as module
from distill.cli.display import Display
from distill.trials.distillation import Progress

HALFWAY = Progress(
    outer=2,
    n_outer=4,
    fraction=0.5,
    matching_loss=12.3456,
    accuracy=0.714,
    accuracy_outer=2,
    evaluating=False,
    seconds_per_outer=2.0,
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
        "iteration 3/4 · loss 12.35 · 2 s/iteration · accuracy 71.4 % · 50 % · 1:02:05 left\n"
    )


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
