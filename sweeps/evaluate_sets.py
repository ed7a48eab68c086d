"""Judge small sets, whoever made them: train networks on each and on as many random real images.

    uv run sweeps/evaluate_sets.py distilled.parquet --on cifar10
    uv run sweeps/evaluate_sets.py dc.pt IMAGES.pt,LABELS.pt --on cifar10 --labels hard,teacher
    uv run sweeps/evaluate_sets.py dc.pt --networks convnet,resnet18 --beside herding,k_center

One trial for each set, way of labelling, network, augmentation and seed; beside every set as many
random real images a class, under the same recipe. Running it again runs the missing trials and
nothing else, see `sweeps.grid.command`.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # a script's own folder is on the path, the project's is not always
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from distill.config.evaluation import EQUAL_SETS, FILE, EvaluationConfig
from distill.config.sets import SETS
from distill.errors import UserError, require_known, shortened
from distill.sets.content import set_paths
from sweeps.cli.fields import without_seed_repetitions
from sweeps.grid.command import GridCommand
from sweeps.grid.grid import Grid
from sweeps.grid.options import FurtherArguments

N_SEEDS = 5

_NO_AUGMENTATION = "none"
_EQUALLY = "matching"
"""Value of `weights_in` for images that count equally."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sets",
        nargs="*",
        metavar="SET",
        help="a set to judge: .parquet or .pt file, IMAGES.pt,LABELS.pt, or a folder",
    )
    group = parser.add_argument_group("sets and recipes")
    group.add_argument(
        "--on",
        "--dataset",
        dest="dataset",
        metavar="NAME",
        help="data set that networks are tested on (default: digits)",
    )
    group.add_argument(
        "--labels",
        default="hard",
        metavar="NAME,…",
        help="hard, soft (the set's own, else a teacher's for each image), teacher (for every "
        "augmented view) (default: hard)",
    )
    group.add_argument(
        "--networks",
        default="convnet",
        metavar="NAME,…",
        help="networks that are trained (default: convnet)",
    )
    group.add_argument(
        "--augmentations",
        default="",
        metavar="NAME,…",
        help="augmentations, each names joined by _; none is without CutMix, too (default: that of "
        "the data set)",
    )
    group.add_argument(
        "--weights-in",
        default="matching",
        metavar="NAME,…",
        help="training: images count by the weights that the set carries, chosen ones by the share "
        "of their class that they stand for; matching: equally (default)",
    )
    real = ", ".join(name for name in SETS if name not in (FILE, "random"))
    group.add_argument(
        "--beside",
        default="",
        metavar="NAME,…",
        help=f"real images to judge beside random ones: {real}",
    )


def _grid(parsed: argparse.Namespace) -> Grid[EvaluationConfig]:
    """Returns the grid of the arguments: sets × labels × networks × augmentations.

    Raises:
        UserError: a set cannot be read, or a name is unknown.
    """
    files = [_file(name) for name in parsed.sets]
    beside = list(
        dict.fromkeys(["random", *(_names("--beside", parsed.beside) if parsed.beside else [])])
    )
    for name in beside:
        require_known("set", name, (name for name in SETS if name != FILE))
    if not files:
        raise UserError(
            "give at least one SET to judge: a .parquet or .pt file, IMAGES.pt,LABELS.pt or a "
            "folder with one folder a class"
        )
    sizes = sorted({int(values["ipc"]) for values in files})
    real = [
        {"set": name} | ({} if name == "all" else {"ipc": ipc})
        for ipc in sizes
        for name in beside
        if name != "all" or ipc == sizes[0]
    ]
    recipes = itertools.product(
        _names("--labels", parsed.labels),
        _names("--networks", parsed.networks),
        _augmentations(parsed.augmentations),
    )
    weights_in = _names("--weights-in", parsed.weights_in)
    rows = [
        {**row, "weights_in": where}
        for row in (*real, *files)
        for where in _ways_to_weigh(row, weights_in)
    ]
    base = {"dataset": parsed.dataset or "digits"}
    configs = tuple(
        EvaluationConfig(**base, **row, labels=labels, network=network, **augmentation)
        for labels, network, augmentation in recipes
        for row in rows
    )
    return Grid(name="evaluate", summary="", configs=configs, n_seeds=N_SEEDS)


