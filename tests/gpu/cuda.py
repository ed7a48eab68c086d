"""`emulated_cuda`: PyTorch with an emulated GPU, for the time of a `with` statement.

    with emulated_cuda() as gpu:
        total = torch.ones(3, device="cuda").sum()
        total.item()
        gpu.counts.n_syncs  # 1

`torch.cuda` answers as with one GPU of 80 GiB, graphs included. See `tests.gpu.emulator` for what
is and what is not emulated.
"""

import contextlib
import itertools
import time
from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest import mock

import safetensors.torch
import torch
from torch import Tensor
from torch.optim import optimizer
from torch.overrides import TorchFunctionMode

from distill.networks.layers import norm_relu_pool
from tests.gpu.emulator import (
    SHOWN,
    TOTAL_MEMORY,
    Capture,
    EmulatedTensor,
    Emulator,
    Operations,
    Pool,
    _stack,
    active,
    internal_device,
    is_emulated,
    names_gpu,
    unobserved,
)


@contextlib.contextmanager
def emulated_cuda(
    *, shapes_only: bool = False, total_memory: int = TOTAL_MEMORY
) -> Iterator[Emulator]:
    """Emulates a GPU inside the context; tensors on it cannot be used outside.

    Args:
        shapes_only: tensors have no values, see `tests.gpu.emulator`.
        total_memory: of the GPU, in bytes.
    """
    emulator = Emulator(shapes_only=shapes_only, total_memory=total_memory)
    internal_device()
    _emulate_kernels()
    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    with contextlib.ExitStack() as stack:
        for name, value in _stand_ins(emulator).items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        stack.enter_context(mock.patch.object(torch, "Generator", _generator_class()))
        stack.enter_context(mock.patch.object(safetensors.torch, "save", _save))
        types = [*optimizer._foreach_supported_types, EmulatedTensor]
        stack.enter_context(mock.patch.object(optimizer, "_foreach_supported_types", types))
        # `parameter.data = …` does not reach the wrapped tensor.
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, overwrites)
        _stack.append(emulator)
        stack.callback(_stack.pop)
        stack.enter_context(Functions())
        stack.enter_context(Operations())  # type: ignore[no-untyped-call]
        yield emulator


class Functions(TorchFunctionMode):
    """Replaces the device `cuda` by the emulated one in calls of PyTorch's functions."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        special = _SPECIAL.get(func)
        if special is not None:
            return special(*args, **kwargs)
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            args = (args[0], _index(args[1]), *args[2:])
        if kwargs.pop("pin_memory", False):
            return _pin(func(*args, **kwargs))
        if names_gpu(kwargs.get("device")):
            if func in (torch.tensor, torch.as_tensor, torch.asarray):
                del kwargs["device"]
                value = func(*args, **kwargs)
                return value if is_emulated(value) else value.to(internal_device())
            kwargs["device"] = internal_device()
        if func is torch.Tensor.to:
            args = tuple(
                internal_device()
                if isinstance(value, str | torch.device) and names_gpu(value)
                else value
                for value in args
            )
        return func(*args, **kwargs)


def _index(index: Any) -> Any:
    if isinstance(index, list):
        return torch.tensor(index)
    if isinstance(index, tuple):
        return tuple(torch.tensor(i) if isinstance(i, list) else i for i in index)
    return index


def _to_cuda(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return tensor.to(internal_device(), **kwargs)


def _new_tensor(tensor: Tensor, data: Any, **kwargs: Any) -> Tensor:
    if not is_emulated(tensor):
        return tensor.new_tensor(data, **kwargs)
    return torch.tensor(data, dtype=kwargs.get("dtype", tensor.dtype)).to(internal_device())


def _pin(tensor: Tensor, *args: Any) -> Tensor:
    if is_emulated(tensor):
        raise RuntimeError("cannot pin a CUDA tensor: only dense CPU tensors can be pinned")
    with unobserved():
        return active().pin(tensor)


def _is_pinned(tensor: Tensor, *args: Any) -> bool:
    return not is_emulated(tensor) and active().is_pinned(tensor)


_SPECIAL: dict[Any, Any] = {
    torch.Tensor.cuda: _to_cuda,
    torch.Tensor.new_tensor: _new_tensor,
    torch.Tensor.pin_memory: _pin,
    torch.Tensor.is_pinned: _is_pinned,
}


class _Stream:
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def wait_stream(self, other: Any) -> None: ...

    def wait_event(self, event: Any) -> None: ...

    def synchronize(self) -> None:
        active().wait("Stream.synchronize")


class _Event:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seconds = 0.0

    def record(self, stream: Any = None) -> None:
        self.seconds = time.perf_counter()

    def synchronize(self) -> None:
        active().wait("Event.synchronize")

    def elapsed_time(self, other: "_Event") -> float:
        return 1e3 * (other.seconds - self.seconds)

    def query(self) -> bool:
        return True


class _Graph:
    """Stands for `torch.cuda.CUDAGraph`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.capture: Capture | None = None

    def replay(self) -> None:
        assert self.capture is not None
        active().replay(self.capture)

    def reset(self) -> None:
        self.capture = None


