"""Which test images are right: read from stores on demand, compared over images and by McNemar."""

from pathlib import Path

import numpy as np
import pytest

import analysis
from analysis.data.reading import Sweeps, load
from analysis.findings.findings import findings
from analysis.statistics.images import bootstrap_difference
from analysis.tables.build import build
from distill.errors import UserError
from sweeps.store.store import BULKY_COLUMNS, Store
from tests.analysis.results import Row, config_of, row_of, rows_of

N_IMAGES = 203
"""Not a multiple of eight."""


def with_images(rows: list[Row], share: float, seed: int) -> tuple[list[Row], np.ndarray]:
    """Rows of two networks each, and which images are right, (seeds, networks, n)."""
    random = np.random.default_rng(seed)
    right = random.random((len(rows), 2, N_IMAGES)) < share
    stored = [
        row
        | {
            "test_accuracy_mean": float(of_row.mean()),
            "n_test": N_IMAGES,
            "n_networks": 2,
            "correct_images": [np.packbits(network).tobytes() for network in of_row],
        }
        for row, of_row in zip(rows, right, strict=True)
    ]
    return stored, right


KMEANS, KMEANS_RIGHT = with_images(rows_of("kmeans", "none", (0.5,) * 3), 0.7, 0)
KMEDOIDS, KMEDOIDS_RIGHT = with_images(rows_of("kmedoids", "none", (0.5,) * 3), 0.6, 1)
OLD = rows_of("birch", "none", (0.5, 0.6, 0.55))
"""Of an earlier version, without images."""


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Sweeps:
    store = Store(tmp_path_factory.mktemp("store") / "results")
    store.create()
    for row in (*KMEANS, *KMEDOIDS, *OLD):
        store.put_result(row, [])
    return load(store.uri)


def ids(rows: list[Row]) -> list[str]:
    return [row["trial_id"] for row in rows]


def test_images_are_read_only_when_they_are_asked_for(sweeps: Sweeps) -> None:
    assert not set(BULKY_COLUMNS) & set(sweeps.results)

    found = sweeps.correct_images([*ids(KMEANS), *ids(OLD)])

    assert found.keys() == set(ids(KMEANS))
    assert (found[KMEANS[1]["trial_id"]] == KMEANS_RIGHT[1]).all()


def test_compacted_rows_keep_their_images(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.create()
    for row in (*KMEANS, *OLD):
        store.put_result(row, [])

    assert store.compact(minimum=1, settled_seconds=-1) == len(KMEANS) + len(OLD)

    found = load(store.uri).correct_images(ids(KMEANS))
    for trial_id, right in zip(ids(KMEANS), KMEANS_RIGHT, strict=True):
        assert (found[trial_id] == right).all()
    assert not set(BULKY_COLUMNS) & set(store.results())


def test_two_rows_over_images_and_seeds(sweeps: Sweeps) -> None:
    found = analysis.compare_images(sweeps, ids(KMEDOIDS), ids(KMEANS))

    expected = bootstrap_difference(KMEDOIDS_RIGHT.mean(axis=1), KMEANS_RIGHT.mean(axis=1))
    assert found == expected
    assert found.mean == pytest.approx(KMEDOIDS_RIGHT.mean() - KMEANS_RIGHT.mean(), abs=1e-6)
    assert found.high < 0


def test_mcnemar_of_two_trials(sweeps: Sweeps) -> None:
    found = analysis.mcnemar(sweeps, ids(KMEDOIDS)[0], ids(KMEANS)[0], network=1)

    first, second = KMEDOIDS_RIGHT[0, 1], KMEANS_RIGHT[0, 1]
    assert found.only_first == int((first & ~second).sum())
    assert found.only_second == int((second & ~first).sum())
    assert found.only_first - found.only_second == int(first.sum()) - int(second.sum())


def test_the_findings_have_the_uncertainty_of_the_images(sweeps: Sweeps) -> None:
    tables = build(sweeps.results).tables

    (found,) = (f for f in findings(tables, sweeps) if f.topic.name == "test images")

    mean, low, high, _ = analysis.compare_images(sweeps, ids(KMEDOIDS), ids(KMEANS))
    texts = [f"{100 * x:+.2f}".replace("-", "−") for x in (mean, low, high)]
    assert found.cases == (
        f"K-Medoids F − K-Means F: {texts[0]}, 95 % {texts[1]} to {texts[2]} over 203 images "
        "and 3 seeds",
    )


def test_what_cannot_be_compared_is_one_line(sweeps: Sweeps, tmp_path: Path) -> None:
    kmeans, old = ids(KMEANS), ids(OLD)
    with pytest.raises(UserError, match=f"trial {old[0]} has no correct_images: it is unknown,"):
        analysis.compare_images(sweeps, kmeans, old)
    with pytest.raises(UserError, match="no trial nothing enters tables"):
        analysis.compare_images(sweeps, ["nothing"], kmeans)
    with pytest.raises(UserError, match="have no seed in common"):
        analysis.compare_images(sweeps, kmeans[:1], ids(KMEDOIDS)[1:])
    with pytest.raises(UserError, match=f"network must be 0 to 1 for trial {kmeans[0]}, got 2"):
        analysis.mcnemar(sweeps, kmeans[0], kmeans[1], network=2)
    other = row_of_size(100)
    store = Store(tmp_path / "results")
    store.create()
    for row in (KMEANS[0], other):
        store.put_result(row, [])
    with pytest.raises(UserError, match="tested on 203 and 100 images"):
        analysis.mcnemar(load(store.uri), kmeans[0], other["trial_id"])
    with pytest.raises(UserError, match=r"different numbers of images: \[100, 203\]"):
        analysis.compare_images(load(store.uri), kmeans[:1], [other["trial_id"]])


def row_of_size(n_images: int) -> Row:
    (row,) = rows_of("kmeans++", "none", (0.5,))
    bits = np.packbits(np.ones(n_images, dtype=bool)).tobytes()
    return row | {"n_test": n_images, "n_networks": 1, "correct_images": [bits]}


def test_several_stores_are_read(sweeps: Sweeps, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.create()
    store.put_result(row_of_size(100), [])
    store.put_result(row_of(config_of("random"), 0.4), [])

    both = load(sweeps.stores[0].uri, store.uri)

    assert len(both.correct_images([*ids(KMEANS), row_of_size(100)["trial_id"]])) == 4
