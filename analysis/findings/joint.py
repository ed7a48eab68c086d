"""Findings over several tables of one layout: weights against images a class, ranks over settings.

Whether weights act differently at more images a class is a question of its own (one family): for
each method, T − F at the larger size less T − F at the smaller one, seed by seed, and the mean over
methods.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from analysis.data.configs import SOUND
from analysis.findings.claims import MEASURED, Finding, setting_of
from analysis.findings.interactions import (
    Interaction,
    Trials,
    interaction_findings,
    interaction_of,
)
from analysis.findings.quality import quality_findings
from analysis.statistics.ranks import compare_ranks
from analysis.tables.declarations import Pair
from analysis.tables.distillation import INTERACTION, WEIGHTS_TOPIC
from analysis.tables.layout import Table
from analysis.tables.rows import PROTOCOLS
from analysis.tables.settings import shared_scores
from analysis.tables.texts import images_per_class
from analysis.tables.topics import RANKS
from distill.config.defaults import default_lr_img

RowKey = tuple[Any, ...]


def joint_findings(tables: Sequence[Table]) -> list[Finding]:
    """Returns the findings over the tables of paper 1's layout."""
    found = [
        finding
        for protocol in PROTOCOLS.values()
        for pair in _sizes(tables)
        for finding in _weights_by_size(*pair, protocol)
    ]
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
    """Returns a setting without images a class; of the learning rate what is left of them.

    That is its multiple of the default, which grows with the images a class.
    """
    usual = default_lr_img(setting["dataset"], int(setting["ipc"]), setting["image_size"])
    lr_img = setting["lr_img"]
    multiple = None if lr_img is None else f"{lr_img / usual:.9g}"
    return tuple({**setting, "ipc": None, "lr_img": multiple}.items())


def interaction(small: Table, large: Table, protocol: str = SOUND) -> Interaction:
    """Returns the tests of weights × images a class, one a method.

    Args:
        small: table with fewer images a class.
        large: table of the same setting with more.
        protocol: of the trials.
    """
    first, second = _weight_pairs(small, protocol), _weight_pairs(large, protocol)

    def trials(table: Table, pair: Pair) -> tuple[Trials, Trials]:
        row, baseline = (table.entries[place] for place in (pair.row, pair.baseline))
        return row.scored(protocol), baseline.scored(protocol)

    return interaction_of(
        {
            second[key].label: (*trials(large, second[key]), *trials(small, first[key]))
            for key in first
            if key in second
        }
    )


def _weight_pairs(table: Table, protocol: str) -> dict[RowKey, Pair]:
    """Returns the pairs with and without weights by method and options."""
    wanted = WEIGHTS_TOPIC, protocol
    asked = (a for a in table.tested if (a.question.topic, a.protocol) == wanted)
    pairs = (pair for a in asked for pair in a.pairs)
    rows = table.entries
    return {(rows[pair.row].values[0], rows[pair.row].options): pair for pair in pairs}


def _weights_by_size(small: Table, large: Table, protocol: str) -> list[Finding]:
    against = images_per_class(int(small.setting["ipc"]))
    return interaction_findings(
        interaction(small, large, protocol),
        setting=f"{setting_of(large, protocol)}, against {against}",
        topic=INTERACTION,
        mean_over="methods",
        smallest_effect=large.smallest_effect,
        protocol=protocol,
    )


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
    largest = len(shared.names) - 1
    if found.critical_difference > largest:
        case += f", and none can by so few tables: ranks are {largest} apart at most"
    setting = setting_of(tables[0], protocol).replace(tables[0].title, "Several settings")
    finding = Finding(
        setting=setting, topic=RANKS, verdict=MEASURED, cases=(case,), protocol=protocol
    )
    return [finding]
