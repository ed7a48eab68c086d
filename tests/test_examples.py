"""Examples in docstrings: run in every module, present in every public class of the library."""

import doctest
import importlib.util
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

import analysis
import distill
import sweeps

PACKAGES = (distill, sweeps, analysis)
ENTRY_POINTS = {"__main__"}


def module_names() -> list[str]:
    """Returns the names of all modules of the packages, except for `__main__` files."""
    names = [package.__name__ for package in PACKAGES]
    for package in PACKAGES:
        names += [
            found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        ]
    return [name for name in names if name.rpartition(".")[2] not in ENTRY_POINTS]


def has_example(name: str) -> bool:
    """Returns whether the source of a module contains a doctest, without importing it."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return ">>> " in Path(spec.origin).read_text(encoding="utf-8")


def examples(module: ModuleType) -> list[doctest.DocTest]:
    """Returns the doctests of a module that have examples."""
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


MODULES = [name for name in module_names() if has_example(name)]


def public_classes() -> dict[str, type]:
    """Returns the classes that `distill` exports, by name, except for errors and warnings."""
    exported = {name: getattr(distill, name) for name in getattr(distill, "__all__", ())}
    return {
        name: value
        for name, value in exported.items()
        if inspect.isclass(value) and not issubclass(value, BaseException)
    }


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_the_output_shown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(name)
    tests = examples(module)
    assert tests, "no example is found, although the source contains one"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    for test in tests:
        results = runner.run(test)
        assert results.failed == 0, capsys.readouterr().out


def test_modules_with_examples_are_found() -> None:
    assert "distill.networks.convnet" in MODULES
    assert len(MODULES) > 10


def test_a_wrong_example_is_noticed() -> None:
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    results = doctest.DocTestRunner(verbose=False).run(test, out=lambda _: None)
    assert results.failed == 1


def test_public_classes_have_an_example() -> None:
    without = [
        name for name, value in public_classes().items() if ">>> " not in (value.__doc__ or "")
    ]
    assert not without, f"no example in the docstrings of {', '.join(without)}"
