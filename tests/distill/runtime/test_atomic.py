"""Atomic writes: complete or absent, without leftovers, also with concurrent writers."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from distill.runtime.atomic import atomic_write, remove_abandoned, temporary_beside


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_a_new_file(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a.bin", b"\x00new")
    assert (tmp_path / "a.bin").read_bytes() == b"\x00new"
    assert names_in(tmp_path) == ["a.bin"]


def test_replaces_a_file_given_by_a_string(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"old and longer")
    atomic_write(str(tmp_path / "a.bin"), b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert names_in(tmp_path) == ["a.bin"]


def test_what_killed_processes_left_is_removed_after_a_day(tmp_path: Path) -> None:
    old = [temporary_beside(tmp_path / name) for name in ("a.bin", "mnist")]
    old[0].write_bytes(b"half")
    (old[1] / "raw").mkdir(parents=True)
    for path in old:
        os.utime(path, (0, 0))
    kept = [temporary_beside(tmp_path / "a.bin"), tmp_path / ".a.bin.tmp-notes", tmp_path / "b"]
    for path in kept:
        path.write_bytes(b"")
    for path in kept[1:]:
        os.utime(path, (0, 0))

    assert sorted(remove_abandoned(tmp_path)) == sorted(old)
    assert names_in(tmp_path) == sorted(path.name for path in kept)
    assert remove_abandoned(tmp_path / "missing") == []


def test_missing_directory_is_refused_and_not_created(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        atomic_write(tmp_path / "missing" / "a.bin", b"x")
    assert names_in(tmp_path) == []


def test_failed_rename_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "a.bin" / "inside").mkdir(parents=True)  # a file cannot replace a folder
    with pytest.raises(OSError, match=r"a\.bin"):
        atomic_write(tmp_path / "a.bin", b"x")
    assert names_in(tmp_path) == ["a.bin"]
    assert (tmp_path / "a.bin" / "inside").is_dir()


def test_readers_never_see_partial_content(tmp_path: Path) -> None:
    """Reads while another process alternates between 4 MB of zeros and of ones."""
    target = tmp_path / "a.bin"
    size = 4_000_000
    atomic_write(target, b"0" * size)
    script = (
        "import sys; from distill.runtime.atomic import atomic_write\n"
        "for i in range(40): atomic_write(sys.argv[1], b'01'[i % 2 :][:1] * int(sys.argv[2]))"
    )
    writer = subprocess.Popen([sys.executable, "-c", script, str(target), str(size)])
    n_reads = 0
    while writer.poll() is None or n_reads == 0:
        data = target.read_bytes()
        assert len(data) == size
        assert data in (b"0" * size, b"1" * size)
        n_reads += 1
    assert writer.returncode == 0
    assert names_in(tmp_path) == ["a.bin"]


def test_without_replace_the_first_writer_wins(tmp_path: Path) -> None:
    assert atomic_write(tmp_path / "a.bin", b"first", replace=False)
    assert not atomic_write(tmp_path / "a.bin", b"second", replace=False)
    assert (tmp_path / "a.bin").read_bytes() == b"first"
    assert names_in(tmp_path) == ["a.bin"]


def test_without_replace_and_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*paths: object, **options: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))  # as on exFAT

    monkeypatch.setattr(os, "link", no_links)

    assert atomic_write(tmp_path / "a.bin", b"first", replace=False)
    assert not atomic_write(tmp_path / "a.bin", b"second", replace=False)
    assert (tmp_path / "a.bin").read_bytes() == b"first"
    assert names_in(tmp_path) == ["a.bin"]


def test_exactly_one_of_concurrent_writers_wins(tmp_path: Path) -> None:
    """Three processes write the same 50 names, each with a different letter."""
    script = (
        "import sys; from distill.runtime.atomic import atomic_write\n"
        "folder, letter = sys.argv[1:]\n"
        "for i in range(50):\n"
        "    if atomic_write(f'{folder}/{i}', letter.encode() * 1000, replace=False):\n"
        "        print(i)"
    )
    writers = {
        letter: subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), letter], stdout=subprocess.PIPE, text=True
        )
        for letter in "xyz"
    }
    won = {letter: writer.communicate()[0].split() for letter, writer in writers.items()}

    assert sorted(int(i) for names in won.values() for i in names) == list(range(50))
    for letter, names in won.items():
        for name in names:
            assert (tmp_path / name).read_bytes() == letter.encode() * 1000
    assert len(names_in(tmp_path)) == 50
