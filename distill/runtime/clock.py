"""Timing of the parts of a loop without synchronising a GPU."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

timer: Callable[[], float] = time.perf_counter
"""Returns seconds since some moment; a benchmark may replace it by CPU time."""


class PartClock:
    """Sums the seconds of named parts.

    On a GPU, events mark the start and the end of a part. They are read, with a synchronisation,
    when `seconds` is read; the loop does not wait.

    Args:
        parts: names of the parts.
        device: device that does the work.

    Example:
        >>> import torch
        >>> clock = PartClock(("load", "train"), torch.device("cpu"))
        >>> with clock.part("load"):
        ...     pass
        >>> clock.seconds["load"] > clock.seconds["train"] == 0
        True
    """

    def __init__(self, parts: tuple[str, ...], device: torch.device) -> None:
        self._seconds = dict.fromkeys(parts, 0.0)
        self._on_gpu = device.type == "cuda"
        self._marks: list[tuple[str, Any, Any]] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Adds the duration of the context to a part."""
        if self._on_gpu:
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            yield
            last.record()
            self._marks.append((name, first, last))
        else:
            start = timer()
            yield
            self._seconds[name] += timer() - start

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds so far, by part; synchronises a GPU."""
        for name, first, last in self._marks:
            last.synchronize()
            self._seconds[name] += first.elapsed_time(last) / 1000
        self._marks.clear()
        return dict(self._seconds)

    @seconds.setter
    def seconds(self, values: dict[str, float]) -> None:
        self._marks.clear()
        self._seconds = dict(values)
