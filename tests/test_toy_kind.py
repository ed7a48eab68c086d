"""A further kind of trial costs a configuration, a trial and a layout, and nothing else.

The toy kind classifies test images by the nearest prototype of a class. It goes through the
command, the store, a sweep's worker, tables, findings and the report.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor

from analysis import load, pair, summarise
from analysis.__main__ import main as analyse
from analysis.tables.layout import TableLayout
from distill.__main__ import main as distill
from distill.components import option
from distill.config.base import Config
from distill.config.seeds import derive_seed
from distill.datasets import ImageData
from distill.evaluation.scores import score_columns
from distill.kinds import KINDS, Kind
from distill.runtime.execution import AUTOMATIC, Execution
from distill.trials.base import Progress, Trial, Warn, ignore
from sweeps import load_results
from sweeps.cluster.worker import WorkOrder, run_and_store
from sweeps.cost.estimate import estimate
from sweeps.grid.dry_run import describe_plan
from sweeps.store.store import Store


@dataclass(frozen=True, kw_only=True, init=False)
class PrototypeConfig(Config):
    """Which statistic of how many images is the prototype of a class."""

    kind: ClassVar[str] = "prototype"
    method_field: ClassVar[str] = "statistic"

    statistic: Literal["mean", "median"] = option("mean", "prototype of a class", group="method")
    n_images: int = option(5, "images of each class it is taken from", group="method", minimum=1)

    def _check(self) -> None: ...

    def resolve(self) -> "PrototypeConfig":
        return PrototypeConfig(**self.resolved_values())


class PrototypeTrial(Trial):
    """One unit of work: choose the images, classify the test images."""

    unused_execution = ("batching", "graphs", "precision")

    def __init__(
        self,
        config: PrototypeConfig,
        data: ImageData,
        *,
        execution: Execution = AUTOMATIC,
        on_warning: Warn = ignore,
    ) -> None:
        self.config, self.data = config, data
        self.accuracy: float | None = None

    @property
    def done(self) -> bool:
        return self.accuracy is not None

    @property
    def place(self) -> str:
        return "the only step"

    def advance(self) -> None:
        generator = torch.Generator().manual_seed(derive_seed(self.config.seed, "images"))
        prototypes = []
        for rows in self.data.class_indices:
            chosen = rows[torch.randperm(len(rows), generator=generator)[: self.config.n_images]]
            pixels = self.data.train_images[chosen].flatten(1).float()
            take = torch.mean if self.config.statistic == "mean" else _median
            prototypes.append(take(pixels, dim=0))
        test = self.data.test_images.flatten(1).float()
        found = torch.cdist(test, torch.stack(prototypes)).argmin(dim=1)
        self.accuracy = float((found == self.data.test_labels).float().mean())

    def progress(self) -> Progress:
        return Progress(step=1, n_steps=1, fraction=1.0, accuracy=self.accuracy, accuracy_step=1)

    @property
    def curve(self) -> list[dict[str, Any]]:
        return [{"step": 1, "accuracy": self.accuracy}]

    def result_columns(self, *, is_ok: bool) -> dict[str, Any]:
        scores = {"accuracies": [self.accuracy] if is_ok and self.accuracy is not None else []}
        return {
            **score_columns(scores, self.config.eval_split),
            "n_networks": 1,
            "network_scores": {"none": scores},
            "n_prototypes": self.data.n_classes,
        }

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {}, {"accuracy": self.accuracy}

    def load_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self.accuracy = values["accuracy"]


def _median(values: Tensor, dim: int) -> Tensor:
    return values.median(dim=dim).values


LAYOUT = TableLayout(kind="prototype", row=("statistic",), baseline={"statistic": "mean"})

PROTOTYPE = Kind(
    config=PrototypeConfig,
    trial=PrototypeTrial,
    layout=LAYOUT,
    result_columns={"n_prototypes": int},
    curve_columns={"step": int, "accuracy": float},
    summary="classify by the nearest prototype",
)

SEEDS = range(4)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    with KINDS.registered(PROTOTYPE):
        yield


@pytest.fixture
def results(digits: ImageData, tmp_path: Path) -> str:
    """A store with four seeds of both statistics, written by a sweep's worker."""
    store = Store(str(tmp_path / "results"))
    store.create()
    for statistic in ("mean", "median"):
        for seed in SEEDS:
            config = PrototypeConfig(statistic=statistic, seed=seed, val_fraction=0.1)
            reports: list[dict[str, Any]] = []
            run_and_store(
                config, lambda: digits, WorkOrder(store=store, sweep="toy"), reports.append
            )
            assert reports[-1]["status"] == "ok", reports[-1]["message"]
    return store.uri


