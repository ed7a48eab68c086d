"""Distilled sets as files: exact round trips, the Hub's own loader, the picture."""

import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from distill.datasets import load_dataset
from distill.errors import UserError
from distill.trials.distilled_files import (
    distilled_table,
    load_distilled,
    parquet_bytes,
    read_distilled,
    save_distilled,
    to_uint8,
)
from distill.trials.image_sheet import sheet_png

CLASS_NAMES = ("tench", "great white shark", "zèbre")


def some_images(n: int = 6, channels: int = 3, height: int = 5, width: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    shape = (n, channels, height, width)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


def test_rounding_is_half_to_even_and_clamped() -> None:
    half = torch.tensor([0.5, 1.5, 2.5, 126.5], dtype=torch.float64) / 255
    assert to_uint8(half).tolist() == [0, 2, 2, 126]
    assert to_uint8(torch.tensor([-3.0, 0.0, 1.0, 7.0, torch.inf])).tolist() == [
        0,
        0,
        255,
        255,
        255,
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_level_comes_back(dtype: torch.dtype) -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(levels.to(dtype) / 255), levels)
    assert to_uint8(levels) is levels


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="must not hold NaN, got 2 NaN pixels"):
        to_uint8(torch.tensor([0.1, torch.nan, torch.nan]))


@pytest.mark.parametrize("channels", [1, 3])
def test_round_trip_is_exact(tmp_path: Path, channels: int) -> None:
    images = some_images(channels=channels)
    path = tmp_path / "set.parquet"
    save_distilled(path, images, LABELS, CLASS_NAMES, metadata={"ipc": "2", "trial_id": "abc"})
    loaded = load_distilled(path)
    assert torch.equal(loaded.images, images)
    assert torch.equal(loaded.labels, LABELS)
    assert loaded.class_names == CLASS_NAMES
    assert loaded.metadata == {"ipc": "2", "trial_id": "abc"}
    assert names_in(tmp_path) == ["set.parquet"]


def test_float_images_are_rounded_by_the_one_rule(tmp_path: Path) -> None:
    images = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1
    images.requires_grad_()
    save_distilled(tmp_path / "a.parquet", images, LABELS, CLASS_NAMES)
    assert torch.equal(load_distilled(tmp_path / "a.parquet").images, to_uint8(images))


def test_same_set_same_bytes(tmp_path: Path) -> None:
    for name, metadata in (("a", {"x": "1", "y": "2"}), ("b", {"y": "2", "x": "1"})):
        save_distilled(tmp_path / name, some_images(), LABELS, CLASS_NAMES, metadata=metadata)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_table_and_its_file_hold_the_same_set(tmp_path: Path) -> None:
    table = distilled_table(some_images(), LABELS, CLASS_NAMES, metadata={"ipc": "2"})
    (tmp_path / "a.parquet").write_bytes(parquet_bytes(table))
    from_table, from_file = read_distilled(table), load_distilled(tmp_path / "a.parquet")
    assert torch.equal(from_table.images, some_images())
    assert torch.equal(from_file.images, some_images())
    assert torch.equal(from_table.labels, from_file.labels)
    assert from_table[2:] == from_file[2:] == (CLASS_NAMES, {"ipc": "2"}, None)


WEIGHTS = torch.tensor([0.5, 1.5, 0.0, 2.25, 1 / 3, 1.25], dtype=torch.float64)


def test_weights_come_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    save_distilled(path, some_images(), LABELS, CLASS_NAMES, weights=WEIGHTS)
    table = distilled_table(some_images(), LABELS, CLASS_NAMES, weights=WEIGHTS)
    for read in (read_distilled(table), load_distilled(path)):
        assert read.weights is not None
        assert read.weights.dtype == torch.float64
        assert torch.equal(read.weights, WEIGHTS)
        assert torch.equal(read.images, some_images())
    assert table.column_names == ["image", "label", "weight"]
    features = json.loads(pq.read_schema(path).metadata[b"huggingface"])["info"]["features"]
    assert features["weight"] == {"_type": "Value", "dtype": "float64"}
    save_distilled(tmp_path / "b.parquet", some_images(), LABELS, CLASS_NAMES)
    data = load_dataset(f"parquet:{path},test={tmp_path}/b.parquet")
    assert data.train_labels.tolist() == LABELS.tolist(), "the weights are not taken for labels"


