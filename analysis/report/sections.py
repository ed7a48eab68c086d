"""The parts of the page, one function each, from values to HTML."""

import base64
import json
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from analysis.data.reading import Sweeps
from analysis.data.trials import config_of_failure, plain
from analysis.figures import images
from analysis.figures.images import ImageSheet
from analysis.figures.plot import Plot
from analysis.findings.answers import answers
from analysis.findings.claims import Finding
from analysis.findings.findings import READING, grouped, in_short
from analysis.report.drawings import hover_values, inline_svg
from analysis.report.markup import Markup, joined, tag
from analysis.report.tables import sheet_table, table
from analysis.tables.build import Tables, joint_tables_of
from analysis.tables.layout import layout_of
from analysis.tables.printing import unstarted_lines
from analysis.tables.render import sheet
from analysis.tables.sheet import Column
from distill.kinds import KINDS

MAX_FAILURES = 500

PROVENANCE = (
    *("device", "processor", "host", "gpu_share", "n_threads", "precision", "python_version"),
    *("torch_version", "torchvision_version", "numpy_version"),
    *("numba_version", "scikit_learn_version"),
    *("ray_version", "git_commit", "dataset", "fingerprint", "n_corrupt"),
)
"""Columns of the results on their origin."""


def answer_section(tables: Tables, opening: Sequence[Plot]) -> Markup:
    """Returns the answer of every table in a sentence, and the picture that says the same."""
    sentences = answers(tables.tables)
    text = tag("ul", (tag("li", line) for line in sentences)) if sentences else ""
    return joined(text, figures_section(opening))


def summary(sweeps: Sweeps, found: Sequence[Finding]) -> Markup:
    """Returns numbers of trials and hours, and the findings in short."""
    results = sweeps.results
    counts = Counter(str(status) for status in results["status"])
    done = {*results["trial_id"], *sweeps.failures}
    seconds = pd.to_numeric(results["total_seconds"]).astype(float)
    gpu_seconds = seconds * pd.to_numeric(results["gpu_share"]).astype(float)
    tiles = [
        (f"{len(results):,}", "trials finished"),
        *((f"{n:,}", status.replace("_", " ")) for status, n in sorted(counts.items())),
        (f"{len(sweeps.failures):,}", "failed, without a result"),
        (f"{sum(trial_id not in done for trial_id in sweeps.plan):,}", "planned, not run yet"),
        (f"{seconds.sum() / 3600:,.1f}", "hours of trials"),
    ]
    if gpu_seconds.sum() > 0:
        tiles.append((f"{gpu_seconds.sum() / 3600:,.1f}", "GPU-hours"))
    return joined(
        tag("ul", (tag("li", tag("b", n), text) for n, text in tiles), class_="tiles"),
        tag("ul", (tag("li", line) for line in in_short(found))),
    )


def findings_section(found: Sequence[Finding]) -> Markup:
    """Returns all findings by table."""
    parts = [tag("p", READING, class_="muted")]
    for setting, topics in grouped(found):
        parts.append(tag("h3", setting))
        for topic, of_topic in topics:
            parts.append(tag("h4", topic.title))
            parts.append(tag("ul", (_finding(finding) for finding in of_topic)))
    return joined(parts) if found else tag("p", "No findings yet.")


def _finding(finding: Finding) -> Markup:
    verdict = tag("span", finding.verdict, class_="verdict", data_verdict=finding.verdict)
    if len(finding.cases) == 1:
        return tag("li", verdict, f": {finding.cases[0]}")
    return tag("li", verdict, tag("ul", (tag("li", case) for case in finding.cases)))


def tables_section(tables: Tables) -> Markup:
    """Returns all tables."""
    parts = []
    for printed in map(sheet, tables.tables):
        parts.append(tag("h3", printed.title))
        parts.append(sheet_table(printed))
    for joint in joint_tables_of(tables.tables):
        parts.append(tag("h3", joint.sheet.title))
        parts.append(sheet_table(joint.sheet))
    return joined(parts, (tag("p", line) for line in unstarted_lines(tables)))


