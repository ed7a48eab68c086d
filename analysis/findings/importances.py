"""Importance of each parameter of a search: Optuna's fANOVA, where Optuna is installed.

The only module of the analysis that imports Optuna, and only in its functions.
Reference: Hutter, Hoos and Leyton-Brown, An efficient approach for assessing hyperparameter
importance, ICML 2014.
"""

import importlib
import itertools
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

SEED = 0
"""Of the random forest: the same trials give the same importances."""

ABOUT = "dream_sweep"
"""Attribute of a study in which `sweeps.optuna_search.study` records its objectives."""

COLUMNS = ("study", "objective", "parameter", "importance", "trials")

MIN_TRIALS = 4
"""Finished trials from which a forest is fitted."""


def databases(submissions: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Returns the URL of the database that holds the study of a search, by the name of the search.

    Args:
        submissions: as `analysis.data.reading.Sweeps` has them; the URL stands in the command.
    """
    urls = {}
    for record in submissions:
        words = [str(word) for word in record.get("command") or ()]
        given = [word.removeprefix("--storage=") for word in words if word.startswith("--storage=")]
        given += [after for word, after in itertools.pairwise(words) if word == "--storage"]
        if given and re.match(r"[A-Za-z][A-Za-z0-9+]*://", given[-1]):
            urls[str(record.get("name"))] = given[-1]
    return urls


def importances(storage: Path | str, name: str | None = None) -> pd.DataFrame:
    """Returns the importances of the parameters of a search.

    Args:
        storage: the study's journal, which may be in use, or the URL of a database.
        name: of the study; None: every one that is there.

    Returns:
        A frame with `study`, `objective` (`accuracy`, …), `parameter`, `importance` (shares that
        add up to 1) and `trials` (how many finished); most important first. Without rows where
        Optuna is not installed, the study cannot be read, or too few trials finished.
    """
    try:
        optuna = importlib.import_module("optuna")
        importance = importlib.import_module("optuna.importance")
    except ImportError:
        return pd.DataFrame(columns=COLUMNS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            opened = _opened(storage)
            names = sorted(optuna.get_all_study_names(opened)) if name is None else [name]
            studies = [optuna.load_study(study_name=study, storage=opened) for study in names]
        except Exception:  # damaged, of another version, unreachable
            return pd.DataFrame(columns=COLUMNS)
        rows = [row for study in studies for row in _rows(optuna, importance, study)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _opened(storage: Path | str) -> Any:
    """Returns Optuna's storage, which is only read: a database that is not there is not made."""
    storages = importlib.import_module("optuna.storages")
    if isinstance(storage, Path):
        return storages.JournalStorage(storages.journal.JournalFileBackend(str(storage)))
    if storage.startswith("sqlite:///") and not Path(storage.removeprefix("sqlite:///")).is_file():
        raise FileNotFoundError(storage)
    return storages.RDBStorage(storage, skip_table_creation=True)


def _rows(optuna: Any, importance: Any, study: Any) -> list[tuple[str, str, str, float, int]]:
    complete = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    if len(complete) < MIN_TRIALS:
        return []
    about = study.user_attrs.get(ABOUT, {})
    names = about.get("objectives") or [f"objective {i + 1}" for i in range(len(study.directions))]
    rows = []
    for position, name in enumerate(names):
        try:
            found = importance.get_param_importances(
                study,
                evaluator=importance.FanovaImportanceEvaluator(seed=SEED),
                target=lambda trial, position=position: trial.values[position],
            )
        except (ValueError, RuntimeError, ImportError):  # no parameter that all trials share, …
            continue
        rows += [
            (study.study_name, str(name), parameter, float(value), len(complete))
            for parameter, value in found.items()
        ]
    return rows
