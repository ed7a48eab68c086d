"""Trials of a search that have no row, read from the journal of its study."""

from collections import Counter
from dataclasses import dataclass

from sweeps.store.store import Store

PRUNED = "pruned"
_NOT_ENDED = (None, "interrupted")


@dataclass(frozen=True, kw_only=True)
class StudyCounts:
    """How many trials of a study have ended.

    Attributes:
        ended: status → trials.
        pruned_ids: of the trials that were stopped early; they have no row.
    """

    ended: dict[str, int]
    pruned_ids: set[str]


def study_counts(store: Store, name: str) -> StudyCounts | None:
    """Returns the trials of a study that have ended; None where its journal is not in the store.

    Reads only; its driver may be at work meanwhile.

    Args:
        store: whose folder `studies` has the journal, unless `--storage` named another place.
        name: of the study.
    """
    if store.local_path is None:
        return None
    journal = store.local_path / "studies" / f"{name}.journal"
    if not journal.is_file():
        return None
    # Optuna takes a while to import: only where there is a study.
    from optuna.storages import JournalStorage  # noqa: PLC0415
    from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415

    try:
        storage = JournalStorage(JournalFileBackend(str(journal)))
        study_id = storage.get_study_id_from_name(name)
        trials = storage.get_all_trials(study_id, deepcopy=False)
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RecursionError):
        # begun a moment ago, or damaged
        return None
    repeated = {trial.user_attrs.get("repeats") for trial in trials}
    statuses = [
        (trial.user_attrs.get("status"), trial.user_attrs.get("trial_id"))
        for trial in trials
        if trial.number not in repeated
    ]
    return StudyCounts(
        ended=dict(Counter(status for status, _ in statuses if status not in _NOT_ENDED)),
        pruned_ids={str(i) for status, i in statuses if status == PRUNED and i is not None},
    )
