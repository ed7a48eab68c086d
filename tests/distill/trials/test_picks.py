"""Trials with picks: resumed bit for bit, rows and selections, the difficulty of selections."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.config.base import Config
from distill.config.distillation import ResolvedDistillation
from distill.config.selection import SelectionConfig
from distill.datasets import ImageData
from distill.errors import DivergedError, InterruptedTrialError
from distill.runtime.checkpoint import LocalFolder
from distill.trials.base import Result
from distill.trials.runner import run
from distill.trials.selection import SelectionTrial

pytestmark = pytest.mark.lengthy

Tiny = Callable[..., ResolvedDistillation]
UNREPEATABLE = {"started_at", "peak_memory_bytes", "n_resumes", "git_commit"}
BRIEF = {"el2n_networks": 3, "el2n_epochs": 1}


def repeatable(result: Result) -> dict[str, Any]:
    return {
        name: value
        for name, value in result.row.items()
        if not name.endswith("_seconds") and name not in UNREPEATABLE
    }


def resumed(config: Config, digits: ImageData, folder: Path, n_units: int) -> Result:
    """The result of a trial that was interrupted after so many units of work."""
    done = 0

    def stop() -> bool:
        nonlocal done
        done += 1
        return done == n_units

    with pytest.raises(InterruptedTrialError):
        run(config, digits, checkpoint_folder=LocalFolder(folder), should_stop=stop)
    return run(config, digits, checkpoint_folder=LocalFolder(folder))


@pytest.mark.parametrize("n_units", [1, 3, 6])
@pytest.mark.parametrize(
    "changes",
    [
        {"pick": "random"},
        {"pick": "hard", **BRIEF},
        {"pick": "middle", "difficulty": "margin", "quota": "proportional", "weights": "size"},
        {"pick": "random", "quota": "stratified", "difficulty": "loss", "n_strata": 3},
    ],
)
def test_a_resumed_distillation_ends_bit_for_bit_the_same(
    digits: ImageData, tiny: Tiny, tmp_path: Path, changes: dict[str, Any], n_units: int
) -> None:
    config = tiny(cluster_interval=1, **changes)
    plain, again = run(config, digits), resumed(config, digits, tmp_path, n_units)

    assert repeatable(again) == repeatable(plain)
    assert plain.artifacts["distilled"].equals(again.artifacts["distilled"])
    assert plain.row["pick"] == changes["pick"]


def small(**changes: Any) -> SelectionConfig:
    values = {
        "selector": "nearest_center",
        "classes": ["3", "8"],
        "epochs": 2,
        "ipc": 6,
        "batch_size": 12,
    }
    return SelectionConfig.from_dict(values | changes)


@pytest.mark.parametrize("n_units", [1, 2, 3, 5])
@pytest.mark.parametrize(
    "changes",
    [
        {"pick": "hard", "feature_epochs": 1, **BRIEF},
        {"pick": "easy", "difficulty": "loss", "feature_epochs": 2},
        {"pick": "random", "quota": "stratified", "embedding": "pixels", "n_clusters": 3, **BRIEF},
    ],
)
def test_a_resumed_selection_ends_bit_for_bit_the_same(
    digits: ImageData, tmp_path: Path, changes: dict[str, Any], n_units: int
) -> None:
    config = small(**changes)
    plain = run(config, digits)
    n_before = config.resolve()["feature_epochs"] or 0
    n_before += config.resolve()["el2n_networks"] or 0
    if n_units >= n_before + 1 + 2:  # it would be finished
        return
    again = resumed(config, digits, tmp_path, n_units)

    assert repeatable(again) == repeatable(plain)
    assert plain.artifacts["selections"].equals(again.artifacts["selections"])
    assert plain.row["n_selected"] == plain.row["n_distinct"] == 12


def test_hard_images_of_a_selection_are_the_hardest_of_their_clusters(digits: ImageData) -> None:
    chosen = {}
    for pick in ("hard", "easy"):
        trial = SelectionTrial(
            small(pick=pick, embedding="pixels", n_clusters=2, **BRIEF).resolve(), digits
        )
        norms = trial.selection._error_norms
        assert norms is not None
        while not trial.selection.done:
            trial.advance()
        selection = trial.selection.selection
        assert selection is not None
        assert selection.clusters is not None
        scores, groups = norms.scores(), selection.clusters + 10 * trial.selection.pool.labels
        sign = 1 if pick == "hard" else -1
        for group in groups.unique():
            members = torch.nonzero(groups == group).flatten()
            taken = [row for row in members.tolist() if row in selection.rows.tolist()]
            left = [row for row in members.tolist() if row not in taken]
            assert taken
            assert (sign * scores[taken]).min() >= (sign * scores[left]).max()
        chosen[pick] = set(selection.rows.tolist())
        assert trial.seconds["network"] > 0
    assert not chosen["hard"] & chosen["easy"]


def test_a_distillation_recipe_picks_the_same_images(digits: ImageData) -> None:
    """What is chosen does not depend on how networks are trained on it afterwards."""
    values = {"pick": "hard", "embedding": "pixels", "network": "convnet", "width": 8, "depth": 2}
    shown = []
    for recipe in ("classifier", "distillation"):
        config = small(recipe=recipe, **values, **BRIEF, epochs=None)
        trial = SelectionTrial(config.resolve(), digits)
        while not trial.selection.done:
            trial.advance()
        assert trial.selection.selection is not None
        shown.append(trial.selection.selection.rows)
    assert torch.equal(*shown)


def test_a_brief_network_that_diverges_is_reported(digits: ImageData, tiny: Tiny) -> None:
    result = run(tiny(pick="hard", net_lr=1e30, **BRIEF), digits)
    assert result.row["status"] == "diverged"
    assert "briefly trained for the difficulty" in result.row["status_message"]
    trial = SelectionTrial(small(pick="hard", lr=1e30, embedding="pixels").resolve(), digits)
    with pytest.raises(DivergedError, match="briefly trained for the difficulty"):
        trial.advance()  # an epoch of no features: the first unit is a brief network
