"""Trials of a search without a row, from the journal of a real study."""

from pathlib import Path

from sweeps.monitor.status import StatusReader
from sweeps.monitor.studies import study_counts
from sweeps.store.store import Store
from tests.sweeps.optuna_search.test_report import fill, study_of


def journal_folder(store: Store) -> Path:
    assert store.local_path is not None
    folder = store.local_path / "studies"
    folder.mkdir()
    return folder


def test_trials_that_were_stopped_early_are_counted(store: Store) -> None:
    with study_of(journal_folder(store), ["accuracy"]) as study:
        fill(study)
        counts = study_counts(store, "s")

        assert counts is not None
        assert counts.ended == {"ok": 3, "infeasible": 1, "failed": 1, "pruned": 1}
        assert len(counts.pruned_ids) == 1

        store.put_submission({"name": "s", "n_trials": 9, "space": "dbscan"})
        status = StatusReader(store).read()
    assert status.finished == {"pruned": 1}
    assert (status.planned, status.left.n_trials) == (9, 3)


def test_a_study_elsewhere_or_a_damaged_one_is_unknown(store: Store) -> None:
    folder = journal_folder(store)
    assert study_counts(store, "s") is None

    (folder / "s.journal").write_text("not a journal\n")
    assert study_counts(store, "s") is None

    assert study_counts(Store("s3://bucket/results"), "s") is None
