"""What results mean: tables, findings, figures and the report.

    from analysis import load, pair, summarise

gives a notebook the numbers of the tables. Nothing is imported before it is asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.data.reading import load
    from analysis.tables.comparing import pair, summarise

__all__ = ["load", "pair", "summarise"]

_HOMES = {"load": "data.reading", "pair": "tables.comparing", "summarise": "tables.comparing"}


def __getattr__(name: str) -> Any:
    """Imports what is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - `import analysis` stays fast

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
