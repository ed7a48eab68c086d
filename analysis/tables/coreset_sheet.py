"""Tables of coresets as they are printed: real images where distilled ones would be. Ink only."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.data.methods import label
from analysis.data.published import load_published
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
from analysis.tables.paper1_sheet import DATASET_LABELS, dataset_label
from analysis.tables.paper2 import Paper2Table
from analysis.tables.paper2_sheet import extras, hashed_name, selector_label
from analysis.tables.percent import percent
from analysis.tables.sheet import Column, Sheet

REFERENCE_DATASET = "cifar10"
"""What the literature's numbers are of, whatever a table is of."""


def coreset_sheet(table: Paper2Table) -> Sheet:
    """Returns a table of coresets as it is printed; columns without any data are left out."""
    rows = table.rows
    where = "" if _is_theirs(table) else f",\n{DATASET_LABELS[REFERENCE_DATASET]}"
    columns = [
        Column(heading=f"reported{where}", cells=cells(rows, _reported)),
        Column(heading="here\nlast epoch (n)", cells=cells(rows, mean_cell("sound"))),
        Column(heading="failed", cells=cells(rows, failed_cell)),
        Column(heading="difference\nfrom random", cells=cells(rows, difference_cell)),
        Column(heading="loss", cells=cells(rows, number_cell("sound_loss"))),
        Column(heading="images", cells=cells(rows, seconds_cell("sound_images"))),
        *cost_columns(rows, "seconds", "seconds"),
        *cost_columns(rows, "gpu_seconds", "GPU-seconds"),
    ]
    return Sheet(
        name=coreset_name(table),
        title=coreset_title(table) + ". Test accuracy in %",
        keys=(Column(heading="real images", cells=coreset_labels(table), is_number=False),),
        columns=tuple(column for column in columns if not column.is_empty),
        notes=tuple(_notes(table)),
    )


def coreset_title(table: Paper2Table) -> str:
    """Returns what a table is of, in words."""
    return title_of(table.setting, table.distinguishing, table.ipc)


def title_of(
    setting: Mapping[str, Any], distinguishing: Mapping[str, Any], ipc: int | None = None
) -> str:
    """Returns the title of a table, or of those to come."""
    parts = [f"Real images in place of distilled ones: {dataset_label(setting['dataset'])}"]
    if ipc is not None:
        parts.append(f"{ipc} image{'' if ipc == 1 else 's'} a class")
    return ", ".join([*parts, *extras(distinguishing)])


def coreset_name(table: Paper2Table) -> str:
    """Returns a name for files."""
    size = "" if table.ipc is None else f"ipc{table.ipc}"
    return hashed_name("coresets", table.setting, table.distinguishing, size)


def _is_theirs(table: Paper2Table) -> bool:
    return bool(table.setting["dataset"] == REFERENCE_DATASET)


def coreset_labels(table: Paper2Table) -> tuple[str, ...]:
    """Returns what is printed for each row; the images a class are in the title."""
    names = ("selector", "fraction", "options")
    columns = (table.rows[name] for name in names)
    return tuple(
        selector_label(selector, fraction, pd.NA, options)
        for selector, fraction, options in zip(*columns, strict=True)
    )


def _reported(row: pd.Series) -> str:
    return percent(row["published_accuracy"])


def _notes(table: Paper2Table) -> list[str]:
    rows = table.rows
    notes = [
        "Evaluated as distilled images are. ± is half of the 95 % t interval over n seeds; one "
        "seed has none.",
        "reported: in the literature, for ConvNet-3 on CIFAR-10: random, k-means-selected and all "
        "training images.",
        *_clusterer_note(table),
        *difference_note(rows, "random"),
        *_distilled_note(table),
    ]
    return [*notes, *gap_notes(rows, coreset_labels(table), table.failed)]


def _clusterer_note(table: Paper2Table) -> list[str]:
    """Returns whose centers the main row's images are nearest to."""
    rows = table.rows
    is_main = (rows["selector"] == "nearest_center") & (rows["options"] == "")
    trials = [trial for row in rows.index[is_main] for trial in table.trials[row]]
    names = sorted({label(str(trial.config["clusterer"])) for trial in trials})
    return [f"nearest center: of {name} clusters, unless it says otherwise." for name in names]


def _distilled_note(table: Paper2Table) -> list[str]:
    """Returns what is reported for as many distilled images."""
    if table.ipc is None or not _is_theirs(table):
        return []
    numbers = load_published("reference")
    own = numbers[numbers["method"].isna() & numbers["n_outer"].isna()]
    own = own[own["ipc"] == table.ipc]
    texts = [f"{row} {percent(v)}" for row, v in zip(own["row"], own["value"], strict=True)]
    return [f"Reported for as many distilled images: {'; '.join(texts)}."] if texts else []
