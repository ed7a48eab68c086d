"""Completion in a real shell, from the script that the command prints."""

import shutil
import subprocess
from pathlib import Path

import pytest

from distill.clustering.registry import CLUSTERERS
from distill.components import known_names
from distill.config.distillation import DistillationConfig
from distill.selection.registry import SELECTORS
from sweeps.cats_vs_dogs import COMMAND as PHOTOS
from sweeps.completion import main
from sweeps.console import VERBS
from sweeps.full_grid import COMMAND as GRID
from sweeps.optuna_search.spaces import SPACES

COMPLETE = """
source "$1"
shift
COMP_WORDS=("$@") COMP_CWORD=$(( $# - 1 )) COMPREPLY=() COMP_TYPE=9
function=$(complete -p dream-sweep | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function dream-sweep "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts for all shells."""
    folder = tmp_path_factory.mktemp("scripts")
    for shell in ("bash", "zsh"):
        with pytest.MonkeyPatch.context() as patch, (folder / shell).open("w") as file:
            patch.setattr("sys.stdout", file)
            assert main([shell]) == 0
    return folder


def completed(scripts: Path, *words: str) -> set[str]:
    """Returns what bash offers after `dream-sweep` and some words, the last one begun."""
    result = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", str(scripts / "bash"), "dream-sweep", *words],
        cwd=scripts,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(result.stdout.split())


def test_bash_completes_verbs(scripts: Path) -> None:
    assert completed(scripts, "") == set(VERBS)
    assert completed(scripts, "sta") == {"status"}


def test_bash_completes_options(scripts: Path) -> None:
    assert completed(scripts, "grid", "--pre") == {"--preset", "--precision"}
    assert completed(scripts, "status", "results", "--w") == {"--watch"}
    assert "--grid-size" in completed(scripts, "distill", "--"), "of another kind of trial"


def test_bash_completes_names(scripts: Path) -> None:
    clusterer = DistillationConfig.static_fields()["clusterer"]
    assert completed(scripts, "grid", "--preset", "") == set(GRID.presets)
    assert completed(scripts, "photos", "--preset", "") == set(PHOTOS.presets)
    assert completed(scripts, "search", "") >= set(SPACES)
    assert completed(scripts, "distill", "--clusterer", "") == set(known_names(clusterer))
    assert completed(scripts, "distill", "--clusterer", "db") >= {"dbscan"} & set(CLUSTERERS)
    assert completed(scripts, "distill", "--selector", "") <= set(SELECTORS)
    assert completed(scripts, "grid", "--protocol", "") == {"sound", "published", "both"}
    assert completed(scripts, "grid", "--dataset", "cifar") == {"cifar10", "cifar100"}
    assert completed(scripts, "analyse", "results", "fi") == {"findings", "figures"}
    assert completed(scripts, "completion", "") == {"bash", "zsh"}


def test_bash_completes_folders(scripts: Path) -> None:
    (scripts / "results").mkdir()

    assert completed(scripts, "grid", "--results", "res") == {"results"}


def test_zsh_script_is_valid_and_has_the_names(scripts: Path) -> None:
    text = (scripts / "zsh").read_text()

    assert text.startswith("#compdef dream-sweep\n")
    for name in (*VERBS, *GRID.presets, "kmedoids"):
        assert name in text, name
    zsh = shutil.which("zsh")
    if zsh is not None:
        subprocess.run([zsh, "-n", str(scripts / "zsh")], check=True)


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bahs"]) == 2
    assert "unknown shell 'bahs'; did you mean 'bash'?" in capsys.readouterr().err
