"""Paper 1's tables as they are printed: percent, intervals, headings, notes. Ink only."""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
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
)
from analysis.tables.notes import difference_note, gap_notes
from analysis.tables.paper1 import PAPER_DATASET, PAPER_EMBEDDING, Paper1Table
from analysis.tables.percent import percent
from analysis.tables.sheet import Column, Sheet
from distill.config.distillation import DistillationConfig

DATASET_LABELS = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "svhn": "SVHN",
}

NO_SIZES = {
    *("dataset", "image_size", "val_fraction", "test_fraction", "split_seed", "on_corrupt"),
    *("embedding", "projection_dim", "ipc", "n_eval", "n_eval_curve", "eval_every"),
    *("eval_networks", "eval_split"),
}
"""Settings that may differ from the paper's without making it another computation."""


def dataset_label(dataset: str) -> str:
    """Returns what is printed for a data set: a known name, or the names of its files."""
    kind, colon, paths = dataset.partition(":")
    if colon:
        return f"{kind} {' + '.join(path.rstrip('/').split('/')[-1] for path in paths.split(','))}"
    return DATASET_LABELS.get(dataset, dataset)


def setting_title(setting: Mapping[str, Any], distinguishing: Mapping[str, Any]) -> str:
    """Returns what a table is of, in words."""
    n, plural = setting["ipc"], "" if setting["ipc"] == 1 else "s"
    parts = [
        dataset_label(setting["dataset"]),
        f"{n} image{plural} a class",
        f"clustering of {setting['embedding']}",
        *(f"{name} {_value(value)}" for name, value in distinguishing.items()),
    ]
    return ", ".join(parts)


def sheet(table: Paper1Table) -> Sheet:
    """Returns a table as it is printed; columns without any data are left out."""
    rows, setting = table.rows, table.setting
    columns = (
        Column(heading=f"published{_published_where(setting)}", cells=cells(rows, _published)),
        Column(heading="reproduced\nbest of 4 (n)", cells=cells(rows, mean_cell("reproduced"))),
        Column(heading="sound\nlast epoch (n)", cells=cells(rows, mean_cell("sound"))),
        Column(heading="failed", cells=cells(rows, failed_cell)),
        Column(heading="difference\nfrom baseline", cells=cells(rows, difference_cell)),
        *_loss_columns(rows, is_papers=_is_papers(setting)),
        *cost_columns(rows, "seconds", "seconds"),
        *cost_columns(rows, "gpu_seconds", "GPU-seconds"),
    )
    return Sheet(
        name=table_name(table),
        title=f"Paper 1{_table_number(setting)}: {setting_title(setting, table.distinguishing)}. "
        "Test accuracy in %",
        keys=(
            Column(heading="method", cells=tuple(rows["label"]), is_number=False),
            Column(heading="weights", cells=tuple(rows["weights"]), is_number=False),
        ),
        columns=tuple(column for column in columns if not column.is_empty),
        notes=tuple(_notes(table)),
    )


def _table_number(setting: Mapping[str, Any]) -> str:
    """Returns which of the paper's tables this is, if it is one."""
    published = load_published("paper1")
    names = published["table"][published["ipc"] == setting["ipc"]]
    return f", {names.iloc[0]}" if _is_papers(setting) and len(names) else ""


def _is_papers(setting: Mapping[str, Any]) -> bool:
    return bool(setting["dataset"] == PAPER_DATASET and setting["embedding"] == PAPER_EMBEDDING)


def is_papers_computation(setting: Mapping[str, Any]) -> bool:
    """Whether trials of a setting did what the paper did, so that its numbers can come out."""
    return _is_papers(setting) and not _other_settings(setting)


def _published_where(setting: Mapping[str, Any]) -> str:
    """Returns what the published numbers are of, where that is not what the table is of."""
    where = []
    if setting["dataset"] != PAPER_DATASET:
        where.append(DATASET_LABELS[PAPER_DATASET])
    if setting["embedding"] != PAPER_EMBEDDING:
        where.append(PAPER_EMBEDDING)
    return ",\n" + ", ".join(where) if where else ""


