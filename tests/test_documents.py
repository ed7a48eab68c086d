"""Documents: commands and code run as written; tables and the tree name what exists."""

import csv
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

import distill
from analysis.__main__ import PARTS, analysis_parser
from distill.__main__ import trial_parser
from distill.cli.options import given_values
from distill.clustering.registry import CLUSTERERS, EMBEDDINGS
from distill.datasets.load import DATASET_NAMES
from distill.kinds import KINDS
from distill.networks.registry import NETWORKS
from distill.selection.registry import DIFFICULTIES, PICKS, QUOTAS, SELECTORS
from sweeps import cats_vs_dogs, evaluate_sets, full_grid, load_results
from sweeps.completion import completion_parser
from sweeps.monitor.export_command import export_parser
from sweeps.monitor.logs_command import logs_parser
from sweeps.monitor.status_command import status_parser
from sweeps.optuna_search.options import search_parser
from sweeps.optuna_search.spaces import SPACES
from sweeps.store.schema import trial_schema
from sweeps.store.store import Store
from tests.analysis import golden
from tests.analysis.results import selection_rows_of
from tests.paths import ROOT

pytestmark = pytest.mark.lengthy

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PATHS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS = {str(path.relative_to(ROOT)): path.read_text() for path in PATHS}
README = DOCUMENTS["README.md"]
REFERENCE = DOCUMENTS["docs/reference.md"]
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))

VERBS = {
    "sweeps/full_grid.py": "grid",
    "sweeps/cats_vs_dogs.py": "photos",
    "sweeps/evaluate_sets.py": "evaluate",
    "sweeps/search.py": "search",
}
"""Script → verb of `dream-sweep` that does the same."""

TOOLS = {
    "python3 -m pip install uv",
    "uv sync",
    "uv lock --upgrade",
    "uv run ruff check --fix .",
    "uv run ruff format .",
    "uv run mypy",
    "uv run mkdocs build --strict",
    "uv run mkdocs serve",
    "uv run optuna-dashboard results/studies/dbscan.journal",
}
"""Commands of other projects, without the options of `uv run`."""


class Command(NamedTuple):
    """A command of the documents that runs a program of this project."""

    verb: str
    arguments: list[str]


