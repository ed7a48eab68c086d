"""Proof that an option is declared once: toy components, each with one option of its own.

A clusterer, a selector and a network are defined here and registered by one line each. Command
line, identity, columns, sweeps and tables have their options with no other file changed.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import optuna
import pytest
import torch
from torch import Tensor, nn

from analysis import load, summarise
from distill.__main__ import main
from distill.clustering.base import Clusterer, Clustering, cluster_means
from distill.clustering.registry import CLUSTERERS
from distill.components import Component, SearchRange, check_options, option
from distill.config.base import Config
from distill.datasets import ImageData
from distill.errors import UserError
from distill.kinds import KINDS
from distill.networks.base import Network
from distill.networks.layers.convolution import Convolution
from distill.networks.registry import NETWORKS
from distill.selection.base import Selection, Selector, rows_by_class
from distill.selection.registry import SELECTORS, SelectorOptions
from distill.trials.distillation import DistillationTrial
from distill.trials.runner import run
from distill.trials.selection import SelectionTrial
from sweeps import load_results
from sweeps.cluster.worker import WorkOrder, run_and_store
from sweeps.grid.grid import Grid
from sweeps.grid.plan import make_plan
from sweeps.optuna_search.spaces import load_space
from sweeps.store.store import Store

# --- a clusterer ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class BinsOptions:
    """Options of `Bins`."""

    bin_power: float = option(
        1.0,
        "exponent that the coordinates are raised to",
        above=0,
        search=SearchRange(0.5, 3.0, log=True),
    )


@final
@dataclass(frozen=True, kw_only=True)
class Bins(Clusterer):
    """Bins of equal width along the mean coordinate, shifted to start at 0."""

    bin_power: float

    def _fit(self, points: Tensor, n_clusters: int, generator: torch.Generator) -> Clustering:
        del generator
        means = points.mean(dim=1)
        line = (means - means.min()) ** self.bin_power
        bins = (line / line.max().clamp_min(1e-12) * n_clusters).long().clamp_max(n_clusters - 1)
        labels = torch.unique(bins, return_inverse=True)[1]
        n_found = int(labels.max()) + 1
        return Clustering(labels=labels, centers=cluster_means(points, labels, n_found))


# --- a selector -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class EveryNthOptions(SelectorOptions):
    """Options of `EveryNth`."""

    stride: int = option(
        2, "distance between two images that are chosen", minimum=1, search=SearchRange(1, 4)
    )


@final
@dataclass(frozen=True, kw_only=True)
class EveryNth(Selector):
    """Every n-th image of a class, in several passes."""

    needs_points: ClassVar[bool] = False
    stride: int

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise UserError(f"stride must be at least 1, got {self.stride}")

    def select(
        self, points: Tensor, labels: Tensor, quotas: Sequence[int], generator: torch.Generator
    ) -> Selection:
        del points, generator
        chosen = [
            torch.cat([rows[start :: self.stride] for start in range(self.stride)])[:quota]
            for rows, quota in zip(rows_by_class(labels, len(quotas)), quotas, strict=True)
        ]
        return Selection(rows=torch.cat(chosen))


# --- a network --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class OneLayerOptions:
    """Options of `OneLayer`."""

    n_filters: int = option(4, "channels of the convolution", minimum=1)

    def __post_init__(self) -> None:
        check_options(self)


@final
class OneLayer(Network):
    """A convolution, a rectifier and the classifier."""

    def __init__(
        self, *, n_classes: int, channels: int, image_size: tuple[int, int], n_filters: int
    ) -> None:
        super().__init__()
        layer = Convolution(channels, n_filters, kernel_size=3, padding=1)
        self.blocks = nn.ModuleList([nn.Sequential(layer, nn.ReLU())])
        self.classifier = nn.Linear(n_filters * image_size[0] * image_size[1], n_classes)


# --- the proofs -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A trial with a toy component, and two values of its option.

    Attributes:
        kind: of the trial.
        values: of its configuration, without the option.
        option: its name.
        default: its value where none is given.
        other: another value.
        below: a value out of range, and the message of the error.
        owner: what messages call the component.
    """

    kind: str
    values: dict[str, Any]
    option: str
    default: Any
    other: Any
    below: tuple[str, str]
    owner: str

    @property
    def flag(self) -> str:
        """The option of the command line."""
        return f"--{self.option.replace('_', '-')}"

    @property
    def arguments(self) -> list[str]:
        """The command line of the trial."""
        flags = [(f"--{name.replace('_', '-')}", str(v)) for name, v in self.values.items()]
        return ["--kind", self.kind, *(part for flag in flags for part in flag)]

    def config(self, **changes: Any) -> Config:
        """The configuration of the trial."""
        return KINDS[self.kind].config.from_dict(self.values | changes)


