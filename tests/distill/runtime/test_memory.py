"""Reuse of freed memory, measured by page faults."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.lengthy

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
