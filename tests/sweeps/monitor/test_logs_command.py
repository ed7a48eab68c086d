"""`dream-sweep logs`: what trials said, by their ids or the beginnings of these."""

import json

import pytest

from distill.config.distillation import DistillationConfig
from sweeps.cluster.worker import WorkOrder, run_and_store
from sweeps.console import main
from sweeps.store.store import Store
from tests.sweeps.plain_results import row_of

BROKEN = DistillationConfig(seed=1)


@pytest.fixture
def failed(store: Store) -> Store:
    """A store with a trial that failed twice, as a worker records it."""

    def no_images() -> None:
        raise OSError("the disk with the images is gone")

    for attempt in (1, 2):
        run_and_store(
            BROKEN,
            no_images,  # type: ignore[arg-type]
            WorkOrder(store=store, sweep="sweep"),
            lambda _: None,
            attempt=attempt,
        )
    return store


@pytest.mark.parametrize("length", [5, 16])
def test_a_failed_trial_shows_every_attempt(
    length: int, failed: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["logs", failed.uri, BROKEN.trial_id[:length].upper()]) == 0

    text = capsys.readouterr().out
    assert text.startswith(f"trial {BROKEN.trial_id}: kmeans, ipc 1, seed 1\n")
    assert text.index("attempt 1 of sweep sweep failed on ") < text.index("attempt 2 of sweep")
    assert text.count("  OSError: the disk with the images is gone\n") == 2
    assert text.count("Traceback (most recent call last)") == 2


def test_json_has_the_records(failed: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", failed.uri, BROKEN.trial_id, "--json"]) == 0

    document = json.loads(capsys.readouterr().out)
    assert (document["trial_id"], document["status"]) == (BROKEN.trial_id, None)
    assert [record["attempt"] for record in document["attempts"]] == [1, 2]


def test_a_finished_trial_shows_how_it_ended(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    row = row_of(BROKEN, status="infeasible", status_message="all points are noise", host="node")
    store.put_result(row | {"finished_at": "2026-01-01T00:00:00+00:00"}, [])

    assert main(["logs", store.uri, BROKEN.trial_id]) == 0
    text = capsys.readouterr().out
    assert "finished with status infeasible on node at 2026-01-01T00:00:00+00:00\n" in text
    assert "  all points are noise\n" in text


def test_a_planned_trial_has_not_failed(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.put_submission({"name": "sweep", "trial_ids": [BROKEN.trial_id]})

    assert main(["logs", store.uri, BROKEN.trial_id]) == 0
    assert "it is not finished, and no failure is recorded" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("trial", "message"),
    [
        ("abcdf", "no trial of {uri} begins with 'abcdf'; the nearest: abcd000000000000, abce"),
        ("abc", "trial 'abc' is ambiguous: 2 begin with it: abcd000000000000, abce000000000000"),
        ("", "trial '' is ambiguous: 2 begin with it"),
        ("zzzz", "no trial of {uri} begins with 'zzzz'\n"),
    ],
)
def test_unknown_and_ambiguous_trials_are_refused_with_the_nearest(
    trial: str, message: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for trial_id in ("abcd000000000000", "abce000000000000"):
        store.put_failure(trial_id, {"message": "failed"})

    assert main(["logs", store.uri, trial]) == 2
    captured = capsys.readouterr()
    assert message.format(uri=store.shown) in captured.err
    assert captured.err.count("\n") == 1


def test_no_results_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "nowhere", "abc"]) == 2
    assert "there are no results at" in capsys.readouterr().err
