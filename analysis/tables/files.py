"""Tables as files: Markdown, LaTeX, plain text, and their numbers as CSV."""

from pathlib import Path

import pandas as pd

from analysis.tables.coreset_sheet import coreset_sheet
from analysis.tables.paper1 import Paper1Table
from analysis.tables.paper1_sheet import sheet
from analysis.tables.paper2 import Paper2Table
from analysis.tables.paper2_sheet import paper2_sheet
from analysis.tables.sheet import Sheet, latex, markdown, text_lines, wrapped

TEXT_WIDTH = 100


def write_paper1_table(table: Paper1Table, folder: Path) -> list[Path]:
    """Writes a table of paper 1 in every format, over what is there; returns the files.

    Args:
        table: what to write.
        folder: must exist.

    Raises:
        OSError: a file cannot be written.
    """
    return _write(sheet(table), csv(table), folder)


def write_paper2_table(table: Paper2Table, folder: Path) -> list[Path]:
    """Writes a table of paper 2, like `write_paper1_table`."""
    return _write(paper2_sheet(table), _csv_text(table.rows), folder)


def write_coreset_table(table: Paper2Table, folder: Path) -> list[Path]:
    """Writes a table of coresets, like `write_paper1_table`."""
    return _write(coreset_sheet(table), _csv_text(table.rows), folder)


def _write(printed: Sheet, numbers: str, folder: Path) -> list[Path]:
    text = (
        "\n".join([*wrapped([printed.title], TEXT_WIDTH), *text_lines(printed, TEXT_WIDTH)]) + "\n"
    )
    contents = {
        "txt": text,
        "md": markdown(printed),
        "tex": latex(printed),
        "csv": numbers,
    }
    files = []
    for ending, content in contents.items():
        file = folder / f"{printed.name}.{ending}"
        file.write_bytes(content.encode())
        files.append(file)
    return files


def csv(table: Paper1Table) -> str:
    """Returns a table's numbers: fractions, not percent; empty where there is no data."""
    rows = table.rows
    for position, (name, value) in enumerate(table.distinguishing.items(), start=3):
        rows = rows.copy(deep=False)
        rows.insert(position, name, pd.Series([value] * len(rows), index=rows.index, dtype=object))
    return _csv_text(rows)


def _csv_text(rows: pd.DataFrame) -> str:
    # Ten digits: what is beyond them depends on the order of a sum.
    return str(rows.to_csv(index=False, float_format="%.10g", lineterminator="\n"))
