"""Messages of trials with `--set FIELD=VALUE` in place of the options of `python -m distill`."""

import re

import pytest

from distill.kinds import KINDS
from sweeps.cli.set_options import OTHER_OPTIONS, with_set_options
from sweeps.evaluate_sets import COMMAND as EVALUATE
from sweeps.full_grid import COMMAND as GRID

MESSAGES = [
    (
        "resize the data set to the set's size with --image-size 16",
        "resize the data set to the set's size with --set image_size=16",
    ),
    ("with --image-size N", "with --set image_size=N"),
    (
        "--set-range unit: pixels must be in 0 … 1, got -2; leave it out",
        "--set set_range=unit: pixels must be in 0 … 1, got -2; leave it out",
    ),
    (
        "force it with --set-range unit, bytes or normalized, with --set-mean and --set-std",
        "force it with --set set_range=unit, bytes or normalized, with --set set_mean=… and --set "
        "set_std=…",
    ),
    ("choose the same with --classes", "choose the same with --set classes=…"),
    ("start from it with --ipc 10 --factor 2", "start from it with --set ipc=10 --set factor=2"),
    (
        "no known format (--on-corrupt skip leaves broken images out, keep what decodes of them)",
        "no known format (--set on_corrupt=skip leaves broken images out, keep what decodes of "
        "them)",
    ),
    ("; --value-range LOW:HIGH scales them", "; --set value_range=LOW:HIGH scales them"),
    ("--value-range 0:4095 scales them", "--set value_range=0:4095 scales them"),
    (
        "take fewer images (--train-per-class), or another",
        "take fewer images (--set train_per_class=…), or another",
    ),
    (
        "(--test-fraction; --val-fraction holds validation images out of the training images)",
        "(--set test_fraction=…; --set val_fraction=… holds validation images out of the training "
        "images)",
    ),
    # Options of the command, of no trial, in a whole command line, or no options: unchanged.
    ("use --device cpu, --dataset parquet:PATH or --set factor=2", None),
    ("name another folder, or --overwrite to replace it; a--image-size", None),
    ("uv run --isolated python -m distill --clusterer kmeans --image-size 8", None),
]


@pytest.mark.parametrize(("message", "reworded"), MESSAGES)
def test_options_of_trials_become_fields_of_set(message: str, reworded: str | None) -> None:
    own = GRID.parser().option_strings()
    assert with_set_options(message, own) == (message if reworded is None else reworded)


def test_labels_stay_an_option_of_evaluate() -> None:
    text = "use --labels soft, --network vgg11"
    own = EVALUATE.parser().option_strings()
    assert with_set_options(text, own) == "use --labels soft, --set network=vgg11"


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_named_as_the_command_takes_it(kind: str) -> None:
    own = GRID.parser().option_strings()
    for name in KINDS[kind].config.declared_fields():
        option = f"--{name.replace('_', '-')}"
        found = with_set_options(f"give {option} 3", own)
        if option in own or name in OTHER_OPTIONS:
            assert found == f"give {option} 3"
        else:
            assert re.fullmatch(rf"give --set {name}=3", found)
