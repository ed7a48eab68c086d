"""What all files of `cluster_configs/` share: versions, things to fill in, commands that exist."""

import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from sweeps import cats_vs_dogs, full_grid
from sweeps.optuna_search.options import search_parser
from tests.cluster_configs.files import FOLDER, MARKERS, filled, load, markers, text_of
from tests.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

README = text_of("README.md")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
YAMLS = [name for name in MARKERS if name.endswith(".yaml")]


def commands(language: str) -> list[str]:
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


COMMANDS = commands("console") + commands("bash")


def test_the_folder_holds_files_for_machines_only() -> None:
    assert {file.name for file in FOLDER.iterdir()} == {
        *(*MARKERS, "Dockerfile", "README.md", "grafana_dream_sweep.json", "requirements.txt")
    }


def test_one_version_of_python_and_of_uv_everywhere() -> None:
    everything = "\n".join(file.read_text() for file in FOLDER.iterdir())
    pythons = re.findall(r"(?:--python |python:|Python )(\d[\d.]*\d)", everything)
    uvs = re.findall(r"uv(?:==|` )(\d[\d.]*\d)", everything)

    assert len(pythons) >= 6, "launcher files, Dockerfile, slurm.sh, README"
    assert len(set(pythons)) == 1
    assert len(pythons[0].split(".")) == 3, "Ray compares the whole version"
    assert Version(pythons[0]) in SpecifierSet(PROJECT["requires-python"])
    assert len(uvs) >= 5
    assert len(set(uvs)) == 1


def test_kuberay_is_told_the_version_of_ray_that_the_project_asks_for() -> None:
    (wanted,) = (text for text in PROJECT["dependencies"] if text.startswith("ray["))
    specifiers = SpecifierSet(wanted.partition("]")[2])
    told = load(filled("kuberay_rayjob.yaml"))["spec"]["rayClusterSpec"]["rayVersion"]

    assert Version(told) in specifiers
    assert Version("2.61.0") not in specifiers, "another minor version would be another cluster"


@pytest.mark.parametrize("name", MARKERS)
def test_what_must_be_filled_in_is_listed_and_explained(name: str) -> None:
    assert markers(text_of(name)) == MARKERS[name]
    section = README.partition(f"| in `{name}` | is |")[2].partition("\n\n")[0]
    assert markers(section) == MARKERS[name]
    assert not markers(filled(name))


@pytest.mark.parametrize("name", YAMLS)
def test_nothing_starts_while_something_is_not_filled_in(name: str, tmp_path: Path) -> None:
    """The README's command, and the same one at the top of the file, with programs that only say
    that they ran."""
    (command,) = (line for line in COMMANDS if line.startswith("! grep") and name in line)
    assert f"#   {command}\n" in text_of(name)
    folder = tmp_path / "cluster_configs"
    folder.mkdir()
    for program in ("uv", "kubectl"):
        (tmp_path / program).write_text('#!/bin/sh\necho "ran: $*"\n')
        (tmp_path / program).chmod(0o755)

    def run() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )

    (folder / name).write_text(text_of(name))
    refused = run()
    (folder / name).write_text(filled(name))
    started = run()

    assert refused.returncode != 0
    assert "ran:" not in refused.stdout
    assert markers(refused.stdout) == MARKERS[name]
    assert started.returncode == 0
    assert started.stdout.startswith("ran: ")
    assert f"cluster_configs/{name}" in started.stdout


def test_every_sweep_of_the_readme_is_one() -> None:
    """With the options of the commands, and a share of a GPU where clusters start empty."""
    parsers: dict[str, Callable[[list[str]], object]] = {
        "sweeps/full_grid.py": full_grid.COMMAND.plan,
        "sweeps/cats_vs_dogs.py": cats_vs_dogs.COMMAND.plan,
        "sweeps/search.py": search_parser("sweeps/search.py").parse_args,
    }
    seen = set()
    for command in COMMANDS:
        words = shlex.split(command.replace("PRICE", "1.5"))
        script = next((word for word in words if word in parsers), None)
        if script is None:
            continue
        arguments = words[words.index(script) + 1 :]
        assert parsers[script](arguments), command
        assert "--results" in arguments
        if "submit" in words:
            assert "--gpus-per-trial" in arguments, command
        seen.add((script, words[0]))
    assert seen == {(script, by) for script in parsers for by in ("uv", "sbatch")}


def test_files_that_commands_name_exist() -> None:
    named = set(re.findall(r"(?:cluster_configs|tests|sweeps)/[\w./]+\.\w+", "\n".join(COMMANDS)))

    assert len(named) >= 8
    assert all((ROOT / name).is_file() for name in named)


def test_nothing_is_open_to_the_world() -> None:
    for file in FOLDER.iterdir():
        assert "0.0.0.0" not in file.read_text(), file  # noqa: S104
    opened = [line for line in COMMANDS if "--cidr" in line or "--source-ranges" in line]
    assert len(opened) == 3
    assert all("YOUR_ADDRESS/32" in line or "10.10.0.0/20" in line for line in opened)


def test_the_roles_on_aws_may_do_what_they_must_only() -> None:
    blocks = re.findall(r"^```json\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    worker, head = (json.loads(block)["Statement"] for block in blocks)

    assert head[: len(worker)] == worker, "both use the bucket"
    for statement in (*worker, *head):
        actions = statement["Action"]
        actions = [actions] if isinstance(actions, str) else actions
        assert not {"*", "ec2:*", "s3:*", "iam:*"} & set(actions)
        everywhere = statement["Resource"] == "*"
        assert not everywhere or "Condition" in statement
    assert all("BUCKET" in statement["Resource"] for statement in worker)


def test_links_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^\w\- ]", "", line.lstrip("# ")).strip().lower().replace(" ", "-")
        for line in README.splitlines()
        if line.startswith("#")
    }

    links = re.findall(r"\]\(#([\w-]+)\)", README)
    assert links
    assert set(links) <= headings


def test_the_image_is_built_from_what_exists() -> None:
    text = text_of("Dockerfile")
    copied = [
        word
        for line in text.splitlines()
        if line.startswith("COPY ")
        for word in line.split()[1:-1]
    ]

    assert set(copied) == {
        "cluster_configs/requirements.txt",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "distill",
        "sweeps",
        "analysis",
    }
    assert all((ROOT / name).exists() for name in copied)
    assert "--requirements cluster_configs/requirements.txt" in text
    assert text.count("--no-deps") == 1, "the project itself brings nothing that is not pinned"
    assert text.rstrip().endswith("USER ray")
