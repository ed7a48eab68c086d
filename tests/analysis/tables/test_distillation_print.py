"""Tables of distillations in print: the golden files, headings, titles and notes."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from analysis import print_tables
from analysis.data.trials import plan_of
from analysis.tables.build import build
from analysis.tables.files import write_table
from analysis.tables.render import sheet
from analysis.tables.sheet import Sheet
from distill.config.distillation import DistillationConfig
from tests.analysis import golden
from tests.analysis.results import Row, config_of, frame_of, row_of, rows_of


def sheets_of(rows: list[Row], plan: tuple[DistillationConfig, ...] = ()) -> list[Sheet]:
    return [sheet(table) for table in build(frame_of(rows), plan_of(plan)).tables]


def column(printed: Sheet, heading: str) -> tuple[str, ...]:
    return next(c.cells for c in printed.columns if c.heading.startswith(heading))


def headings(printed: Sheet) -> list[str]:
    return [c.heading.replace("\n", " ") for c in printed.columns]


def printed_text(rows: list[Row], *, width: int | None = None, **arguments: Any) -> str:
    """What is printed on a terminal of some width, without its colours; None: into a log."""
    output = io.StringIO()
    if width is None:
        console = Console(file=output)
    else:
        console = Console(file=output, force_terminal=True, width=width, color_system="truecolor")
    print_tables(frame_of(rows), console, **arguments)
    return re.sub(r"\x1b\[[0-9;]*m", "", output.getvalue())


def test_the_golden_files(tmp_path: Path) -> None:
    """To change them: `uv run python -m tests.analysis.golden`, then look at them."""
    (table,) = golden.tables().tables

    files = write_table(table, tmp_path)

    assert {file.name for file in files} == {file.name for file in golden.FOLDER.iterdir()}
    for file in files:
        assert file.read_bytes() == (golden.FOLDER / file.name).read_bytes(), file.name


def test_percent_with_half_the_interval_and_the_number_of_seeds() -> None:
    (printed,) = (sheet(table) for table in golden.tables().tables)

    assert column(printed, "sound")[:2] == ("63.33 ± 5.17 (3)", "62.00 ± 4.97 (3)")
    assert column(printed, "difference")[:2] == ("+1.33 ± 1.43", "baseline")
    assert column(printed, "difference")[5] == "−9.67 ± 2.47 *"
    assert column(printed, "published")[0] == "66.76"
    assert column(printed, "GPU-seconds\nsound")[1] == "100"


def test_empty_cells_are_empty() -> None:
    (printed,) = (sheet(table) for table in golden.tables().tables)

    kmeans_plus_plus = [c.cells[2] for c in printed.columns]

    assert kmeans_plus_plus == ["66.87", "", "", "", "", "4.25", "", "", "", "", "", ""]
    assert not any(cell in ("0", "0.00", "nan", "<NA>") for cell in kmeans_plus_plus)


def test_the_best_of_four_is_named_so() -> None:
    (printed,) = (sheet(table) for table in golden.tables().tables)

    assert headings(printed)[:3] == [
        "published",
        "reproduced best of 4 (n)",
        "sound last epoch (n)",
    ]
    assert any("best of four tests on the test images" in note for note in printed.notes)


def test_the_papers_own_tables_have_its_numbers() -> None:
    first, second, third = sheets_of(
        [row_of(config_of("kmeans", ipc=ipc), 0.5) for ipc in (1, 10, 50)]
    )

    assert first.title.startswith("Paper 1, Table 1: CIFAR-10, 1 image a class, ")
    assert second.title.startswith("Paper 1, Table 2: CIFAR-10, 10 images a class, ")
    assert third.title.startswith("Paper 1: CIFAR-10, 50 images a class, ")
    assert not any(heading.startswith("published") for heading in headings(third))
    assert "The paper printed nothing for 50 images a class." in third.notes


def test_on_other_images_the_published_column_says_what_it_is_of() -> None:
    (digits,) = sheets_of(rows_of("kmeans", "none", (0.9,), dataset="digits"))
    (gradients,) = sheets_of(rows_of("kmeans", "none", (0.9,), embedding="gradients"))
    (files,) = sheets_of(
        rows_of(
            "kmeans",
            "none",
            (0.9,),
            dataset="parquet:/secret/a.parquet,b.parquet",
            embedding="pixels",
        )
    )

    assert headings(digits)[0] == "published, CIFAR-10"
    assert headings(gradients)[0] == "published, features"
    assert headings(files)[0] == "published, CIFAR-10, features"
    # A loss depends on the images and on the network: it is not shown beside others.
    assert "loss published" not in " ".join(headings(digits))
    assert "parquet a.parquet + b.parquet" in files.title
    assert "secret" not in files.title + files.name


def test_sizes_that_are_not_the_papers_are_named() -> None:
    (same,) = sheets_of(rows_of("kmeans", "none", (0.5,)))
    (smaller,) = sheets_of(rows_of("kmeans", "none", (0.5,), n_outer=20, width=32, n_eval=1))

    assert not any("Not the paper's" in note for note in same.notes)
    assert "Not the paper's settings: n_outer 20 (paper 1,000), width 32 (paper 128)." in (
        smaller.notes
    )


def test_a_derived_learning_rate_is_no_other_setting() -> None:
    digits = {"dataset": "digits", "image_size": 16}
    (derived,) = sheets_of(rows_of("kmeans", "none", (0.5,), **digits))
    (other,) = sheets_of(rows_of("kmeans", "none", (0.5,), **digits, lr_img=0.25))

    assert not any("lr_img" in note for note in derived.notes)
    assert any("lr_img 0.25 (paper 0.005)" in note for note in other.notes)


def test_tables_of_different_sizes_have_different_titles() -> None:
    rows = rows_of("kmeans", "none", (0.5,)) + rows_of("kmeans", "none", (0.4,), n_outer=20)

    small, large = sheets_of(rows)

    assert "n_outer 20" in small.title
    assert "n_outer 1,000" in large.title
    assert small.name != large.name
    assert re.fullmatch(r"paper1-cifar10-ipc10-features-[0-9a-f]{6}", small.name)


def test_one_protocol_only_shows_no_columns_of_the_other() -> None:
    (published,) = sheets_of(rows_of("kmeans", "none", (0.5, 0.6), protocol="published"))

    assert not any("sound" in heading for heading in headings(published))
    assert not any("difference" in note for note in published.notes)
    assert column(published, "reproduced")[1].startswith("58.00 ± ")


def test_no_gpu_no_gpu_seconds() -> None:
    rows = rows_of("kmeans", "none", (0.5,))
    rows[0] |= {"total_seconds": 7.25, "gpu_share": 0.0}

    (printed,) = sheets_of(rows)

    assert column(printed, "seconds")[1] == "7.2"
    assert "GPU-seconds" not in headings(printed)


def test_too_few_seeds_for_a_test_are_not_a_test() -> None:
    rows = rows_of("kmeans", "none", (0.5,)) + rows_of("kmeans", "size", (0.5,))

    (printed,) = sheets_of(rows)

    assert column(printed, "difference")[:2] == ("0.00", "baseline")
    assert any("too few seeds for a test" in note for note in printed.notes)


def test_different_images_are_a_warning() -> None:
    rows = rows_of("kmeans", "none", (0.5, 0.6))
    rows[1]["fingerprint"] = "g"

    (printed,) = sheets_of(rows)

    assert "Careful: these trials ran on 2 different sets of images." in printed.notes


@pytest.mark.parametrize("width", [80, 100])
def test_the_terminal_is_wide_enough(width: int) -> None:
    text = printed_text(golden.rows(), width=width, plan=golden.plan(), failures=golden.failures())

    assert max(map(len, text.splitlines())) <= width
    for needed in (
        "62.00 ± 4.97 (3)",
        "66.50 ± 6.35 (2)",
        "−9.67 ± 2.47 *",
        "18.50",
        "GPU-seconds",
    ):
        assert needed in text
    assert "Nothing yet of CIFAR-10, 50 images a class" in text


def test_into_a_log_the_same_without_colours() -> None:
    output = io.StringIO()
    print_tables(frame_of(golden.rows()), Console(file=output, width=40))

    assert "\x1b" not in output.getvalue()
    assert output.getvalue() == printed_text(golden.rows(), width=80)


def test_notes_of_all_tables_are_printed_once() -> None:
    rows = [row_of(config_of("kmeans", ipc=ipc), 0.5) for ipc in (1, 10)]

    text = printed_text(rows)

    assert text.count("T: weighted by cluster size") == 1
    assert " ".join(text.split()).endswith("one seed has none, nor have equal scores.")


def test_names_from_data_are_not_markup() -> None:
    name = "folder:[red]x[bold] :smile:"

    assert "[red]x[bold] :smile:" in printed_text(rows_of("kmeans", "none", (0.5,), dataset=name))


def test_nothing_to_print_has_a_message() -> None:
    assert printed_text([]).strip() == "No trials to make a table of yet."
