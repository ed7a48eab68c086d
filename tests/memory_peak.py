"""The peak memory of this very process, for programs that tests start."""

import re
from pathlib import Path


def peak_kib() -> int:
    """Returns the most memory that this process has had, in KiB; Linux only.

    Not `ru_maxrss`, which begins with what the process had that started this one: a small program
    of a large test process would never seem to grow.
    """
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])
