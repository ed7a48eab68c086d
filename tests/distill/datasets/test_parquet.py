"""Parquet files: parts, columns, class names, labels."""

import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.datasets import describe_source, load_dataset
from distill.datasets.parquet import parquet_rows
from distill.errors import UserError
from tests.distill.datasets.sources import (
    NAMES,
    encoded,
    keys,
    picture,
    pictures,
    pixels_of,
    sizes_of,
    the_notice,
    two_files,
    write_parquet,
)


def test_pixels_labels_and_class_names(tmp_path: Path) -> None:
    data = load_dataset(two_files(tmp_path))
    expected = np.stack([pixels_of(picture(i)) for i in range(10)])
    assert np.array_equal(data.train_images.numpy(), expected)
    assert data.image_size == (4, 6)
    assert data.train_labels.tolist() == [0, 1] * 5
    assert np.array_equal(data.test_images[3].numpy(), pixels_of(picture(53)))
    assert data.val_images.shape == (0, 3, 4, 6)
    assert data.class_names == NAMES
    assert [index.tolist() for index in data.class_indices] == [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]
    assert data.class_indices is data.class_indices


@pytest.mark.parametrize(
    ("files", "given"),
    [
        (("cifar-train.parquet", "cifar-test.parquet", "cifar-val.parquet"), "{}"),
        (("train/0.parquet", "test/0.parquet", "validation/0.parquet"), "{}"),
        (("a/train-0-of-1.parquet", "a/test-0.parquet", "a/valid.parquet"), "{}/a/*.parquet"),
        (("x.parquet", "y.parquet", "z.parquet"),
         "train={}/x.parquet,test={}/y.parquet,val={}/z.parquet"),
        (("latest-train.parquet", "test.parquet", "val.parquet"), "{}/*.parquet"),
    ],
)  # fmt: skip
def test_file_names_and_prefixes_set_the_part(
    tmp_path: Path, files: tuple[str, ...], given: str
) -> None:
    for i, (file, n) in enumerate(zip(files, (6, 4, 2), strict=True)):
        write_parquet(tmp_path / file, pictures(n, 10 * i), [0, 1] * (n // 2))
    data = load_dataset("parquet:" + given.replace("{}", str(tmp_path)), val_fraction=0.5)
    assert [len(p) for p in (data.train_images, data.test_images, data.val_images)] == [6, 4, 2]


def test_training_files_are_read_in_sorted_order(tmp_path: Path) -> None:
    for i in range(3):
        write_parquet(tmp_path / f"train-{i}.parquet", pictures(2, 10 * i), [0, 1])
    write_parquet(tmp_path / ".hidden-train.parquet", pictures(2), [0, 1])
    write_parquet(tmp_path / "test.parquet", pictures(2, 90), [0, 1])
    data = load_dataset(f"parquet:{tmp_path}")
    expected = [pixels_of(picture(i)).tobytes() for i in (0, 1, 10, 11, 20, 21)]
    assert keys(data.train_images) == expected


def test_binary_images_and_string_labels_without_metadata(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "a.parquet",
        pictures(10),
        ["yak", "emu"] * 5,
        names=None,
        plain=True,
        label="kind",
    )
    data = load_dataset(f"parquet:{path}")
    assert data.class_names == ("emu", "yak")
    yaks = {pixels_of(picture(i)).tobytes() for i in range(0, 10, 2)}
    assert [key in yaks for key in keys(data.train_images)] == data.train_labels.bool().tolist()


def test_integer_labels_without_metadata(tmp_path: Path) -> None:
    labels = pa.array([0, 1, 2] * 5, pa.uint8())
    path = write_parquet(tmp_path / "a.parquet", pictures(15), labels, names=None)
    assert load_dataset(f"parquet:{path}").class_names == ("0", "1", "2")


def test_class_names_keep_the_order_of_the_metadata(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", pictures(10), [0, 1] * 5, names=("zoo", "ape"))
    assert load_dataset(f"parquet:{path}").class_names == ("zoo", "ape")


def test_image_cells_may_hold_a_path(tmp_path: Path) -> None:
    for i in range(10):
        picture(i).save(tmp_path / f"{i}.png")
    cells = [{"bytes": None, "path": f"{i}.png"} for i in range(10)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(cells, kind), "label": [0, 1] * 5})
    pq.write_table(table, tmp_path / "a.parquet")
    data = load_dataset(f"parquet:{tmp_path}/a.parquet")
    assert len(data.train_images) + len(data.test_images) == 10


def test_ambiguous_columns_are_listed_and_selectable(tmp_path: Path) -> None:
    """The Hub's CIFAR-100 has two label columns."""
    features = {
        "img": {"_type": "Image"},
        "fine": {"_type": "ClassLabel", "names": ["a", "b"]},
        "coarse": {"_type": "ClassLabel", "names": ["all", "others"]},
    }
    path = write_parquet(
        tmp_path / "a.parquet", pictures(10), [0, 1] * 5, label="fine",
        extra={"coarse": [1, 0] * 5}, features=features,
    )  # fmt: skip
    with pytest.raises(UserError, match="several columns that could be the label: fine, coarse; "):
        load_dataset(f"parquet:{path}")
    assert load_dataset(f"parquet:label=coarse,{path}").class_names == ("all", "others")
    assert load_dataset(f"parquet:label=fine,image=img,{path}").class_names == ("a", "b")


def test_columns_are_found_by_type(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = pa.array([{"bytes": b, "path": None} for b in pictures(10)], kind)
    path = write_parquet(
        tmp_path / "a.parquet", pictures(10), [0, 1] * 5, names=None, extra={"second": cells}
    )
    with pytest.raises(UserError, match="several columns that could be the image: img, second"):
        load_dataset(f"parquet:{path}")
    pq.write_table(pa.table({"label": [0, 1], "score": [0.5, 1.0]}), tmp_path / "b.parquet")
    message = r"has no image column; its columns are: label \(int64\), score \(double\)"
    with pytest.raises(UserError, match=message):
        load_dataset(f"parquet:{tmp_path}/b.parquet")
    pq.write_table(pa.table({"img": cells, "score": [0.5] * 10}), tmp_path / "c.parquet")
    with pytest.raises(UserError, match="has no label column; its columns are: img"):
        load_dataset(f"parquet:{tmp_path}/c.parquet")
    other = {"img": cells, "id": list(range(10)), "label": [0, 1] * 5}
    pq.write_table(pa.table(other), tmp_path / "d.parquet")
    assert load_dataset(f"parquet:{tmp_path}/d.parquet").n_classes == 2


def test_invalid_metadata_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", pictures(10), [0, 1] * 5)
    table = pq.read_table(path).replace_schema_metadata({"huggingface": "{"})
    pq.write_table(table, path)
    with pytest.raises(
        UserError, match=r"a\.parquet: the schema metadata 'huggingface' is invalid"
    ):
        load_dataset(f"parquet:{path}")


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 1, -1, 1], NAMES, r"test\.parquet row 2: label -1 is negative \(on the Hub −1"),
        ([0, 2, 0, 1], NAMES, r"test\.parquet row 1: label 2 must be in 0 … 1"),
        ([0, None, 0, 1], NAMES, r"test\.parquet row 1 has no label in column 'label'"),
        (
            [0, 1, 0, 1],
            ("dog", "cat"),
            "differ: label 0 is 'dog' in the first and 'cat' in the sec",
        ),
        ([0, 1, 0, 1], ("cat",), "differ: the first has 1 and the second 2"),
        (["cat", "cow", "dog", "dog"], None, r"row 1: label 'cow' is not among the .*: cat, dog"),
    ],
)
def test_invalid_test_labels_are_refused(
    tmp_path: Path, labels: list[Any], names: tuple[str, ...] | None, message: str
) -> None:
    write_parquet(tmp_path / "train.parquet", pictures(4), [0, 1, 0, 1])
    write_parquet(tmp_path / "test.parquet", pictures(4), labels, names=names)
    with pytest.raises(UserError, match=message):
        load_dataset(f"parquet:{tmp_path}")


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 0, 0, 0], NAMES, r"1 of 2 classes have none \('dog'\)"),
        ([1, 2, 1, 2], None, r"1 of 3 classes have none \('0'\)"),
        ([7, 2**40, 1, 2], None, "go up to 1099511627776, but there are only 4 training images"),
        ([-1, -1, -1, -1], None, r"train\.parquet row 0: label -1 is negative"),
        ([], NAMES, "there are no training images"),
    ],
)
def test_invalid_training_labels_are_refused(
    tmp_path: Path, labels: list[int], names: tuple[str, ...] | None, message: str
) -> None:
    train = pa.array(labels, pa.int64())
    write_parquet(tmp_path / "train.parquet", pictures(len(labels)), train, names=names)
    write_parquet(tmp_path / "test.parquet", pictures(2), [0, 1], names=names)
    with pytest.raises(UserError, match=message):
        load_dataset(f"parquet:{tmp_path}")