def blocks(text: str, language: str) -> list[str]:
    """Returns the fenced blocks of a language: `bash`, `python` are run, `console` is checked."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def commands(text: str, language: str) -> list[str]:
    return [line for block in blocks(text, language) for line in block.splitlines() if line]


def without_environment(words: list[str]) -> list[str]:
    """Returns the words of a `uv run` command without the options that choose its environment.

    Raises:
        AssertionError: an extra or group does not exist.
    """
    if words[:2] != ["uv", "run"]:
        return words
    rest = words[2:]
    while rest[0].startswith("--"):
        option, *rest = rest
        if option in ("--extra", "--group"):
            name, *rest = rest
            extras = PROJECT["project"]["optional-dependencies"]
            assert name in (extras if option == "--extra" else PROJECT["dependency-groups"])
        else:
            assert option in ("--isolated", "--no-default-groups")
    return ["uv", "run", *rest]


def parsed(command: str) -> Command | None:
    """Returns the program of this project that a command runs, on this machine or as a Ray job."""
    words = without_environment(shlex.split(command))
    if words[:3] == ["ray", "job", "submit"]:
        words = ["uv", "run", *words[words.index("--") + 1 :]]
    if words[:2] != ["uv", "run"]:
        return None
    program, *arguments = words[3:] if words[2] == "python" else words[2:]
    if program in VERBS:
        return Command(VERBS[program], arguments)
    if program == "dream-sweep" and not arguments[0].startswith("-"):
        return Command(arguments[0], arguments[1:])
    if program == "-m" and arguments[0] in ("distill", "analysis"):
        return Command({"analysis": "analyse"}.get(arguments[0], arguments[0]), arguments[1:])
    return None


def check_trial(arguments: list[str]) -> None:
    name = arguments[arguments.index("--kind") + 1] if "--kind" in arguments else "distillation"
    kind = KINDS[name]
    given = given_values(trial_parser(kind).parse_args(arguments), kind.config)
    config = kind.config.from_dict(given)
    if getattr(config, "start_set", None) is None:  # whose file the document does not bring
        config.resolve()


def check_search(arguments: list[str]) -> None:
    options = search_parser("sweeps/search.py").parse_args(arguments)
    assert options.space in SPACES or options.space.endswith(".py")


def check_analysis(arguments: list[str]) -> None:
    assert set(analysis_parser().parse_intermixed_args(arguments).names) <= set(PARTS)


CHECKS: dict[str, Callable[[list[str]], object]] = {
    "distill": check_trial,
    "grid": full_grid.COMMAND.plan,
    "photos": cats_vs_dogs.COMMAND.plan,
    "evaluate": evaluate_sets.COMMAND.parser().parse_args,
    "search": check_search,
    "status": status_parser().parse_args,
    "logs": logs_parser().parse_args,
    "export": export_parser().parse_args,
    "analyse": check_analysis,
    "completion": completion_parser().parse_args,
}
"""Verb of `dream-sweep` → what raises where its arguments are wrong."""


def run(command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Runs a command of the documents with this interpreter, in place of one made by `uv run`."""
    words = shlex.split(command.removeprefix("uv run ").removeprefix("python "))
    if words[0] == "dream-sweep":
        module, _, function = PROJECT["project"]["scripts"]["dream-sweep"].partition(":")
        code = f"import sys; from {module} import {function}; sys.exit({function}())"
        program = ["-c", code]
    else:
        program = [str(ROOT / words[0])] if words[0].endswith(".py") else [words[0]]
    return subprocess.run(
        [sys.executable, *program, *words[1:]],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_readme_begins_with_the_job_and_the_tests() -> None:
    job, tests = commands(README, "bash")[:2]

    assert job == "uv run sweeps/full_grid.py"
    assert tests.startswith("uv run pytest")
    assert tests in (ROOT / ".ci" / "run").read_text().splitlines()
    assert tests in commands(DOCUMENTS["CONTRIBUTING.md"], "console")
    assert f"{len(full_grid.COMMAND.plan([]))} small trials" in README


def test_readme_is_short_enough_to_read() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.slow
def test_first_command_runs_as_a_newcomer_would(tmp_path: Path) -> None:
    result = run("uv run sweeps/full_grid.py", tmp_path)

    assert result.returncode == 0, result.stderr
    assert "140 of 140 trials finished: 140 ok" in result.stdout
    answer = result.stdout.index("K-Means F (")
    assert answer < result.stdout.index("Paper 1: MNIST, 5,000 images, 1 image a class")
    assert "Paper 1: MNIST, 5,000 images, 10 images a class" in result.stdout
    assert "Random real images F" in result.stdout[: result.stdout.index("Paper 1")]
    assert max(map(len, result.stdout.splitlines())) <= 80 + len(str(tmp_path))
    results = load_results(tmp_path / "results")
    accuracy = results.groupby("ipc")["test_accuracy_mean"].mean()
    assert accuracy[1] > 0.5, "far above chance, which is 0.1"
    assert accuracy[10] > 0.8


def test_commands_for_single_trials_run_in_order(tmp_path: Path) -> None:
    """Starts in an empty folder."""
    for command in commands(DOCUMENTS["docs/library.md"], "bash"):
        result = run(command, tmp_path)

        assert result.returncode == 0, (command, result.stderr)
        if command == "uv run dream-sweep distill":
            accuracy, baseline = (
                float(re.search(rf"{name} +([0-9.]+) ±", result.stdout)[1])  # type: ignore[index]
                for name in ("test accuracy", "random real images")
            )
            assert accuracy > baseline + 3, "above random images"
            assert accuracy > 60, "far above chance, which is 10"
    (default,) = (tmp_path / "distilled").glob("digits-kmeans-ipc1-*")
    assert (default / "distilled.png").exists()


def test_bash_blocks_are_only_where_they_are_run() -> None:
    with_bash = [name for name, text in DOCUMENTS.items() if blocks(text, "bash")]

    assert with_bash == ["README.md", "docs/library.md"]
    assert len(commands(README, "bash")) == 2


def test_dream_sweep_lists_the_commands_of_the_readme(tmp_path: Path) -> None:
    verbs = re.findall(r"^\| `uv run dream-sweep (\w+)", README, flags=re.MULTILINE)
    assert verbs == list(CHECKS)

    result = run("uv run dream-sweep --help", tmp_path)

    assert result.returncode == 0, result.stderr
    for verb in verbs:
        assert re.search(rf"\b{verb}\b", result.stdout), verb


CONSOLE = [(name, line) for name, text in DOCUMENTS.items() for line in commands(text, "console")]


@pytest.mark.parametrize(("document", "command"), CONSOLE)
def test_console_commands_are_spelt_right(
    document: str, command: str, pytestconfig: pytest.Config
) -> None:
    found = parsed(command)
    if found is not None:
        CHECKS[found.verb](found.arguments)
        return
    words = without_environment(shlex.split(command))
    if words[:3] == ["uv", "run", "pytest"]:
        check_pytest(words[3:], pytestconfig)
    elif words[:2] == ["uv", "export"]:
        assert words[-1] == "cluster_configs/requirements.txt"
        assert (ROOT / words[-1]).is_file()
    elif any("tests/benchmarks/" in word for word in words):
        result = subprocess.run(
            [sys.executable, words[3], "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert all(word in result.stdout for word in words[4:] if word.startswith("--"))
    else:
        assert shlex.join(words) in TOOLS


def check_pytest(arguments: list[str], pytestconfig: pytest.Config) -> None:
    """Raises where a marker is unknown or no test has it, or where an option is not the suite's."""
    if "-m" in arguments:
        marker = arguments.pop(arguments.index("-m") + 1)
        arguments.remove("-m")
        assert marker in {line.split(":")[0] for line in pytestconfig.getini("markers")}
        used = [*TESTS, *(ROOT / "tests").rglob("conftest.py")]
        assert any(f"pytest.mark.{marker}" in path.read_text() for path in used)
    assert arguments in ([], ["-n", "2", "--dist", "loadfile"])


CODE = [(name, block) for name, text in DOCUMENTS.items() for block in blocks(text, "python")]


@pytest.mark.parametrize(("document", "code"), CODE)
def test_python_blocks_run(document: str, code: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.create()
    for row in (*golden.rows(), *selection_rows_of("random", (0.5, 0.6), fraction=0.1)):
        store.put_result(row, [])
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def table_names(heading: str) -> set[str]:
    """Returns the names in the first column of the table under a heading of the reference."""
    section = REFERENCE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", section, flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("Clusterers", set(CLUSTERERS)),
        (
            "Picks and quotas",
            {*PICKS, *QUOTAS, *DIFFICULTIES, "--pick", "--quota", "--difficulty"},
        ),
        ("Embeddings", set(EMBEDDINGS)),
        ("Selectors", set(SELECTORS)),
        ("Networks", set(NETWORKS)),
        ("Data sets", {name.partition(":")[0] for name in DATASET_NAMES}),
    ],
)
def test_reference_names_every_component_and_nothing_else(heading: str, names: set[str]) -> None:
    assert {name.partition(":")[0] for name in table_names(heading)} == names


def test_reference_names_every_preset() -> None:
    section = REFERENCE.partition("\n## Presets\n")[2].partition("\n## ")[0]
    for command in (full_grid.COMMAND, cats_vs_dogs.COMMAND):
        for name in command.presets:
            assert f"`{name}`" in section, name


def test_searches_names_every_space() -> None:
    text = DOCUMENTS["docs/searches.md"]
    for name in SPACES:
        assert f"`{name}`" in text, name


def test_reference_names_every_column_of_the_results() -> None:
    configured = {name for kind in KINDS.values() for name in kind.config_columns}
    columns = set(trial_schema().names) - configured
    named = table_names("Columns of a row")

    assert columns <= named, f"missing: {sorted(columns - named)}"
    assert named <= columns, f"no columns: {sorted(named - columns)}"


def entries_of_tree() -> set[str]:
    """Returns the paths in the tree of the architecture; folders end with a slash."""
    (tree,) = blocks(DOCUMENTS["docs/architecture.md"], "text")
    entries = set()
    folders: list[str] = []
    for line in tree.splitlines():
        name = line.split()[0]
        depth, remainder = divmod(len(line) - len(line.lstrip()), 4)
        assert remainder == 0, line
        assert len(line.split()) > 1, f"{name} has no annotation"
        folders = [*folders[:depth], name]
        path = "".join(folders)
        assert path not in entries, f"{path} is listed twice"
        entries.add(path)
    return entries


def entries_of_repository() -> set[str]:
    """Returns every folder, and every file directly in the repository or in its packages.

    Below `tests/` only the first folders: they mirror the packages.
    """
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    entries = set()
    for file in map(Path, listed.stdout.splitlines()):
        if not (ROOT / file).exists():
            continue
        if len(file.parts) <= 2 and file.parent.name != "images":
            entries.add(str(file))
        for folder in file.parents[:-1]:
            if file.parts[0] != "tests" or len(folder.parts) <= 2:
                entries.add(f"{folder}/")
    return entries


def test_tree_shows_every_folder_and_nothing_else() -> None:
    tree, repository = entries_of_tree(), entries_of_repository()

    assert not repository - tree, f"missing in the tree: {sorted(repository - tree)}"
    assert not tree - repository, f"in the tree only: {sorted(tree - repository)}"


def published(table: str, column: str = "accuracy") -> dict[str, str]:
    """Returns row → published number in percent."""
    with (ROOT / "analysis" / "data" / "published.csv").open() as file:
        return {
            row["row"]: f"{100 * float(row['value']):.2f}"
            for row in csv.DictReader(file)
            if row["table"] == table and row["column"] == column
        }


def rows_of_table(text: str, header: str) -> dict[str, list[str]]:
    """Returns first cell → other cells of the table whose header line begins with a text."""
    lines = text[text.index(header) :].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: others for first, *others in cells}


def test_published_numbers_of_paper1_are_the_papers() -> None:
    first, second = published("Table 1"), published("Table 2")
    readme = rows_of_table(README, "| clustering | ipc 1, published")
    protocols = rows_of_table(DOCUMENTS["docs/protocols.md"], "| clustering | ipc 1, T")
    assert len(readme) == len(protocols) == 5
    for name, cells in readme.items():
        clusterer = name.removesuffix(" (DREAM)")
        row = next(row for row in first if row.startswith(clusterer) and " F" in row)
        assert cells == [first[row], second[row]]
    for name, cells in protocols.items():
        for weights, cell, numbers in zip(
            "TFTF", cells, (first, first, second, second), strict=True
        ):
            rows = [row for row in numbers if row.startswith(f"{name} {weights}")]
            assert cell == (numbers[rows[0]] if rows else "")


def test_every_entry_of_the_lab_notes_begins_with_its_conclusion() -> None:
    entries = re.split(r"^## ", DOCUMENTS["docs/lab-notes.md"], flags=re.MULTILINE)[1:]
    dates = [entry[:10] for entry in entries]

    assert dates == sorted(dates, reverse=True), "newest first"
    for entry in entries:
        assert re.match(r"\d{4}-\d\d-\d\d .+\n\n\*\*Conclusion:\*\* .+\.\n\n", entry), entry[:80]


def test_pictures_are_small_and_shown_and_the_first_has_its_command_in_the_guide() -> None:
    (picture,) = re.findall(r'<img src="([^"]+)"', README)

    assert picture == "docs/images/distilled-digits.png"
    for file in (ROOT / "docs" / "images").iterdir():
        assert file.stat().st_size < 100_000
        assert any(f"images/{file.name}" in text for text in DOCUMENTS.values()), file
    assert "dream-sweep distill --ipc 10 --out" in DOCUMENTS["docs/library.md"]


def test_files_that_documents_name_exist() -> None:
    pattern = r"\b(?:tests|sweeps|distill|analysis|cluster_configs|docs)/[\w./]+\.\w+"
    for document, text in DOCUMENTS.items():
        for name in re.findall(pattern, text):
            if Path(name).stem != "NAME":
                assert (ROOT / name).exists(), f"{document} names {name}"


def test_documents_use_standard_terms() -> None:
    private = re.compile(r"\b(likewise|nobody|is told|in words)\b", re.IGNORECASE)
    for document, text in DOCUMENTS.items():
        assert not private.search(text), document


def test_versions_and_licence_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = PROJECT["project"]

    assert project["dynamic"] == ["version"], "it stands in distill/__init__.py"
    assert citation["version"] == distill.__version__
    assert project["license"] == citation["license"] == "MIT"
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert (ROOT / "LICENSE").read_text().startswith("MIT License\n")
    assert project["authors"][0]["name"] == citation["authors"][0]["name"]
    assert project["authors"][0]["name"] in (ROOT / "LICENSE").read_text()


def test_github_runs_what_ci_runs() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    (job,) = workflow["jobs"].values()

    assert "bash .ci/run" in [step.get("run") for step in job["steps"]]
    for python in job["strategy"]["matrix"]["python-version"]:
        classifier = f"Programming Language :: Python :: {python}"
        assert classifier in PROJECT["project"]["classifiers"]
