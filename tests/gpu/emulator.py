"""Tensors of an emulated CUDA device: CPU tensors in a wrapper that behaves as on a GPU.

The wrapper reports `device == cuda:0`; every operation on it passes through `Emulator.run`, which

- raises CUDA's exceptions where tensors of both devices are mixed (0-d CPU numbers in pointwise
  operations, and CPU indices of a GPU tensor, are allowed as on CUDA);
- counts kernels, bytes and arithmetic, and by place in the project: waiting of the host
  (`.item()`, `nonzero`, masks as indices, blocking copies, …) and copies from pageable memory;
- records operations while a graph is captured. Recording leaves no effect, as on a GPU, where
  it runs nothing; waiting in it is an error. A replay runs the operations again on the same memory.
  A graph that reads memory freed since its recording is an error.

With `shapes_only` tensors have no values (PyTorch's meta device), to count at full size in seconds;
values that the host reads are then one.

Memory is that of the living tensors and of the pools of graphs, within what
`set_per_process_memory_fraction` leaves. A pool is as large as its tensors ever were at once, and
stays so as long as one of its graphs or tensors does. Not emulated: streams (all work is in order),
rounding of CUDA's kernels, the allocator's blocks, working memory of libraries, time.
"""

import contextlib
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from tests.gpu.counts import (
    META,
    SYNCHRONISING,
    WITHOUT_KERNEL,
    Counts,
    cost_of,
    place,
    short_name,
    tensors_in,
)

TOTAL_MEMORY = 80 * 2**30
BACKEND = "emulatedgpu"
SHOWN = torch.device("cuda", 0)
_CPU = torch.device("cpu")
_INDEXING = ("index", "_unsafe_index", "index_put", "index_put_")
_ALLOWED_WITH_HOST = ("where", "masked_fill", "masked_fill_", "fill", "fill_")
_local = threading.local()


class CaptureError(RuntimeError):
    """An operation that is not permitted while a graph is captured."""


class UseAfterFreeError(RuntimeError):
    """A replayed graph reads or writes memory that has been freed since its recording."""


class Memory:
    """An allocation; alive as long as a tensor of the emulated device uses it.

    Args:
        capture: of the graph that it belongs to; None outside of graphs.
    """

    def __init__(self, capture: "Capture | None") -> None:
        self.capture = capture


class EmulatedTensor(Tensor):
    """A CPU (or meta) tensor that looks like one on a GPU."""

    held: Tensor
    memory: Memory

    @staticmethod
    def __new__(cls, inner: Tensor) -> "EmulatedTensor":
        wrapper: EmulatedTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=internal_device(),
            requires_grad=False,
        )
        wrapper.held = inner
        wrapper.memory = active().memory_of(inner)
        return wrapper

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return SHOWN

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    def __repr__(self) -> str:  # type: ignore[override]
        return f"EmulatedTensor({self.held!r})"

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor "
            "to host memory first."
        )

    __array__ = numpy

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def get_device(self) -> int:
        return 0

    def __deepcopy__(self, memo: Any) -> Tensor:
        with torch.no_grad():
            new = EmulatedTensor(self.held.clone())
        if isinstance(self, torch.nn.Parameter):
            return torch.nn.Parameter(new, requires_grad=self.requires_grad)
        return new.requires_grad_(self.requires_grad)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return active().run(func, args, kwargs or {})


# When this module is loaded: autograd counts the devices once, before its first backward pass.
if torch._C._get_privateuse1_backend_name() != BACKEND:
    _setup_privateuseone_for_python_backend(BACKEND)


def internal_device() -> torch.device:
    """Returns the device that PyTorch's own code sees."""
    return torch.device(BACKEND, 0)


_stack: list["Emulator"] = []


def active() -> "Emulator":
    """Returns the emulator in use.

    Raises:
        RuntimeError: there is none.
    """
    if not _stack:
        raise RuntimeError("a tensor of an emulated GPU is used outside of `emulated_cuda`")
    return _stack[-1]


def is_emulated(value: object) -> bool:
    """Returns whether a value is a tensor on the emulated device."""
    return isinstance(value, EmulatedTensor)


def names_gpu(device: Any) -> bool:
    """Returns whether a device, by object or by name, is the emulated one."""
    if device is None or isinstance(device, int):
        return isinstance(device, int)
    return torch.device(device).type in (BACKEND, "cuda")


