"""The parts of the page, one function each: values in, HTML out."""

import base64
import json
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from analysis.data.methods import label, method_of, weights_of
from analysis.data.reading import Sweeps
from analysis.figures import sheets
from analysis.figures.plot import Plot
from analysis.figures.sheets import Sheet as ImageSheet
from analysis.findings.claims import Finding
from analysis.findings.paper1 import TOPICS, grouped, in_short
from analysis.report.drawings import hover_values, inline_svg
from analysis.report.markup import Markup, joined, tag
from analysis.report.tables import sheet_table, table
from analysis.tables.paper1 import Paper1
from analysis.tables.paper1_sheet import sheet
from analysis.tables.paper2 import Paper2
from analysis.tables.printing import paper2_sheets, unstarted_lines, unstarted_selection_lines
from analysis.tables.sheet import Column

MAX_FAILURES = 500

PROVENANCE = (
    *("device", "host", "gpu_share", "n_threads", "precision", "python_version", "torch_version"),
    *("torchvision_version", "numpy_version", "numba_version", "scikit_learn_version"),
    *("ray_version", "git_commit", "dataset", "fingerprint", "n_corrupt"),
)
"""Columns of the results that say where they come from."""


def summary(sweeps: Sweeps, found: Sequence[Finding]) -> Markup:
    """Returns how much there is, and the findings in short."""
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
    parts = []
    for setting, topics in grouped(found):
        parts.append(tag("h3", setting))
        for topic, own in topics:
            parts.append(tag("h4", TOPICS[topic]))
            parts.append(tag("ul", (_finding(finding) for finding in own)))
    return joined(parts) if parts else tag("p", "No results yet to find anything in.")


def _finding(finding: Finding) -> Markup:
    verdict = tag("span", finding.verdict, class_="verdict", data_verdict=finding.verdict)
    if len(finding.cases) == 1:
        return tag("li", verdict, f": {finding.cases[0]}")
    return tag("li", verdict, tag("ul", (tag("li", case) for case in finding.cases)))


def tables_section(paper: Paper1, paper2: Paper2) -> Markup:
    """Returns all tables."""
    parts = []
    for printed in (*map(sheet, paper.tables), *paper2_sheets(paper2)):
        parts.append(tag("h3", printed.title))
        parts.append(sheet_table(printed))
    lines = unstarted_selection_lines(paper2)
    if paper.tables or paper.unstarted or paper2.is_empty:
        lines = unstarted_lines(paper) + lines
    return joined(parts, (tag("p", line) for line in lines))


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
    """Returns values for the page's script; nothing in them can end the element."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return tag("script", Markup(text), type="application/json", id=name)


def images_section(title: str, found: Sequence[ImageSheet]) -> Markup:
    """Returns the images of one table's rows, distilled or chosen."""
    if not found:
        return Markup("")
    one_column = all(max(own.images.numbers["shown"]) == 1 for own in found)
    names = ", ".join(found[0].images.class_names[: sheets.MAX_ROWS])
    cut = any((own.images.numbers["shown"] < own.images.numbers["images"]).any() for own in found)
    order = "Classes from left to right" if one_column else "One row a class"
    text = f"{order}: {names}." + (" Not all images are shown." if cut else "")
    return joined(
        tag("h3", f"{found[0].what}. {title}"),
        tag("p", text, class_="muted"),
        tag("div", (_image(own) for own in found), class_="gallery"),
    )


def _image(found: ImageSheet) -> Markup:
    content = sheets.png(sheets.draw(found.images, enlarged=False))
    picture = tag(
        "img",
        src=f"data:image/png;base64,{base64.b64encode(content).decode()}",
        alt=f"{found.what} of {found.title}, trial {found.trial_id}",
    )
    return tag("figure", tag("b", found.title), picture)


