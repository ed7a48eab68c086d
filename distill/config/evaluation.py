"""The configuration of an evaluation: train networks on a small set, whoever made it, and test them.

The recipe is that of the evaluation of distilled images, with the same defaults.
"""

# ruff: noqa: E501 - one line an option: it is read as a table
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from distill.components import choice, component_of, option
from distill.config.base import Config
from distill.config.cluster_weights import check_strength_weights, check_training_weights
from distill.config.defaults import dataset_defaults
from distill.config.sets import LABELS, SETS, check_set_constants
from distill.errors import UserError
from distill.networks.registry import NETWORKS

FILE = "file"
"""The component of sets that are read from files."""

EQUAL_SETS = ("random", "all")
"""Sets of real images that stand for equally many."""

_FROM_FILES = ("set_hash", "ipc", "factor")
"""Options of a set in files whose defaults are in these."""


@dataclass(frozen=True, kw_only=True, init=False)
class EvaluationConfig(Config):
    """Everything that decides the result of an evaluation. Equal configurations are one trial.

    Example:
        >>> config = EvaluationConfig(set="random", ipc=10, labels="teacher")
        >>> config.resolve()["label_loss"], config.resolve()["teacher_epochs"]
        ('kl', 60)

    Raises:
        UserError: see `Config`; when it is resolved, also what `distill.sets.read.read_set` raises.
    """

    kind: ClassVar[str] = "evaluation"
    method_field: ClassVar[str] = "set"

    # fmt: off
    set: str = choice("random", SETS, "what networks are trained on: a path (see docs/judging.md) or a way to choose real images", group="method", other=FILE)
    labels: str = choice("hard", LABELS, "labels that networks are trained on; soft: fixed ones, the set's own or else a teacher's; teacher: a teacher's for every augmented view", group="method")

    weights_in: Literal["matching", "training", "both"] = option("matching", "training: images count by the weights that the set carries, chosen ones by the share of their class that they stand for; matching, which evaluations do not do: equally; both: as training", group="training")
    network: str = choice("convnet", NETWORKS, "network that is trained", group="training", excluded=("photo_cnn",))
    n_eval: int = option(5, "fresh networks trained on the set", group="training", minimum=1)
    eval_epochs: int = option(None, "epochs of training on the set", group="training", minimum=1)
    eval_batch_size: int = option(64, "images in a batch", group="training", minimum=1)
    eval_lr: float = option(None, "learning rate; × 0.2 at 2/3 and at 5/6 of the epochs", group="training", above=0)
    eval_momentum: float = option(0.9, "momentum", group="training", minimum=0, below=1)
    eval_weight_decay: float = option(5e-4, "weight decay", group="training", minimum=0)
    eval_augment: str = option(None, "augmentation, drawn per image: names joined by _, or none", group="training")
    cutmix_prob: float = option(0.5, "probability of CutMix for a batch", group="training", minimum=0, maximum=1)
    cutmix_beta: float = option(1.0, "beta distribution of CutMix", group="training", above=0)
    # fmt: on

    def _check(self) -> None:
        if self.set == FILE:
            raise UserError("set 'file' stands for a path; give the path itself")
        if self.protocol != "sound":
            raise UserError(f"an evaluation has no protocol {self.protocol!r}; use protocol sound")
        if self.trains_with_weights and self.set in EQUAL_SETS:
            raise UserError(
                f"weights_in {self.weights_in!r} needs a set with weights, got set {self.set!r}, "
                "whose images stand for equally many; use weights_in matching"
            )
        check_training_weights(self, self["clusterer"], "use weights_in matching")
        if not self.trains_with_weights:
            obstacle = f"weights_in {self.weights_in!r}"
            check_strength_weights(self, obstacle, "set weights_in training or leave it out")
        check_set_constants(self)

    @property
    def is_file(self) -> bool:
        """Whether the set is read from files."""
        return component_of(self.static_fields()["set"], self.set) == FILE

    @property
    def epochs(self) -> int:
        """Epochs that networks are trained for; of a resolved configuration."""
        chosen: int = self["all_epochs"] or self.eval_epochs
        return chosen

    @property
    def wants_teacher(self) -> bool:
        """Whether a teacher may be needed; a set with soft labels may need none."""
        return self.labels != "hard"

    def derived_defaults(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the defaults of the data set, and what the files of a set say.

        Files are read only where one of these is not given: a plan that has all of them does not
        need the files.
        """
        defaults = dataset_defaults(values["dataset"])
        if not self.is_file or all(values.get(name) is not None for name in _FROM_FILES):
            return defaults
        # torch takes seconds to import: only where a file of tensors may have to be read.
        from distill.sets.content import content_hash  # noqa: PLC0415
        from distill.sets.read import read_set  # noqa: PLC0415

        stored = read_set(self.set, values.get("repetition") or 0)
        found = {
            "set_hash": content_hash(self.set),
            "ipc": stored.ipc,
            "factor": stored.factor or 1,
        }
        return defaults | found

    def substitutions(self) -> dict[str, Any]:
        """Returns `training` in place of `both`: nothing is matched."""
        return {"weights_in": "training"} if self.weights_in == "both" else {}

    @classmethod
    def identifying_values(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the values that identify the trial: of a set in files its content, not its place.

        A set that is moved or renamed is the same one, and one that is changed is another.
        """
        found = super().identifying_values(values)
        name = found.get("set")
        if name is not None:
            found["set"] = component_of(cls.static_fields()["set"], name)
        return found

    def resolve(self) -> "ResolvedEvaluation":
        """Returns the configuration with every default filled in; idempotent."""
        if isinstance(self, ResolvedEvaluation):
            return self
        return ResolvedEvaluation(**self.to_dict())


@dataclass(frozen=True, kw_only=True, init=False)
class ResolvedEvaluation(EvaluationConfig):
    """A configuration with every default filled in, also after `replace`."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**EvaluationConfig(**values).resolved_values())