def test_without_weights_there_is_no_column() -> None:
    assert distilled_table(some_images(), LABELS, CLASS_NAMES).column_names == ["image", "label"]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (WEIGHTS[:5], r"weights must have the shape \(6,\), got \(5,\)"),
        (-WEIGHTS, "weights must be finite, at least 0 and not all 0, got -0.5"),
        (WEIGHTS / 0, "weights must be finite, .* got inf"),
        (0 * WEIGHTS, "weights must be finite, .* got only zeros"),
    ],
)
def test_bad_weights_are_refused(tmp_path: Path, weights: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        save_distilled(tmp_path / "out", some_images(), LABELS, CLASS_NAMES, weights=weights)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([1.0, None, 1.0, 1.0, 1.0, 1.0], "the column 'weight' must hold a number in every row"),
        (["1"] * 6, "the column 'weight' must hold a number in every row"),
        ([1.0, -2.0, 1.0, 1.0, 1.0, 1.0], r"weights must be finite, .* got -2\.0"),
    ],
)
def test_bad_weights_in_a_file_are_named(tmp_path: Path, cells: list[Any], message: str) -> None:
    table = distilled_table(some_images(), LABELS, CLASS_NAMES)
    pq.write_table(table.append_column("weight", [cells]), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=rf"a\.parquet: {message}"):
        load_distilled(tmp_path / "a.parquet")


def test_own_parquet_source_reads_it(tmp_path: Path) -> None:
    images = some_images()
    save_distilled(tmp_path / "small.parquet", images, LABELS, CLASS_NAMES)
    save_distilled(tmp_path / "real-test.parquet", images.flip(0), LABELS.flip(0), CLASS_NAMES)
    data = load_dataset(f"parquet:{tmp_path}/small.parquet,{tmp_path}/real-test.parquet")
    assert torch.equal(data.train_images, images)
    assert torch.equal(data.train_labels, LABELS)
    assert torch.equal(data.test_images, images.flip(0))
    assert data.class_names == CLASS_NAMES


def test_layout_is_the_hubs(tmp_path: Path) -> None:
    save_distilled(tmp_path / "a.parquet", some_images(), LABELS, CLASS_NAMES)
    schema = pq.read_schema(tmp_path / "a.parquet")
    assert str(schema.field("image").type) == "struct<bytes: binary, path: string>"
    assert str(schema.field("label").type) == "int64"
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"] == {"_type": "ClassLabel", "names": list(CLASS_NAMES)}


HUB_SCRIPT = """
import json, sys
import numpy as np
from datasets import load_dataset
loaded = load_dataset("parquet", data_files=sys.argv[1], split="train")
print(json.dumps({
    "pixels": [np.asarray(row["image"]).tolist() for row in loaded],
    "modes": [row["image"].mode for row in loaded],
    "labels": loaded["label"][:],
    "names": loaded.features["label"].names,
}))
"""


@pytest.mark.parametrize("channels", [1, 3])
def test_the_hubs_own_library_reads_it(tmp_path: Path, channels: int) -> None:
    """In another process: the library reads its environment when it is imported."""
    pytest.importorskip("datasets", reason="the package datasets is in the dev environment only")
    images = some_images(channels=channels)
    save_distilled(tmp_path / "a.parquet", images, LABELS, CLASS_NAMES)
    environment = {
        **os.environ,
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [sys.executable, "-c", HUB_SCRIPT, str(tmp_path / "a.parquet")],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    pixels = np.array(read["pixels"]).reshape(6, 5, 7, channels).transpose(0, 3, 1, 2)
    assert np.array_equal(pixels, images.numpy())
    assert set(read["modes"]) == {"L" if channels == 1 else "RGB"}
    assert read["labels"] == LABELS.tolist()
    assert read["names"] == list(CLASS_NAMES)


@pytest.mark.parametrize("build", [distilled_table, sheet_png])
@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(6, 2, 4, 4), LABELS, r"got \(6, 2, 4, 4\)"),
        (torch.zeros(0, 3, 4, 4), LABELS[:0], r"nothing empty, got \(0, 3, 4, 4\)"),
        (torch.zeros(6, 3, 4, 4), LABELS[:5], r"labels must have the shape \(6,\), got \(5,\)"),
        (torch.zeros(6, 3, 4, 4), LABELS + 1, r"labels must be in 0 … 2, got 1 … 3"),
        (torch.zeros(6, 3, 4, 4), LABELS - 1, r"labels must be in 0 … 2, got -1 … 1"),
    ],
)
def test_bad_sets_are_refused_and_nothing_written(
    tmp_path: Path, build: object, images: Tensor, labels: Tensor, message: str
) -> None:
    assert callable(build)
    with pytest.raises(ValueError, match=message):
        build(images, labels, CLASS_NAMES)
    with pytest.raises(ValueError, match=message):
        save_distilled(tmp_path / "out", images, labels, CLASS_NAMES)
    assert names_in(tmp_path) == []