@contextlib.contextmanager
def _capturing(graph: _Graph, pool: Any = None, **kwargs: Any) -> Iterator[None]:
    """Stands for `torch.cuda.graph`."""
    emulator = active()
    emulator.wait("torch.cuda.graph waits and frees cached memory")
    handle = _new_handle() if pool is None else pool
    capture = emulator.capture = Capture(emulator.pools.setdefault(handle, Pool()))
    try:
        yield
    finally:
        emulator.capture = None
        with unobserved():
            capture.undo()
    if capture.failure is not None:
        raise RuntimeError(
            f"CUDA error: operation failed due to a previous error during capture "
            f"[{capture.failure}]"
        )
    graph.capture = capture


_handles = itertools.count(1)


def _new_handle() -> tuple[int, int]:
    """Stands for `torch.cuda.graph_pool_handle`."""
    return 0, next(_handles)


def _stand_ins(gpu: Emulator) -> dict[str, Any]:
    """Returns the replacements of names of `torch.cuda`."""

    def constant(value: Any) -> Any:
        return lambda *_, **__: value

    stream = _Stream()
    properties = SimpleNamespace(
        name="Emulated GPU",
        total_memory=gpu.total_memory,
        major=9,
        minor=0,
        multi_processor_count=132,
    )
    values = {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "is_initialized": True,
        "empty_cache": None,
        "is_bf16_supported": True,
        "get_device_name": properties.name,
        "get_device_capability": (9, 0),
        "get_device_properties": properties,
        "current_stream": stream,
        "stream": contextlib.nullcontext(),
    }
    return {name: constant(value) for name, value in values.items()} | {
        "graph_pool_handle": _new_handle,
        "mem_get_info": lambda _=None: (gpu.total_memory - gpu.reserved, gpu.total_memory),
        "memory_allocated": lambda _=None: gpu.living,
        "memory_reserved": lambda _=None: gpu.reserved,
        "max_memory_allocated": lambda _=None: gpu.peak,
        "reset_peak_memory_stats": lambda _=None: setattr(gpu, "peak", gpu.living),
        "get_per_process_memory_fraction": lambda _=None: gpu.fraction,
        "set_per_process_memory_fraction": lambda share, _=None: setattr(gpu, "fraction", share),
        "synchronize": lambda _=None: active().wait("torch.cuda.synchronize"),
        "is_current_stream_capturing": lambda: active().capture is not None,
        "set_sync_debug_mode": lambda mode: setattr(active(), "sync_is_error", mode == "error"),
        "get_rng_state": lambda _=None: torch.zeros(16, dtype=torch.uint8),
        "Stream": _Stream,
        "Event": _Event,
        "CUDAGraph": _Graph,
        "graph": _capturing,
    }


@cache
def _emulate_kernels() -> None:
    """Runs the project's own kernels for GPUs by the compiled loops of the CPU."""
    try:
        from distill.networks.layers.norm_relu_pool_operators import OPERATORS  # noqa: PLC0415
    except ImportError:  # without Triton
        return
    n_inputs = {"forward": 1, "backward": 4, "second_derivative": 5}

    def emulate(name: str, operator: Any) -> None:
        n = n_inputs[name]

        def run(*arguments: Any) -> None:  # three outputs each
            inputs, parameters, outputs = arguments[:n], arguments[n:-3], arguments[-3:]
            norm_relu_pool.run_on_cpu(name, inputs, parameters, outputs)

        operator.register_kernel("cpu")(run)
        operator.register_fake(lambda *_: None)

    for name, operator in OPERATORS.items():
        emulate(name, operator)


_save_on_host = safetensors.torch.save


def _save(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Stands for `safetensors.torch.save`, which reads memory that the wrapper does not have."""
    on_host = {name: t.cpu() if is_emulated(t) else t for name, t in tensors.items()}
    return _save_on_host(on_host, metadata=metadata)


def _generator_class() -> Any:
    """Returns a class for `torch.Generator` whose generators can be on the device."""
    host = torch.Generator

    class Generator(host):  # type: ignore[valid-type, misc]
        """Draws on the CPU and reports the device that it was made for."""

        def __new__(cls, *_: Any, **__: Any) -> Any:
            return super().__new__(cls)

        def __init__(self, device: Any = "cpu") -> None:
            self._shown = SHOWN if names_gpu(device) else torch.device("cpu")

        @property
        def device(self) -> torch.device:
            return self._shown

    return Generator
