"""Committed results: collect them from a sweep, restore them to resume it, regenerate the pages.

uv run python docs/results/results.py collect NAME RESULTS   rows and pictures of a sweep
uv run python docs/results/results.py restore NAME RESULTS   rows as a store, to resume from
uv run python docs/results/results.py regenerate [FOLDER]    tables, figures, findings and README
"""

import argparse
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.__main__ import main as analyse
from analysis.data.reading import Sweeps, load
from analysis.figures.differences import OPENING
from analysis.figures.gather import image_sheets
from analysis.figures.images import write_sheet
from analysis.findings.answers import answers
from analysis.tables.build import build_from
from analysis.tables.layout import Table, layout_of
from analysis.tables.percent import percent, plus_minus
from distill.config.base import Config
from distill.errors import UserError
from distill.kinds import KINDS
from sweeps import cats_vs_dogs, evaluate_sets, full_grid
from sweeps.grid.command import GridCommand
from sweeps.store.schema import curve_schema, trial_schema
from sweeps.store.store import Store

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

ROWS = "rows.parquet"

CURVES = "curves.parquet"
"""Curves of the trials that ran where the rows were collected, with their losses and seconds."""

MADE_WITH = "made-with.txt"
"""File with the version of matplotlib: another one draws other bytes."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """A sweep whose rows are committed.

    Attributes:
        title: of its section.
        command: that makes it; runs what is missing when given again.
        hardware: it ran on.
        shown: labels of the rows that the README shows, of distillations those without weights;
            none: it has no table.
        pictured: rows of which a seed's distilled images are kept as pictures.
    """

    title: str
    command: str
    hardware: str
    shown: tuple[str, ...] = ()
    pictured: tuple[str, ...] = ()

    def plan(self) -> list[Config]:
        """Returns the trials of the command, which is run in the project's folder."""
        _, _, script, *arguments = shlex.split(self.command)  # uv run SCRIPT …
        places = (str(ROOT / word) if word.startswith("docs/") else word for word in arguments)
        return list(_COMMANDS[script].plan(list(places)))


_COMMANDS: dict[str, GridCommand[Any]] = {
    "sweeps/full_grid.py": full_grid.COMMAND,
    "sweeps/cats_vs_dogs.py": cats_vs_dogs.COMMAND,
    "sweeps/evaluate_sets.py": evaluate_sets.COMMAND,
}
"""Script → the command that it is."""

RESULTS = {
    "paper1-small": Result(
        title="Paper 1 on small CIFAR-10 images",
        command="uv run sweeps/full_grid.py --preset small "
        "--dataset parquet:cifar10-train.parquet,cifar10-test.parquet",
        hardware="two shared x86-64 cores without a GPU, one thread a trial",
        shown=(
            *("K-Means", "K-Means++", "K-Medoids", "DBSCAN (eps_quantile 0.5)", "Agglomerative"),
            *("K-Means (random start)", "K-Means (start only)", "Random"),
            *("Random (K-Means start)", "Random real images"),
        ),
        pictured=(
            *("K-Means F", "K-Medoids F", "DBSCAN (eps_quantile 0.5) F", "Agglomerative F"),
            "Random F",
        ),
    ),
    "paper1-32": Result(
        title="Five methods of paper 1 at 32×32 pixels",
        command="uv run sweeps/full_grid.py --preset small "
        "--dataset parquet:cifar10-train.parquet,cifar10-test.parquet "
        "--only 'method=kmeans|kmedoids|dbscan|agglomerative|random,ipc=10,weights=false,"
        "protocol=sound,match=gradients,init=clusters' --set image_size=32 --seeds 3",
        hardware="two shared x86-64 cores without a GPU, one thread a trial",
    ),
    "methods-small": Result(
        title="All clusterers and picks on small CIFAR-10 images",
        command="uv run sweeps/full_grid.py --preset methods "
        "--dataset parquet:cifar10-train.parquet,cifar10-test.parquet",
        hardware="two shared x86-64 cores without a GPU, one thread a trial",
    ),
    "judge-small": Result(
        title="Small sets judged on small CIFAR-10 images",
        command="uv run sweeps/evaluate_sets.py docs/results/judge-small/sets/kmeans-1.parquet "
        "docs/results/judge-small/sets/kmeans-10.parquet "
        "--on parquet:cifar10-train.parquet,cifar10-test.parquet "
        "--beside nearest_center,herding,k_center --labels hard,teacher "
        "--networks convnet,mlp --weights-in matching,training "
        "--set image_size=16 --set train_per_class=1000 --set width=16 --set n_eval=2 "
        "--set eval_epochs=120 --set eval_lr=0.05 --set teacher_epochs=20 --set feature_epochs=2",
        hardware="two shared x86-64 cores without a GPU, one thread a trial",
    ),
    "paper2-photos": Result(
        title="Paper 2 on small photos",
        command="uv run sweeps/cats_vs_dogs.py --preset paper "
        "--dataset parquet:cats-vs-dogs-0.parquet "
        "--set image_size=32 --set test_fraction=0.2 --set train_per_class=1200",
        hardware="two shared x86-64 cores without a GPU, one thread a trial",
        shown=("base (all images)", "random 40 %", "random 10 %", "clustering 10 %"),
    ),
}
"""Name of the folder → the sweep."""


