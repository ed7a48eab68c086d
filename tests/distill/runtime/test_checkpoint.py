"""Checkpoints: round trip, the newest intact one, corrupt files, concurrent writers."""

from pathlib import Path

import pytest
import torch

from distill.runtime.checkpoint import (
    LocalFolder,
    load_checkpoint,
    remove_checkpoints,
    save_checkpoint,
)


def fail(message: str) -> None:
    pytest.fail(f"unexpected warning: {message}")


def test_round_trip_of_tensors_and_values(tmp_path: Path) -> None:
    tensors = {
        "a/b": torch.randn(3, 4, dtype=torch.float64),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "none": torch.empty(0),
        "slice": torch.randn(4, 4).T[1:],
    }
    values = {"step": 3, "curve": [{"x": None, "y": 0.1}], "text": "é\n"}

    save_checkpoint(LocalFolder(tmp_path / "new"), tensors, values)
    loaded = load_checkpoint(LocalFolder(tmp_path / "new"), fail)

    assert loaded is not None
    assert loaded[1] == values
    assert loaded[0].keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[0][name].dtype == tensor.dtype
        assert torch.equal(loaded[0][name], tensor)


def test_loads_none_without_checkpoints(tmp_path: Path) -> None:
    assert load_checkpoint(LocalFolder(tmp_path / "missing"), fail) is None
    assert load_checkpoint(LocalFolder(tmp_path), fail) is None


def test_keeps_the_two_newest_and_loads_the_newest(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    names = [save_checkpoint(folder, {"x": torch.tensor(i)}, {"i": i}) for i in range(12)]

    assert sorted(folder.names()) == sorted(names[-2:])
    loaded = load_checkpoint(folder, fail)
    assert loaded is not None
    assert loaded[1] == {"i": 11}


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_corrupt_checkpoint_is_skipped(tmp_path: Path, damage: str) -> None:
    save_checkpoint(LocalFolder(tmp_path), {"x": torch.tensor(1.0)}, {"i": 1})
    newest = tmp_path / save_checkpoint(LocalFolder(tmp_path), {"x": torch.tensor(2.0)}, {"i": 2})
    content = newest.read_bytes()
    if damage == "truncated":
        newest.write_bytes(content[:-2])
    elif damage == "flipped":
        newest.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        newest.write_bytes(b"")
    warnings: list[str] = []

    loaded = load_checkpoint(LocalFolder(tmp_path), warnings.append)

    assert loaded is not None
    assert loaded[1] == {"i": 1}
    assert len(warnings) == 1
    assert str(newest) in warnings[0]
    assert "corrupt" in warnings[0]


def test_loads_none_if_all_are_corrupt(tmp_path: Path) -> None:
    for i in range(2):
        name = save_checkpoint(LocalFolder(tmp_path), {"x": torch.tensor(i)}, {})
        (tmp_path / name).write_bytes(b"x")
    warnings: list[str] = []

    assert load_checkpoint(LocalFolder(tmp_path), warnings.append) is None
    assert len(warnings) == 2


def test_other_files_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / ".00000009-ff.safetensors.tmp-1").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    save_checkpoint(LocalFolder(tmp_path), {"x": torch.tensor(1)}, {"i": 0})

    loaded = load_checkpoint(LocalFolder(tmp_path), fail)
    assert loaded is not None
    assert loaded[1] == {"i": 0}
    remove_checkpoints(LocalFolder(tmp_path))

    assert {path.name for path in tmp_path.iterdir()} == {
        "notes.txt",
        ".00000009-ff.safetensors.tmp-1",
    }


def test_an_emptied_folder_is_removed(tmp_path: Path) -> None:
    save_checkpoint(LocalFolder(tmp_path / "checkpoints"), {"x": torch.tensor(1)}, {})
    remove_checkpoints(LocalFolder(tmp_path / "checkpoints"))

    assert not (tmp_path / "checkpoints").exists()


class Racing(LocalFolder):
    """A folder in which another writer removes the newest file after each listing."""

    def names(self) -> list[str]:
        listed = super().names()
        if listed:
            self.remove(max(listed))
        return listed


def test_a_file_removed_by_another_writer_is_skipped(tmp_path: Path) -> None:
    for i in range(3):
        save_checkpoint(LocalFolder(tmp_path), {"x": torch.tensor(i)}, {"i": i})

    loaded = load_checkpoint(Racing(tmp_path), fail)

    assert loaded is not None
    assert loaded[1] == {"i": 1}
    save_checkpoint(Racing(tmp_path), {"x": torch.tensor(9)}, {"i": 9})
    remove_checkpoints(Racing(tmp_path))
    assert not tmp_path.exists()


def test_similar_names_are_not_checkpoints(tmp_path: Path) -> None:
    others = {"1a-b.safetensors", "1-" + "0" * 32 + ".safetensors.bak", "x-y.safetensors"}
    for name in others:
        (tmp_path / name).write_bytes(b"mine")

    assert load_checkpoint(LocalFolder(tmp_path), fail) is None
    save_checkpoint(LocalFolder(tmp_path), {}, {"i": 0})
    remove_checkpoints(LocalFolder(tmp_path))

    assert set(LocalFolder(tmp_path).names()) == others
