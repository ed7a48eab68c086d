"""Tables, findings, figures and a report from the results of sweeps.

    from analysis import load, pair, summarise

    sweeps = load("results")
    summarise(sweeps)

Names are imported when they are first used. Neither torch nor Ray is needed.
"""

from typing import TYPE_CHECKING

from distill.lazy import lazy_exports

if TYPE_CHECKING:
    from analysis.data.reading import Sweeps, load
    from analysis.tables.build import build
    from analysis.tables.comparing import pair, summarise, trials
    from analysis.tables.layout import TableLayout
    from analysis.tables.printing import print_tables
    from analysis.tables.right import compare_images, mcnemar

__all__ = [
    "Sweeps",
    "TableLayout",
    "build",
    "compare_images",
    "load",
    "mcnemar",
    "pair",
    "print_tables",
    "summarise",
    "trials",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Sweeps": "analysis.data.reading",
        "TableLayout": "analysis.tables.layout",
        "build": "analysis.tables.build",
        "compare_images": "analysis.tables.right",
        "load": "analysis.data.reading",
        "mcnemar": "analysis.tables.right",
        "pair": "analysis.tables.comparing",
        "print_tables": "analysis.tables.printing",
        "summarise": "analysis.tables.comparing",
        "trials": "analysis.tables.comparing",
    },
)