DISTILLATION: dict[str, Any] = {
    "n_representatives": 8,
    "n_outer": 1,
    "n_inner": 2,
    "n_net_batches": 1,
    "ipc": 2,
    "lr_img": 0.1,
    "factor": 1,
    "eval_epochs": 2,
    "n_eval": 1,
}
BINS: dict[str, Any] = {
    "option": "bin_power",
    "default": 1.0,
    "other": 2.5,
    "below": ("0", "bin_power must be above 0, got 0.0"),
    "owner": "clusterer toy",
}
FILTERS: dict[str, Any] = {
    "option": "n_filters",
    "default": 4,
    "other": 6,
    "below": ("0", "n_filters must be at least 1, got 0"),
    "owner": "network toy",
}
PROOFS = {
    "clusterer of a distillation": Proof(
        kind="distillation",
        values={**DISTILLATION, "clusterer": "toy", "width": 8, "depth": 2},
        **BINS,
    ),
    "clusterer of a selection": Proof(
        kind="selection",
        values={
            "selector": "nearest_center",
            "clusterer": "toy",
            "embedding": "pixels",
            "epochs": 1,
        },
        **BINS,
    ),
    "selector": Proof(
        kind="selection",
        values={"selector": "toy", "epochs": 1},
        option="stride",
        default=2,
        other=3,
        below=("0", "stride must be at least 1, got 0"),
        owner="selector toy",
    ),
    "network of a distillation": Proof(
        kind="distillation",
        values={**DISTILLATION, "network": "toy"},
        **FILTERS,
    ),
    "network of a selection": Proof(
        kind="selection",
        values={"network": "toy", "epochs": 1},
        **FILTERS,
    ),
}


@pytest.fixture
def _toys() -> Iterator[None]:
    """Registers the toy components, each by one line."""
    with (
        CLUSTERERS.registered("toy", Component(build=Bins, options=BinsOptions, label="Bins")),
        SELECTORS.registered("toy", Component(build=EveryNth, options=EveryNthOptions)),
        NETWORKS.registered("toy", Component(build=OneLayer, options=OneLayerOptions)),
    ):
        yield


@pytest.fixture(params=PROOFS.values(), ids=list(PROOFS))
def proof(request: pytest.FixtureRequest, _toys: None) -> Proof:
    """A trial with a toy component, while the toys are registered."""
    found: Proof = request.param
    return found


