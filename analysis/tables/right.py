"""Differences with the uncertainty of the test images, from the images that trials classify right.

from analysis import compare_images, load, mcnemar, trials

sweeps = load("results")
of = trials(sweeps).query("state == 'ok'").groupby("method")["trial_id"]
compare_images(sweeps, of.get_group("kmedoids"), of.get_group("kmeans"))
mcnemar(sweeps, "0123456789abcdef", "fedcba9876543210")
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from analysis.data.reading import Sweeps
from analysis.data.trials import TrialRecord
from analysis.statistics.images import McNemar, bootstrap_difference, mcnemar_test
from analysis.statistics.intervals import Interval
from distill.errors import UserError
from distill.kinds import KINDS


def compare_images(sweeps: Sweeps, first: Iterable[str], second: Iterable[str]) -> Interval:
    """Returns the difference of two rows with its 95 % bootstrap interval over images and seeds.

    Args:
        sweeps: from `load`.
        first: trial_ids of a row, one a seed.
        second: of the row that it is compared with; the seeds that both have are paired.

    Returns:
        First − second, a fraction, with its interval; `n` seeds.

    Raises:
        UserError: a trial is unknown or did not store which images are right, no seed is common, or
            the test images differ in number.
    """
    of_first, of_second = (shares_right(sweeps, _trials(sweeps, ids)) for ids in (first, second))
    seeds = sorted(of_first.keys() & of_second.keys())
    if not seeds:
        raise UserError("the two rows have no seed in common; compare trials of the same seeds")
    sizes = {len(of_row[seed]) for of_row in (of_first, of_second) for seed in seeds}
    if len(sizes) > 1:
        raise UserError(
            f"trials were tested on different numbers of images: {sorted(sizes)}; compare trials "
            "of one data set"
        )
    return bootstrap_difference(
        np.stack([of_first[seed] for seed in seeds]), np.stack([of_second[seed] for seed in seeds])
    )


def mcnemar(sweeps: Sweeps, first: str, second: str, *, network: int = 0) -> McNemar:
    """Returns McNemar's test of two trials: of one network each, on the same test images.

    Args:
        sweeps: from `load`.
        first: trial_id.
        second: trial_id.
        network: which of the networks of each trial, from 0.

    Raises:
        UserError: a trial is unknown or did not store which images are right, it has fewer
            networks, or the test images differ in number.
    """
    right = [_right_of(sweeps, trial_id) for trial_id in (first, second)]
    for trial_id, of_trial in zip((first, second), right, strict=True):
        if not 0 <= network < len(of_trial):
            raise UserError(
                f"network must be 0 to {len(of_trial) - 1} for trial {trial_id}, got {network}"
            )
    sizes = [of_trial.shape[1] for of_trial in right]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"the trials were tested on {sizes[0]} and {sizes[1]} images; compare trials of one "
            "data set"
        )
    return mcnemar_test(*(of_trial[network] for of_trial in right))


def shares_right(sweeps: Sweeps, trials: Iterable[TrialRecord]) -> dict[int, NDArray[np.float64]]:
    """Returns by seed the share of networks that classify each test image right, (n,).

    Trials that did not store it are left out.
    """
    trials = tuple(trials)
    correct = sweeps.correct_images(trial.trial_id for trial in trials)
    return {t.seed: correct[t.trial_id].mean(axis=0) for t in trials if t.trial_id in correct}


def _trials(sweeps: Sweeps, trial_ids: Iterable[str]) -> list[TrialRecord]:
    known = {trial.trial_id: trial for kind in KINDS for trial in sweeps.trials(kind)}
    wanted = list(trial_ids)
    for trial_id in wanted:
        if trial_id not in known:
            raise UserError(f"no trial {trial_id} enters tables; see analysis.trials")
        _right_of(sweeps, trial_id)
    return [known[trial_id] for trial_id in wanted]


def _right_of(sweeps: Sweeps, trial_id: str) -> NDArray[np.bool_]:
    found = sweeps.correct_images([trial_id])
    if trial_id not in found:
        raise UserError(
            f"trial {trial_id} has no correct_images: it is unknown, failed, or was run by an "
            "earlier version; run it again in other results"
        )
    return found[trial_id]
