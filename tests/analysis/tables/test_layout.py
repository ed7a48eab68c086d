"""Layouts: settings, rows and labels are derived, and a further kind needs a few lines."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from analysis import load, pair, summarise
from analysis.__main__ import main
from analysis.tables.build import build
from analysis.tables.distillation import LAYOUT as DISTILLATION
from analysis.tables.distillation import WEIGHTS, weights_of
from analysis.tables.layout import TableLayout, layout_of
from analysis.tables.render import sheet
from analysis.tables.selection import LAYOUT as SELECTION
from distill.clustering.registry import CLUSTERERS
from distill.components import Component, Registry, choice, option
from distill.config.base import SCHEMA_VERSION, Config
from distill.kinds import KINDS, Kind
from sweeps.store.schema import trial_schema
from sweeps.store.store import Store
from tests.analysis.results import Row, frame_of, planned, rows_of, selection_rows_of

LAYOUTS = (DISTILLATION, SELECTION, *(layout for _, layout in SELECTION.special))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.kind)
def test_every_field_is_in_setting_row_or_options_once(layout: TableLayout) -> None:
    row = [field.name for field in layout.row_fields]
    names = [*layout.setting_fields, *row, *layout.option_names, "protocol", "seed"]

    assert sorted(names) == sorted(layout.config.declared_fields())


def test_a_row_implies_the_options_of_its_components() -> None:
    assert {"eps", "linkage", "medoid_init"} <= set(DISTILLATION.option_names)
    assert {"projection_dim", "width"} <= set(DISTILLATION.setting_fields)
    assert {"eps", "embedding", "augment_mode"} <= set(SELECTION.option_names)
    assert {"on_corrupt", "network", "width", "epochs"} <= set(SELECTION.setting_fields)


@dataclass(frozen=True, kw_only=True)
class ShrinkingOptions:
    """Options of a clusterer of a later version."""

    shrinkage: float = option(0.5, "factor of every step", above=0)


def test_the_option_of_a_new_clusterer_tells_rows_apart() -> None:
    component = Component(build=dict, options=ShrinkingOptions, label="Shrinking")
    with CLUSTERERS.registered("shrinking", component):
        rows = [
            *rows_of("shrinking", "none", (0.5, 0.6)),
            *rows_of("shrinking", "none", (0.7,), shrinkage=0.25),
        ]

        (table,) = build(frame_of(rows)).tables

    by_label = dict(zip(table.labels, table.rows["sound_seeds"], strict=True))
    assert (by_label["Shrinking (shrinkage 0.5)"], by_label["Shrinking (shrinkage 0.25)"]) == (2, 1)
    assert layout_of("distillation").method_label("shrinking") == "shrinking"


@pytest.mark.parametrize("field", ["on_corrupt", "split_seed", "norm", "image_size"])
def test_selections_that_differ_in_any_field_share_no_row(field: str) -> None:
    """Once trials that differed in `on_corrupt` only shared a row: twice its n, half its width."""
    values: Row = {"on_corrupt": "error", "split_seed": 1, "norm": "batch", "image_size": 16}
    network: Row = {"network": "convnet"} if field == "norm" else {}
    rows = [
        *selection_rows_of("random", (0.70, 0.72), **network),
        *selection_rows_of("random", (0.60, 0.64), **network, **{field: values[field]}),
    ]

    tables = build(frame_of(rows)).tables

    assert len(tables) == 2
    assert {table.rows.at[table.baseline, "sound_seeds"] for table in tables} == {2}
    means = sorted(table.rows["sound_accuracy"][table.baseline] for table in tables)
    assert means == pytest.approx([0.62, 0.71])
    assert {field} == set.union(*(set(table.distinguishing) for table in tables))
    assert len({table.title for table in tables}) == len({table.name for table in tables}) == 2


def test_weights_of_distillations() -> None:
    assert weights_of("size", "sound") == "T"
    assert weights_of("published", "published") == "T"
    assert weights_of("none", "sound") == "F"
    assert weights_of("none", "published") == "F"
    assert weights_of("published", "sound") == "inert"
    assert set(WEIGHTS) == {"T", "F", "inert"}


# A kind of trials in a few lines


@dataclass(frozen=True, kw_only=True)
class TunedOptions:
    """Options of the toy method `tuned`."""

    strength: int = option(3, "how strongly it is tuned", minimum=1)


TOYS = Registry(
    "toy",
    {
        "plain": Component(build=dict),
        "tuned": Component(build=dict, options=TunedOptions, label="Tuned toy"),
    },
)


@dataclass(frozen=True, kw_only=True, init=False)
class ToyConfig(Config):
    """A configuration with a method, its options, and what every kind has."""

    kind: ClassVar[str] = "toy"
    method_field: ClassVar[str] = "method"

    method: str = choice("plain", TOYS, "method of the toy")
    size: int = option(8, "size of the toy", minimum=1)

    def _check(self) -> None:
        """All checks are those of every kind."""

    def resolve(self) -> "ToyConfig":
        return ToyConfig(**self.resolved_values())


TOY = Kind(
    config=ToyConfig,
    trial=dict,
    layout=TableLayout(kind="toy", row=("method",), baseline={"method": "plain"}),
)


@pytest.fixture
def toys() -> Iterator[Kind]:
    with KINDS.registered(TOY):
        yield TOY


def toy_row(seed: int, accuracy: float | None, **fields: Any) -> Row:
    config = ToyConfig(seed=seed, **fields)
    row: Row = dict.fromkeys(trial_schema().names) | config.resolve().to_dict()
    return row | {
        "trial_id": config.trial_id,
        "schema_version": SCHEMA_VERSION,
        "kind": "toy",
        "status": "ok" if accuracy is not None else "diverged",
        "phase": "grid",
        "test_accuracy_mean": accuracy,
        "test_loss_mean": 0.5,
        "total_seconds": 2.0,
    }


def toy_rows() -> list[Row]:
    return [
        *(toy_row(seed, 0.5 + 0.01 * seed) for seed in range(3)),
        *(toy_row(seed, 0.8 + 0.012 * seed, method="tuned") for seed in range(3)),
        *(toy_row(seed, 0.6 + 0.01 * seed, method="tuned", strength=5) for seed in range(2)),
        toy_row(2, None, method="tuned", strength=5),
    ]


@pytest.mark.usefixtures("toys")
def test_a_new_kind_has_tables() -> None:
    (table,) = build(frame_of(toy_rows())).tables

    assert table.labels == ("plain", "Tuned toy", "Tuned toy (strength 5)")
    assert table.rows["sound_seeds"].tolist() == [3, 3, 2]
    # The missing score is estimated from its row and seed, 0.605 + 0.672 − 0.6555 = 0.6215, so the
    # last row has the mean 0.6105, 0.1005 above 0.51.
    assert table.rows["sound_difference"].tolist()[1:] == pytest.approx([0.302, 0.1005])
    printed = sheet(table)
    assert printed.title == "toy: digits. Test accuracy in %"
    assert [column.heading for column in printed.columns] == [
        "sound\nlast epoch (n)",
        "failed",
        "difference\nfrom baseline",
        "loss\nsound",
        "seconds",
    ]
    assert "Trials without a result: 1 diverged." in printed.notes
    by_size = build(frame_of([*toy_rows(), toy_row(0, 0.5, size=9)])).tables
    assert [dict(table.distinguishing) for table in by_size] == [{"size": 8}, {"size": 9}]


@pytest.mark.usefixtures("toys")
def test_a_new_kind_has_findings_and_a_report(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.create()
    for row in toy_rows():
        store.put_result(row, [])
    missing = ToyConfig(seed=7)
    store.put_submission({"plan": [planned(missing)], "trial_ids": [missing.trial_id]})

    assert main([store.uri, "--out", str(tmp_path / "out")]) == 0

    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert {"toy-digits.csv", "toy-digits.md", "findings.md", "report.html"} < names
    findings = (tmp_path / "out" / "findings.md").read_text()
    assert "Trials of toy: of 2 comparisons with the baseline, 2 higher" in findings
    assert "seed 7 of plain" in (tmp_path / "out" / "toy-digits.md").read_text()
    report = (tmp_path / "out" / "report.html").read_text()
    assert "toy: digits. Test accuracy in %" in report
    assert "Tuned toy" in report
    sweeps = load(store.uri)
    assert summarise(sweeps, kind="toy")["seeds"].tolist() == [3, 3, 2]
    pairs = pair(sweeps, "method", baseline="plain", kind="toy")
    assert pairs["parameters"].tolist() == ["strength 3", "strength 5"]


def test_the_layout_of_every_kind_is_for_it() -> None:
    assert {kind: layout_of(kind).kind for kind in KINDS} == {kind: kind for kind in KINDS}