# Which file is for which split


@pytest.mark.parametrize(
    ("files", "given"),
    [
        (("train-0.parquet", "eval-0.parquet", "dev-0.parquet"), "{}"),
        (("TRAIN.parquet", "Testing.parquet", "Valid.parquet"), "{}"),
        (("training/0.parquet", "evaluation/0.parquet", "dev/0.parquet"), "{}"),
        (("train/0.parquet", "test/trains.parquet", "val/test-0.parquet"), "{}"),
        (("train/a/0.parquet", "test/a/trains.parquet", "val/a/test-0.parquet"), "{}"),
        (("train/0.parquet", "test/trains.parquet", "val/0.parquet"), "{}/*/*.parquet"),
        (("train/0.parquet", "test/0.parquet", "val/0.parquet"), "{}/train,{}/test,{}/val"),
        (("train/0.parquet", "test/0.parquet", "val/0.parquet"),
         "{}/val/0.parquet,{}/train/0.parquet,{}/test/0.parquet"),
        (("contest.parquet", "x_test_1.parquet", "dev.2.parquet"), "{}"),
    ],
)  # fmt: skip
def test_words_of_the_hub_set_the_split(tmp_path: Path, files: tuple[str, ...], given: str) -> None:
    for i, (file, n) in enumerate(zip(files, (6, 4, 2), strict=True)):
        write_parquet(tmp_path / "data" / file, pictures(n, 10 * i), [0, 1] * (n // 2))
    name = "parquet:" + given.replace("{}", str(tmp_path / "data"))
    data = load_dataset(name, val_fraction=0.5)
    assert sizes_of(data) == [6, 2, 4]
    notice = the_notice(data, "taken for training: ")
    training, validation, test = notice.removeprefix("taken for ").split("; for ")
    assert training.endswith(Path(files[0]).name)
    assert test.endswith(Path(files[1]).name)
    assert validation.endswith(Path(files[2]).name)


def test_a_shared_folder_name_is_no_split(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "test" / "a.parquet", pictures(10), [0, 1] * 5)
    for name in (path, path.parent, f"{path.parent}/*.parquet"):
        data = load_dataset(f"parquet:{name}")
        assert sizes_of(data) == [8, 0, 2]
        ending = "; for test: a part of the training images (--test-fraction)"
        assert the_notice(data, "taken").endswith(ending)


def test_without_test_files_validation_files_are_tested_on(tmp_path: Path) -> None:
    train = write_parquet(tmp_path / "train.parquet", pictures(10), [0, 1] * 5)
    val = write_parquet(tmp_path / "validation.parquet", pictures(4, 20), [0, 1] * 2)
    data = load_dataset(f"parquet:{tmp_path}")
    assert sizes_of(data) == [10, 0, 4]
    assert "; for test: validation.parquet (there is no" in the_notice(data, "taken")
    explicit = load_dataset(f"parquet:{train},val={val}", val_fraction=0.1)
    assert sizes_of(explicit) == [8, 4, 2]
    assert the_notice(explicit, "taken") == (
        "taken for training: train.parquet; for validation: validation.parquet; "
        "for test: a part of the training images (--test-fraction)"
    )


def test_files_without_a_split_beside_training_files_are_left_out(tmp_path: Path) -> None:
    for i, name in enumerate(("train", "test", "extra")):
        write_parquet(tmp_path / f"{name}.parquet", pictures(4, 10 * i), [0, 1] * 2)
    data = load_dataset(f"parquet:{tmp_path}")
    assert sizes_of(data) == [4, 0, 4]
    assert the_notice(data, "taken").endswith("left out: extra.parquet (no split in the name)")
    paths = ",".join(f"{tmp_path}/{name}.parquet" for name in ("train", "test", "extra"))
    given = load_dataset(f"parquet:{paths}")
    assert sizes_of(given) == [8, 0, 4]


def test_a_name_with_two_splits_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-test.parquet", pictures(4), [0, 1] * 2)
    with pytest.raises(UserError, match=r"'train-test.parquet' .* says training and test; give it"):
        load_dataset(f"parquet:{tmp_path}")


# Paths


@pytest.mark.parametrize(
    "spec",
    ['"{}/a,b/train.parquet",{}/test.parquet', r"{}/a\,b/train.parquet,{}/test.parquet",
     "'{}/a,b/train.parquet',test={}/test.parquet", 'train="{}/a,b/train.parquet",{}/test.parquet',
     r"train={}/a\,b,{}/test.parquet", '"{}/a,b/*.parquet",{}/test.parquet'],
)  # fmt: skip
def test_commas_in_paths_are_quoted_or_escaped(tmp_path: Path, spec: str) -> None:
    write_parquet(tmp_path / "a,b" / "train.parquet", pictures(6), [0, 1] * 3)
    write_parquet(tmp_path / "test.parquet", pictures(4), [0, 1] * 2)
    assert sizes_of(load_dataset("parquet:" + spec.replace("{}", str(tmp_path)))) == [6, 0, 4]


def test_one_path_with_a_comma_needs_no_quotes(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a,b" / "it's.parquet", pictures(10), [0, 1] * 5)
    for name in (path, path.parent):
        assert sizes_of(load_dataset(f"parquet:{name}")) == [8, 0, 2]


def test_open_quote_and_missing_path_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'the quote " in the dataset .* is not closed'):
        load_dataset(f'parquet:"{tmp_path}/a,b.parquet')
    with pytest.raises(UserError, match=r"no such file or folder: .*/a,b\.parquet .*; quote paths"):
        load_dataset(f'parquet:"{tmp_path}/a,b.parquet"')


@pytest.mark.parametrize("path", ["../secret.png", "{}/secret.png", "/proc/self/mem"])
def test_image_paths_stay_below_the_folder_of_the_file(tmp_path: Path, path: str) -> None:
    picture(1).save(tmp_path / "secret.png")
    cells = [{"bytes": None, "path": path.replace("{}", str(tmp_path))}] * 10
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    (tmp_path / "data").mkdir()
    table = pa.table({"image": pa.array(cells, kind), "label": [0, 1] * 5})
    pq.write_table(table, tmp_path / "data" / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet row 0: the image path .* leads out of the"):
        load_dataset(f"parquet:{tmp_path}/data/a.parquet", on_corrupt="skip")


def test_an_image_path_in_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = pa.array([{"bytes": None, "path": "loop.png"}] * 10, kind)
    pq.write_table(pa.table({"image": cells, "label": [0, 1] * 5}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"loop\.png"):
        load_dataset(f"parquet:{tmp_path}/a.parquet")


def test_an_image_path_with_a_nul_is_refused(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = pa.array([{"bytes": None, "path": "a\0b.png"}] * 10, kind)
    pq.write_table(pa.table({"image": cells, "label": [0, 1] * 5}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet row 0: .* is no image path"):
        load_dataset(f"parquet:{tmp_path}/a.parquet", on_corrupt="skip")


def test_a_part_of_a_path_with_a_comma_has_the_hint(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a,b" / "c.parquet", pictures(10), [0, 1] * 5)
    with pytest.raises(
        UserError, match=r"no such file or folder: .*/a .*; quote paths with commas"
    ):
        load_dataset(f"parquet:train={path},test={path}")


def test_a_large_cell_that_rows_repeat_is_in_memory_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file holds it once, as a dictionary; the mean size of its rows says nothing."""
    cell = {"bytes": encoded(picture(1)) + bytes(1_000_000), "path": None}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array([cell] * 200, kind), "label": [0, 1] * 100})
    pq.write_table(table, tmp_path / "a.parquet", dictionary_pagesize_limit=10**8)
    assert (tmp_path / "a.parquet").stat().st_size < 1_200_000
    monkeypatch.setattr("distill.datasets.parquet._BATCH_BYTES", 4_000_000)

    batches = [len(batch) for batch in parquet_rows(f"{tmp_path}/a.parquet").batches()]

    assert sum(batches) == 200
    assert max(batches) <= 3
    pa.default_memory_pool().release_unused()
    before = pa.default_memory_pool().max_memory()
    for _ in parquet_rows(f"{tmp_path}/a.parquet").batches():
        pass
    assert pa.default_memory_pool().max_memory() <= max(before, 40_000_000)


def test_a_long_label_that_rows_repeat_is_in_memory_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = [letter * 1_000_000 for letter in "ab"] * 300
    table = pa.table({"img": [encoded(picture(1))] * 600, "label": labels})
    pq.write_table(table, tmp_path / "a.parquet", dictionary_pagesize_limit=10**8)
    assert (tmp_path / "a.parquet").stat().st_size < 1_000_000
    monkeypatch.setattr("distill.datasets.parquet._BATCH_BYTES", 20_000_000)
    tracemalloc.start()
    try:
        rows = parquet_rows(f"{tmp_path}/a.parquet")
        assert [len(name) for name in rows.class_names] == [1_000_000] * 2
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


# Columns and metadata


def test_an_empty_list_of_class_names_is_none(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", pictures(10), [0, 1] * 5)
    metadata = '{"info": {"features": {"label": {"names": []}}}}'
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": metadata}), path)
    assert load_dataset(f"parquet:{path}").class_names == ("0", "1")


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", pictures(4), [0, 1] * 2, names=None)
    table = pq.read_table(path)
    twice = pa.Table.from_arrays([*table.columns, table["label"]], names=["img", "label", "label"])
    pq.write_table(twice, path)
    with pytest.raises(UserError, match=r"a\.parquet has 2 columns named 'label'"):
        load_dataset(f"parquet:{path}")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("[" * 100_000, "schema metadata 'huggingface' is invalid"),
        ('{"info": {"features": {"label": {"names": 7}}}}', "must be a list, got 7"),
        ('{"info": []}', "schema metadata 'huggingface' is invalid"),
    ],
)
def test_odd_metadata_is_refused(tmp_path: Path, metadata: str, message: str) -> None:
    path = write_parquet(tmp_path / "a.parquet", pictures(4), [0, 1] * 2)
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": metadata}), path)
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(f"parquet:{path}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("claimed", [10_008, 10**6, 4 * 10**12])
def test_wrong_number_of_rows_is_refused(tmp_path: Path, claimed: int) -> None:
    """Reading so many rows at once would ask for terabytes."""
    n = 10_007  # its bytes in the footer are those of nothing else
    path = write_parquet(tmp_path / "a.parquet", [None] * n, [0, 1] * (n // 2) + [0], names=None)
    pq.write_table(pq.read_table(path), path, row_group_size=n)
    content = path.read_bytes()
    size = int.from_bytes(content[-8:-4], "little")
    footer = content[-8 - size : -8]
    assert footer.count(thrift_integer(n)) >= 3  # of the file, the row group and its columns
    footer = footer.replace(thrift_integer(n), thrift_integer(claimed))
    tail = footer + len(footer).to_bytes(4, "little") + b"PAR1"
    path.write_bytes(content[: -8 - size] + tail)
    assert pq.read_metadata(path).num_rows == claimed

    with pytest.raises(UserError, match=rf"says that it has {claimed:,} rows, and holds 10,007"):
        load_dataset(f"parquet:{path}", on_corrupt="skip")


def thrift_integer(number: int) -> bytes:
    """Returns a positive integer in Thrift's compact protocol: zigzag, seven bits a byte."""
    left, found = 2 * number, b""
    while left > 127:
        found += bytes([left & 127 | 128])
        left >>= 7
    return found + bytes([left])


def test_large_cells_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    """Cells of 60 MB of equal bytes, a few in the file: 128 MiB of them are read at a time."""
    cells = [bytes([index]) * 60_000_000 for index in range(5)]
    path = write_parquet(tmp_path / "a.parquet", cells, [0, 1, 0, 1, 0])
    pq.write_table(
        pq.read_table(path), path, row_group_size=5, compression="zstd", use_dictionary=False
    )
    assert path.stat().st_size < 1_000_000
    batches = parquet_rows(str(path), "skip").batches()
    assert [len(batch) for batch in batches] == [2, 2, 1]


def test_paths_of_pipes_are_no_images(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    cells = [{"bytes": None, "path": "pipe.png"}] * 10
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(cells, kind), "label": [0, 1] * 5})
    pq.write_table(table, tmp_path / "a.parquet")
    name = f"parquet:{tmp_path}/a.parquet"
    with pytest.raises(UserError, match=r"a\.parquet row 0: not a regular file"):
        load_dataset(name)
    with pytest.raises(UserError, match=r"a\.parquet row 0: not a regular file"):
        describe_source(name)