def collect(name: str, store: Store) -> None:
    """Writes the rows of a store to the folder of a result, and its pictures.

    Without the names of hosts. Only pictures of images that were distilled: starts are real images.

    Raises:
        UserError: a row is not of the command, which would not resume from it.
    """
    frame = store.results()
    others = set(frame["trial_id"]) - {config.trial_id for config in RESULTS[name].plan()}
    if others:
        raise UserError(
            f"{len(others)} rows of {store.shown}, such as {min(others)}, are no trials of "
            f"{RESULTS[name].command!r}; run it in the folder of its data, with the data set named "
            "as there"
        )
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    frame["host"] = None
    frame["set"] = [_portable(x) if isinstance(x, str) else None for x in frame["set"]]
    frame["notices"] = frame["notices"].map(
        lambda lines: None if lines is None else [_portable(line) for line in lines]
    )
    correct = store.correct_images()
    by_trial = dict(
        zip(*(correct[c].to_pylist() for c in ("trial_id", "correct_images")), strict=True)
    )
    frame["correct_images"] = [by_trial.get(trial_id) for trial_id in frame["trial_id"]]
    rows = pa.Table.from_pandas(frame, schema=trial_schema(), preserve_index=False)
    pq.write_table(rows.replace_schema_metadata(None), folder / ROWS, compression="zstd")
    curves = store.curves(frame["trial_id"])
    (folder / CURVES).unlink(missing_ok=True)
    if len(curves):
        points = pa.Table.from_pandas(curves, schema=curve_schema(), preserve_index=False)
        pq.write_table(points.replace_schema_metadata(None), folder / CURVES, compression="zstd")
    sweeps = load(store.uri)
    sheets = [
        sheet
        for table in _tables(sweeps)
        for sheet in image_sheets(table, sweeps)
        if sheet.title.partition(", seed")[0] in RESULTS[name].pictured
        and "published" not in sheet.title.partition(", seed")[2]
    ]
    for sheet in sheets:  # rows that were restored have no images: pictures of before stay
        (folder / "images").mkdir(exist_ok=True)
        _, numbers = write_sheet(sheet, folder / "images")
        numbers.unlink()


def _portable(text: str) -> str:
    """Returns a text with the files of sets relative to the project.

    Trials have absolute paths; what identifies them is the content of the files.
    """
    return re.sub(r"[^ ,]*/(?=docs/results/)", "", text)


