"""Components of a trial that are chosen by name, and their options.

A *component* is a clusterer, a selector, a network, …: what one field of a configuration names. Its
options are the fields of a frozen dataclass, each declared once by `option` with default, help and
range. Command line, identity, result columns, table keys, `--set`, `--only` and search spaces read
that declaration, so a component with a new option is its own file and one line in a registry.

Registries know where an implementation is, not what it is: it is imported when it is built, so that
reading options does not import torch.
"""

import dataclasses
import functools
import importlib
import math
import operator
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from distill.errors import UserError, require_known, shortened
from distill.parsing import MAX_COUNT, MAX_INT64, check_characters, number, whole_number

Field = dataclasses.Field[Any]


class SearchRange(NamedTuple):
    """The numbers that searches try for an option; narrower than what it may be.

    Attributes:
        low: least number.
        high: largest number.
        log: whether they are sampled on a logarithmic scale.
    """

    low: float
    high: float
    log: bool = False


Search = SearchRange | tuple[str, ...]
"""What searches try: numbers, or words."""


def option(
    default: Any,
    help_text: str,
    *,
    group: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    search: Search | None = None,
) -> Any:
    """Declares an option: a dataclass field with help text and range.

    Args:
        default: its default; None in a field that is not `… | None`: the default follows from
            other fields (`Config.derived_defaults`).
        help_text: one line for `--help`.
        group: heading in `--help`; options of components are under that of their component.
        minimum: least value.
        maximum: largest value; None: `MAX_COUNT` for whole numbers.
        above: value that it must exceed.
        below: value that it must stay below.
        search: what searches over all components try; None: its default.
    """
    limits = {"minimum": minimum, "maximum": maximum, "above": above, "below": below}
    metadata = {"help": help_text, "group": group, "limits": limits, "search": search}
    return field(default=default, metadata=metadata)


def choice(
    default: Any,
    registry: "Registry",
    help_text: str,
    *,
    group: str = "",
    excluded: tuple[str, ...] = (),
    search: tuple[str, ...] | None = None,
    other: str | None = None,
) -> Any:
    """Declares an option that names a component, or several where its type is a tuple.

    Args:
        default: name of a component; None as for `option`.
        registry: the components there are.
        help_text: one line for `--help`; the names are added.
        group: see `option`.
        excluded: names of components that cannot be used here.
        search: the names that searches try; None: its default.
        other: name of the component that stands for any other text, such as a path
            (`component_of`); None: only names of components are allowed.
    """
    metadata: dict[str, Any] = {"help": help_text, "group": group, "limits": {}, "search": search}
    metadata |= {"registry": registry, "excluded": excluded, "other": other}
    return field(default=default, metadata=metadata)


def registry_of(declared: Field) -> "Registry | None":
    """Returns the components that a field names; None for any other field."""
    registry: Registry | None = declared.metadata.get("registry")
    return registry


def component_of(declared: Field, value: str) -> str:
    """Returns the component that a value of a `choice` stands for: itself, or the one for others.

    Example:
        >>> from distill.config.evaluation import EvaluationConfig
        >>> declared = EvaluationConfig.static_fields()["set"]
        >>> component_of(declared, "random"), component_of(declared, "images/set.pt")
        ('random', 'file')
    """
    registry, other = registry_of(declared), declared.metadata.get("other")
    return other if registry is not None and other is not None and value not in registry else value


def known_names(declared: Field) -> tuple[str, ...]:
    """Returns the names of the components that a `choice` may name."""
    registry = registry_of(declared)
    assert registry is not None
    return tuple(name for name in registry if name not in declared.metadata["excluded"])


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """The options of a component without any."""


@dataclass(frozen=True, kw_only=True)
class Component:
    """A component that can be named in a configuration.

    Attributes:
        build: makes it from its options and `fixed`: a callable, or its place as
            `package.module:name`, imported when first needed. None: there is nothing to make, as
            for an embedding; the code that uses the choice reads its name.
        options: frozen dataclass of its options. `exclusive`, a class variable, may name pairs of
            options of which at most one is given.
        fixed: further arguments of `build`.
        label: what tables print; None: the name.
        published: name of the component that the published protocol runs in its place; None:
            itself.
        searched: whether searches over all components of its kind try it.

    Example:
        >>> from distill import CLUSTERERS, Component
        >>> tiny = Component(build="distill.clustering.kmeans:KMeans", fixed={"max_iter": 1})
        >>> with CLUSTERERS.registered("one_step", tiny):
        ...     CLUSTERERS.build("one_step").max_iter
        1
    """

    build: str | Callable[..., Any] | None = None
    options: type = NoOptions
    fixed: Mapping[str, Any] = field(default_factory=dict)
    label: str | None = None
    published: str | None = None
    searched: bool = True


