"""Paper 2's figures: numbers by hand, and everything there is of real trials."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from matplotlib.collections import LineCollection, PathCollection
from PIL import Image

from analysis.__main__ import main
from analysis.data.reading import Sweeps, load
from analysis.figures import cluster_sizes, epochs, images, plane, searches
from analysis.figures.gather import Gallery, image_sheets
from analysis.figures.plot import Plot, svg, write_plot
from analysis.report.sections import figures_section
from analysis.tables.build import build
from analysis.tables.layout import Table
from distill.config.base import SCHEMA_VERSION
from distill.config.selection import SelectionConfig
from distill.datasets import ImageData
from sweeps.cluster.worker import WorkOrder, run_and_store
from sweeps.store.schema import trial_schema
from sweeps.store.store import Store
from tests.analysis.results import Row, as_it_is, config_of, frame_of, row_of

pytestmark = pytest.mark.lengthy

CASES: tuple[dict[str, Any], ...] = (
    {"selector": "base"},
    {"selector": "random", "fraction": 0.5},
    {"selector": "augmentation"},
    {"selector": "cluster_grid", "fraction": 0.2},
    {"selector": "cluster_grid", "fraction": 0.2, "seed": 1},
    {"selector": "base", "protocol": "published"},
    {"selector": "cluster_grid", "fraction": 0.2, "protocol": "published"},
)


@pytest.fixture(scope="module")
def sweeps(digits: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Sweeps:
    """Real trials of two digits, two epochs each."""
    store = Store(tmp_path_factory.mktemp("paper2") / "results")
    store.create()
    for case in CASES:
        config = SelectionConfig.from_dict(
            {"classes": ["3", "8"], "epochs": 2, "val_fraction": 0.1} | case
        )
        order = WorkOrder(store=store, sweep="test")
        run_and_store(config, lambda: digits, order, lambda _: None)
    return load(store.uri)


@pytest.fixture(scope="module")
def table(sweeps: Sweeps) -> Table:
    (found,) = build(sweeps.results).tables
    return found


@pytest.fixture(scope="module")
def drawn(table: Table, sweeps: Sweeps) -> dict[str, Plot]:
    gallery = Gallery.of([table], sweeps)
    return {plot.name.split("-", 3)[3]: plot for plot in gallery.plots}


# Curves


def members(*trials: tuple[str, int]) -> pd.DataFrame:
    frame = pd.DataFrame(trials, columns=["trial_id", "row"])
    return frame.assign(
        selector="random", variant=frame["row"], label=[f"row {r}" for _, r in trials]
    )


def curve(trial_id: str, *accuracies: tuple[float | None, float]) -> pd.DataFrame:
    """Validation and training accuracy of one classifier, an epoch each."""
    frame = pd.DataFrame(accuracies, columns=["val_accuracy", "train_accuracy"], dtype=float)
    return frame.assign(trial_id=trial_id, epoch=pd.Series(range(1, len(frame) + 1), dtype="Int64"))


def test_a_trial_counts_with_the_mean_of_its_classifiers() -> None:
    two = [curve("a", (0.2, 0.1), (0.4, 0.1)), curve("a", (0.4, 0.1), (0.6, 0.1))]
    read = pd.concat([*two, curve("b", (0.5, 0.9))])

    found = epochs.build(members(("a", 0), ("b", 0)), read, epochs.ACCURACY, "validation")

    assert found["epoch"].tolist() == [1, 2]
    assert found["mean"].tolist() == pytest.approx([0.4, 0.5])
    assert found["minimum"].tolist() == pytest.approx([0.3, 0.5])
    assert found["seeds"].tolist() == [2, 1]
    assert set(found["images"]) == {"validation"}


def test_which_images_a_curve_is_of() -> None:
    with_validation, without = curve("a", (0.5, 0.6)), curve("a", (None, 0.6))

    assert epochs.images_of("published", with_validation) == "test"
    assert epochs.images_of("sound", with_validation) == "validation"
    assert epochs.images_of("sound", without) == "training"
    found = epochs.build(members(("a", 3)), without, epochs.ACCURACY, "training")
    assert found[["row", "epoch", "mean"]].to_numpy().tolist() == [[3, 1, 0.6]]


def test_rows_that_were_not_looked_at_are_left_out() -> None:
    read = pd.concat([curve("a", (0.5, 0.6)), curve("b", (None, 0.6))])

    found = epochs.build(members(("a", 0), ("b", 1)), read, epochs.ACCURACY, "validation")

    assert found["row"].tolist() == [0]


# Sizes of clusters


def test_the_distribution_of_cluster_sizes_by_hand() -> None:
    """Two trials of DBSCAN, one with half of its images in none, and one without the columns."""
    numbers = [([2, 1], [0.25, 0.25]), ([0, 0, 1], [0, 0, 1.0]), (None, None)]
    rows = [
        row_of(
            config_of("dbscan", seed=seed),
            0.5,
            cluster_size_histogram=histogram,
            cluster_size_shares=shares,
        )
        for seed, (histogram, shares) in enumerate(numbers)
    ]
    trials = pd.DataFrame([{"trial_id": row["trial_id"]} for row in rows])
    trials = trials.assign(method="dbscan", label="DBSCAN")

    found = cluster_sizes.build(trials, frame_of(rows))

    assert found["size"].tolist() == [0, 1, 3, 7]
    assert found["mean"].tolist() == pytest.approx([0.25, 0.375, 0.5, 1])
    assert found["minimum"].tolist() == pytest.approx([0, 0, 0, 1])
    assert found["maximum"].tolist() == pytest.approx([0.5, 0.75, 1, 1])
    assert found["clusters"].tolist() == [0, 1, 0.5, 0.5]
    assert set(found["seeds"]) == {2}
    assert len(cluster_sizes.build(trials.iloc[2:], frame_of(rows))) == 0


# The plane


def selection(n: int, **changes: Any) -> pa.Table:
    """Images of two classes on a line, in one cluster each; the grid of the second class."""
    about = {
        "class_names": ["cat", "dog"],
        "grids": [{"label": 1, "cluster": 0, "low": [0, 0], "high": [2, 4], "size": 2}],
    } | changes
    columns = {
        "label": [i % 2 for i in range(n)],
        "cluster": [i % 2 for i in range(n)],
        "times_selected": [int(i < 3) for i in range(n)],
        "pca_1": [1.23456789 * i / n for i in range(n)],
        "pca_2": [0.0] * n,
    }
    return pa.table(columns, metadata={"distill": json.dumps(about)})


def test_the_plane_holds_what_is_drawn() -> None:
    found = plane.build(selection(4))

    assert found is not None
    marks = found[found["what"] == "image"]
    assert marks["class"].tolist() == ["cat", "cat", "dog", "dog"]
    assert marks["times_selected"].tolist() == [1, 1, 1, 0]
    assert marks["x"].tolist() == [0, 0.61728, 0.30864, 0.92593]
    (grid,) = found[found["what"] == "grid"].to_dict("records")
    assert (grid["class"], grid["cluster"], grid["cells"]) == ("dog", 0, 2)
    assert (grid["x"], grid["y"], grid["x_high"], grid["y_high"]) == (0, 0, 2, 4)


def test_of_many_images_every_second_is_drawn() -> None:
    found = plane.build(selection(plane.MAX_POINTS + 2))

    assert found is not None
    assert (found["what"] == "image").sum() == plane.MAX_POINTS // 2 + 1


def test_of_many_classes_the_first_are_drawn() -> None:
    grids = [
        {"label": label, "cluster": 0, "low": [0, 0], "high": [1, 1], "size": 2}
        for label in (0, plane.MAX_CLASSES)
    ]
    read = selection(10, class_names=list("abcdef"), grids=grids)
    labels = pa.array([i % 6 for i in range(10)])
    found = plane.build(read.set_column(0, "label", labels))

    assert found is not None
    assert set(found["class"]) == set("abcd")
    assert found["what"].tolist() == ["image"] * 8 + ["grid"]


def test_without_a_plane_or_notes_of_its_grid_there_is_no_figure() -> None:
    read = selection(4)

    assert plane.build(read.drop_columns(["pca_2"])) is None
    assert plane.build(read.replace_schema_metadata(None)) is None
    assert plane.build(selection(4, grids=[])) is None


@pytest.mark.parametrize("protocol", ["", "-published"])
def test_the_lines_that_are_drawn_divide_the_images_as_the_trial_did(
    drawn: dict[str, Plot], table: Table, sweeps: Sweeps, protocol: str
) -> None:
    """Cells that hold an image, counted between the lines, are those that the trial counted."""
    plot = drawn[f"plane-clustering-20{protocol}"]
    marks = plot.numbers[plot.numbers["what"] == "image"]
    panels = np.array(plot.figure().axes).reshape(2, 3)
    n_occupied = 0
    for name, axes in zip(("3", "8"), panels[:, 1], strict=True):
        lines = [one for one in axes.collections if isinstance(one, LineCollection)]
        of_class = marks[marks["class"] == name]
        for position, (_, marks_of_cluster) in enumerate(of_class.groupby("cluster", sort=True)):
            segments = np.array(lines[0 if protocol else position].get_segments())
            xs, ys = (np.unique(segments[..., axis].round(9))[1:-1] for axis in (0, 1))
            cells = zip(
                np.searchsorted(xs, marks_of_cluster["x"]),
                np.searchsorted(ys, marks_of_cluster["y"]),
                strict=True,
            )
            n_occupied += len(set(cells))

    chosen = table.members[
        (table.members["selector"] == "cluster_grid")
        & (table.members["protocol"] == ("published" if protocol else "sound"))
    ]
    trial_id = chosen["trial_id"].iloc[0]
    counted = sweeps.results.set_index("trial_id").loc[trial_id, "n_cells_occupied"]
    # Coordinates are rounded: an image on a line may change its cell.
    assert n_occupied == pytest.approx(int(counted), abs=1)


def test_many_points_are_pixels_in_the_svg(drawn: dict[str, Plot]) -> None:
    plot = drawn["plane-clustering-20"]
    points = [collection for axes in plot.figure().axes for collection in axes.collections]

    assert all(
        collection.get_rasterized()
        for collection in points
        if isinstance(collection, PathCollection)
    )
    assert "<image" in svg(plot.figure())


def test_the_caption_counts_what_is_seen() -> None:
    found = plane.build(selection(10))

    assert found is not None
    text = plane.caption(found)
    assert "a grid for each class and cluster, over the range of these images, of 2 cells" in text
    assert "right the 3 of 10 images that were chosen" in text


# All there is


def test_all_figures_of_selections(drawn: dict[str, Plot]) -> None:
    kinds = ("accuracy", "loss", "plane-clustering-20", "cluster-sizes")

    assert drawn.keys() == {kind + protocol for kind in kinds for protocol in ("", "-published")}
    assert drawn["accuracy"].numbers["label"].unique().tolist() == [
        "base (all images)",
        "random 50 %",
        "augmentation 10 %",
        "clustering 20 %",
    ]
    assert set(drawn["accuracy"].numbers["images"]) == {"validation"}
    assert "Of the test images" in drawn["accuracy-published"].caption
    assert drawn["accuracy"].numbers["seeds"].max() == 2


def test_the_files_are_the_same_bytes_every_time(drawn: dict[str, Plot], tmp_path: Path) -> None:
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        for plot in drawn.values():
            write_plot(plot, tmp_path / folder)

    for file in sorted((tmp_path / "first").iterdir()):
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes(), file.name


def test_sheets_show_images_that_were_trained_on(table: Table, sweeps: Sweeps) -> None:
    found = {sheet.name.split("-", 3)[3]: sheet for sheet in image_sheets(table, sweeps)}

    assert found.keys() == {
        *("images-base-all-images", "images-random-50", "images-augmentation-10"),
        *("images-clustering-20", "images-base-all-images-published"),
        "images-clustering-20-published",
    }
    sheet = found["images-augmentation-10"]
    samples = sweeps.artifact("samples", sheet.trial_id, as_it_is)
    assert samples is not None
    first = Image.open(io.BytesIO(samples["image"][0].as_py()["bytes"])).convert("RGB")
    factor = images.CELL // 8
    picture = images.draw(sheet.images)
    for x, y in ((0, 0), (3, 5), (7, 7)):
        assert picture.getpixel((images.LABEL + factor * x, factor * y)) == first.getpixel((x, y))
    assert sheet.images.class_names == ("3", "8")
    assert sheet.images.numbers["shown"].tolist() == [8, 8]


def test_the_report_shows_them(sweeps: Sweeps, tmp_path: Path) -> None:
    assert main([str(sweeps.stores[0].uri), "report", "--out", str(tmp_path)]) == 0

    text = (tmp_path / "report.html").read_text()
    assert "Images trained on of clustering 20 %, seed 0, published protocol, trial" in text
    assert "The plane of clustering 20 %, seed 0" in text
    planes = [part for part in text.split("<figure ") if "-plane-" in part.split(">", 1)[0]]
    assert len(planes) == 2
    for part in planes:
        assert 'role="img"' in part
        assert "arrow keys" not in part
    assert text.count("Left and right arrow keys show the values.") == text.count("data-values=")


def test_the_values_under_the_pointer_lie_where_the_axes_were_saved(
    drawn: dict[str, Plot],
) -> None:
    page = str(figures_section([drawn["accuracy"]]))
    script = page.partition('type="application/json"')[2].partition(">")[2]
    (values,) = json.loads(script.partition("<")[0])

    figure = drawn["accuracy"].figure(titled=False)
    svg(figure)
    box = figure.axes[0].get_position()
    assert values["box"] == pytest.approx([box.x0, 1 - box.y1, box.x1, 1 - box.y0], rel=1e-4)


# Searches


def searched_row(seed: int, **fields: Any) -> Row:
    config = SelectionConfig.from_dict(
        {"selector": "cluster_grid", "seed": seed, "eval_split": "val", "val_fraction": 0.1}
        | fields
    )
    return (
        dict.fromkeys(trial_schema().names)
        | config.resolve().to_dict()
        | {
            "trial_id": config.trial_id,
            "schema_version": SCHEMA_VERSION,
            "kind": "selection",
            "status": "ok",
            "phase": "search",
            "sweep": "grid_size",
            "val_accuracy_mean": 0.5 + 0.01 * seed,
        }
    )


def test_a_search_of_the_grid_size() -> None:
    rows = [
        searched_row(seed, grid_size=2**seed, n_clusters=1 + seed % 2, pca_dim=2)
        for seed in range(4)
    ]
    (trials,) = searches.searches(frame_of(rows)).values()

    names = searches.parameters(trials, ["grid_size", "n_clusters", "pca_dim"])
    found = searches.build(trials, names)

    assert names == ["n_clusters", "grid_size"], "what varied, in the order of the configuration"
    sizes = found[found["parameter"] == "grid_size"].sort_values("number")
    assert sizes["number"].tolist() == [1, 2, 4, 8]
    assert sizes["score"].tolist() == pytest.approx([0.5, 0.51, 0.52, 0.53])
    assert set(found["method"]) == {"kmeans"}


def test_a_search_without_a_clusterer_goes_by_its_selector() -> None:
    rows = [searched_row(seed, selector="random", fraction=0.1 * (1 + seed)) for seed in range(3)]
    (trials,) = searches.searches(frame_of(rows)).values()

    found = searches.build(trials, searches.parameters(trials))

    assert set(found["parameter"]) == {"fraction"}
    assert set(found["method"]) == {"random"}
