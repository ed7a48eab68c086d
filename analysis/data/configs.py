"""Facts about configurations that tables need, read from their declarations.

Nothing is listed here: fields, options, their defaults and the order and labels of components come
from the configuration classes and from the registries of components.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from distill.components import Registry, fields_of, known_names, plain_type, registry_of
from distill.config.base import Config
from distill.config.defaults import DATASETS
from distill.errors import UserError
from distill.kinds import KINDS

Options = tuple[tuple[str, Any], ...]
"""Pairs of name and value, in the order of the declarations."""

SOUND, PUBLISHED = "sound", "published"
"""The protocols."""


class ConfigFacts:
    """Facts about a kind of configuration, with the components that are registered now.

    Args:
        config: the configuration class.
    """

    def __init__(self, config: type[Config]) -> None:
        self.config = config
        self._implied: dict[str, frozenset[str]] = {}
        self._defaults_of: dict[Options, dict[str, Any]] = {}

    @cached_property
    def declared(self) -> Mapping[str, Any]:
        """All fields and options, by name."""
        return self.config.declared_fields()

    def registry(self, name: str) -> Registry | None:
        """Returns the components that a field or option names; None for any other."""
        return registry_of(self.declared[name]) if name in self.declared else None

    def implied_options(self, name: str) -> frozenset[str]:
        """Returns the options of the components of a field and of those nested in them."""
        if name not in self._implied:
            names: set[str] = set()
            choices = [self.declared[name]]
            while choices:
                declared = choices.pop()
                registry = registry_of(declared)
                for component in () if registry is None else known_names(declared):
                    assert registry is not None
                    for option_name, inner in fields_of(registry[component].options).items():
                        if option_name not in names:
                            choices.append(inner)
                        names.add(option_name)
            self._implied[name] = frozenset(names)
        return self._implied[name]

    def applies(self, name: str, values: Mapping[str, Any]) -> bool:
        """Whether a trial can have a field or option; True for components of other versions."""
        return name not in self.inapplicable(values)

    def inapplicable(self, values: Mapping[str, Any]) -> set[str]:
        """Returns the options that a trial cannot have; none for components of other versions."""
        try:
            return self.config.inapplicable(self._choices(values))
        except UserError:
            return set()

    def is_nested(self, name: str, field: str, values: Mapping[str, Any]) -> bool:
        """Whether an option belongs to another component than the one that a field names."""
        try:
            found = self.config.applicable(self._choices(values)).get(name)
        except UserError:
            return False
        return found is not None and found.registry is not self.registry(field)

    def _choices(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the protocol and the components of a trial, which decide on its options."""
        return {
            name: value
            for name, value in values.items()
            if value is not None
            and (
                name == "protocol"
                or (
                    self.registry(name) is not None and plain_type(self.declared[name]) is not tuple
                )
            )
        }

    def changed_options(
        self, field: str, names: tuple[str, ...], values: Mapping[str, Any]
    ) -> Options:
        """Returns the options of a trial that differ from their defaults under its protocol.

        Of a component that was chosen instead of the default one only its name differs, unless its
        options do, too. Options without a value are left out.

        Args:
            field: the field whose component the options belong to.
            names: options, in the order in which they are returned.
            values: plain values of a resolved configuration.
        """
        base = (("protocol", values["protocol"]), (field, values[field]))
        choices = tuple(
            (name, values[name])
            for name in names
            if self.registry(name) is not None and values.get(name) is not None
        )
        defaults = dict(self._defaults(base + choices))
        defaults |= {name: self._defaults(base).get(name) for name, _ in choices}
        return tuple(
            (name, values[name])
            for name in names
            if values.get(name) is not None and values[name] != defaults.get(name)
        )

    def _defaults(self, given: Options) -> dict[str, Any]:
        if given not in self._defaults_of:
            try:
                resolved = self.config.from_dict(dict(given)).resolve()
                self._defaults_of[given] = plain_values(resolved.to_dict())
            except UserError:  # a component of another version of the code
                self._defaults_of[given] = {}
        return self._defaults_of[given]

    def chosen(self, field: str, values: Mapping[Any, Any]) -> Any:
        """Returns the component that a trial's configuration named.

        Under the published protocol a resolved configuration may name what ran in its place
        (`kmeans_published`): it counts as the component itself. Under the sound protocol such a
        name is a component of its own.
        """
        value, registry = values[field], self.registry(field)
        if registry is None or values["protocol"] != PUBLISHED:
            return value
        sound = {variant: name for name, variant in registry.published_variants().items()}
        return sound.get(value, value)

    def label(self, field: str, value: Any) -> str:
        """Returns the printed form of a value: the label of a component, else the value."""
        registry = self.registry(field)
        return str(value) if registry is None else registry.label(str(value))

    def order(self, field: str, value: Any) -> tuple[Any, ...]:
        """Returns a key that sorts components by their registry and data sets by their list.

        Unknown ones, of other versions of the code, come after them; None comes last.
        """
        registry = self.registry(field)
        known = DATASETS if field == "dataset" else () if registry is None else tuple(registry)
        position = known.index(value) if value in known else len(known)
        return (value is None, position, "" if value is None else value)


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns values that compare and hash: lists become comma-separated text."""
    return {k: ",".join(v) if isinstance(v, list | tuple) else v for k, v in values.items()}


def method_label(method: str) -> str:
    """Returns the label of a method of any kind of trials."""
    return next((registry.label(method) for registry in _methods() if method in registry), method)


def method_order(method: str) -> tuple[int, str]:
    """Returns a key that sorts methods of any kind as in their registries, unknown ones last."""
    names = [name for registry in _methods() for name in registry]
    return (names.index(method) if method in names else len(names), method)


def _methods() -> list[Registry]:
    """Returns the registries of the methods of all kinds of trials."""
    fields = (kind.config.static_fields()[kind.config.method_field] for kind in KINDS.values())
    return [registry for registry in map(registry_of, fields) if registry is not None]