class Registry(Mapping[str, Component]):
    """Components by name. The names are those in configurations, results and tables.

    Args:
        noun: what the components are (`clusterer`, `network`, …), for messages.
        components: by name.

    Example:
        >>> from distill import CLUSTERERS
        >>> CLUSTERERS.label("kmeans"), CLUSTERERS["dbscan"].options().min_samples
        ('K-Means', 2)
    """

    def __init__(self, noun: str, components: Mapping[str, Component]) -> None:
        self.noun = noun
        self._components: dict[str, Component] = {}
        for name, component in components.items():
            self.register(name, component)

    def __getitem__(self, name: str) -> Component:
        """Returns a component.

        Raises:
            UserError: there is none of that name.
        """
        require_known(self.noun, name, self._components)
        return self._components[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._components)

    def __len__(self) -> int:
        return len(self._components)

    def __contains__(self, name: object) -> bool:
        return name in self._components

    def get(self, name: str, default: Any = None, /) -> Any:
        """Returns a component, or the default where there is none of that name."""
        return self._components.get(name, default)

    def register(self, name: str, component: Component) -> None:
        """Adds a component.

        Raises:
            ValueError: the name is taken, or an option has another type than one of the same name.
        """
        if name in self._components:
            raise ValueError(f"{self.noun} {name!r} is registered already; choose another name")
        for option_name, declared in fields_of(component.options).items():
            for other, known in self._components.items():
                same = fields_of(known.options).get(option_name)
                if same is not None and plain_type(same) is not plain_type(declared):
                    raise ValueError(
                        f"option {option_name} of {self.noun} {name!r} must be of type "
                        f"{plain_type(same).__name__}, as it is for {other!r}"
                    )
        self._components[name] = component

    @contextmanager
    def registered(self, name: str, component: Component) -> Iterator[None]:
        """Adds a component for the time of the context."""
        self.register(name, component)
        try:
            yield
        finally:
            del self._components[name]

    def build(self, name: str, **options: Any) -> Any:
        """Builds a component from its name and its options.

        Args:
            name: of the component.
            options: all of its options, and whatever else its kind is built from.

        Raises:
            UserError: the name is unknown, or an option is out of range.
            TypeError: there is nothing to build for these components.
        """
        component = self[name]
        if component.build is None:
            raise TypeError(f"{self.noun} {name!r} is not built; use its name")
        return resolve_reference(component.build)(**component.fixed, **options)

    def label(self, name: str) -> str:
        """Returns what tables print; the name itself for one of another version of the code."""
        return (self._components[name].label or name) if name in self else name

    def published_variants(self) -> dict[str, str]:
        """Returns name → name of the component that the published protocol runs in its place."""
        return {name: known.published for name, known in self.items() if known.published}


def resolve_reference(reference: Any) -> Any:
    """Returns what a reference `package.module:name` names; anything else as it is."""
    if not isinstance(reference, str):
        return reference
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


class OptionType(NamedTuple):
    """What a field may hold.

    Attributes:
        plain: int, float, str, bool or tuple (of texts).
        words: the allowed texts; empty: any.
        is_optional: whether None is a value of its own (`… | None`).
    """

    plain: type
    words: tuple[str, ...]
    is_optional: bool


@functools.cache
def fields_of(options_class: type) -> dict[str, Field]:
    """Returns the declared options of a dataclass by name, in their order.

    Fields that are not made by `option` or `choice` are left out.
    """
    hints = typing.get_type_hints(options_class)
    declared = {}
    for found in dataclasses.fields(options_class):
        if "help" in found.metadata:
            found.type = hints[found.name]
            declared[found.name] = found
    return declared


@functools.cache
def option_type(declared: Field) -> OptionType:
    """Returns what a field of `fields_of` may hold."""
    annotation: Any = declared.type
    is_optional = isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is (
        typing.Union
    )
    if is_optional:
        kinds = typing.get_args(annotation)
        if len(kinds) != 2 or type(None) not in kinds:
            raise TypeError(f"option {declared.name} must have one type or `… | None`")
        annotation = next(a for a in kinds if a is not type(None))
    if typing.get_origin(annotation) is Literal:
        return OptionType(str, typing.get_args(annotation), is_optional)
    return OptionType(typing.get_origin(annotation) or annotation, (), is_optional)


