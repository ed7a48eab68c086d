"""Level and step of matching losses by hand."""

from pathlib import Path

import pandas as pd
import pytest

from analysis.data.reading import load
from analysis.findings.findings import findings
from analysis.findings.losses import loss_measures
from analysis.tables.build import build
from sweeps.store.store import Store
from tests.analysis.results import rows_of


def curve_of(losses: list[float | None]) -> pd.DataFrame:
    return pd.DataFrame({"trial_id": "a", "matching_loss": pd.Series(losses, dtype="float64")})


def test_the_last_quarter_and_its_steps() -> None:
    # Twelve losses: the last three are 4, 2, 3; mean 3, steps 2 and 1.
    losses = [None, *[50.0 - i for i in range(9)], 4.0, 2.0, 3.0]

    measures = loss_measures(curve_of(losses)).loc["a"]

    assert measures["level"] == pytest.approx(3.0)
    assert measures["step"] == pytest.approx(1.5 / 3)


def test_the_scale_of_a_loss_does_not_change_its_step() -> None:
    losses = [9.0, 8.5, 7.0, 6.0, 5.5, 5.0, 4.0, 4.5]

    first, second = (loss_measures(curve_of([k * x for x in losses])).loc["a"] for k in (1, 1000))

    assert second["step"] == pytest.approx(first["step"])
    assert second["level"] == pytest.approx(1000 * first["level"])


def test_short_curves_are_not_measured() -> None:
    assert loss_measures(curve_of([3.0] * 7)).empty


def test_losses_are_findings_where_curves_are_there(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.create()
    for row in rows_of("kmeans", "none", (0.5, 0.6)):
        losses = [9.0] * 6 + [4.0 + row["seed"], 2.0 + row["seed"]]
        points = [
            {"trial_id": row["trial_id"], "outer": outer, "matching_loss": loss}
            for outer, loss in enumerate(losses, 1)
        ]
        store.put_result(row, points)
    sweeps = load(store.uri)
    tables = build(sweeps.results).tables

    (found,) = (f for f in findings(tables, sweeps) if f.topic.name == "losses")

    # Levels 3 and 4, steps 2/3 and 2/4: s = 0.7071 and 11.785 points; t(1) / √2 = 8.9846.
    assert found.cases == ("K-Means F (level 3.5 ± 6.4, step 58.3 ± 1.1e+02 %, 2 seeds)",)
    assert not any(f.topic.name == "losses" for f in findings(tables))
