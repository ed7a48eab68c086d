"""Built-in data sets: digits, files of torchvision, downloads that fail."""

import gzip
import socket
import struct
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from distill.datasets import load_dataset
from distill.datasets.builtin import dataset_arrays
from distill.errors import UserError
from tests.distill.datasets.sources import keys


def test_digits_equal_those_of_scikit_learn() -> None:
    data = load_dataset("digits")
    assert (data.n_classes, data.channels, data.image_size) == (10, 1, (8, 8))
    assert data.class_names == tuple("0123456789")
    assert len(data.train_images) + len(data.test_images) == 1797
    assert data.train_images.dtype == torch.uint8
    assert data.train_labels.dtype == torch.int64
    original = np.rint(load_digits().images * 255 / 16).astype(np.uint8)
    loaded = keys(data.train_images) + keys(data.test_images)
    assert sorted(loaded) == sorted(image.tobytes() for image in original)


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    """Writes the format of MNIST: a magic number, the sizes in big-endian order, the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.write_bytes(header + values.tobytes())


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")]
)
def test_mnist_files_are_read_without_network_access(
    tmp_path: Path, name: str, folder: str
) -> None:
    generator = np.random.default_rng(0)
    for part, n in (("train", 40), ("t10k", 20)):
        images = generator.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        write_idx(tmp_path / folder / "raw" / f"{part}-images-idx3-ubyte", images)
        labels = (np.arange(n) % 10).astype(np.uint8)
        write_idx(tmp_path / folder / "raw" / f"{part}-labels-idx1-ubyte", labels)
    data = load_dataset(name, data_root=tmp_path, val_fraction=0.25)
    assert [len(p) for p in (data.train_images, data.val_images, data.test_images)] == [30, 10, 20]
    assert np.array_equal(data.test_images[:, 0].numpy(), images)
    assert data.class_names[3] == {"mnist": "3", "fashion_mnist": "Dress"}[name]
    constants = {"mnist": (0.1307, 0.3081), "fashion_mnist": (0.2861, 0.3530)}[name]
    assert (data.mean.item(), data.std.item()) == pytest.approx(constants)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "fashion_mnist", "svhn"])
def test_failed_download_leaves_no_files(
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A proxy that refuses every connection makes the download fail."""
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)
    root = tmp_path / "new" / "data"
    message = rf"{name} is not in .*data and cannot be downloaded: .*--data-root.*parquet:PATH"
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(name, data_root=root)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_network_without_an_answer_is_given_up_soon(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that takes connections and never says anything."""
    monkeypatch.setattr("distill.datasets.builtin.REACH_SECONDS", 1.0)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for scheme in ("http", "https"):
            monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{silent.getsockname()[1]}")
        load_dataset("digits")  # what is imported counts for nothing
        start = time.monotonic()
        with pytest.raises(UserError, match=r"cannot be reached: .*; without a network put the "):
            load_dataset(name, data_root=tmp_path)
        seconds = time.monotonic() - start

    assert seconds < 15, "once it was 45 s; the limit is generous to a busy machine"
    assert list(tmp_path.iterdir()) == []
    assert socket.getdefaulttimeout() is None


def test_failed_download_keeps_existing_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(urllib.request, "_opener", None)
    with gzip.open(tmp_path / "train-images-idx3-ubyte.gz", "wb") as file:
        file.write(b"existing")
    with pytest.raises(UserError, match="mnist is not in"):
        load_dataset("mnist", data_root=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["train-images-idx3-ubyte.gz"]


def test_arrays_of_opened_torchvision_data_sets() -> None:
    """Uses stand-ins: torchvision verifies the checksums of CIFAR and SVHN files."""
    pixels = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    images, labels = dataset_arrays(SimpleNamespace(data=pixels, targets=[3, 1]))
    assert np.array_equal(images, pixels)
    assert labels.tolist() == [3, 1]
    svhn = SimpleNamespace(data=pixels.transpose(0, 3, 1, 2), labels=np.array([0, 9]))
    images, labels = dataset_arrays(svhn)
    assert np.array_equal(images, pixels)
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 9]
