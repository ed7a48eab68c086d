"""Seconds of the parts of a loop, without waiting for a GPU in between."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class PartClock:
    """Adds up the seconds of named parts.

    On a GPU a part's begin and end are marked in its queue, and the marks are read when `seconds`
    is asked for, which waits; the loop itself does not.

    Args:
        parts: their names.
        device: where the work is done.
    """

    def __init__(self, parts: tuple[str, ...], device: torch.device) -> None:
        self._seconds = dict.fromkeys(parts, 0.0)
        self._on_gpu = device.type == "cuda"
        self._marks: list[tuple[str, Any, Any]] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Adds the time of the context to a part."""
        if self._on_gpu:
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            yield
            last.record()
            self._marks.append((name, first, last))
        else:
            start = time.perf_counter()
            yield
            self._seconds[name] += time.perf_counter() - start

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds so far, by part; waits for a GPU."""
        for name, first, last in self._marks:
            last.synchronize()
            self._seconds[name] += first.elapsed_time(last) / 1000
        self._marks.clear()
        return dict(self._seconds)

    @seconds.setter
    def seconds(self, values: dict[str, float]) -> None:
        self._marks.clear()
        self._seconds = dict(values)
