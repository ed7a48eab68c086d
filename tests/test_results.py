"""The committed results: pages, figures and the README's numbers come from their rows."""

import importlib.util
import re
import shutil
from pathlib import Path
from types import ModuleType

import matplotlib as mpl
import pyarrow.parquet as pq
import pytest

from distill.config.base import SCHEMA_VERSION
from distill.config.distillation import DistillationConfig
from distill.errors import UserError
from sweeps.store.store import Store, load_results
from tests.paths import ROOT
from tests.sweeps.plain_results import row_of

TEXTS = {".md", ".csv", ".svg"}
FOLDER = ROOT / "docs" / "results"


def script() -> ModuleType:
    """Returns the script as a module: it is not in a package."""
    spec = importlib.util.spec_from_file_location("committed_results", FOLDER / "results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = script()
NAMES = [name for name in SCRIPT.RESULTS if (FOLDER / name / SCRIPT.ROWS).exists()]


def test_there_are_results() -> None:
    assert NAMES


def test_everything_is_regenerated_from_the_rows(tmp_path: Path) -> None:
    shutil.copyfile(ROOT / "README.md", tmp_path / "README.md")
    SCRIPT.regenerate(tmp_path)

    assert (tmp_path / "README.md").read_bytes() == (ROOT / "README.md").read_bytes()
    for name in NAMES:
        made = {file.name: file for file in (tmp_path / "docs" / "results" / name).iterdir()}
        same = (FOLDER / name / SCRIPT.MADE_WITH).read_text().split()[1] == mpl.__version__
        drawn = {f"{SCRIPT.OPENING}.png", f"{SCRIPT.OPENING}.svg", SCRIPT.MADE_WITH}
        committed = {file.name for file in (FOLDER / name).iterdir() if file.is_file()}
        assert committed - {SCRIPT.CURVES} == made.keys() | {SCRIPT.ROWS}
        for file in made.values():
            if same or file.name not in drawn:
                assert file.read_bytes() == (FOLDER / name / file.name).read_bytes(), file.name


@pytest.mark.parametrize("name", NAMES)
def test_results_name_nothing_of_the_machine(name: str) -> None:
    rows = pq.read_table(FOLDER / name / SCRIPT.ROWS)
    assert set(rows["host"].to_pylist()) == {None}
    texts = [file.read_text() for file in (FOLDER / name).iterdir() if file.suffix in TEXTS]
    for text in (*texts, *map(str, set(rows["dataset"].to_pylist()))):
        assert not re.search(r"(?<![\w./])/[\w.-]+/[\w.-]+", text), "an absolute path"
        assert "parquet:/" not in text


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_are_pictured_or_shown_exist(name: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    SCRIPT.restore(name, store)
    tables = SCRIPT._tables(SCRIPT.load(store.uri))

    pictured, shown = SCRIPT.RESULTS[name].pictured, SCRIPT.RESULTS[name].shown
    assert set(pictured) <= {row for table in tables for row in table.row_names}
    without_weights = {row.removesuffix(" F") for table in tables for row in table.row_names}
    assert set(shown) <= without_weights


def test_rows_of_another_sweep_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.create()
    store.put_result(row_of(DistillationConfig()), [])
    with pytest.raises(UserError, match=r"1 rows of .* are no trials of 'uv run sweeps/full_grid"):
        SCRIPT.collect(NAMES[0], store)


@pytest.mark.parametrize("name", NAMES)
def test_restored_rows_are_finished_trials_of_the_command(name: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    n_rows = SCRIPT.restore(name, store)

    rows = load_results(store.uri)
    assert len(rows) == n_rows == len(pq.read_table(FOLDER / name / SCRIPT.ROWS))
    assert set(rows["schema_version"]) == {SCHEMA_VERSION}
    assert set(rows["trial_id"]) <= {config.trial_id for config in SCRIPT.RESULTS[name].plan()}
    assert SCRIPT.restore(name, store) == 0, "nothing is overwritten"


def test_collecting_restored_rows_keeps_rows_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are all that a restored store has."""
    name = next(name for name in NAMES if SCRIPT.RESULTS[name].pictured)
    store = Store(tmp_path / "results")
    SCRIPT.restore(name, store)
    shutil.copytree(FOLDER / name, tmp_path / name)
    monkeypatch.setattr(SCRIPT, "HERE", tmp_path)
    SCRIPT.collect(name, store)

    pictures = {path.name for path in (FOLDER / name / "images").iterdir()}
    assert {path.name for path in (tmp_path / name / "images").iterdir()} == pictures != set()
    rows, committed = (
        pq.read_table(folder / name / SCRIPT.ROWS).sort_by("trial_id")
        for folder in (tmp_path, FOLDER)
    )
    assert rows.drop_columns("checksum").equals(committed.drop_columns("checksum"))
    if (FOLDER / name / SCRIPT.CURVES).exists():
        curves, committed_curves = (
            pq.read_table(folder / name / SCRIPT.CURVES) for folder in (tmp_path, FOLDER)
        )
        assert curves.equals(committed_curves)


NUMBER = r"([+−]?\d+\.\d+) ± (\d+\.\d+)"


def intervals_in(text: str) -> list[tuple[float, float]]:
    """Returns the numbers with half of an interval, without their signs."""
    return [(abs(float(a.replace("−", "-"))), float(b)) for a, b in re.findall(NUMBER, text)]


def test_intervals_of_the_readme_s_sentences_are_those_of_findings_or_tables() -> None:
    """The tables are generated, the sentences around them are not."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text[text.index("## Results") : text.index("## Recipes")]
    prose = re.sub(r"<!-- (\S+): begin -->.*?<!-- \1: end -->", "", section, flags=re.DOTALL)
    measured = [
        interval
        for file in FOLDER.glob("*/*.md")
        for interval in intervals_in(file.read_text(encoding="utf-8"))
    ]

    said = intervals_in(prose)
    assert len(said) >= 9
    for mean, half in said:  # printed with one digit, measured with two
        assert any(abs(mean - m) < 0.0501 and abs(half - h) < 0.0501 for m, h in measured), mean
