"""Graceful shutdown: collect stop signals instead of dying of them."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any


def stop_signal_numbers() -> tuple[int, ...]:
    """Returns the signals that ask for a graceful shutdown: SIGINT, SIGTERM and SIGHUP.

    SIGHUP, which a closed terminal sends, is left out where it is ignored already, as by `nohup`.
    """
    is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return (signal.SIGINT, signal.SIGTERM, *(() if is_ignored else (signal.SIGHUP,)))


class Terminal:
    """The terminal of a process, as long as it is there: writing to a closed one is an error."""

    def __init__(self) -> None:
        self._descriptors = [number for number in (1, 2) if os.isatty(number)]

    def leave(self) -> None:
        """Makes standard output and error that were the terminal write to nowhere."""
        for number in self._descriptors:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)


@contextmanager
def signal_handlers(
    handlers: Mapping[int, Callable[[int, FrameType | None], Any] | signal.Handlers],
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
def exit_at_stop_signals() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP end the process in order, by SystemExit with 128 + their number.

    What was started is then ended, and files are closed. Other threads than the main one, which
    cannot have handlers, leave signals as they are.
    """

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGHUP:
            terminal.leave()
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    terminal = Terminal()
    numbers = [number for number in stop_signal_numbers() if number != signal.SIGINT]
    with signal_handlers(dict.fromkeys(numbers, end)):
        yield


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects stop signals in a list; a second signal of a kind acts as it did before.

    But a second SIGHUP is ignored: a terminal that is closed may send two.
    """
    received: list[int] = []
    terminal = Terminal()

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(number)
        if number == signal.SIGHUP:
            terminal.leave()
            signal.signal(number, signal.SIG_IGN)
        else:
            signal.signal(number, previous[number])

    with signal_handlers(dict.fromkeys(stop_signal_numbers(), note)) as previous:
        yield received
