"""Graceful shutdown: collect stop signals instead of dying of them."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def signal_handlers(
    handlers: Mapping[int, Callable[[int, FrameType | None], Any]],
) -> Iterator[dict[int, Any]]:
    """Installs signal handlers for the time of the context; gives those that they replace.

    Args:
        handlers: signal number → handler. Only the main thread may install them.
    """
    previous: dict[int, Any] = {
        number: signal.signal(number, handler) for number, handler in handlers.items()
    }
    try:
        yield previous
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM in a list; a second signal of a kind acts as it did before."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(number)
        signal.signal(number, previous[number])

    with signal_handlers(dict.fromkeys(STOP_SIGNALS, note)) as previous:
        yield received
