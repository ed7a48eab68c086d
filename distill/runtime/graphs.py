"""CUDA graphs: record a step once and replay it, so that the host launches a single operation.

A step is a function that works in place on tensors at fixed addresses (weights, momenta, images)
and takes its few changing inputs as arguments. It must neither read a value from the device nor
draw random numbers. Without graphs, the same function is called directly.
"""

import warnings
import weakref
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import torch
from torch import Tensor

from distill.errors import SlowerWarning
from distill.runtime.staging import packed, stage, unpacked

WARM_UP = 2
"""Calls of a step before it is recorded, in which libraries choose their algorithms."""

MOST_RECORDINGS = 32
"""Default bound on the recordings kept; shapes change repeatedly under the published protocol."""

Step = Callable[..., None]

_with_pools: "weakref.WeakSet[StepGraphs]" = weakref.WeakSet()


def pool_bytes() -> int:
    """Returns the memory that the recordings of this process keep, which nothing else can have."""
    return sum(steps.pool_bytes for steps in _with_pools)


class _Inputs:
    """Inputs of a recorded step, where they stay; those from the host share one buffer.

    Args:
        inputs: of the first call.
        device: of the step.
    """

    def __init__(self, inputs: Sequence[Tensor], device: torch.device) -> None:
        self._are_copied = [tensor.device.type != device.type for tensor in inputs]
        copied = list(compress(inputs, self._are_copied))
        self._buffer = packed(copied).to(device, non_blocking=True) if copied else None
        parts = iter(unpacked(self._buffer, copied) if self._buffer is not None else ())
        self.tensors = [
            next(parts) if is_copied else tensor.clone()
            for tensor, is_copied in zip(inputs, self._are_copied, strict=True)
        ]

    def set(self, inputs: Sequence[Tensor]) -> None:
        """Takes those of another call, the host's in one copy from pinned memory."""
        if self._buffer is not None:
            copied = list(compress(inputs, self._are_copied))
            self._buffer.copy_(packed(copied), non_blocking=True)
        for target, tensor, is_copied in zip(self.tensors, inputs, self._are_copied, strict=True):
            if not is_copied:
                target.copy_(tensor)


@dataclass
class _Recording:
    """A recorded step, its inputs, and whether it was used since."""

    graph: Any
    inputs: _Inputs
    was_reused: bool = False


class StepGraphs:
    """Runs a step, as a CUDA graph from the third call with the same key and shapes on.

    The first calls run directly, on a separate stream. If recording fails, a warning gives the
    reason and all further calls run directly. When there are `most_recordings`, a new one takes the
    place of the least recently used; if so many of these were never replayed, nothing more is
    recorded, with a warning: the recordings that are there are still replayed.

    Args:
        step: called as `step(key, *inputs)`.
        device: device of the step; inputs are copied to it.
        enabled: False: always call the step directly.
        most_recordings: bound on the recordings kept, at least 1; a caller with a known number of
            keys that take turns passes more than that number.

    Attributes:
        pool_bytes: of the memory that all recordings share.

    Example:
        >>> total = torch.zeros(())
        >>> step = StepGraphs(
        ...     lambda key, number: total.add_(number), torch.device("cpu"), enabled=False
        ... )
        >>> step("add", torch.tensor(2.0))
        >>> total
        tensor(2.)
    """

    def __init__(
        self,
        step: Step,
        device: torch.device,
        *,
        enabled: bool,
        most_recordings: int = MOST_RECORDINGS,
    ) -> None:
        self.step = step
        self.device = device
        self.enabled = enabled
        self.most_recordings = most_recordings
        self._n_wasted = 0  # recordings that made way before they were replayed
        self._calls: dict[Hashable, int] = {}
        self._recordings: dict[Hashable, _Recording] = {}
        self._pool: Any = None  # memory that all recordings share, one after the other
        self.pool_bytes = 0

    def __call__(self, key: Hashable, *inputs: Tensor) -> None:
        """Runs the step once.

        Args:
            key: the host's decisions in the step; every key has its own recording.
            inputs: tensors on the host or on the device, of any shapes.
        """
        if not self.enabled:
            self.step(key, *stage(inputs, self.device))
            return
        kinds = tuple((tensor.shape, tensor.dtype, tensor.device.type) for tensor in inputs)
        full_key = (key, kinds)
        recording = self._recordings.pop(full_key, None)
        if recording is not None:
            self._recordings[full_key] = recording  # the most recently used is the last
            recording.was_reused = True
            recording.inputs.set(inputs)
            recording.graph.replay()
            return
        held = _Inputs(inputs, self.device)
        n_calls = self._calls[full_key] = self._calls.get(full_key, 0) + 1
        if self._n_wasted >= self.most_recordings:
            self.step(key, *held.tensors)
        elif n_calls <= WARM_UP:
            self._run_aside(key, held.tensors)
        else:
            self._record(full_key, key, held)

    def _run_aside(self, key: Hashable, inputs: list[Tensor]) -> None:
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            self.step(key, *inputs)
        torch.cuda.current_stream(self.device).wait_stream(stream)

    def _record(self, full_key: Hashable, key: Hashable, inputs: _Inputs) -> None:
        try:
            graph = self._new_graph(key, inputs.tensors)
        except RuntimeError as error:
            self.enabled = False
            reason = str(error).strip().splitlines()[0]
            warnings.warn(
                f"a step cannot be recorded as a CUDA graph ({reason}); continuing without, slower",
                SlowerWarning,
                stacklevel=3,
            )
            self.step(key, *inputs.tensors)
            return
        if len(self._recordings) == self.most_recordings:
            self._make_room()
        self._recordings[full_key] = _Recording(graph, inputs)
        graph.replay()  # recording does not execute the step

    def _make_room(self) -> None:
        """Drops the least recently used recording."""
        self._n_wasted += not self._recordings.pop(next(iter(self._recordings))).was_reused
        if self._n_wasted == self.most_recordings:
            warnings.warn(
                f"more than {self.most_recordings} different steps take turns, so that recordings "
                "are dropped before they are replayed; recording no more of them, slower "
                "(--graphs off does not warn)",
                SlowerWarning,
                stacklevel=5,
            )

    def _new_graph(self, key: Hashable, inputs: list[Tensor]) -> Any:
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            before = torch.cuda.memory_reserved(self.device)
            self.step(key, *inputs)
            self.pool_bytes += torch.cuda.memory_reserved(self.device) - before
        _with_pools.add(self)
        return graph
