"""The page of the report: head, navigation and parts, with style and script inside.

A content security policy forbids everything that is not in the page: it makes no request, and runs
no script but the one it was built with, whatever names the data hold.
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from analysis.data.reading import Sweeps
from analysis.figures.differences import OPENING
from analysis.figures.images import ImageSheet
from analysis.figures.plot import Plot
from analysis.findings.claims import Finding
from analysis.report import sections
from analysis.report.markup import Markup, joined, tag
from analysis.tables.build import Tables

TITLE = "Clusterings in dataset distillation: results of the sweeps"

_HERE = Path(__file__).parent


def page(
    sweeps: Sweeps,
    tables: Tables,
    found: Sequence[Finding],
    plots: Sequence[Plot],
    images: Sequence[tuple[str, Sequence[ImageSheet]]],
) -> str:
    """Returns the report as one HTML page.

    Args:
        sweeps: that were read.
        tables: of all kinds of trials.
        found: findings.
        plots: figures.
        images: sheets of images, distilled or selected, with the title of their table.
    """
    opening = [plot for plot in plots if plot.name == OPENING]
    parts = {
        "Answer": sections.answer_section(tables, opening),
        "Summary": sections.summary(sweeps, found),
        "Tables": sections.tables_section(tables),
        "Findings": sections.findings_section(found),
        "Figures": sections.figures_section(plot for plot in plots if plot.name != OPENING),
        "Images": joined(sections.images_section(*item) for item in images),
        "Failures": sections.failures_section(sweeps),
        "Provenance": sections.provenance_section(sweeps),
        "Reproduce": sections.commands_section(sweeps),
    }
    parts = {
        name: content or tag("p", "None yet.", class_="muted") for name, content in parts.items()
    }
    ids = {name: name.lower().replace(" ", "-") for name in parts}
    bar = tag(
        "div",
        tag(
            "nav",
            (tag("a", name, href=f"#{ids[name]}") for name in parts),
            aria_label="Sections",
        ),
        tag("button", "Light / dark", type="button", id="theme"),
        class_="bar",
    )
    main = tag(
        "main",
        tag("h1", TITLE),
        (
            tag("section", tag("h2", name), content, id=ids[name], aria_label=name)
            for name, content in parts.items()
        ),
        id="main",
    )
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    body = tag(
        "body",
        tag("a", "To the content", href="#main", class_="skip"),
        bar,
        main,
        tag("script", Markup(script)),
    )
    return f"<!doctype html>\n{tag('html', _head(script), body, lang='en')}\n"


def _head(script: str) -> Markup:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", TITLE),
        tag("link", rel="icon", href="data:,"),
        tag("style", Markup((_HERE / "page.css").read_text(encoding="utf-8"))),
    )
