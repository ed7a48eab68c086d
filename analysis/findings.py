"""Findings in words, computed: which published claims hold, reverse, or lie inside the noise.

`claims` makes the numbers of one table of study 1, `findings` the sentences of all. A verdict is
one of `VERDICTS`; it rests on differences that are paired by seed under the sound protocol, and on
Holm's correction over all claims of one kind in one table.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy import special

from analysis.methods import BASELINE, label
from analysis.percent import percent, plus_minus
from analysis.published import load_published
from analysis.statistics import holm, paired_difference, prediction_interval
from analysis.tables.study1 import SIGNIFICANCE, Study1Table
from analysis.tables.study1_sheet import is_studys_computation, setting_title
from analysis.tables.study2 import Study2Table
from analysis.tables.study2_sheet import arm_label, study2_sheet

HOLDS, REVERSES, HIGHER, LOWER, NOISE, UNKNOWN = (
    "holds",
    "reverses",
    "higher",
    "lower",
    "inside the noise",
    "cannot be said",
)
VERDICTS = (HOLDS, REVERSES, HIGHER, LOWER, NOISE, UNKNOWN)
"""`higher` and `lower` are real differences of which the study printed nothing."""

AS_PRINTED, NOT_AS_PRINTED = "as printed", "not as printed"

MAX_SEEDS = 10_000

TOPICS = {
    "weights": "Weights by cluster size (T − F, paired by seed)",
    "methods": f"Methods without weights, against {label(BASELINE[0])} F (paired by seed)",
    "level": "The published protocol, against the printed accuracies",
    "arms": "Ways of choosing training images, against random 10 % (paired by seed)",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What can be said of one kind of claim in one table.

    Attributes:
        setting: what the table is of, in words.
        topic: a key of `TOPICS`.
        verdict: of `VERDICTS`, or `as printed` or `not as printed` for the topic `level`.
        cases: what it is said of, one text each, with numbers.
    """

    setting: str
    topic: str
    verdict: str
    cases: tuple[str, ...]


def claims(table: Study1Table) -> pd.DataFrame:
    """Returns the numbers behind the findings of a table, one row a claim.

    Returns:
        A frame with `topic` (`weights`: T − F of a method; `methods`: its F row less the
        baseline), `method`, `label`, `published` (the printed difference), `difference` with its
        interval `low`, `high`, `n_pairs`, `p`, `p_holm`, `verdict`, and `seeds_needed` to see a
        difference as small as the published one: half of a 95 % interval as wide as it, at the
        spread found; NA where that is not known. All as fractions.
    """
    scores = _scores(table)
    printed = {
        (method, text, weights): float(value)
        for method, text, weights, value in _columns(
            table.rows, "method label weights published_accuracy"
        )
    }
    baseline = next(key for key, own in zip(printed, table.rows["baseline"], strict=True) if own)
    pairs = [
        *(("weights", key, (*key[:2], "F")) for key in printed if key[2] == "T"),
        *(("methods", key, baseline) for key in printed if key[2] == "F" and key != baseline),
    ]
    records = []
    for topic, ours, theirs in pairs:
        found = _difference(scores.get(ours, {}), scores.get(theirs, {}))
        published = printed[ours] - printed.get(theirs, math.nan)
        if math.isnan(published) and found["n_pairs"] == 0:
            continue
        named = {"topic": topic, "method": ours[0], "label": ours[1], "published": published}
        records.append(named | found)
    names = "topic method label published difference low high n_pairs p".split()
    frame = pd.DataFrame(records, columns=names)
    frame["p_holm"] = math.nan
    for own in frame.groupby("topic").groups.values():
        frame.loc[own, "p_holm"] = holm(frame.loc[own, "p"].to_numpy(dtype=float))
    return _with_verdicts(frame)


def _with_verdicts(frame: pd.DataFrame) -> pd.DataFrame:
    frame["verdict"] = [_verdict(*v) for v in _columns(frame, "published difference p_holm")]
    needed = [_seeds_needed(*v) for v in _columns(frame, "published difference high n_pairs")]
    frame["seeds_needed"] = pd.Series(needed, dtype="Int64")
    return frame


