"""The kinds of trials: one configuration, one trial and one table layout each.

A *kind* joins a configuration class, the trial class that runs it and the layout of its tables.
Command line, identity, results schema, cost model, labels, display, tables, findings and report ask
this registry and never the type of a configuration, so a further kind is those three and a call of
`KINDS.register`.

References to the trial, layout and cost model are imported when they are needed: this module does
not import torch.
"""

import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from distill.components import option_type
from distill.config.base import Config
from distill.config.distillation import DistillationConfig
from distill.config.evaluation import EvaluationConfig
from distill.config.selection import SelectionConfig
from distill.errors import UserError, require_known

Columns = Mapping[str, Any]
"""Name → type of a column: int, float, str, bool, or a list of int, float, str or bytes."""

SCORE_COLUMNS: Columns = {
    f"{split}_{score}_{statistic}": float
    for split in ("test", "val")
    for score in ("accuracy", "balanced_accuracy", "accuracy_best", "loss")
    for statistic in ("mean", "std")
}
"""Scores of the networks trained by a trial, on the images of `eval_split`; the others are null.

Accuracies are fractions in [0, 1] after the last epoch, `balanced_…` means of the classes' own
accuracies, `…_best_…` the best of several tests; losses are mean cross-entropies in nats.
"""

CLUSTER_COLUMNS: Columns = {
    "n_representatives_mean": float,
    "n_clusters_mean": float,
    "largest_cluster_mean": float,
    "noise_mean": float,
}
"""Cluster statistics, means over classes: representatives, clusters, share of the largest cluster
and of noise."""

CLUSTER_SIZE_COLUMNS: Columns = {
    "cluster_size_histogram": list[int],
    "cluster_size_shares": list[float],
}
"""Clusters of 1, 2-3, 4-7, … images, and the share of the images in these."""

_QUALITIES = (
    *("quantization_error", "silhouette", "effective_clusters", "coverage_mean", "coverage_max"),
    *("discrepancy", "stability"),
)
CLUSTER_QUALITY_COLUMNS: Columns = {
    f"{name}_{when}": float for name in _QUALITIES for when in ("last", "mean")
}
"""How well representatives stand for their class (`distill.clustering.quality`): means over classes
at the last clustering, and over all clusterings of the loop; random choices are measured at the
last one only."""

_SELECTION_QUALITY: Columns = {
    name: column_type
    for name, column_type in CLUSTER_QUALITY_COLUMNS.items()
    if name.endswith("_last") and name != "stability_last"
}
"""Those of a selection, whose only clustering is the last one."""

STATUSES = ("ok", "infeasible", "diverged", "out_of_memory")
"""How a trial may end."""

COMMON_COLUMNS: Columns = {
    "trial_id": str,
    "schema_version": int,
    "kind": str,
    "status": str,  # one of STATUSES
    "status_message": str,
    "n_classes": int,
    "n_train": int,
    "n_test": int,
    **SCORE_COLUMNS,
    "n_networks": int,
    "network_scores": str,  # JSON: architecture → lists of scores, one per network
    "correct_images": list[bytes],  # of each network of `network`, see `packed_bits`
    **CLUSTER_COLUMNS,
    **CLUSTER_SIZE_COLUMNS,
    "clustering_seconds": float,
    "network_seconds": float,
    "evaluation_seconds": float,
    "total_seconds": float,
    "cpu_seconds": float,
    "started_at": str,  # ISO 8601, UTC
    "n_resumes": int,
    "fingerprint": str,
    "n_corrupt": int,
    "notices": list[str],  # what the user was warned of before the trial
    "device": str,
    "processor": str,  # of the host, with the instructions that PyTorch uses
    "n_threads": int,
    "precision": str,  # of the maps between the layers of the networks
    "peak_memory_bytes": int,
    "python_version": str,
    "torch_version": str,
    "torchvision_version": str,
    "numpy_version": str,
    "numba_version": str,  # null where it is missing
    "scikit_learn_version": str,
    "git_commit": str,
}
"""Columns of a row that trials of every kind have; what does not apply is null."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of trial.

    Attributes:
        config: its configuration; `config.kind` is the name of the kind.
        trial: the trial class (`distill.trials.base.Trial`) or its place `package.module:name`.
        layout: the layout of its tables (`analysis.tables.layout.TableLayout`) or its place.
        cost: its cost model (`sweeps.cost.model.CostModel`) or its place; None: trials take as long
            as finished ones that differ in the seed only.
        result_columns: columns of its rows beside `COMMON_COLUMNS` and its configuration.
        curve_columns: columns of its curve.
        summary: one line for `--help`.

    Example:
        >>> from distill import KINDS, SelectionConfig
        >>> KINDS["selection"].config is SelectionConfig
        True
        >>> KINDS["distillation"].curve_columns["matching_loss"]
        <class 'float'>
    """

    config: type[Config]
    trial: str | type[Any]
    layout: Any
    cost: Any = None
    result_columns: Columns = field(default_factory=dict)
    curve_columns: Columns = field(default_factory=dict)
    summary: str = ""

    @property
    def name(self) -> str:
        """The name of the kind in results."""
        return self.config.kind

    @property
    def config_columns(self) -> Columns:
        """The columns of the configuration: fields first, then the options of components.

        Raises:
            ValueError: one has the name of a result column, which would replace it in the rows.
        """
        types = {name: option_type(f).plain for name, f in self.config.declared_fields().items()}
        for name in types:
            if name in COMMON_COLUMNS or name in self.result_columns:
                raise ValueError(
                    f"option {name} of kind {self.name!r} has the name of a result column; "
                    "choose another name"
                )
        return {name: list[str] if t is tuple else t for name, t in types.items()}


