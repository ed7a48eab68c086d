"""All findings: which published claims hold, reverse, or lie inside the noise.

The layout of a table says which comparisons are claims, and what else is found in it.
"""

from collections.abc import Iterable, Sequence

from analysis.findings.claims import (
    AS_PRINTED,
    HIGHER,
    HOLDS,
    LOWER,
    NOISE,
    NOT_AS_PRINTED,
    REVERSES,
    UNKNOWN,
    Finding,
    claim_findings,
)
from analysis.tables.declarations import Topic
from analysis.tables.layout import Table, layout_of
from distill.components import resolve_reference
from distill.kinds import KINDS

_COUNTED = {
    HOLDS: "{} as published",
    REVERSES: "{} the other way round",
    HIGHER: "{} higher, of which nothing was published",
    LOWER: "{} lower, of which nothing was published",
    NOISE: "{} inside the noise",
    UNKNOWN: "{} cannot be said for lack of seeds",
    AS_PRINTED: "{} as printed, within what one further run may give",
    NOT_AS_PRINTED: "{} not as printed",
}
"""Verdict → what a summary says of the number of claims with it."""


def findings(tables: Iterable[Table]) -> list[Finding]:
    """Returns the findings of tables, claim by claim; also that nothing can be said."""
    found: list[Finding] = []
    for table in tables:
        elsewhere = table.layout.claimed_elsewhere(table.scope)
        setting = f"{table.title} (published: {elsewhere})" if elsewhere else table.title
        found += claim_findings(table, setting)
        further = resolve_reference(table.layout.further_findings)
        if further is not None:
            found += further(table, setting)
    return found


def in_short(found: Sequence[Finding]) -> list[str]:
    """Returns the findings of all tables in a few sentences."""
    layouts = [layout for kind in KINDS for layout in layout_of(kind).all_layouts]
    lines = [_count_line(found, topic) for layout in layouts for topic in layout.topics]
    lines += [
        finding.topic.sentence.format(
            table=finding.setting.partition(" (")[0], cases="; ".join(finding.cases)
        )
        for finding in found
        if finding.topic.sentence
    ]
    for layout in layouts:
        if layout.remark and any(finding.topic in layout.topics for finding in found):
            lines.append(resolve_reference(layout.remark)())
    return [line for line in lines if line]


def _count_line(found: Sequence[Finding], topic: Topic) -> str:
    """Returns how many claims of a topic have which verdict; empty where there are none."""
    counts = {
        verdict: sum(len(f.cases) for f in found if (f.topic, f.verdict) == (topic, verdict))
        for verdict in _COUNTED
    }
    total = sum(counts.values())
    if not total or not topic.subject:
        return ""
    texts = [_COUNTED[verdict].format(n) for verdict, n in counts.items() if n]
    return f"{topic.subject}: of {total} {topic.comparisons}, {', '.join(texts)}."


def markdown(found: Sequence[Finding]) -> str:
    """Returns findings as Markdown."""
    lines = ["# Findings", "", *(f"- {line}" for line in in_short(found))]
    for setting, topics in grouped(found):
        lines += ["", f"## {setting}"]
        for topic, of_topic in topics:
            lines += ["", f"**{topic.title}**", ""]
            lines += [f"- {finding.verdict}: {'; '.join(finding.cases)}" for finding in of_topic]
    return "\n".join(lines) + "\n"


def grouped(
    found: Sequence[Finding],
) -> list[tuple[str, list[tuple[Topic, list[Finding]]]]]:
    """Returns findings by setting and topic, in order."""
    groups: dict[str, dict[Topic, list[Finding]]] = {}
    for finding in found:
        groups.setdefault(finding.setting, {}).setdefault(finding.topic, []).append(finding)
    return [(setting, list(topics.items())) for setting, topics in groups.items()]
