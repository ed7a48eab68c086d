"""The configuration of a trial of the second paper: choose real images, train a classifier on them.

An *selector* is a way of choosing. A field that belongs to some selectors only is None elsewhere, and giving
it to another selector is an error; None also stands for the selector's default. `SelectionConfig.resolved` fills
in the defaults and leaves None where there is nothing to choose, so that two configurations that
mean the same are one trial. Standard library only, like `distill.config.distillation`.

Defaults follow the paper of cats and dogs (10 % of the images, Adam, 20 epochs).
"""

# ruff: noqa: E501 - one line an option: it is read as a table
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

from distill.config.distillation import (
    CLUSTERER_OPTIONS,
    FAMILY_DEFAULTS,
    PAPER_DEFAULTS,
    Config,
    DistillationConfig,
    check_clusterer_options,
    check_dataset,
    check_eval_split,
    fields_of,
    missing_clusterer_options,
    option,
)
from distill.errors import UserError, require_known

SELECTOR_OPTIONS: dict[str, dict[str, Any]] = {
    "base": {},
    "random": {"fraction": 0.1},
    "cluster_grid": {
        "fraction": 0.1,
        "embedding": "pixels",
        "clusterer": "kmeans",
        "n_clusters": 2,
        "pca_dim": 2,
        "grid_size": None,
    },
    "augmentation": {"fraction": 0.1, "augment_mode": "replace", "augment_copies": 5},
    "herding": {"fraction": 0.1, "embedding": "features"},
    "k_center": {"fraction": 0.1, "embedding": "features"},
    "nearest_center": {
        "fraction": 0.1,
        "embedding": "features",
        "clusterer": "kmeans",
        "n_clusters": None,
        "center": None,
    },
}
"""Every selector with the fields that belong to it, and their defaults."""

EMBEDDING_OPTIONS: dict[str, dict[str, Any]] = {
    "pixels": {},
    "features": {"feature_epochs": 5},
    "pca": {"pca_dim": 32},
}
"""What the images are compared in, with the fields that belong to it; a selector's default wins."""

RECIPE_OPTIONS: dict[str, dict[str, Any]] = {
    "classifier": {"epochs": 20},
    "distillation": {"eval_epochs": PAPER_DEFAULTS["eval_epochs"]},
}
"""How networks are trained on what is chosen, with the fields that belong to it."""

NETWORK_OPTIONS: dict[str, dict[str, Any]] = {
    "photo_cnn": {"norm_statistics": "recomputed"},
    "convnet": {"width": PAPER_DEFAULTS["width"], "depth": 3},
}

PUBLISHED_SELECTORS = ("base", "random", "cluster_grid", "augmentation")
"""The selectors that the paper has."""


def _as_in_distillation(name: str, **changes: Any) -> Any:
    """A field with the help, range and default of the field of the same name in `DistillationConfig`."""
    own = fields_of(DistillationConfig)[name]
    default = changes.pop("default", own.default)
    return field(default=default, metadata=dict(own.metadata) | changes)


