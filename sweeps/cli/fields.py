"""Fields and options of a configuration by their part: of the method, exclusive, switches."""

import json
from collections.abc import Iterable

from distill.components import exclusive_pairs, option_type, registry_of
from distill.config.base import AnyConfig, Config


def method_options(config: Config) -> dict[str, object]:
    """Returns the given options of the method, by name, in the order of their declaration.

    Those of the component that `method_field` names, and of components that these options name in
    turn: of a selector, also the options of its clusterer.
    """
    names = [config.method_field]
    registries = [registry_of(config.static_fields()[config.method_field])]
    for name, found in config.applicable(config.to_dict()).items():
        if any(found.registry is registry for registry in registries):
            names.append(name)
            registries.append(registry_of(found.declared))
    given = {name: config[name] for name in names[1:]}
    return {name: value for name, value in given.items() if value is not None}


def method_choices(config: Config) -> dict[str, object]:
    """Returns the components that the method has beside `method_field`, if not the default ones.

    Without picks and quotas, see `variant_options`.
    """
    return {
        name: config[name]
        for name, declared in config.static_fields().items()
        if registry_of(declared) is not None
        and declared.metadata["group"] == "method"
        and name not in (config.method_field, "pick", "quota")
        and config[name] != declared.default
    }


def variant_options(config: Config) -> dict[str, object]:
    """Returns pick, quota and networks with their given options, as far as they are not neutral.

    Of configurations that have them as fields; as options of a selector they are among
    `method_options`.
    """
    fields = config.static_fields()
    names = [name for name in ("pick", "quota", "networks") if name in fields]
    registries = [registry_of(fields[name]) for name in names]
    found: dict[str, object] = {
        name: config[name] for name in names if config[name] != fields[name].default
    }
    for name, option in config.applicable(config.to_dict()).items():
        if any(option.registry is registry for registry in registries):
            registries.append(registry_of(option.declared))
            found |= {name: config[name]} if config[name] is not None else {}
    return found


def method_variants(kind: type[Config]) -> list[str]:
    """Returns the fields with a few fixed values that distinguish variants of a method.

    Without `protocol`, which is of every kind.
    """
    return [
        name
        for name, declared in kind.static_fields().items()
        if declared.metadata["group"] == "method"
        and option_type(declared).words
        and name != "protocol"
    ]


def switches(config: Config) -> list[str]:
    """Returns the fields that are on and off by default."""
    return [
        name
        for name, declared in config.static_fields().items()
        if declared.default is False and config[name]
    ]


def without_seed_repetitions(configs: Iterable[AnyConfig]) -> list[AnyConfig]:
    """Returns the first of all configurations that differ in their seeds only, in order."""
    different: dict[tuple[str, str], AnyConfig] = {}
    for config in configs:
        values = json.dumps(config.to_dict() | {"seed": 0})
        different.setdefault((config.kind, values), config)
    return list(different.values())


def excluded_by(kind: type[Config], given: Iterable[str]) -> set[str]:
    """Returns the fields and options that exclude some given ones.

    Args:
        kind: class of the configuration.
        given: names of fields and options that have a value.
    """
    pairs = set(kind.exclusive)
    for _, found in kind.declarations():
        pairs |= set(exclusive_pairs(found.registry[found.component].options))
    given = set(given)
    both_ways = [*pairs, *(pair[::-1] for pair in pairs)]
    return {other for name, other in both_ways if name in given} - given
