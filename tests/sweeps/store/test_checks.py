"""Rows that were changed after they were written: named, left out, and their trials run again."""

# ruff: noqa: S311 - values of tests, not secrets
import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.__main__ import main as analyse
from analysis.data.reading import load
from analysis.tables.comparing import summarise
from distill.config.base import Config
from distill.config.distillation import DistillationConfig
from distill.config.evaluation import EvaluationConfig
from distill.errors import DreamSweepError, UserError
from distill.kinds import KINDS, STATUSES
from sweeps.console import main
from sweeps.grid.distillation_presets import PRESETS
from sweeps.grid.plan import make_plan
from sweeps.grid.selection_presets import PRESETS as SELECTION_PRESETS
from sweeps.monitor.status import StatusReader
from sweeps.store.progress import progress_of
from sweeps.store.rows import row_content
from sweeps.store.schema import CHECKSUM, trial_schema
from sweeps.store.store import Store, load_curves, load_results
from tests.distill.config.random_configs import random_configs
from tests.paths import ROOT
from tests.sweeps.plain_results import curve_of, row_of

if TYPE_CHECKING:
    from sweeps.grid.grid import Grid

INFINITE = math.inf
NETWORKS = {"convnet": {"accuracies": [0.49, 0.51], "losses": [1.0, 2.0]}}

SETTINGS = ["--dataset", "digits", "--seeds", "2"]
"""Of a small plan: the preset smoke on the digits."""

PLAN = make_plan(PRESETS["smoke"], seeds=range(2), dataset="digits")
CHANGED, KEPT = PLAN[0], PLAN[1:]


def finished_row(config: DistillationConfig, **changes: Any) -> dict[str, Any]:
    """A row with values in every column that tables and figures read."""
    measured = {
        "phase": "grid",
        "sweep": "sweep",
        "host": "node",
        "gpu_share": 0.5,
        "n_train": 1437,
        "n_test": 4,
        "n_networks": 2,
        "n_classes": 10,
        "fingerprint": "f",
        "test_accuracy_mean": 0.5,
        "test_accuracy_best_mean": 0.6,
        "test_loss_mean": 1.5,
        "network_scores": NETWORKS,
        "correct_images": [bytes([0b10100000]), bytes([0b01010000])],
        "matching_loss": 0.5,
        "cluster_size_histogram": [1, 2],
        "cluster_size_shares": [0.25, 0.75],
        "started_at": "2026-01-01T00:00:00+00:00",
        "finished_at": "2026-01-01T00:01:00+00:00",
        "torch_version": "2.11.0",
        "notices": ["a notice"],
    }
    return row_of(config, **measured | changes)


@pytest.fixture
def finished(tmp_path: Path) -> Store:
    """A finished sweep."""
    store = Store(tmp_path / "results")
    store.create()
    ids = [config.trial_id for config in PLAN]
    plan = [{"kind": config.kind, **config.to_dict()} for config in PLAN]
    store.put_submission({"name": "sweep", "trial_ids": ids, "plan": plan, "command": ["grid"]})
    for config in PLAN:
        store.put_result(finished_row(config), curve_of())
    return store


def path_of(store: Store, config: Config = CHANGED) -> Path:
    assert store.local_path is not None
    return store.local_path / "trials" / f"{config.trial_id}.parquet"


def change(path: Path, *, keep_checksum: bool = False, **cells: Any) -> None:
    """Changes cells of a row, which any tool can; without the checksum as rows once were."""
    table = pq.read_table(path)
    (row,) = table.to_pylist()
    row |= cells
    if not keep_checksum:
        row[CHECKSUM] = None
    pq.write_table(pa.Table.from_pylist([row], schema=table.schema), path)