class Kinds(Mapping[str, Kind]):
    """The kinds by name."""

    def __init__(self, *kinds: Kind) -> None:
        self._kinds: dict[str, Kind] = {}
        for kind in kinds:
            self.register(kind)

    def __getitem__(self, name: str) -> Kind:
        """Returns a kind.

        Raises:
            UserError: there is none of that name.
        """
        require_known("kind of trial", name, self._kinds)
        return self._kinds[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)

    def __contains__(self, name: object) -> bool:
        return name in self._kinds

    def get(self, name: str, default: Any = None, /) -> Any:
        """Returns a kind, or the default where there is none of that name."""
        return self._kinds.get(name, default)

    def register(self, kind: Kind) -> None:
        """Adds a kind.

        Raises:
            ValueError: the name is taken, the configuration resolves to one of another kind, or a
                column has another type than elsewhere.
        """
        if kind.name in self._kinds:
            raise ValueError(f"kind {kind.name!r} is registered already; choose another name")
        resolving = next(base for base in kind.config.__mro__ if "resolve" in vars(base))
        if getattr(resolving, "kind", None) != kind.name:
            raise ValueError(
                f"{kind.config.__name__} must define resolve: the inherited one returns a "
                f"configuration of another kind than {kind.name!r}"
            )
        columns, curve_columns = dict(COMMON_COLUMNS), dict[str, Any]()
        for other in self._kinds.values():
            columns |= {**other.config_columns, **other.result_columns}
            curve_columns |= other.curve_columns
        _check_types(kind.name, columns, {**kind.config_columns, **kind.result_columns})
        _check_types(kind.name, curve_columns, kind.curve_columns)
        self._kinds[kind.name] = kind

    @contextmanager
    def registered(self, kind: Kind) -> Iterator[None]:
        """Adds a kind for the time of the context."""
        self.register(kind)
        try:
            yield
        finally:
            del self._kinds[kind.name]


def _check_types(kind: str, known: Columns, columns: Columns) -> None:
    for name, column_type in columns.items():
        if known.get(name, column_type) != column_type:
            raise ValueError(
                f"column {name} of kind {kind!r} must be of type {_type_name(known[name])}, "
                f"got {_type_name(column_type)}"
            )


def _type_name(column_type: Any) -> str:
    return str(column_type) if typing.get_origin(column_type) else str(column_type.__name__)


KINDS = Kinds(
    Kind(
        config=DistillationConfig,
        trial="distill.trials.distillation:DistillationTrial",
        layout="analysis.tables.distillation:LAYOUT",
        cost="sweeps.cost.distillation:DISTILLATION",
        result_columns={
            "matching_loss": float,
            "matching_seconds": float,
            "pool_seconds": float,  # of the training of its networks, in whichever trials
            "saturated_share": float,  # of the values of the learnt images, 0 or 255
            **CLUSTER_QUALITY_COLUMNS,
        },
        curve_columns={
            "outer": int,
            "seconds": float,  # of the distillation so far, with those of its pool of networks
            "matching_loss": float,
            "accuracy_mean": float,
            "accuracy_std": float,
            "n_networks": int,
            **CLUSTER_COLUMNS,
        },
        summary="learn a few synthetic images per class (DREAM with a choice of clusterings)",
    ),
    Kind(
        config=SelectionConfig,
        trial="distill.trials.selection:SelectionTrial",
        layout="analysis.tables.selection:LAYOUT",
        cost="sweeps.cost.selection:SELECTION",
        result_columns={
            **{
                f"test_{part}_accuracy_{statistic}": float
                for part in ("seen", "unseen")
                for statistic in ("mean", "std")
            },
            "n_pool": int,
            "n_duplicates": int,
            "n_selected": int,
            "n_distinct": int,
            "n_test_selected": int,
            "n_trained_on": int,
            "n_steps": int,
            "n_cells_occupied": int,
            "n_filled": int,
            "plane_explained": float,
            **_SELECTION_QUALITY,
        },
        curve_columns={
            "network_index": int,
            "epoch": int,
            "n_steps": int,
            "train_loss": float,
            "train_accuracy": float,
            "val_loss": float,
            "val_accuracy": float,
        },
        summary="choose real images and train networks on them",
    ),
    Kind(
        config=EvaluationConfig,
        trial="distill.trials.evaluation:EvaluationTrial",
        layout="analysis.tables.evaluation:LAYOUT",
        cost="sweeps.cost.evaluation:EVALUATION",
        result_columns={
            "n_stored": int,
            "n_trained_on": int,
            "labels_from": str,  # set or teacher; null with hard labels
            "teacher_accuracy": float,
            "teacher_recipe": str,
            # See `distill.evaluation.set_statistics`.
            "coverage_mean": float,
            "coverage_max": float,
            "diversity": float,
            "representativeness": float,
        },
        summary="train networks on a small set, whoever made it, and test them",
    ),
)
"""Every kind of trial."""


def kind_of(config: Config) -> Kind:
    """Returns the kind of a configuration."""
    return KINDS[config.kind]


def config_from_dict(values: Mapping[str, Any]) -> Config:
    """Builds a configuration of any kind from `{"kind": config.kind, **config.to_dict()}`.

    Raises:
        UserError: the kind or a key is unknown or missing, or a value is not allowed.
    """
    if "kind" not in values:
        raise UserError(f"the kind of trial is missing (known: {', '.join(KINDS)})")
    kind = KINDS[str(values["kind"])]
    return kind.config.from_dict({key: v for key, v in values.items() if key != "kind"})
