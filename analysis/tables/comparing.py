"""The numbers of the tables for a notebook: summaries and paired differences of trials.

from analysis import load, pair, summarise

sweeps = load("results")
summarise(sweeps)                         # mean and interval over seeds of every row
pair(sweeps, "weights", baseline="F")     # T − F of every method, paired by seed
pair(sweeps, "method", baseline="kmeans")
pair(sweeps, "selector", baseline="random", paper=2)
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.data.methods import method_order, options_text
from analysis.data.reading import Sweeps
from analysis.data.selection_trials import CONFIG_COLUMNS as SELECTION_COLUMNS
from analysis.data.trials import SETTING_COLUMNS
from analysis.statistics import holm, mean_interval, paired_difference
from analysis.tables.paper2 import SELECTORS
from distill.config.selection import CHOICE_OPTION_NAMES
from distill.errors import UserError, require_known


@dataclass(frozen=True, kw_only=True)
class _View:
    """How the trials of a paper are looked at.

    Attributes:
        trials: returns them, one row each; with `parameters`, the hyper-parameters of the method
            as text.
        main: what a row of a table is; what else differs between trials is added.
        method: which of these names the method: hyper-parameters belong to one.
        settings: columns that trials may differ in besides.
        scores: what can be averaged.
        order: returns the place of a method in the tables.
    """

    trials: Callable[[Sweeps], pd.DataFrame]
    main: tuple[str, ...]
    method: str
    settings: tuple[str, ...]
    scores: tuple[str, ...]
    order: Callable[[str], Any]


def _paper1_trials(sweeps: Sweeps) -> pd.DataFrame:
    frame = sweeps.paper1_trials
    texts = {options: options_text(options) for options in set(frame["options"])}
    parameters = [texts[options] for options in frame["options"]]
    return frame.drop(columns="options").assign(parameters=parameters)


def _paper2_trials(sweeps: Sweeps) -> pd.DataFrame:
    own = ("trial_id", "state", *_PAPER2_SCORES)
    names = (*own, *SELECTION_COLUMNS, "parameters")
    rows = []
    for trial in sweeps.selection_trials:
        config = trial.config
        options = ((n, config[n]) for n in CHOICE_OPTION_NAMES if config[n] is not None)
        text = options_text(tuple((n, str(v) if isinstance(v, str) else v) for n, v in options))
        rows.append((*(getattr(trial, n) for n in own), *config.values(), text))
    return pd.DataFrame(rows, columns=names, dtype=object)


_PAPER2_SCORES = ("accuracy", "loss", "seen_accuracy", "unseen_accuracy", "seconds", "gpu_seconds")

_VIEWS = {
    1: _View(
        trials=_paper1_trials,
        main=("dataset", "ipc", "embedding", "protocol", "method", "parameters", "weights"),
        method="method",
        settings=SETTING_COLUMNS,
        scores=("accuracy", "accuracy_best", "matching_loss", "seconds", "gpu_seconds"),
        order=method_order,
    ),
    2: _View(
        trials=_paper2_trials,
        main=("dataset", "protocol", "selector", "fraction", "ipc", "parameters"),
        method="selector",
        settings=tuple(
            n for n in SELECTION_COLUMNS if n != "seed" and n not in CHOICE_OPTION_NAMES
        ),
        scores=_PAPER2_SCORES,
        order=lambda selector: (
            SELECTORS.index(selector) if selector in SELECTORS else len(SELECTORS),
            selector,
        ),
    ),
}


def _view(paper: int) -> _View:
    if paper not in _VIEWS:
        raise UserError(f"paper must be 1 (distillation) or 2 (real images), got {paper!r}")
    return _VIEWS[paper]


def trials(sweeps: Sweeps, *, paper: int = 1) -> pd.DataFrame:
    """Returns a paper's trials, one row each.

    Args:
        sweeps: from `load`.
        paper: 1, see `paper1_trials`; 2, see `SelectionTrial`.

    Returns:
        A frame with the fields of their configurations and, as text, the `parameters` of their
        methods.
    """
    return _view(paper).trials(sweeps)


def summarise(
    sweeps: Sweeps, by: Sequence[str] | None = None, *, score: str = "accuracy", paper: int = 1
) -> pd.DataFrame:
    """Returns a score of every group of trials: its mean over seeds with a 95 % t interval.

    Args:
        sweeps: from `load`.
        by: what makes a group, among the columns of `trials`. None: what a row of a table is, and
            whatever else differs between trials, so that a group differs in nothing but the seed.
        score: `accuracy` (after the last epoch), `seconds`, `gpu_seconds`; of paper 1 also
            `accuracy_best` (the best of four tests, which it printed) and `matching_loss`; of
            paper 2 also `loss`, `seen_accuracy` and `unseen_accuracy` (of test images that were
            trained on, and of the others). Accuracies are fractions in [0, 1].
        paper: 1, distillation, or 2, real images.

    Returns:
        A frame with the columns of `by`, `mean`, `low`, `high` (NaN for fewer than two seeds),
        `seeds`, `failed` and `missing` (trials).

    Raises:
        UserError: a name is unknown, or a group would mix trials that are no repetitions.
    """
    view = _view(paper)
    require_known("score", score, view.scores)
    frame = view.trials(sweeps)
    names = _names(view, frame) if by is None else list(by)
    for name in names:
        require_known("column", name, frame.columns)
    if by is not None:
        _check_unmixed(view, frame, names)
    rows = []
    states, scores = frame["state"].tolist(), frame[score].tolist()
    for key, members in _groups(view, frame, names):
        own = [scores[i] for i in members if states[i] == "ok"]
        found = mean_interval([value for value in own if not math.isnan(value)])
        counts = Counter(states[i] for i in members)
        rows.append((*key, *found, counts["failed"], counts["missing"]))
    return pd.DataFrame(rows, columns=[*names, "mean", "low", "high", "seeds", "failed", "missing"])


def pair(
    sweeps: Sweeps, what: str, baseline: Any, *, score: str = "accuracy", paper: int = 1
) -> pd.DataFrame:
    """Returns differences from a baseline, trial by trial with the same seed and settings.

    Args:
        sweeps: from `load`.
        what: the column that tells trials from the baseline's: `weights`, `method`, `protocol`, …;
            of paper 2 `selector`, `fraction`, …
        baseline: its value for the baseline: `F`, `kmeans`, `random`, 0.1, …
        score: see `summarise`.
        paper: see there.

    Returns:
        A frame with what the pairs share, the column `what`, `difference` (mean of trial −
        baseline) with its 95 % t interval `low`, `high`, `n_pairs`, `p` (paired t-test), `p_holm`
        (corrected over all rows). Only rows with at least one pair.

    Raises:
        UserError: a name or the baseline is unknown, or several trials could be the baseline.
    """
    view = _view(paper)
    require_known("score", score, view.scores)
    frame = view.trials(sweeps)
    frame = frame[(frame["state"] == "ok") & frame[score].notna()]
    names = _names(view, frame)
    require_known("column", what, [*names, *(n for n in view.settings if n not in names)])
    values = set(frame[what])
    if baseline not in values:
        shown = ", ".join(sorted(map(str, values))) or "none"
        raise UserError(f"no trial has {what} {baseline!r}; there are: {shown}")
    # Hyper-parameters belong to a method: two methods share none.
    shared = [n for n in names if n != what and not (what == view.method and n == "parameters")]
    theirs = _baselines(view, frame[frame[what] == baseline], shared, score)
    kept = [n for n in names if n != what]
    rows = []
    others = frame[frame[what] != baseline]
    by_position = list(zip(others["seed"], others[score], strict=True))
    for key, members in _groups(view, others, [*kept, what]):
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


def _names(view: _View, frame: pd.DataFrame) -> list[str]:
    """Returns what a row is and what else differs between trials of one protocol, seeds apart."""
    others = [name for name in view.settings if name not in view.main]
    varying = frame.groupby("protocol")[others].nunique(dropna=False).max() > 1
    return [*view.main, *(name for name in others if bool(varying[name]))]


def _groups(
    view: _View, frame: pd.DataFrame, names: Sequence[str]
) -> Iterator[tuple[tuple[Any, ...], list[int]]]:
    """Yields groups of trials by their values, methods in the order of the tables.

    Of each the positions of its trials in the frame: a frame for every few trials would be slow.
    """
    by_key: dict[tuple[Any, ...], list[int]] = {}
    keys = zip(*(frame[name] for name in names), strict=True)
    for position, key in enumerate(keys):
        by_key.setdefault(key, []).append(position)
    for key in sorted(by_key, key=lambda key: _order(view, names, key)):
        yield key, by_key[key]


def _order(view: _View, names: Iterable[str], key: Iterable[Any]) -> list[Any]:
    order: list[Any] = []
    for name, value in zip(names, key, strict=True):
        if name == view.method:
            order.append(view.order(value))
        else:  # None is never compared with a value
            order.append((value is None, 0 if value is None else value))
    return order


def _baselines(
    view: _View, frame: pd.DataFrame, shared: list[str], score: str
) -> dict[tuple[Any, ...], dict[int, float]]:
    """Returns the baseline's scores by what pairs share, and by seed."""
    scores: dict[tuple[Any, ...], dict[int, float]] = {}
    by_position = list(zip(frame["seed"], frame[score], strict=True))
    for key, members in _groups(view, frame, shared):
        scores[key] = dict(by_position[i] for i in members)
        if len(scores[key]) < len(members):
            found = ", ".join(sorted(set(frame["parameters"].iloc[members])))
            raise UserError(
                f"several trials of the baseline have one seed: it has the parameters {found}; "
                "leave all but one out of the results first"
            )
    return scores


def _check_unmixed(view: _View, frame: pd.DataFrame, names: list[str]) -> None:
    """Raises a UserError where trials of one group differ in more than the seed."""
    others = {name: frame[name].tolist() for name in _names(view, frame) if name not in names}
    for _, members in _groups(view, frame, names):
        mixed = [name for name, own in others.items() if len({own[i] for i in members}) > 1]
        if mixed:
            raise UserError(
                f"trials of one group differ in {', '.join(mixed)}; add that to by, or leave by out"
            )
