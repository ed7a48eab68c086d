"""The configuration of one trial: a frozen value, checked when built, named by its hash.

`Config` is what the configurations of both papers share; `DistillationConfig` is a distillation, the
second paper's `SelectionConfig` lives in `distill.config.selection`.

A field that is None stands for the default of its data-set family or clusterer;
`DistillationConfig.resolved` fills all of them in one place, so `dataclasses.replace(config, ipc=50)`
never keeps a learning rate that was derived for another `ipc`. Standard library only: the analysis
reads this module without torch.

Defaults follow IDC (Kim et al., ICML 2022), DREAM (Liu et al., ICCV 2023) and the paper that
swapped clusterings inside DREAM; where they differ, the paper wins.
"""

import dataclasses
import functools
import hashlib
import json
import math
import operator
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, TypeVar

from distill.errors import UserError, require_known

SCHEMA_VERSION = 1
"""Part of every trial's identity: raised when the same configuration would mean another result."""

DATASETS = ("digits", "cifar10", "cifar100", "mnist", "fashion_mnist", "svhn")
"""Data sets with a name of their own; `parquet:PATH` and `folder:PATH` come on top."""

NETWORKS = ("convnet", "resnet10", "resnet18")

CLUSTERER_OPTIONS: dict[str, dict[str, Any]] = {
    "kmeans": {},
    "kmeans++": {"n_local_trials": 1},
    "kmedoids": {"medoid_algorithm": "fasterpam", "medoid_init": "lab"},
    "dbscan": {"eps": None, "eps_quantile": 0.5, "min_samples": 2},
    "agglomerative": {"linkage": "ward"},
    "birch": {"threshold_quantile": 0.5, "branching_factor": 50},
    "random": {},
    "kmeans_published": {},
    "kmeans++_published": {},
    "kmedoids_published": {},
    "kmedoids_sklearn_extra": {},
    "dbscan_published": {"eps": 15.0, "min_samples": 2},
    "agglomerative_published": {},
}
"""Every clusterer with the fields of `DistillationConfig` that belong to it, and their defaults."""

PUBLISHED_VARIANTS = {
    name.removesuffix("_published"): name for name in CLUSTERER_OPTIONS if "_published" in name
}
"""What the published protocol runs where the sound one runs the key."""

PAPER_DEFAULTS: dict[str, Any] = {
    "n_representatives": 128,
    "factor": 2,
    "n_outer": 1000,
    "n_inner": 100,
    "metric": "mse",
    "width": 128,
    "n_net_batches": 16,
    "eval_epochs": 1000,
    "eval_every": 50,
    "eval_lr": 0.01,
    "eval_augment": "color_crop_flip_scale_rotate",
}
"""What None stands for, unless the data set says otherwise below."""
_NO_FLIP = "color_crop_scale_rotate"
FAMILY_DEFAULTS: dict[str, dict[str, Any]] = {
    "svhn": {"eval_augment": _NO_FLIP},
    "mnist": {"metric": "l1", "eval_augment": _NO_FLIP},
    "fashion_mnist": {"metric": "l1"},
    # The embedded data set: sizes that two CPU cores finish in about a minute. Not published.
    "digits": {
        "n_representatives": 64,
        "factor": 1,
        "metric": "l1",
        "n_outer": 4,
        "n_inner": 75,
        "width": 32,
        "n_net_batches": 12,
        "eval_epochs": 300,
        "eval_every": 1,
        "eval_lr": 0.1,
        "eval_augment": _NO_FLIP,
    },
}
_LR_IMG = {"mnist": 1e-4, "fashion_mnist": 1e-4, "digits": 3e-4}
_LR_IMG_ELSE = 5e-3
"""At ipc 10 and the native size; from there it grows with ipc and with the area, as in IDC."""
_NATIVE_SIZES = {"mnist": 28, "fashion_mnist": 28, "digits": 8}
_NATIVE_SIZE_ELSE = 32


