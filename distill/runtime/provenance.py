"""What a number depends on besides its configuration: hardware, versions, commit, memory."""

import contextlib
import importlib.metadata
import platform
import resource
import subprocess
from pathlib import Path
from typing import Any

import torch

VERSIONED_PACKAGES = ("torch", "torchvision", "numpy", "numba", "scikit-learn")


def reset_peak_memory() -> None:
    """Starts the peak of the process's memory anew, if the system can: trials share processes."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def provenance(device: torch.device) -> dict[str, Any]:
    """Returns what a number depends on besides its configuration: hardware, versions, commit."""
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
        "n_threads": torch.get_num_threads(),
        "peak_memory_bytes": int(peak),
        "python_version": platform.python_version(),
        **versions,
        "git_commit": git_commit(),
    }


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except (
        importlib.metadata.PackageNotFoundError
    ):  # Numba may be missing where a GPU does the work
        return None


def git_commit() -> str | None:
    """Returns the commit of the code that runs, with a `+` where it was changed.

    None where it is not known: outside a checkout, also in one of another project.
    """
    here = Path(__file__)
    try:
        _git(here.parent, "ls-files", "--error-unmatch", here.name)
        commit = _git(here.parent, "rev-parse", "HEAD")
        changes = _git(here.parent, "status", "--porcelain", "-uno")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changes else "")


def _git(folder: Path, *arguments: str) -> str:
    """Returns what a git command prints; raises an error where it fails."""
    return subprocess.run(  # noqa: S603 - fixed arguments
        ["git", "-C", str(folder), *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    ).stdout.strip()