@dataclass(frozen=True, kw_only=True)
class SelectionConfig(Config):
    """Everything that decides the result of a trial of the second paper.

    Raises:
        UserError: a value is out of range, a name is unknown, or two options exclude each other.
    """

    kind: ClassVar[str] = "selection"
    method_field: ClassVar[str] = "selector"
    exclusive: ClassVar[tuple[tuple[str, str], ...]] = (*Config.exclusive, ("fraction", "ipc"))

    # fmt: off
    dataset: str = _as_in_distillation("dataset")
    classes: tuple[str, ...] = option((), "data", "names of the classes to keep, separated by commas, in any order; empty: all")
    image_size: int | None = _as_in_distillation("image_size")
    val_fraction: float = _as_in_distillation("val_fraction")
    test_fraction: float = _as_in_distillation("test_fraction", default=0.1)
    split_seed: int = _as_in_distillation("split_seed")
    on_corrupt: Literal["error", "skip"] = _as_in_distillation("on_corrupt", default="skip")

    protocol: Literal["sound", "published"] = option("sound", "method", "published: as paper 2 really ran, with its defects (see distill.selection)")
    selector: str = option("random", "method", "how the training images are chosen: " + ", ".join(SELECTOR_OPTIONS))
    fraction: float | None = option(None, "method", "share of the training images to choose", above=0, maximum=1)
    ipc: int | None = option(None, "method", "in place of the fraction: images to choose of each class", minimum=1)
    embedding: Literal["pixels", "features", "pca"] | None = option(None, "method", "what images are compared by: pixels, features of a network, or the first principal components of the pixels")
    feature_epochs: int | None = option(None, "method", "embedding features: epochs the network is trained on all training images; 0: random weights", minimum=0)
    pca_dim: int | None = option(None, "method", "dimensions of the principal-component plane (cluster_grid) or embedding (pca)", minimum=1)
    clusterer: str | None = option(None, "method", "clustering of cluster_grid and nearest_center: " + ", ".join(CLUSTERER_OPTIONS))
    n_clusters: int | None = option(None, "method", "clusters: of all images together (cluster_grid), of each class (nearest_center; default: one for each image wanted)", minimum=1)
    center: Literal["medoid"] | None = option(None, "method", "nearest_center: medoid, the most central image of each cluster, in place of the center that the clusterer gives it")
    n_local_trials: int | None = _as_in_distillation("n_local_trials")
    medoid_algorithm: Literal["fasterpam", "alternate"] | None = _as_in_distillation("medoid_algorithm")
    medoid_init: Literal["build", "lab", "random", "heuristic"] | None = _as_in_distillation("medoid_init")
    eps: float | None = _as_in_distillation("eps")
    eps_quantile: float | None = _as_in_distillation("eps_quantile")
    min_samples: int | None = _as_in_distillation("min_samples")
    linkage: Literal["ward", "complete", "average", "single"] | None = _as_in_distillation("linkage")
    threshold_quantile: float | None = _as_in_distillation("threshold_quantile")
    branching_factor: int | None = _as_in_distillation("branching_factor")
    grid_size: int | None = option(None, "method", "cells along each side of the grid; default: just enough for as many cells as images wanted of a group", minimum=1)
    augment_mode: Literal["replace", "add"] | None = option(None, "method", "augmentation: train on transformed images only, or on the originals too")
    augment_copies: int | None = option(None, "method", "augmentation: transformed images for each original (published: draws of the fraction)", minimum=1)

    recipe: Literal["classifier", "distillation"] = option("classifier", "training", "distillation: train and test as distilled images are, as the rows of real images beside them")
    network: str = option("photo_cnn", "training", "classifier: " + ", ".join(NETWORK_OPTIONS))
    width: int | None = option(None, "training", "channels of a convnet block", minimum=1)
    depth: int | None = option(None, "training", "blocks of the convnet", minimum=1)
    norm_statistics: Literal["running", "recomputed"] | None = option(None, "training", "photo_cnn: statistics of its batch norms when it is scored: Keras's running ones (published), or those of the training images under the weights of that moment (sound)")
    epochs: int | None = option(None, "training", "recipe classifier: epochs", minimum=1)
    batch_size: int = option(32, "training", "images in a batch of the classifier, and of the network that gives features", minimum=2)
    lr: float = option(1e-3, "training", "learning rate of Adam, likewise", above=0)
    equal_steps: bool = option(False, "training", "make every epoch as long, in batches, as one over all training images")

    n_eval: int = option(1, "evaluation", "fresh networks trained on the chosen images", minimum=1)
    eval_epochs: int | None = _as_in_distillation("eval_epochs")
    eval_split: Literal["test", "val"] = _as_in_distillation("eval_split")

    seed: int = _as_in_distillation("seed")
    # fmt: on

    def _check(self) -> None:
        check_dataset(self.dataset)
        check_eval_split(self.eval_split, self.val_fraction)
        require_known("selector", self.selector, SELECTOR_OPTIONS)
        require_known("network", self.network, NETWORK_OPTIONS)
        if self.clusterer is not None:
            require_known("clusterer", self.clusterer, CLUSTERER_OPTIONS)
        if len(self.classes) == 1 or len(set(self.classes)) < len(self.classes):
            raise UserError(
                f"classes must name at least two, each once, got {','.join(self.classes)!r}"
            )
        self._check_owners()
        self._check_recipe()
        if self.protocol == "published":
            self._check_published()

    def _check_owners(self) -> None:
        """Raises where an option is given that the selector, or what it is used with, does not have."""
        applicable = self._applicable()
        if "clusterer" in applicable:
            check_clusterer_options(self, self.clusterer or applicable["clusterer"])
        for name, owners in _OWNERS.items():
            if getattr(self, name) is not None and name not in applicable:
                chosen = {
                    "selector": self.selector,
                    "embedding": self.embedding or applicable.get("embedding"),
                    "recipe": self.recipe,
                    "network": self.network,
                }
                ours = ", ".join(f"{k} {v!r}" for k, v in chosen.items() if k in owners and v)
                raise UserError(
                    f"{name} does not apply to {ours or f'selector {self.selector!r}'}, "
                    f"only to {self.owners(name)}; leave it out"
                )

    def _check_recipe(self) -> None:
        if self.fraction is not None and self.ipc is not None:
            raise UserError(f"give fraction or ipc, not both; got {self.fraction} and {self.ipc}")
        if self.recipe != "distillation":
            return
        if self.network == "photo_cnn":
            raise UserError(
                "recipe 'distillation' trains the networks of the distillation, "
                "got network 'photo_cnn'; use network convnet"
            )
        if self.equal_steps:
            raise UserError("equal_steps applies to recipe 'classifier' only; leave it out")

    def _check_published(self) -> None:
        if self.selector not in PUBLISHED_SELECTORS:
            raise UserError(
                f"the published protocol has no selector {self.selector!r}, only "
                f"{', '.join(PUBLISHED_SELECTORS)}; use protocol sound"
            )
        if self.recipe != "classifier":
            raise UserError(
                f"the published protocol has no recipe {self.recipe!r}; use protocol sound"
            )
        if self.eval_split != "test":
            raise UserError(
                "the published protocol scores on the test images, as the paper did, "
                f"got eval_split {self.eval_split!r}; use protocol sound"
            )
        if self.augment_mode == "add":
            raise UserError(
                "the published protocol trains on transformed images only, "
                "got augment_mode 'add'; use protocol sound"
            )

    @classmethod
    def inapplicable(cls, values: Mapping[str, Any]) -> set[str]:
        """Options of other selectors, embeddings, clusterers, recipes and networks."""
        for name, known in _TABLES.items():
            if values.get(name) is not None:
                require_known(name, values[name], known)
        return _OWNERS.keys() - _options_of(values).keys()

    @classmethod
    def owners(cls, name: str) -> str:
        """Returns the selectors, embeddings, … that have an option."""
        owners = _OWNERS.get(name, {})
        return "; ".join(f"{kind} {', '.join(names)}" for kind, names in owners.items())

    def _applicable(self) -> dict[str, Any]:
        """Returns the options that the trial has, with their defaults."""
        own = _options_of({name: getattr(self, name) for name in _TABLES})
        if self.ipc is not None:
            own["fraction"] = None
        if "norm_statistics" in own and self.protocol == "published":
            own["norm_statistics"] = "running"
        family = FAMILY_DEFAULTS.get(self.dataset, {})
        return own | {
            name: family[name]
            for name in ("width", "eval_epochs")
            if name in own and name in family
        }

    def resolved(self) -> Self:
        """Returns the configuration with every default filled in; idempotent."""
        defaults = self._applicable()
        if "clusterer" in defaults:
            clusterer = self.clusterer or defaults["clusterer"]
            absent = CLUSTERER_OPTIONS[clusterer].keys() - missing_clusterer_options(
                self, clusterer
            )
            defaults = {name: value for name, value in defaults.items() if name not in absent}
        changes = {name: value for name, value in defaults.items() if getattr(self, name) is None}
        return dataclasses.replace(self, classes=tuple(sorted(self.classes)), **changes)

    @property
    def clusterer_options(self) -> dict[str, Any]:
        """The hyper-parameters of the clusterer, as `distill.clustering.build_clusterer` takes."""
        if self.clusterer is None:
            return {}
        return {name: getattr(self, name) for name in CLUSTERER_OPTIONS[self.clusterer]}


