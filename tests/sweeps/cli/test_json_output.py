"""`--json` of the commands that run sweeps: one object, and nothing else on standard output."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sweeps import cats_vs_dogs, full_grid
from sweeps.cli.json_output import json_output
from sweeps.store.store import Store
from tests.sweeps.cost.test_distillation_cost import priced
from tests.sweeps.plain_results import row_of

SMOKE = ["--preset", "smoke"]
PLAN = full_grid.COMMAND.plan(SMOKE)


def document_of(captured: str) -> dict[str, Any]:
    """Returns the only line as an object."""
    assert captured.count("\n") == 1
    document = json.loads(captured, parse_constant=pytest.fail)
    assert isinstance(document, dict)
    return document


def test_one_object_is_printed_and_all_other_text_moves(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with json_output(enabled=True) as document:
        print("text")
        document |= {"a": float("nan"), "b": [float("inf"), 1.5], "c": "é"}
    with json_output(enabled=False) as document:
        print("text as usual")
        document["d"] = 1

    captured = capsys.readouterr()
    assert captured.out == '{"a": null, "b": [null, 1.5], "c": "é"}\ntext as usual\n'
    assert captured.err == "text\n"


def test_nothing_is_printed_after_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    output = sys.stdout
    with pytest.raises(ValueError, match="wrong"), json_output(enabled=True):
        raise ValueError("wrong")

    assert sys.stdout is output
    assert capsys.readouterr().out == ""


def test_a_dry_run_prints_its_plan_and_estimate(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store.put_result(row_of(PLAN[0]) | priced(PLAN[0]), [])
    store.put_failure(PLAN[1].trial_id, {"message": "no luck"})
    arguments = [*SMOKE, "--seeds", "3", "--results", store.uri, "--dry-run", "--json"]

    assert full_grid.main(arguments) == 0

    captured = capsys.readouterr()
    document = document_of(captured.out)
    assert document["dry_run"]
    assert document["exit_code"] == 0
    assert (document["planned"], document["n_finished"], document["n_failed"]) == (6, 1, 1)
    assert document["to_do"] == 4
    assert [m["method"] for m in document["methods"]] == ["kmeans", "dbscan"]
    assert document["methods"][0] | {"seconds": None} == {
        "method": "kmeans",
        "planned": 3,
        "n_finished": 1,
        "n_failed": 0,
        "to_do": 2,
        "seconds": None,
    }
    assert document["methods"][0]["seconds"] > 0
    assert document["estimate"]["n_unknown"] == 2, "no dbscan has been measured"
    assert "6 trials: digits" in captured.err


def test_the_end_of_a_grid_prints_its_results(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for config, accuracy in zip(PLAN, (0.5, 0.75), strict=True):
        store.put_result(row_of(config, test_accuracy_mean=accuracy), [])

    assert full_grid.main([*SMOKE, "--results", store.uri, "--json"]) == 0

    captured = capsys.readouterr()
    document = document_of(captured.out)
    assert (document["command"], document["name"]) == ("grid", "smoke")
    assert (document["planned"], document["finished"]) == (2, {"ok": 2})
    assert document["best"][0]["accuracy"] == 0.75
    assert document["best"][0]["trial_id"] == PLAN[1].trial_id
    assert (document["stopped"], document["signal"], document["exit_code"]) == (None, None, 0)
    assert document["resume"].startswith("uv run sweeps/full_grid.py --preset smoke")
    assert "2 of 2 trials finished: 2 ok" in captured.err


def test_failures_are_in_the_object_and_in_the_exit_code(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store.put_result(row_of(PLAN[0]), [])
    store.put_failure(PLAN[1].trial_id, {"message": "no luck", "cause": "error"})

    assert full_grid.main([*SMOKE, "--results", store.uri, "--json"]) == 1

    document = document_of(capsys.readouterr().out)
    assert document["failed"] == [
        {"message": "no luck", "n_trials": 1, "trial_ids": [PLAN[1].trial_id]}
    ]
    assert (document["to_do"], document["exit_code"]) == (0, 1)


def test_photos_print_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = str(tmp_path / "results")

    assert cats_vs_dogs.main(["--results", results, "--dry-run", "--json"]) == 0
    document = document_of(capsys.readouterr().out)
    assert document["command"] == "photos"
    assert sum(method["planned"] for method in document["methods"]) == document["planned"]
    assert not Path(results).exists()


def test_bad_usage_prints_no_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert full_grid.main(["--preset", "papr", "--json"]) == 2
    assert capsys.readouterr().out == ""
