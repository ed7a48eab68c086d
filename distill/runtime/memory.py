"""Memory of a process: how much it can still allocate, and settings of its allocator."""

import contextlib
import ctypes
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
_KEPT_FREE = 0.05
"""Share of a limit that stays free: from there on, Ray's memory monitor kills workers."""

_UNITS = ("B", "kB", "MB", "GB", "TB")

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


def return_freed_memory() -> None:
    """Makes the C library return freed memory to the system, where it can; takes milliseconds."""
    with contextlib.suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def available_bytes(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int | None:
    """Returns the memory that this process can still allocate, in bytes.

    That is the least of what the machine has left (`MemAvailable`), what the control groups of the
    process leave (version 1 or 2, those above its own included; files in their caches count as
    free), both without a twentieth of all memory, and what its limit of address space leaves. Other
    processes may take it first.

    Args:
        proc: where the kernel describes processes.
        cgroups: where it describes control groups.

    Returns:
        None where the system does not say: only Linux does.
    """
    found = [*_machine(proc), *_control_groups(proc, cgroups), *_address_space(proc)]
    return max(0, min(found)) if found else None


def readable_bytes(n_bytes: float) -> str:
    """Returns a number of bytes for messages, in units of 1000.

    Example:
        >>> readable_bytes(14_400_000_000), readable_bytes(512)
        ('14.4 GB', '512 B')
    """
    unit = 0
    while n_bytes >= 1000 and unit < len(_UNITS) - 1:
        n_bytes, unit = n_bytes / 1000, unit + 1
    return f"{n_bytes:.3g} {_UNITS[unit]}" if n_bytes < 1000 else f"{n_bytes:,.0f} {_UNITS[unit]}"


def _machine(proc: Path) -> list[int]:
    found = _numbers(proc / "meminfo")
    left = found.get("MemAvailable:")
    kept = _KEPT_FREE * found.get("MemTotal:", 0)
    return [] if left is None else [1024 * (left - int(kept))]


def _control_groups(proc: Path, cgroups: Path) -> Iterator[int]:
    """Yields what each control group of this process leaves it."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = cgroups / "memory" if controllers else cgroups
        names = ("usage_in_bytes", "limit_in_bytes") if controllers else ("current", "max")
        group = top / path.lstrip("/")
        # In a container its own group may be mounted as the top, under another path.
        for folder in (group, *group.parents):
            used, limit = (_number(folder / f"memory.{name}") for name in names)
            if used is not None and limit is not None:
                cached = _numbers(folder / "memory.stat")
                cache = cached.get("inactive_file", 0) + cached.get("active_file", 0)
                yield limit - int(_KEPT_FREE * limit) - used + cache
            if folder == top:
                break


def _address_space(proc: Path) -> list[int]:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = _numbers(proc / "self" / "status").get("VmSize:")
    return [] if limit == resource.RLIM_INFINITY or used is None else [limit - used * 1024]


def _number(file: Path) -> int | None:
    """Returns the number that a file consists of; None where it is none (`max`: no limit)."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _numbers(file: Path) -> dict[str, int]:
    """Returns the numbers after the first words of a file's lines; empty without the file."""
    try:
        words = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) for line in words if len(line) > 1 and line[1].isdecimal()}
