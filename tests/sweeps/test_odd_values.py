"""Odd values of every option of every command: one clear line, exit code 2, nothing touched.

The options are read from the parsers themselves: one that is in no class here fails.
"""

# ruff: noqa: S311 - values of tests, not secrets
import argparse
import collections
import functools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from analysis.__main__ import analysis_parser
from distill import parsing
from distill.__main__ import trial_parser
from distill.cli.options import ParsedOption
from distill.components import option_type, registry_of
from distill.config.base import Config
from distill.kinds import KINDS
from sweeps.cats_vs_dogs import COMMAND as PHOTOS
from sweeps.cli.options import TRACKER_NAMES, _gpu_share, _trackers, check_address
from sweeps.cluster.trackers import TRACKERS
from sweeps.console import VERBS, main
from sweeps.evaluate_sets import COMMAND as EVALUATE
from sweeps.full_grid import COMMAND as GRID
from sweeps.grid.command import GridCommand
from sweeps.grid.options import grid_parser
from sweeps.optuna_search.options import search_parser

UNPRINTABLE = ["a\nb", "a\tb", "a\0b", "\x1b[31m", "a\x85b", "a\u2028b", "a\udc80"]
WHOLE_NUMBERS = ["", " ", "x", "1.5", "1e3", "nan", "-7", "٣", "³", "9" * 5000, str(10**30), "0x10"]
NUMBERS = ["", "x", "nan", "inf", "-inf", "1e999", "١.٥", "9" * 5000, "0,5", "1_"]
PATHS = ["", "x" * 300, "d/" * 3000, "~no-such-user/x", *UNPRINTABLE]
URIS = [*PATHS, "s3:/one-slash", "ftp://host/x", "s3://" + "x" * 5000, "s3://a\nb"]
NAMES = ["", "a/b", ".hidden", "x" * 300, *UNPRINTABLE]
WORDS = ["", "x", "\n", "ö" * 5000, *UNPRINTABLE]

BY_FUNCTION: dict[Any, list[str]] = {
    parsing.whole_number: WHOLE_NUMBERS,
    parsing.number: [*NUMBERS, "-0.001"],
    parsing.path: PATHS,
    parsing.path_or_uri: URIS,
    parsing.file_name: NAMES,
    parsing.plain_text: ["", *UNPRINTABLE],
    _gpu_share: [*NUMBERS, "-1", "1.5", "1e300"],
    _trackers: ["x", "tensorboard,x", *UNPRINTABLE],
    check_address: ["", "host", "host:x", "host:٣", "host:0", "ray://h:99999", ":1", *UNPRINTABLE],
}
"""Function that parses an option → texts that it must refuse."""

FIELD = [
    *("", "x", "=", "=1", "no_such_field=1", "ip\nc=1", "ipc=٣", "ipc=" + "9" * 5000),
    *(
        "dataset=x",
        f"split_seed={2**63}",
        "val_fraction=nan",
        "classes=a\udc80,b",
        "dataset=folder:a\0",
    ),
]
BY_NAME = {
    "--preset": WORDS,
    "--protocol": WORDS,
    "--dataset": WORDS,
    "--seeds": [
        "",
        ",",
        "x",
        "0",
        "-1",
        "1.5",
        "٣",
        "9" * 5000,
        str(10**12),
        "5-3",
        "3,,4",
        "1\n2",
    ],
    "--only": ["", ",", "=", *FIELD[:6]],
    "--set": FIELD,
    "--range": ["", "x", "eps=1", "eps_quantile=nan:1", "eps_quantile=0:inf", "eps_quantile=١:٢"],
    "--objectives": ["", ",", "x", "accuracy,accuracy"],
    "--storage": [*PATHS, "ftp://host/x", "s3://bucket/x", "mysql+x://h/y"],
    "--val-fraction": [*NUMBERS, "-1", "2"],
    "--kind": WORDS[1:],
    "--on": WORDS,
    "--labels": WORDS,
    "--networks": WORDS,
    "--weights-in": WORDS,
    "--augmentations": WORDS[1:],
    "--beside": WORDS[1:],
    "SET": PATHS,
}
"""Options whose text is parsed later → texts that they must refuse."""

RELATED: dict[str, list[str]] = {
    "grid": ["--preset", "smoke", "--dry-run"],
    "photos": ["--dry-run"],
    "evaluate": ["{set}", "--dry-run"],
    "search": ["dbscan"],
    "analyse": ["nowhere"],
    "distill": [],
}
"""Verb → arguments beside an odd one: right in themselves; {set} is the path of a small set."""

READING = ("status", "logs", "export", "completion")
"""Verbs without options of numbers, names or fields; tested with their own commands."""


def _grid_parser(command: GridCommand[Any]) -> argparse.ArgumentParser:
    return grid_parser(
        "grid", description="", presets=command.presets, only_example="", fields_help=""
    )


PARSERS = {
    "grid": _grid_parser(GRID),
    "photos": _grid_parser(PHOTOS),
    "evaluate": EVALUATE.parser(),
    "search": search_parser("search"),
    "analyse": analysis_parser(),
}


