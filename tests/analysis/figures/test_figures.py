"""Figures: numbers by hand, one look for a method everywhere, the same bytes every time."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.lines import Line2D
from PIL import Image

from analysis.data.reading import Sweeps, load
from analysis.figures import bands, clusters, cost, curves, images, searches
from analysis.figures.gather import image_sheets, plots
from analysis.figures.plot import Plot, svg, write_plot
from analysis.figures.style import PAPER, legend_below, look, new_figure, styled
from analysis.findings.importances import databases, importances
from analysis.tables.build import Tables, build
from distill.clustering.registry import CLUSTERERS
from distill.components import known_names
from distill.config.selection import SelectionConfig
from sweeps.store.store import Store
from tests.analysis import golden, made_up
from tests.analysis.results import as_it_is, config_of, frame_of, row_of
from tests.paths import ROOT

pytestmark = pytest.mark.lengthy

METHODS = tuple(name for name in CLUSTERERS if not name.endswith(("_published", "_sklearn_extra")))
SELECTORS = known_names(SelectionConfig.static_fields()["selector"])


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Sweeps:
    store = Store(tmp_path_factory.mktemp("made-up") / "results")
    store.create()
    made_up.fill(store, ipcs=(1,), seeds=2, n_outer=6, every=3)
    return load(store.uri)


@pytest.fixture(scope="module")
def paper(sweeps: Sweeps) -> Tables:
    return build(sweeps.results, sweeps.plan, sweeps.failures)


@pytest.fixture(scope="module")
def drawn(paper: Tables, sweeps: Sweeps) -> dict[str, Plot]:
    found = list(plots(paper.tables, sweeps))
    by_name = {plot.name: plot for plot in found}
    assert len(by_name) == len(found)
    return by_name


def members(*trials: tuple[str, str]) -> pd.DataFrame:
    frame = pd.DataFrame(trials, columns=["trial_id", "method"])
    return frame.assign(label=frame["method"], protocol="sound")


def curve(trial_id: str, accuracies: list[float | None]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "trial_id": trial_id,
            "outer": pd.Series(range(len(accuracies)), dtype="Int64"),
            "accuracy_mean": pd.Series(accuracies, dtype=float),
        }
    )


def test_a_curve_is_the_mean_over_seeds_with_its_range_and_interval() -> None:
    read = pd.concat([curve("a", [0.1, None, 0.5]), curve("b", [0.3, None, 0.6]), curve("c", [1])])

    found = curves.build(members(("a", "kmeans"), ("b", "kmeans")), read, curves.ACCURACY)

    assert found["outer"].tolist() == [0, 2]
    assert found["mean"].tolist() == pytest.approx([0.2, 0.55])
    assert found["minimum"].tolist() == [0.1, 0.5]
    assert found["maximum"].tolist() == [0.3, 0.6]
    assert found["seeds"].tolist() == [2, 2]
    # t(1) at 97.5 % is 12.7062, and s / √2 is half the distance of two numbers.
    assert found["high"][0] == pytest.approx(0.2 + 12.7062 * 0.1, rel=1e-5)


def test_accuracy_over_seconds_is_at_the_mean_of_the_seeds_seconds() -> None:
    read = pd.concat(
        [
            curve("a", [0.1, 0.3, 0.5]).assign(seconds=pd.Series([1.0, 11.0, 21.0])),
            curve("b", [0.3, None, 0.6]).assign(seconds=pd.Series([3.0, 13.0, float("nan")])),
        ]
    )

    one_point = curve("c", [None, 0.4]).assign(seconds=pd.Series([2.0, 4.0]))
    trials = members(("a", "kmeans"), ("b", "kmeans"), ("c", "random"))

    found = curves.over_seconds(trials, pd.concat([read, one_point]))

    assert set(found["label"]) == {"kmeans"}, "a line has two points"
    assert found["outer"].tolist() == [0, 1, 2]
    assert found["seconds"].tolist() == [2.0, 11.0, 21.0], "of the seeds that have an accuracy"
    assert found["mean"].tolist() == pytest.approx([0.2, 0.3, 0.5])


def test_a_curve_of_one_seed_has_no_interval() -> None:
    found = curves.build(members(("a", "kmeans")), curve("a", [0.1, 0.2]), curves.ACCURACY)

    assert found["low"].isna().all()
    assert found["seeds"].tolist() == [1, 1]


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    read = curve("a", [0.001 * i for i in range(1004)])

    found = curves.build(members(("a", "kmeans")), read, curves.ACCURACY)

    assert len(found) <= bands.MAX_POINTS
    assert found["outer"].tolist()[:3] == [0, 5, 10]
    assert found["outer"].iloc[-1] == 1003


def test_the_cost_figure_has_the_numbers_of_the_table() -> None:
    found = cost.build(golden.tables().tables[0])

    row = found[(found["method"] == "kmeans") & (found["weights"] == "F")].iloc[0]
    assert row["accuracy"] == pytest.approx(0.62)
    assert (row["seconds"], row["gpu_seconds"], row["protocol"]) == (200.0, 100.0, "sound")
    assert "kmeans++" not in set(found["method"])


def test_cluster_statistics_by_hand() -> None:
    shares = {"n_clusters_mean": 4.0, "largest_cluster_mean": 0.5, "noise_mean": 0.25}
    rows = [
        row_of(config_of("dbscan", seed=0), 0.5, **shares),
        row_of(config_of("dbscan", seed=1), 0.5, **(shares | {"n_clusters_mean": 8.0})),
    ]
    trials = members(*((row["trial_id"], "dbscan") for row in rows))

    found = clusters.build(trials, frame_of(rows)).set_index("statistic")

    assert found.index.tolist() == ["n_clusters_mean", "largest_cluster_mean", "noise_mean"]
    assert found["mean"].tolist() == [6.0, 0.5, 0.25]
    assert (found["minimum"].iloc[0], found["maximum"].iloc[0]) == (4.0, 8.0)
    assert found["trials"].tolist() == [2, 2, 2]


def test_the_response_of_a_search(sweeps: Sweeps) -> None:
    (trials,) = searches.searches(sweeps.results).values()

    names = searches.parameters(trials)
    found = searches.build(trials, names)

    assert names == ["eps", "min_samples"]
    assert len(found) == 2 * len(trials) == 80
    best = found.sort_values("score", na_position="first").iloc[-1]
    row = trials[trials["trial_id"] == best["trial_id"]].iloc[0]
    assert best["score"] == row["val_accuracy_mean"]
    assert found["split"].eq("val").all()
    infeasible = found[found["status"] == "infeasible"]
    assert len(infeasible) > 0
    assert infeasible["score"].isna().all()
    assert searches.parameters(trials, ["eps"]) == ["eps"]


def test_all_figures_of_distillations(drawn: dict[str, Plot]) -> None:
    name = "paper1-cifar10-ipc1-features"

    expected = {
        f"{name}-{score}-{weights}{protocol}"
        for score in ("accuracy", "loss")
        for weights in ("t", "f")
        for protocol in ("", "-published")
    }
    expected |= {f"{name}-noise", f"{name}-noise-published", f"{name}-cost", f"{name}-clusters"}
    assert drawn.keys() == expected | {"differences", "search-dbscan-eps"}


def test_figures_and_numbers_are_the_same_bytes_every_time(
    drawn: dict[str, Plot], tmp_path: Path
) -> None:
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        for plot in drawn.values():
            write_plot(plot, tmp_path / folder)

    files = sorted((tmp_path / "first").iterdir())
    assert len(files) == 3 * len(drawn)
    for file in files:
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes(), file.name


def test_figures_do_not_depend_on_what_a_user_has_set(
    drawn: dict[str, Plot], tmp_path: Path
) -> None:
    plot = drawn["search-dbscan-eps"]
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    write_plot(plot, tmp_path / "a")
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 20}):
        write_plot(plot, tmp_path / "b")

    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_every_method_and_every_selector_has_a_look_of_its_own() -> None:
    for names in (METHODS, SELECTORS):
        looks = {look(name) for name in names}
        assert len({style.colour for style in looks}) == len(names)
        assert len({style.marker for style in looks}) == len(names)
        assert look("of another version").marker not in {style.marker for style in looks}
    assert look("kmeans_published").colour == look("kmeans").colour
    assert look("kmedoids_sklearn_extra").marker == look("kmedoids").marker


@pytest.mark.parametrize(("length", "columns"), [(10, 4), (25, 2), (60, 1)])
def test_a_legend_has_as_many_columns_as_fit(length: int, columns: int) -> None:
    with styled():
        figure = new_figure()
        figure.subplots()
        legend_below(figure, [Line2D([], [], label="n" * (length - i)) for i in range(6)])
    svg(figure)

    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    assert len({round(text.get_window_extent().x0) for text in legend.get_texts()}) == columns


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2, in [0, 1]."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("paper", [PAPER, "#151b23"])
@pytest.mark.parametrize("name", dict.fromkeys((*METHODS, *SELECTORS)))
def test_colours_are_seen_on_light_and_dark_paper(name: str, paper: str) -> None:
    light, dark = sorted((luminance(look(name).colour), luminance(paper)), reverse=True)

    assert (light + 0.05) / (dark + 0.05) >= 3  # WCAG 2.2, 1.4.11: graphics


def test_sheets_of_images_show_the_pixels(tmp_path: Path, paper: Tables, sweeps: Sweeps) -> None:
    found = list(image_sheets(paper.tables[0], sweeps))

    names = [sheet.name.removeprefix("paper1-cifar10-ipc1-features-images-") for sheet in found]
    assert names[:4] == ["k-means-t", "k-means-f", "k-meanspp-t", "k-meanspp-f"]
    assert len(set(names)) == len(names)
    assert "k-means-t-published" in names
    sheet = found[0]
    table = sweeps.artifact("distilled", sheet.trial_id, as_it_is)
    assert table is not None
    first = Image.open(io.BytesIO(table["image"][0].as_py()["bytes"])).convert("RGB")
    picture, plain = images.draw(sheet.images), images.draw(sheet.images, enlarged=False)
    assert picture.getpixel((images.LABEL, 0)) == first.getpixel((0, 0))
    assert picture.getpixel((images.LABEL + 63, 63)) == first.getpixel((31, 31))
    assert plain.size == (10 * 33 - 1, 32)  # one image of each class side by side
    assert plain.getpixel((31, 31)) == first.getpixel((31, 31))
    assert sheet.images.numbers["shown"].tolist() == [1] * 10
    written = images.write_sheet(sheet, tmp_path)
    assert [file.suffix for file in written] == [".png", ".csv"]


PICTURE = {"bytes": images.png(Image.new("RGB", (4, 4))), "path": "x"}


@pytest.mark.parametrize(
    "columns",
    [
        {"image": [PICTURE] * 2, "label": [0, None]},
        {"image": [PICTURE] * 2},
        {"image": [{"bytes": b"no picture", "path": "x"}] * 2, "label": [0, 1]},
        {"image": [None, None], "label": [0, 1]},
        {"label": [0, 1]},
        None,
    ],
)
def test_images_that_cannot_be_read_are_named_and_left_out(
    columns: dict[str, Any] | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path)
    store.create()
    path = tmp_path / "distilled" / f"{'0' * 16}.parquet"
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns or {"image": [PICTURE], "label": [0]}), path)
    if columns is None:
        path.write_bytes(path.read_bytes()[:-40])

    assert load(store.uri).artifact("distilled", "0" * 16, images.build) is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {path} is left out: it is damaged (")


def test_metadata_that_says_nothing_gives_numbers_for_names() -> None:
    for about in (b"[" * 100_000, b"3", b'{"info": {"features": {"label": {"names": 3}}}}'):
        table = pa.table({"image": [PICTURE], "label": [0]})
        grid = images.build(table.replace_schema_metadata({b"huggingface": about}))
        assert grid is not None
        assert grid.class_names == ("0",)


def test_no_images_at_all(sweeps: Sweeps) -> None:
    assert sweeps.artifact("distilled", "0" * 16, as_it_is) is None


def test_importances_of_a_search(tmp_path: Path) -> None:
    """The study is made in another process: the analysis does not import Optuna otherwise."""
    journal = tmp_path / "search.journal"
    code = f"""
