"""What the studies and their references printed, as data: `published.csv` beside this file.

One line a number: where it stands (`study`, `table`, `row`, `column`), its `value` and what it is
of, in the names of configurations (`method`, `dataset`, `ipc`, …). Accuracies are fractions in
[0, 1]; losses as printed.
"""

from pathlib import Path

import pandas as pd

_FILE = Path(__file__).with_name("published.csv")


def load_published(study: str | None = None) -> pd.DataFrame:
    """Returns the published numbers, in the order of their tables.

    Args:
        study: `study1`, `study2` or `reference`, what others report for the same task; None: all.

    Returns:
        A frame with the strings `study`, `table`, `row`, `column` (`accuracy` or `loss`),
        `method` (of study 1 the clusterer, of study 2 and of coresets the arm), `weights` (`T` or
        `F`), `dataset` and `source`, the integers `ipc` and `n_outer`,
        and the floats `value` and `fraction` (share of the training images). What does not apply
        is missing.
    """
    published = pd.read_csv(
        _FILE,
        keep_default_na=False,
        na_values=[""],
        dtype={"ipc": "Int64", "n_outer": "Int64", "fraction": "float64", "value": "float64"},
    )
    if study is None:
        return published
    return published[published["study"] == study].reset_index(drop=True)
