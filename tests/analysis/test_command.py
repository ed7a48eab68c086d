"""The command `python -m analysis`, in another process."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from analysis.tables.render import sheet
from analysis.tables.sheet import text_lines
from sweeps.store.compaction import COMPACT_FROM
from sweeps.store.rows import row_content
from sweeps.store.store import Store
from tests.analysis import golden
from tests.analysis.results import config_of, planned, row_of
from tests.paths import ROOT

pytestmark = pytest.mark.lengthy


def analysis(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "analysis", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store") / "results"
    store = Store(folder)
    store.create()
    plan = [planned(config) for config in golden.plan()]
    trial_ids = [config.trial_id for config in golden.plan()]
    store.put_submission({"name": "first", "plan": plan[:5], "trial_ids": trial_ids[:5]})
    store.put_submission({"name": "again", "plan": plan, "trial_ids": trial_ids})
    store.put_submission(
        {"name": "another version", "plan": [{"no_such_field": 1}], "trial_ids": ["0" * 16]}
    )
    store.put_submission({"name": "no plan"})
    for row in golden.rows():
        store.put_result(row, [])
    for trial_id, record in golden.failures().items():
        store.put_failure(trial_id, record)
    return folder


def test_prints_and_writes_the_tables(results: Path, tmp_path: Path) -> None:
    ran = analysis(results, "tables", "--out", tmp_path / "out" / "tables")

    assert (ran.returncode, ran.stderr) == (0, "")
    (table,) = golden.tables().tables
    assert "\n".join(text_lines(sheet(table), 80)) in ran.stdout
    *printed, _, last = ran.stdout.splitlines()
    assert max(map(len, printed)) <= 80
    assert last.startswith("tables as .md, .tex, .txt and .csv: ")
    assert "Nothing yet of CIFAR-10, 50 images a class" in ran.stdout
    written = sorted((tmp_path / "out" / "tables").iterdir())
    assert [file.name for file in written] == sorted(f.name for f in golden.FOLDER.iterdir())
    for file in written:
        assert file.read_bytes() == (golden.FOLDER / file.name).read_bytes()


def test_again_gives_the_same_bytes(results: Path, tmp_path: Path) -> None:
    first, second = (analysis(results, "tables", "--out", tmp_path / n) for n in ("a", "b"))

    assert first.stdout.replace(str(tmp_path / "a"), str(tmp_path / "b")) == second.stdout
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_everything_at_once(results: Path, tmp_path: Path) -> None:
    ran = analysis(results, "--out", tmp_path)

    assert (ran.returncode, ran.stderr) == (0, "")
    written = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*")}
    assert {
        "findings.md",
        "report.html",
        "figures/paper1-cifar10-ipc10-features-cost.svg",
    } < written
    assert (tmp_path / "findings.md").read_text().startswith("# Findings\n")
    assert "Weights: of 1 comparisons with and without, 1 undecided" in ran.stdout


def test_the_smallest_effect_of_interest_is_an_option(results: Path, tmp_path: Path) -> None:
    for points, verdict in (("1", "undecided"), ("2.5", "equivalent")):
        ran = analysis(
            results, "tables", "findings", "--smallest-effect", points, "--out", tmp_path / "out"
        )

        assert (ran.returncode, ran.stderr) == (0, "")
        assert f"within ± {points} point" in " ".join(ran.stdout.split())
        assert f"- {verdict}: K-Means (+1.33" in (tmp_path / "out" / "findings.md").read_text()


def test_several_stores_are_read_as_one(results: Path, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    other.create()
    other.put_result(golden.rows()[0], [])  # is in both
    other.put_result(row_of(config_of("agglomerative", seed=2), 0.41), [])  # failed in the first

    ran = analysis(results, "tables", "--also", other.uri, "--out", tmp_path / "out")

    assert (ran.returncode, ran.stderr) == (0, "")
    (line,) = (row for row in ran.stdout.splitlines() if "40.50 ±" in row)
    assert line.split()[:2] == ["Agglomerative", "F"]
    assert "62.00 ± 4.97 (3)" in ran.stdout


def test_damaged_files_are_named_and_left_out(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.create()
    store.put_result(golden.rows()[0], [])
    damaged = tmp_path / "results" / "trials" / f"{config_of('birch').trial_id}.parquet"
    damaged.write_bytes(b"")

    ran = analysis(tmp_path / "results", "--out", tmp_path / "out")

    assert ran.returncode == 0
    assert ran.stderr.startswith("warning: ")
    assert damaged.name in ran.stderr
    assert "60.00 (1)" in ran.stdout


def test_many_rows_are_copied_into_one_file(tmp_path: Path) -> None:
    """As many as are worth it, and old enough to be told from what replaces them."""
    store = Store(tmp_path / "results")
    store.create()
    rows = [row_of(config_of("kmeans", seed=seed), 0.5) for seed in range(COMPACT_FROM)]
    an_hour_ago = time.time() - 3600
    for row in rows:
        file = tmp_path / "results" / "trials" / f"{row['trial_id']}.parquet"
        file.write_bytes(row_content(row))
        os.utime(file, (an_hour_ago, an_hour_ago))

    first, second = (analysis(store.uri, "tables", "--out", tmp_path / "out") for _ in range(2))

    assert len(list((tmp_path / "results" / "compacted").iterdir())) == 1
    assert (first.returncode, first.stderr) == (0, "")
    assert f"50.00 ({COMPACT_FROM})" in first.stdout
    assert second.stdout == first.stdout


def test_an_empty_store(tmp_path: Path) -> None:
    Store(tmp_path / "results").create()

    ran = analysis(tmp_path / "results", "tables", "--out", tmp_path / "out")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.strip() == "No trials to make a table of yet."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the following arguments are required: RESULTS; see --help"),
        (("nowhere",), "there are no results at"),
        (
            ("nowhere", "table"),
            "unknown name 'table'; did you mean 'tables'? (known: tables, findings, figures, ",
        ),
        (("nowhere", "--oot", "x"), "unrecognized arguments: --oot x; see --help"),
        (
            ("nowhere", "--smallest-effect", "0"),
            "--smallest-effect must be at least 0.01, got 0",
        ),
    ],
)
def test_bad_usage_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    ran = analysis(*arguments)

    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.startswith("error: ")
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_folder_that_cannot_be_made_is_one_line(results: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    ran = analysis(results, "--out", tmp_path / "file" / "out")

    assert ran.returncode == 2
    assert ran.stderr == f"error: --out {tmp_path}/file/out cannot be made: Not a directory\n"


def test_the_help_names_what_can_be_made() -> None:
    ran = analysis("--help")

    assert ran.returncode == 0
    assert "tables" in ran.stdout