import optuna, warnings
warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)
storage = optuna.storages.JournalStorage(
    optuna.storages.journal.JournalFileBackend({str(journal)!r})
)
study = optuna.create_study(study_name="search", storage=storage, direction="maximize",
                            sampler=optuna.samplers.RandomSampler(seed=0))
study.set_user_attr("dream_sweep", {{"objectives": ["accuracy"]}})
study.optimize(lambda t: t.suggest_float("eps", 0, 1) + 0 * t.suggest_float("idle", 0, 1),
               n_trials=20)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)

    found = importances(journal)

    assert found["parameter"].tolist() == ["eps", "idle"]
    assert found["importance"].sum() == pytest.approx(1)
    assert found["importance"][0] > 0.9
    assert set(found["objective"]) == {"accuracy"}
    assert set(found["trials"]) == {20}
    assert importances(journal).equals(found)
    assert importances(journal, "search").equals(found)
    assert len(importances(journal, "another")) == 0


def test_importances_of_a_search_in_a_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the command that is in the record; a database that is not there is not made."""
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    code = f"""
import optuna, warnings
warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)
for name, direction in (("first", "maximize"), ("second", "minimize")):
    study = optuna.create_study(study_name=name, storage={url!r}, direction=direction,
                                sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda t: t.suggest_int("grid_size", 1, 40), n_trials=6)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    monkeypatch.chdir(tmp_path)
    commands = {
        "first": ["grid_size", "--storage", url],
        "lost": ["grid_size", "--storage=sqlite:///lost.db"],
        "journal": ["grid_size", "--storage", "studies/own.journal"],
        "default": ["grid_size"],
    }

    found = databases([{"name": name, "command": command} for name, command in commands.items()])

    assert found == {"first": url, "lost": "sqlite:///lost.db"}
    read = importances(found["first"], "first")
    assert read[["study", "parameter", "trials"]].to_numpy().tolist() == [["first", "grid_size", 6]]
    assert len(importances(found["lost"], "lost")) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["studies.db"]


def test_a_damaged_journal_gives_no_importances(tmp_path: Path) -> None:
    journal = tmp_path / "damaged.journal"
    journal.write_bytes(b"\x00\x01 nothing\n{")

    assert len(importances(journal)) == 0