def _loss_columns(rows: pd.DataFrame, *, is_papers: bool) -> list[Column]:
    prefixes = (*(("published",) if is_papers else ()), "reproduced", "sound")
    return [
        Column(heading=f"loss\n{prefix}", cells=cells(rows, number_cell(f"{prefix}_loss")))
        for prefix in prefixes
    ]


def _published(row: pd.Series) -> str:
    return percent(row["published_accuracy"])


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _notes(table: Paper1Table) -> list[str]:
    rows = table.rows
    notes = [
        "T: weighted by cluster size, F: without weights. ± is half of the 95 % t interval over "
        "n seeds; one seed has none."
    ]
    if rows["reproduced_seeds"].notna().any():
        notes.append(
            "reproduced: paper 1's protocol, its defects included (its weights have no effect, its "
            "Agglomerative is single linkage), and like it the best of four tests on the test "
            "images."
        )
    notes += difference_note(rows, "K-Means F")
    names = [" ".join(pair) for pair in zip(rows["label"], rows["weights"], strict=True)]
    gaps = gap_notes(rows, names, table.failed)
    return [*notes, *_setting_notes(table), *_parameter_notes(rows), *gaps]


def _setting_notes(table: Paper1Table) -> list[str]:
    notes = []
    setting = table.setting
    others = _other_settings(setting)
    if others:
        notes.append(f"Not the paper's settings: {', '.join(others)}.")
    if table.rows["published_accuracy"].isna().all():
        notes.append(f"The paper printed nothing for {setting['ipc']} images a class.")
    if table.n_fingerprints > 1:
        notes.append(
            f"Careful: these trials ran on {table.n_fingerprints} different sets of images."
        )
    return notes


def _other_settings(setting: Mapping[str, Any]) -> list[str]:
    """Returns the settings that make these trials another computation than the paper's."""
    paper = dict(_papers_setting(int(setting["ipc"])))
    if setting["lr_img"] == _default_lr_img(setting):
        paper["lr_img"] = setting["lr_img"]
    return [
        f"{name} {_value(setting[name])} (paper {_value(paper[name])})"
        for name in setting
        if name not in NO_SIZES and setting[name] != paper[name]
    ]


@cache
def _papers_setting(ipc: int) -> Mapping[str, Any]:
    return DistillationConfig(dataset=PAPER_DATASET, ipc=ipc).resolved().to_dict()


def _default_lr_img(setting: Mapping[str, Any]) -> float | None:
    """Returns the learning rate that follows from data set, size and ipc."""
    size = setting["image_size"]
    size = None if size is None else int(size)
    return _resolved_lr_img(setting["dataset"], int(setting["ipc"]), size)


@cache
def _resolved_lr_img(dataset: str, ipc: int, image_size: int | None) -> float | None:
    return DistillationConfig(dataset=dataset, ipc=ipc, image_size=image_size).resolved().lr_img


def _parameter_notes(rows: pd.DataFrame) -> list[str]:
    """Returns the hyper-parameters of the methods, where the label does not show them."""
    texts = []
    for method in dict.fromkeys(rows["method"]):
        own = rows[rows["method"] == method]
        if own["label"].nunique() > 1:
            continue
        both = {p: next(filter(None, own[f"{p}_parameters"]), "") for p in ("reproduced", "sound")}
        text = both["sound"] or both["reproduced"]
        if both["reproduced"] not in ("", text):
            text += f" (published protocol: {both['reproduced']})"
        if text:
            texts.append(f"{label(method)} {text}")
    return [f"Parameters: {'; '.join(texts)}."] if texts else []


def table_name(table: Paper1Table) -> str:
    """Returns a name for files; a hash tells apart tables that differ in their sizes only."""
    setting = table.setting
    parts = ["paper1", setting["dataset"], f"ipc{setting['ipc']}", setting["embedding"]]
    name = re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")
    tail = dict(table.distinguishing)
    if ":" in setting["dataset"]:  # a path, of which the name keeps too little to be unique
        tail["dataset"] = setting["dataset"]
        name = re.sub(
            r"[^a-z0-9]+", "-", f"paper1-files-ipc{setting['ipc']}-{setting['embedding']}"
        )
    if tail:
        content = json.dumps(tail, sort_keys=True, default=str)
        name += "-" + hashlib.sha256(content.encode()).hexdigest()[:6]
    return name
