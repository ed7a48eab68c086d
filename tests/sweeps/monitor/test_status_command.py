"""`dream-sweep status` as a user runs it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distill.config.distillation import DistillationConfig
from sweeps.console import main
from sweeps.monitor.status import Status
from sweeps.store.store import Store
from tests.paths import ROOT
from tests.sweeps.plain_results import row_of

CONFIGS = [DistillationConfig(seed=seed) for seed in range(3)]


@pytest.fixture
def begun(store: Store) -> Store:
    """A sweep of three trials, one of them done."""
    store.put_submission({"name": "sweep", "trial_ids": [c.trial_id for c in CONFIGS]})
    store.put_result(row_of(CONFIGS[0], test_loss_mean=float("nan")), [])
    return store


def start(*arguments: str, **options: Any) -> "subprocess.Popen[str]":
    code = "import sys; from sweeps.console import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, "status", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_status_is_printed(begun: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", begun.uri]) == 0

    captured = capsys.readouterr()
    assert captured.out.startswith("1 of 3 trials done · 0 running · 0 failed\n")
    assert captured.err == ""


def test_json_is_one_object_with_the_documented_keys(
    begun: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", begun.uri, "--json"]) == 0

    captured = capsys.readouterr()
    document = json.loads(captured.out, parse_constant=pytest.fail)
    assert captured.out.count("\n") == 1
    assert list(document) == list(Status.__dataclass_fields__)
    assert (document["planned"], document["n_finished"]) == (3, 1)
    reference = (ROOT / "docs" / "reference.md").read_text()
    section = reference.partition("\n## JSON of the commands\n")[2].partition("\n## ")[0]
    for key in document:
        assert f"`{key}`" in section, key


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there are no results at"),
        (["nowhere", "--every", "0"], "--every must be at least 0.5 seconds, got 0"),
        (["nowhere", "--every", "nan"], "--every must be at least 0.5 seconds, got nan"),
        (["nowhere", "--wach"], "did you mean '--watch'"),
        ([], "the following arguments are required: RESULTS"),
    ],
)
def test_bad_usage_is_one_line_and_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", *arguments]) == 2

    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_watch_prints_blocks_to_a_pipe_until_interrupted(begun: Store) -> None:
    process = start(begun.uri, "--watch", "--every", "0.5")
    assert process.stdout is not None
    first = iter(process.stdout.readline, "\n")
    assert next(first).startswith("1 of 3 trials done")
    list(first)
    begun.put_result(row_of(CONFIGS[1]), [])
    while not (line := process.stdout.readline()).startswith("2 of 3 trials done"):
        assert line, "it ended"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()

    assert process.returncode == 0
    assert errors == ""


def test_watched_json_is_one_object_a_line(begun: Store) -> None:
    process = start(begun.uri, "--watch", "--every", "0.5", "--json")
    assert process.stdout is not None
    documents = [json.loads(process.stdout.readline()) for _ in range(2)]
    process.send_signal(signal.SIGINT)
    process.communicate()

    assert [document["n_finished"] for document in documents] == [1, 1]
    assert process.returncode == 0


def test_a_reader_that_goes_away_ends_the_watch(begun: Store) -> None:
    process = start(begun.uri, "--watch", "--every", "0.5")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == ""

    assert process.wait() == 0


def test_watch_on_a_terminal_draws_in_place_and_leaves_it_clean(begun: Store) -> None:
    controller, terminal = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "sweeps.monitor.status_command", begun.uri, "--watch"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80", "TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    seen = b""
    while b"left" not in seen:
        seen += os.read(controller, 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 0
    os.close(terminal)
    seen += os.read(controller, 65536)
    os.close(controller)

    assert b"\x1b[?25l" in seen, "the cursor is hidden"
    assert seen.rstrip().endswith(b"\x1b[?25h"), "and shown again"
    assert b"Traceback" not in seen


def test_status_and_logs_load_neither_torch_nor_ray(begun: Store, tmp_path: Path) -> None:
    code = (
        "import sys; from sweeps.console import main\n"
        f"assert main(['status', {begun.uri!r}]) == 0\n"
        f"assert main(['logs', {begun.uri!r}, {CONFIGS[0].trial_id!r}]) == 0\n"
        "assert not {'torch', 'ray', 'optuna', 'matplotlib'} & sys.modules.keys()\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
