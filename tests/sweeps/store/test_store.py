"""The store on a disk: nothing finished is lost, nothing half-written counts."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from distill.config.base import SCHEMA_VERSION
from distill.config.distillation import DistillationConfig
from distill.errors import UserError
from distill.runtime.checkpoint import load_checkpoint, save_checkpoint
from sweeps.store.compaction import COMPACT_FROM
from sweeps.store.rows import MERGED_AT_ONCE, row_content
from sweeps.store.schema import curve_schema, trial_schema
from sweeps.store.store import (
    BULKY_COLUMNS,
    Store,
    distinct_notices,
    load_curves,
    load_results,
)
from tests.paths import ROOT
from tests.sweeps.plain_results import curve_of, images_of, row_of

RESULT_COLUMNS = [name for name in trial_schema().names if name not in BULKY_COLUMNS]
"""Columns of `load_results`."""

pytestmark = pytest.mark.lengthy

CONFIGS = [DistillationConfig(seed=seed) for seed in range(6)]
IDS = [config.trial_id for config in CONFIGS]


def fail(message: str) -> None:
    pytest.fail(f"unexpected: {message}")


def put(store: Store, config: DistillationConfig, *, replace: bool = False, **changes: Any) -> bool:
    return store.put_result(row_of(config, **changes), curve_of(), images_of(), replace=replace)


def folder_of(store: Store) -> Path:
    assert store.local_path is not None
    return store.local_path


def file_of(store: Store, config: DistillationConfig, kind: str = "trials") -> Path:
    return folder_of(store) / kind / f"{config.trial_id}.parquet"


def names_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# --- the place


def test_create_makes_a_store_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "deep" / "results")
    assert not store.exists()
    assert not (tmp_path / "deep").exists(), "nothing is touched before it is used"

    store.create()
    description = json.loads((tmp_path / "deep" / "results" / "sweep.json").read_text())
    put(store, CONFIGS[0])
    Store(store.uri).create()

    assert store.exists()
    assert description["schema_version"] == SCHEMA_VERSION
    assert description["created_by"].startswith("dream-sweep ")
    assert json.loads((folder_of(store) / "sweep.json").read_text()) == description
    assert store.has_row(IDS[0])
    assert not [name for name in names_in(tmp_path) if "/." in name]


def test_a_folder_of_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")

    with pytest.raises(UserError, match=r"holds other things \(thesis\.tex\); name a new or empty"):
        Store(tmp_path).create()
    assert names_in(tmp_path) == {"thesis.tex"}


def test_killed_creation_is_finished_and_users_may_add_files(tmp_path: Path) -> None:
    (tmp_path / "trials").mkdir()
    (tmp_path / ".DS_Store").write_bytes(b"")
    Store(tmp_path).create()
    (tmp_path / "notes.txt").write_text("mine")

    Store(tmp_path).create()


@pytest.mark.parametrize("is_there", [True, False])
def test_reserved_place_that_is_not_used_is_left_as_it_was(tmp_path: Path, is_there: bool) -> None:
    folder = tmp_path / "deep" / "results"
    if is_there:
        folder.mkdir(parents=True)
    with pytest.raises(ZeroDivisionError), Store(folder).reserved():  # noqa: PT012
        assert folder.is_dir()
        1 / 0  # noqa: B018
    assert [path.name for path in tmp_path.rglob("*")] == (["deep", "results"] if is_there else [])


def test_reserved_place_keeps_the_store_that_is_made_there(tmp_path: Path) -> None:
    store = Store(tmp_path / "deep" / "results")
    with store.reserved():
        assert not store.exists()
        store.create()
    assert store.exists()
    before = names_in(tmp_path)
    with store.reserved():
        pass
    assert names_in(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("thesis.tex", "mine", "holds other things"),
        ("sweep.json", '{"schema_version": 7}', "have schema_version 7"),
    ],
)
def test_place_that_cannot_be_reserved_is_refused(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message), Store(tmp_path).reserved():
        pass
    assert names_in(tmp_path) == {name}


def test_another_schema_version_is_refused(store: Store) -> None:
    (folder_of(store) / "sweep.json").write_text('{"schema_version": 7}')

    for use in (store.create, lambda: load_results(store.uri), lambda: load_curves(store.uri)):
        with pytest.raises(UserError, match=r"have schema_version 7, .* this code has 2: .*newer"):
            use()


def test_version_1_store_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """A folder as the first version left it: its rows would have other identities today."""
    (tmp_path / "trials").mkdir()
    row = {"trial_id": "0" * 16, "schema_version": 1, "kind": "subset", "status": "ok", "ipc": 1}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "trials" / f"{'0' * 16}.parquet")
    description = {"schema_version": 1, "created_by": "dream-sweep 0.1.0"}
    (tmp_path / "sweep.json").write_text(json.dumps(description))
    before = names_in(tmp_path)

    store = Store(tmp_path)
    for use in (store.create, store.statuses, store.compact, store.results, store.curves):
        with pytest.raises(UserError) as raised:
            use()
        message = str(raised.value)
        assert "have schema_version 1, written by dream-sweep 0.1.0; this code has 2" in message
        assert "other identities and columns" in message
        assert "run the sweep again into a new --results folder" in message
        assert "read them with the version that wrote them" in message
    assert names_in(tmp_path) == before


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "{}", "5", '"schema_version"', "[" * 100_000),
        *('{"schema_version": "2"}', '{"schema_version": 2.0}', '{"schema_version": true}'),
        *('{"schema_version": null}', '{"a":' * 1_000 + "2" + "}" * 1_000),
    ],
)
def test_a_damaged_description_says_what_to_do(store: Store, content: str) -> None:
    put(store, CONFIGS[0])
    (folder_of(store) / "sweep.json").write_text(content)

    with pytest.raises(UserError, match=r"sweep\.json is damaged; delete it"):
        store.create()
    (folder_of(store) / "sweep.json").unlink()
    store.create()
    assert store.has_row(IDS[0])


def test_a_place_that_cannot_be_written_to_is_one_line(
    tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "results"):
        with pytest.raises(UserError, match=r"cannot be written to: .*file"):
            Store(place).create()
        with (
            pytest.raises(UserError, match=r"cannot be written to: .*file"),
            Store(place).reserved(),
        ):
            pass
    disk = small_disk("1m")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(UserError, match=r"cannot be written to: .*Read-only file system"):
        Store(disk / "results").create()


def test_no_store_is_a_user_error(tmp_path: Path) -> None:
    for load in (load_results, load_curves):
        with pytest.raises(UserError, match=r"there are no results at .*: it has no sweep\.json"):
            load(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


def test_the_store_can_be_pickled_and_loads_neither_torch_nor_ray(store: Store) -> None:
    code = (
        "import pickle, sys\n"
        "store = pickle.load(sys.stdin.buffer)\n"
        "store.put_submission({'a': 1})\n"
        "print(store.uri, sorted({'torch', 'ray', 'optuna', 'sklearn'} & sys.modules.keys()))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(store),
        cwd=ROOT,
        capture_output=True,
        check=True,
    )

    assert ran.stdout.decode() == f"{store.uri} []\n"
    assert store.submissions() == [{"a": 1}]


# --- results


def test_a_result_comes_back(store: Store) -> None:
    assert put(store, CONFIGS[1])
    assert put(store, CONFIGS[0], status="infeasible", test_accuracy_mean=None)

    assert store.statuses(fail) == {IDS[0]: "infeasible", IDS[1]: "ok"}
    assert store.has_row(IDS[0])
    assert not store.has_row(IDS[2])
    assert store.read_row(IDS[2]) is None
    row = store.read_row(IDS[1])
    assert row is not None
    assert list(row) == trial_schema().names
    assert json.loads(row["network_scores"]) == {"convnet": {"accuracies": [0.49, 0.51]}}
    assert (row["ipc"], row["eval_networks"], row["host"]) == (1, [], None)
    images = pq.read_table(file_of(store, CONFIGS[1], "distilled"))
    assert images.equals(images_of()["distilled"])
    assert names_in(folder_of(store)) == {
        "sweep.json",
        *(f"{kind}/{i}.parquet" for kind in ("trials", "curves", "distilled") for i in IDS[:2]),
    }


def test_results_are_a_frame_sorted_and_typed(store: Store) -> None:
    for config in CONFIGS[:3]:
        put(store, config, attempt=None, eps=None)

    frame = load_results(store.uri, on_invalid=fail)

    assert list(frame.columns) == RESULT_COLUMNS
    assert frame["trial_id"].tolist() == sorted(IDS[:3])
    assert frame["ipc"].dtype == frame["attempt"].dtype == pd.Int64Dtype()
    assert frame["attempt"].isna().all()
    assert {frame[f.name].dtype for f in trial_schema() if f.type == pa.bool_()} == {
        pd.BooleanDtype()
    }
    assert frame["eps"].dtype == frame["test_accuracy_mean"].dtype == float
    assert frame["eps"].isna().all()
    assert sorted(frame["test_accuracy_mean"]) == [0.5, 0.501, 0.502]
    assert frame["clusterer"].tolist() == ["kmeans"] * 3
    pd.testing.assert_frame_equal(frame, Store(store.uri).results())


def test_more_rows_than_are_merged_at_once(store: Store) -> None:
    n = MERGED_AT_ONCE * 2 + 3
    configs = [DistillationConfig(seed=seed) for seed in range(n)]
    for config in configs:
        row = row_of(config, total_seconds=float(config.seed), test_accuracy_mean=0.5)
        file_of(store, config).write_bytes(row_content(row))

    frame = load_results(store.uri, on_invalid=fail)

    assert frame["trial_id"].tolist() == sorted(config.trial_id for config in configs)
    assert sorted(frame["total_seconds"]) == list(range(n))
    assert len(store.statuses(fail)) == n


def test_an_empty_store_gives_empty_frames_with_the_columns(store: Store) -> None:
    results, curves = load_results(store.uri), load_curves(store.uri)

    assert (len(results), len(curves)) == (0, 0)
    assert list(results.columns) == RESULT_COLUMNS
    assert list(curves.columns) == curve_schema().names
    assert results["ipc"].dtype == pd.Int64Dtype()
    assert store.statuses() == {}


def test_curves_of_finished_trials(store: Store) -> None:
    for config in CONFIGS[:3]:
        put(store, config)
    store.put_result(row_of(CONFIGS[3], status="infeasible"), [], None)
    file_of(store, CONFIGS[0]).unlink()

    curves = load_curves(store.uri, on_invalid=fail)
    assert list(zip(curves["trial_id"], curves["outer"], strict=True)) == [
        (trial_id, outer) for trial_id in sorted(IDS[1:3]) for outer in range(3)
    ]
    assert curves["matching_loss"].tolist()[1:3] == [0.1, 0.2]
    assert curves["matching_loss"].isna().tolist()[:3] == [True, False, False]
    some = load_curves(store.uri, [IDS[2], IDS[3], IDS[5]], on_invalid=fail)
    assert set(some["trial_id"]) == {IDS[2]}


def test_pandas_reads_the_folder_as_it_is(store: Store) -> None:
    put(store, CONFIGS[0])
    put(store, DistillationConfig(clusterer="dbscan", eps=0.5))
    put(store, DistillationConfig(clusterer="agglomerative", linkage="ward"))
    (folder_of(store) / "trials" / f".{IDS[0]}.parquet.tmp-1").write_bytes(b"half")

    plain = pd.read_parquet(store.uri_of("trials")).sort_values("trial_id", ignore_index=True)

    loaded = load_results(store.uri)
    assert list(plain.columns) == trial_schema().names
    assert plain["linkage"].tolist() == loaded["linkage"].tolist()
    pd.testing.assert_series_equal(plain["eps"], loaded["eps"])


def test_what_is_finished_is_not_overwritten(store: Store) -> None:
    put(store, CONFIGS[0])
    before = {kind: file_of(store, CONFIGS[0], kind).read_bytes() for kind in ("trials", "curves")}

    again = store.put_result(
        row_of(CONFIGS[0], total_seconds=99.0), curve_of(5), images_of(b"other")
    )

    assert again is False
    for kind, content in before.items():
        assert file_of(store, CONFIGS[0], kind).read_bytes() == content
    images = pq.read_table(file_of(store, CONFIGS[0], "distilled"))
    assert images.equals(images_of()["distilled"])


def test_what_is_finished_is_replaced_when_asked(store: Store) -> None:
    put(store, CONFIGS[0], status="out_of_memory")

    assert put(store, CONFIGS[0], total_seconds=99.0, replace=True)
    assert store.statuses() == {IDS[0]: "ok"}
    assert load_results(store.uri)["total_seconds"].tolist() == [99.0]


@pytest.mark.parametrize(
    "trial_id",
    ["", "abc", "../../../../etc/pass", "0123456789ABCDEF", "0" * 17, "0" * 16 + "\n", 7],
)
def test_only_trial_ids_become_names_of_files(store: Store, trial_id: Any) -> None:
    row = row_of(CONFIGS[0], trial_id=trial_id)
    for use in (
        lambda: store.has_row(trial_id),
        lambda: store.put_result(row, [], None),
        lambda: store.put_failure(trial_id, {}),
        lambda: store.checkpoint_folder(trial_id),
        lambda: load_curves(store.uri, [trial_id]),
    ):
        with pytest.raises(ValueError, match="a trial_id is 16 hexadecimal digits, got "):
            use()
    assert names_in(folder_of(store)) == {"sweep.json"}


@pytest.mark.parametrize(
    ("row", "curve", "message"),
    [
        ({"acuracy": 0.5}, [], "the schema has no column acuracy"),
        ({"ipc": "ten"}, [], "a value does not fit the schema: .*ten"),
        ({"status": None}, [], "its status must be one of .*, got null"),
        ({}, [{"epok": 1}], "the schema has no column epok"),
    ],
)
def test_invalid_rows_are_refused_before_anything_is_written(
    store: Store, row: dict[str, Any], curve: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        store.put_result(row_of(CONFIGS[0], **row), curve, images_of())
    assert names_in(folder_of(store)) == {"sweep.json"}


# --- files that are no results


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    """One bit of the accuracy is another one: the file can be read, the number is wrong."""
    content = bytearray(path.read_bytes())
    where = content.index(pa.array([0.5]).buffers()[1].to_pybytes())
    content[where] ^= 1
    path.write_bytes(content)


def foreign(path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(path)


def of_another_type(path: Path) -> None:
    row = {"trial_id": path.stem, "status": "ok", "ipc": "ten"}
    pq.write_table(pa.Table.from_pylist([row]), path)


def of_another_trial(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([{"trial_id": "0" * 16, "status": "ok"}]), path)


def without_status(path: Path) -> None:
    pq.write_table(pq.read_table(path).drop_columns(["status"]), path)


def of_two_rows(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table, table]), path)


def twice_the_same_column(path: Path) -> None:
    columns = [pa.array([path.stem]), pa.array(["ok"]), pa.array(["ok"])]
    pq.write_table(pa.table(columns, names=["trial_id", "status", "status"]), path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (half, "damaged or not a file of this store"),
        (empty, "damaged or not a file of this store"),
        (flipped, "damaged or not a file of this store"),
        (foreign, "it has no trial_id"),
        (of_another_type, "damaged or not a file of this store .*ten"),
        (of_another_trial, "it is of another trial than its name says"),
        (without_status, "its status must be one of .*, got null"),
        (of_two_rows, "it has 2 rows, not one"),
        (twice_the_same_column, "damaged or not a file of this store"),
    ],
)
def test_what_is_no_row_is_named_and_the_trial_is_not_finished(
    store: Store, damage: Callable[[Path], None], reason: str
) -> None:
    for config in CONFIGS[:2]:
        put(store, config)
    path = file_of(store, CONFIGS[0])
    damage(path)

    with pytest.warns(UserWarning, match=reason) as warned:
        frame = load_results(store.uri)

    assert len(warned) == 1
    assert str(warned[0].message).startswith(f"{path} is left out: ")
    assert "\n" not in str(warned[0].message)
    assert frame["trial_id"].tolist() == [IDS[1]]
    named: list[str] = []
    assert store.statuses(named.append) == {IDS[1]: "ok"}
    assert named == [str(warned[0].message)]
    assert not store.has_row(IDS[0])
    assert store.read_row(IDS[0]) is None
    assert len(load_curves(store.uri, on_invalid=fail)) == 6

    assert put(store, CONFIGS[0]), "its trial runs again and replaces it"
    assert load_results(store.uri, on_invalid=fail)["trial_id"].tolist() == sorted(IDS[:2])
    assert len(pd.read_parquet(store.uri_of("trials"))) == 2


def test_strangers_in_the_folder_are_named(store: Store) -> None:
    put(store, CONFIGS[0])
    shutil.copy(file_of(store, CONFIGS[0]), folder_of(store) / "trials" / "copy.parquet")
    (folder_of(store) / "trials" / "notes.txt").write_text("mine")
    named: list[str] = []

    assert len(load_results(store.uri, on_invalid=named.append)) == 1
    assert len(named) == 1
    assert named[0].endswith("copy.parquet is left out: its name is not a trial_id")


def test_damaged_curves_are_named(store: Store) -> None:
    for config in CONFIGS[:2]:
        put(store, config)
    half(file_of(store, CONFIGS[0], "curves"))
    named: list[str] = []

    curves = load_curves(store.uri, on_invalid=named.append)

    assert set(curves["trial_id"]) == {IDS[1]}
    assert len(named) == 1
    assert f"curves/{IDS[0]}.parquet is left out: it is damaged" in named[0]


def test_missing_columns_are_null_and_unknown_ones_left_out(store: Store) -> None:
    """As rows of earlier versions lack columns, which have no checksum, and later ones add some."""
    for config in CONFIGS[:2]:
        put(store, config)
    path = file_of(store, CONFIGS[0])
    table = pq.read_table(path).drop_columns(["checksum", "weights_in", "n_threads", "n_corrupt"])
    pq.write_table(table.append_column("nonsense", pa.array([1.0])), path)

    frame = load_results(store.uri, on_invalid=fail).set_index("trial_id")

    assert frame["ipc"].to_dict() == {IDS[0]: 1, IDS[1]: 1}
    assert frame["weights_in"].isna().to_dict() == {IDS[0]: True, IDS[1]: False}
    assert frame["n_corrupt"].isna().to_dict() == {IDS[0]: True, IDS[1]: False}
    assert "nonsense" not in frame.columns


def test_rows_of_a_later_schema_are_refused_with_the_reason(store: Store) -> None:
    put(store, CONFIGS[0])
    put(store, CONFIGS[1], schema_version=SCHEMA_VERSION + 1)

    for use in (store.statuses, store.results):
        with pytest.raises(UserError, match=rf"{IDS[1]}\.parquet is of a later schema_version"):
            use()


# --- failures, checkpoints, submissions


def test_the_newest_failure_counts_until_the_trial_finishes(store: Store) -> None:
    for attempt in (1, 2):
        store.put_failure(IDS[0], {"attempt": attempt, "error": "é\n"})
    store.put_failure(IDS[1], {"attempt": 1})
    assert store.failures() == {IDS[0]: {"attempt": 2, "error": "é\n"}, IDS[1]: {"attempt": 1}}

    put(store, CONFIGS[0])
    assert store.failures() == {IDS[1]: {"attempt": 1}}
    assert [path.name[:16] for path in (folder_of(store) / "failures").iterdir()] == [IDS[1]]
    put(store, CONFIGS[1])
    store.put_failure(IDS[1], {"attempt": 2})
    assert store.failures() == {}, "the other driver's attempt does not matter any more"
    half(file_of(store, CONFIGS[1]))
    assert store.failures() == {IDS[1]: {"attempt": 2}}


def test_last_failure_is_of_the_highest_attempt_not_the_clock(store: Store) -> None:
    store.put_failure(IDS[0], {"attempt": 2, "cause": "error"})
    store.put_failure(IDS[0], {"attempt": 10, "cause": "lost"})
    store.put_failure(IDS[0], {"attempt": 1, "cause": "lost"})  # a name of a later time
    for host in ("first", "second"):
        store.put_failure(IDS[1], {"attempt": 3, "host": host})

    assert store.failures() == {
        IDS[0]: {"attempt": 10, "cause": "lost"},
        IDS[1]: {"attempt": 3, "host": "second"},
    }


def test_damaged_records_are_left_out(store: Store) -> None:
    store.put_submission({"name": "first"})
    store.put_submission({"name": "second"})
    store.put_failure(IDS[0], {"attempt": 1})
    for name in ("00000000T000000000000Z-0.json", "notes.txt"):
        (folder_of(store) / "submissions" / name).write_text("{")
    (folder_of(store) / "submissions" / "99990000T000000000000Z-0.json").write_text("[]")
    (folder_of(store) / "failures" / f"{IDS[1]}-20260101T000000000000Z-00000000.json").write_text(
        ""
    )
    (folder_of(store) / "failures" / "readme.txt").write_text("mine")

    named: list[str] = []
    found = store.submissions(named.append)
    assert [record["name"] for record in found] == ["first", "second"]
    assert store.failures(named.append) == {IDS[0]: {"attempt": 1}}
    assert store.failures_of(IDS[1], named.append) == []
    folders = [Path(line.partition(" is left out: it is no record (")[0]).parent for line in named]
    assert [folder.name for folder in folders] == ["failures", "failures"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"config": ["a"]}', "config must be an object, got ['a']"),
        ('{"config": {"ipc": {"a": 1}}}', "ipc of config must be a value, got {'a': 1}"),
        ('{"config": {"classes": [["a"]]}}', "classes of config must be a value, got [['a']]"),
        ('{"attempt": "first"}', "attempt must be a whole number, got 'first'"),
        ('{"message": 5}', "message must be a text, got 5"),
        ("[" * 100_000, "it is nested too deep"),
        ('{"a":' * 1_000 + "1" + "}" * 1_000, "it is nested too deep"),
        ("5", "it must be an object, got 5"),
        ("{", "Expecting property name"),
    ],
)
def test_a_record_that_cannot_be_right_is_named(store: Store, content: str, reason: str) -> None:
    path = folder_of(store) / "failures" / f"{IDS[0]}-20260101T000000000000Z-00000000.json"
    path.write_text(content)
    store.put_failure(IDS[1], {"attempt": 1})
    named: list[str] = []

    assert store.failures(named.append) == {IDS[1]: {"attempt": 1}}
    assert len(named) == 1
    assert named[0].startswith(f"{path} is left out: it is no record ({reason}")


def test_checkpoints_live_in_the_store_until_the_trial_finishes(store: Store) -> None:
    folder = store.checkpoint_folder(IDS[0])
    for i in range(4):
        save_checkpoint(folder, {"x": torch.arange(i)}, {"i": i})
    other = store.checkpoint_folder(IDS[1])
    save_checkpoint(other, {}, {"i": 9})
    (folder_of(store) / "checkpoints" / IDS[0] / ".5.safetensors.tmp-1").write_bytes(b"killed")

    assert len(folder.names()) == 2
    found = load_checkpoint(folder, fail)
    assert found is not None
    assert found[0]["x"].tolist() == [0, 1, 2]
    assert found[1] == {"i": 3}
    put(store, CONFIGS[0])

    assert names_in(folder_of(store) / "checkpoints") == {f"{IDS[1]}/{other.names()[0]}"}
    assert load_checkpoint(folder, fail) is None
    assert load_checkpoint(other, fail) is not None


# --- accidents


def test_a_full_disk_loses_nothing(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("1m")
    store = Store(disk / "results")
    store.create()
    put(store, CONFIGS[0])
    folder = store.checkpoint_folder(IDS[1])
    save_checkpoint(folder, {}, {"i": 0})
    free = shutil.disk_usage(disk).free
    (disk / "ballast").write_bytes(bytes(free - 5 * 4096))  # room for a curve, not for a row
    before = names_in(disk)

    for replace in (False, True):
        for config in CONFIGS[:2]:
            if config is CONFIGS[0] and not replace:
                continue
            with pytest.raises(OSError, match="No space left on device"):
                put(store, config, replace=replace)
    with pytest.raises(OSError, match="No space left on device"):
        save_checkpoint(folder, {"x": torch.zeros(100_000)}, {"i": 1})
    with pytest.raises(OSError, match="No space left on device"):
        store.put_failure(IDS[1], {"error": "x" * 100_000})

    partly = {f"results/{kind}/{IDS[1]}.parquet" for kind in ("curves", "distilled")}
    assert names_in(disk) - before <= partly, "no temporary file, no row"
    assert store.statuses(fail) == {IDS[0]: "ok"}
    found = load_checkpoint(folder, fail)
    assert found is not None
    assert found[1] == {"i": 0}
    (disk / "ballast").unlink()
    assert put(store, CONFIGS[1])
    assert len(load_results(store.uri, on_invalid=fail)) == 2


def test_store_on_a_full_disk_is_refused_before_any_work(
    small_disk: Callable[[str], Path],
) -> None:
    disk = small_disk("64k")
    store = Store(disk / "results")
    store.create()
    (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free))

    with pytest.raises(UserError, match=r"cannot be written to: .*No space left on device"):
        Store(disk / "results").create()
    with pytest.raises(UserError, match=r"cannot be written to: .*No space left on device"):
        Store(disk / "other").create()


WRITER = """
import sys
from distill.config.base import SCHEMA_VERSION
from distill.config.distillation import DistillationConfig
from sweeps.store.store import Store
from tests.sweeps.plain_results import curve_of, images_of, row_of

