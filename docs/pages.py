"""Hooks of the documentation site: pages from files outside `docs/`, and the API reference."""

import os
import posixpath
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent

PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "cluster_configs/README.md": "cluster_configs.md",
}
"""Documents outside `docs/` → their pages."""

COMMANDS = {
    "distill": ("-m", "distill"),
    "distill --kind selection": ("-m", "distill", "--kind", "selection"),
    "grid": ("sweeps/full_grid.py",),
    "photos": ("sweeps/cats_vs_dogs.py",),
    "search": ("sweeps/search.py",),
    "status": ("-m", "sweeps.monitor.status_command"),
    "logs": ("-m", "sweeps.monitor.logs_command"),
    "export": ("-m", "sweeps.monitor.export_command"),
    "analyse": ("-m", "analysis"),
    "completion": ("-m", "sweeps.completion"),
}
"""Verbs of `dream-sweep`, with what their help depends on → the same command for Python."""

PACKAGES = ("distill", "sweeps", "analysis")

LINK = re.compile(r"(?<=\]\()(?P<markdown>[^)#\s]+)(?=[)#])|(?<=src=\")(?P<html>[^\"]+)(?=\")")
"""Target of a Markdown link or of an image in HTML, without its anchor."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "options.md", content=options_page()))
    folders = list(package_folders())
    files.append(File.generated(config, "api/index.md", content=api_index(folders)))
    for folder in folders:
        file = File.generated(config, f"api/{'.'.join(folder.parts)}.md", content=api_page(folder))
        file.inclusion = InclusionLevel.NOT_IN_NAV  # the index links to it
        files.append(file)
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Points links between documents of the repository to the pages of the site."""
    uri = page.file.src_uri
    source = {target: name for name, target in PAGES.items()}.get(uri, f"docs/{uri}")

    def replaced(match: re.Match[str]) -> str:
        target = match.group()
        if "://" in target:
            return target
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        location = PAGES.get(path, path.removeprefix("docs/"))
        return posixpath.relpath(location, posixpath.dirname(uri) or ".")

    return LINK.sub(replaced, without_links_to_code(markdown, source))


def without_links_to_code(markdown: str, source: str) -> str:
    """Turns links to files that are no pages, such as the licence, into their plain text."""

    def replaced(match: re.Match[str]) -> str:
        text, target = match.groups()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        is_page = path in PAGES or path.startswith("docs/")
        return text if (ROOT / path).is_file() and not is_page else match.group()

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)#:\s]+)\)", replaced, markdown)


def options_page() -> str:
    """Returns the page with the help of every command."""
    parts = ["# Command-line options", "The output of `--help` of every command."]
    for verb, arguments in COMMANDS.items():
        result = subprocess.run(  # noqa: S603 - the project's commands
            [sys.executable, *arguments, "--help"],
            cwd=ROOT,
            env=os.environ | {"COLUMNS": "100", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise PluginError(f"dream-sweep {verb} --help failed:\n{result.stderr}")
        parts.append(f"## dream-sweep {verb}\n\n```text\n{result.stdout}```")
    return "\n\n".join(parts) + "\n"


def package_folders() -> Iterator[Path]:
    """Yields every folder of the packages that holds modules, relative to the repository."""
    for package in PACKAGES:
        for folder in [ROOT / package, *sorted((ROOT / package).rglob("*/"))]:
            if (folder / "__init__.py").exists():
                yield folder.relative_to(ROOT)


def modules_of(folder: Path) -> list[str]:
    """Returns the modules of a folder, itself first."""
    files = sorted((ROOT / folder).glob("*.py"))
    names = [file.stem for file in files if not file.stem.startswith("__")]
    return [".".join(folder.parts), *(".".join((*folder.parts, name)) for name in names)]


def api_index(folders: list[Path]) -> str:
    """Returns the page that links to all pages of the API reference."""
    lines = [
        "# API reference",
        "",
        "Every public class and function, from the docstrings. One page per folder; the "
        "[architecture](../architecture.md) says what belongs where, and "
        "[the library guide](../library.md) where to begin.",
    ]
    for folder in folders:
        name = ".".join(folder.parts)
        if len(folder.parts) == 1:
            lines += ["", f"## {name}", ""]
        modules = ", ".join(f"`{module.rpartition('.')[2]}`" for module in modules_of(folder)[1:])
        lines.append(f"- [`{name}`]({name}.md)" + (f": {modules}" if modules else ""))
    return "\n".join(lines) + "\n"


def api_page(folder: Path) -> str:
    """Returns the page of a folder: the docstrings of its modules."""
    first, *others = modules_of(folder)
    blocks = [
        f"::: {first}\n    options:\n      heading_level: 1",
        *(f"::: {module}" for module in others),
    ]
    return "\n\n".join(blocks) + "\n"
