"""`dream-sweep export`: the distilled set of a stored trial, as a single run leaves it."""

import json
from pathlib import Path

import pytest
import torch

from distill.__main__ import main as run_trial
from distill.config.distillation import DistillationConfig
from distill.datasets import load_dataset
from distill.trials.distilled_files import distilled_table, load_distilled
from distill.trials.runner import run
from sweeps.console import main
from sweeps.store.store import Store
from tests.sweeps.plain_results import row_of

TINY = {"factor": 2, "width": 4, "n_outer": 1, "n_inner": 1, "eval_epochs": 1, "n_eval": 2}
CONFIG = DistillationConfig(**TINY)


@pytest.fixture
def stored(store: Store) -> Store:
    """A store with one finished distillation."""
    result = run(CONFIG)
    store.put_result(result.row, result.curve, result.artifacts)
    return store


def test_an_exported_set_is_that_of_a_single_run(
    stored: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    assert run_trial([*options, "--no-baseline", "--out", str(tmp_path / "single")]) == 0

    exported = tmp_path / "new" / "set"
    assert main(["export", stored.uri, CONFIG.trial_id[:6], str(exported)]) == 0

    names = {"README.md", "training_recipe.py", "config.json"}
    names |= {"decoded.parquet", "distilled.parquet", "distilled.png"}
    assert {path.name for path in exported.iterdir()} == names
    for name in names:
        assert (exported / name).read_bytes() == (tmp_path / "single" / name).read_bytes()
    assert f"trial {CONFIG.trial_id} is in {exported}: README.md" in capsys.readouterr().out


def test_a_set_of_an_earlier_version_gets_its_normalisation(store: Store, tmp_path: Path) -> None:
    result = run(CONFIG)
    new = result.artifacts["distilled"]
    notes = {"trial_id": CONFIG.trial_id, "factor": "2"}
    old = new.replace_schema_metadata(new.schema.metadata | {b"distill": json.dumps(notes)})
    store.put_result(result.row, result.curve, {"distilled": old})

    assert main(["export", store.uri, CONFIG.trial_id, str(tmp_path / "set")]) == 0

    noted = load_distilled(tmp_path / "set" / "distilled.parquet").metadata
    mean = float(load_dataset("digits").train_images.float().mean()) / 255
    assert float(noted["mean"]) == pytest.approx(mean, rel=1e-5)


def test_what_cannot_be_exported_is_one_line(
    stored: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = DistillationConfig(seed=1)
    stored.put_result(row_of(other, status="infeasible"), [])
    planned = DistillationConfig(seed=2)
    stored.put_submission({"name": "sweep", "trial_ids": [planned.trial_id]})
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.md").write_text("words")
    new = str(tmp_path / "new")
    cases = {
        (CONFIG.trial_id, str(tmp_path / "used")): "used exists already; name a new or empty",
        (other.trial_id, new): "left no distilled set; only distillations with status ok do",
        (planned.trial_id, new): "is not finished",
        ("zzzz", new): "begins with 'zzzz'",
    }
    for arguments, message in cases.items():
        assert main(["export", stored.uri, *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert message in error
        assert error.count("\n") == 1
    assert not Path(new).exists()


def test_a_set_without_its_data_says_so(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = DistillationConfig(dataset=f"parquet:{tmp_path}/gone.parquet", **TINY)
    table = distilled_table(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), ("cat", "dog"))
    scores = {"convnet": {"accuracies": [0.5]}}
    store.put_result(row_of(config, network_scores=scores), [], {"distilled": table})

    assert main(["export", store.uri, config.trial_id, str(tmp_path / "set")]) == 2
    error = capsys.readouterr().err
    assert "does not note its normalisation, and its data set cannot be read: " in error
    assert "gone.parquet" in error
