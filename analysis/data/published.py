"""Published numbers of the papers and their references: `published.csv` beside this file.

One line a number: its place (`paper`, `table`, `row`, `column`), its `value` and the trials that it
is of, in the names of configurations (`method`, `dataset`, `ipc`, …). Accuracies are fractions in
[0, 1]; losses as printed.
"""

from pathlib import Path

import pandas as pd

_FILE = Path(__file__).with_name("published.csv")


def load_published(paper: str | None = None) -> pd.DataFrame:
    """Returns the published numbers, in the order of their tables.

    Args:
        paper: `paper1`, `paper2` or `reference` (other work on the same task); None: all.

    Returns:
        A frame with the strings `paper`, `table`, `row`, `column` (`accuracy` or `loss`),
        `method` (the clusterer in paper 1, the selector elsewhere), `weights` (`T` or
        `F`), `dataset` and `source`, the integers `ipc` and `n_outer`,
        and the floats `value` and `fraction` (share of the training images). Values that do not
        apply are missing.
    """
    published = pd.read_csv(
        _FILE,
        keep_default_na=False,
        na_values=[""],
        dtype={"ipc": "Int64", "n_outer": "Int64", "fraction": "float64", "value": "float64"},
    )
    if paper is None:
        return published
    return published[published["paper"] == paper].reset_index(drop=True)