def test_loading_what_is_no_distilled_set(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("no Parquet")
    with pytest.raises(UserError, match=r"a\.parquet is not a readable Parquet file"):
        load_distilled(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"b\.parquet is not a readable Parquet file"):
        load_distilled(tmp_path / "b.parquet")


def read_sheet(content: bytes) -> np.ndarray:
    with Image.open(BytesIO(content)) as image:
        return np.asarray(image)


def test_sheet_shows_every_pixel_in_the_row_of_its_class() -> None:
    """The cells are at the right end; each is an exact enlargement."""
    order = torch.tensor([4, 0, 2, 1, 3, 5])  # mixed up: rows go by label, then by order
    images = some_images(height=8, width=8)
    sheet = read_sheet(sheet_png(images[order], LABELS[order], CLASS_NAMES, scale=3))
    cell, gap = 24, 2
    assert sheet.shape[0] == 3 * (cell + gap) + gap
    first_column = sheet.shape[1] - gap - 2 * (cell + gap)
    for row, members in enumerate(([0, 1], [2, 3], [4, 5])):
        for column, member in enumerate(members):
            top, left = gap + row * (cell + gap), first_column + column * (cell + gap)
            shown = sheet[top : top + cell, left : left + cell]
            expected = images[member].numpy().transpose(1, 2, 0).repeat(3, axis=0).repeat(3, axis=1)
            assert np.array_equal(shown, expected)
    names = sheet[:, : first_column - gap]
    assert names.min() < 128 < names.max()  # ink on paper


def test_sheet_of_grey_images_with_an_empty_class() -> None:
    sheet = read_sheet(sheet_png(some_images(2, 1), torch.tensor([0, 2]), CLASS_NAMES))
    assert sheet.ndim == 2
    third = len(sheet) // 3
    assert np.all(sheet[third + 2 : 2 * third - 2, -80:] == 255)


def test_sheet_wraps_at_columns() -> None:
    images = some_images(6, 3, 8, 8)
    sheet = read_sheet(sheet_png(images, LABELS, CLASS_NAMES, columns=1, scale=2))
    assert sheet.shape[0] == 6 * (16 + 2) + 2
    with pytest.raises(ValueError, match="columns and scale must be at least 1, got 0 and None"):
        sheet_png(images, LABELS, CLASS_NAMES, columns=0)
    with pytest.raises(ValueError, match="columns and scale must be at least 1, got 2 and 0"):
        sheet_png(images, LABELS, CLASS_NAMES, scale=0)


@pytest.mark.parametrize(
    ("n_classes", "ipc", "side", "low", "high"),
    [
        (10, 1, 8, 900, 1100),  # small images are enlarged
        (2, 1, 150, 150, 600),  # large ones stay as they are
        (100, 20, 32, 3000, 4200),  # many still fit
        (2, 100, 200, 8000, 8500),  # too many large ones are shrunk
    ],
)
def test_sheet_size_is_sensible(n_classes: int, ipc: int, side: int, low: int, high: int) -> None:
    images = torch.full((n_classes * ipc, 1, side, side), 128, dtype=torch.uint8)
    labels = torch.arange(n_classes).repeat_interleave(ipc)
    names = tuple(f"a class with a very long name, number {i}" for i in range(n_classes))
    assert low <= max(read_sheet(sheet_png(images, labels, names)).shape) <= high
