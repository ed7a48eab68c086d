"""Freed memory, seen by the pages that the system has to hand out again."""

import subprocess
import sys

import pytest

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


def faults(how: str) -> tuple[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True
    )
    kept, number = done.stdout.split()
    return kept, int(number)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_memory_stays_with_the_process() -> None:
    """Two tensors of 64 MiB, again and again: 32,768 pages a turn unless they are kept.

    The first turns, up to six, find room for them among what else lies on the heap.
    """
    kept, few = faults("keep")
    if kept == "False":
        pytest.skip("this C library has no such settings")
    _, many = faults("leave")

    assert few < many / 10