_TABLES: dict[str, dict[str, dict[str, Any]]] = {
    "selector": SELECTOR_OPTIONS,
    "embedding": EMBEDDING_OPTIONS,
    "clusterer": CLUSTERER_OPTIONS,
    "recipe": RECIPE_OPTIONS,
    "network": NETWORK_OPTIONS,
}
"""The fields whose values have options of their own."""


def _options_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options that a trial has, with their defaults.

    Args:
        values: of the fields in `_TABLES`; None or nothing for the defaults.
    """

    def value(name: str, default: str | None = None) -> Any:
        return values.get(name) or default or fields_of(SelectionConfig)[name].default

    own = dict(SELECTOR_OPTIONS[value("selector")])
    if "embedding" in own:
        own = EMBEDDING_OPTIONS[value("embedding", own["embedding"])] | own
    if "clusterer" in own:
        own |= CLUSTERER_OPTIONS[value("clusterer", own["clusterer"])]
    if "fraction" in own:
        own["ipc"] = None
    return own | RECIPE_OPTIONS[value("recipe")] | NETWORK_OPTIONS[value("network")]


def _owners() -> dict[str, dict[str, list[str]]]:
    """Returns, for every option, what has it: its selectors, embeddings, clusterers and networks."""
    owners: dict[str, dict[str, list[str]]] = {}
    for kind, table in _TABLES.items():
        for owner, options in table.items():
            for name in (*options, "ipc") if "fraction" in options else options:
                owners.setdefault(name, {}).setdefault(kind, []).append(owner)
    return owners


_OWNERS = _owners()

CHOICE_OPTION_NAMES = tuple(
    name
    for name in fields_of(SelectionConfig)
    if {"selector", "embedding", "clusterer"} & _OWNERS.get(name, {}).keys()
    and name not in ("fraction", "ipc")
)
"""The hyper-parameters of the choice: they belong to some selectors, embeddings or clusterers."""

KINDS: dict[str, type[Config]] = {own.kind: own for own in (DistillationConfig, SelectionConfig)}
"""Every kind of configuration, by the name that it has in results."""


def config_from_dict(values: Mapping[str, Any]) -> Config:
    """Builds a configuration of any kind from `{"kind": config.kind, **config.to_dict()}`.

    Args:
        values: without a kind it is a distillation's.

    Raises:
        UserError: the kind or a key is unknown, or a value is not allowed.
    """
    kind = values.get("kind", DistillationConfig.kind)
    require_known("kind of trial", kind, KINDS)
    return KINDS[kind].from_dict({key: value for key, value in values.items() if key != "kind"})