def odd_texts(action: argparse.Action, config: type[Config] | None) -> list[str]:
    """Returns the texts that an option must refuse; an error for an option of no known class."""
    name = (action.option_strings or [str(action.metavar)])[0]
    if config is not None and action.dest in config.declared_fields():
        return _odd_field_texts(config, action.dest)
    if name in BY_NAME:
        return BY_NAME[name]
    if isinstance(action, ParsedOption):
        parse = action._parse
        return BY_FUNCTION[parse.func if isinstance(parse, functools.partial) else parse]
    if action.nargs == 0:
        return ["x"]  # a switch: `--dry-run=x`
    if action.choices is not None:
        return WORDS
    assert name == "NAME", f"{name} is in no class of this file"
    return WORDS


def _odd_field_texts(config: type[Config], name: str) -> list[str]:
    declared = config.declared_fields()[name]
    plain, words, _ = option_type(declared)
    if words or registry_of(declared) is not None or plain is bool or name == "dataset":
        return [word for word in WORDS if word or plain is not tuple]
    numbers = {int: WHOLE_NUMBERS, float: [*NUMBERS, "-1e300"]}
    return numbers.get(plain, ["x", *UNPRINTABLE])


def cases() -> Iterator[Any]:
    for verb, parser in PARSERS.items():
        for action in parser._actions:
            yield pytest.param(verb, None, action, id=f"{verb} {action.dest}")
    for kind in KINDS.values():
        for action in trial_parser(kind)._actions:
            name = f"distill {kind.name} {action.dest}"
            yield pytest.param("distill", kind.config, action, id=name)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Runs the command, which must refuse its arguments in one line; returns that line."""
    code = main(arguments)
    captured = capsys.readouterr()
    shown = [argument[:60] for argument in arguments]
    assert code == 2, shown
    assert captured.out == "", shown
    assert captured.err.startswith("error: "), shown
    assert captured.err.isprintable() or captured.err[:-1].isprintable(), (shown, captured.err)
    assert len(captured.err) < 2000, (shown, captured.err)
    return captured.err


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two classes of one image each."""
    path = tmp_path_factory.mktemp("sets") / "set.pt"
    torch.save([torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])], path)
    return str(path)


@pytest.mark.parametrize(("verb", "config", "action"), list(cases()))
def test_odd_value_of_an_option_is_one_line_and_touches_nothing(
    verb: str,
    config: type[Config] | None,
    action: argparse.Action,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_set: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    related = [word.format(set=small_set) for word in RELATED[verb]]
    if config is not None and action.dest != "kind":
        related += ["--kind", config.kind]
    for text in odd_texts(action, config):
        if action.option_strings:
            refused([verb, *related, f"{action.option_strings[-1]}={text}"], capsys)
        elif action.nargs == "*":
            refused([verb, *related, text], capsys)
        else:
            refused([verb, text, *related[1:]], capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        [""],
        ["\n"],
        ["ö" * 5000],
        ["-x"],
        ["grid", "surplus"],
        ["grid", "sur\nplus"],
        ["grid", "--limit"],
        ["grid", "--limit", "1", "--limt", "2"],
        ["search"],
        ["search", "dbscan", "kmeans"],
        ["search", "no-such-file.py"],
        ["search", "--dataset", "digits"],
        ["analyse"],
        ["grid", "--dry-run", "--set", "ipc=1", "--set", "ipc=1"],
        ["grid", "--dry-run", "--set", "n-outer=1", "--set", "n_outer=2"],
        ["grid", "--dry-run", "--set", "weight=t", "--set", "weights=size"],
        ["search", "dbscan", "--set", "n_outer=1", "--set", "n-outer=1"],
        ["search", "dbscan", "--dataset", "digits", "--set", "dataset=mnist"],
        ["search", "dbscan", "--range", "eps_quantile=0:1", "--range", "eps-quantile=0:1"],
    ],
    ids=lambda arguments: " ".join(arguments)[:60].encode("unicode_escape").decode(),
)
def test_odd_command_line_is_one_line_and_touches_nothing(
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)

    refused(arguments, capsys)

    assert list(tmp_path.iterdir()) == []


STOPPERS = {"search": ["--results", "{set}/x"], "distill": ["--out", "{set}/x"]}
"""Verb → arguments that end a command, whose other arguments are right, before any work."""


def any_text(generator: random.Random) -> str:
    """Returns a text that may be odd for any option, or right for some."""
    odd = [*UNPRINTABLE, *WHOLE_NUMBERS, *NUMBERS, *PATHS, *NAMES, *WORDS, *FIELD]
    odd += [text for texts in BY_NAME.values() for text in texts]
    odd += [
        *(f"{name}={text}" for name in ("ipc", "eps", "classes") for text in ("1", "x,y", "-0"))
    ]
    alphabets = [
        "0123456789.-e",
        "abc,=:/~",
        "äß漢😀\u202e\u200f\u0301",
        "\x00\x07\x1b\x7f\ud800 \n",
    ]
    text = generator.choice(odd)
    if generator.random() < 0.5:
        size = generator.randint(0, 20)
        drawn = generator.choices("".join(generator.sample(alphabets, 2)), k=size)
        text = generator.choice(["", text[:100]]) + "".join(drawn)
    return text if "://" not in text else text.replace("://", ":")  # no other machine is asked


