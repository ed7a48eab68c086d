"""Stop signals: collected, a second SIGHUP ignored, and otherwise an end in order."""

import signal
import subprocess
import sys
import threading

import pytest

from distill.runtime.signals import exit_at_stop_signals


def run(code: str) -> subprocess.CompletedProcess[str]:
    header = "import os, signal, sys, time\nfrom distill.runtime.signals import *\n"
    header += "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # also under nohup
    return subprocess.run(
        [sys.executable, "-c", header + code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_second_hangup_is_ignored_and_a_second_termination_is_not() -> None:
    code = """
with stop_signals() as received:
    for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
        os.kill(os.getpid(), number)
    print(*received, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    print("not reached")
"""
    ended = run(code)
    assert ended.stdout == "1 15\n"
    assert ended.returncode == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_otherwise_a_signal_ends_the_process_in_order(number: signal.Signals) -> None:
    code = f"""
with exit_at_stop_signals():
    try:
        os.kill(os.getpid(), {int(number)})
        time.sleep(30)
    finally:
        print("tidied up")
"""
    ended = run(code)
    assert (ended.returncode, ended.stdout) == (128 + number, "tidied up\n")
    assert not ended.stderr


def test_other_threads_leave_signals_as_they_are() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def look() -> None:
        with exit_at_stop_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before]