def restore(name: str, store: Store) -> int:
    """Writes the committed rows and curves to a store; returns how many rows it did not have."""
    store.create()
    rows = pq.read_table(HERE / name / ROWS)
    known = set(trial_schema().names)
    curves: dict[str, list[dict[str, Any]]] = {}
    if (HERE / name / CURVES).exists():
        for point in pq.read_table(HERE / name / CURVES).to_pylist():
            curves.setdefault(point["trial_id"], []).append(point)
    return sum(
        store.put_result(
            {key: v for key, v in row.items() if key in known}, curves.get(row["trial_id"], [])
        )
        for row in rows.to_pylist()
    )


def regenerate(target: Path) -> None:
    """Writes tables, findings, the figure and the README's part of every result.

    Args:
        target: root of a copy of the project, or the project itself.
    """
    readme = target / "README.md"
    for name, result in RESULTS.items():
        if not (HERE / name / ROWS).exists():
            continue
        folder = target / "docs" / "results" / name
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.iterdir():
            if file.is_file() and file.name not in (ROWS, CURVES):
                file.unlink()
        with tempfile.TemporaryDirectory() as temporary:
            store = Store(Path(temporary) / "results")
            restore(name, store)
            out = Path(temporary) / "out"
            analyse([store.uri, "tables", "findings", "figures", "--out", str(out)])
            sweeps = load(store.uri)
            for file in _kept(out):
                shutil.copyfile(file, folder / file.name)
        (folder / MADE_WITH).write_text(f"matplotlib {mpl.__version__}\n")
        (folder / "README.md").write_text(page(name, result, sweeps, folder), encoding="utf-8")
        if result.shown:
            text = readme.read_text(encoding="utf-8")
            readme.write_text(_with_part(text, name, part(name, result, sweeps)), encoding="utf-8")


def _kept(out: Path) -> Iterator[Path]:
    yield from sorted(out.glob("*.md"))
    yield from sorted(out.glob("*.csv"))
    yield from sorted((out / "figures").glob(f"{OPENING}.*"))


def _tables(sweeps: Sweeps) -> list[Table]:
    return [
        table for kind in KINDS for table in build_from(sweeps.trials(kind), layout_of(kind)).tables
    ]


def page(name: str, result: Result, sweeps: Sweeps, folder: Path) -> str:
    """Returns the page of a result: where it comes from, the answers, the tables."""
    rows = sweeps.results
    lines = [
        f"# {result.title}",
        "",
        *(f"- {sentence}" for sentence in answers(_tables(sweeps))),
        "",
        f"![Differences from the baseline, row by row]({OPENING}.png)",
        "",
        f"{len(rows)} trials, {rows['cpu_seconds'].sum() / 3600:.1f} CPU-hours, on "
        f"{result.hardware}; commits {', '.join(_values(rows['git_commit'], 10))}; torch "
        f"{', '.join(_values(rows['torch_version']))}; processors {_processors(rows)}; images "
        f"{', '.join(_values(rows['fingerprint'], 10))} (the column `fingerprint`).",
        "",
        "```console",
        result.command,
        "```",
        "",
        " · ".join(
            [
                f"[Rows]({ROWS})",
                "[findings](findings.md)",
                *(
                    f"[what of a clustering goes with accuracy]({file.name})"
                    for file in sorted(folder.glob("*-quality.md"))
                ),
            ]
        ),
    ]
    for table in _tables(sweeps):
        lines += ["", (f"- [{table.title}]({table.name}.md)")]
    images = sorted((HERE / name / "images").glob("*.png"))
    lines += ["", *(f"![{image.stem}](images/{image.name})" for image in images)] if images else []
    return "\n".join(lines) + "\n"


def _processors(rows: pd.DataFrame) -> str:
    """Returns the processors of the trials, with how many ran on each."""
    counts = rows["processor"].fillna("not recorded").value_counts()
    return ", ".join(f"{name} ({counts[name]} trials)" for name in sorted(counts.index))


