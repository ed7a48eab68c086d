"""Fixtures for the tests of the sweeps."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweeps.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store on the disk."""
    created = Store(tmp_path / "results")
    created.create()
    return created


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts file systems of a given size, such as `1m`; skips where that is not allowed."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        folder = tmp_path / f"disk-{len(mounted)}"
        folder.mkdir()
        result = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            pytest.skip(f"no tmpfs can be mounted here: {result.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
