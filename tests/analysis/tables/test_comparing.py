"""The library: the numbers of the tables; groups that would mix different trials are refused."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis import load, pair, summarise
from analysis.data.reading import Sweeps
from analysis.findings.claims import claims
from analysis.statistics.families import family_of
from analysis.tables.build import build
from distill.errors import ProvenanceWarning, UserError
from sweeps.store.store import Store
from tests.analysis import golden
from tests.analysis.results import Row, config_of, row_of, rows_of, selection_rows_of
from tests.paths import ROOT


def sweeps_of(folder: Path, rows: list[Row]) -> Sweeps:
    store = Store(folder / "results")
    store.create()
    for row in rows:
        store.put_result(row, [])
    return load(store.uri)


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Sweeps:
    return sweeps_of(tmp_path_factory.mktemp("store"), golden.rows())


def only(frame: pd.DataFrame, **values: object) -> pd.Series:
    for name, value in values.items():
        frame = frame[frame[name] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_a_summary_has_the_numbers_of_the_table(sweeps: Sweeps) -> None:
    rows = build(sweeps.results).tables[0].rows
    sound = rows[rows["sound_accuracy"].notna()]

    found = summarise(sweeps)

    for _, row in sound.iterrows():
        group = only(found, method=row["method"], weights=row["weights"], protocol="sound")
        assert group["mean"] == row["sound_accuracy"]
        assert group["high"] == row["sound_high"] or pd.isna(row["sound_high"])
        assert group["seeds"] == row["sound_seeds"]
        assert group["failed"] == row["sound_failed"]


def test_pairs_have_the_numbers_of_the_table(sweeps: Sweeps) -> None:
    methods = pair(sweeps, "method", baseline="kmeans")
    weights = pair(sweeps, "weights", baseline="F")

    comparison = only(methods, method="kmedoids", protocol="sound")
    assert comparison["difference"] == pytest.approx(-29 / 300)
    assert comparison["n_pairs"] == 3
    comparison = only(weights, method="kmeans", protocol="sound")
    assert comparison["difference"] == pytest.approx(0.04 / 3)
    assert comparison["p_family"] == comparison["p"]  # the only comparison with a test
    assert "kmedoids" not in set(weights["method"])  # T and F are of two protocols


def test_trials_of_other_versions_are_pooled_with_a_warning(tmp_path: Path) -> None:
    rows = [
        row | {"torch_version": version}
        for method, version in (("kmeans", "2.11"), ("kmedoids", "2.9"))
        for row in rows_of(method, "none", (0.5, 0.6))
    ]
    sweeps = sweeps_of(tmp_path / "by_row", rows)

    with pytest.warns(ProvenanceWarning, match=r"comparison differ in torch \(2\.11, 2\.9\)"):
        pair(sweeps, "method", baseline="kmeans")
    assert len(summarise(sweeps)) == 2, "each group is of one version"
    rows[0]["torch_version"] = "2.10"
    with pytest.warns(ProvenanceWarning, match=r"differ in torch \(2\.10, 2\.11\)"):
        summarise(sweeps_of(tmp_path / "mixed", rows))


def test_rows_of_before_an_option_are_those_of_its_neutral_value(tmp_path: Path) -> None:
    rows = [r for m in ("kmeans", "dbscan") for r in rows_of(m, "none", (0.5, 0.6, 0.7))]
    new = sweeps_of(tmp_path / "new", rows)
    for row in (rows[0], rows[3], rows[4]):
        row |= {"pick": None, "quota": None, "networks": None, "weights_in": None}
    mixed = sweeps_of(tmp_path / "mixed", rows)

    assert pair(mixed, "method", baseline="kmeans").equals(pair(new, "method", baseline="kmeans"))
    assert summarise(mixed).equals(summarise(new))


def test_table_findings_and_pairs_have_the_same_p_values(tmp_path: Path) -> None:
    """One family for each question, wherever it is asked."""
    random = np.random.default_rng(0)
    rows = []
    for ipc in (1, 10):
        for method in ("kmeans", "kmeans++", "kmedoids", "agglomerative"):
            for weights in ("none", "size"):
                rows += rows_of(method, weights, random.normal(0.5, 0.01, 4).tolist(), ipc=ipc)
    sweeps = sweeps_of(tmp_path, rows)
    tables = build(sweeps.results).tables
    numbers = pd.concat([claims(table).assign(ipc=table.setting["ipc"]) for table in tables])
    columns = ["difference", "low", "high", "p", "p_family"]

    for what, baseline, weights in (("method", "kmeans", "F"), ("weights", "F", "T")):
        found = pair(sweeps, what, baseline=baseline)
        found = found[found["weights"] == weights]
        assert len(found) == (6 if what == "method" else 8)
        for _, row in found.iterrows():
            table = next(t for t in tables if t.setting["ipc"] == row["ipc"])
            of_table = only(table.rows, method=row["method"], weights=weights)
            topic = "methods" if what == "method" else "weights"
            claim = only(numbers, ipc=row["ipc"], topic=topic, method=row["method"])
            assert row[columns].tolist() == claim[columns].tolist()
            assert row["p_family"] == of_table["sound_p_family"]
            assert row["verdict"] == of_table["sound_verdict"]
            assert row["high"] == of_table["sound_difference_high"]


def test_other_pairs_are_tested_together_by_setting(tmp_path: Path) -> None:
    """Methods with weights against K-Means with weights: no question of the tables."""
    random = np.random.default_rng(1)
    scores = random.normal(0.5, 0.01, (3, 4))
    rows = []
    for method, values in zip(("kmeans", "kmeans++", "kmedoids"), scores, strict=True):
        rows += rows_of(method, "size", values.tolist())
    rows += rows_of("kmeans", "none", (0.5, 0.6, 0.7, 0.8))

    found = pair(sweeps_of(tmp_path, rows), "method", baseline="kmeans")

    expected = family_of(scores, [(1, 0), (2, 0)])
    p_values = found.set_index("method")["p_family"]
    expected_p = [one.p for one in expected.differences]
    assert p_values[["kmeans++", "kmedoids"]].tolist() == pytest.approx(expected_p, rel=1e-12)


def test_seconds_are_never_equivalent(tmp_path: Path) -> None:
    rows = rows_of("kmeans", "none", (0.5, 0.6, 0.7)) + rows_of("kmeans++", "none", (0.5, 0.6, 0.7))
    for number, row in enumerate(rows):
        row["total_seconds"] = 0.001 * number**2

    found = pair(sweeps_of(tmp_path, rows), "method", baseline="kmeans", score="seconds")

    assert set(found["verdict"]) <= {"different", "undecided"}


def test_trials_that_are_no_repetitions_are_not_averaged(tmp_path: Path) -> None:
    sweeps = sweeps_of(
        tmp_path, rows_of("kmeans", "none", (0.5, 0.6)) + rows_of("kmeans", "none", (0.1,), ipc=1)
    )

    with pytest.raises(UserError, match=r"trials of one group differ in ipc, .*; add that to by"):
        summarise(sweeps, ["method"])

    assert summarise(sweeps, ["method", "ipc"])["mean"].tolist() == pytest.approx([0.1, 0.55])
    assert summarise(sweeps)["seeds"].tolist() == [1, 2]


def test_a_baseline_with_two_sets_of_parameters_is_refused(tmp_path: Path) -> None:
    rows = [
        row_of(config_of("agglomerative", linkage=linkage), 0.5) for linkage in ("ward", "single")
    ]
    sweeps = sweeps_of(tmp_path, [*rows, row_of(config_of("kmeans"), 0.6)])

    with pytest.raises(UserError, match=r"several trials of the baseline have one seed: .*single"):
        pair(sweeps, "method", baseline="agglomerative")

    # The other way round each variant has its row.
    assert pair(sweeps, "method", baseline="kmeans")["parameters"].tolist() == ["single", "ward"]


def test_selections_have_the_numbers_of_their_table(tmp_path: Path) -> None:
    rows = [
        *selection_rows_of("base", (0.9, 0.8)),
        *selection_rows_of("random", (0.5, 0.6, 0.7), fraction=0.1),
        *selection_rows_of("random", (0.6, 0.8), fraction=0.5),
        *selection_rows_of("cluster_grid", (0.6, 0.6, 0.9), fraction=0.1),
        *selection_rows_of("cluster_grid", (0.4,), fraction=0.1, protocol="published"),
        *rows_of("kmeans", "none", (0.5,)),
    ]
    sweeps = sweeps_of(tmp_path, rows)

    found = summarise(sweeps, kind="selection")
    assert found["selector"].tolist() == [
        *("cluster_grid", "base", "random", "random", "cluster_grid"),
    ]
    (_, selections) = build(sweeps.results).tables
    table = selections.rows
    for _, row in table[table["sound_seeds"].notna()].iterrows():
        group = found[(found["selector"] == row["selector"]) & (found["protocol"] == "sound")]
        if row["selector"] != "base":
            group = group[group["fraction"] == row["fraction"]]
        assert group["mean"].item() == row["sound_accuracy"]
        assert group["low"].item() == row["sound_low"]

    selectors = pair(sweeps, "selector", baseline="random", kind="selection")
    comparison = only(selectors, selector="cluster_grid")
    assert comparison["difference"] == pytest.approx(0.1)  # 0.1, 0 and 0.2 at the same fraction
    assert comparison["n_pairs"] == 3
    fractions = pair(sweeps, "fraction", baseline=0.1, kind="selection")
    # The table has this comparison, too, in one model with the other rows of the same seeds.
    half = table[table["fraction"] == 0.5].iloc[0]
    assert only(fractions, fraction=0.5)["difference"] == half["sound_difference"]
    assert only(fractions, fraction=0.5)["p_family"] == half["sound_p_family"]
    protocols = pair(sweeps, "protocol", baseline="published", kind="selection")
    assert only(protocols, selector="cluster_grid")["difference"] == pytest.approx(0.2)

    assert len(summarise(sweeps)) == 1
    with pytest.raises(UserError, match="unknown kind of trial 'selectoin'; did you mean"):
        summarise(sweeps, kind="selectoin")


def test_unknown_names_say_what_is_known(sweeps: Sweeps) -> None:
    with pytest.raises(UserError, match="unknown score 'acuracy'; did you mean 'accuracy'"):
        summarise(sweeps, score="acuracy")
    with pytest.raises(UserError, match="unknown column 'metod'; did you mean 'method'"):
        pair(sweeps, "metod", baseline="kmeans")
    with pytest.raises(UserError, match="no trial has weights 'none'; there are: F, T"):
        pair(sweeps, "weights", baseline="none")
    with pytest.raises(UserError, match="load needs the path or the URI"):
        load()


def test_nothing_yet(tmp_path: Path) -> None:
    sweeps = sweeps_of(tmp_path, [])

    assert len(summarise(sweeps)) == 0
    with pytest.raises(UserError, match="no trial has method 'kmeans'; there are: none"):
        pair(sweeps, "method", baseline="kmeans")


def test_importing_the_package_loads_nothing() -> None:
    code = (
        "import sys, analysis; print(sorted({'pandas', 'pyarrow', 'scipy'} & sys.modules.keys()))"
    )

    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert ran.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        analysis.lode  # noqa: B018