def _values(values: Iterable[Any], length: int | None = None) -> list[str]:
    return sorted({str(value)[:length] for value in values if value is not None})


def part(name: str, result: Result, sweeps: Sweeps) -> str:
    """Returns what the README says of a result: the rows that are shown of all its tables."""
    tables = _tables(sweeps)
    is_selection = tables[0].layout.kind == "selection"
    lines = _selected(result, *tables) if is_selection else _distilled(result, tables)
    folder = f"docs/results/{name}"
    link = f"[All rows, findings, command]({folder}/README.md)"
    if not is_selection:
        link += f" ![Differences from the baseline, row by row]({folder}/{OPENING}.png)"
    return "\n".join([*lines, "", link])


def _distilled(result: Result, tables: list[Table]) -> list[str]:
    """Returns the rows without weights of tables of distillations, one beside the other."""
    headings = ["", *(f"{table.setting['ipc']} a class | difference" for table in tables)]
    lines = ["| " + " | ".join(headings) + " |", "| --- |" + " ---: | ---: |" * len(tables)]
    cells: dict[str, dict[int, str]] = {}
    for position, table in enumerate(tables):
        for index, row in enumerate(table.entries):
            if row.label in result.shown and row.values[1] == "F" and row.trials:
                cells.setdefault(row.label, {})[position] = _compared(table, index)
    for label, by_table in cells.items():
        shown = (by_table.get(position, " | ") for position in range(len(tables)))
        lines.append(f"| {label} | " + " | ".join(shown) + " |")
    return lines


def _selected(result: Result, table: Table) -> list[str]:
    """Returns the rows of a table of selections: in print, under its protocol, and sound."""
    headings = "training images | published | its protocol, here | sound protocol | difference"
    lines = [f"| {headings} |", "| --- |" + " ---: |" * 4]
    for index, row in enumerate(table.entries):
        if row.label in result.shown:
            numbers = table.rows.iloc[index]
            cells = [row.label, percent(numbers["published_accuracy"])]
            cells += [_accuracy(numbers, "reproduced"), _compared(table, index)]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _compared(table: Table, index: int) -> str:
    """Returns the sound accuracy and difference of a row, each with half of its interval."""
    numbers = table.rows.iloc[index]
    accuracy = _accuracy(numbers, "sound")
    if index == table.baseline:
        return f"{accuracy} | baseline"
    half = plus_minus(_half(numbers, "sound_difference"))
    mark = {"different": " *", "equivalent": " ≈"}.get(numbers["sound_verdict"], "")
    return (
        f"{accuracy} | {' '.join([percent(numbers['sound_difference'], signed=True), *half])}{mark}"
    )


def _accuracy(numbers: Any, protocol: str) -> str:
    accuracy = percent(numbers[f"{protocol}_accuracy"])
    return " ".join([accuracy, *plus_minus(_half(numbers, protocol))])


def _half(numbers: Any, name: str) -> float:
    return float(numbers[f"{name}_high"] - numbers[f"{name}_low"]) / 2


def _with_part(text: str, name: str, content: str) -> str:
    """Returns a document with the text between the marks of a result replaced."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    if begin not in text or end not in text:
        raise UserError(f"README.md has no marks for the table of {name!r}: {begin.strip()}, {end}")
    before, rest = text.split(begin)
    return f"{before}{begin}{content}\n{end}{rest.split(end)[1]}"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("collect", "restore"):
        parsed = verbs.add_parser(verb)
        parsed.add_argument("name", choices=sorted(RESULTS))
        parsed.add_argument("results", type=Path)
    verbs.add_parser("regenerate").add_argument("folder", type=Path, nargs="?", default=ROOT)
    options = parser.parse_args(arguments)
    if options.verb == "collect":
        collect(options.name, Store(options.results))
    elif options.verb == "restore":
        print(f"{restore(options.name, Store(options.results))} rows written")
    else:
        regenerate(options.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
