"""Uncertainty over test images: which images two trials classify right.

References: Owen, The pigeonhole bootstrap, Annals of Applied Statistics 2007; McNemar, Note on the
sampling error of the difference between correlated proportions or percentages, Psychometrika 1947.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.statistics.bootstrap import bootstrap_weights
from analysis.statistics.intervals import CONFIDENCE, Interval

N_DRAWS = 1_000


def unpack_correct(packed: Sequence[bytes], n_images: int) -> NDArray[np.bool_]:
    """Returns which images the networks of a trial classify right, (K, n) for K networks.

    Args:
        packed: `numpy.packbits` of n truth values, one entry a network.
        n_images: n.

    Raises:
        ValueError: an entry is not of that many images.

    Example:
        >>> unpack_correct([bytes([0b10100000])], 3).tolist()
        [[True, False, True]]
    """
    n_bytes = math.ceil(n_images / 8)
    if any(len(one) != n_bytes for one in packed):
        raise ValueError(f"{n_images} images take {n_bytes} bytes a network, got {packed!r:.60}")
    bits = np.frombuffer(b"".join(packed), dtype=np.uint8).reshape(len(packed), n_bytes)
    return np.unpackbits(bits, axis=1, count=n_images).astype(bool)


def bootstrap_difference(
    first: ArrayLike, second: ArrayLike, confidence: float = CONFIDENCE, n_draws: int = N_DRAWS
) -> Interval:
    """Returns the mean difference of accuracies with its bootstrap interval over images and seeds.

    Seeds and images are drawn with replacement, independently of each other and the same for both
    rows (paired); percentiles; the generator's seed is fixed. Conservative where seeds and images
    interact (Owen 2007).

    Args:
        first: (s, n) share of a trial's networks that classify an image right, in [0, 1], seeds by
            test images.
        second: of the row that it is compared with, of the same form.
        confidence: in (0, 1).
        n_draws: samples.

    Returns:
        The difference with its interval, `n` seeds; without one for fewer than two seeds or images.

    Raises:
        ValueError: the two differ in form.

    Example:
        >>> right = np.array([[1, 1, 1, 0], [1, 1, 0, 0]])
        >>> bootstrap_difference(right, right).low
        0.0
    """
    a, b = np.asarray(first, dtype=np.float32), np.asarray(second, dtype=np.float32)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"pairs need two matrices of one shape, got {a.shape} and {b.shape}")
    differences = a - b
    n_seeds, n_images = differences.shape
    mean = float(differences.mean(dtype=np.float64))
    if min(n_seeds, n_images) < 2:
        return Interval(mean, math.nan, math.nan, n_seeds)
    per_seed = differences @ bootstrap_weights(n_images, n_draws).T  # (s, draws)
    drawn = (bootstrap_weights(n_seeds, n_draws, stream=1) * per_seed.T).sum(
        axis=1, dtype=np.float64
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(mean, float(low), float(high), n_seeds)


class McNemar(NamedTuple):
    """McNemar's test of two networks on the same images.

    Attributes:
        only_first: images that only the first classifies right.
        only_second: images that only the second does.
        p: exact two-sided p-value; NaN where they agree on all images.
    """

    only_first: int
    only_second: int
    p: float


def mcnemar_test(first: ArrayLike, second: ArrayLike) -> McNemar:
    """Returns McNemar's exact test.

    Of the two networks as they are, on further images: it knows nothing of other seeds.

    Args:
        first: (n,) truth values, whether an image is classified right.
        second: of the same images.

    Raises:
        ValueError: the two differ in length.

    Example:
        >>> mcnemar_test([1, 1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0, 0])
        McNemar(only_first=6, only_second=0, p=0.03125)
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"pairs need two arrays of one length, got {a.shape} and {b.shape}")
    only_first, only_second = int((a & ~b).sum()), int((b & ~a).sum())
    n = only_first + only_second
    p = float(stats.binomtest(only_first, n).pvalue) if n else math.nan
    return McNemar(only_first, only_second, p)