def plain_type(declared: Field) -> type:
    """Returns the plain type of a field: int, float, str, bool or tuple."""
    return option_type(declared).plain


def is_derived(declared: Field) -> bool:
    """Whether the default of a field follows from other fields."""
    return declared.default is None and not option_type(declared).is_optional


def checked(name: str, declared: Field, given: object) -> Any:
    """Returns a value in its field's type.

    Args:
        name: of the option, for messages.
        declared: a field of `fields_of`.
        given: the value; None where the field is optional or its default is derived.

    Raises:
        UserError: the value is of another type, not among the known words or out of range.
    """
    value: Any = given
    plain: Any
    plain, words, is_optional = option_type(declared)
    if value is None and (is_optional or is_derived(declared)):
        return None
    if plain is tuple and isinstance(value, list | tuple):
        value = tuple(p if isinstance(p, str) else shortened(p) for p in value)
    if plain is float and type(value) is int and abs(value) < sys.float_info.max:
        value = float(value)
    if type(value) is not plain:
        raise UserError(f"{name} must be of type {plain.__name__}, got {shortened(value)}")
    if plain in (str, tuple):
        check_characters(name, value if plain is str else "".join(value))
    if words:
        require_known(name, value, words)
    registry = registry_of(declared)
    if registry is not None:
        for part in value if plain is tuple else (value,):
            require_known(registry.noun, component_of(declared, part), known_names(declared))
    if plain in (int, float):
        _check_limits(name, value, declared.metadata["limits"])
    return value


def parsed(name: str, declared: Field, text: str) -> Any:
    """Turns the text of an option (`--ipc 10`, `--set ipc=10`) into the field's type.

    Raises:
        UserError: the text does not fit the type.
    """
    plain, _, is_optional = option_type(declared)
    if text.lower() == "none" and (is_optional or is_derived(declared)):
        return None
    if plain is tuple:
        return tuple(part for part in text.split(",") if part)
    if plain is bool:
        require_known(name, text.lower(), ("true", "false"))
        return text.lower() == "true"
    if plain is int:
        return whole_number(name, text, maximum=MAX_INT64)
    return number(name, text) if plain is float else text


def check_options(options: Any) -> None:
    """Checks a dataclass of options that is built directly; called in its `__post_init__`.

    Raises:
        UserError: a value is out of range, or two options exclude each other.
    """
    options_class: type = type(options)
    for name, declared in fields_of(options_class).items():
        object.__setattr__(options, name, checked(name, declared, getattr(options, name)))
    check_exclusive(exclusive_pairs(options_class), vars(options))


def exclusive_pairs(options_class: type) -> tuple[tuple[str, str], ...]:
    """Returns the pairs of options of which at most one is given."""
    pairs: tuple[tuple[str, str], ...] = getattr(options_class, "exclusive", ())
    return pairs


def check_exclusive(pairs: tuple[tuple[str, str], ...], given: Mapping[str, Any]) -> None:
    """Raises a UserError where both options of a pair are given."""
    for first, second in pairs:
        if given.get(first) is not None and given.get(second) is not None:
            raise UserError(
                f"give {first} or {second}, not both; got {given[first]} and {given[second]}"
            )


def _check_limits(name: str, value: float, limits: Mapping[str, float | None]) -> None:
    rules: tuple[tuple[str, str, Callable[[float, float], bool]], ...] = (
        ("minimum", "at least", operator.ge),
        ("above", "above", operator.gt),
        ("maximum", "at most", operator.le),
        ("below", "below", operator.lt),
    )
    if isinstance(value, int) and limits["maximum"] is None and value > MAX_COUNT:
        raise UserError(f"{name} must be at most {MAX_COUNT}, got {shortened(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name} must be finite, got {value}")
    present = [(limit, *rule) for rule in rules if (limit := limits[rule[0]]) is not None]
    if not all(holds(value, limit) for limit, _, _, holds in present):
        wanted = " and ".join(f"{words} {_shown(limit)}" for limit, _, words, _ in present)
        raise UserError(f"{name} must be {wanted}, got {shortened(value)}")


def _shown(limit: float) -> str:
    return str(limit) if isinstance(limit, int) else f"{limit:g}"
