"""Reword messages that name the options of single trials for commands that take `--set`.

The package `distill` names the options of `python -m distill` (`--image-size 32`); the sweep
commands take the same fields as `--set image_size=32`.
"""

import re
from collections.abc import Collection

from distill.components import Field, known_names, option_type, registry_of
from distill.kinds import KINDS

OTHER_OPTIONS = {
    "seed": "use --seeds",
    "dataset": "use --dataset",
    "protocol": "use --protocol",
}
"""Fields that `--set` refuses, and what to use instead."""

_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)(?![\w-])")
_WORD = re.compile(r" ([^\s;()]*[^\s;(),.:])")
_NUMBER_OR_NAME = re.compile(r"-?[0-9][0-9.,:e-]*|[A-Z]+(?::[A-Z]+)?")
_ANY_VALUE = "…"
_TRIAL_COMMAND = "python -m distill"  # a whole command line, with its own options


def with_set_options(text: str, own: Collection[str]) -> str:
    """Returns a message with `--set FIELD=VALUE` in place of options that a command has not.

    Args:
        text: the message.
        own: options of the command, such as `--device`: they stay.

    Example:
        >>> with_set_options("resize with --image-size 16, on --device cpu", {"--device"})
        'resize with --set image_size=16, on --device cpu'
        >>> with_set_options("--val-fraction holds validation images out", set())
        '--set val_fraction=… holds validation images out'
    """
    fields = _fields()
    parts, end = [], 0
    for match in _OPTION.finditer(text):
        name = match[1].replace("-", "_")
        field = fields.get(name)
        if field is None or match[0] in own or name in OTHER_OPTIONS:
            continue
        if _TRIAL_COMMAND in text[: match.start()]:
            continue
        word = _WORD.match(text, match.end())
        has_value = word is not None and _is_value(field, word[1])
        value = word[1] if word is not None and has_value else _ANY_VALUE
        parts += [text[end : match.start()], f"--set {name}={value}"]
        end = word.end() if word is not None and has_value else match.end()
    return "".join([*parts, text[end:]])


def _fields() -> dict[str, Field]:
    """Returns the fields and options of all kinds of trials, by name."""
    return {
        name: field
        for kind in KINDS.values()
        for name, field in kind.config.declared_fields().items()
    }


def _is_value(field: Field, word: str) -> bool:
    """Whether a word after an option is a value of it, or stands for one, and no text."""
    names = known_names(field) if registry_of(field) is not None else option_type(field).words
    return word in names or _NUMBER_OR_NAME.fullmatch(word) is not None
