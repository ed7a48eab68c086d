"""Random configurations of every kind that are allowed, drawn from the declarations."""

# ruff: noqa: S311 - values of tests, not secrets
import random
from collections.abc import Iterator
from typing import Any

from distill.components import Field, known_names, option_type, registry_of
from distill.config.base import Config
from distill.config.defaults import DATASETS
from distill.errors import UserError
from distill.kinds import KINDS

TEXTS: dict[str, tuple[str, ...]] = {
    "dataset": (*DATASETS, "folder:/images/cats and dogs", "parquet:/a.parquet,/ü.parquet"),
    "augment": ("color", "color_crop", "color_crop_cutout_flip_scale_rotate"),
    "net_augment": ("none", "color_crop"),
    "eval_augment": ("none", "color_crop_cutout"),
    "value_range": ("0:4095", "-1:1"),
    "set_hash": ("0123456789abcdef",),
}
"""Values of fields that are free texts; those of others keep their defaults."""

FILE_VALUES = {"set_hash": "0123456789abcdef", "ipc": 10, "factor": 2}
"""What files of a set say; with them no file is read."""


def random_configs(seed: int, n: int) -> Iterator[Config]:
    """Yields n allowed configurations of each kind."""
    generator = random.Random(seed)
    for kind in KINDS.values():
        found = 0
        while found < n:
            try:
                config = kind.config(**_values(kind.config, generator))
                config.resolve()
            except UserError:  # values that do not fit together
                continue
            found += 1
            yield config


def _values(config: type[Config], generator: random.Random) -> dict[str, Any]:
    given = generator.choice((0.1, 0.3, 0.6))
    values: dict[str, Any] = {}
    for name, declared in config.static_fields().items():
        if generator.random() < given:
            values[name] = _value(name, declared, generator)
    values = {name: value for name, value in values.items() if value is not None}
    if str(values.get("set", "")).endswith(".pt"):
        values |= FILE_VALUES
    options = config.applicable(values)
    for name, found in options.items():
        if name not in values and generator.random() < given:
            values[name] = _value(name, found.declared, generator)
    return values


def _value(name: str, declared: Field, generator: random.Random) -> Any:
    """Returns a value in the range of a field; None for a text that is not in `TEXTS`."""
    plain, words, _ = option_type(declared)
    if registry_of(declared) is not None:
        names = known_names(declared)
        if plain is tuple:
            return tuple(generator.sample(names, generator.randint(0, 2)))
        return generator.choice((*names, "a b/set.pt") if declared.metadata["other"] else names)
    if words:
        return generator.choice(tuple(words))
    if plain is bool:
        return generator.random() < 0.5
    if plain in (int, float):
        return _number(plain, declared.metadata["limits"], generator)
    if plain is tuple and name == "classes":
        return tuple(generator.sample(("3", "8", "cat", "dög", "a,b", "NaN"), 2))
    return generator.choice(TEXTS[name]) if name in TEXTS else None


def _number(plain: type, limits: dict[str, Any], generator: random.Random) -> float:
    low, high = limits["minimum"], limits["maximum"]
    low = limits["above"] if low is None else low
    high = limits["below"] if high is None else high
    low = 0 if low is None else low
    if plain is int:
        return generator.randint(int(low), int(low) + generator.choice((1, 10, 10**6)))
    if high is None:
        return float(low) + generator.random() * 10.0 ** generator.randint(-12, 12)
    return float(low) + (float(high) - float(low)) * generator.random()
