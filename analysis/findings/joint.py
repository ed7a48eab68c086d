"""Findings over several tables of one layout: weights against images a class, ranks over settings.

Whether weights act differently at more images a class is a question of its own (one family): for
each method, T − F at the larger size less T − F at the smaller one, seed by seed, and the mean over
methods.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from analysis.data.configs import SOUND
from analysis.findings.claims import (
    MEASURED,
    VERDICTS,
    Finding,
    case_text,
    claim_record,
    pooled_case,
    setting_of,
)
from analysis.findings.quality import quality_findings
from analysis.statistics.families import Family, family_of
from analysis.statistics.ranks import compare_ranks
from analysis.tables.declarations import Pair
from analysis.tables.distillation import INTERACTION, WEIGHTS_TOPIC
from analysis.tables.layout import Table
from analysis.tables.questions import resolution_of, score_matrix
from analysis.tables.rows import PROTOCOLS
from analysis.tables.settings import shared_scores
from analysis.tables.texts import images_per_class
from analysis.tables.topics import RANKS
from distill.config.defaults import default_lr_img

RowKey = tuple[Any, ...]


def joint_findings(tables: Sequence[Table]) -> list[Finding]:
    """Returns the findings over the tables of paper 1's layout."""
    found = [finding for pair in _sizes(tables) for finding in _weights_by_size(*pair)]
    for protocol in PROTOCOLS.values():
        found += _ranks(tables, protocol)
    return found + quality_findings(tables)


# --- weights × images a class --------------------------------------------------------------------


def _sizes(tables: Sequence[Table]) -> Iterator[tuple[Table, Table]]:
    """Yields tables that differ in the images a class alone, each with the next larger one."""
    groups: dict[RowKey, list[Table]] = {}
    for table in tables:
        groups.setdefault(_without_size(table.setting), []).append(table)
    for group in groups.values():
        yield from pairwise(sorted(group, key=lambda table: int(table.setting["ipc"])))


def _without_size(setting: Mapping[str, Any]) -> RowKey:
    """Returns a setting without images a class, and without what follows from them."""
    usual = default_lr_img(setting["dataset"], int(setting["ipc"]), setting["image_size"])
    values = {**setting, "ipc": None}
    if setting["lr_img"] == usual:
        values["lr_img"] = None
    return tuple(values.items())


def interaction(small: Table, large: Table) -> tuple[tuple[str, ...], Family]:
    """Returns the tests of weights × images a class under the sound protocol.

    Args:
        small: table with fewer images a class.
        large: table of the same setting with more.

    Returns:
        Labels of the methods, and a difference of T − F for each.
    """
    first, second = _weight_pairs(small), _weight_pairs(large)
    by_method = {
        key: [
            table.entries[place].scored(SOUND)
            for table, pair in ((large, second[key]), (small, first[key]))
            for place in (pair.row, pair.baseline)
        ]
        for key in first
        if key in second
    }
    shared = [key for key, of_method in by_method.items() if all(of_method)]
    trials = [of_row for key in shared for of_row in by_method[key]]
    scores = score_matrix(trials, "accuracy")
    differences = scores[0::2] - scores[1::2]  # T − F: large, small, large, small, …
    pairs = [(2 * i, 2 * i + 1) for i in range(len(shared))]
    step = resolution_of((t for of_row in trials for t in of_row), "accuracy")
    family = family_of(differences, pairs, resolution=math.sqrt(2) * step)
    return tuple(second[key].label for key in shared), family


def _weight_pairs(table: Table) -> dict[RowKey, Pair]:
    """Returns the pairs with and without weights by method and options."""
    asked = (a for a in table.tested if (a.question.topic, a.protocol) == (WEIGHTS_TOPIC, SOUND))
    pairs = (pair for a in asked for pair in a.pairs)
    rows = table.entries
    return {(rows[pair.row].values[0], rows[pair.row].shown): pair for pair in pairs}


def _weights_by_size(small: Table, large: Table) -> list[Finding]:
    labels, family = interaction(small, large)
    cases: dict[str, list[str]] = {verdict: [] for verdict in VERDICTS}
    for label, found in zip(labels, family.differences, strict=True):
        if found.n:
            record = claim_record(label, found, family, large.smallest_effect)
            cases[record["verdict"]].append(case_text(record))
    pooled = pooled_case("mean over methods", family, large.smallest_effect)
    if pooled is not None:
        cases[pooled[0]].append(pooled[1])
    against = images_per_class(int(small.setting["ipc"]))
    return [
        Finding(
            setting=f"{large.title}, against {against}",
            topic=INTERACTION,
            verdict=verdict,
            cases=tuple(texts),
        )
        for verdict, texts in cases.items()
        if texts
    ]


# --- ranks over settings -------------------------------------------------------------------------


def _ranks(tables: Sequence[Table], protocol: str) -> list[Finding]:
    shared = shared_scores(tables, protocol)
    if shared is None:
        return []
    found = compare_ranks(shared.scores)
    order = found.mean_ranks.argsort(kind="stable")
    ranks = ", ".join(f"{shared.names[i]} {found.mean_ranks[i]:.2f}" for i in order)
    case = (
        f"mean ranks over {found.n_settings} tables: {ranks}; Friedman's p = {found.p:.2g}; ranks "
        f"less than {found.critical_difference:.2f} apart (Nemenyi) cannot be told apart"
    )
    setting = setting_of(tables[0], protocol).replace(tables[0].title, "Several settings")
    finding = Finding(
        setting=setting, topic=RANKS, verdict=MEASURED, cases=(case,), protocol=protocol
    )
    return [finding]