def failures_section(sweeps: Sweeps) -> Markup:
    """Returns every trial that has no score, with the reason."""
    rows = [*_failed_rows(sweeps.results), *_failure_rows(sweeps.failures)]
    if not rows:
        return tag("p", "None.")
    headings = ("trial", "status", "reason", "method", "weights", "data", "ipc", "seed", "phase")
    columns = [
        Column(heading=heading, cells=tuple(cells), is_number=heading in ("ipc", "seed"))
        for heading, cells in zip(headings, zip(*rows[:MAX_FAILURES], strict=True), strict=True)
    ]
    left = len(rows) - MAX_FAILURES
    more = tag("p", f"{left:,} more are in the results.") if left > 0 else ""
    return joined(table("table-failures", "Trials without a score", columns), more)


def _failed_rows(results: pd.DataFrame) -> list[tuple[str, ...]]:
    own = results[(results["status"] != "ok").to_numpy(dtype=bool, na_value=True)]
    return [
        _failure(str(row["trial_id"]), str(row["status"]), row["status_message"], row, row["phase"])
        for row in own.to_dict("records")
    ]


def _failure_rows(failures: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [
        _failure(
            trial_id,
            "failed",
            record.get("message"),
            record.get("config") or {},
            record.get("phase"),
        )
        for trial_id, record in sorted(failures.items())
    ]


def _failure(
    trial_id: str, status: str, reason: object, config: Mapping[Any, Any], phase: object
) -> tuple[str, ...]:
    clusterer, protocol = _text(config.get("clusterer")), _text(config.get("protocol"))
    weights = _text(config.get("weights"))
    return (
        trial_id,
        status,
        _text(reason),
        _text(config.get("selector")) or label(method_of(clusterer, protocol)),
        weights_of(weights, protocol) if weights else "",
        *(_text(config.get(name)) for name in ("dataset", "ipc", "seed")),
        _text(phase),
    )


def _text(value: object) -> str:
    return "" if value is None or value is pd.NA or value != value else str(value)


def provenance_section(sweeps: Sweeps) -> Markup:
    """Returns hardware, versions, commits and data of all trials, with how many had them."""
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
            ("what", "value", "trials"), list(zip(*rows, strict=True)) or [(), (), ()], strict=True
        )
    ]
    times = sorted(value for value in map(_text, results["finished_at"]) if value)
    when = f"Finished between {times[0]} and {times[-1]}." if times else ""
    where = ", ".join(store.shown for store in sweeps.stores)
    return joined(
        tag("p", f"Read from {where}. {when}"),
        table("table-provenance", "Versions, hardware and data", columns) if rows else "",
    )


def commands_section(sweeps: Sweeps) -> Markup:
    """Returns the commands that made the results, each once, and the one that made this page."""
    lines = list(dict.fromkeys(_command(record) for record in sweeps.submissions))
    where = " ".join(f"--also {shlex.quote(store.shown)}" for store in sweeps.stores[1:])
    own = f"uv run python -m analysis {shlex.quote(sweeps.stores[0].shown)} {where}".strip()
    return joined(
        tag("p", "Running a command again runs what is missing and nothing else."),
        tag("pre", tag("code", "\n".join([*(line for line in lines if line), own]))),
    )


def _command(record: Mapping[str, Any]) -> str:
    command = record.get("command")
    if not isinstance(command, list):
        return ""
    return shlex.join(["uv", "run", _script(record), *map(_without_secrets, command)])


def _script(record: Mapping[str, Any]) -> str:
    script = record.get("script")
    if isinstance(script, str):
        return script
    # Written before submissions named their script.
    is_search = "space" in record or "searched" in record
    return "sweeps/search.py" if is_search else "sweeps/full_grid.py"


def _without_secrets(argument: object) -> str:
    """Returns an argument without what may be a password: user and query of a URI."""
    text = str(argument)
    option, equals, uri = text.partition("=") if text.startswith("--") else ("", "", text)
    if "://" not in uri:
        return text
    parts = urlsplit(uri)
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")
    return f"{option}{equals}{plain.geturl()}"
