"""What an evaluation trains on: a small set or real images, and the labels, with their options."""

from dataclasses import dataclass
from typing import Any, Literal

from distill.clustering.registry import CLUSTERERS
from distill.components import Component, Registry, choice, option
from distill.errors import UserError
from distill.networks.registry import NETWORKS
from distill.parsing import MAX_INT64, number
from distill.selection.registry import POOL_EMBEDDINGS


@dataclass(frozen=True, kw_only=True)
class StoredSetOptions:
    """How a set in files is read, see `distill.sets.read`.

    `set_hash` makes the content a part of the trial's identity: a set that changes is another
    trial, and one that changes under a planned trial is refused.
    """

    set_hash: str = option(None, "hash of the set's content; default: that of the files")
    set_range: Literal["unit", "bytes", "normalized"] | None = option(
        None, "range of the pixels, 0 … 1, 0 … 255 or normalised; default: it is found out"
    )
    set_mean: tuple[str, ...] = option(
        (), "mean of each channel that pixels are normalised by, in 0 … 1"
    )
    set_std: tuple[str, ...] = option(
        (), "standard deviation of each channel that pixels are normalised by"
    )
    repetition: int = option(
        0, "which set of a file with several (DC, DSA, DM), counted from 0", minimum=0
    )


@dataclass(frozen=True, kw_only=True)
class FileOptions(StoredSetOptions):
    """Options of a set in files that is judged; the files give hash, `ipc` and `factor`."""

    ipc: int = option(None, "images of the largest class; default: that of the files", minimum=1)
    factor: int = option(
        None,
        "multi-formation: each image holds factor × factor training images; default: as the files "
        "say, else 1",
        minimum=1,
    )


def set_numbers(config: Any, name: str) -> tuple[float, ...]:
    """Returns the numbers of a configuration's `set_mean` or `set_std`; none where not given.

    Raises:
        UserError: a part is no number.
    """
    return tuple(number(name, text) for text in config[name] or ())


def check_set_constants(config: Any) -> None:
    """Raises a UserError where `set_mean`, `set_std` and `set_range` do not fit together."""
    numbers = {name: set_numbers(config, name) for name in ("set_mean", "set_std")}
    if bool(numbers["set_mean"]) != bool(numbers["set_std"]):
        raise UserError("give set_mean and set_std together, one number for each channel")
    if min(numbers["set_std"], default=1.0) <= 0:
        raise UserError(f"set_std must be above 0, got {','.join(config['set_std'])}")
    if numbers["set_mean"] and config["set_range"] not in (None, "normalized"):
        raise UserError(
            f"set_mean and set_std are for set_range 'normalized', got {config['set_range']!r}"
        )


@dataclass(frozen=True, kw_only=True)
class RealOptions:
    """Options of chosen real images."""

    ipc: int = option(1, "images to choose of each class", minimum=1)


@dataclass(frozen=True, kw_only=True)
class ComparedOptions(RealOptions):
    """Options of real images that are chosen by comparing them."""

    embedding: str = choice("features", POOL_EMBEDDINGS, "what images are compared by")


@dataclass(frozen=True, kw_only=True)
class NearestCenterOptions(ComparedOptions):
    """Options of the images nearest the centers of clusters, one cluster for each image."""

    clusterer: str = choice("kmeans", CLUSTERERS, "clustering of each class")


@dataclass(frozen=True, kw_only=True)
class AllOptions:
    """Options of all real images."""

    all_epochs: int = option(60, "epochs on all images, in place of eval_epochs", minimum=1)


SETS = Registry(
    "set",
    {
        "random": Component(options=RealOptions, label="random real images"),
        "k_center": Component(options=ComparedOptions, label="k-center"),
        "herding": Component(options=ComparedOptions),
        "nearest_center": Component(options=NearestCenterOptions, label="nearest center"),
        "all": Component(options=AllOptions, label="all real images"),
        "file": Component(options=FileOptions),
    },
)
"""Ways to choose real images by the names of selectors; `file` stands for every path."""

SELECTOR_OF = {"all": "base"}
"""Names of sets whose selectors are named otherwise."""

START_SET = "set"
"""The way to start a distillation from a set in files; a prefix of its path, `set:PATH`."""

INITS = Registry(
    "init",
    {
        "clusters": Component(),
        "kmeans": Component(),
        "centroids": Component(),
        "random": Component(),
        "noise": Component(),
        START_SET: Component(options=StoredSetOptions),
    },
)
"""Starts of a distillation."""


@dataclass(frozen=True, kw_only=True)
class KLOptions:
    """Options of the Kullback–Leibler divergence from the soft labels."""

    temperature: float = option(4.0, "temperature of both distributions", above=0)


@dataclass(frozen=True, kw_only=True)
class MixtureOptions(KLOptions):
    """Options of the mixture with the cross-entropy of the hard labels."""

    hard_share: float = option(
        0.1, "share of the cross-entropy of the hard labels", minimum=0, maximum=1
    )


LABEL_LOSSES = Registry(
    "label loss",
    {
        "cross_entropy": Component(),
        "kl": Component(options=KLOptions),
        "mixture": Component(options=MixtureOptions),
    },
)
"""Losses on soft labels, see `distill.evaluation.label_losses`."""


@dataclass(frozen=True, kw_only=True)
class SoftLabelOptions:
    """Options of soft labels, and of the teacher that gives those that a set does not carry."""

    label_loss: str = choice("kl", LABEL_LOSSES, "loss on the soft labels")
    teacher_network: str = choice(
        "convnet", NETWORKS, "network of the teacher", excluded=("photo_cnn",)
    )
    teacher_epochs: int = option(60, "epochs of the teacher on all real training images", minimum=1)
    teacher_seed: int = option(
        0,
        "seed of the teacher; not varied with --seed, so that trials share it",
        minimum=0,
        maximum=MAX_INT64,
    )


LABELS = Registry(
    "labels",
    {
        "hard": Component(),
        "soft": Component(options=SoftLabelOptions),
        "teacher": Component(options=SoftLabelOptions),
    },
)
"""`soft`: a fixed row for each image, the set's own or else the teacher's for the image as it is;
`teacher`: the teacher's for every augmented view of an image."""
