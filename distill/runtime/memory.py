"""What a process does with memory that it has freed."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h
_LARGEST = 2**31 - 1
_STEP_BYTES = 64 * 2**20


def keep_freed_memory() -> bool:
    """Makes the C library keep freed memory for the next tensor instead of returning it.

    By default glibc takes every tensor of more than some megabytes from the system and gives it
    back at once, so that every operation first faults its pages in: on CPUs that is half of the
    time of a small ConvNet. The price is that a process stays at its peak size. For processes that
    run trials; a library call would be the wrong place.

    Returns:
        Whether it took effect: only glibc, on Linux, has this.
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