store, host, n = Store(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for seed in range(n):
    row = row_of(DistillationConfig(seed=seed), host=host)
    if store.put_result(row, curve_of(), images_of(host.encode() * 1000)):
        print(row["trial_id"], flush=True)
"""


def start_writer(store: Store, host: str, n: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, store.uri, host, str(n)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_two_writers_of_the_same_trials_leave_one_row_each(store: Store) -> None:
    writers = {host: start_writer(store, host, 40) for host in ("a", "b")}
    won = {host: writer.communicate()[0].split() for host, writer in writers.items()}

    assert [writer.returncode for writer in writers.values()] == [0, 0]
    frame = load_results(store.uri, on_invalid=fail)
    assert len(frame) == 40
    assert sorted(won["a"] + won["b"]) == frame["trial_id"].tolist(), "each was won exactly once"
    for trial_id, host in zip(frame["trial_id"], frame["host"], strict=True):
        assert trial_id in won[host]


def test_readers_see_whole_rows_at_every_moment(store: Store) -> None:
    put(store, DistillationConfig(seed=400))
    writer = start_writer(store, "a", 60)
    counts: list[tuple[int, int]] = []
    while writer.poll() is None or not counts:
        plain = pd.read_parquet(store.uri_of("trials"))
        counts.append((len(plain), len(load_results(store.uri, on_invalid=fail))))
    writer.communicate()

    assert counts == sorted(counts)
    assert all(plain <= loaded for plain, loaded in counts)
    assert len(load_results(store.uri)) == 61


def test_killed_writers_leave_only_whole_rows(store: Store) -> None:
    """kill -9 at some moment of the writing, eight times; the rows that were there stay."""
    pauses, rows = torch.Generator().manual_seed(0), dict[Any, str]()
    for attempt in range(8):
        writer = start_writer(store, str(attempt), 30)
        assert writer.stdout is not None
        if attempt < 7:
            writer.stdout.readline()  # it is in the middle of it by now
            time.sleep(0.02 * torch.rand((), generator=pauses).item())
            os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
        found = load_results(store.uri, on_invalid=fail).set_index("trial_id")["host"].to_dict()
        assert rows.items() <= found.items(), "no row is lost or overwritten"
        rows = found
        assert len(pd.read_parquet(store.uri_of("trials"))) == len(rows)

    assert len(rows) == 30
    assert len(load_curves(store.uri, on_invalid=fail)) == 90


# --- compacted copies


def settle(store: Store, config: DistillationConfig, seconds: float = 1000.0) -> None:
    """Makes a row's file older than the moments in which its time stamp says too little."""
    then = time.time() - seconds
    os.utime(file_of(store, config), (then, then))


@pytest.fixture
def compacted(store: Store) -> Store:
    """A store of five rows, of which a copy has been made."""
    for config in CONFIGS[:5]:
        put(store, config, gpu_share=0.25 if config.seed % 2 else None)
        settle(store, config)
    assert store.compact(minimum=5) == 5
    assert len(names_in(folder_of(store) / "compacted")) == 1
    return store


def test_compacted_rows_are_the_same_rows(compacted: Store) -> None:
    fast, statuses = load_results(compacted.uri, on_invalid=fail), compacted.statuses(fail)
    shutil.rmtree(folder_of(compacted) / "compacted")

    pd.testing.assert_frame_equal(fast, load_results(compacted.uri))
    assert statuses == compacted.statuses()


def test_the_copies_are_what_is_read(compacted: Store) -> None:
    """Contents are swapped behind the time stamps: only a reader of the files would see it."""
    path = file_of(compacted, CONFIGS[0])
    stamp = path.stat()
    path.write_bytes(bytes(stamp.st_size))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    assert len(load_results(compacted.uri, on_invalid=fail)) == 5
    assert len(compacted.statuses(fail)) == 5


def test_a_deleted_row_is_not_finished_whatever_the_copy_says(compacted: Store) -> None:
    file_of(compacted, CONFIGS[0]).unlink()

    assert compacted.statuses(fail).keys() == set(IDS[1:5])
    assert load_results(compacted.uri, on_invalid=fail)["trial_id"].tolist() == sorted(IDS[1:5])
    assert put(compacted, CONFIGS[0], total_seconds=99.0)
    frame = load_results(compacted.uri, on_invalid=fail).set_index("trial_id")
    assert frame["total_seconds"][IDS[0]] == 99.0
    assert len(frame) == 5


def test_a_replaced_row_wins_over_its_copy(compacted: Store) -> None:
    size = file_of(compacted, CONFIGS[0]).stat().st_size
    seconds = next(
        seconds  # the checksums of pages take more or fewer bytes
        for seconds in map(float, range(100))
        if len(row_content(row_of(CONFIGS[0], total_seconds=seconds))) == size
    )
    put(compacted, CONFIGS[0], total_seconds=seconds, replace=True)
    assert file_of(compacted, CONFIGS[0]).stat().st_size == size, "the time alone must tell"

    frame = load_results(compacted.uri, on_invalid=fail).set_index("trial_id")

    assert frame["total_seconds"].to_dict() == dict.fromkeys(IDS[1:5], 12.5) | {IDS[0]: seconds}


def test_a_row_damaged_since_is_not_finished(compacted: Store) -> None:
    half(file_of(compacted, CONFIGS[0]))
    named: list[str] = []

    assert compacted.statuses(named.append).keys() == set(IDS[1:5])
    assert len(named) == 1


def test_compacting_again_takes_what_is_new_and_drops_what_is_gone(compacted: Store) -> None:
    file_of(compacted, CONFIGS[0]).unlink()
    put(compacted, CONFIGS[5])
    settle(compacted, CONFIGS[5])

    assert compacted.compact(minimum=2) == 0, "not worth it"
    assert compacted.compact(minimum=1) == 1
    assert compacted.compact(minimum=1) == 0
    (copy,) = (folder_of(compacted) / "compacted").iterdir()
    assert set(pq.read_table(copy)["trial_id"].to_pylist()) == set(IDS[1:6])
    assert load_results(compacted.uri, on_invalid=fail)["trial_id"].tolist() == sorted(IDS[1:6])


def test_young_and_invalid_files_are_not_copied(store: Store) -> None:
    """A file of this second could be replaced by one with the same time stamp."""
    for config in CONFIGS[:4]:
        put(store, config)
    settle(store, CONFIGS[0])
    empty(file_of(store, CONFIGS[1]))
    settle(store, CONFIGS[1])
    settle(store, CONFIGS[2], seconds=-1000.0)  # a clock that is ahead

    assert store.compact(minimum=1) == 1
    assert store.statuses(lambda _: None).keys() == {IDS[0], IDS[2], IDS[3]}


def test_a_copy_that_cannot_be_used_is_as_good_as_none(compacted: Store) -> None:
    (copy,) = (folder_of(compacted) / "compacted").iterdir()
    table = pq.read_table(copy)
    whole = load_results(compacted.uri)
    for content in (
        table.drop_columns(["seed"]),  # written by a version that knew fewer columns
        table.select(["trial_id", "_file_size"]),
        pa.table({"a": [1]}),
        None,
    ):
        if content is None:
            half(copy)
        else:
            pq.write_table(content, copy)
        pd.testing.assert_frame_equal(load_results(compacted.uri, on_invalid=fail), whole)
        assert len(compacted.statuses(fail)) == 5
    assert compacted.compact(minimum=1) == 5
    pd.testing.assert_frame_equal(load_results(compacted.uri, on_invalid=fail), whole)
    assert names_in(folder_of(compacted) / "compacted").isdisjoint({copy.name})


def test_rows_of_another_schema_are_not_compacted(store: Store, tmp_path: Path) -> None:
    put(store, CONFIGS[0])
    description = json.loads((folder_of(store) / "sweep.json").read_text())
    (folder_of(store) / "sweep.json").write_text(json.dumps(description | {"schema_version": 99}))

    with pytest.raises(UserError, match=r"schema_version 99, written by .*; this code has 2"):
        store.compact(minimum=1, settled_seconds=0)
    with pytest.raises(UserError, match="there are no results at"):
        Store(tmp_path / "nowhere").compact()

    assert names_in(folder_of(store) / "compacted") == set()


def test_two_copies_of_a_row_count_once(compacted: Store) -> None:
    """Two drivers compact at the same moment: both files stay until the next time."""
    (copy,) = (folder_of(compacted) / "compacted").iterdir()
    shutil.copy(copy, copy.with_name("20200101T000000000000Z-00000000.parquet"))

    assert load_results(compacted.uri, on_invalid=fail)["trial_id"].tolist() == sorted(IDS[:5])


def test_a_few_rows_are_not_worth_a_copy(store: Store) -> None:
    for config in CONFIGS:
        put(store, config)
        settle(store, config)

    assert len(CONFIGS) < COMPACT_FROM
    assert store.compact() == 0
    assert names_in(folder_of(store) / "compacted") == set()


def test_notices_are_listed_once(store: Store) -> None:
    for config, notices in zip(CONFIGS, (["a", "b"], ["a"], None), strict=False):
        store.put_result(row_of(config, notices=notices), [])
    assert distinct_notices(load_results(store.uri)) in (["a", "b"], ["b", "a"])