def _by_verdict(setting: str, topic: str, numbers: pd.DataFrame) -> list[Finding]:
    """Returns a finding for each verdict that a claim of the topic has."""
    records = numbers[numbers["topic"] == topic].to_dict("records")
    found = []
    for verdict in VERDICTS:
        cases = tuple(_case(row) for row in records if row["verdict"] == verdict)
        if cases:
            found.append(Finding(setting=setting, topic=topic, verdict=verdict, cases=cases))
    return found


def levels(table: Study1Table) -> pd.DataFrame:
    """Returns how printed accuracies compare with the published protocol run here.

    Returns:
        A frame with `label`, `weights`, `published`, `mean`, `low`, `high` (where one further run
        is to be expected, 95 %), `n` and `verdict`. Without rows where the table is of another
        computation than the study's.
    """
    names = "label weights published mean low high n verdict".split()
    if not is_studys_computation(table.setting):
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


def findings(tables: Iterable[Study1Table]) -> list[Finding]:
    """Returns what the tables say, claim by claim; what cannot be said is said, too."""
    found: list[Finding] = []
    for table in tables:
        setting = setting_title(table.setting, table.distinguishing)
        if not is_studys_computation(table.setting):
            setting += " (published: on CIFAR-10, features, in the study's sizes)"
        numbers = claims(table)
        for topic in ("weights", "methods"):
            found += _by_verdict(setting, topic, numbers)
        level = levels(table)
        if not (level["n"] > 0).any():
            continue
        for verdict in (AS_PRINTED, NOT_AS_PRINTED, UNKNOWN):
            own = level[level["verdict"] == verdict]
            cases = tuple(_level_case(row) for row in own.to_dict("records"))
            if cases:
                found.append(Finding(setting=setting, topic="level", verdict=verdict, cases=cases))
    return found


def study2_claims(table: Study2Table) -> pd.DataFrame:
    """Returns the numbers behind the findings of a table of study 2, like `claims`.

    One row for each way of choosing images that has results or was printed.
    """
    rows = table.rows
    baseline = rows.loc[rows["baseline"], "published_accuracy"].iloc[0]
    frame = pd.DataFrame(
        {
            "topic": "arms",
            "label": [arm_label(*values) for values in _columns(rows, "arm fraction ipc options")],
            "published": rows["published_accuracy"] - baseline,
            "difference": rows["difference"],
            "low": rows["difference_low"],
            "high": rows["difference_high"],
            "n_pairs": rows["n_pairs"].fillna(0).astype(int),
            "p": rows["p"],
            "p_holm": rows["p_holm"],
        }
    )[~rows["baseline"].to_numpy(dtype=bool)].reset_index(drop=True)
    return _with_verdicts(frame)


def study2_findings(tables: Iterable[Study2Table]) -> list[Finding]:
    """Returns what the tables of study 2 say."""
    found = []
    for table in tables:
        numbers = study2_claims(table)
        title = study2_sheet(table).title.removesuffix(". Test accuracy in %")
        setting = f"{title} (published: on 15,000 photos of cats and dogs)"
        found += _by_verdict(setting, "arms", numbers)
    return found


def in_short(found: Sequence[Finding]) -> list[str]:
    """Returns the findings of all tables in a few sentences."""
    lines = [_count_line(found, topic) for topic in TOPICS]
    of_study1 = not found or any(finding.topic != "arms" for finding in found)
    return [line for line in lines if line] + [published_noise()] * of_study1


