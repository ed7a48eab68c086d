"""Paper 2's trials: work counted in shares of the training images, priced by what was measured."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
import torch

from distill.config.selection import SelectionConfig
from distill.datasets import load_dataset
from distill.trials import runner
from sweeps.cost import calibration_configs, estimate
from sweeps.cost.selection import SELECTION
from sweeps.grid.plan import make_plan
from sweeps.grid.selection_presets import PRESETS

PARTS = tuple(SELECTION.groups)
RANDOM = SelectionConfig(selector="random", fraction=0.5, epochs=10)


def row(config: SelectionConfig, **seconds: float | None) -> dict[str, Any]:
    """A result row with the seconds of its parts (`evaluation=…`, …)."""
    parts = {f"{part}_seconds": seconds.get(part, 0.0) for part in PARTS}
    return {"status": "ok", "kind": "selection", **config.resolve().to_dict(), **parts}


def replace(config: SelectionConfig, **changes: Any) -> SelectionConfig:
    return config.replace(**changes)


def seconds_of(config: SelectionConfig, measured: Iterable[Mapping[Any, Any]]) -> float | None:
    return estimate([config], measured).seconds[config.trial_id]


def evaluation_units(config: SelectionConfig) -> float:
    return SELECTION.units(SELECTION.values(config.resolve().to_dict()))["evaluation"][0]


@pytest.mark.parametrize(
    ("config", "per_epoch"),
    [
        (SelectionConfig(selector="base"), 1.0),
        (SelectionConfig(selector="random", fraction=0.25), 0.25),
        (SelectionConfig(selector="random", fraction=0.25, equal_steps=True), 1.0),
        (SelectionConfig(selector="augmentation", fraction=0.1), 0.5),
        (SelectionConfig(selector="augmentation", fraction=0.1, augment_mode="add"), 0.6),
        # The test images are scored after every epoch, at a third of the cost of training.
        (
            SelectionConfig(
                selector="random", fraction=0.25, protocol="published", test_fraction=0.3
            ),
            0.35,
        ),
        # A tenth of each class and each of two clusters: four tenths.
        (
            SelectionConfig(selector="cluster_grid", protocol="published", test_fraction=0.3),
            0.4 + 0.1,
        ),
        (SelectionConfig(selector="cluster_grid", protocol="sound"), 0.1),
        # Validation images are scored, after a pass over those trained on.
        (SelectionConfig(selector="random", fraction=0.3, val_fraction=0.3), 0.4 + 0.1),
        (SelectionConfig(selector="random", ipc=7), 7.0),
    ],
)
def test_an_epoch_counts_by_its_images(config: SelectionConfig, per_epoch: float) -> None:
    assert evaluation_units(config) == pytest.approx(20 * per_epoch)
    assert evaluation_units(replace(config, n_eval=3, epochs=5)) == pytest.approx(15 * per_epoch)


def test_the_counted_shares_are_what_a_trial_trains_on() -> None:
    data = load_dataset("digits", device=torch.device("cpu"))
    for protocol in ("published", "sound"):
        for config in make_plan(
            PRESETS["quickstart"],
            protocols=[protocol],
            seeds=[0],
            set_values={"epochs": "1", "val_fraction": "0", "test_fraction": "0.2"},
            only=["method=base|random|cluster_grid|augmentation"],
        ):
            row = runner.run(config, data).row
            scored = 0.2 / 3 if protocol == "published" else 0.0
            share = evaluation_units(config) - scored

            assert row["n_trained_on"] / 287 == pytest.approx(share, abs=0.02)


def test_seconds_scale_with_images_epochs_and_networks() -> None:
    measured = [row(RANDOM, evaluation=5.0)]

    assert seconds_of(RANDOM, measured) == pytest.approx(5.0)
    assert seconds_of(replace(RANDOM, fraction=0.1, seed=3), measured) == pytest.approx(1.0)
    assert seconds_of(SelectionConfig(selector="base", epochs=40), measured) == pytest.approx(40.0)
    assert seconds_of(replace(RANDOM, n_eval=2), measured) == pytest.approx(10.0)


def test_features_and_selection_are_priced_by_trials_with_them() -> None:
    herding = SelectionConfig(selector="herding", fraction=0.5, epochs=10, feature_epochs=4)
    other = replace(herding, selector="k_center")
    measured = [row(RANDOM, evaluation=5.0), row(herding, evaluation=5, network=8, clustering=3)]

    assert seconds_of(replace(herding, feature_epochs=2), measured) == pytest.approx(5 + 4 + 3)
    assert seconds_of(other, measured) is None
    measured.append(row(replace(other, fraction=0.1), evaluation=1, network=8, clustering=2))
    assert seconds_of(other, measured) == pytest.approx(5 + 8 + 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "mnist"},
        {"image_size": 16},
        {"classes": ("3", "8")},
        {"network": "convnet"},
        {"fraction": None, "ipc": 5},
        {"network": "convnet", "recipe": "distillation", "epochs": None},
    ],
)
def test_what_is_not_alike_is_unknown(changes: dict[str, Any]) -> None:
    assert seconds_of(replace(RANDOM, **changes), [row(RANDOM, evaluation=5.0)]) is None


@pytest.mark.parametrize("name", PRESETS)
def test_a_calibration_is_short_and_prices_the_whole_plan(name: str) -> None:
    plan = make_plan(PRESETS[name], dataset="folder:photos", protocols=["published", "sound"])
    short = calibration_configs(plan)

    result = estimate(plan, [row(config, **dict.fromkeys(PARTS, 1.0)) for config in short])

    assert result.n_unknown == 0
    assert len(short) < len(plan) / 4
    assert {config.seed for config in short} == {0}
    for config in short:
        assert config.recipe == "distillation" or (config["epochs"] or 0) <= 1
        assert (config["eval_epochs"] or 0) <= 40
        assert (config["feature_epochs"] or 0) <= 1
        assert config.selector != "base", "all images are too many for a calibration"


@pytest.mark.slow
def test_a_real_calibration_predicts_a_real_trial() -> None:
    data = load_dataset("digits", device=torch.device("cpu"))
    config = SelectionConfig(selector="herding", fraction=0.5, feature_epochs=2, epochs=10)
    measured = [runner.run(short, data).row for short in calibration_configs([config])]
    real = runner.run(config, data).row

    guess = seconds_of(config, measured)

    assert guess is not None
    # Other programs on the machine move both; the order of magnitude is what is promised.
    assert math.log2(guess / sum(real[f"{part}_seconds"] for part in PARTS)) == pytest.approx(
        0, abs=1.5
    )
