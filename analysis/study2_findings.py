"""Findings of study 2 in words, computed."""

from collections.abc import Iterable

import pandas as pd

from analysis.claims import CLAIM_COLUMNS, Finding, by_verdict, with_verdicts
from analysis.tables.study2 import Study2Table
from analysis.tables.study2_sheet import arm_label, study2_sheet


def study2_claims(table: Study2Table) -> pd.DataFrame:
    """Returns the numbers behind the findings of a table of study 2, like `claims`.

    One row for each way of choosing images that has results or was printed.
    """
    rows = table.rows
    baseline = rows.loc[rows["baseline"], "published_accuracy"].iloc[0]
    frame = pd.DataFrame(
        {
            "topic": "arms",
            "method": rows["arm"],
            "label": [
                arm_label(*values)
                for values in zip(
                    *(rows[name] for name in ("arm", "fraction", "ipc", "options")), strict=True
                )
            ],
            "published": rows["published_accuracy"] - baseline,
            "difference": rows["difference"],
            "low": rows["difference_low"],
            "high": rows["difference_high"],
            "n_pairs": rows["n_pairs"].fillna(0).astype(int),
            "p": rows["p"],
            "p_holm": rows["p_holm"],
        }
    )[~rows["baseline"].to_numpy(dtype=bool)].reset_index(drop=True)
    records = with_verdicts(frame.to_dict("records"))
    return pd.DataFrame(records, columns=CLAIM_COLUMNS).astype({"seeds_needed": "Int64"})


def study2_findings(tables: Iterable[Study2Table]) -> list[Finding]:
    """Returns what the tables of study 2 say."""
    found = []
    for table in tables:
        numbers = study2_claims(table)
        title = study2_sheet(table).title.removesuffix(". Test accuracy in %")
        setting = f"{title} (published: on 15,000 photos of cats and dogs)"
        found += by_verdict(setting, "arms", numbers.to_dict("records"))
    return found
