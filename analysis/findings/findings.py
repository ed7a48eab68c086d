"""All findings: what is different, equivalent or undecided, and which printed claims hold.

The layout of a table says which questions are asked, and what else is found in it.
"""

import re
from collections.abc import Iterable, Sequence

from analysis.data.configs import PUBLISHED
from analysis.data.reading import Sweeps
from analysis.findings.claims import (
    AS_PRINTED,
    HIGHER,
    HOLDS,
    LOWER,
    NOT_AS_PRINTED,
    NOT_TESTED,
    REVERSES,
    Finding,
    claim_findings,
)
from analysis.statistics.equivalence import EQUIVALENT, UNDECIDED
from analysis.tables.declarations import Topic
from analysis.tables.layout import Table, layout_of
from analysis.tables.rows import PROTOCOLS
from analysis.tables.topics import AGREEMENT
from distill.components import resolve_reference
from distill.kinds import KINDS
from distill.markdown import markdown_text

_COUNTED = {
    HOLDS: "{} as published",
    REVERSES: "{} the other way round",
    HIGHER: "{} higher",
    LOWER: "{} lower",
    EQUIVALENT: "{} equivalent",
    UNDECIDED: "{} undecided",
    NOT_TESTED: "{} not tested for lack of seeds",
    AS_PRINTED: "{} as printed, within what one further network may give",
    NOT_AS_PRINTED: "{} not as printed",
}
"""Verdict → what a summary says of the number of claims with it."""


READING = (
    "± is half of the simultaneous 95 % interval over all differences of one question, paired by "
    "seed; where rows have different seeds, differences are least-squares estimates over all of "
    "them. Equivalent: the simultaneous 90 % interval lies within ± the smallest effect of "
    "interest. An undecided difference needs so many seeds to be found in 80 % of cases if it is "
    "as large as the printed one, else as the smallest effect of interest; in brackets the range "
    "that the uncertainty of the spread implies."
)
"""How findings are read."""


def findings(tables: Iterable[Table], sweeps: Sweeps | None = None) -> list[Finding]:
    """Returns the findings of tables, question by question; also that nothing can be said.

    Args:
        tables: of all kinds.
        sweeps: that they were built from, for findings that read more than rows (curves, images
            classified right); None: without these.
    """
    tables = tuple(tables)
    found: list[Finding] = []
    for table in tables:
        further = resolve_reference(table.layout.further_findings)
        for protocol in PROTOCOLS.values():
            of_table = list(claim_findings(table, protocol))
            if further is not None:
                of_table += further(table, protocol, sweeps)
            # Whether the paper's own order comes out again is the first thing to know.
            found += sorted(of_table, key=lambda finding: finding.topic != AGREEMENT)
    for layout in {id(table.layout): table.layout for table in tables}.values():
        joint = resolve_reference(layout.joint_findings)
        if joint is not None:
            found += joint([table for table in tables if table.layout is layout])
    return found


def in_short(found: Sequence[Finding]) -> list[str]:
    """Returns the findings of all tables in a few sentences."""
    layouts = [layout for kind in KINDS for layout in layout_of(kind).all_layouts]
    lines = [
        _count_line(found, topic, protocol)
        for layout in layouts
        for topic in layout.topics
        for protocol in PROTOCOLS.values()
    ]
    lines += [
        finding.topic.sentence.format(table=finding.setting, cases="; ".join(finding.cases))
        for finding in found
        if finding.topic.sentence
    ]
    for layout in layouts:
        asked = [question.topic for question in layout.asked]
        if layout.remark and any(finding.topic in asked for finding in found):
            lines.append(resolve_reference(layout.remark)())
    return [line for line in dict.fromkeys(lines) if line]  # layouts share topics


def _count_line(found: Sequence[Finding], topic: Topic, protocol: str) -> str:
    """Returns how many cases of a topic have which verdict; empty where there are none."""
    of_topic = [f for f in found if (f.topic, f.protocol) == (topic, protocol)]
    counts = {
        verdict: sum(len(f.cases) for f in of_topic if f.verdict == verdict) for verdict in _COUNTED
    }
    total = sum(counts.values())
    if not total or not topic.subject:
        return ""
    texts = [_COUNTED[verdict].format(n) for verdict, n in counts.items() if n]
    is_said = protocol != PUBLISHED or "protocol" in topic.subject
    under = "" if is_said else ", published protocol"
    return f"{topic.subject}{under}: of {total} {topic.comparisons}, {', '.join(texts)}."


def markdown(found: Sequence[Finding]) -> str:
    """Returns findings as Markdown."""
    lines = ["# Findings", "", *(f"- {_text(line)}" for line in in_short(found))]
    if found:
        lines += ["", READING]
    for setting, topics in grouped(found):
        lines += ["", f"## {_text(setting)}"]
        for topic, of_topic in topics:
            lines += ["", f"**{topic.title}**", ""]
            lines += [
                f"- {finding.verdict}: {_text('; '.join(finding.cases))}" for finding in of_topic
            ]
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """Returns a text as Markdown; underscores within words mean nothing there."""
    return re.sub(r"(?<=\w)\\_(?=\w)", "_", markdown_text(text))


def grouped(
    found: Sequence[Finding],
) -> list[tuple[str, list[tuple[Topic, list[Finding]]]]]:
    """Returns findings by setting and topic, in order."""
    groups: dict[str, dict[Topic, list[Finding]]] = {}
    for finding in found:
        groups.setdefault(finding.setting, {}).setdefault(finding.topic, []).append(finding)
    return [(setting, list(topics.items())) for setting, topics in groups.items()]
