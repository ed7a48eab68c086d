"""Provenance of a result: hardware, versions, commit, peak memory."""

import contextlib
import importlib.metadata
import platform
import resource
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

VERSIONED_PACKAGES = ("torch", "torchvision", "numpy", "numba", "scikit-learn")


def reset_peak_memory() -> None:
    """Resets the peak memory of the process, which trials share, if the system supports it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def provenance(device: torch.device) -> dict[str, Any]:
    """Returns the provenance columns of a result row.

    Args:
        device: device that the trial ran on.
    """
    on_gpu = device.type == "cuda"
    peak = (
        torch.cuda.max_memory_allocated(device)
        if on_gpu
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    versions = {
        f"{name.replace('-', '_')}_version": _version_of(name) for name in VERSIONED_PACKAGES
    }
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "processor": processor(),
        "n_threads": torch.get_num_threads(),
        "peak_memory_bytes": int(peak),
        "python_version": platform.python_version(),
        **versions,
        "git_commit": git_commit(),
    }


@cache
def processor() -> str:
    """Returns the model of the CPU and the instructions that PyTorch uses on it.

    Libraries choose their kernels by it, so that the last bits of a trial depend on it, and after
    many steps more than these.
    """
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        model = next(filter(None, names), model)
    return f"{model}, {torch.backends.cpu.get_cpu_capability()}"


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # Numba is optional with a GPU
        return None


def git_commit() -> str | None:
    """Returns the commit of the running code, with a `+` if the working tree differs.

    None if it is unknown: outside a checkout of this project.
    """
    path = Path(__file__)
    try:
        _git(path.parent, "ls-files", "--error-unmatch", path.name)
        commit = _git(path.parent, "rev-parse", "HEAD")
        changes = _git(path.parent, "status", "--porcelain", "-uno")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changes else "")


def _git(folder: Path, *arguments: str) -> str:
    """Returns the output of a git command.

    Raises:
        OSError: git is not installed.
        subprocess.SubprocessError: the command fails or takes more than 10 seconds.
    """
    return subprocess.run(  # noqa: S603 - fixed arguments
        ["git", "-C", str(folder), *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    ).stdout.strip()
