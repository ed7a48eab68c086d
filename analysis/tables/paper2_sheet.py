"""Paper 2's table as it is printed. Ink only."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.tables.cells import (
    cells,
    cost_columns,
    difference_cell,
    failed_cell,
    mean_cell,
    number_cell,
    seconds_cell,
)
from analysis.tables.notes import difference_note, gap_notes
from analysis.tables.paper1_sheet import dataset_label
from analysis.tables.paper2 import Paper2Table
from analysis.tables.percent import percent
from analysis.tables.sheet import Column, Sheet

SELECTOR_LABELS = {
    "base": "base (all images)",
    "cluster_grid": "clustering",
    "k_center": "k-center",
    "nearest_center": "nearest center",
}


def selector_label(selector: str, fraction: float, ipc: object, options: str) -> str:
    """Returns what is printed for a row: `random 10 %`, `clustering 10 % (n_clusters 4)`."""
    parts = [SELECTOR_LABELS.get(selector, selector)]
    if not math.isnan(fraction):
        parts.append(f"{100 * fraction:g} %")
    elif not pd.isna(ipc):  # type: ignore[call-overload]
        parts.append(f"{ipc} a class")
    if options:
        parts.append(f"({options})")
    return " ".join(parts)


def row_labels(table: Paper2Table) -> tuple[str, ...]:
    """Returns what is printed for each row."""
    columns = (table.rows[name] for name in ("selector", "fraction", "ipc", "options"))
    return tuple(selector_label(*values) for values in zip(*columns, strict=True))


def setting_title(table: Paper2Table) -> str:
    """Returns what its trials share, as far as it tells the table from others."""
    return title_of(table.setting, table.distinguishing)


def title_of(setting: Mapping[str, Any], distinguishing: Mapping[str, Any]) -> str:
    """Returns the title of a table, or of one to come."""
    return ", ".join([f"Paper 2: {dataset_label(setting['dataset'])}", *extras(distinguishing)])


def extras(distinguishing: Mapping[str, Any]) -> list[str]:
    """Returns what tells a table from others of its data set, in words."""
    return [f"{name} {value}" for name, value in distinguishing.items() if value is not None]


def paper2_sheet(table: Paper2Table) -> Sheet:
    """Returns a table as it is printed; columns without any data are left out."""
    rows = table.rows
    columns = [
        Column(heading="published", cells=cells(rows, _published)),
        Column(heading="reproduced\nlast epoch (n)", cells=cells(rows, mean_cell("reproduced"))),
        Column(heading="sound\nlast epoch (n)", cells=cells(rows, mean_cell("sound"))),
        Column(heading="failed", cells=cells(rows, failed_cell)),
        Column(heading="difference\nfrom random 10 %", cells=cells(rows, difference_cell)),
    ]
    for prefix in ("published", "reproduced", "sound"):
        loss = cells(rows, number_cell(f"{prefix}_loss"))
        columns.append(Column(heading=f"loss\n{prefix}", cells=loss))
    for prefix in ("reproduced", "sound"):
        images = cells(rows, seconds_cell(f"{prefix}_images"))
        columns.append(Column(heading=f"images\n{prefix}", cells=images))
    columns += cost_columns(rows, "seconds", "seconds")
    columns += cost_columns(rows, "gpu_seconds", "GPU-seconds")
    return Sheet(
        name=table_name(table),
        title=setting_title(table) + ". Test accuracy in %",
        keys=(Column(heading="training images", cells=row_labels(table), is_number=False),),
        columns=tuple(column for column in columns if not column.is_empty),
        notes=tuple(_notes(table)),
    )


def _published(row: pd.Series) -> str:
    return percent(row["published_accuracy"])


def _notes(table: Paper2Table) -> list[str]:
    rows = table.rows
    notes = [
        "± is half of the 95 % t interval over n seeds; one seed has none. images: trained on, "
        "transformed ones included.",
        "published: on 15,000 photos of cats and dogs, one run each.",
    ]
    if rows["reproduced_seeds"].notna().any():
        notes.append(
            "reproduced: paper 2's protocol, its defects included: its clustering draws from the "
            "test images, too, and four times the number it says."
        )
    notes += difference_note(rows, "random 10 %")
    return [*notes, *gap_notes(rows, row_labels(table), table.failed)]


def table_name(table: Paper2Table) -> str:
    """Returns a name for files; a hash tells tables of different settings apart."""
    return hashed_name("paper2", table.setting, table.distinguishing)


def hashed_name(
    start: str, setting: Mapping[str, Any], distinguishing: Mapping[str, Any], end: str = ""
) -> str:
    """Returns a name from the kind of data set, with a hash where that is not all of it."""
    dataset = str(setting["dataset"])
    kind, colon, _ = dataset.partition(":")
    name = re.sub(r"[^a-z0-9]+", "-", f"{start}-{kind}-{end}".lower()).strip("-")
    tail = dict(distinguishing)
    if colon or setting["classes"]:
        tail |= {"dataset": dataset, "classes": setting["classes"]}
    if not tail:
        return name
    content = json.dumps(tail, sort_keys=True, default=str)
    return f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:6]}"
