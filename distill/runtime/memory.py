"""Memory allocator settings of a process."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h
_LARGEST = 2**31 - 1
_STEP_BYTES = 64 * 2**20


def keep_freed_memory() -> bool:
    """Makes the C library reuse freed memory for the next tensor instead of returning it.

    By default glibc allocates every tensor above a few megabytes from the system and returns it
    when freed, so that every operation starts with page faults: half of the time of a small ConvNet
    on a CPU. The cost is that a process stays at its peak size. Call it in processes that run
    trials, not in library functions.

    Returns:
        Whether it took effect; only glibc on Linux supports it.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: _LARGEST, _M_TOP_PAD: _STEP_BYTES}
    accepted = [mallopt(name, value) == 1 for name, value in settings.items()]
    return all(accepted)
