"""The numbers of the tables for a notebook: summaries and paired differences of study 1's trials.

from analysis import load, pair, summarise

sweeps = load("results")
summarise(sweeps)                         # mean and interval over seeds of every row
pair(sweeps, "weights", baseline="F")     # T − F of every method, paired by seed
pair(sweeps, "method", baseline="kmeans")
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd

from analysis.methods import method_order, options_text
from analysis.reading import Sweeps
from analysis.statistics import holm, mean_interval, paired_difference
from analysis.trials import SETTING_COLUMNS
from distill.errors import UserError, require_known

MAIN = ("dataset", "ipc", "embedding", "protocol", "method", "parameters", "weights")
"""What a row of a table is; what else differs between trials is added."""

SCORES = ("accuracy", "accuracy_best", "matching_loss", "seconds", "gpu_seconds")


def trials(sweeps: Sweeps) -> pd.DataFrame:
    """Returns study 1's trials, one row each, as `analysis.trials.study1_trials` describes them.

    With `parameters`, the hyper-parameters of the clusterer as text, in the place of `options`.
    """
    frame = sweeps.study1_trials
    texts = {options: options_text(options) for options in set(frame["options"])}
    parameters = [texts[options] for options in frame["options"]]
    return frame.drop(columns="options").assign(parameters=parameters)


def summarise(
    sweeps: Sweeps, by: Sequence[str] | None = None, *, score: str = "accuracy"
) -> pd.DataFrame:
    """Returns a score of every group of trials: its mean over seeds with a 95 % t interval.

    Args:
        sweeps: from `load`.
        by: what makes a group, among the columns of `trials`. None: `MAIN` and whatever else
            differs between trials, so that a group differs in nothing but the seed.
        score: one of `SCORES`. Accuracies are fractions in [0, 1]: `accuracy` after the last
            epoch, `accuracy_best` the best of four tests, which the study printed.

    Returns:
        A frame with the columns of `by`, `mean`, `low`, `high` (NaN for fewer than two seeds),
        `seeds`, `failed` and `missing` (trials).

    Raises:
        UserError: a name is unknown, or a group would mix trials that are no repetitions.
    """
    require_known("score", score, SCORES)
    frame = trials(sweeps)
    names = list(_names(frame) if by is None else by)
    for name in names:
        require_known("column", name, frame.columns)
    if by is not None:
        _check_unmixed(frame, names)
    rows = []
    states, scores = frame["state"].tolist(), frame[score].tolist()
    for key, members in _groups(frame, names):
        own = [scores[i] for i in members if states[i] == "ok"]
        found = mean_interval([value for value in own if not math.isnan(value)])
        counts = Counter(states[i] for i in members)
        rows.append((*key, *found, counts["failed"], counts["missing"]))
    return pd.DataFrame(rows, columns=[*names, "mean", "low", "high", "seeds", "failed", "missing"])


def pair(sweeps: Sweeps, what: str, baseline: Any, *, score: str = "accuracy") -> pd.DataFrame:
    """Returns differences from a baseline, trial by trial with the same seed and settings.

    Args:
        sweeps: from `load`.
        what: the column that tells trials from the baseline's: `weights`, `method`, `protocol`, …
        baseline: its value for the baseline: `F`, `kmeans`, …
        score: one of `SCORES`.

    Returns:
        A frame with what the pairs share, the column `what`, `difference` (mean of trial −
        baseline) with its 95 % t interval `low`, `high`, `n_pairs`, `p` (paired t-test), `p_holm`
        (corrected over all rows). Only rows with at least one pair.

    Raises:
        UserError: a name or the baseline is unknown, or several trials could be the baseline.
    """
    require_known("score", score, SCORES)
    frame = trials(sweeps)
    frame = frame[(frame["state"] == "ok") & frame[score].notna()]
    names = _names(frame)
    require_known("column", what, [*names, *(n for n in SETTING_COLUMNS if n not in names)])
    values = set(frame[what])
    if baseline not in values:
        shown = ", ".join(sorted(map(str, values))) or "none"
        raise UserError(f"no trial has {what} {baseline!r}; there are: {shown}")
    # Hyper-parameters belong to a method: two methods share none.
    shared = [n for n in names if n != what and not (what == "method" and n == "parameters")]
    theirs = _baselines(frame[frame[what] == baseline], shared, score)
    kept = [n for n in names if n != what]
    rows = []
    others = frame[frame[what] != baseline]
    by_position = list(zip(others["seed"], others[score], strict=True))
    for key, members in _groups(others, [*kept, what]):
        own_key = tuple(value for name, value in zip(kept, key, strict=False) if name in shared)
        scores = dict(by_position[i] for i in members)
        seeds = sorted(scores.keys() & theirs.get(own_key, {}).keys())
        if not seeds:
            continue
        found = paired_difference(
            [scores[seed] for seed in seeds], [theirs[own_key][seed] for seed in seeds]
        )
        rows.append((*key, *found))
    columns = [*kept, what, "difference", "low", "high", "n_pairs", "p"]
    result = pd.DataFrame(rows, columns=columns)
    result["p_holm"] = holm(result["p"].to_numpy(dtype=float))
    return result


def _names(frame: pd.DataFrame) -> list[str]:
    """Returns `MAIN` and what else differs between trials, seeds apart."""
    others = [
        name
        for name in SETTING_COLUMNS
        if name not in MAIN and frame[name].nunique(dropna=False) > 1
    ]
    return [*MAIN, *others]


def _groups(
    frame: pd.DataFrame, names: Sequence[str]
) -> Iterator[tuple[tuple[Any, ...], list[int]]]:
    """Yields groups of trials by their values, methods in the order of the tables.

    Of each the positions of its trials in the frame: a frame for every few trials would be slow.
    """
    by_key: dict[tuple[Any, ...], list[int]] = {}
    keys = zip(*(frame[name] for name in names), strict=True)
    for position, key in enumerate(keys):
        by_key.setdefault(key, []).append(position)
    for key in sorted(by_key, key=lambda key: _order(names, key)):
        yield key, by_key[key]


def _order(names: Iterable[str], key: Iterable[Any]) -> list[Any]:
    order: list[Any] = []
    for name, value in zip(names, key, strict=True):
        if name == "method":
            order.append(method_order(value))
        else:  # None is never compared with a value
            order.append((value is None, 0 if value is None else value))
    return order


def _baselines(
    frame: pd.DataFrame, shared: list[str], score: str
) -> dict[tuple[Any, ...], dict[int, float]]:
    """Returns the baseline's scores by what pairs share, and by seed."""
    scores: dict[tuple[Any, ...], dict[int, float]] = {}
    by_position = list(zip(frame["seed"], frame[score], strict=True))
    for key, members in _groups(frame, shared):
        scores[key] = dict(by_position[i] for i in members)
        if len(scores[key]) < len(members):
            found = ", ".join(sorted(set(frame["parameters"].iloc[members])))
            raise UserError(
                f"several trials of the baseline have one seed: it has the parameters {found}; "
                "leave all but one out of the results first"
            )
    return scores


def _check_unmixed(frame: pd.DataFrame, names: list[str]) -> None:
    """Raises a UserError where trials of one group differ in more than the seed."""
    others = {name: frame[name].tolist() for name in _names(frame) if name not in names}
    for _, members in _groups(frame, names):
        mixed = [name for name, own in others.items() if len({own[i] for i in members}) > 1]
        if mixed:
            raise UserError(
                f"trials of one group differ in {', '.join(mixed)}; add that to by, or leave by out"
            )
