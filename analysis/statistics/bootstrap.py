"""Weights of bootstrap samples: drawn once, deterministic."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=16)
def bootstrap_weights(n: int, n_draws: int, stream: int = 0) -> NDArray[np.float32]:
    """Returns the weights of n things in samples drawn with replacement, (draws, n).

    Args:
        n: number of things, at least 1.
        n_draws: samples.
        stream: different streams are independent.

    Example:
        >>> weights = bootstrap_weights(4, 3)
        >>> weights.shape, weights.sum(axis=1).tolist()
        ((3, 4), [1.0, 1.0, 1.0])
    """
    generator = np.random.default_rng(stream)
    counts = generator.multinomial(n, np.full(n, 1 / n), size=n_draws)
    return (counts / n).astype(np.float32)
