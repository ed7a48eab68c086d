"""The documentation site: it builds without a warning, and its pages load nothing."""

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.analysis.browser import CHROMIUM, DRIVER, MISSING, Browser
from tests.paths import ROOT

pytestmark = pytest.mark.lengthy

LOADING = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "img": ("src", "srcset"),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
}
"""Elements that load what their attributes name."""


class Loads(HTMLParser):
    """Collects what a page loads when it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.addresses += [
            value for name, value in attributes if value and name in LOADING.get(tag, ())
        ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as CONTRIBUTING.md says."""
    assert "mkdocs build --strict\n" in (ROOT / "CONTRIBUTING.md").read_text()
    folder = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return folder


def test_every_document_and_every_folder_has_a_page(site: Path) -> None:
    pages = {str(page.relative_to(site)) for page in site.rglob("*.html")}
    documents = {f"{path.stem}.html" for path in (ROOT / "docs").glob("*.md")}
    folders = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for package in ("distill", "sweeps", "analysis")
        for file in (ROOT / package).rglob("__init__.py")
    }

    assert documents <= pages
    assert {"index.html", "contributing.html", "changelog.html", "security.html"} <= pages
    assert {f"api/{name}.html" for name in folders} <= pages
    assert len(folders) > 20


def test_api_reference_shows_signatures_and_docstrings(site: Path) -> None:
    page = (site / "api" / "distill.clustering.html").read_text()

    assert 'id="distill.clustering.base.Clusterer.fit"' in page
    assert "The same generator state gives the same result" in page
    components = (site / "components.html").read_text()
    assert 'href="api/distill.clustering.html#distill.clustering.base.Clustering"' in components


def test_options_page_shows_the_help_of_every_command(site: Path) -> None:
    page = (site / "options.html").read_text()

    for option in ("--min-samples", "--selector", "--calibrate", "--objectives", "--also"):
        assert option in page, option


def test_home_page_shows_the_readme_with_its_picture(site: Path) -> None:
    page = (site / "index.html").read_text()

    assert 'src="images/distilled-digits.png"' in page
    assert (site / "images" / "distilled-digits.png").exists()
    assert 'href="protocols.html"' in page


def test_pages_load_nothing_from_the_network(site: Path) -> None:
    n_loads = 0
    for page in site.rglob("*.html"):
        loads = Loads()
        loads.feed(page.read_text())
        n_loads += len(loads.addresses)
        remote = [text for text in loads.addresses if re.match(r"\w+:(?!image/)|//", text)]
        assert not remote, f"{page} loads {remote}"
    for sheet in site.rglob("*.css"):
        text = sheet.read_text()
        assert not re.search(r"(@import|url\()\s*[\"']?\s*(https?:)?//", text), sheet
    assert n_loads > 100, "style sheets, scripts and pictures are found"


@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason=MISSING)
def test_browser_opens_pages_without_requests(site: Path) -> None:
    with Browser() as browser:
        for name in ("index.html", "protocols.html", "api/distill.clustering.html"):
            browser.open(site / name)
            assert "dream-sweep" in browser.run("return document.title")
            requests = browser.requests()
            assert any(url.endswith(".css") for url in requests)
            assert all(url.startswith(site.as_uri()) for url in requests), requests


def test_strict_build_fails_for_a_broken_link(tmp_path: Path) -> None:
    """A copy of the settings with one page, whose link leads nowhere."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text("# Home\n\nSee [another page](missing.md).\n")
    settings = (ROOT / "mkdocs.yml").read_text()
    validation = settings[settings.index("validation:") :]
    (tmp_path / "mkdocs.yml").write_text(f"site_name: test\n{validation}")

    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode != 0
    assert "missing.md" in result.stderr


def test_documentation_tools_are_in_the_development_environment() -> None:
    assert importlib.util.find_spec("mkdocs") is not None
    assert importlib.util.find_spec("mkdocstrings_handlers.python") is not None
