"""What the configurations of all kinds of trials have in common.

A configuration is a frozen value, checked when built and identified by its hash. It has *fields*,
the same for all trials of its kind, and the *options* of the components that some fields choose
(`distill.components`): the flat keyword arguments `clusterer="dbscan", eps=15.0` set a field and an
option of the chosen clusterer. `resolve` fills in all defaults, so that
`config.replace(ipc=50)` never keeps a learning rate that was derived for another `ipc`.

Standard library only: the analysis reads configurations without torch.
"""

# ruff: noqa: E501 - one line an option: it is read as a table
import functools
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeVar

from distill.components import (
    Field,
    Registry,
    check_exclusive,
    checked,
    component_of,
    exclusive_pairs,
    fields_of,
    is_derived,
    known_names,
    option,
    option_type,
    parsed,
    plain_type,
    registry_of,
)
from distill.config.defaults import DATASETS
from distill.errors import InapplicableOptionError, UserError, require_known
from distill.parsing import MAX_INT64
from distill.value_range import canonical_value_range

SCHEMA_VERSION = 2
"""Part of every trial's identity: raised when the same configuration would mean another result."""

DATA_FIELDS = (
    *("dataset", "image_size", "val_fraction", "test_fraction", "split_seed", "train_per_class"),
    *("on_corrupt", "value_range"),
)
"""The fields that decide which images are loaded."""

NEUTRAL_VALUES: Mapping[str, Any] = {
    "on_small_class": "error",
    "augment_selector": "random",
    "augment_contrast": False,
    "weights_in": "matching",
    "pick": "nearest",
    "quota": "one",
    "networks": "fresh",
    "cluster_selection": "eom",
}
"""Fields and options that were added after `SCHEMA_VERSION` was last raised, with the value that
stands for what trials did before. It is left out of the identity, so that earlier results stay
valid."""


class Applicable(NamedTuple):
    """An option that a configuration has through one of its components.

    Attributes:
        declared: its declaration.
        registry: the components among which that one is.
        component: name of that one.
    """

    declared: Field
    registry: Registry
    component: str


