"""Loaded by every Python process of a test's node: notes what trials do, and sets the clock wrong.

It watches and changes nothing of a trial. Every event is one line of JSON, appended in one write to
the file NODE_PROBE_LOG, so the lines of all processes of a machine stand in the order in which
things happened. What is written is written: a process that is killed takes nothing with it.

NODE_PROBE_CLOCK shifts what Python takes for the time of day, in seconds.
"""

import datetime as dt
import functools
import importlib.abc
import importlib.machinery
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any


def _note(event: str, trial_id: str, **values: Any) -> None:
    record = {"event": event, "trial_id": trial_id, "pid": os.getpid(), **values}
    record |= {"node": os.environ["NODE_PROBE_NODE"], "seconds": time.monotonic()}
    log = os.open(os.environ["NODE_PROBE_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(log, (json.dumps(record) + "\n").encode())
    finally:
        os.close(log)


def _place(trial: Any) -> dict[str, int]:
    """Where a trial stands: iterations (inner loops), and epochs of evaluations, both done."""
    dream = trial.dream
    return {
        "iterations": dream.outer * trial.config.n_inner + dream.inner,
        "epochs": trial._epochs()[0],
    }


def _after(owner: Any, name: str, note: Callable[..., None]) -> None:
    """Lets `note` hear of every call of a function that came to its end."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def noted(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        note(*arguments)
        return result

    setattr(owner, name, noted)


def _watch_trial(module: ModuleType) -> None:
    def note(event: str, trial: Any) -> None:
        _note(event, trial.config.trial_id, **_place(trial))

    _after(module.DistillationTrial, "advance", lambda trial: note("unit", trial))
    _after(module.DistillationTrial, "load_state", lambda trial, *_: note("resumed", trial))


def _watch_running(module: ModuleType) -> None:
    _after(module, "save_checkpoint", lambda *given: _note("saved", given[2]["trial_id"]))
    _set_clock(module)


def _watch_store(module: ModuleType) -> None:
    _after(module.Store, "put_result", lambda *given: _note("stored", given[1]["trial_id"]))
    _set_clock(module)


def _set_clock(module: ModuleType) -> None:
    """Shifts the clock that a module knows as `dt`.

    The class itself cannot be replaced for all: compiled modules know its layout.
    """

    class Datetime(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return dt.datetime.now(tz) + dt.timedelta(seconds=_SHIFT)

    if _SHIFT:
        module.dt = SimpleNamespace(datetime=Datetime, UTC=dt.UTC)  # type: ignore[attr-defined]


_SHIFT = float(os.environ.get("NODE_PROBE_CLOCK", "0"))
_WATCHED = {
    "distill.trials.distillation": _watch_trial,
    "distill.trials.runner": _watch_running,
    "sweeps.store.store": _watch_store,
    "sweeps.store.files": _set_clock,
    "sweeps.cluster.worker": _set_clock,
}


class _Watcher(importlib.abc.MetaPathFinder):
    """Adds to the watched modules, as soon as they are imported, the notes of what they do."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in _WATCHED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            _after(spec.loader, "exec_module", _WATCHED[name])
        return spec


def _shift_clock() -> None:
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + _SHIFT
    time.time_ns = lambda: right_ns() + int(_SHIFT * 1e9)


if "NODE_PROBE_LOG" in os.environ:
    sys.meta_path.insert(0, _Watcher())
    if _SHIFT and any(word.endswith("default_worker.py") for word in sys.orig_argv):
        _shift_clock()
