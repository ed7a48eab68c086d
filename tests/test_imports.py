"""Dependencies point inwards: who may import whom."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOW = (
    "errors config subset_config atomic datasets networks augment embeddings clustering selection multiformation "
    "matching evaluate scoring checkpoint distilled dream provenance trial display options command "
    "__main__"
).split()
"""The modules of `distill` in the order of the flow: each imports only from what stands before."""


def imported_modules(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names.add(node.module or "")
    return names


def files_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("file", files_of("distill"), ids=str)
def test_distill_is_free_of_the_outer_packages(file: Path) -> None:
    roots = {name.split(".")[0] for name in imported_modules(file)}

    assert not roots & {"sweeps", "analysis", "ray", "optuna", "pandas", "matplotlib"}


@pytest.mark.parametrize("file", files_of("distill"), ids=str)
def test_a_module_of_distill_imports_only_from_what_stands_before_it(file: Path) -> None:
    parts = file.relative_to(ROOT / "distill").with_suffix("").parts
    if parts == ("__init__",):
        return
    position = FLOW.index(parts[0])
    for name in imported_modules(file):
        if name.startswith("distill."):
            imported = name.split(".")[1]
            same_folder = len(parts) > 1 and imported == parts[0]
            assert same_folder or FLOW.index(imported) < position, f"{file} imports {name}"


@pytest.mark.parametrize("file", files_of("analysis"), ids=str)
def test_analysis_is_free_of_torch_and_ray(file: Path) -> None:
    names = imported_modules(file)

    assert not {name.split(".")[0] for name in names} & {"torch", "torchvision", "ray", "sweeps"}
    assert {n for n in names if n.startswith("distill")} <= {"distill.config", "distill.errors"}


@pytest.mark.parametrize("file", files_of("sweeps"), ids=str)
def test_sweeps_does_not_import_the_analysis(file: Path) -> None:
    assert not any(name.split(".")[0] == "analysis" for name in imported_modules(file))
