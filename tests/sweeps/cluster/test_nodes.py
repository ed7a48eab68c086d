"""The counting of what failures cost, by hand."""

import json
from pathlib import Path

import pytest

from tests.sweeps.cluster.nodes import Counts, Journal

Event = dict[str, object]


def worked(pid: int, first: int, last: int, *, epochs: int = 0) -> list[Event]:
    """Units of work after which so many iterations were done."""
    return [
        {"event": "unit", "pid": pid, "iterations": n, "epochs": epochs}
        for n in range(first, last + 1)
    ]


def resumed(pid: int, iterations: int) -> Event:
    return {"event": "resumed", "pid": pid, "iterations": iterations, "epochs": 0}


def saved(pid: int) -> Event:
    return {"event": "saved", "pid": pid}


def stored(pid: int) -> Event:
    return {"event": "stored", "pid": pid}


def counts_of(folder: Path, events: list[Event]) -> Counts:
    file = folder / "journal"
    lines = [json.dumps({"trial_id": "t", "node": "a"} | event) + "\n" for event in events]
    file.write_text("".join(lines) + '{"event": "un')  # the last line is being written
    return Journal(file).counts(["t"], ["t"])


def test_a_trial_that_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    events = [*worked(1, 1, 3), saved(1), *worked(1, 4, 5)]
    counts = counts_of(tmp_path, [*events, resumed(2, 3), *worked(2, 4, 6), stored(2)])

    counts.check()
    assert (counts.iterations, counts.iterations_repeated, counts.iterations_at_risk) == (8, 2, 2)
    assert (counts.resumed, counts.restarted, counts.behind_checkpoint) == (1, 0, 0)


def test_a_trial_without_a_checkpoint_begins_anew(tmp_path: Path) -> None:
    counts = counts_of(tmp_path, [*worked(1, 1, 2), *worked(2, 1, 3), stored(2)])

    counts.check()
    assert (counts.iterations_repeated, counts.iterations_at_risk, counts.restarted) == (2, 2, 1)


@pytest.mark.parametrize(
    ("events", "name"),
    [
        ([*worked(1, 1, 3), saved(1), *worked(2, 1, 3), stored(2)], "behind_checkpoint"),
        ([*worked(1, 1, 3), saved(1), resumed(2, 1), *worked(2, 2, 3)], "behind_checkpoint"),
        ([*worked(1, 1, 3), stored(1), *worked(2, 1, 2)], "finished_repeated"),
    ],
)
def test_what_must_not_be_is_found(tmp_path: Path, events: list[Event], name: str) -> None:
    counts = counts_of(tmp_path, events)

    assert getattr(counts, name) == 1
    with pytest.raises(AssertionError, match=name):
        counts.check()


def test_epochs_are_counted_apart(tmp_path: Path) -> None:
    evaluated = [*worked(1, 2, 2, epochs=1), *worked(1, 2, 2, epochs=2)]
    again = [resumed(2, 2), *worked(2, 2, 2, epochs=1)]
    counts = counts_of(tmp_path, [*worked(1, 1, 2), saved(1), *evaluated, *again])

    assert (counts.iterations, counts.iterations_repeated) == (2, 0)
    assert (counts.epochs_repeated, counts.epochs_at_risk) == (1, 3)


def test_rows_that_are_missing(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    file.touch()
    counts = Journal(file).counts(["a", "b"], ["a", "c"])

    assert counts.rows_lost == 1
    with pytest.raises(AssertionError, match="rows_lost=1"):
        counts.check()