def option(
    default: Any,
    group: str,
    help_text: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Any:
    """A field with its help text and range: `minimum` and `maximum` belong to it, others do not."""
    limits = {"minimum": minimum, "maximum": maximum, "above": above, "below": below}
    return field(default=default, metadata={"group": group, "help": help_text, "limits": limits})


@dataclass(frozen=True, kw_only=True)
class Config(ABC):
    """What every kind of configuration can do; the fields come with the kinds, made by `option`.

    Attributes:
        kind: what a trial of such a configuration is; in every row of results.
        method_field: the field that names the method, by which options belong to a trial or not.
        exclusive: pairs of fields of which at most one is given.

    Raises:
        UserError: a value is out of range, a name is unknown, or two options exclude each other.
    """

    kind: ClassVar[str]
    method_field: ClassVar[str]
    exclusive: ClassVar[tuple[tuple[str, str], ...]] = (("eps", "eps_quantile"),)

    def __post_init__(self) -> None:
        for name, value_field in fields_of(type(self)).items():
            object.__setattr__(self, name, self._checked(value_field, getattr(self, name)))
        self._check()

    @abstractmethod
    def _check(self) -> None:
        """Raises a UserError where values that are right each for itself do not go together."""

    @abstractmethod
    def resolved(self) -> Self:
        """Returns the configuration with every default filled in; idempotent."""

    @classmethod
    @abstractmethod
    def inapplicable(cls, values: Mapping[str, Any]) -> set[str]:
        """Returns the fields that mean nothing in a trial, by the values of the others.

        Args:
            values: fields of the configuration, those that are left out at their defaults.

        Raises:
            UserError: a name among the values, such as that of the method, is unknown.
        """

    @classmethod
    @abstractmethod
    def owners(cls, name: str) -> str:
        """Returns what a field belongs to, in words; empty: to every trial."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain values that JSON can hold (tuples as lists)."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in ((name, getattr(self, name)) for name in fields_of(type(self)))
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Builds a configuration from `to_dict`'s form; missing keys take their defaults.

        Raises:
            UserError: a key is unknown, or a value is not allowed.
        """
        for name in values:
            require_known("option", name, fields_of(cls))
        return cls(**values)

    @functools.cached_property
    def trial_id(self) -> str:
        """16 hexadecimal digits: the hash of the resolved configuration and the schema version."""
        values = {k: v for k, v in self.resolved().to_dict().items() if v is not None}
        # Distillation was the only kind once: its name is left out, so that its trials keep theirs.
        kind = [] if self.kind == DistillationConfig.kind else [self.kind]
        canonical = json.dumps([SCHEMA_VERSION, *kind, values], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def _checked(self, value_field: dataclasses.Field[Any], given: object) -> Any:
        """Returns the value in its field's type; raises a UserError that says what must hold."""
        name = value_field.name
        kind, words, optional = field_type(name, type(self))
        value: Any = given
        if value is None and optional:
            return None
        if kind is tuple and isinstance(value, list | tuple):
            return tuple(str(part) for part in value)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise UserError(f"{name} must be of type {kind.__name__}, got {value!r}")
        if words:
            require_known(name, value, words)
        if kind in (int, float):
            _check_limits(name, value, value_field.metadata["limits"])
        return value


AnyConfig = TypeVar("AnyConfig", bound=Config)


@dataclass(frozen=True, kw_only=True)
class DistillationConfig(Config):
    """Everything that decides the result of a distillation. Equal configurations are one trial.

    Raises:
        UserError: a value is out of range, a name is unknown, or two options exclude each other.
    """

    kind: ClassVar[str] = "distillation"
    method_field: ClassVar[str] = "clusterer"

    # fmt: off
    dataset: str = option("digits", "data", "digits, cifar10, cifar100, mnist, fashion_mnist, svhn, parquet:PATH[,PATH…] or folder:PATH")
    image_size: int | None = option(None, "data", "resize images to this height and width in pixels", minimum=4)
    val_fraction: float = option(0.0, "data", "share of the training images held out for validation", minimum=0, below=1)
    test_fraction: float = option(0.2, "data", "share of the images kept for testing where a data set has no test split", above=0, below=1)
    split_seed: int = option(0, "data", "seed of the splits; not varied with --seed, so that trials share their images", minimum=0)
    on_corrupt: Literal["error", "skip"] = option("error", "data", "what to do with images that cannot be decoded")

    protocol: Literal["sound", "published"] = option("sound", "method", "published: as paper 1 really ran, with its defects (see the README)")
    clusterer: str = option("kmeans", "method", "clustering that picks the representative real images: " + ", ".join(CLUSTERER_OPTIONS))
    weights: Literal["none", "size", "published"] = option("none", "method", "weights of the representatives: cluster sizes, none, or paper 1's inert ones")
    embedding: Literal["features", "pixels", "gradients", "predictions"] = option("features", "method", "what is clustered")
    projection_dim: int | None = option(None, "method", "seeded random projection of the gradient embedding to this many dimensions", minimum=1)
    n_representatives: int | None = option(None, "method", "representatives per class and matching step (K)", minimum=1)
    cluster_interval: int = option(10, "method", "inner loops between two clusterings", minimum=1)
    n_local_trials: int | None = option(None, "method", "kmeans++: candidates per seeding step; above 1 is greedy k-means++", minimum=1)
    medoid_algorithm: Literal["fasterpam", "alternate"] | None = option(None, "method", "kmedoids: optimisation")
    medoid_init: Literal["build", "lab", "random", "heuristic"] | None = option(None, "method", "kmedoids: initial medoids")
    eps: float | None = option(None, "method", "dbscan: neighbourhood radius in feature units", above=0)
    eps_quantile: float | None = option(None, "method", "dbscan: radius as a quantile of the min-samples-th neighbour distance, recomputed at each clustering", above=0, maximum=1)
    min_samples: int | None = option(None, "method", "dbscan: points, itself included, that make a core point (MinPts)", minimum=1)
    linkage: Literal["ward", "complete", "average", "single"] | None = option(None, "method", "agglomerative: linkage")
    threshold_quantile: float | None = option(None, "method", "birch: radius of a sub-cluster as a quantile of nearest-neighbour distances", above=0, maximum=1)
    branching_factor: int | None = option(None, "method", "birch: sub-clusters per node", minimum=2)

    ipc: int = option(1, "synthetic images", "images per class that are kept", minimum=1)
    factor: int | None = option(None, "synthetic images", "multi-formation: each image holds factor × factor training images", minimum=1)
    init: Literal["clusters", "random", "noise"] = option("clusters", "synthetic images", "start from representatives, from random real images or from noise")
    n_outer: int | None = option(None, "synthetic images", "outer iterations, each with a fresh network", minimum=0)
    n_inner: int | None = option(None, "synthetic images", "inner loops (matching steps per class) in an outer iteration", minimum=1)
    match: Literal["gradients", "features", "both"] = option("gradients", "synthetic images", "what is matched; both is DREAM+")
    metric: Literal["mse", "l1", "cosine"] | None = option(None, "synthetic images", "distance between what is matched")
    feature_weight: float = option(1.0, "synthetic images", "weight of the feature term when both are matched", minimum=0)
    lr_img: float | None = option(None, "synthetic images", "learning rate of the images; the default grows with ipc", above=0)
    momentum_img: float = option(0.5, "synthetic images", "momentum of the images' SGD", minimum=0, below=1)
    batch_syn_max: int = option(128, "synthetic images", "synthetic training images per class and matching step, at most", minimum=1)
    augment: str = option("color_crop_cutout", "synthetic images", "siamese augmentation of the matching step, names joined by _")

    network: str = option("convnet", "network", "network that is matched: " + ", ".join(NETWORKS))
    width: int | None = option(None, "network", "channels of a convnet block", minimum=1)
    depth: int = option(3, "network", "blocks of the convnet", minimum=1)
    norm: Literal["instance", "batch", "group", "layer", "none"] = option("instance", "network", "normalisation layers")
    pooling: Literal["avg", "max", "none"] = option("avg", "network", "pooling of the convnet")
    activation: Literal["relu", "leakyrelu", "sigmoid"] = option("relu", "network", "activation of the convnet")
    net_lr: float = option(0.01, "network", "learning rate of the network update", above=0)
    net_momentum: float = option(0.9, "network", "momentum of the network update", minimum=0, below=1)
    net_weight_decay: float = option(5e-4, "network", "weight decay of the network update", minimum=0)
    n_net_batches: int | None = option(None, "network", "batches of real images the network trains on after each inner loop", minimum=0)
    net_batch_size: int = option(128, "network", "images in such a batch", minimum=1)
    net_augment: str = option("color_crop", "network", "augmentation of those batches, drawn per image")
    cutmix_prob: float = option(0.5, "network", "probability of CutMix for a batch, here and in the evaluation", minimum=0, maximum=1)
    cutmix_beta: float = option(1.0, "network", "beta distribution of CutMix", above=0)

    n_eval: int = option(5, "evaluation", "fresh networks trained on the final images", minimum=1)
    n_eval_curve: int = option(1, "evaluation", "fresh networks at each point of the curve", minimum=1)
    eval_every: int | None = option(None, "evaluation", "outer iterations between points of the curve; 0: no curve", minimum=0)
    eval_networks: tuple[str, ...] = option((), "evaluation", "further architectures to test the final images with, separated by commas")
    eval_split: Literal["test", "val"] = option("test", "evaluation", "images the scores are taken on; searches use val")
    eval_epochs: int | None = option(None, "evaluation", "epochs of training on the synthetic images", minimum=1)
    eval_batch_size: int = option(64, "evaluation", "images in a batch of it", minimum=1)
    eval_lr: float | None = option(None, "evaluation", "learning rate; × 0.2 at 2/3 and at 5/6 of the epochs", above=0)
    eval_momentum: float = option(0.9, "evaluation", "momentum", minimum=0, below=1)
    eval_weight_decay: float = option(5e-4, "evaluation", "weight decay", minimum=0)
    eval_augment: str | None = option(None, "evaluation", "augmentation, drawn per image")

    seed: int = option(0, "trial", "seed of everything random in the trial but the splits", minimum=0)
    # fmt: on

    def _check(self) -> None:
        check_dataset(self.dataset)
        require_known("clusterer", self.clusterer, CLUSTERER_OPTIONS)
        for name in (self.network, *self.eval_networks):
            require_known("network", name, NETWORKS)
        check_clusterer_options(self, self._clusterer_that_runs)
        if self.projection_dim is not None and self.embedding != "gradients":
            raise UserError(
                "projection_dim applies to embedding 'gradients' only, "
                f"got embedding {self.embedding!r}; leave it out"
            )
        check_eval_split(self.eval_split, self.val_fraction)

    def resolved(self) -> Self:
        """Returns the configuration with every default filled in; idempotent.

        Under the published protocol a clusterer stands for the variant that paper 1 really ran,
        `size` weights for its inert ones, and the gradient space for what its code computed under
        that name, the predictions.
        """
        family = PAPER_DEFAULTS | FAMILY_DEFAULTS.get(self.dataset, {})
        changes = {name: value for name, value in family.items() if getattr(self, name) is None}
        if self.lr_img is None:
            changes["lr_img"] = self._default_lr_img()
        changes["clusterer"] = self._clusterer_that_runs
        if self.protocol == "published" and self.weights == "size":
            changes["weights"] = "published"
        if self.protocol == "published" and self.embedding == "gradients":
            changes |= {"embedding": "predictions", "projection_dim": None}
        changes |= missing_clusterer_options(self, self._clusterer_that_runs)
        return dataclasses.replace(self, **changes)

    @classmethod
    def inapplicable(cls, values: Mapping[str, Any]) -> set[str]:
        """Options of other clusterers, and of the gradient space where it is not used."""
        named = {n: values[n] for n in ("protocol", "clusterer", "embedding") if n in values}
        own = cls.from_dict(named)
        options = CLUSTERER_OPTIONS[_clusterer_that_runs(own.clusterer, own.protocol)]
        names = set(CLUSTERER_OPTION_NAMES) - options.keys()
        return names if own.embedding == "gradients" else names | {"projection_dim"}

    @classmethod
    def owners(cls, name: str) -> str:
        """Returns the clusterers, or the embedding, that have an option."""
        if name == "projection_dim":
            return "embedding gradients"
        own = [key for key, options in CLUSTERER_OPTIONS.items() if name in options]
        return f"clusterer {', '.join(own)}" if own else ""

    def _default_lr_img(self) -> float:
        area = 1.0
        if self.image_size is not None:
            area = (self.image_size / _NATIVE_SIZES.get(self.dataset, _NATIVE_SIZE_ELSE)) ** 2
        return _LR_IMG.get(self.dataset, _LR_IMG_ELSE) * self.ipc / 10 * area

    @property
    def _clusterer_that_runs(self) -> str:
        return _clusterer_that_runs(self.clusterer, self.protocol)

    @property
    def clusterer_options(self) -> dict[str, Any]:
        """The hyper-parameters of the clusterer, as `distill.clustering.build_clusterer` takes."""
        return {name: getattr(self, name) for name in CLUSTERER_OPTIONS[self.clusterer]}


CLUSTERER_OPTION_NAMES = sorted({name for own in CLUSTERER_OPTIONS.values() for name in own})


def _clusterer_that_runs(clusterer: str, protocol: str) -> str:
    return PUBLISHED_VARIANTS.get(clusterer, clusterer) if protocol == "published" else clusterer


def check_dataset(name: str) -> None:
    """Raises a UserError unless it can be the name of a data set."""
    if not name.startswith(("parquet:", "folder:")):
        require_known("dataset", name, (*DATASETS, "parquet:PATH", "folder:PATH"))


def check_eval_split(eval_split: str, val_fraction: float) -> None:
    """Raises a UserError where scores are wanted on validation images, but there are none."""
    if eval_split == "val" and val_fraction == 0:
        raise UserError(
            "eval_split 'val' needs validation images, but val_fraction is 0; "
            "set val_fraction, for example to 0.1"
        )


def check_clusterer_options(config: Config, clusterer: str) -> None:
    """Raises a UserError where options are given that the clusterer that runs does not have."""
    given = _given_clusterer_options(config)
    for name in given:
        if name not in CLUSTERER_OPTIONS[clusterer]:
            owners = [key for key, options in CLUSTERER_OPTIONS.items() if name in options]
            raise UserError(
                f"{name} does not apply to clusterer {clusterer!r}, "
                f"only to {', '.join(owners)}; leave it out or change the clusterer"
            )
    if "eps" in given and "eps_quantile" in given:
        raise UserError(
            f"give eps or eps_quantile, not both; got {given['eps']} and {given['eps_quantile']}"
        )


def missing_clusterer_options(config: Config, clusterer: str) -> dict[str, Any]:
    """Returns the defaults of the clusterer's options that are not given."""
    given = _given_clusterer_options(config)
    return {
        name: default
        for name, default in CLUSTERER_OPTIONS[clusterer].items()
        if name not in given and not (name == "eps_quantile" and "eps" in given)
    }


def _given_clusterer_options(config: Config) -> dict[str, Any]:
    values = {name: getattr(config, name) for name in CLUSTERER_OPTION_NAMES}
    return {name: value for name, value in values.items() if value is not None}


@functools.cache
def fields_of(config_class: type[Config]) -> dict[str, dataclasses.Field[Any]]:
    """Returns the fields of a kind of configuration by name, in their order."""
    return {own.name: own for own in dataclasses.fields(config_class)}


_type_hints = functools.cache(typing.get_type_hints)


@functools.cache
def field_type(
    name: str, config_class: type[Config] = DistillationConfig
) -> tuple[Any, tuple[str, ...], bool]:
    """Returns the plain type of a field, its allowed words (empty: any) and whether None is one.

    A tuple of words counts as type `tuple`.
    """
    annotation = _type_hints(config_class)[name]
    optional = isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is (
        typing.Union
    )
    if optional:
        annotation = next(a for a in typing.get_args(annotation) if a is not type(None))
    if typing.get_origin(annotation) is Literal:
        return str, typing.get_args(annotation), optional
    return typing.get_origin(annotation) or annotation, (), optional


def parse_value(name: str, text: str, config_class: type[Config] = DistillationConfig) -> Any:
    """Turns the text of an option (`--ipc 10`, `--set ipc=10`) into the field's type.

    Raises:
        UserError: no such field, or the text does not fit its type.
    """
    require_known("option", name, fields_of(config_class))
    kind, _, optional = field_type(name, config_class)
    if optional and text.lower() == "none":
        return None
    if kind is tuple:
        return tuple(part for part in text.split(",") if part)
    if kind is bool:
        require_known(name, text.lower(), ("true", "false"))
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        kind_name = {int: "a whole number", float: "a number"}[kind]
        raise UserError(f"{name} must be {kind_name}, got {text!r}") from None


def derive_seed(*parts: object) -> int:
    """Returns a seed in [0, 2⁶³) from a trial's seed and the purposes it is for.

    Streams of different purposes are independent, also where their numbers are neighbours.
    """
    text = json.dumps([str(part) for part in parts])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _check_limits(name: str, value: float, limits: Mapping[str, float | None]) -> None:
    rules: tuple[tuple[str, str, Callable[[float, float], bool]], ...] = (
        ("minimum", "at least", operator.ge),
        ("above", "above", operator.gt),
        ("maximum", "at most", operator.le),
        ("below", "below", operator.lt),
    )
    if not math.isfinite(value):
        raise UserError(f"{name} must be finite, got {value}")
    present = [(limit, *rule) for rule in rules if (limit := limits[rule[0]]) is not None]
    if not all(holds(value, limit) for limit, _, _, holds in present):
        wanted = " and ".join(f"{words} {limit:g}" for limit, _, words, _ in present)
        raise UserError(f"{name} must be {wanted}, got {value}")
