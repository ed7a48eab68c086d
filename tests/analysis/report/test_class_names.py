"""Class names with markup, TeX, newlines and marks of direction, from images to the report."""

import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from analysis.__main__ import main as analyse
from distill.config.base import Config
from distill.config.distillation import DistillationConfig
from distill.config.selection import SelectionConfig
from distill.datasets import load_dataset
from distill.errors import printable
from distill.markdown import markdown_text
from distill.trials.image_sheet import sheet_png
from distill.trials.runner import run
from sweeps.console import main
from sweeps.store.store import Store

MARKUP, TEX = "<script>alert('x')</script>&amp;", "$\\frac{1}{0}$ & % _ # {\\input{x}}"
NAMES = (
    MARKUP,
    TEX,
    "new\nline\ttab",
    "x" * 300,
    "\u202eright\u200fto",
    "a/b",
    "../../up",
    "| *m* `c`",
)

pytestmark = pytest.mark.lengthy


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Images of classes with odd names, in a Parquet file of the Hub."""
    generator = np.random.default_rng(0)
    images, labels = [], []
    for label in range(len(NAMES)):
        for _ in range(14):
            pixels = generator.integers(0, 60, (8, 8, 3)) + 20 * label
            content = io.BytesIO()
            Image.fromarray(pixels.astype(np.uint8)).save(content, "PNG")
            images.append({"bytes": content.getvalue(), "path": None})
            labels.append(label)
    names = {"_type": "ClassLabel", "names": NAMES}
    features = {"image": {"_type": "Image"}, "label": names}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"image": images, "label": labels}).replace_schema_metadata(metadata)
    path = tmp_path_factory.mktemp("data") / "odd.parquet"
    pq.write_table(table, path)
    return f"parquet:{path}"


def configs_of(dataset: str) -> Iterator[Config]:
    for classes in ((), (MARKUP, TEX)):
        yield SelectionConfig(
            dataset=dataset, selector="cluster_grid", fraction=0.3, epochs=1, classes=classes
        )
        for clusterer in ("kmeans", "gmm"):
            yield DistillationConfig(
                dataset=dataset,
                clusterer=clusterer,
                classes=classes,
                width=8,
                depth=2,
                n_representatives=4,
                n_outer=1,
                n_inner=1,
                n_net_batches=1,
                net_batch_size=16,
                eval_epochs=1,
                eval_every=0,
                n_eval=1,
            )


@pytest.fixture(scope="module")
def output(dataset: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an analysis of trials on these classes."""
    folder = tmp_path_factory.mktemp("odd")
    store = Store(folder / "results")
    store.create()
    for config in configs_of(dataset):
        result = run(config)
        assert result.row["status"] == "ok"
        store.put_result(result.row | {"phase": "grid"}, result.curve, result.artifacts)
    assert analyse([store.uri, "--out", str(folder / "out")]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["out", "results"]
    return folder / "out"


def texts_of(output: Path, ending: str) -> dict[str, str]:
    texts = {path.name: path.read_text() for path in output.rglob(f"*.{ending}")}
    assert texts
    return texts


class Tags(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attributes))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_shows_names_as_they_are_and_runs_none(output: Path) -> None:
    page = texts_of(output, "html")["report.html"]
    tags = Tags()
    tags.feed(page)
    scripts = [dict(attributes) for tag, attributes in tags.tags if tag == "script"]
    assert {script.get("type") for script in scripts} == {None, "application/json"}
    assert sum("type" not in script for script in scripts) == 1, "the page's own"
    assert len(re.findall("</script>", page, re.IGNORECASE)) == len(scripts)
    assert MARKUP in tags.text
    assert TEX in tags.text
    assert "\\u202eright\\u200fto" in tags.text
    assert "\u202e" not in page


def test_pictures_are_xml_without_directions(output: Path) -> None:
    for name, text in texts_of(output, "svg").items():
        assert ET.fromstring(text).tag.endswith("svg"), name  # noqa: S314 - our own file
        assert "<script" not in text
        assert "\u202e" not in text


def test_markdown_and_latex_escape_names(output: Path) -> None:
    for name, text in texts_of(output, "md").items():
        plain = re.sub(r"\\.", "", text)
        assert "<script" not in plain, name
        assert "$" not in plain, name
        assert "\u202e" not in text
    escaped = r"\$\textbackslash{}frac\{1\}\{0\}\$ \& \% \_ \# \{\textbackslash{}input\{x\}\}"
    titles = [text for text in texts_of(output, "tex").values() if "script" in text]
    assert titles
    assert all(escaped in text for text in titles)
    assert markdown_text("a_b <i> $x$ &amp; c & d") == r"a\_b \<i\> \$x\$ &amp;amp; c & d"


def test_files_are_named_without_the_names(output: Path) -> None:
    for path in output.rglob("*"):
        assert re.fullmatch(r"[a-z0-9.-]+", path.name), path.name


def test_a_sheet_with_lines_in_a_name_has_a_row_each(dataset: str) -> None:
    data = load_dataset(dataset)
    rows = [data.train_labels.tolist().index(label) for label in range(len(NAMES))]
    pixels = data.train_images[rows]
    labels = data.train_labels[rows]
    odd = Image.open(io.BytesIO(sheet_png(pixels, labels, NAMES, scale=2)))
    plain = sheet_png(pixels, labels, tuple(map(printable, NAMES)), scale=2)
    assert odd.tobytes() == Image.open(io.BytesIO(plain)).tobytes()


def test_a_terminal_gets_no_control_characters(
    dataset: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = ["distill", "--dataset", dataset, "--ipc", "50", "--out", str(tmp_path / "run")]
    assert main([*command, "--n-outer", "1", "--n-inner", "1", "--classes", "a,b"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err[:-1].isprintable()
    assert not (tmp_path / "run").exists()
