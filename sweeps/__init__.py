"""Grids and searches over trials of `distill`: run on Ray, stored as Parquet files.

    from sweeps import load_results

    results = load_results("results")

Names are imported when they are first used; results can be read without Ray and torch.
"""

from typing import TYPE_CHECKING

from distill.lazy import lazy_exports

if TYPE_CHECKING:
    from sweeps.store.store import Store, load_curves, load_results

__all__ = ["Store", "load_curves", "load_results"]

__getattr__, __dir__ = lazy_exports(__name__, dict.fromkeys(__all__, "sweeps.store.store"))
