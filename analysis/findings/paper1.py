"""Findings in words, computed: which published claims hold, reverse, or lie inside the noise.

`claims` makes the numbers of one table of paper 1, `findings` the sentences of all; those of paper
2 are in `analysis.findings.paper2`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.data.methods import BASELINE, label
from analysis.data.published import load_published
from analysis.findings.claims import (
    CLAIM_COLUMNS,
    HIGHER,
    HOLDS,
    LOWER,
    NOISE,
    REVERSES,
    UNKNOWN,
    VERDICTS,
    Finding,
    by_verdict,
    count,
    difference_of,
    with_verdicts,
)
from analysis.statistics import prediction_interval
from analysis.tables.paper1 import Paper1Table
from analysis.tables.paper1_sheet import is_papers_computation, setting_title
from analysis.tables.percent import percent

AS_PRINTED, NOT_AS_PRINTED = "as printed", "not as printed"

TOPICS = {
    "weights": "Weights by cluster size (T − F, paired by seed)",
    "methods": f"Methods without weights, against {label(BASELINE[0])} F (paired by seed)",
    "level": "The published protocol, against the printed accuracies",
    "selectors": "Ways of choosing training images, against random 10 % (paired by seed)",
    "order": "Random subsets, each less the next smaller (paired by seed)",
    "coresets": "Real images in place of distilled ones, against random ones (paired by seed)",
    "why": "What the accuracy of clustering 10 % is made of under the published protocol",
}
PAPER1_TOPICS = ("weights", "methods", "level")


def claims(table: Paper1Table) -> pd.DataFrame:
    """Returns the numbers behind the findings of a table, one row a claim.

    Returns:
        A frame with `topic` (`weights`: T − F of a method; `methods`: its F row less the
        baseline), `method`, `label`, `published` (the printed difference), `difference` with its
        interval `low`, `high`, `n_pairs`, `p`, `p_holm`, `verdict`, and `seeds_needed` to see a
        difference as small as the published one: half of a 95 % interval as wide as it, at the
        spread found; NA where that is not known. All as fractions.
    """
    return pd.DataFrame(_claims(table), columns=CLAIM_COLUMNS).astype({"seeds_needed": "Int64"})


def _claims(table: Paper1Table) -> list[dict[str, Any]]:
    """Returns the claims of a table as plain values: hundreds of tables are slow with frames."""
    scores = _scores(table)
    printed = {
        (method, text, weights): float(value)
        for method, text, weights, value in _columns(
            table.rows, "method label weights published_accuracy"
        )
    }
    baseline = next(key for key, own in zip(printed, table.rows["baseline"], strict=True) if own)
    pairs = {
        "weights": [(key, (*key[:2], "F")) for key in printed if key[2] == "T"],
        "methods": [(key, baseline) for key in printed if key[2] == "F" and key != baseline],
    }
    records = []
    for topic, of_topic in pairs.items():
        own = []
        for ours, theirs in of_topic:
            found = difference_of(scores.get(ours, {}), scores.get(theirs, {}))
            published = printed[ours] - printed.get(theirs, math.nan)
            if math.isnan(published) and found["n_pairs"] == 0:
                continue
            named = {"topic": topic, "method": ours[0], "label": ours[1], "published": published}
            own.append(named | found)
        records += with_verdicts(own)
    return records


def levels(table: Paper1Table) -> pd.DataFrame:
    """Returns how printed accuracies compare with the published protocol run here.

    Returns:
        A frame with `label`, `weights`, `published`, `mean`, `low`, `high` (where one further run
        is to be expected, 95 %), `n` and `verdict`. Without rows where the table is of another
        computation than the paper's.
    """
    names = "label weights published mean low high n verdict".split()
    if not is_papers_computation(table.setting):
        return pd.DataFrame(columns=names)
    members = table.members
    ok = members[(members["protocol"] == "published") & (members["state"] == "ok")]
    by_row = dict(list(ok.groupby(["label", "weights"], sort=False)))
    records = []
    for _, row in table.rows[table.rows["published_accuracy"].notna()].iterrows():
        own = by_row.get((row["label"], row["weights"]))
        scores = [] if own is None else own["accuracy_best"].dropna().tolist()
        found = prediction_interval(scores)
        verdict = UNKNOWN
        if found.n > 1:
            inside = found.low <= row["published_accuracy"] <= found.high
            verdict = AS_PRINTED if inside else NOT_AS_PRINTED
        records.append((row["label"], row["weights"], row["published_accuracy"], *found, verdict))
    return pd.DataFrame(records, columns=names)


def findings(tables: Iterable[Paper1Table]) -> list[Finding]:
    """Returns what the tables say, claim by claim; what cannot be said is said, too."""
    found: list[Finding] = []
    for table in tables:
        setting = setting_title(table.setting, table.distinguishing)
        is_papers = is_papers_computation(table.setting)
        if not is_papers:
            setting += " (published: on CIFAR-10, features, in the paper's sizes)"
        records = _claims(table)
        for topic in ("weights", "methods"):
            found += by_verdict(setting, topic, records)
        if is_papers:
            found += _level_findings(setting, levels(table))
    return found


def _level_findings(setting: str, level: pd.DataFrame) -> list[Finding]:
    if not (level["n"] > 0).any():
        return []
    found = []
    for verdict in (AS_PRINTED, NOT_AS_PRINTED, UNKNOWN):
        own = level[level["verdict"] == verdict]
        cases = tuple(_level_case(row) for row in own.to_dict("records"))
        if cases:
            found.append(Finding(setting=setting, topic="level", verdict=verdict, cases=cases))
    return found


def in_short(found: Sequence[Finding]) -> list[str]:
    """Returns the findings of all tables in a few sentences."""
    lines = [_count_line(found, topic) for topic in _COUNTED]
    lines += [
        f"{finding.setting.partition(' (')[0]}, clustering 10 % under the published protocol: "
        f"{'; '.join(finding.cases)}."
        for finding in found
        if finding.topic == "why"
    ]
    of_paper1 = any(finding.topic in PAPER1_TOPICS for finding in found)
    return [line for line in lines if line] + [published_noise()] * of_paper1


def published_noise() -> str:
    """Returns how far the paper's pairs of runs of one algorithm lie apart, in words.

    Its weights have no effect (see README), so its T and F rows are two runs of the same.
    """
    numbers = load_published("paper1")
    accuracies = numbers[numbers["column"] == "accuracy"]
    wide = accuracies.pivot_table(index=["table", "method"], columns="weights", values="value")
    apart = (wide["T"] - wide["F"]).abs().dropna()
    return (
        f"In print, rows with and without weights are {percent(apart.min())} to "
        f"{percent(apart.max())} points apart. As the paper's weights have no effect, that is "
        "the noise between two of its runs: a printed difference of that size means nothing."
    )


def markdown(found: Sequence[Finding]) -> str:
    """Returns findings as Markdown."""
    lines = ["# Findings", "", *(f"- {line}" for line in in_short(found))]
    for setting, topics in grouped(found):
        lines += ["", f"## {setting}"]
        for topic, own in topics:
            lines += ["", f"**{TOPICS[topic]}**", ""]
            lines += [f"- {finding.verdict}: {'; '.join(finding.cases)}" for finding in own]
    return "\n".join(lines) + "\n"


def grouped(
    found: Sequence[Finding],
) -> list[tuple[str, list[tuple[str, list[Finding]]]]]:
    """Returns findings by setting and topic, in order."""
    groups: dict[str, dict[str, list[Finding]]] = {}
    for finding in found:
        groups.setdefault(finding.setting, {}).setdefault(finding.topic, []).append(finding)
    return [(setting, list(topics.items())) for setting, topics in groups.items()]


def _scores(table: Paper1Table) -> dict[tuple[str, str, str], dict[int, float]]:
    """Returns accuracies by row and seed: sound protocol, finished trials."""
    scores: dict[tuple[str, str, str], dict[int, float]] = {}
    for trial, text, _ in table.labelled:
        if trial.protocol == "sound" and trial.state == "ok":
            own = scores.setdefault((trial.method, text, trial.weights), {})
            own[trial.seed] = trial.accuracy
    return scores


def _columns(frame: pd.DataFrame, names: str) -> Iterable[tuple[Any, ...]]:
    return zip(*(frame[name] for name in names.split()), strict=True)


def _level_case(row: Mapping[Any, Any]) -> str:
    parts = [f"printed {percent(row['published'])}"]
    if row["n"] > 1:
        parts.append(f"a run here: {percent(row['low'])} to {percent(row['high'])}")
    elif row["n"]:
        parts.append(f"here {percent(row['mean'])}")
    parts.append(count(row["n"], "seed"))
    return f"{row['label']} {row['weights']} ({', '.join(parts)})"


_COUNTED = {
    "weights": ("Weights that act", "comparisons with and without"),
    "methods": ("Methods", f"comparisons with {label(BASELINE[0])} F"),
    "level": ("The published protocol", "printed accuracies"),
    "selectors": ("Ways of choosing images", "comparisons with random 10 %"),
    "order": ("Random subsets", "comparisons with the next smaller"),
    "coresets": ("Real images in place of distilled ones", "comparisons with random ones"),
}


def _count_line(found: Sequence[Finding], topic: str) -> str:
    counts = {
        verdict: sum(len(f.cases) for f in found if (f.topic, f.verdict) == (topic, verdict))
        for verdict in (*VERDICTS, AS_PRINTED, NOT_AS_PRINTED)
    }
    total = sum(counts.values())
    if not total:
        return ""
    subject, what = _COUNTED[topic]
    words = {
        HOLDS: "{} as published",
        REVERSES: "{} the other way round",
        HIGHER: "{} higher, of which nothing was published",
        LOWER: "{} lower, of which nothing was published",
        NOISE: "{} inside the noise",
        UNKNOWN: "{} cannot be said for lack of seeds",
        AS_PRINTED: "{} as printed, within what one further run may give",
        NOT_AS_PRINTED: "{} not as printed",
    }
    texts = [words[verdict].format(n) for verdict, n in counts.items() if n]
    return f"{subject}: of {total} {what}, {', '.join(texts)}."
