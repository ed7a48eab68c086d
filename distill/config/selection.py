"""The configuration of a selection: choose real images, train a network on them.

Defaults follow the paper on cats and dogs (10 % of the images, Adam, 20 epochs).
"""

# ruff: noqa: E501 - one line an option: it is read as a table
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from distill.components import choice, fields_of, option
from distill.config.base import Config
from distill.config.cluster_weights import check_strength_weights, check_training_weights
from distill.config.defaults import DATASET_DEFAULTS
from distill.config.picks import check_medoids, check_picks, chooses_otherwise
from distill.config.recipes import RECIPES
from distill.errors import UserError
from distill.networks.registry import NETWORKS
from distill.selection.registry import PUBLISHED_FORMS, SELECTORS

_FROM_DATASET = ("width", "eval_epochs")
"""Options whose defaults are those of a distillation on the same data set."""


@dataclass(frozen=True, kw_only=True, init=False)
class SelectionConfig(Config):
    """Everything that decides the result of a selection. Equal configurations are one trial.

    Example:
        >>> config = SelectionConfig(selector="cluster_grid", fraction=0.25)
        >>> config["fraction"], config.resolve()["n_clusters"]
        (0.25, 2)

    Raises:
        UserError: see `Config`.
    """

    kind: ClassVar[str] = "selection"
    method_field: ClassVar[str] = "selector"
    baseline: ClassVar[Mapping[str, Any]] = {"selector": "random"}

    # fmt: off
    test_fraction: float = option(0.1, "share of the images kept for testing where a data set has no test split", group="data", above=0, below=1)
    on_corrupt: Literal["error", "skip", "keep"] = option("skip", "what to do with images that cannot be decoded or have no label, and classes without images; keep: keep what decodes of damaged images, skip the others", group="data")

    selector: str = choice("random", SELECTORS, "how the training images are chosen", group="method", excluded=PUBLISHED_FORMS)

    weights_in: Literal["matching", "training", "both"] = option("matching", "training: the chosen images count by the share of their class that they stand for; matching, which selections do not do: equally; both: as training", group="training")
    recipe: str = choice("classifier", RECIPES, "distillation: train and test as distilled images are, as the rows of real images beside them", group="training")
    network: str = choice("photo_cnn", NETWORKS, "network that is trained", group="training")
    batch_size: int = option(32, "images in a batch of the classifier, and of the network that gives features", group="training", minimum=2)
    lr: float = option(1e-3, "learning rate of Adam, of the same networks", group="training", above=0)
    equal_steps: bool = option(False, "make every epoch as long, in batches, as one over all training images", group="training")

    n_eval: int = option(1, "fresh networks trained on the chosen images", group="evaluation", minimum=1)
    # fmt: on

    def _check(self) -> None:
        self._check_picks()
        if self.trains_with_weights and not self._compares_images:
            raise UserError(
                f"weights_in {self.weights_in!r} needs a selector that compares images, got "
                f"selector {self.selector!r}, whose images stand for equally many; use weights_in "
                "matching"
            )
        check_training_weights(self, self["clusterer"], "use weights_in matching")
        self._check_strength_weights()
        if self.recipe == "distillation":
            if self.network == "photo_cnn":
                raise UserError(
                    "recipe 'distillation' trains the networks of the distillation, "
                    "got network 'photo_cnn'; use network convnet"
                )
            if self.equal_steps:
                raise UserError("equal_steps applies to recipe 'classifier' only; leave it out")
        if self.protocol == "published":
            self._check_published()

    def _check_strength_weights(self) -> None:
        if self.selector != "nearest_center":
            obstacle = f"selector {self.selector!r}"
            check_strength_weights(self, obstacle, "leave it out")
        elif not self.trains_with_weights:
            obstacle = f"selector {self.selector!r} and weights_in {self.weights_in!r}"
            check_strength_weights(self, obstacle, "set weights_in training or leave it out")

    def _check_picks(self) -> None:
        clusterer = self["clusterer"] or "kmeans"
        if self["center"] == "medoid":
            check_medoids(clusterer, "center 'medoid'", "leave it out")
        check_picks(self, clusterer)
        if not chooses_otherwise(self):
            return
        pick, embedding = self["pick"] or "nearest", self["embedding"] or "features"
        if self["center"] == "medoid" and pick != "nearest":
            raise UserError(
                f"center 'medoid' applies to pick 'nearest' only, got pick {pick!r}; leave it out"
            )
        if self["difficulty"] not in ("loss", "margin"):
            return
        if embedding != "features":
            raise UserError(
                f"difficulty {self['difficulty']!r} is that of the network that gives features, "
                f"got embedding {embedding!r}; use embedding features or difficulty el2n"
            )
        if self["feature_epochs"] == 0:
            raise UserError(
                f"difficulty {self['difficulty']!r} needs a network that knows the classes, but "
                "feature_epochs 0 leaves it untrained; use at least 1, or difficulty el2n"
            )

    def _check_published(self) -> None:
        if SELECTORS[self.selector].published is None:
            forms = ", ".join(SELECTORS.published_variants())
            raise UserError(
                f"the published protocol has no selector {self.selector!r}, only {forms}; "
                "use protocol sound"
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
        if self.trains_with_weights:
            raise UserError(
                "the published protocol has no weights in training, "
                f"got weights_in {self.weights_in!r}; use protocol sound"
            )
        self._check_published_augmentation()

    def _check_published_augmentation(self) -> None:
        reasons = {
            "augment_mode": ("replace", "trains on transformed images only"),
            "augment_selector": ("random", "transforms random images only"),
            "augment_contrast": (False, "has no contrast transform"),
        }
        for name, (published, reason) in reasons.items():
            if self[name] not in (None, published):
                raise UserError(
                    f"the published protocol {reason}, got {name} {self[name]!r}; "
                    "use protocol sound"
                )

    @property
    def _compares_images(self) -> bool:
        return "embedding" in fields_of(SELECTORS[self.selector].options)

    def substitutions(self) -> dict[str, Any]:
        """Returns `training` in place of `both`: nothing is matched."""
        return {"weights_in": "training"} if self.weights_in == "both" else {}

    @property
    def running_selector(self) -> str:
        """The selector that runs: under the published protocol paper 2's form of it."""
        if self.protocol == "published":
            return SELECTORS[self.selector].published or self.selector
        return self.selector

    @property
    def choosing_selector(self) -> str:
        """The selector that chooses the images: that of the augmentation chooses none itself."""
        if self.running_selector == "augmentation":
            return str(self["augment_selector"] or "random")
        return self.running_selector

    def derived_defaults(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the sizes that depend on the data set, and paper 2's statistics of batch norm."""
        defaults = {
            name: value
            for name, value in DATASET_DEFAULTS.get(values["dataset"], {}).items()
            if name in _FROM_DATASET
        }
        if values["protocol"] == "published":
            defaults["norm_statistics"] = "running"
        return defaults

    def resolve(self) -> "ResolvedSelection":
        """Returns the configuration with every default filled in; idempotent."""
        if isinstance(self, ResolvedSelection):
            return self
        return ResolvedSelection(**self.to_dict())


@dataclass(frozen=True, kw_only=True, init=False)
class ResolvedSelection(SelectionConfig):
    """A configuration with every default filled in, also after `replace`."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**SelectionConfig(**values).resolved_values())
