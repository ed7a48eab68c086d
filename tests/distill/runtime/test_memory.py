"""Reuse of freed memory, measured by page faults; memory that is left."""

import subprocess
import sys
from pathlib import Path

import pytest

from distill.runtime.memory import available_bytes

SCRIPT = """
import resource, sys, torch
from distill.runtime.memory import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else None
torch.set_num_threads(1)
for turn in range(30):
    if turn == 20:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24).add(1)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> tuple[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, mode], capture_output=True, text=True, check=True
    )
    kept, number = done.stdout.split()
    return kept, int(number)


@pytest.mark.lengthy
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")
def test_freed_memory_is_reused() -> None:
    """Allocates two tensors of 64 MiB repeatedly: 32,768 page faults per turn without reuse.

    The first turns, up to six, are not counted: the heap still grows.
    """
    kept, few = faults("keep")
    if kept == "False":
        pytest.skip("this C library has no such settings")
    _, many = faults("leave")

    assert few < many / 10


GIB = 2**30


def kernel(folder: Path, *, cgroup: str, groups: dict[str, dict[str, str]]) -> tuple[Path, Path]:
    """Writes files as the kernel does: 8 of 20 GiB left on the machine, and control groups."""
    proc, groups_folder = folder / "proc", folder / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: {20 * 2**20} kB\nMemAvailable:    {8 * 2**20} kB\n")
    (proc / "self" / "cgroup").write_text(cgroup)
    for name, files in groups.items():
        (groups_folder / name).mkdir(parents=True)
        for file, content in files.items():
            (groups_folder / name / file).write_text(content + "\n")
    return proc, groups_folder


def v2(limit: int | str, used: int, cached: int = 0) -> dict[str, str]:
    stat = f"anon 5\ninactive_file {cached}\nactive_file 0"
    return {"memory.max": str(limit), "memory.current": str(used), "memory.stat": stat}


def v1(limit: int, used: int) -> dict[str, str]:
    return {"memory.limit_in_bytes": str(limit), "memory.usage_in_bytes": str(used)}


@pytest.mark.parametrize(
    ("cgroup", "groups", "expected"),
    [
        ("", {}, 7 * GIB),
        ("0::/job/step\n", {"job/step": v2("max", GIB)}, 7 * GIB),
        ("0::/job/step\n", {"job/step": v2(20 * 2**20, 2**20)}, 18 * 2**20),
        ("0::/a/b\n", {"a": v2(20 * 2**20, 2**20), "a/b": v2(GIB, 2**20)}, 18 * 2**20),
        ("0::/job\n", {"job": v2(20 * 2**20, 20 * 2**20, cached=5 * 2**20)}, 4 * 2**20),
        ("0::/job\n", {"job": v2(4 * GIB, 5 * GIB)}, 0),
        ("0::/gone\n", {".": v2(20 * 2**20, 2**20)}, 18 * 2**20),
        ("4:memory:/job\n2:cpu,cpuacct:/job\n", {"memory/job": v1(40 * 2**20, 2**20)}, 37 * 2**20),
        ("4:memory:/job\n", {"memory/job": v1(2**63 - 4096, 3 * GIB)}, 7 * GIB),
    ],
)
def test_available_memory_is_the_least_that_limits_leave(
    tmp_path: Path, cgroup: str, groups: dict[str, dict[str, str]], expected: int
) -> None:
    assert available_bytes(*kernel(tmp_path, cgroup=cgroup, groups=groups)) == expected


def test_available_memory_counts_the_limit_of_address_space() -> None:
    script = (
        "import resource\n"
        "from distill.runtime.memory import available_bytes\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))\n"
        "left = available_bytes()\n"
        "found = [n for n in (left - 2**27, left + 2**27) if n]\n"
        "bytearray(found[0])\n"
        "try:\n"
        "    bytearray(found[1])\n"
        "except MemoryError:\n"
        "    print('exact')\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "exact\n"


def test_available_memory_is_unknown_without_files(tmp_path: Path) -> None:
    assert available_bytes(tmp_path, tmp_path) is None
