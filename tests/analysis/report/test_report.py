"""The report: one page that needs nothing else, in which no name from data becomes markup."""

import io
import json
import math
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from analysis.__main__ import main
from analysis.figures.style import new_figure
from analysis.report.drawings import hover_values
from analysis.report.markup import Markup, tag
from analysis.report.sections import json_block
from sweeps.store.store import Store
from tests.analysis import made_up
from tests.analysis.browser import CHROMIUM, DRIVER, MISSING, Browser
from tests.analysis.results import Row, failure_of, selection_config_of, selection_rows_of

pytestmark = pytest.mark.lengthy

LEFT, ENTER = "\ue012", "\ue007"

needs_browser = pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason=MISSING)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = Store(tmp_path_factory.mktemp("made-up") / "results")
    store.create()
    made_up.fill(store, ipcs=(1,), seeds=2, n_outer=6, every=3)
    return Path(store.uri)


@pytest.fixture(scope="module")
def report(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    assert main([str(results), "report", "--out", str(out)]) == 0
    return out / "report.html"


class Elements(HTMLParser):
    """All elements of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_markup_escapes_everything_that_is_not_markup() -> None:
    made = tag("p", "<b>", Markup("<i>"), ["&", Markup("</i>")], title='"<', hidden=True, id=None)

    assert made == '<p title="&quot;&lt;" hidden>&lt;b&gt;<i>&amp;</i></p>'
    assert tag("img", src="x") == '<img src="x">'


def test_values_for_the_script_cannot_end_their_element() -> None:
    made = json_block("values", ["</script><script>alert(1)</script>"])

    assert made.count("</script>") == 1
    content = re.sub(r"<.*?>", "", made, count=1).removesuffix("</script>")
    assert json.loads(content) == ["</script><script>alert(1)</script>"]


def test_the_page_names_nothing_outside_itself(report: Path) -> None:
    elements = Elements(report.read_text()).found

    for name, attributes in elements:
        assert name not in {"iframe", "object", "embed", "base"}
        for key in ("src", "href", "xlink:href", "action", "srcset", "data"):
            value = attributes.get(key)
            assert value is None or value.startswith(("#", "data:")), (name, key, value)
    assert "url(http" not in report.read_text()
    assert "@import" not in report.read_text()


def test_names_from_data_are_text(report: Path) -> None:
    text = report.read_text()
    elements = Elements(text).found

    assert made_up.HOSTILE not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert not any(key.startswith("on") for _, attributes in elements for key in attributes)
    assert sum(name == "script" for name, _ in elements) == 1 + text.count("application/json")


def test_ids_are_unique_and_links_lead_somewhere(report: Path) -> None:
    elements = Elements(report.read_text()).found
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]

    assert len(set(ids)) == len(ids)
    links = {a.get("href") or a.get("xlink:href") for _, a in elements}
    assert {link[1:] for link in links if link and link.startswith("#")} <= set(ids)


def test_the_page_holds_what_it_should(report: Path) -> None:
    text = report.read_text()

    for part in (
        "Table 1: CIFAR-10, 1 image a class",
        "undecided",
        "needs about ",
        "planned, not run yet",
        "ValueError: ",
        "NVIDIA H200",
        "0123456789abcdef",
        "uv run sweeps/full_grid.py --preset paper --protocol both",
        "uv run sweeps/search.py dbscan_eps",
        "Distilled images of K-Means T, seed 0",
        "Search dbscan_eps",
    ):
        assert part in text, part


def test_the_same_results_give_the_same_page(results: Path, report: Path, tmp_path: Path) -> None:
    assert main([str(results), "report", "--out", str(tmp_path)]) == 0

    assert (tmp_path / "report.html").read_bytes() == report.read_bytes()


def test_passwords_in_commands_are_left_out(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.create()
    uri = "s3://key:secret@bucket/path?secret_key=hidden"
    store.put_submission({"name": "a", "command": ["--results", uri, f"--data={uri}"]})

    assert main([str(tmp_path / "results"), "report", "--out", str(tmp_path)]) == 0

    text = (tmp_path / "report.html").read_text()
    assert "--results s3://bucket/path --data=s3://bucket/path" in text
    assert "secret" not in text
    assert "hidden" not in re.sub(
        r"<(style|script).*?</\1>|\bhidden\b(?=[ >])", "", text, flags=re.S
    )


def test_commands_name_their_script(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.create()
    for script in ("sweeps/cats_vs_dogs.py", "my own.py"):
        store.put_submission({"name": "a", "command": ["--preset", "paper"], "script": script})

    assert main([str(tmp_path / "results"), "report", "--out", str(tmp_path)]) == 0

    text = (tmp_path / "report.html").read_text()
    for shown in ("sweeps/cats_vs_dogs.py", "&#x27;my own.py&#x27;"):
        assert f"uv run {shown} --preset paper\n" in text


CORESET: Row = {"dataset": "cifar10", "recipe": "distillation", "network": "convnet", "ipc": 10}

OTHERS = {
    "paper 2": [
        *selection_rows_of("random", (0.7, 0.72)),
        *selection_rows_of("base", (0.9, 0.91)),
        *selection_rows_of("cluster_grid", (0.89, 0.9), protocol="published"),
    ],
    "coresets": [
        *selection_rows_of("random", (0.3, 0.31), **CORESET),
        *selection_rows_of("herding", (0.3, 0.32), **CORESET),
    ],
}


@pytest.mark.parametrize("names", [("paper 2",), ("coresets",), ("paper 2", "coresets")])
def test_a_page_without_distillations(names: tuple[str, ...], tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.create()
    for name in names:
        for row in OTHERS[name]:
            store.put_result(row, [])
    crashed = selection_config_of("k_center", **(CORESET if names == ("coresets",) else {}))
    store.put_failure(crashed.trial_id, failure_of(crashed, message="ValueError: no images"))

    assert main([store.uri, "report", "--out", str(tmp_path)]) == 0

    text = (tmp_path / "report.html").read_text()
    assert ("Paper 2: folder photos. Test accuracy in %" in text) == ("paper 2" in names)
    assert ("Real images in place of distilled ones: CIFAR-10" in text) == ("coresets" in names)
    assert ("against random 10 % (paired by seed)" in text) == ("paper 2" in names)
    assert ("against random ones (paired by seed)" in text) == ("coresets" in names)
    assert "ValueError: no images" in text
    assert "to make a table of yet" not in text
    assert "In print, rows with and without weights" not in text


def test_an_empty_store_has_a_report(tmp_path: Path) -> None:
    Store(tmp_path / "results").create()

    assert main([str(tmp_path / "results"), "report", "--out", str(tmp_path)]) == 0

    assert "No trials to make a table of yet." in (tmp_path / "report.html").read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


COLUMN = """
const index = arguments[0];
return [...document.querySelector("table.sortable").tBodies[0].rows]
  .filter((row) => !row.hidden).map((row) => row.cells[index].textContent);
"""


@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, True), (1920, False)])
def test_no_errors_no_requests_no_sideways_scrolling(
    browser: Browser, report: Path, width: int, dark: bool
) -> None:
    browser.requests()
    browser.console()

    browser.open(report, width=width, dark=dark)

    assert browser.console() == []
    assert browser.requests() == [report.as_uri()]
    assert browser.run("return document.documentElement.scrollWidth") <= width
    picture = Image.open(io.BytesIO(browser.screenshot())).convert("L")
    assert (picture.tobytes()[-1] < 60) == dark  # the corner below


@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)])
def test_a_page_of_selections_and_coresets_is_valid(
    browser: Browser, width: int, dark: bool, tmp_path: Path
) -> None:
    store = Store(tmp_path / "results")
    store.create()
    for row in OTHERS["paper 2"] + OTHERS["coresets"]:
        store.put_result(row, [])
    assert main([store.uri, "report", "--out", str(tmp_path)]) == 0
    browser.console()

    browser.open(tmp_path / "report.html", width=width, dark=dark)

    assert browser.console() == []
    assert browser.run("return document.documentElement.scrollWidth") <= width
    one_line = "return [...document.querySelectorAll('td:first-child')].map((c) => c.offsetHeight)"
    assert max(browser.run(one_line)) < 60  # names of rows in two lines at most


@needs_browser
def test_columns_sort_up_down_and_back(browser: Browser, report: Path) -> None:
    browser.open(report)
    first = browser.run(COLUMN, 2)
    button = "table.sortable th:nth-child(3) button"

    browser.click(button)
    up = browser.run(COLUMN, 2)
    browser.click(button)
    down = browser.run(COLUMN, 2)
    sorted_by = browser.run("return document.querySelector('th[aria-sort=descending]').innerText")
    browser.click(button)

    numbers = [float(cell.split()[0]) for cell in up if cell]
    assert numbers == sorted(numbers)
    assert up[-1] == down[-1] == ""  # what is missing comes last
    assert [float(cell.split()[0]) for cell in down if cell] == sorted(numbers, reverse=True)
    assert "published" in sorted_by
    assert browser.run(COLUMN, 2) == first


@needs_browser
def test_tables_sort_and_filter_by_the_keyboard(browser: Browser, report: Path) -> None:
    browser.open(report)
    focus = "document.querySelector('table.sortable th:nth-child(1) button').focus()"
    browser.run(focus)

    browser.type("table.sortable th:nth-child(1) button", ENTER)
    names = browser.run(COLUMN, 0)
    browser.type("input[type=search]", "k-means t")

    assert names == sorted(names, key=str.lower)
    assert set(browser.run(COLUMN, 0)) == {"K-Means", "K-Means++"}
    counted = browser.run("return document.querySelector('#tables [role=status]').textContent")
    assert re.fullmatch(r"\d+ of \d+ rows", counted)


@needs_browser
def test_figures_show_their_values_to_pointer_and_keys(browser: Browser, report: Path) -> None:
    browser.open(report)
    find = "const tip = document.querySelector('#figures .tip')"
    tip = f"{find}; return tip.hidden ? null : tip.innerText"
    assert browser.run(tip) is None

    browser.move_to("#figures .drawing", 40, -40)
    under_pointer = browser.run(tip)
    browser.type("#figures .drawing", LEFT)
    earlier = browser.run(tip)

    assert "outer iteration: " in under_pointer
    assert re.search(r"K-Means: \d\d\.\d", under_pointer)
    assert "outer iteration: 0" in earlier


@needs_browser
def test_the_colours_can_be_changed(browser: Browser, report: Path) -> None:
    browser.open(report)
    paper = "return getComputedStyle(document.body).backgroundColor"
    before = browser.run(paper)

    browser.click("#theme")

    assert browser.run(paper) != before
    assert browser.console() == []


@needs_browser
def test_nothing_from_data_runs_even_if_it_became_markup(
    browser: Browser, report: Path, tmp_path: Path
) -> None:
    """The policy of the page is a second wall."""
    breached = tmp_path / "breached.html"
    text = report.read_text()
    hostile = "<script>window.breached = 1</script><img src=x onerror='window.breached = 1'>"
    breached.write_text(text.replace("</main>", f"{hostile}</main>"))

    browser.open(breached)

    assert browser.run("return window.breached === undefined")
    browser.console()


def test_values_of_a_figure_are_finite() -> None:
    """The largest number has no short form; a point at infinity is not drawn."""
    figure = new_figure(3, 2)
    axes = figure.subplots()
    largest = sys.float_info.max
    axes.set(xlim=(0, 3), ylim=(0, 2), autoscale_on=False)
    axes.plot([0, 1, 2, 3], [1.23456789, math.inf, math.nan, largest], label="a")
    (values,) = hover_values(figure)
    (series,) = values["series"]
    assert series["x"] == [0, 3]
    assert series["y"] == [1.2346, largest]
    json_block("values", values)
