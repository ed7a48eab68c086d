"""How cost grows: exponents by hand, what is compared with what, and when there is no figure."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from analysis.__main__ import main
from analysis.data.reading import load
from analysis.figures import growth as figure
from analysis.figures.plot import png, write_plot
from analysis.figures.style import styled
from analysis.findings.growth import SEVERAL, build, by_figure
from sweeps.grid.distillation_presets import PRESETS
from sweeps.grid.plan import make_plan
from sweeps.store.store import Store
from tests.analysis.results import Row, config_of, frame_of, row_of

SHORT: dict[str, Any] = {
    "n_outer": 2,
    "n_inner": 20,
    "cluster_interval": 10,
    "init": "random",
    "n_eval": 3,
    "eval_epochs": 10,
    "eval_every": 0,
}
"""4 clusterings, 40 inner loops, 30 epochs."""


def timed(seconds: tuple[float, float, float, float], **fields: Any) -> Row:
    """A row with the seconds of a clustering, of matching, of a network update, of an epoch."""
    units = (4, 40, 40, 30)
    parts = ("clustering", "matching", "network", "evaluation")
    values = {
        f"{part}_seconds": each * n for part, each, n in zip(parts, seconds, units, strict=True)
    }
    about = {"device": "cpu", "host": "node-1", "n_threads": 1, "gpu_share": 0.0, "n_classes": 10}
    given = {name: fields.pop(name) for name in tuple(fields) if name in about}
    config = config_of(str(fields.pop("clusterer", "kmeans")), **(SHORT | fields))
    return row_of(config, 0.5, **(values | about | given))


def over(
    field: str, values: dict[Any, tuple[float, float, float, float]], **fields: Any
) -> list[Row]:
    return [timed(seconds, **(fields | {field: value})) for value, seconds in values.items()]


WIDTHS = {
    # constant, linear, squared, and a square root
    16: (0.5, 0.1, 0.01, 0.002),
    32: (0.5, 0.2, 0.04, 0.002 * math.sqrt(2)),
    64: (0.5, 0.4, 0.16, 0.004),
}


def exponents(numbers: pd.DataFrame, size: str) -> dict[str, float]:
    fits = numbers[numbers["size"] == size].drop_duplicates("part")
    return dict(zip(fits["part"], fits["exponent"], strict=True))


def test_seconds_of_a_unit_of_work_and_their_exponents_by_hand() -> None:
    found = build(frame_of(over("width", WIDTHS)))

    assert found["size"].unique().tolist() == ["width"]
    assert found["value"].tolist() == [16, 32, 64] * 4
    matching = found[found["part"] == "matching"]
    assert matching["seconds"].tolist() == pytest.approx([0.1, 0.2, 0.4])
    assert matching["width"].tolist() == [16, 32, 64]
    assert exponents(found, "width") == pytest.approx(
        {"clustering": 0, "matching": 1, "network": 2, "evaluation": 0.5}, abs=1e-9
    )


def test_a_fit_through_points_that_are_no_line() -> None:
    # log₂: widths 4, 5, 6 and seconds 0, 0, 3: the slope is half of the last less the first.
    seconds = {16: 1.0, 32: 1.0, 64: 8.0}
    rows = over("width", {width: (each, 1, 1, 1) for width, each in seconds.items()})

    assert exponents(build(frame_of(rows)), "width")["clustering"] == pytest.approx(1.5)


def test_the_median_over_trials_with_its_range() -> None:
    rows = over("width", WIDTHS) + over("width", WIDTHS, seed=1)
    rows += [timed((9.0, 0.1, 0.01, 0.002), width=16, seed=2)]

    found = build(frame_of(rows))

    first = found.iloc[0]
    assert (first["value"], first["part"], first["trials"]) == (16, "clustering", 3)
    assert first[["seconds", "minimum", "maximum"]].tolist() == [0.5, 0.5, 9.0]


def test_a_share_of_the_images_is_what_validation_leaves() -> None:
    shares = {1 - share: (share, 1.0, 1.0, 1.0) for share in (0.25, 0.5, 1.0)}

    found = build(frame_of(over("val_fraction", shares)))

    assert found["size"].unique().tolist() == ["n"]
    assert found["value"].unique().tolist() == [0.25, 0.5, 1.0]
    assert exponents(found, "n") == pytest.approx(
        {"clustering": 1, "matching": 0, "network": 0, "evaluation": 0}, abs=1e-9
    )


def test_a_derived_learning_rate_is_no_other_difference() -> None:
    rows = over("ipc", WIDTHS)
    assert len({row["lr_img"] for row in rows}) == 3

    assert build(frame_of(rows))["size"].unique().tolist() == ["ipc"]


@pytest.mark.parametrize(
    "other",
    [
        {"depth": 2},
        {"clusterer": "kmedoids"},
        {"n_inner": 10},
        {"n_threads": 2},
        {"host": "node-2"},
        {"device": "NVIDIA H200"},
        {"dataset": "svhn"},
    ],
    ids=str,
)
def test_trials_that_differ_in_something_else_are_not_compared(other: dict[str, Any]) -> None:
    rows = over("width", WIDTHS)
    rows[2] = timed(WIDTHS[64], width=64, **other)

    assert len(build(frame_of(rows))) == 0


def test_two_values_are_no_growth() -> None:
    rows = over("width", {width: WIDTHS[width] for width in (16, 32)})

    assert len(build(frame_of(rows))) == 0


@pytest.mark.parametrize("status", ["diverged", "out_of_memory"])
def test_a_trial_that_did_not_reach_its_end_is_left_out(status: str) -> None:
    rows = over("width", WIDTHS)
    rows[0] |= {"status": status}

    assert len(build(frame_of(rows))) == 0


def test_a_part_without_work_or_time_is_left_out() -> None:
    rows = over("width", WIDTHS, n_net_batches=0)
    for row in rows:
        row["clustering_seconds"] = None

    assert build(frame_of(rows))["part"].unique().tolist() == ["matching", "evaluation"]


def test_a_part_of_which_two_values_are_known_has_no_exponent() -> None:
    rows = over("width", WIDTHS)
    rows[0]["matching_seconds"] = None

    found = build(frame_of(rows))

    assert math.isnan(exponents(found, "width")["matching"])
    assert found[found["part"] == "matching"]["value"].tolist() == [32, 64]


def test_of_several_variations_the_longest_counts() -> None:
    longer = WIDTHS | {128: (0.5, 0.8, 0.64, 0.004 * math.sqrt(2))}
    rows = over("width", WIDTHS, depth=2) + over("width", longer, depth=3)
    rows += over("width", WIDTHS, depth=4, seed=1) + over("width", WIDTHS, depth=4)

    assert build(frame_of(rows))["value"].unique().tolist() == [16, 32, 64, 128]


def test_of_equally_long_variations_most_trials_count() -> None:
    rows = over("width", WIDTHS, depth=2)
    rows += over("width", WIDTHS, depth=3) + over("width", WIDTHS, depth=3, seed=1)

    assert set(build(frame_of(rows))["trials"]) == {2}


def classes(n: int, seconds: float, **fields: Any) -> Row:
    """A trial on other data with n classes."""
    return timed((1.0, seconds, 1.0, 1.0), dataset=f"folder:{n}", n_classes=n, **fields)


def test_the_number_of_classes_comes_from_several_data_sets() -> None:
    rows = [classes(n, 0.1 * n, image_size=32) for n in (2, 5, 10)]

    (found,) = by_figure(build(frame_of(rows)))

    assert set(found["dataset"]) == {SEVERAL}
    assert found["value"].unique().tolist() == [2, 5, 10]
    assert exponents(found, "classes") == pytest.approx(
        {"clustering": 0, "matching": 1, "network": 0, "evaluation": 0}, abs=1e-9
    )
    assert figure.title(found) == "How cost grows. several data sets, K-Means, CPU, 1 thread"


def test_data_sets_at_sizes_of_their_own_are_not_compared() -> None:
    rows = [classes(n, 0.1 * n) for n in (2, 5, 10)]

    assert len(build(frame_of(rows))) == 0


def test_figures_by_data_set_method_and_machine_in_order() -> None:
    sets: tuple[dict[str, Any], ...] = (
        {"dataset": "svhn"},
        {"clusterer": "dbscan"},
        {"n_threads": 2, "seed": 1},
        {"device": "NVIDIA H200", "gpu_share": 0.25, "seed": 2},
        {"protocol": "published"},
        {},
    )
    rows = [row for fields in sets for row in over("width", WIDTHS, **fields)]

    found = by_figure(build(frame_of(rows)))

    assert [figure.title(numbers).removeprefix("How cost grows") for numbers in found] == [
        ". CIFAR-10, K-Means, NVIDIA H200 (0.25 of it)",
        ". CIFAR-10, K-Means, CPU, 1 thread",
        ". CIFAR-10, K-Means, CPU, 2 threads",
        ", published protocol. CIFAR-10, K-Means, CPU, 1 thread",
        ". CIFAR-10, DBSCAN, CPU, 1 thread",
        ". SVHN, K-Means, CPU, 1 thread",
    ]


def test_trials_on_one_kind_of_gpu_are_compared_across_hosts() -> None:
    rows = [
        timed(WIDTHS[width], width=width, device="NVIDIA H200", host=f"node-{width}")
        for width in WIDTHS
    ]

    assert exponents(build(frame_of(rows)), "width")["matching"] == pytest.approx(1)


def test_exponents_and_base_as_text() -> None:
    rows = over("width", WIDTHS, ipc=10)
    # log₁₀: ipc 0, 1, 2 and seconds 0, −1, −2; and a clustering of the base's 0.5 seconds always.
    rows += over("ipc", {1: (0.5, 1.0, 0.01, 0.002), 100: (0.5, 0.01, 0.01, 0.002)}, width=16)

    numbers = build(frame_of(rows))

    assert figure.exponents_text(numbers) == (
        "matching ∝ ipc^−1.00; matching ∝ width^1.00, network ∝ width^2.00, evaluation ∝ width^0.50"
    )
    assert figure.base_text(numbers) == "ipc 10, width 16, share n 1, k 128"


def drawn(rows: list[Row]) -> Figure:
    (numbers,) = by_figure(build(frame_of(rows)))
    with styled():
        return figure.draw(numbers)


def test_a_panel_shows_milliseconds_over_the_size() -> None:
    (axes,) = drawn(over("width", WIDTHS)).axes

    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines) == ["clustering", "matching", "network", "evaluation"]
    x, y = (np.asarray(values, dtype=float) for values in lines["matching"].get_data())
    assert x.tolist() == [16, 32, 64]
    assert y.tolist() == pytest.approx([100, 200, 400])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["0.00", "1.00", "2.00", "0.50"]


def test_results_with_growth_have_its_figure_and_the_report_shows_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.create()
    for row in over("width", WIDTHS, dataset="digits"):
        store.put_result(row, [])
    (plot,) = figure.plots(load(store.uri))

    assert plot.name == "growth-digits-kmeans"
    out = tmp_path / "out"
    assert main([store.uri, "figures", "report", "--out", str(out)]) == 0
    assert 'id="figure-growth-digits-kmeans"' in (out / "report.html").read_text()
    (tmp_path / "again").mkdir()
    written = write_plot(plot, tmp_path / "again")
    assert [file.suffix for file in written] == [".png", ".svg", ".csv"]
    for file in written:
        assert file.read_bytes() == (out / "figures" / file.name).read_bytes(), file.name
    assert len(pd.read_csv(written[2])) == 4 * len(WIDTHS)
    assert Image.open(io.BytesIO(png(plot.figure()))).size[0] > 0


def test_files_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.create()
    for name in ("a/train.parquet", "b/train.parquet"):
        for row in over("width", WIDTHS, dataset=f"parquet:{name}"):
            store.put_result(row, [])

    names = [plot.name for plot in figure.plots(load(store.uri))]

    assert names == ["growth-files-kmeans", "growth-files-kmeans-2"]


def test_the_cost_preset_varies_five_sizes_one_at_a_time() -> None:
    rows = [
        row_of(config, 0.5, **dict.fromkeys(PART_SECONDS, 1.0), device="cpu")
        for config in make_plan(PRESETS["cost"])
    ]

    (found,) = by_figure(build(frame_of(rows)))

    values = {size: rows["value"].unique().tolist() for size, rows in found.groupby("size")}
    assert values == {
        "ipc": [1, 10, 50],
        "image size": [8, 16, 32],
        "width": [8, 16, 32, 64],
        "n": [0.25, 0.5, 1],
        "k": [16, 32, 128],
    }
    assert set(found["trials"]) == {3}
    assert figure.base_text(found) == "ipc 10, image size 16, width 32, share n 1, k 32"
    # One clustering and ten inner loops in a second each; one network of forty epochs.
    of_parts = found.drop_duplicates("part").set_index("part")["seconds"].to_dict()
    assert of_parts == {"clustering": 1, "matching": 0.1, "network": 0.1, "evaluation": 1 / 40}


PART_SECONDS = tuple(f"{p}_seconds" for p in ("clustering", "matching", "network", "evaluation"))
