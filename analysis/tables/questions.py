"""Questions put to the trials of a table: matrices of scores by row and seed, and their tests."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.data.trials import TrialRecord
from analysis.statistics.families import Family, family_of
from analysis.tables.declarations import Pair, Question, Row


@dataclass(frozen=True, kw_only=True)
class AskedQuestion:
    """A question under one protocol, with the tests of its pairs.

    Attributes:
        question: what is asked.
        protocol: of the trials.
        pairs: rows that are compared; rows with the same results as one pair.
        family: their differences, in the order of the pairs.
    """

    question: Question
    protocol: str
    pairs: tuple[Pair, ...]
    family: Family

    @cached_property
    def places(self) -> dict[int, int]:
        """Position of a row in the table → position of its pair."""
        return {row: place for place, pair in enumerate(self.pairs) for row in pair.rows}


def ask(
    question: Question, rows: Sequence[Row], protocol: str, score: str = "accuracy"
) -> AskedQuestion:
    """Returns a question with its tests.

    Args:
        question: to ask.
        rows: of a table.
        protocol: of the trials that are compared.
        score: that is compared.
    """
    pairs = _without_copies(question.pairs(rows), rows, protocol)
    places = sorted({place for pair in pairs for place in (pair.row, pair.baseline)})
    trials = [rows[place].scored(protocol) for place in places]
    index = {place: i for i, place in enumerate(places)}
    family = family_of(
        score_matrix(trials, score),
        [(index[pair.row], index[pair.baseline]) for pair in pairs],
        resolution=resolution_of((t for of_row in trials for t in of_row), score),
    )
    return AskedQuestion(question=question, protocol=protocol, pairs=pairs, family=family)


def _without_copies(pairs: Iterable[Pair], rows: Sequence[Row], protocol: str) -> tuple[Pair, ...]:
    """Returns pairs of rows with the same results as one.

    Counted as several they would make the spread, and so all intervals, too small.
    """
    found: dict[Any, Pair] = {}
    for pair in pairs:
        places = pair.row, pair.baseline
        key = tuple(_results(rows[place].scored(protocol)) or place for place in places)
        one = found.setdefault(key, pair)
        if one is not pair:
            copies = one.copies if pair.row in one.rows else (*one.copies, pair.row)
            label = f"{one.label} = {pair.label}"
            found[key] = dataclasses.replace(one, label=label, copies=copies)
    return tuple(found.values())


def _results(trials: Sequence[TrialRecord]) -> tuple[tuple[int, str], ...]:
    """Returns accuracies and losses of all networks by seed; empty where some are not known.

    Accuracies may be equal by chance, losses to the last digit are not.
    """
    scores = [(trial.seed, trial.network_scores or "") for trial in trials]
    return tuple(sorted(scores)) if all("losses" in text for _, text in scores) else ()


def score_matrix(trials: Sequence[Sequence[TrialRecord]], score: str) -> NDArray[np.float64]:
    """Returns scores as (r, s) rows by seeds in order, NaN where there is none.

    Args:
        trials: finished ones, for each row.
        score: one of their numbers.
    """
    seeds = sorted({trial.seed for of_row in trials for trial in of_row})
    columns = {seed: column for column, seed in enumerate(seeds)}
    matrix = np.full((len(trials), len(seeds)), np.nan)
    for of_row, values in zip(trials, matrix, strict=True):
        for trial in of_row:
            values[columns[trial.seed]] = trial.numbers[score]
    return matrix


def resolution_of(trials: Iterable[TrialRecord], score: str) -> float:
    """Returns the coarsest step between two possible scores; 0 where none is known."""
    if "accuracy" not in score:
        return 0.0
    steps = (trial.resolution for trial in trials)
    return max((step for step in steps if not math.isnan(step)), default=0.0)