def published_noise() -> str:
    """Returns how far the study's pairs of runs of one algorithm lie apart, in words.

    Its weights have no effect (see README), so its T and F rows are two runs of the same.
    """
    numbers = load_published("study1")
    accuracies = numbers[numbers["column"] == "accuracy"]
    wide = accuracies.pivot_table(index=["table", "method"], columns="weights", values="value")
    apart = (wide["T"] - wide["F"]).abs().dropna()
    return (
        f"In print, rows with and without weights are {percent(apart.min())} to "
        f"{percent(apart.max())} points apart. As the study's weights have no effect, that is "
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


def _scores(table: Study1Table) -> dict[tuple[str, str, str], dict[int, float]]:
    """Returns accuracies by row and seed: sound protocol, finished trials."""
    scores: dict[tuple[str, str, str], dict[int, float]] = {}
    for trial, text, _ in table.labelled:
        if trial.protocol == "sound" and trial.state == "ok":
            own = scores.setdefault((trial.method, text, trial.weights), {})
            own[trial.seed] = trial.accuracy
    return scores


def _columns(frame: pd.DataFrame, names: str) -> Iterable[tuple[Any, ...]]:
    return zip(*(frame[name] for name in names.split()), strict=True)


def _difference(ours: dict[int, float], theirs: dict[int, float]) -> dict[str, float]:
    seeds = sorted(ours.keys() & theirs.keys())
    found = paired_difference([ours[s] for s in seeds], [theirs[s] for s in seeds])
    return {
        "difference": found.mean,
        "low": found.low,
        "high": found.high,
        "n_pairs": found.n,
        "p": found.p,
    }


def _verdict(published: float, difference: float, p_holm: float) -> str:
    if math.isnan(p_holm):
        return UNKNOWN
    if p_holm > SIGNIFICANCE:
        return NOISE
    if math.isnan(published):
        return HIGHER if difference > 0 else LOWER
    return HOLDS if published * difference > 0 else REVERSES


def _seeds_needed(published: float, difference: float, high: float, n_pairs: int) -> int | None:
    """Returns the least n with t(n − 1) · s / √n at most the published difference."""
    half = high - difference
    if math.isnan(published) or math.isnan(half) or published == 0:
        return None
    deviation = half * math.sqrt(n_pairs) / _t(n_pairs)
    for n in range(2, MAX_SEEDS + 1):
        if _t(n) * deviation / math.sqrt(n) <= abs(published):
            return n
    return None


def _t(n: int) -> float:
    return float(special.stdtrit(n - 1, 0.975))


def _case(row: Mapping[Any, Any]) -> str:
    parts = []
    if row["n_pairs"]:
        mean = percent(row["difference"], signed=True)
        parts.append(" ".join([mean, *plus_minus(row["high"] - row["difference"])]))
    parts.append(_count(row["n_pairs"], "pair"))
    if not math.isnan(row["published"]):
        parts.append(_published_text(row))
    return f"{row['label']} ({', '.join(parts)})"


def _published_text(row: Mapping[Any, Any]) -> str:
    text = f"published {percent(row['published'], signed=True)}"
    if row["verdict"] == NOISE and not pd.isna(row["seeds_needed"]):
        needed = int(row["seeds_needed"])
        if needed > row["n_pairs"]:
            return f"{text}: to tell that from 0 takes about {needed:,} seeds"
    if row["low"] > row["published"] or row["high"] < row["published"]:
        text += ", outside this interval"
    return text


def _level_case(row: Mapping[Any, Any]) -> str:
    parts = [f"printed {percent(row['published'])}"]
    if row["n"] > 1:
        parts.append(f"a run here: {percent(row['low'])} to {percent(row['high'])}")
    elif row["n"]:
        parts.append(f"here {percent(row['mean'])}")
    parts.append(_count(row["n"], "seed"))
    return f"{row['label']} {row['weights']} ({', '.join(parts)})"


def _count(n: int, word: str) -> str:
    return f"{'no' if n == 0 else n} {word}{'' if n == 1 else 's'}"


_COUNTED = {
    "weights": ("Weights that act", "comparisons with and without"),
    "methods": ("Methods", f"comparisons with {label(BASELINE[0])} F"),
    "level": ("The published protocol", "printed accuracies"),
    "arms": ("Ways of choosing images", "comparisons with random 10 %"),
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