class Pool:
    """Memory of graphs that run one after the other.

    Attributes:
        allocated: bytes of its living tensors.
        peak: most of these, which it keeps.
    """

    def __init__(self) -> None:
        self.allocated = 0
        self.peak = 0


class Capture:
    """Operations recorded for a graph, and the memory they use.

    Args:
        pool: of which the graph takes its memory.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.tape: list[tuple[Any, Any, Any, Any]] = []
        self.counts = Counts()
        self.failure: str | None = None
        self.outside: dict[int, tuple[weakref.ref[Memory], str]] = {}
        self._before: dict[int, tuple[Tensor, Any]] = {}

    def note(self, operation: Any, args: Any, kwargs: Any) -> None:
        """Notes memory from outside before an operation, with its content if that is changed."""
        for tensor in tensors_in(args, kwargs):
            if isinstance(tensor, EmulatedTensor) and tensor.memory.capture is not self:
                key = id(tensor.memory)
                if key not in self.outside:
                    what = f"{tuple(tensor.shape)} at {place()}"
                    self.outside[key] = weakref.ref(tensor.memory), what
                if operation._schema.is_mutable and tensor.held.device != META:
                    storage = tensor.held.untyped_storage()
                    self._before.setdefault(storage._cdata, (tensor.held, storage.clone()))

    def undo(self) -> None:
        """Restores what the recorded operations changed."""
        for inner, content in self._before.values():
            inner.untyped_storage().copy_(content)
        self._before = {}

    def replay(self) -> None:
        """Runs the operations again.

        Raises:
            UseAfterFreeError: memory of the graph has been freed.
        """
        for memory, what in self.outside.values():
            if memory() is None:
                raise UseAfterFreeError(f"a graph uses memory that was freed: {what}")
        with torch.no_grad(), unobserved():
            for operation, args, kwargs, result in self.tape:
                new = operation(*args, **kwargs)
                if operation._schema.is_mutable:
                    continue
                for target, value in zip(tensors_in(result), tensors_in(new), strict=True):
                    if target.numel() and target.data_ptr() != value.data_ptr():
                        target.copy_(value)


def _free(owner: "Emulator | Pool", n_bytes: int) -> None:
    owner.allocated -= n_bytes


class Emulator:
    """State of an emulated device.

    Args:
        shapes_only: tensors have no values.
        total_memory: of the device, in bytes.

    Attributes:
        counts: work so far; replaced by `reset`.
        capture: the graph that is being recorded.
        sync_is_error: see `torch.cuda.set_sync_debug_mode`.
        fraction: of the memory that the process may use.
        allocated: bytes of the living tensors, those of graphs left out.
        peak: most bytes of all living tensors since the last reset.
        pools: of graphs, by their handles.
    """

    def __init__(self, *, shapes_only: bool = False, total_memory: int = TOTAL_MEMORY) -> None:
        self.shapes_only = shapes_only
        self.total_memory = total_memory
        self.fraction = 1.0
        self.allocated = 0
        self.peak = 0
        self.pools: weakref.WeakValueDictionary[Any, Pool] = weakref.WeakValueDictionary()
        self.counts = Counts()
        self.capture: Capture | None = None
        self.sync_is_error = False
        self._memories: weakref.WeakValueDictionary[int, Memory] = weakref.WeakValueDictionary()
        self._pinned: dict[int, Any] = {}  # storages are held: their addresses stay theirs

    def reset(self) -> None:
        """Starts counting anew."""
        self.counts = Counts()

    def memory_of(self, inner: Tensor) -> Memory:
        """Returns the allocation that a tensor lies in."""
        key = inner.untyped_storage()._cdata
        memory = self._memories.get(key)
        if memory is None:
            memory = self._memories[key] = Memory(self.capture)
            self._allocate(memory, inner.untyped_storage().nbytes())
        return memory

    @property
    def reserved(self) -> int:
        """Bytes that nothing else can have."""
        return self.allocated + sum(pool.peak for pool in self.pools.values())

    @property
    def living(self) -> int:
        """Bytes of all living tensors."""
        return self.allocated + sum(pool.allocated for pool in self.pools.values())

    def _allocate(self, memory: Memory, n_bytes: int) -> None:
        """Counts an allocation.

        Raises:
            torch.OutOfMemoryError: the process may not use so much.
        """
        owner = self if memory.capture is None else memory.capture.pool
        more = n_bytes
        if isinstance(owner, Pool):
            more = max(0, owner.allocated + n_bytes - owner.peak)
        if self.reserved + more > self.fraction * self.total_memory:
            raise torch.OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {n_bytes} bytes. {self.reserved} of "
                f"{self.total_memory} bytes are allocated, {self.fraction} of them are allowed."
            )
        owner.allocated += n_bytes
        if isinstance(owner, Pool):
            owner.peak = max(owner.peak, owner.allocated)
        self.peak = max(self.peak, self.living)
        weakref.finalize(memory, _free, owner, n_bytes)

    def pin(self, tensor: Tensor) -> Tensor:
        """Returns a copy in pinned memory."""
        copy = tensor.clone()
        self._pinned[copy.untyped_storage()._cdata] = copy.untyped_storage()
        return copy

    def is_pinned(self, tensor: Tensor) -> bool:
        """Returns whether a CPU tensor lies in pinned memory."""
        return tensor.untyped_storage()._cdata in self._pinned

    def wait(self, reason: str) -> None:
        """Counts that the host waits for the device.

        Raises:
            CaptureError: a graph is being captured.
            RuntimeError: with `sync_is_error`.
        """
        if self.capture is not None:
            self.capture.failure = reason
            raise CaptureError(
                f"CUDA error: operation not permitted when stream is capturing [{reason} at "
                f"{place(3)}]"
            )
        if self.sync_is_error:
            raise RuntimeError(f"called a synchronizing CUDA operation [{reason} at {place(3)}]")
        self.counts.syncs[f"{reason} at {place()}"] += 1

    def run(self, operation: Any, args: Any, kwargs: Any) -> Any:
        """Runs an operation of which an argument or the result is on the emulated device."""
        name = short_name(operation)
        on_gpu = any(is_emulated(tensor) for tensor in tensors_in(args, kwargs))
        device = kwargs.get("device")
        to_gpu = on_gpu if device is None else names_gpu(device)
        if name == "_to_copy":
            return self._to_copy(operation, args, kwargs, to_gpu=to_gpu)
        if name == "copy_" and is_emulated(args[0]) != is_emulated(args[1]):
            non_blocking = bool(args[2]) if len(args) > 2 else kwargs.get("non_blocking", False)
            self._transfer(args[1], to_gpu=is_emulated(args[0]), non_blocking=non_blocking)
        elif name != "copy_":
            self._check_devices(operation, args, kwargs)
        if on_gpu:
            self._note_waiting(name, args, kwargs)
        if self.shapes_only and name == "_local_scalar_dense":
            return 1.0 if args[0].is_floating_point() else 1
        inner_args, inner_kwargs = self._inner((args, kwargs), on_gpu=on_gpu or to_gpu)
        if self.capture is not None and on_gpu:
            self.capture.note(operation, args, kwargs)
        result = operation(*inner_args, **inner_kwargs)
        if not to_gpu or name == "_local_scalar_dense":
            return result
        self._count(operation, inner_args, inner_kwargs, result)
        wrapped = pytree.tree_map_only(Tensor, _wrapped, result)
        if on_gpu:
            return return_and_correct_aliasing(operation, args, kwargs, wrapped)
        return wrapped

    def _inner(self, tree: Any, *, on_gpu: bool) -> Any:
        """Returns arguments of the operation on the inner tensors."""

        def replaced(leaf: Any) -> Any:
            if isinstance(leaf, EmulatedTensor):
                return leaf.held
            if self.shapes_only and isinstance(leaf, Tensor) and on_gpu:
                return torch.empty_like(leaf, device=META)
            return leaf

        with unobserved():
            args, kwargs = pytree.tree_map(replaced, tree)
        if kwargs.get("device") is not None and on_gpu:
            kwargs["device"] = self._home
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False
        return args, kwargs

    @property
    def _home(self) -> torch.device:
        return META if self.shapes_only else _CPU

    def _to_copy(self, operation: Any, args: Any, kwargs: Any, *, to_gpu: bool) -> Any:
        (source,) = args
        on_gpu = is_emulated(source)
        inner = source.held if on_gpu else source
        left_out = ("device", "non_blocking", "pin_memory")
        rest = {name: value for name, value in kwargs.items() if name not in left_out}
        if to_gpu != on_gpu:
            self._transfer(
                source, to_gpu=to_gpu, non_blocking=bool(kwargs.get("non_blocking", False))
            )
        if self.shapes_only and not to_gpu:
            return torch.ones(source.shape, dtype=rest.get("dtype") or source.dtype)
        target = self._home if to_gpu else _CPU
        with unobserved():
            result = operation(inner, **rest, device=target)
            if result.untyped_storage()._cdata == inner.untyped_storage()._cdata:
                result = result.clone()
        if not to_gpu:
            return result
        if on_gpu:
            if self.capture is not None:
                self.capture.note(operation, args, kwargs)
            self._count(operation, (inner,), {**rest, "device": target}, result)
        return EmulatedTensor(result)

    def _transfer(self, source: Tensor, *, to_gpu: bool, non_blocking: bool) -> None:
        """Counts a copy between the devices."""
        if not (to_gpu and non_blocking):
            self.wait(f"blocking copy {'to' if to_gpu else 'from'} the device")
        elif self.is_pinned(source):
            if self.capture is not None:
                self.wait("copy from the host in a capture: the graph would keep its address")
            self.counts.pinned[place()] += 1
        else:
            if self.capture is not None:
                self.wait("copy from pageable memory in a capture")
            self.counts.pageable[place()] += 1

    def _check_devices(self, operation: Any, args: Any, kwargs: Any) -> None:
        """Raises where CUDA would for tensors of both devices."""
        tensors = tensors_in(args, kwargs)
        host = [t for t in tensors if not is_emulated(t) and t.device.type == "cpu"]
        if not host or len(host) == len(tensors):
            return
        name = short_name(operation)
        if name in ("set_", "result_type", "_has_compatible_shallow_copy_type"):
            return
        if name in _INDEXING:
            if not is_emulated(args[0]):
                raise RuntimeError(
                    "indices should be either on cpu or on the same device as the indexed tensor "
                    "(cpu)"
                )
            self.wait("CPU indices of a tensor on the device")
            return
        pointwise = torch.Tag.pointwise in operation.tags or name in _ALLOWED_WITH_HOST
        if all(tensor.ndim == 0 for tensor in host) and (pointwise or name.startswith("_foreach")):
            if self.capture is not None:
                self.wait(f"a number of the host would become a constant of the graph ({name})")
            return
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, cuda:0 "
            f"and cpu! (in {name})"
        )

    def _note_waiting(self, name: str, args: Any, kwargs: Any) -> None:
        if name in SYNCHRONISING:
            self.wait(name)
        elif name in _INDEXING and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        ):
            self.wait("a mask as index")
        elif name == "repeat_interleave" and kwargs.get("output_size") is None:
            self.wait("repeat_interleave without output_size")

    def _count(self, operation: Any, args: Any, kwargs: Any, result: Any) -> None:
        name = short_name(operation)
        cost = cost_of(operation, args, kwargs, result)
        counts = self.counts if self.capture is None else self.capture.counts
        counts.add(name, *cost)
        counts.direct_launches += cost[0]
        if self.capture is not None and name not in WITHOUT_KERNEL:
            self.capture.tape.append((operation, args, kwargs, result))

    def replay(self, capture: Capture) -> None:
        """Replays a graph and counts its work."""
        if not self.shapes_only:
            capture.replay()
        self.counts.replays += 1
        self.counts.kernels += capture.counts.kernels
        self.counts.moved += capture.counts.moved
        self.counts.operations += capture.counts.operations
        self.counts.bound += capture.counts.bound
        self.counts.pool = max(self.counts.pool, capture.pool.peak)


def _wrapped(tensor: Tensor) -> Tensor:
    return tensor if is_emulated(tensor) else EmulatedTensor(tensor)


@contextlib.contextmanager
def unobserved() -> Iterator[None]:
    """Leaves operations inside the context as they are."""
    before = getattr(_local, "unobserved", False)
    _local.unobserved = True
    try:
        yield
    finally:
        _local.unobserved = before


class Operations(TorchDispatchMode):
    """Sends operations that make or use tensors on the device to the emulator."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not getattr(_local, "unobserved", False) and (
            any(is_emulated(tensor) for tensor in tensors_in(args, kwargs))
            or names_gpu(kwargs.get("device"))
        ):
            return active().run(func, args, kwargs)
        return func(*args, **kwargs)