@dataclass(frozen=True, kw_only=True, init=False)
class Config(ABC):
    """Base of all configurations: fields that every kind of trial has, and what can be done.

    Attributes:
        kind: name of the kind of trial, in every row of results.
        method_field: the field that names the method: what tables compare.
        baseline: fields of the method that others of the kind are compared with; empty: none.
        exclusive: pairs of fields of which at most one is given.
        given_options: name and value of the options of components that were given, by name.

    Example:
        >>> from distill import Config, DistillationConfig
        >>> config: Config = DistillationConfig(clusterer="agglomerative", linkage="average")
        >>> config["linkage"], config.replace(linkage="single").trial_id == config.trial_id
        ('average', False)

    Raises:
        UserError: a value is out of range, a name is unknown, an option does not apply to the
            components chosen, or two options exclude each other.
    """

    kind: ClassVar[str]
    method_field: ClassVar[str]
    baseline: ClassVar[Mapping[str, Any]] = {}
    exclusive: ClassVar[tuple[tuple[str, str], ...]] = ()

    # fmt: off
    dataset: str = option("digits", "digits, mnist_5k, cifar10, cifar100, mnist, fashion_mnist, svhn, parquet:PATH[,PATH…] or folder:PATH", group="data")
    classes: tuple[str, ...] = option((), "names of the classes to keep, separated by commas, in any order; empty: all", group="data")
    image_size: int | None = option(None, "resize images to this height and width in pixels", group="data", minimum=4)
    val_fraction: float = option(0.0, "share of the training images held out for validation", group="data", minimum=0, below=1)
    test_fraction: float = option(0.2, "share of the images kept for testing where a data set has no test split", group="data", above=0, below=1)
    split_seed: int = option(0, "seed of the splits; not varied with --seed, so that trials share their images", group="data", minimum=0, maximum=MAX_INT64)
    train_per_class: int | None = option(None, "training images of each class that are used, at most, drawn by split_seed", group="data", minimum=1)
    on_corrupt: Literal["error", "skip", "keep"] = option("error", "what to do with images that cannot be decoded or have no label, and classes without images; keep: keep what decodes of damaged images, skip the others", group="data")
    value_range: str | None = option(None, "LOW:HIGH, stored pixel values that become 0 and 255, for images that use a part of their range", group="data")
    on_small_class: Literal["error", "cap"] = option("error", "what to do with classes of fewer training images than are asked for; cap: take what there is", group="data")
    protocol: Literal["sound", "published"] = option("sound", "published: as the paper's own code ran, with its defects", group="method")
    eval_split: Literal["test", "val"] = option("test", "images the scores are taken on; searches use val", group="evaluation")
    seed: int = option(0, "seed of everything random in the trial but the splits", group="trial", minimum=0, maximum=MAX_INT64)
    # fmt: on
    given_options: tuple[tuple[str, Any], ...] = field(default=(), kw_only=True)

    def __init__(self, /, **values: Any) -> None:
        """Checks and keeps the values.

        Args:
            values: fields of the kind and options of the chosen components; what is left out takes
                its default, and so does None for options and for fields with a derived default.
        """
        fields = self.static_fields()
        for name, declared in fields.items():
            value = checked(name, declared, values.get(name, declared.default))
            object.__setattr__(self, name, value)
        given = {name: v for name, v in values.items() if name not in fields and v is not None}
        for name in values.keys() - fields.keys() - given.keys():
            require_known("option", name, self.declared_fields())
        object.__setattr__(self, "given_options", self._checked_options(given))
        self._check_common()
        self._check()

    @abstractmethod
    def _check(self) -> None:
        """Raises a UserError where values that are right each for itself do not fit together."""

    @abstractmethod
    def resolve(self) -> "Config":
        """Returns the configuration with every default filled in; idempotent."""

    def derived_defaults(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the defaults of fields and options that follow from other values.

        Args:
            values: what was given, and the defaults that follow from nothing.
        """
        del values
        return {}

    @classmethod
    def running(cls, name: str, values: Mapping[str, Any]) -> str:
        """Returns the component that runs for a chosen one; another one under some protocols.

        Args:
            name: field or option that names the component.
            values: of all fields, the chosen name among them.
        """
        chosen: str = values[name]
        declared = cls.static_fields().get(name)
        return chosen if declared is None else component_of(declared, chosen)

    # --- fields and options ---------------------------------------------------------------------

    @classmethod
    def static_fields(cls) -> dict[str, Field]:
        """Returns the fields that all trials of the kind have, by name."""
        return fields_of(cls)

    @classmethod
    def declarations(cls) -> Iterator[tuple[str, Applicable]]:
        """Yields every option that some component of the kind has, once for each component."""
        seen: set[int] = set()
        choices = list(cls.static_fields().values())
        while choices:
            choice = choices.pop(0)
            registry = registry_of(choice)
            if registry is None or id(registry) in seen:
                continue
            seen.add(id(registry))
            for component in known_names(choice):
                for name, declared in fields_of(registry[component].options).items():
                    choices.append(declared)
                    yield name, Applicable(declared, registry, component)

    @classmethod
    def declared_fields(cls) -> dict[str, Field]:
        """Returns all that can be set, by name: the fields, then the options of components.

        An option that several components have is in it once, as the first of them declares it.

        Raises:
            ValueError: an option has the name of a field, or another type than one of its name.
        """
        fields = cls.static_fields()
        declared = dict(fields)
        for name, found in cls.declarations():
            owner = f"option {name} of {found.registry.noun} {found.component!r}"
            if name in fields:
                raise ValueError(
                    f"{owner} has the name of a field of every {cls.kind}; choose another name"
                )
            known = plain_type(declared.setdefault(name, found.declared))
            if known is not plain_type(found.declared):
                raise ValueError(
                    f"{owner} must be of type {known.__name__}, as another component's is"
                )
        return declared

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """Returns the names of the options that some component of the kind has."""
        fields = cls.static_fields()
        return tuple(name for name in cls.declared_fields() if name not in fields)

    @classmethod
    def applicable(cls, values: Mapping[str, Any]) -> dict[str, Applicable]:
        """Returns the options that a trial has, by name.

        Where several of its components have an option of one name, the outermost one counts: that
        of the selector before that of the embedding which the selector uses.

        Args:
            values: fields and options; what is left out or None takes its default.

        Raises:
            UserError: the name of a component is unknown.
        """
        found: dict[str, Applicable] = {}
        full: dict[str, Any] = {}
        choices = []
        for name, declared in cls.static_fields().items():
            value = values.get(name)
            full[name] = declared.default if value is None else value
            if registry_of(declared) is not None:
                choices.append((name, declared))
        while choices:
            name, declared = choices.pop(0)
            registry = registry_of(declared)
            assert registry is not None
            names = full[name] if plain_type(declared) is tuple else (cls.running(name, full),)
            for component in names:
                for option_name, inner in fields_of(registry[component].options).items():
                    if option_name in found or option_name in full:
                        continue
                    found[option_name] = Applicable(inner, registry, component)
                    if registry_of(inner) is not None:
                        value = values.get(option_name)
                        full[option_name] = inner.default if value is None else value
                        choices.append((option_name, inner))
        return found

    @classmethod
    def inapplicable(cls, values: Mapping[str, Any]) -> set[str]:
        """Returns the options that have no meaning in a trial.

        Args:
            values: as for `applicable`.

        Raises:
            UserError: the name of a component is unknown.
        """
        return set(cls.option_names()) - cls.applicable(values).keys()

    @classmethod
    def owners(cls, name: str) -> str:
        """Returns the components that have an option, as messages name them."""
        owners: dict[str, list[str]] = {}
        for option_name, found in cls.declarations():
            if option_name == name:
                owners.setdefault(found.registry.noun, []).append(found.component)
        return "; ".join(f"{noun} {', '.join(names)}" for noun, names in owners.items())

    @classmethod
    def parse_value(cls, name: str, text: str) -> Any:
        """Turns the text of an option (`--ipc 10`, `--set ipc=10`) into the field's type.

        Raises:
            UserError: no such field or option, or the text does not fit its type.
        """
        declared = cls.declared_fields()
        require_known("option", name, declared)
        words = option_type(declared[name]).words
        if name in cls.option_names() and text.lower() == "none" and "none" not in words:
            return None  # not given
        return parsed(name, declared[name], text)

    def __getitem__(self, name: str) -> Any:
        """Returns the value of a field or option; None where it is not given or does not apply.

        Raises:
            UserError: the kind has no such field or option.
        """
        if name in self.static_fields():
            return getattr(self, name)
        for option_name, value in self.given_options:
            if option_name == name:
                return value
        require_known("option", name, self.declared_fields())
        return None

    def options_for(self, registry: Registry, component: str) -> dict[str, Any]:
        """Returns the options of a component, as this configuration has them.

        Options that it does not have take the component's defaults; those excluded by another one
        are None.
        """
        values = self.to_dict()
        applicable = self.applicable(values)
        return {
            name: values.get(name) if name in applicable or name in values else declared.default
            for name, declared in fields_of(registry[component].options).items()
        }

    def data_arguments(self) -> dict[str, Any]:
        """Returns what `distill.datasets.load_dataset` takes; `classes` are chosen afterwards."""
        return {name: getattr(self, name) for name in DATA_FIELDS}

    def replace(self, **changes: Any) -> Self:
        """Returns the configuration with some fields or options changed."""
        return type(self)(**(self.to_dict() | changes))

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields and the given options as plain values that JSON can hold."""
        values = {name: getattr(self, name) for name in self.static_fields()}
        values |= dict(self.given_options)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Builds a configuration from `to_dict`'s form; missing keys take their defaults.

        Raises:
            UserError: a key is unknown, or a value is not allowed.
        """
        return cls(**values)

    @classmethod
    def identifying_values(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns those values of a resolved configuration that identify the trial."""
        return dict(values)

    @classmethod
    def identity_of(cls, values: Mapping[str, Any], *, schema_version: int = SCHEMA_VERSION) -> str:
        """Returns the trial_id of a resolved configuration's values, such as the columns of a row.

        Args:
            values: fields and options as plain values, in any order; what does not apply is None
                or left out.
            schema_version: of the code that the values come from.

        Example:
            >>> from distill import DistillationConfig
            >>> config = DistillationConfig(ipc=10)
            >>> DistillationConfig.identity_of(config.resolve().to_dict()) == config.trial_id
            True
        """
        identifying = {
            name: value
            for name, value in cls.identifying_values(values).items()
            if value is not None and NEUTRAL_VALUES.get(name) != value
        }
        content = [schema_version, cls.kind, identifying]
        canonical = json.dumps(content, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @functools.cached_property
    def trial_id(self) -> str:
        """16 hexadecimal digits: the hash of the resolved configuration and the schema version."""
        return self.identity_of(self.resolve().to_dict())

    # --- checks ---------------------------------------------------------------------------------

    def _checked_options(self, given: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
        fields = {name: getattr(self, name) for name in self.static_fields()}
        applicable = self.applicable(fields | dict(given))
        options = {}
        for name, value in given.items():
            if name not in applicable:
                require_known("option", name, self.declared_fields())
                message = self._does_not_apply(name, fields | dict(given))
                raise InapplicableOptionError(name, message)
            options[name] = checked(name, applicable[name].declared, value)
        pairs = list(self.exclusive)
        for found in applicable.values():
            pairs += exclusive_pairs(found.registry[found.component].options)
        check_exclusive(tuple(dict.fromkeys(pairs)), fields | options)
        return tuple(sorted(options.items()))

    def _does_not_apply(self, name: str, values: Mapping[str, Any]) -> str:
        nouns = {found.registry.noun for other, found in self.declarations() if other == name}
        chosen = [
            f"{registry.noun} {component!r}"
            for registry, component in self._components(values)
            if registry.noun in nouns
        ]
        method = f"{self.method_field} {values[self.method_field]!r}"
        return (
            f"{name} does not apply to {', '.join(dict.fromkeys(chosen)) or method}, "
            f"only to {self.owners(name)}; leave it out"
        )

    def _components(self, values: Mapping[str, Any]) -> Iterator[tuple[Registry, str]]:
        """Yields the components that a trial has, with their registries."""
        choices = dict(self.static_fields())
        choices |= {name: found.declared for name, found in self.applicable(values).items()}
        full: dict[str, Any] = {name: declared.default for name, declared in choices.items()}
        full |= {name: value for name, value in values.items() if value is not None}
        for name, declared in choices.items():
            registry = registry_of(declared)
            if registry is not None:
                is_several = plain_type(declared) is tuple
                for component in full[name] if is_several else (self.running(name, full),):
                    yield registry, component

    def _check_common(self) -> None:
        if not self.dataset.startswith(("parquet:", "folder:")):
            require_known("dataset", self.dataset, (*DATASETS, "parquet:PATH", "folder:PATH"))
        if self.eval_split == "val" and self.val_fraction == 0:
            raise UserError(
                "eval_split 'val' needs validation images, but val_fraction is 0; "
                "set val_fraction, for example to 0.1"
            )
        if self.value_range is not None:
            object.__setattr__(self, "value_range", canonical_value_range(self.value_range))
        if len(self.classes) == 1 or len(set(self.classes)) < len(self.classes):
            raise UserError(
                f"classes must name at least two, each once, got {','.join(self.classes)!r}"
            )

    @property
    def trains_with_weights(self) -> bool:
        """Whether images count by their weights where networks are trained on them; if it can be."""
        return bool(getattr(self, "weights_in", "matching") != "matching")

    def substitutions(self) -> dict[str, Any]:
        """Returns the fields that are others in the resolved configuration, by name.

        Such as a clusterer whose published variant runs.
        """
        return {}

    def resolved_values(self) -> dict[str, Any]:
        """Returns the values of the resolved configuration."""
        values = self.to_dict() | self.substitutions()
        values["classes"] = sorted(values["classes"])
        derived = self.derived_defaults(values)
        fields = self.static_fields()
        for name, declared in fields.items():
            if values[name] is None and is_derived(declared):
                values[name] = derived[name]
        applicable = self.applicable(values)
        given = {name for name in applicable if values.get(name) is not None}
        options = {}
        for name, found in applicable.items():
            if name in given:
                options[name] = values[name]
            elif not _excluded(name, found, given):
                options[name] = derived.get(name, found.declared.default)
        return {name: values[name] for name in fields} | options


AnyConfig = TypeVar("AnyConfig", bound=Config)


def _excluded(name: str, found: Applicable, given: set[str]) -> bool:
    """Whether an option that excludes this one is given."""
    pairs = exclusive_pairs(found.registry[found.component].options)
    return any(
        (name == first and second in given) or (name == second and first in given)
        for first, second in pairs
    )
