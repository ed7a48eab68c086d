"""Tables of the page, which a script can sort by column and filter."""

from collections.abc import Sequence

from analysis.report.markup import Markup, joined, tag
from analysis.tables.sheet import Column, Sheet

FILTER_FROM = 6
"""Rows from which a table has a filter."""


def sheet_table(sheet: Sheet) -> Markup:
    """Returns a sheet of numbers with its notes."""
    return joined(
        table(f"table-{sheet.name}", sheet.title, [*sheet.keys, *sheet.columns]),
        tag("ul", (tag("li", note) for note in sheet.notes), class_="notes"),
    )


def table(name: str, caption: str, columns: Sequence[Column]) -> Markup:
    """Returns columns as a table.

    Args:
        name: id of the element.
        caption: for screen readers.
        columns: of one length, at least one.
    """
    rows = list(zip(*(column.cells for column in columns), strict=True))
    head = tag(
        "tr",
        (
            tag(
                "th",
                tag("button", column.heading, type="button"),
                scope="col",
                class_="number" if column.is_number else None,
                aria_sort="none",
            )
            for column in columns
        ),
    )
    body = (
        tag(
            "tr",
            (
                tag("td", cell, class_=_class(column))
                for column, cell in zip(columns, row, strict=True)
            ),
        )
        for row in rows
    )
    grid = tag(
        "table",
        tag("thead", head),
        tag("tbody", body),
        id=name,
        class_="sortable",
        aria_label=caption,
    )
    scroll = tag("div", grid, class_="scroll", tabindex="0", role="region", aria_label=caption)
    return joined(_filter(name, len(rows)), scroll) if len(rows) >= FILTER_FROM else scroll


def _class(column: Column) -> str | None:
    if column.is_number:
        return "number"
    return "reason" if column.heading == "reason" else None


def _filter(name: str, n_rows: int) -> Markup:
    return tag(
        "div",
        tag("label", "Filter rows", for_=f"{name}-filter"),
        tag("input", type="search", id=f"{name}-filter", data_filters=name),
        tag("span", f"{n_rows} of {n_rows} rows", id=f"{name}-count", role="status"),
        class_="filter",
    )
