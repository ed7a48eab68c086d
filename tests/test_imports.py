"""Dependencies point one way: the order of the rooms, and no circle inside a room."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.paths import ROOT

ROOMS = {
    "distill": "errors markdown lazy parsing value_range components runtime datasets sets networks "
    "augment clustering selection config kinds evaluation dream trials cli __main__ __init__",
    "sweeps": "store cost cli monitor cluster optuna_search grid full_grid cats_vs_dogs "
    "evaluate_sets search completion console __init__",
    "analysis": "statistics data tables findings figures report __main__ __init__",
}
"""The folders and top-level files of every package: each imports only from itself and from what
stands before it."""

LAYERS = ("distill", "sweeps", "analysis")
"""The packages in the order of their imports; the entry points of `sweeps` print tables."""

ENTRY_POINTS = {"full_grid", "cats_vs_dogs", "evaluate_sets", "search", "completion", "console"}

FORBIDDEN = {
    "distill": {"sweeps", "analysis", "ray", "optuna", "pandas", "matplotlib"},
    "sweeps": {"matplotlib"},
    "analysis": {"torch", "torchvision", "ray"},
}


def modules_of(package: str) -> dict[str, Path]:
    """Every module of a package by its dotted name."""
    modules = {}
    for file in sorted((ROOT / package).rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        modules[
            ".".join(parts).removesuffix(".__init__") if len(parts) > 2 else ".".join(parts)
        ] = file
    return modules


MODULES = {package: modules_of(package) for package in LAYERS}


def imported_modules(file: Path, *, at_import: bool = False) -> set[str]:
    """The modules that a file imports, `from package import module` included.

    Args:
        file: Python source.
        at_import: only what is imported when the module is, not in functions or for type checks.
    """
    tree = ast.parse(file.read_text())
    nodes = list(tree.body) if at_import else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(module: str) -> tuple[str, int]:
    """The package of a module and the place of its room; an error for one in no room."""
    package, _, rest = module.partition(".")
    rooms = ROOMS[package].split()
    room = (rest or "__init__").split(".")[0]
    assert room in rooms, f"{module} is in no room of tests/test_imports.py"
    return package, rooms.index(room)


CASES = [(name, file) for modules in MODULES.values() for name, file in modules.items()]


@pytest.mark.parametrize(("module", "file"), CASES, ids=[name for name, _ in CASES])
def test_imports_point_one_way(module: str, file: Path) -> None:
    package, place = room_of(module)
    for name in imported_modules(file):
        root = name.split(".")[0]
        assert root not in FORBIDDEN[package], f"{module} imports {name}"
        if root == package and name in MODULES[package]:
            assert room_of(name)[1] <= place, f"{module} imports {name}, which stands behind it"
        elif root in LAYERS and module.split(".")[1] not in ENTRY_POINTS:
            assert LAYERS.index(root) <= LAYERS.index(package), f"{module} imports {name}"


def test_every_room_has_a_module() -> None:
    for package, rooms in ROOMS.items():
        found = {name.split(".")[1] for name in MODULES[package]}
        assert found == set(rooms.split())


@pytest.mark.parametrize("package", LAYERS)
def test_no_circle_among_modules(package: str) -> None:
    graph = {
        module: {name for name in imported_modules(file) if name in MODULES[package]} - {module}
        for module, file in MODULES[package].items()
        if not file.name.startswith("__init__")
    }
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"circle of imports: {error.args[1]}")
    assert set(order) >= set(graph)


def test_a_circle_is_found() -> None:
    with pytest.raises(CycleError):
        list(TopologicalSorter({"a": {"b"}, "b": {"a"}}).static_order())


def loaded_by(code: str) -> set[str]:
    """The top-level modules that are loaded once a fresh interpreter has run some code."""
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in ran.stdout.split()}


def test_analysis_loads_neither_torch_nor_ray() -> None:
    """Not even through the modules of the other packages that it imports."""
    modules = [name for name in MODULES["analysis"] if not name.endswith("__main__")]
    modules = [name.removesuffix(".__init__") for name in modules]
    code = "import importlib\n"
    code += f"for name in {modules!r}: importlib.import_module(name)"

    assert not {"torch", "torchvision", "ray"} & loaded_by(code)


@pytest.mark.parametrize(
    "code",
    [
        "import distill, sweeps, analysis",
        "from distill import DistillationConfig, KINDS; DistillationConfig(ipc=2).trial_id",
        "from sweeps import load_results",
    ],
)
def test_notebook_imports_load_neither_torch_nor_ray(code: str) -> None:
    assert not {"torch", "ray"} & loaded_by(code)


@pytest.mark.parametrize("package", LAYERS)
def test_all_exports_exist(package: str) -> None:
    code = f"import {package}\nfor name in {package}.__all__: getattr({package}, name)"
    code += f"\nassert set({package}.__all__) <= set(dir({package}))"

    loaded_by(code)


def test_importing_sets_no_environment_variables() -> None:
    code = (
        "import os; before = dict(os.environ); import distill, sweeps, analysis; "
        "from sweeps import load_results; from analysis import load; "
        "assert dict(os.environ) == before"
    )

    loaded_by(code)


def test_folders_of_tests_mirror_those_of_the_packages() -> None:
    folders = {
        path.parent.relative_to(ROOT / "tests")
        for package in LAYERS
        for path in (ROOT / "tests" / package).rglob("test_*.py")
    }

    assert folders
    for folder in folders:
        assert (ROOT / folder).is_dir(), f"tests/{folder} tests no folder of the packages"