def help_of(kind: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Returns what `--help` prints, in one line."""
    with pytest.raises(SystemExit) as leaving:
        main(["--kind", kind, "--help"])
    assert leaving.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def test_the_option_is_in_the_help(proof: Proof, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(proof.kind, capsys)

    assert proof.flag in text
    assert f"(default: {proof.default})" in text.partition(proof.flag)[2][:120]
    assert f"options of the {proof.owner.split()[0]}" in text


def test_the_option_is_part_of_the_identity(proof: Proof) -> None:
    plain, spelt_out, other = (
        proof.config(**changes)
        for changes in ({}, {proof.option: proof.default}, {proof.option: proof.other})
    )

    assert plain.resolve()[proof.option] == proof.default
    assert spelt_out.trial_id == plain.trial_id
    assert other.trial_id != plain.trial_id


def test_the_option_is_a_column(proof: Proof) -> None:
    for kind in KINDS.values():
        expected = proof.option != "stride" or kind.name == "selection"
        assert (proof.option in kind.config_columns) == expected
    assert KINDS[proof.kind].config_columns[proof.option] is type(proof.default)


def test_the_option_is_known_by_its_owner(proof: Proof) -> None:
    config = KINDS[proof.kind].config

    assert config.owners(proof.option) == proof.owner
    assert proof.option not in config.inapplicable(proof.values)
    assert proof.option in config.inapplicable({})
    assert config.parse_value(proof.option, str(proof.other)) == proof.other
    with pytest.raises(UserError, match=f"{proof.option} does not apply .* only to {proof.owner}"):
        config.from_dict({proof.option: proof.other})


def test_the_option_is_read_from_the_command_line(
    proof: Proof, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "run")
    text, message = proof.below

    assert main([*proof.arguments, proof.flag, text, "--out", out]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
    assert (
        main([*proof.arguments, proof.flag, str(proof.other), "--no-baseline", "--out", out]) == 0
    )
    row = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (row["status"], row[proof.option]) == ("ok", proof.other)
    assert row["trial_id"] == proof.config(**{proof.option: proof.other}).trial_id
    assert json.loads((tmp_path / "run" / "config.json").read_text())[proof.option] == proof.other
    assert list(csv.DictReader((tmp_path / "run" / "curve.csv").read_text().splitlines()))


def test_a_trial_runs_with_the_option(proof: Proof, digits: ImageData) -> None:
    rows = [
        run(proof.config(**changes), digits).row for changes in ({}, {proof.option: proof.other})
    ]

    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert [row[proof.option] for row in rows] == [proof.default, proof.other]
    assert rows[0]["test_loss_mean"] != rows[1]["test_loss_mean"], "the option has an effect"


@pytest.mark.usefixtures("_toys")
def test_other_trials_have_no_value_in_the_column(digits: ImageData) -> None:
    row = run(KINDS["selection"].config.from_dict({"epochs": 1}), digits).row

    assert [row[name] for name in ("bin_power", "stride", "n_filters")] == [None] * 3


@pytest.mark.usefixtures("_toys")
def test_the_toys_are_what_runs(digits: ImageData) -> None:
    configs: list[Any] = [
        proof.config(**{proof.option: proof.other}).resolve() for proof in PROOFS.values()
    ]
    clusterer, selection, selector, network, classifier = configs

    assert DistillationTrial(clusterer, digits).dream.clusterer == Bins(bin_power=2.5)
    chosen = SelectionTrial(selection, digits).selection.selector
    assert vars(chosen)["clusterer"] == Bins(bin_power=2.5)
    assert SelectionTrial(selector, digits).selection.selector == EveryNth(stride=3)
    for built in (
        DistillationTrial(network, digits).dream.network,
        SelectionTrial(classifier, digits)._evaluation.network,
    ):
        assert isinstance(built, OneLayer)
        assert built.classifier.in_features == 6 * 8 * 8


def test_without_registration_there_is_no_such_option() -> None:
    for kind in KINDS.values():
        assert not {"bin_power", "stride", "n_filters"} & kind.config_columns.keys()
    for proof in PROOFS.values():
        with pytest.raises(UserError, match=r"unknown .* 'toy'"):
            proof.config(**{proof.option: proof.other})


# --- sweeps and tables ------------------------------------------------------------------------


def grid_of(proof: Proof) -> Grid[Config]:
    """A grid with the toy component at the default of its option and at another value."""
    configs = tuple(proof.config(**changes) for changes in ({}, {proof.option: proof.other}))
    return Grid(name="toy", summary="two trials", configs=configs, n_seeds=1)


def test_set_and_only_take_the_option(proof: Proof) -> None:
    grid = grid_of(proof)
    text = f"{proof.option}={proof.other}"

    changed = make_plan(grid, set_values={proof.option: str(proof.other)})
    chosen = make_plan(grid, only=[text])

    assert [config[proof.option] for config in changed] == [proof.other]
    assert [config[proof.option] for config in chosen] == [proof.other]
    with pytest.raises(UserError, match=f"{proof.option} must be"):
        make_plan(grid, set_values={proof.option: proof.below[0]})


def test_trials_that_differ_in_the_option_are_rows_of_their_own(
    proof: Proof, digits: ImageData, tmp_path: Path
) -> None:
    store = Store(str(tmp_path))
    store.create()
    order = WorkOrder(store=store, sweep="toy")
    for config in make_plan(grid_of(proof)):
        run_and_store(config, lambda: digits, order, lambda _: None)

    results = load_results(store.uri)
    summary = summarise(load(store.uri), kind=proof.kind)

    assert sorted(results[proof.option]) == sorted([proof.default, proof.other])
    assert len(summary) == 2
    assert set(summary["seeds"]) == {1}


@pytest.mark.usefixtures("_toys")
@pytest.mark.parametrize(
    ("space", "method", "name", "limits"),
    [
        ("joint", "clusterer", "bin_power", (0.5, 3.0)),
        ("selection", "selector", "stride", (1, 4)),
    ],
)
def test_searches_try_the_option(
    space: str, method: str, name: str, limits: tuple[float, float]
) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    loaded = load_space(space)
    configs = [loaded.config(study.ask()) for _ in range(80)]

    tried = [config[name] for config in configs if config[method] == "toy"]
    assert len(set(tried)) > 2
    assert limits[0] <= min(tried) <= max(tried) <= limits[1]
    assert {config[name] for config in configs if config[method] != "toy"} == {None}
