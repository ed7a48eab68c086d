"""A printed table: text cells with headings and notes, written for terminals, Markdown and LaTeX.

Nothing is computed here. What is written depends on the sheet alone, byte for byte.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from distill.markdown import markdown_text

GAP = "  "
"""Between two columns of text."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a sheet.

    Attributes:
        heading: lines are separated by newlines.
        cells: one text a row; empty where there is no data.
        is_number: aligned to the right; else to the left.
    """

    heading: str
    cells: tuple[str, ...]
    is_number: bool = True

    @property
    def heading_lines(self) -> list[str]:
        """The lines of the heading."""
        return self.heading.split("\n")

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        return not any(self.cells)


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A printed table.

    Attributes:
        name: for files and references: lower-case letters, digits and hyphens.
        title: one line.
        keys: columns that say what a row is; repeated where a table is too wide for one block.
        columns: the others.
        notes: lines below the table.
    """

    name: str
    title: str
    keys: tuple[Column, ...]
    columns: tuple[Column, ...]
    notes: tuple[str, ...]


def text_lines(sheet: Sheet, width: int) -> list[str]:
    """Returns a sheet, without its title, as lines of plain text.

    Columns that do not fit beside the others go into further blocks below, with the keys
    repeated. Notes are wrapped.

    Args:
        sheet: what to write.
        width: characters a line; exceeded only where keys and a single column are wider.
    """
    lines: list[str] = []
    for block in _blocks(sheet, width):
        lines += ["", *_block_lines(block)]
    if sheet.notes:
        lines += ["", *wrapped(sheet.notes, width)]
    return [line.rstrip() for line in lines[1:]]


def wrapped(texts: Sequence[str], width: int) -> list[str]:
    """Returns texts as wrapped lines of at most `width` characters, long words excepted."""
    return [
        line
        for text in texts
        for line in textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False)
    ]


def _blocks(sheet: Sheet, width: int) -> list[list[Column]]:
    keys = list(sheet.keys)
    used = sum(_width(key) + len(GAP) for key in keys) - len(GAP)
    blocks, left = [list(keys)], width - used
    for column in sheet.columns:
        needed = len(GAP) + _width(column)
        if needed > left and len(blocks[-1]) > len(keys):
            blocks.append(list(keys))
            left = width - used
        blocks[-1].append(column)
        left -= needed
    return blocks


def _width(column: Column) -> int:
    return max(len(text) for text in (*column.heading_lines, *_aligned(column)))


def _block_lines(columns: Sequence[Column]) -> list[str]:
    n_heading = max(len(column.heading_lines) for column in columns)
    parts = []
    for column in columns:
        width = _width(column)
        heading = [""] * (n_heading - len(column.heading_lines)) + column.heading_lines
        texts = [*heading, "─" * width, *_aligned(column)]
        justify = str.rjust if column.is_number else str.ljust
        parts.append([justify(text, width) for text in texts])
    return [GAP.join(cells) for cells in zip(*parts, strict=True)]


def _aligned(column: Column) -> list[str]:
    """Returns cells of one width in which the first numbers end below one another."""
    if not column.is_number:
        return list(column.cells)
    heads, tails = [], []
    for cell in column.cells:
        head, _, tail = cell.partition(" ")
        heads.append(head)
        tails.append(f" {tail}" if tail else "")
    head_width, tail_width = (max(map(len, texts), default=0) for texts in (heads, tails))
    return [
        head.rjust(head_width) + tail.ljust(tail_width)
        for head, tail in zip(heads, tails, strict=True)
    ]


def markdown(sheet: Sheet) -> str:
    """Returns a sheet as Markdown, title and notes included; ends in a newline."""
    columns = [*sheet.keys, *sheet.columns]
    headings = [markdown_text(column.heading.replace("\n", " ")) for column in columns]
    rules = ["---:" if column.is_number else ":---" for column in columns]
    rows = zip(*([markdown_text(cell) for cell in column.cells] for column in columns), strict=True)
    lines = [f"**{markdown_text(sheet.title)}**", ""]
    lines += [_markdown_row(cells) for cells in (headings, rules, *rows)]
    if sheet.notes:
        lines += ["", *(f"- {markdown_text(note)}" for note in sheet.notes)]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


_LATEX = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "\n": " ",
}


def latex(sheet: Sheet) -> str:
    """Returns a sheet as a LaTeX `table`; needs the package booktabs. Ends in a newline."""
    columns = [*sheet.keys, *sheet.columns]
    n_heading = max(len(column.heading_lines) for column in columns)
    headings = [
        [""] * (n_heading - len(column.heading_lines)) + column.heading_lines for column in columns
    ]
    lines = [
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{_latex_text(sheet.title)}}}",
        rf"\label{{tab:{sheet.name}}}",
        rf"\begin{{tabular}}{{{''.join('r' if c.is_number else 'l' for c in columns)}}}",
        r"\toprule",
        *map(_latex_row, zip(*headings, strict=True)),
        r"\midrule",
        *map(_latex_row, zip(*(column.cells for column in columns), strict=True)),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\footnotesize {_latex_text(note)}" for note in sheet.notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(_latex_text, cells)) + r" \\"


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
