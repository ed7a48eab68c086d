"""How much each parameter of a search mattered: Optuna's fANOVA, where Optuna is installed.

The only module of the analysis that uses Optuna, and only when it is asked.
Reference: Hutter, Hoos and Leyton-Brown, An efficient approach for assessing hyperparameter
importance, ICML 2014.
"""

import importlib
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

SEED = 0
"""Of the random forest: the same trials give the same importances."""

ABOUT = "dream_sweep"
"""Attribute of a study under which `sweeps.study` notes what it searches for."""

COLUMNS = ("study", "objective", "parameter", "importance", "trials")

MIN_TRIALS = 4
"""Finished trials from which a forest means anything."""


def importances(journal: Path) -> pd.DataFrame:
    """Returns the importances of the parameters of a search.

    Args:
        journal: the study's file, which may be in use.

    Returns:
        A frame with `study`, `objective` (`accuracy`, …), `parameter`, `importance` (shares that
        add up to 1) and `trials` (how many finished); most important first. Without rows where
        Optuna is not there, the journal cannot be read, or too few trials finished.
    """
    try:
        optuna = importlib.import_module("optuna")
        journals = importlib.import_module("optuna.storages.journal")
        importance = importlib.import_module("optuna.importance")
    except ImportError:
        return pd.DataFrame(columns=COLUMNS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            storage = optuna.storages.JournalStorage(journals.JournalFileBackend(str(journal)))
            studies = [
                optuna.load_study(study_name=name, storage=storage)
                for name in sorted(optuna.get_all_study_names(storage))
            ]
        except Exception:  # a damaged journal, of another version, being written: whatever it is
            return pd.DataFrame(columns=COLUMNS)
        rows = [row for study in studies for row in _rows(optuna, importance, study)]
    return pd.DataFrame(rows, columns=COLUMNS)


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
