"""Data sets on disk for the tests: small pictures in Parquet files and folders."""

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from distill.datasets import ImageData, describe_notices
from tests.paths import SHARED_DATA

NAMES = ("cat", "dog")


def needs(file: str) -> Path:
    path = SHARED_DATA / file
    if not path.is_file():
        pytest.skip(f"the real images of {path} are not on this machine")
    return path


def picture(seed: int, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> Image.Image:
    """Returns a (width, height) picture of noise, dark on the left and lighter on the right."""
    generator = np.random.default_rng(seed)
    ramp = np.linspace(20, 200, size[0])[None, :, None]
    pixels = (ramp + generator.integers(0, 50, (size[1], size[0], 3))).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def pixels_of(image: Image.Image) -> NDArray[np.uint8]:
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def pictures(n: int, start: int = 0, **options: Any) -> list[bytes]:
    return [encoded(picture(start + i, **options)) for i in range(n)]


def write_parquet(
    path: Path,
    images: Sequence[bytes | None],
    labels: Sequence[Any],
    *,
    names: Sequence[str] | None = NAMES,
    plain: bool = False,
    image: str = "img",
    label: str = "label",
    extra: dict[str, Any] | None = None,
    features: dict[str, Any] | None = None,
) -> Path:
    cells = list(images) if plain else [{"bytes": b, "path": None} for b in images]
    image_type = (
        pa.binary() if plain else pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    columns: dict[str, Any] = {image: pa.array(cells, image_type), label: pa.array(labels)}
    table = pa.table({**columns, **(extra or {})})
    if features is None and names is not None:
        features = {
            image: {"_type": "Image"},
            label: {"_type": "ClassLabel", "names": list(names)},
        }
    if features is not None:
        info = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": info})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=7)
    return path


def write_folder(path: Path, n: int, start: int = 0, names: Sequence[str] = NAMES) -> Path:
    for c, name in enumerate(names):
        (path / name).mkdir(parents=True)
        for i in range(n):
            picture(start + 100 * c + i).save(path / name / f"{i:03d}.png")
    return path


def two_files(tmp_path: Path, n_train: int = 10, n_test: int = 4) -> str:
    train = write_parquet(tmp_path / "train.parquet", pictures(n_train), [0, 1] * (n_train // 2))
    test = write_parquet(tmp_path / "test.parquet", pictures(n_test, 50), [0, 1] * (n_test // 2))
    return f"parquet:{train},{test}"


def keys(images: torch.Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in images]


def sizes_of(data: ImageData) -> list[int]:
    """Returns the numbers of training, validation and test images."""
    return [len(part) for part in (data.train_images, data.val_images, data.test_images)]


def the_notice(data: ImageData, text: str) -> str:
    """Returns the only notice with a text in it."""
    found = [line for line in describe_notices(data) if text in line]
    assert len(found) == 1, (text, describe_notices(data))
    assert "\n" not in found[0]
    return found[0]