def test_command_runs_a_toy_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--kind", "prototype", "--statistic", "median", "--n-images", "20"]

    assert distill([*options, "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    row = json.loads((tmp_path / "run" / "result.json").read_text())

    assert row["kind"] == "prototype"
    assert (row["statistic"], row["n_images"], row["n_prototypes"]) == ("median", 20, 10)
    assert 0.5 < row["test_accuracy_mean"] <= 1
    assert f"{100 * row['test_accuracy_mean']:.1f}" in printed
    assert (tmp_path / "run" / "curve.csv").read_text().startswith("step,accuracy")


def test_help_lists_a_toy_kind_and_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        distill(["--kind", "prototype", "--help"])
    printed = capsys.readouterr().out

    assert "classify by the nearest prototype" in " ".join(printed.split())
    assert "--n-images" in printed
    assert "--clusterer" not in printed


def test_store_has_the_columns_of_a_toy_kind(results: str) -> None:
    frame = load_results(results)

    assert len(frame) == 2 * len(SEEDS)
    assert set(frame["kind"]) == {"prototype"}
    assert set(frame["n_images"]) == {5}
    assert set(frame["n_prototypes"]) == {10}
    assert frame["clusterer"].isna().all()


def test_tables_compare_the_methods_of_a_toy_kind(results: str) -> None:
    sweeps = load(results)
    frame = load_results(results)
    means = frame.groupby("statistic")["test_accuracy_mean"].mean()

    summary = summarise(sweeps, kind="prototype")
    differences = pair(sweeps, "statistic", "mean", kind="prototype")

    assert dict(zip(summary["statistic"], summary["mean"], strict=True)) == pytest.approx(
        dict(means)
    )
    assert set(summary["seeds"]) == {len(SEEDS)}
    (difference,) = differences["difference"]
    assert difference == pytest.approx(means["median"] - means["mean"])


def test_report_shows_a_toy_kind(
    results: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "analysis"

    assert analyse([results, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    page = (out / "report.html").read_text()
    findings = (out / "findings.md").read_text()

    for text in (printed, page):
        assert "median" in text
    assert "median" in findings
    assert any(path.name.startswith("prototype") for path in out.glob("*.csv"))


def test_trials_that_differ_in_an_option_have_rows_of_their_own(
    results: str, digits: ImageData
) -> None:
    """The option is part of the table key though no layout names it."""
    store = Store(results)
    config = PrototypeConfig(statistic="mean", n_images=20, val_fraction=0.1)
    run_and_store(config, lambda: digits, WorkOrder(store=store, sweep="toy"), lambda _: None)

    summary = summarise(load(results), kind="prototype")

    assert sorted(zip(summary["n_images"], summary["statistic"], strict=True)) == [
        (5, "mean"),
        (5, "median"),
        (20, "mean"),
    ]


def test_dry_run_estimates_a_toy_kind_from_finished_trials(results: str) -> None:
    plan = [PrototypeConfig(statistic="mean", seed=seed, val_fraction=0.1) for seed in (0, 9)]
    measured = load_results(results).to_dict("records")
    guess = estimate(plan, measured)

    assert guess.n_unknown == 0
    assert math.isfinite(guess.trial_hours or math.nan)
    text = describe_plan(
        plan, finished={}, failed=(), to_do=set(), estimate=guess, resources="2 CPUs"
    )
    assert "mean" in text