def _ways_to_weigh(row: Mapping[str, Any], weights_in: Sequence[str]) -> Sequence[str]:
    """Returns those of the ways in which a set can be trained on.

    Random and all images count equally, one image a class stands for all of it, and a set in files
    may carry no weights: beside sets that are weighted, these are judged as they are.

    Raises:
        UserError: a way is unknown, or a set in files is only to be weighted and has no weights.
    """
    name = row["set"]
    for way in weights_in:
        EvaluationConfig(weights_in=way, set="herding", ipc=1)  # raises where it is unknown
    if name in EQUAL_SETS or (name in SETS and row["ipc"] == 1):
        return (_EQUALLY,)
    if name in SETS or set(weights_in) == {_EQUALLY}:
        return weights_in
    # torch takes seconds to import: not for the help.
    from distill.sets.read import read_set

    if read_set(name).weights is not None:
        return weights_in
    if _EQUALLY not in weights_in:
        raise UserError(
            f"--weights-in {','.join(weights_in)} needs a set with weights, and "
            f"{shortened(name)} carries none; use --weights-in {_EQUALLY},training to judge it "
            "equally weighted beside others"
        )
    return (_EQUALLY,)


def _file(name: str) -> dict[str, Any]:
    """Returns a set in files with all that its files say, so that nodes need not read them again.

    Paths are made absolute: trials run in other folders.
    """
    place = ",".join(str(path.absolute()) for path in set_paths(name))
    resolved = EvaluationConfig(set=place).resolve()
    return {"set": place, **{key: resolved[key] for key in ("set_hash", "ipc", "factor")}}


def _augmentations(text: str) -> list[dict[str, Any]]:
    from distill.augment.siamese import Augmentation

    names = _names("--augmentations", text) if text else []
    for name in names:
        Augmentation(strategy=name)  # raises a UserError for an unknown one
    return [
        {"eval_augment": name} | ({"cutmix_prob": 0.0} if name == _NO_AUGMENTATION else {})
        for name in names
    ] or [{}]


def _names(option: str, text: str) -> list[str]:
    names = [name for name in (part.strip() for part in text.split(",")) if name]
    if not names:
        raise UserError(f"{option} needs at least one name, got {shortened(text)}")
    return names


def _check_sets(configs: Sequence[EvaluationConfig], data_root: str) -> str | None:
    """Checks that sets in files fit their data sets, as far as these are read in seconds.

    Returns:
        A line about data sets that were not read; None where all were.

    Raises:
        UserError: a set does not fit, or cannot be read as it is asked for.
    """
    # torch takes seconds to import: not for the help.
    from distill.datasets.images import ImageData, with_classes
    from distill.datasets.load import is_at_hand
    from distill.evaluation.planned_set import stored_set_of
    from distill.trials.runner import load_images
    from distill.trials.training_sets import small_set_of

    read: dict[tuple[Any, ...], ImageData] = {}
    left: dict[str, None] = {}
    for config in without_seed_repetitions(one.resolve() for one in configs if one.is_file):
        if not is_at_hand(config.dataset, data_root):
            stored_set_of(config, config.set)
            left[config.dataset] = None
            continue
        key = tuple(config.data_arguments().values())
        if key not in read:
            read[key] = load_images(config, data_root=data_root)
        small_set_of(config, with_classes(read[key], config.classes))
    if not left:
        return None
    return (
        f"whether the sets fit {', '.join(left)} is checked before the first trial: a dry run "
        "reads only built-in data sets that are on this machine"
    )


def _print_tables(
    results: pd.DataFrame, plan: Sequence[EvaluationConfig], failures: Mapping[str, Any]
) -> None:
    from analysis.findings.answers import answers
    from analysis.findings.robust_scores import robust_scores, score_lines
    from analysis.tables.printing import print_tables

    print_tables(results, plan=plan, failures=failures, opening=answers)
    for line in score_lines(robust_scores(results)):
        print(line)


COMMAND = GridCommand(
    verb="evaluate",
    description="Train networks on small sets, whoever made them, and on as many random real "
    "images under the same recipe, on Ray; run again to resume.",
    presets={},
    only_example="labels=teacher,network=convnet",
    fields_help="fields of distill.config.evaluation.EvaluationConfig",
    print_tables=_print_tables,
    next_options="--help",
    further=FurtherArguments(add=_add_arguments, grid=_grid, usage="SET…", check=_check_sets),
)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command with the arguments, or those of this process; returns its exit code."""
    return COMMAND.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
