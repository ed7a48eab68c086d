"""The pinned versions that the image and the cluster files install."""

import tomllib

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.cluster_configs.files import text_of
from tests.paths import ROOT

PINS = [
    Requirement(line)
    for line in text_of("requirements.txt").splitlines()
    if line.strip() and not line.lstrip().startswith("#")
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEPENDENCIES = [Requirement(text) for text in PROJECT["dependencies"]]


def pinned_versions(name: str) -> list[Version]:
    """Returns the pinned versions of a package: one, or one for each environment marker."""
    wanted = canonicalize_name(name)
    return [
        Version(next(iter(pin.specifier)).version)
        for pin in PINS
        if canonicalize_name(pin.name) == wanted
    ]


def test_every_requirement_is_an_exact_version() -> None:
    assert len(PINS) > len(DEPENDENCIES), "indirect dependencies too"
    for pin in PINS:
        assert [part.operator for part in pin.specifier] == ["=="], pin


def test_every_dependency_is_pinned_within_its_range() -> None:
    for dependency in DEPENDENCIES:
        versions = pinned_versions(dependency.name)

        assert versions, f"{dependency.name} is not pinned; CONTRIBUTING.md says how to renew pins"
        for version in versions:
            assert version in dependency.specifier, f"{version} is outside {dependency}"


def test_ray_and_torch_bring_their_own_dependencies() -> None:
    """A list of direct dependencies only would leave the rest to the day of the installation."""
    for name in ("click", "filelock", "msgpack", "protobuf", "sympy", "sqlalchemy"):
        assert pinned_versions(name), name


def test_pins_apply_to_every_python_of_the_project() -> None:
    pythons = [f"3.{minor}" for minor in range(9, 20)]
    supported = [text for text in pythons if text in SpecifierSet(PROJECT["requires-python"])]
    assert supported
    for dependency in DEPENDENCIES:
        for python in supported:
            environment = {"python_version": python, "python_full_version": f"{python}.0"}
            applicable = [
                pin
                for pin in PINS
                if canonicalize_name(pin.name) == canonicalize_name(dependency.name)
                and (pin.marker is None or pin.marker.evaluate(environment))
            ]
            assert len(applicable) == 1, f"{dependency.name} on Python {python}"


def test_the_file_names_no_address() -> None:
    """A registry's address would tie the clusters to one machine's settings."""
    text = text_of("requirements.txt")

    assert "://" not in text
    assert "--index" not in text
    assert "--extra-index" not in text
    assert " @ " not in text


def test_the_lock_is_not_committed() -> None:
    assert "uv.lock" in (ROOT / ".gitignore").read_text().splitlines()
