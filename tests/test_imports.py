"""Dependencies point inwards: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

FLOW = (
    "errors execution config selection_config atomic memory clock datasets pooling instance_norm "
    "norm_relu_pool_kernels norm_relu_pool convolution networks precision photo_cnn augment "
    "photo_transforms embeddings clustering selection subsets multiformation matching "
    "image_optimizer graphs training evaluate scoring classifier classifier_evaluation choice "
    "checkpoint distilled dream provenance running trial subset_trial display options command "
    "__main__"
).split()
"""The modules of `distill` in the order of the flow: each imports only from what stands before."""

HEAVY = {"torch", "torchvision", "ray", "optuna"}
"""What the analysis does without."""

ALLOWED = {
    *("distill.config.distillation", "distill.errors", "distill.config.selection"),
    *("sweeps.store.store", "sweeps.store.schema", "sweeps.cost.distillation"),
}
"""What it imports of the other packages."""


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
def test_analysis_imports_only_what_is_free_of_torch_and_ray(file: Path) -> None:
    names = imported_modules(file)

    assert not {name.split(".")[0] for name in names} & HEAVY
    inner = {name for name in names if name.split(".")[0] in {"distill", "sweeps"}}
    assert inner <= {
        *("distill.config.distillation", "distill.config.selection", "distill.errors"),
        *("sweeps.store.store", "sweeps.store.schema", "sweeps.cost.distillation"),
    }


def test_the_analysis_loads_neither_torch_nor_ray() -> None:
    """Not even through the modules of the other packages that it may import."""
    modules = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in files_of("analysis")
        if file.stem != "__main__"
    ]
    code = "import importlib, sys\n"
    code += f"for name in {modules!r}: importlib.import_module(name)\n"
    code += f"print(sorted({HEAVY!r} & sys.modules.keys()))"

    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("file", files_of("sweeps"), ids=str)
def test_only_the_entry_scripts_of_sweeps_import_the_analysis(file: Path) -> None:
    imports_it = any(name.split(".")[0] == "analysis" for name in imported_modules(file))

    assert not imports_it or file.name in {"full_grid.py", "search.py", "cats_vs_dogs.py"}
