"""Grids and searches over trials of `distill`: run on Ray, stored as Parquet files."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeps.store.store import Store, load_curves, load_results

__all__ = ["Store", "load_curves", "load_results"]


def __getattr__(name: str) -> Any:
    """Imports the public names when they are first used: `import sweeps` loads nothing."""
    if name in __all__:
        return getattr(importlib.import_module("sweeps.store.store"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