def figures_section(plots: Iterable[Plot]) -> Markup:
    """Returns figures with the values that a pointer or the arrow keys show."""
    found = [_figure(plot) for plot in plots]
    return tag("div", found, class_="figures") if found else Markup("")


def _figure(plot: Plot) -> Markup:
    figure = plot.figure(titled=False)
    name = f"figure-{plot.name}"
    picture = inline_svg(figure, name)
    values = hover_values(figure)  # after it was saved, which may move its axes
    return tag(
        "figure",
        tag("h4", plot.title),
        tag("div", _drawing(plot.title, name, picture, values), class_="pan"),
        tag("figcaption", plot.caption),
        json_block(f"{name}-values", values) if values else "",
        id=name,
    )


def _drawing(title: str, name: str, picture: str, values: Sequence[Mapping[str, Any]]) -> Markup:
    if not values:  # bars with their numbers, thousands of points
        return tag("div", Markup(picture), class_="drawing", role="img", aria_label=title)
    return tag(
        "div",
        Markup(picture),
        tag("div", class_="cursor", hidden=True),
        tag("div", class_="tip", role="status", hidden=True),
        class_="drawing",
        tabindex="0",
        role="group",
        aria_label=f"{title}. Left and right arrow keys show the values.",
        data_values=f"{name}-values",
    )


