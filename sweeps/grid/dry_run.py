"""The text of `--dry-run`: the trials of a plan, its progress and an estimate for the rest."""

import io
import textwrap
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from distill.config.base import Config
from sweeps.cli.fields import method_variants
from sweeps.cli.labels import method_label, number_ranges, rough_duration
from sweeps.cost import Estimate

WIDTH = 80
"""Columns of the text: job logs do not say how wide they are."""


def describe_plan(
    plan: Sequence[Config],
    *,
    finished: Mapping[str, str],
    failed: Collection[str],
    to_do: Collection[str],
    estimate: Estimate | None,
    resources: str,
    width: int = WIDTH,
) -> str:
    """Returns a table with a line for each method, and the sums below it, as plain text.

    Args:
        plan: all trials, at least one, all of one kind.
        finished: trial id → status of those that have a row.
        failed: ids of those that have a record of a failure.
        to_do: ids of those that would run now.
        estimate: of the trials to do; None: no time is printed.
        resources: one line: what the trials run on.
        width: of the text, in columns.
    """
    known = estimate if estimate is not None and estimate.trial_hours is not None else None
    table = _table(plan, finished, failed, to_do, known, width)
    lines = [_wrapped(_headline(plan), width, indent=2), table]
    facts = {"resources": resources}
    unlike = Counter(finished[c.trial_id] for c in plan if c.trial_id in finished)
    if set(unlike) - {"ok"}:
        facts["finished"] = ", ".join(f"{n} {status}" for status, n in unlike.most_common())
    if not to_do:
        facts["to do"] = "nothing"
    elif estimate is not None:
        facts |= _cost_facts(estimate)
    n_waiting = len({config.trial_id for config in plan} & set(failed) - set(to_do))
    if n_waiting:
        facts["failed"] = f"{_trials(n_waiting)} not tried again without --retry-failed"
    label_width = max(map(len, facts)) + 2
    lines += [
        _wrapped(f"{label:<{label_width}}{text}", width, indent=label_width)
        for label, text in facts.items()
    ]
    return "\n".join(lines) + "\n"


def _headline(plan: Sequence[Config]) -> str:
    parts = [_joined(_values(plan, "dataset")), f"protocol {_joined(_values(plan, 'protocol'))}"]
    ipcs = sorted(ipc for ipc in _values(plan, "ipc") if ipc is not None)
    parts += [f"ipc {_joined(map(str, ipcs))}"] if ipcs else []
    parts.append(f"seeds {_joined(number_ranges(_values(plan, 'seed')))}")
    return f"{_trials(len(plan))}: {', '.join(parts)}"


def _values(plan: Sequence[Config], name: str) -> list[Any]:
    """Returns the different values of a field, in the order of the plan."""
    if name not in type(plan[0]).declared_fields():
        return []
    return list(dict.fromkeys(config[name] for config in plan))


def _table(
    plan: Sequence[Config],
    finished: Mapping[str, str],
    failed: Collection[str],
    to_do: Collection[str],
    estimate: Estimate | None,
    width: int,
) -> str:
    """Returns the table; columns that would say the same in every line are left out."""
    trial_ids = [config.trial_id for config in plan]
    counted: dict[str, Collection[str]] = {
        "trials": set(trial_ids),  # a list would be gone through for every trial
        "done": finished,
        "failed": failed,
        "to do": to_do,
    }
    shown = {k: ids for k, ids in counted.items() if k == "trials" or _differs(ids, trial_ids)}
    named = ["protocol"] if len(_values(plan, "protocol")) > 1 else []
    named += method_variants(type(plan[0]))
    groups: dict[tuple[str, ...], list[str]] = {}
    for config, trial_id in zip(plan, trial_ids, strict=True):
        key = (method_label(config), *(config[name] for name in named))
        groups.setdefault(key, []).append(trial_id)

    def cells(row_ids: Sequence[str]) -> list[str]:
        counts = [f"{sum(i in column_ids for i in row_ids):,}" for column_ids in shown.values()]
        if estimate is None:
            return counts
        return [*counts, _time([i for i in row_ids if i in to_do], estimate)]

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_footer=True)
    table.add_column("method", "total", overflow="fold")
    for heading in named:
        table.add_column(heading)
    headings = [*shown, "time"] if estimate is not None else list(shown)
    for heading, total in zip(headings, cells(trial_ids), strict=True):
        table.add_column(heading, total, justify="right", no_wrap=True)
    for key, row_ids in groups.items():
        table.add_row(*key, *cells(row_ids))
    text = io.StringIO()
    Console(file=text, width=width, color_system=None, markup=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _differs(some: Collection[str], everything: Collection[str]) -> bool:
    """Whether some but not all of the trials are among them."""
    return 0 < sum(trial_id in some for trial_id in everything) < len(everything)


def _cost_facts(estimate: Estimate) -> dict[str, str]:
    if estimate.trial_hours is None or estimate.wall_hours is None:
        return {"time": "unknown: no trial like these has been measured; --calibrate does it"}
    more_than = "more than " if estimate.n_unknown else "about "
    facts = {"time": f"{more_than}{rough_duration(3600 * estimate.wall_hours)}"}
    if estimate.wall_hours < estimate.trial_hours:
        facts["time"] += f"; one after the other {rough_duration(3600 * estimate.trial_hours)}"
    if estimate.gpu_hours is not None:
        facts["GPU hours"] = f"{more_than}{estimate.gpu_hours:,.1f}"
    if estimate.cost is not None:
        facts["cost"] = f"{more_than}{estimate.cost:,.2f}"
    if estimate.n_unknown:
        facts["unknown"] = (
            f"{_trials(estimate.n_unknown)} not in these sums: none like them has been measured"
        )
    return facts


def _time(trial_ids: Iterable[str], estimate: Estimate) -> str:
    """Returns the seconds of some trials as text; `>` marks a sum that lacks unknown ones."""
    values = [estimate.seconds.get(trial_id) for trial_id in trial_ids]
    known = [value for value in values if value is not None]
    if not values:
        return ""
    if not known:
        return "?"
    return ("" if len(known) == len(values) else "> ") + rough_duration(sum(known))


def _trials(n_trials: int) -> str:
    return f"{n_trials:,} trial" + ("" if n_trials == 1 else "s")


def _wrapped(text: str, width: int, *, indent: int) -> str:
    """Returns a line broken at spaces where it is too long; paths stay whole."""
    return textwrap.fill(
        text,
        width,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _joined(words: Iterable[str]) -> str:
    *others, last = dict.fromkeys(words)
    return f"{', '.join(others)} and {last}" if others else last