CELLS: list[tuple[str, Any, str]] = [
    ("test_accuracy_mean", math.nan, "test_accuracy_mean must be from 0 to 1, got nan"),
    ("test_accuracy_mean", -5.0, "test_accuracy_mean must be from 0 to 1, got -5.0"),
    ("test_accuracy_mean", INFINITE, "test_accuracy_mean must be from 0 to 1, got inf"),
    ("test_accuracy_std", -0.5, "test_accuracy_std must be from 0 to 1, got -0.5"),
    ("val_accuracy_best_mean", 1.5, "val_accuracy_best_mean must be from 0 to 1, got 1.5"),
    ("total_seconds", math.nan, "total_seconds must be a finite number of at least 0, got nan"),
    ("total_seconds", INFINITE, "total_seconds must be a finite number of at least 0, got inf"),
    ("clustering_seconds", -1.0, "clustering_seconds must be .* of at least 0, got -1.0"),
    ("gpu_share", INFINITE, "gpu_share must be a finite number"),
    ("noise_mean", 1.5, "noise_mean must be from 0 to 1, got 1.5"),
    ("largest_cluster_mean", -0.1, "largest_cluster_mean must be from 0 to 1, got -0.1"),
    ("saturated_share", math.nan, "saturated_share must be from 0 to 1, got nan"),
    ("n_test", -1, "n_test must be a finite number of at least 0, got -1"),
    ("n_test", 9, "correct_images must have a bit for each of 9 test images, got \\[1\\] bytes"),
    ("network_scores", "{", "network_scores must be JSON of networks"),
    ("network_scores", '{"convnet": [0.5]}', "network_scores must be JSON of networks"),
    ("network_scores", "[" * 100_000, "network_scores must be JSON of networks"),
    ("network_scores", '{"convnet": {"accuracies": [NaN]}}', "accuracies must be from 0 to 1"),
    ("schema_version", None, "its schema_version must be from 1 to 2, got null"),
    ("schema_version", 0, "its schema_version must be from 1 to 2, got 0"),
    ("schema_version", -5, "its schema_version must be from 1 to 2, got -5"),
    ("schema_version", 1, "its configuration columns are those of trial [0-9a-f]{16}: they"),
    ("clusterer", "dbscan", "its configuration columns are those of trial"),
    ("clusterer", None, "its configuration columns are those of trial"),
    ("weights", "size", "its configuration columns are those of trial"),
    ("weights", None, "its configuration columns are those of trial"),
    ("weights_in", "both", "its configuration columns are those of trial"),
    ("protocol", "published", "its configuration columns are those of trial"),
    ("protocol", None, "its configuration columns are those of trial"),
    ("seed", 7, "its configuration columns are those of trial"),
    ("seed", None, "its configuration columns are those of trial"),
    ("ipc", None, "its configuration columns are those of trial"),
    ("eps", 0.5, "its configuration columns are those of trial"),
    ("eval_networks", ["resnet10"], "its configuration columns are those of trial"),
    ("classes", None, "its configuration columns are those of trial"),
    ("kind", "selection", "its configuration columns are those of trial"),
    (
        "kind",
        "unknown",
        "its kind must be one of distillation, selection, evaluation, got 'unknown",
    ),
    ("kind", None, "its kind must be one of distillation, selection, evaluation, got null"),
    ("status", "done", "its status must be one of ok, .*, got 'done'"),
    ("status", None, "its status must be one of ok, .*, got null"),
]


@pytest.mark.lengthy
@pytest.mark.parametrize(("column", "value", "reason"), CELLS)
def test_a_row_that_cannot_be_right_is_named_and_left_out(
    finished: Store,
    column: str,
    value: Any,
    reason: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    path = path_of(finished)
    change(path, **{column: value})
    kept = {config.trial_id for config in KEPT}

    with pytest.warns(UserWarning, match=f"is left out: {reason}") as warned:
        assert set(load_results(finished.uri)["trial_id"]) == kept
    (line,) = (str(warning.message) for warning in warned)
    assert line.startswith(f"{path} is left out: ")
    assert "\n" not in line
    assert not finished.has_row(CHANGED.trial_id)
    named: list[str] = []
    progress = progress_of(PLAN, finished, retry_failed=False, on_invalid=named.append)
    assert progress.to_do == [CHANGED]
    StatusReader(finished, on_invalid=named.append).read()
    assert named == [line, line]
    groups = summarise(load(finished.uri, on_invalid=named.append)).set_index("method")
    assert groups["seeds"].to_dict() == {"kmeans": 1, "dbscan": 2}

    for command in (
        ["grid", "--preset", "smoke", *SETTINGS, "--dry-run", "--results", finished.uri],
        ["status", finished.uri],
        ["analyse", finished.uri, "tables", "--out", str(tmp_path / "tables")],
    ):
        assert main(command) == 0
        captured = capsys.readouterr()
        assert f"warning: {line}\n" in captured.err, command
        assert "Traceback" not in captured.err

    assert finished.put_result(finished_row(CHANGED), [])
    assert len(load_results(finished.uri)) == len(PLAN)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("schema_version", 3),
        ("test_accuracy_mean", 0.75),
        ("test_accuracy_mean", None),
        ("test_loss_mean", 0.25),
        ("total_seconds", 1.0),
        ("phase", "search"),
        ("fingerprint", "g"),
        ("status", "diverged"),
        ("n_networks", 3),
        ("selector", "random"),
        (CHECKSUM, "0" * 16),
    ],
)
def test_a_checksum_tells_that_a_plausible_cell_was_changed(
    finished: Store, column: str, value: Any
) -> None:
    change(path_of(finished), keep_checksum=True, **{column: value})

    with pytest.warns(UserWarning, match="its checksum does not match: a column was changed"):
        assert len(load_results(finished.uri)) == len(KEPT)