def any_arguments(generator: random.Random, small_set: str) -> list[str]:
    """Returns the arguments of a command with an odd value of one of its options."""
    verb = generator.choice([*PARSERS, "distill", "distill", *READING])
    text = any_text(generator)
    if verb in READING:
        return [
            verb,
            *generator.choice(
                [
                    [text],
                    ["nowhere", text],
                    ["nowhere", f"--every={text}"],
                    [text, "0", "nowhere/set"],
                    ["nowhere", text, "nowhere/set"],
                ]
            ),
        ]
    kind = generator.choice(list(KINDS.values()))
    parser = trial_parser(kind) if verb == "distill" else PARSERS[verb]
    # An address that is right is connected to, which takes a minute.
    actions = [action for action in parser._actions if action.dest != "address"]
    action = generator.choice(actions)
    related = [*RELATED[verb], *(["--kind", kind.name] if verb == "distill" else [])]
    odd = [f"{action.option_strings[-1]}={text}"] if action.option_strings else [text]
    stopper = [word.format(set=small_set) for word in STOPPERS.get(verb, [])]
    return [verb, *(word.format(set=small_set) for word in related), *odd, *stopper]


def count_ends(
    n: int, seed: int, small_set: str, capsys: pytest.CaptureFixture[str]
) -> collections.Counter[tuple[str, int]]:
    """Runs n commands with an odd value each: 0, or 2 and one line; nothing is left behind."""
    generator = random.Random(seed)
    ends: collections.Counter[tuple[str, int]] = collections.Counter()
    for _ in range(n):
        arguments = any_arguments(generator, small_set)
        shown = [argument[:80] for argument in arguments]
        code = main(arguments)
        captured = capsys.readouterr()
        ends[arguments[0], code] += 1
        assert code in (0, 2), (shown, captured.err)
        assert "Traceback" not in captured.err, (shown, captured.err)
        if code == 2:
            assert captured.err.startswith("error: "), (shown, captured.err)
            assert captured.err[:-1].isprintable(), (shown, captured.err)
            assert captured.err[-1] == "\n", (shown, captured.err)
            assert len(captured.err) < 2000, (shown, captured.err)
            assert captured.out == "", shown
        assert list(Path().iterdir()) == [], shown
    return ends


def test_odd_values_drawn_at_random_end_with_0_or_2(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_set: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    ends = count_ends(60, 0, small_set, capsys)
    assert ends.total() == 60


@pytest.mark.slow
def test_many_odd_values_drawn_at_random_end_with_0_or_2(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_set: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    ends = count_ends(1_000, 1, small_set, capsys)
    with capsys.disabled():
        for (verb, code), count in sorted(ends.items()):
            print(f"\n{verb}: {count} ended with {code}", end="")


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", '"text"', "null", "5", "true", "NaN", "{", "\0", "[{}]"),
        nested(1000),
        nested(100_000),
        *('{"a":' * depth + "{}" + "}" * depth for depth in (1000, 100_000)),
        *(f'{{"{name}": {nested(900)}}}' for name in ("ipc", "kind", "classes", "dataset", "x")),
        *('{"self": 1}', '{"cls": 1}', '{"": 1}', '{"ip\\nc": 1}', '{"given_options": []}'),
        *(f'{{"ipc": {value}}}' for value in ("9" * 5000, 10**30, "1e999", "NaN", '"١"', "null")),
        *(f'{{"seed": {value}}}' for value in (-1, 2**63, 1.5, "[]", "{}")),
        *(f'{{"dataset": "{value}"}}' for value in ("", "a\\nb", "folder:\\u0000", "\\ud800")),
        '{"classes": ["a", "\\udc80"]}',
        '{"kind": "selection\\n"}',
    ],
    ids=lambda content: content[:40].encode("unicode_escape").decode(),
)
def test_odd_configuration_file_is_one_line_and_touches_nothing(
    content: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text(content)

    refused(["distill", "--config", "config.json"], capsys)

    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_configuration_file_that_is_no_text_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{}")
    (tmp_path / "link").symlink_to("link")

    assert "cannot be read" in refused(["distill", "--config", "config.json"], capsys)
    assert "cannot be read" in refused(["distill", "--config", "."], capsys)
    assert "Too many levels" in refused(["distill", "--config", "link"], capsys)


def test_largest_seed_is_taken() -> None:
    """2⁶³ − 1 is the largest number that a column of Parquet holds."""
    config = KINDS["distillation"].config
    largest = config.from_dict(json.loads(f'{{"seed": {2**63 - 1}}}'))
    assert largest.seed == config.parse_value("seed", str(2**63 - 1))


def test_every_verb_and_tracker_is_known_here() -> None:
    assert {*PARSERS, "distill"} == set(RELATED)
    assert {*RELATED, *READING} == set(VERBS)
    assert tuple(TRACKERS) == TRACKER_NAMES
