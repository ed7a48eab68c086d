"""Notes below tables that both papers have: differences, failures, gaps."""

from collections.abc import Mapping, Sequence

import pandas as pd

PROTOCOLS = {"reproduced": "published", "sound": "sound"}
"""Prefix of columns → protocol."""


def difference_note(rows: pd.DataFrame, baseline: str) -> list[str]:
    """Returns what the differences are, where there are any."""
    if not rows["difference"].notna().any():
        return []
    n_tested = int(rows["p"].notna().sum())
    test = f"* survives Holm's correction at 5 % over the {n_tested} rows that can be tested."
    return [
        f"difference: sound, from {baseline}, paired by seed; "
        + (test if n_tested else "too few seeds for a test.")
    ]


def gap_notes(rows: pd.DataFrame, names: Sequence[str], failed: Mapping[str, int]) -> list[str]:
    """Returns what failed, and the seeds that were planned and are missing, row by row.

    Args:
        rows: of a table, with `…_missing` for both protocols.
        names: what is printed for each row.
        failed: how many trials failed, by status.
    """
    notes = []
    if failed:
        counts = ", ".join(f"{n} {status}" for status, n in failed.items())
        notes.append(f"Trials without a result: {counts}.")
    for prefix, protocol in PROTOCOLS.items():
        gaps: dict[str, list[str]] = {}
        for name, seeds in zip(names, rows[f"{prefix}_missing"], strict=True):
            if seeds:
                gaps.setdefault(seeds, []).append(name)
        texts = [
            f"seed{'' if seeds.isdigit() else 's'} {seeds} of "
            + ("all rows" if len(own) == len(rows) else ", ".join(own))
            for seeds, own in gaps.items()
        ]
        if texts:
            notes.append(f"Incomplete, {protocol} protocol: {'; '.join(texts)}.")
    return notes