@pytest.mark.lengthy
def test_the_whole_analysis_names_a_row_once(
    finished: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(path_of(finished), test_accuracy_mean=INFINITE)
    assert main(["analyse", finished.uri, "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err.count("is left out") == 1


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("accuracy_mean", INFINITE, "accuracy_mean must be from 0 to 1, got inf"),
        ("accuracy_mean", math.nan, "accuracy_mean must be from 0 to 1, got nan"),
        ("accuracy_mean", -5.0, "accuracy_mean must be from 0 to 1, got -5.0"),
        ("n_networks", -1, "n_networks must be a finite number of at least 0, got -1"),
        ("seconds", INFINITE, "seconds must be a finite number of at least 0, got inf"),
    ],
)
def test_a_curve_that_cannot_be_right_is_named_and_left_out(
    finished: Store, column: str, value: Any, reason: str, tmp_path: Path
) -> None:
    for config in PLAN:
        finished.put_result(finished_row(config), curve_of(), replace=True)
    path = path_of(finished, CHANGED).parents[1] / "curves" / f"{CHANGED.trial_id}.parquet"
    table = pq.read_table(path)
    points = table.to_pylist()
    points[1][column] = value
    pq.write_table(pa.Table.from_pylist(points, schema=table.schema), path)

    named: list[str] = []
    curves = load_curves(finished.uri, on_invalid=named.append)
    assert set(curves["trial_id"]) == {config.trial_id for config in KEPT}
    assert named == [f"{path} is left out: {reason}"]
    assert analyse([finished.uri, "--out", str(tmp_path / "out")]) == 0


def test_a_row_is_checked_when_it_is_written(finished: Store) -> None:
    for changes, reason in (
        ({"seed": 7}, "configuration columns are those of trial"),
        ({"test_accuracy_mean": math.nan}, "must be from 0 to 1"),
        ({"kind": None}, "its kind must be one of"),
    ):
        with pytest.raises(ValueError, match=f"the row is not valid: .*{reason}"):
            finished.put_result(finished_row(CHANGED, **changes), [], replace=True)
    for status in STATUSES:
        assert row_content(finished_row(CHANGED, status=status))


@pytest.mark.lengthy
def test_losses_of_networks_that_diverged_are_kept(
    finished: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for config, loss in zip(PLAN, (math.nan, INFINITE), strict=False):
        networks = {"convnet": {"accuracies": [0.1, 0.1], "losses": [loss, loss]}}
        row = finished_row(config, test_loss_mean=loss, network_scores=networks)
        finished.put_result(row, [], replace=True)

    assert len(load_results(finished.uri)) == len(PLAN)
    assert analyse([finished.uri, "--out", str(tmp_path / "tables")]) == 0
    assert capsys.readouterr().err == ""


def test_a_compacted_copy_is_read_without_checking_again(finished: Store) -> None:
    """A change behind the time stamp shows that the file itself is not read."""
    for config in PLAN:
        os.utime(path_of(finished, config), (1e9, 1e9))
    assert finished.compact(minimum=1) == len(PLAN)
    path = path_of(finished)
    size = path.stat().st_size
    change(path, schema_version=0)
    with path.open("ab") as file:
        file.truncate(size)
    os.utime(path, (1e9, 1e9))

    assert len(load_results(finished.uri)) == len(PLAN)


def test_copies_that_were_not_checked_like_this_are_not_read(finished: Store) -> None:
    for config in PLAN:
        os.utime(path_of(finished, config), (1e9, 1e9))
    change(path_of(finished), schema_version=0)
    os.utime(path_of(finished), (1e9, 1e9))
    assert finished.compact(minimum=1) == len(KEPT), "invalid rows are not copied"
    assert finished.local_path is not None
    (copy,) = (finished.local_path / "compacted").iterdir()
    table = pq.read_table(copy)
    columns = {name: table[name].to_pylist() for name in table.schema.names}
    columns["test_accuracy_mean"] = [-5.0] * len(KEPT)
    fields = pa.schema(list(table.schema))
    pq.write_table(pa.table(columns, schema=fields), copy)  # as the code before the checks did

    with pytest.warns(UserWarning, match="its schema_version must be"):
        frame = load_results(finished.uri)
    assert frame["test_accuracy_mean"].tolist() == [0.5] * len(KEPT)


@pytest.mark.parametrize("name", ["sweep.json", "trials"])
def test_errors_of_load_results_have_the_common_base(finished: Store, name: str) -> None:
    assert finished.local_path is not None
    if name == "trials":
        change(path_of(finished), schema_version=3)
    else:
        (finished.local_path / name).write_text('{"schema_version": ' + "[" * 100_000)

    messages = set()
    for use in (lambda: load_results(finished.uri), finished.statuses, lambda: load(finished.uri)):
        with pytest.raises(DreamSweepError) as raised:
            use()
        assert isinstance(raised.value, UserError)
        messages.add(str(raised.value))
    assert len(messages) == 1
    assert main(["analyse", finished.uri]) == 2


# --- identities from columns

IDENTITIES = """
import sys
import pyarrow.parquet as pq
from distill.kinds import KINDS
for row in pq.read_table(sys.argv[1]).to_pylist():
    config = KINDS[row["kind"]].config
    names = KINDS[row["kind"]].config_columns
    print(config.identity_of({name: row[name] for name in names}))
"""


def preset_configs() -> Iterator[Config]:
    grids: list[Grid[Any]] = [*PRESETS.values(), *SELECTION_PRESETS.values()]
    for grid in grids:
        protocols = grid.protocols and ["sound", "published"]
        dataset = "folder:images" if grid.needs_dataset else None
        yield from make_plan(grid, protocols=protocols, seeds=[0, 2**63 - 1], dataset=dataset)
    files = {"set": "/sets/a b.pt", "set_hash": "0123456789abcdef", "ipc": 10, "factor": 2}
    for labels in ("hard", "soft", "teacher"):
        for values in (files, {"set": "herding", "ipc": 10}, {"set": "all"}):
            yield EvaluationConfig(labels=labels, **values)


@pytest.mark.lengthy
def test_identities_from_columns_are_the_trial_ids(tmp_path: Path) -> None:
    """Of every configuration of the presets, in another process, with columns in another order."""
    configs = [*preset_configs(), *random_configs(seed=3, n=100)]
    assert {config.kind for config in configs} == set(KINDS)
    rows = [{"kind": config.kind, **config.resolve().to_dict()} for config in configs]
    table = pa.Table.from_pylist(rows, schema=trial_schema())
    shuffled = random.Random(0).sample(table.schema.names, len(table.schema))
    pq.write_table(table.select(shuffled), tmp_path / "rows.parquet")

    output = subprocess.run(
        [sys.executable, "-c", IDENTITIES, str(tmp_path / "rows.parquet")],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "54321"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert output.split() == [config.trial_id for config in configs]


# --- one cell changed at random


def other_value(field: pa.Field, value: Any, generator: random.Random) -> Any:
    """Returns a value of a column's type that differs from the one in it."""
    numbers = [math.nan, INFINITE, -INFINITE, -5.0, 0.0, 0.5, 1e300, generator.random()]
    candidates: dict[Callable[[Any], bool], list[Any]] = {
        pa.types.is_floating: numbers,
        pa.types.is_integer: [-(2**63), -1, 0, 1, 3, 2**62, generator.randrange(1000)],
        pa.types.is_boolean: [True, False],
        pa.types.is_string: ["", "x", "ö\n\x00", "kmeans", "{", "null", "9" * 5000],
    }
    lists = [[], [None], [generator.choice([1, 7])] * 3]
    texts = [[], ["x"], [None]]
    found = next((c for is_type, c in candidates.items() if is_type(field.type)), None)
    if found is None:
        is_text = pa.types.is_string(field.type.value_type)
        found = texts if is_text else [[b""], [b"xy"], []]
        if not (is_text or pa.types.is_binary(field.type.value_type)):
            found = lists
    return generator.choice([None, *(other for other in found if other != value)])


def changed_cells(store: Store, n: int, seed: int, *, keep_checksum: bool) -> Iterator[str]:
    """Changes one cell after another of a row, each in the whole row; yields what was changed."""
    generator = random.Random(seed)
    path = path_of(store)
    content, (row,) = path.read_bytes(), pq.read_table(path).to_pylist()
    fields = [field for field in trial_schema() if field.name != "trial_id"]
    for _ in range(n):
        field = generator.choice(fields)
        value = other_value(field, row[field.name], generator)
        change(path, keep_checksum=keep_checksum, **{field.name: value})
        yield f"{field.name}: {row[field.name]!r} → {value!r:.60}"
        path.write_bytes(content)


def tables(store: Store, named: list[str]) -> pd.DataFrame | str:
    """Returns the summary of a store; the message of a UserError where it is refused."""
    try:
        return summarise(load(store.uri, on_invalid=named.append))
    except UserError as error:
        return str(error)


def check_changed_cells(store: Store, n: int, seed: int) -> None:
    whole, named = tables(store, []), list[str]()
    content = path_of(store).read_bytes()
    path_of(store).unlink()
    without = tables(store, named)
    path_of(store).write_bytes(content)
    assert named == []
    assert isinstance(whole, pd.DataFrame)
    assert isinstance(without, pd.DataFrame)
    assert not whole.equals(without)
    for what in changed_cells(store, n, seed, keep_checksum=True):
        named = []
        found = tables(store, named)
        if isinstance(found, str):
            assert "is of a later schema_version" in found, what
        elif named:
            assert len(named) == 1, what
            pd.testing.assert_frame_equal(found, without)
        else:
            pd.testing.assert_frame_equal(found, whole)


def check_earlier_rows(
    store: Store, n: int, seed: int, capsys: Any, *, out: Path | None = None
) -> None:
    """Rows without a checksum: no traceback, and no table of another configuration.

    Args:
        store: with the rows of `PLAN`.
        n: cells to change, one after the other.
        seed: of the choice of cells.
        capsys: pytest's.
        out: where every fifteenth time all figures and the report are written; None: never.
    """
    for number, what in enumerate(changed_cells(store, n, seed, keep_checksum=False)):
        named: list[str] = []
        found = tables(store, named)
        if not isinstance(found, str):
            assert (found["mean"].between(0, 1) | found["mean"].isna()).all(), what
            assert set(found["method"]) <= {"kmeans", "dbscan"}, what
        commands = [["status", store.uri], ["analyse", store.uri, "tables"]]
        if out is not None and number % 15 == 0:
            commands.append(["analyse", store.uri, "--out", str(out)])
        for command in commands:
            assert main(command) in (0, 2), what
            captured = capsys.readouterr()
            assert "Traceback" not in captured.err, what


@pytest.mark.lengthy
def test_one_changed_cell_never_gives_a_wrong_table(finished: Store) -> None:
    check_changed_cells(finished, n=40, seed=0)


@pytest.mark.lengthy
def test_one_changed_cell_of_an_earlier_row_never_gives_a_traceback(
    finished: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    check_earlier_rows(finished, n=15, seed=1, capsys=capsys)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 14))
def test_many_changed_cells(
    finished: Store, seed: int, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    check_changed_cells(finished, n=500, seed=seed)
    check_earlier_rows(finished, n=150, seed=seed, capsys=capsys, out=tmp_path / "out")


@pytest.mark.slow
def test_many_random_identities_from_columns() -> None:
    for config in random_configs(seed=4, n=1_000):
        (values,) = pa.Table.from_pylist(
            [config.resolve().to_dict()], schema=trial_schema()
        ).to_pylist()
        names = KINDS[config.kind].config_columns
        found = type(config).identity_of(json.loads(json.dumps({n: values[n] for n in names})))
        assert found == config.trial_id
