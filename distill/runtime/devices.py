"""Devices by name, and the memory they have left."""

import torch

from distill.errors import InsufficientMemoryError, UserError
from distill.runtime.graphs import pool_bytes
from distill.runtime.memory import available_bytes, readable_bytes


def choose_device(name: str) -> torch.device:
    """Returns the device of a name: `auto` is the first GPU where there is one, else the CPU.

    Raises:
        UserError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}")
    n_gpus = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= n_gpus:
        raise UserError(f"device {name} does not exist: torch sees {n_gpus} GPUs; use --device cpu")
    return device


def available_bytes_on(device: torch.device) -> int | None:
    """Returns the memory that this process can still allocate on a device; None: unknown.

    On a GPU within the share that `torch.cuda.set_per_process_memory_fraction` leaves the process,
    and without what recorded graphs keep for themselves.
    """
    if device.type == "cpu":
        return available_bytes()
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    reserved = torch.cuda.memory_reserved(device)
    share = torch.cuda.get_per_process_memory_fraction(device)
    cached = reserved - torch.cuda.memory_allocated(device) - pool_bytes()
    return max(0, min(free, int(share * total) - reserved) + max(0, cached))


def require_memory(
    needed: int, device: torch.device, what: str, fix: str, *, how: str = ""
) -> None:
    """Raises an error where a device has less memory left than something needs.

    Call it before any of it is allocated.

    Args:
        needed: bytes.
        device: that they are allocated on.
        what: needs them, in the plural.
        fix: what can be done.
        how: the number comes about, to stand behind it.

    Raises:
        InsufficientMemoryError: there is less.
    """
    available = available_bytes_on(device)
    if available is not None and needed > available:
        raise InsufficientMemoryError(
            f"{what} need {readable_bytes(needed)}{how and f' ({how})'}, "
            f"{readable_bytes(available)} are available; {fix}"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error says that memory is used up, of the process or of a GPU.

    PyTorch raises a plain `RuntimeError` where the allocator of the CPU gets none.
    """
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
