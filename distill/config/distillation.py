"""The configuration of a distillation: learn a few synthetic images per class by DREAM."""

# ruff: noqa: E501 - one line an option: it is read as a table
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from distill.clustering.registry import CLUSTERERS, EMBEDDINGS
from distill.components import choice, component_of, option
from distill.config.base import Config
from distill.config.cluster_weights import check_strength_weights, check_training_weights
from distill.config.defaults import dataset_defaults, default_lr_img
from distill.config.picks import check_picks, chooses_otherwise
from distill.config.sets import INITS, START_SET, check_set_constants
from distill.errors import UserError, require_known
from distill.networks.registry import NETWORK_SOURCES, NETWORKS
from distill.selection.registry import PICK_HELP, PICKS, QUOTA_HELP, QUOTAS


@dataclass(frozen=True, kw_only=True, init=False)
class DistillationConfig(Config):
    """Everything that decides the result of a distillation. Equal configurations are one trial.

    Example:
        >>> config = DistillationConfig(clusterer="dbscan", eps=15.0, ipc=10)
        >>> config["eps"], config.n_outer, config.resolve().n_outer
        (15.0, None, 4)

    Raises:
        UserError: see `Config`.
    """

    kind: ClassVar[str] = "distillation"
    method_field: ClassVar[str] = "clusterer"
    baseline: ClassVar[Mapping[str, Any]] = {"clusterer": "kmeans", "weights": "none"}

    # fmt: off
    clusterer: str = choice("kmeans", CLUSTERERS, "clustering that picks the representative real images", group="method")
    weights: Literal["none", "size", "published"] = option("none", "weights of the representatives: cluster sizes, none, or paper 1's inert ones", group="method")
    embedding: str = choice("features", EMBEDDINGS, "space that is clustered", group="method")
    n_representatives: int = option(None, "representatives per class and matching step (K)", group="method", minimum=1)
    pick: str = choice("nearest", PICKS, PICK_HELP, group="method")
    quota: str = choice("one", QUOTAS, QUOTA_HELP, group="method")
    cluster_interval: int = option(10, "inner loops between two clusterings", group="method", minimum=1)

    ipc: int = option(1, "images per class that are kept", group="synthetic images", minimum=1)
    factor: int = option(None, "multi-formation: each image holds factor × factor training images", group="synthetic images", minimum=1)
    init: str = choice("clusters", INITS, "start from representatives, from those of k-means whatever the clusterer, from the mean images of the clusters, from random real images, from noise, or from the set in a file, set:PATH (see docs/judging.md)", group="synthetic images", other=START_SET)
    n_outer: int = option(None, "outer iterations, each with another network", group="synthetic images", minimum=0)
    n_inner: int = option(None, "inner loops (matching steps per class) in an outer iteration", group="synthetic images", minimum=1)
    match: Literal["gradients", "features", "both", "none"] = option("gradients", "what is matched; both is DREAM+, none keeps the start as it is", group="synthetic images")
    metric: Literal["mse", "l1", "cosine"] = option(None, "distance between what is matched", group="synthetic images")
    feature_weight: float = option(1.0, "weight of the feature term when both are matched", group="synthetic images", minimum=0)
    lr_img: float = option(None, "learning rate of the images; the default grows with ipc", group="synthetic images", above=0)
    momentum_img: float = option(0.5, "momentum of the images' SGD", group="synthetic images", minimum=0, below=1)
    batch_syn_max: int = option(128, "synthetic training images per class and matching step, at most", group="synthetic images", minimum=1)
    augment: str = option("color_crop_cutout", "siamese augmentation of the matching step, names joined by _", group="synthetic images")

    network: str = choice("convnet", NETWORKS, "network that is matched", group="network", excluded=("photo_cnn",))
    networks: str = choice("fresh", NETWORK_SOURCES, "networks of the outer iterations: with fresh weights, or drawn from a pool of briefly trained ones and changed a little (Acc-DD)", group="network")
    net_lr: float = option(0.01, "learning rate of the network update", group="network", above=0)
    net_momentum: float = option(0.9, "momentum of the network update", group="network", minimum=0, below=1)
    net_weight_decay: float = option(5e-4, "weight decay of the network update", group="network", minimum=0)
    n_net_batches: int = option(None, "batches of real images the network trains on after each inner loop", group="network", minimum=0)
    net_batch_size: int = option(128, "images in such a batch", group="network", minimum=1)
    net_augment: str = option("color_crop", "augmentation of those batches, drawn per image", group="network")
    cutmix_prob: float = option(0.5, "probability of CutMix for a batch, here and in the evaluation", group="network", minimum=0, maximum=1)
    cutmix_beta: float = option(1.0, "beta distribution of CutMix", group="network", above=0)

    weights_in: Literal["matching", "training", "both"] = option("matching", "where weights act: in the matching loss, in the training of the networks that test the images (by the clusters that these started from), or in both", group="evaluation")
    n_eval: int = option(5, "fresh networks trained on the final images", group="evaluation", minimum=1)
    n_eval_curve: int = option(1, "fresh networks at each point of the curve", group="evaluation", minimum=1)
    eval_every: int = option(None, "outer iterations between points of the curve; 0: no curve", group="evaluation", minimum=0)
    eval_networks: tuple[str, ...] = choice((), NETWORKS, "further networks to test the final images with, separated by commas", group="evaluation", excluded=("photo_cnn",))
    eval_epochs: int = option(None, "epochs of training on the synthetic images", group="evaluation", minimum=1)
    eval_batch_size: int = option(64, "images in a batch of the evaluation", group="evaluation", minimum=1)
    eval_lr: float = option(None, "learning rate of the evaluation; × 0.2 at 2/3 and at 5/6 of the epochs", group="evaluation", above=0)
    eval_momentum: float = option(0.9, "momentum of the evaluation", group="evaluation", minimum=0, below=1)
    eval_weight_decay: float = option(5e-4, "weight decay of the evaluation", group="evaluation", minimum=0)
    eval_augment: str = option(None, "augmentation of the evaluation, drawn per image", group="evaluation")
    # fmt: on

    def _check(self) -> None:
        if component_of(self.static_fields()["init"], self.init) == START_SET:
            self._check_start_set()
        check_picks(self, self.clusterer)
        if chooses_otherwise(self) and not self._matches and self.init != "clusters":
            raise UserError(
                f"pick {self.pick!r} with quota {self.quota!r} has no effect: nothing is matched, "
                f"and init {self.init!r} starts from other images; use init clusters"
            )
        if self.trains_with_weights:
            self._check_weights()
        if self.protocol == "published" and self.networks != "fresh":
            raise UserError(
                f"the published protocol has fresh networks, got networks {self.networks!r}; use "
                "protocol sound"
            )
        self._check_strength_weights()

    def _check_strength_weights(self) -> None:
        if self.protocol == "published":
            check_strength_weights(self, "protocol 'published'", "use protocol sound")
        elif self.weights != "size":
            obstacle = f"weights {self.weights!r}"
            check_strength_weights(self, obstacle, "set weights size or leave it out")
        elif not self._clusters_weigh:
            obstacle = (
                f"weights_in {self.weights_in!r}, match {self.match!r} and init {self.init!r}"
            )
            check_strength_weights(self, obstacle, "leave it out")

    @property
    def _matches(self) -> bool:
        return self.match != "none" and self.n_outer != 0

    @property
    def _clusters_weigh(self) -> bool:
        """Whether the masses of the clusterer's clusters weigh anything, given weights by size."""
        in_matching = self._matches and self.weights_in != "training"
        return in_matching or (self.trains_with_weights and self.init == "clusters")

    def _check_weights(self) -> None:
        given = f"weights_in {self.weights_in!r}"
        if self.protocol == "published":
            raise UserError(
                f"the published protocol has no weights in training, got {given}; use protocol "
                "sound"
            )
        if self.weights != "size":
            raise UserError(
                f"{given} needs weights 'size', got weights {self.weights!r}; set weights size"
            )
        if self.init in ("random", "noise") or self.start_set is not None:
            raise UserError(
                f"{given} needs a start from clusters, whose sizes are the weights, got init "
                f"{self.init!r}; use init clusters, centroids or kmeans"
            )
        if self.init == "clusters" and self.clusterer == "agglomerative_published":
            raise UserError(
                f"{given} needs a start from clusters, but clusterer 'agglomerative_published' "
                "starts from the first images; use init kmeans"
            )
        if self.init != "kmeans":
            check_training_weights(self, self.clusterer, "use init kmeans or weights_in matching")

    def _check_start_set(self) -> None:
        prefix, _, name = self.init.partition(":")
        if prefix != START_SET:
            require_known("init", self.init, (*(n for n in INITS if n != START_SET), "set:PATH"))
        if not name:
            raise UserError(f"init {self.init!r} needs the path of a set; give set:PATH")
        check_set_constants(self)
        from distill.sets.content import absolute_name  # noqa: PLC0415 - loads torch

        # Trials run in other folders. The path is no part of the identity.
        object.__setattr__(self, "init", f"{START_SET}:{absolute_name(name)}")

    @property
    def start_set(self) -> str | None:
        """Path of the set that the images start from; None: they start otherwise."""
        name = self.init.removeprefix(f"{START_SET}:")
        return None if name == self.init else name

    @classmethod
    def running(cls, name: str, values: Mapping[str, Any]) -> str:
        """Returns the clusterer that runs: under the published protocol paper 1's variant."""
        chosen = super().running(name, values)
        if name == "clusterer" and values["protocol"] == "published":
            return CLUSTERERS[chosen].published or chosen
        return chosen

    def derived_defaults(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the defaults of the data set, learning rate of the images and hash of a set.

        The files of a set are read only where its hash is not given.
        """
        lr_img = default_lr_img(values["dataset"], values["ipc"], values["image_size"])
        defaults = dataset_defaults(values["dataset"]) | {"lr_img": lr_img}
        if self.start_set is not None and values.get("set_hash") is None:
            from distill.sets.content import content_hash  # noqa: PLC0415 - loads torch

            defaults["set_hash"] = content_hash(self.start_set)
        return defaults

    @classmethod
    def identifying_values(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the values that identify the trial: of a set to start from its content."""
        found = super().identifying_values(values)
        if found.get("init") is not None:
            found["init"] = component_of(cls.static_fields()["init"], found["init"])
        return found

    @property
    def outer_iterations(self) -> int:
        """Outer iterations that are run: none where nothing is matched."""
        return 0 if self.match == "none" else self.n_outer

    def substitutions(self) -> dict[str, Any]:
        """Returns what else runs under the published protocol.

        The variant of the clusterer that paper 1 really ran, its inert weights in place of `size`,
        and in place of the gradient space what its code computed under that name, the predictions.
        """
        if self.protocol == "sound":
            return {}
        changes = {"clusterer": self.running("clusterer", self.to_dict())}
        if self.weights == "size":
            changes["weights"] = "published"
        if self.embedding == "gradients":
            changes["embedding"] = "predictions"
        return changes

    def resolve(self) -> "ResolvedDistillation":
        """Returns the configuration with every default filled in; idempotent."""
        if isinstance(self, ResolvedDistillation):
            return self
        return ResolvedDistillation(**self.to_dict())


@dataclass(frozen=True, kw_only=True, init=False)
class ResolvedDistillation(DistillationConfig):
    """A configuration with every default filled in, also after `replace`."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**DistillationConfig(**values).resolved_values())
