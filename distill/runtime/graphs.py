"""Steps recorded once as CUDA graphs and replayed, so that the host launches one thing, not many.

A step is a function that works in place on tensors which stay where they are (weights, momenta,
images), and takes its few changing inputs as arguments. It must not ask the device for a value, nor
draw random numbers. The same function runs as it is where there are no graphs.
"""

import warnings
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distill.errors import SlowerWarning

WARM_UP = 2
"""Calls of a step before it is recorded: libraries choose their algorithms in them."""

MOST_RECORDINGS = 32
"""Recordings of a step that are kept; under the published protocol shapes change now and then."""

Step = Callable[..., None]


@dataclass
class _Recording:
    """A recorded step, and the tensors that it reads its inputs from."""

    graph: Any
    inputs: list[Tensor]


class StepGraphs:
    """Runs a step, as a graph from its third call on with the same key and shapes.

    The first calls run as they are, on a stream of their own, and do their work like all others.
    Where recording fails, a warning says why and the step goes on without.

    Args:
        step: called as `step(key, *inputs)`.
        device: where it works, and where its inputs are brought.
        enabled: False: the step is always run as it is.
    """

    def __init__(self, step: Step, device: torch.device, *, enabled: bool) -> None:
        self.step = step
        self.device = device
        self.enabled = enabled
        self._calls: dict[Hashable, int] = {}
        self._recordings: dict[Hashable, _Recording] = {}
        self._pool: Any = None  # memory that all of them use, one after the other

    def __call__(self, key: Hashable, *inputs: Tensor) -> None:
        """Runs the step once.

        Args:
            key: what the host decides about the step; a step is recorded for each.
            inputs: tensors on the host or on the device, of any shapes.
        """
        if not self.enabled:
            self.step(key, *inputs)
            return
        full_key = (key, tuple((own.shape, own.dtype) for own in inputs))
        recording = self._recordings.get(full_key)
        if recording is not None:
            for target, own in zip(recording.inputs, inputs, strict=True):
                target.copy_(own, non_blocking=True)
            recording.graph.replay()
            return
        on_device = [own.to(self.device, copy=True) for own in inputs]
        n_calls = self._calls[full_key] = self._calls.get(full_key, 0) + 1
        if n_calls <= WARM_UP:
            self._run_aside(key, on_device)
        else:
            self._record(full_key, key, on_device)

    def _run_aside(self, key: Hashable, inputs: list[Tensor]) -> None:
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            self.step(key, *inputs)
        torch.cuda.current_stream(self.device).wait_stream(stream)

    def _record(self, full_key: Hashable, key: Hashable, inputs: list[Tensor]) -> None:
        try:
            graph = self._new_graph(key, inputs)
        except RuntimeError as error:
            self.enabled = False
            reason = str(error).strip().splitlines()[0]
            warnings.warn(
                f"a step cannot be recorded as a CUDA graph ({reason}); it goes on without, slower",
                SlowerWarning,
                stacklevel=3,
            )
            self.step(key, *inputs)
            return
        if len(self._recordings) == MOST_RECORDINGS:
            del self._recordings[next(iter(self._recordings))]
        self._recordings[full_key] = _Recording(graph, inputs)
        graph.replay()  # recording did no work

    def _new_graph(self, key: Hashable, inputs: list[Tensor]) -> Any:
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            self.step(key, *inputs)
        return graph