def json_block(name: str, values: Any) -> Markup:
    """Returns values for the page's script, escaped so that they cannot end the element."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return tag("script", Markup(text), type="application/json", id=name)


def images_section(title: str, found: Sequence[ImageSheet]) -> Markup:
    """Returns the images of the rows of one table, distilled or selected."""
    if not found:
        return Markup("")
    numbers = [shown.images.numbers for shown in found]
    one_column = all(max(n["shown"]) == 1 for n in numbers)
    names = ", ".join(found[0].images.class_names[: images.MAX_ROWS])
    cut = any((n["shown"] < n["images"]).any() for n in numbers)
    order = "Classes from left to right" if one_column else "One row a class"
    text = f"{order}: {names}." + (" Not all images are shown." if cut else "")
    return joined(
        tag("h3", f"{found[0].kind}. {title}"),
        tag("p", text, class_="muted"),
        tag("div", map(_image, found), class_="gallery"),
    )


def _image(found: ImageSheet) -> Markup:
    content = images.png(images.draw(found.images, enlarged=False))
    picture = tag(
        "img",
        src=f"data:image/png;base64,{base64.b64encode(content).decode()}",
        alt=f"{found.kind} of {found.title}, trial {found.trial_id}",
    )
    return tag("figure", tag("b", found.title), picture)


def failures_section(sweeps: Sweeps) -> Markup:
    """Returns every trial that has no score, with the reason."""
    rows = [*_failed_rows(sweeps.results), *_failure_rows(sweeps.failures)]
    if not rows:
        return tag("p", "None.")
    headings = ("trial", "status", "reason", "row", "data", "ipc", "seed", "phase")
    columns = [
        Column(heading=heading, cells=tuple(cells), is_number=heading in ("ipc", "seed"))
        for heading, cells in zip(headings, zip(*rows[:MAX_FAILURES], strict=True), strict=True)
    ]
    left = len(rows) - MAX_FAILURES
    more = tag("p", f"{left:,} more are in the results.") if left > 0 else ""
    return joined(table("table-failures", "Trials without a score", columns), more)


def _failed_rows(results: pd.DataFrame) -> list[tuple[str, ...]]:
    failed = results[(results["status"] != "ok").to_numpy(dtype=bool, na_value=True)]
    row_fields = (field.name for kind in KINDS for field in layout_of(kind).row_fields)
    names = dict.fromkeys(["kind", "protocol", "dataset", "ipc", "seed", *row_fields])
    columns = {name: plain(failed[name]) for name in names if name in failed}
    records = pd.DataFrame(columns, dtype=object).to_dict("records")
    about = zip(
        *(failed[n] for n in ("trial_id", "status", "status_message", "phase")), strict=True
    )
    return [
        _failure(str(trial_id), str(status), reason, config, phase)
        for (trial_id, status, reason, phase), config in zip(about, records, strict=True)
    ]


def _failure_rows(failures: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [
        _failure(
            trial_id,
            "failed",
            record.get("message"),
            config_of_failure(record),
            record.get("phase"),
        )
        for trial_id, record in sorted(failures.items())
    ]


def _failure(
    trial_id: str, status: str, reason: object, config: Mapping[Any, Any], phase: object
) -> tuple[str, ...]:
    return (
        trial_id,
        status,
        _text(reason),
        _row_text(config),
        *(_text(config.get(name)) for name in ("dataset", "ipc", "seed")),
        _text(phase),
    )


def _row_text(config: Mapping[Any, Any]) -> str:
    """Returns the row of a table that a trial would be in; empty for an unknown kind."""
    kind = str(config.get("kind"))
    if kind not in KINDS:
        return ""
    layout = layout_of(kind)
    unknown = dict.fromkeys(["protocol", *(field.name for field in layout.row_fields)])
    method, *others = layout.values({**unknown, **config})
    return " ".join([layout.method_label(str(method)), *map(str, filter(None, others))])


def _text(value: object) -> str:
    return "" if value is None or value is pd.NA or value != value else str(value)


def provenance_section(sweeps: Sweeps) -> Markup:
    """Returns hardware, versions, commits and data of the trials, with the number of trials."""
    results = sweeps.results
    rows = []
    for name in PROVENANCE:
        counts = Counter(_text(value) for value in results[name])
        rows += [
            (name.replace("_", " "), value, f"{n:,}")
            for value, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
            if value
        ]
    columns = [
        Column(heading=heading, cells=tuple(cells), is_number=heading == "trials")
        for heading, cells in zip(
            ("column", "value", "trials"),
            list(zip(*rows, strict=True)) or [(), (), ()],
            strict=True,
        )
    ]
    times = sorted(value for value in map(_text, results["finished_at"]) if value)
    notices = sweeps.notices
    when = f"Finished between {times[0]} and {times[-1]}." if times else ""
    where = ", ".join(store.shown for store in sweeps.stores)
    return joined(
        tag("p", f"Read from {where}. {when}"),
        table("table-provenance", "Versions, hardware and data", columns) if rows else "",
        tag("ul", (tag("li", f"Notice: {text}") for text in notices)) if notices else "",
    )


def commands_section(sweeps: Sweeps) -> Markup:
    """Returns the commands that made the results, each once, and the one that made this page."""
    lines = list(dict.fromkeys(_command(record) for record in sweeps.submissions))
    where = " ".join(f"--also {shlex.quote(store.shown)}" for store in sweeps.stores[1:])
    last = f"uv run python -m analysis {shlex.quote(sweeps.stores[0].shown)} {where}".strip()
    return joined(
        tag("p", "Running a command again runs the missing trials and no others."),
        tag("pre", tag("code", "\n".join([*(line for line in lines if line), last]))),
    )


def _command(record: Mapping[str, Any]) -> str:
    command = record.get("command")
    if not isinstance(command, list):
        return ""
    script = str(record.get("script", ""))
    return shlex.join(["uv", "run", script, *map(_without_credentials, command)])


def _without_credentials(argument: object) -> str:
    """Returns an argument of a command without the user and the query of a URI."""
    text = str(argument)
    option, equals, uri = text.partition("=") if text.startswith("--") else ("", "", text)
    if "://" not in uri:
        return text
    parts = urlsplit(uri)
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")
    return f"{option}{equals}{plain.geturl()}"
