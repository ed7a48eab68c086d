"""Two processes that do the same work in different ways, in turns: both see the same machine."""

import multiprocessing as mp
import statistics
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch

Answers = dict[str, Callable[[], Any]]
"""What a process can be asked for, by name."""


class Worker:
    """A process that answers questions.

    Args:
        set_up: makes the answers in the new process; a function of a module.
        arguments: of `set_up`.
    """

    def __init__(self, set_up: Callable[..., Answers], *arguments: Any) -> None:
        context = mp.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, set_up, arguments))
        self._process.start()
        other.close()

    def ask(self, question: str) -> Any:
        """Returns what the process answers."""
        self._pipe.send(question)
        return self._pipe.recv()

    def close(self) -> None:
        """Ends the process."""
        self._pipe.close()
        self._process.join()


def _serve(pipe: Connection, set_up: Callable[..., Answers], arguments: tuple[Any, ...]) -> None:
    answers = set_up(*arguments)
    while True:
        try:
            question = pipe.recv()
        except EOFError:
            return
        pipe.send(answers[question]())


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Returns the seconds of some work: on a CPU the process's own, of all its threads."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    _synchronize(device)
    start = clock()
    work()
    _synchronize(device)
    return clock() - start


def medians(workers: Sequence[Worker], question: str, repeats: int) -> list[float]:
    """Returns for each worker the median of the seconds it answers with, asked in turns."""
    seconds: list[list[float]] = [[] for _ in workers]
    for _ in range(repeats):
        for own, worker in zip(seconds, workers, strict=True):
            own.append(worker.ask(question))
    return [statistics.median(own) for own in seconds]


def machine(device: str, n_threads: int) -> str:
    """Returns what a benchmark runs on, in words."""
    name = f"{n_threads} CPU thread" + ("" if n_threads == 1 else "s")
    if device.startswith("cuda"):
        name = torch.cuda.get_device_name()
    return f"{name}, torch {torch.__version__}"


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
