"""Labels of trials for the terminal, derived from their configurations, and of durations."""

from collections.abc import Iterable
from pathlib import PurePath

from distill.config.base import Config
from sweeps.cli.fields import (
    method_choices,
    method_options,
    method_variants,
    switches,
    variant_options,
)


def method_label(config: Config) -> str:
    """Returns the method with the options that were given for it, such as `dbscan eps=15`.

    Other components of the method than the default ones stand before it: `gradients: dbscan`. Of
    files only the names are shown; sets of one name are told apart by the option `set_hash`.
    """
    method = str(config[config.method_field])
    words = [",".join(PurePath(place).name for place in method.split(","))]
    words += [_option(name, value) for name, value in method_options(config).items()]
    words += [_option(name, value) for name, value in variant_options(config).items()]
    words += switches(config)
    if config.trains_with_weights:
        words.append(_option("weights_in", config["weights_in"]))
    return "".join(f"{choice}: " for choice in method_choices(config).values()) + " ".join(words)


def trial_label(config: Config) -> str:
    """Returns the fields that differ between the trials of a sweep, in a few words."""
    parts = [method_label(config)]
    fields = config.static_fields()
    parts += [
        f"{name} {config[name]}"
        for name in method_variants(type(config))
        if config[name] != fields[name].default
    ]
    if "ipc" in fields:
        parts.append(f"ipc {config['ipc']}")
    parts += [config.protocol] * (config.protocol != fields["protocol"].default)
    return ", ".join([*parts, f"seed {config.seed}"])


def number_ranges(numbers: Iterable[int]) -> list[str]:
    """Returns sorted numbers as text, with runs of more than two as `first–last`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts: list[str] = []
    for run in runs:
        texts += map(str, run) if len(run) < 3 else [f"{run[0]}–{run[-1]}"]
    return texts


def rough_duration(seconds: float) -> str:
    """Returns a time in the unit that needs two or three digits: 42 s, 7 min, 1.6 h or 26 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:,.0f} h" if hours >= 10 else f"{hours:.1f} h"


def _option(name: str, value: object) -> str:
    return f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
