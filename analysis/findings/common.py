"""Findings that tables of every kind have: order, chance of being best, spread, test images."""

import math
from collections.abc import Iterator

import numpy as np

from analysis.data.configs import PUBLISHED
from analysis.data.reading import Sweeps
from analysis.findings.claims import MEASURED, Finding, count_text, setting_of
from analysis.statistics.images import bootstrap_difference
from analysis.statistics.networks import narrowing, networks_pay, spread_within_seeds
from analysis.statistics.ranks import rank_agreement
from analysis.tables.declarations import Topic
from analysis.tables.layout import Table
from analysis.tables.percent import percent
from analysis.tables.questions import AskedQuestion, score_matrix
from analysis.tables.right import shares_right
from analysis.tables.rows import PROTOCOLS
from analysis.tables.topics import AGREEMENT, BEST, SPREAD, TEST_IMAGES

MIN_DF = 4
"""Degrees of freedom of a spread from which it is said what to buy more of."""

MIN_CHANCE = 0.01
"""Probability of being best from which a row is named."""


def common_findings(table: Table, protocol: str, sweeps: Sweeps | None) -> list[Finding]:
    """Returns the findings of a table under a protocol that do not depend on its kind."""
    found = [
        *_cases_of(AGREEMENT, _agreement(table) if protocol == PUBLISHED else ()),
        *_cases_of(BEST, _chances(table, protocol)),
        *_cases_of(SPREAD, _spread(table, protocol)),
        *_cases_of(TEST_IMAGES, _over_images(table, protocol, sweeps) if sweeps else ()),
    ]
    return [
        Finding(
            setting=setting_of(table, protocol),
            topic=topic,
            verdict=MEASURED,
            cases=cases,
            protocol=protocol,
        )
        for topic, cases in found
    ]


def _cases_of(
    topic: Topic, cases: Iterator[str] | tuple[()]
) -> list[tuple[Topic, tuple[str, ...]]]:
    found = tuple(cases)
    return [(topic, found)] if found else []


def _agreement(table: Table) -> Iterator[str]:
    """Yields how far the printed order comes out again under its own protocol."""
    asked = next((a for a in table.tested if a.question.topic.name == "ranking" and a.pairs), None)
    if asked is None:
        return
    places = [asked.pairs[0].row, *(pair.baseline for pair in asked.pairs)]
    rows = [table.entries[place] for place in places]
    scores = score_matrix([row.scored(PUBLISHED) for row in rows], table.layout.score(PUBLISHED))
    tau, low, high, n = rank_agreement([row.published["accuracy"] for row in rows], scores)
    interval = "no interval" if math.isnan(low) else f"95 %: {_tau(low)} to {_tau(high)}"
    text = f"the printed order of {n} rows, and that here: Kendall's τ {_tau(tau)} ({interval})"
    if not all(table.layout.is_papers(table.scope, row, PUBLISHED) for row in rows):
        text += ", on other images or sizes than the paper's"
    absent = [
        table.layout.method_label(row.values[0])
        for row in table.entries
        if row.values[1:] == rows[0].values[1:]
        and not math.isnan(row.published.get("accuracy", math.nan))
        and not row.scored(PUBLISHED)
    ]
    if absent:
        text += f"; not run with the printed options: {', '.join(absent)}"
    yield text


def _tau(tau: float) -> str:
    return f"{tau:.2f}".replace("-", "−")


def _chances(table: Table, protocol: str) -> Iterator[str]:
    """Yields the rows that may be best, the most probable first."""
    prefix = next(p for p, of in PROTOCOLS.items() if of == protocol)
    chances = table.rows[f"{prefix}_best"].tolist()
    named = [place for place, chance in enumerate(chances) if chance >= MIN_CHANCE]
    for place in sorted(named, key=lambda place: -chances[place]):
        yield f"{table.row_names[place]} {100 * chances[place]:.0f} %"


def _spread(table: Table, protocol: str) -> Iterator[str]:
    """Yields what of the spread networks make, and whether to buy seeds or networks."""
    asked = next((a for a in _of_table(table, protocol) if a.family.is_tested), None)
    if asked is None:
        return
    places = {place for pair in asked.pairs for place in (pair.row, pair.baseline)}
    trials = [t for i in sorted(places) for t in table.entries[i].scored(protocol)]
    score = table.layout.score(protocol)
    by_seed: dict[int, list[tuple[float, ...]]] = {}
    for trial in trials:
        by_seed.setdefault(trial.seed, []).append(trial.network_accuracies(score))
    spread = spread_within_seeds(by_seed.values())
    if math.isnan(spread.variance):
        return
    more = narrowing(asked.family.deviation, asked.family.df, spread)
    advice = ""
    seconds = [  # of evaluations at the end alone: those of curves do not grow with the networks
        (t.numbers["evaluation_seconds"], t.numbers["seconds"])
        for t in trials
        if not t.config.get("eval_every")
    ]
    known = [(part, whole) for part, whole in seconds if part > 0 and whole > 0]
    if known and asked.family.df >= MIN_DF:
        cost_share = sum(part for part, _ in known) / sum(whole for _, whole in known)
        bought = "networks" if networks_pay(more.share, cost_share) else "seeds"
        advice = (
            f"; as networks take {100 * cost_share:.0f} % of the seconds of a trial, more {bought} "
            "narrow them more for the same time"
        )
    yield (
        f"trials of one row and seed differ by a standard deviation of "
        f"{percent(asked.family.deviation)}, of whose square {100 * more.share:.0f} % (95 % "
        f"{100 * more.low:.0f} to {100 * more.high:.0f}) is between the networks of a trial; twice "
        f"as many networks would narrow the intervals by {100 * more.networks:.0f} %, twice as "
        f"many seeds by {100 * more.seeds:.0f} %{advice}"
    )


def _of_table(table: Table, protocol: str) -> list[AskedQuestion]:
    """Returns the questions whose differences are in the table."""
    return [a for a in table.tested if a.question.differences and a.protocol == protocol]


def _over_images(table: Table, protocol: str, sweeps: Sweeps) -> Iterator[str]:
    """Yields differences with an interval over test images and seeds, where these are stored."""
    is_last = table.layout.score(protocol) == "accuracy"
    when = "" if is_last else ", after the last epoch"
    for asked in _of_table(table, protocol):
        for pair in asked.pairs:
            rows = table.entries[pair.row], table.entries[pair.baseline]
            right = [shares_right(sweeps, row.scored(protocol)) for row in rows]
            seeds = sorted(right[0].keys() & right[1].keys())
            if len(seeds) < 2 or len({len(of[seed]) for of in right for seed in seeds}) != 1:
                continue
            first, second = (np.stack([of[seed] for seed in seeds]) for of in right)
            mean, low, high, n = bootstrap_difference(first, second)
            yield (
                f"{table.row_names[pair.row]} − {table.row_names[pair.baseline]}: "
                f"{percent(mean, signed=True)}, 95 % {percent(low, signed=True)} to "
                f"{percent(high, signed=True)} over {first.shape[1]:,} images and "
                f"{count_text(n, 'seed')}{when}"
            )
