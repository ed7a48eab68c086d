"""Tables as files: Markdown, LaTeX, plain text, and their numbers as CSV."""

from pathlib import Path

import pandas as pd

from analysis.tables.layout import Table
from analysis.tables.quality import JointTable
from analysis.tables.render import sheet
from analysis.tables.sheet import Sheet, latex, markdown, text_lines, wrapped

TEXT_WIDTH = 100


def write_table(table: Table, folder: Path) -> list[Path]:
    """Writes a table in every format, replacing older files; returns the files.

    Args:
        table: to write.
        folder: must exist.

    Raises:
        OSError: a file cannot be written.
    """
    return _write(sheet(table), csv(table), folder)


def write_joint_table(table: JointTable, folder: Path) -> list[Path]:
    """Writes a table over several tables as `write_table` does.

    Raises:
        OSError: a file cannot be written.
    """
    return _write(table.sheet, _csv(table.numbers), folder)


def _write(printed: Sheet, numbers: str, folder: Path) -> list[Path]:
    text = [*wrapped([printed.title], TEXT_WIDTH), *text_lines(printed, TEXT_WIDTH)]
    contents = {
        "txt": "\n".join(text) + "\n",
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


def csv(table: Table) -> str:
    """Returns a table's numbers: fractions, not percent; empty where there is no data.

    Where the rows say what the table is of, the fields that distinguish it follow.
    """
    rows, title_fields = table.rows, table.layout.title_fields
    if all(name in rows for name in title_fields):
        for position, (name, value) in enumerate(table.distinguishing.items(), len(title_fields)):
            rows = rows.copy(deep=False)
            column = pd.Series([value] * len(rows), index=rows.index, dtype=object)
            rows.insert(position, name, column)
    return _csv(rows)


def _csv(rows: pd.DataFrame) -> str:
    # Ten digits: those beyond depend on the order of a sum.
    return str(rows.to_csv(index=False, float_format="%.10g", lineterminator="\n"))
