"""The columns of the results: one schema for the rows, one for the curves.

Every field may be null, and a missing number is null. Columns are only ever added: a file of an
earlier version lacks some, and reads as null there.
"""

import pyarrow as pa

from distill.config.distillation import DistillationConfig, field_type, fields_of
from distill.config.selection import SelectionConfig

_ARROW_TYPES = {
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bool: pa.bool_(),
    tuple: pa.list_(pa.string()),
}

_IDENTITY = [
    ("trial_id", pa.string()),
    ("schema_version", pa.int64()),
    ("kind", pa.string()),  # distillation or selection
    ("status", pa.string()),  # ok, infeasible, diverged or out_of_memory
    ("status_message", pa.string()),
]
_SWEEP = [
    ("sweep", pa.string()),
    ("phase", pa.string()),  # grid, search or confirm
    ("attempt", pa.int64()),  # 1: the first
    ("host", pa.string()),
    ("gpu_share", pa.float64()),
    ("finished_at", pa.string()),  # ISO 8601, UTC
]
_CONFIG = [(name, _ARROW_TYPES[field_type(name)[0]]) for name in fields_of(DistillationConfig)]
_SELECTION_CONFIG = [
    (name, _ARROW_TYPES[field_type(name, SelectionConfig)[0]])
    for name in fields_of(SelectionConfig)
    if name not in fields_of(DistillationConfig)
]
_SELECTION_RESULTS = [
    *(
        (f"test_{part}_accuracy_{statistic}", pa.float64())
        for part in ("seen", "unseen")
        for statistic in ("mean", "std")
    ),
    *(
        (name, pa.int64())
        for name in (
            *("n_pool", "n_duplicates", "n_selected", "n_distinct", "n_test_selected"),
            *("n_trained_on", "n_steps", "n_cells_occupied", "n_filled"),
        )
    ),
    ("plane_explained", pa.float64()),
]
_SCORES = [
    (f"{split}_{score}_{part}", pa.float64())
    for split in ("test", "val")
    for score in ("accuracy", "accuracy_best", "loss")
    for part in ("mean", "std")
]
_CLUSTERS = [
    (name, pa.float64())
    for name in (
        "n_representatives_mean",
        "n_clusters_mean",
        "largest_cluster_mean",
        "noise_mean",
    )
]
_CLUSTER_SIZES = [
    ("cluster_size_histogram", pa.list_(pa.int64())),  # clusters of 1, 2-3, 4-7, … images
    ("cluster_size_shares", pa.list_(pa.float64())),  # share of the images in these
]
_SECONDS = [
    (f"{part}_seconds", pa.float64())
    for part in ("clustering", "matching", "network", "evaluation", "total")
]
_PROVENANCE = [
    ("started_at", pa.string()),  # ISO 8601, UTC
    ("n_resumes", pa.int64()),
    ("fingerprint", pa.string()),
    ("n_corrupt", pa.int64()),
    ("device", pa.string()),
    ("n_threads", pa.int64()),
    ("precision", pa.string()),  # of what is between the layers of the networks
    ("peak_memory_bytes", pa.int64()),
    ("python_version", pa.string()),
    ("torch_version", pa.string()),
    ("torchvision_version", pa.string()),
    ("numpy_version", pa.string()),
    ("numba_version", pa.string()),  # null where it is missing
    ("scikit_learn_version", pa.string()),
    ("git_commit", pa.string()),
    ("ray_version", pa.string()),
]

_TRIAL_SCHEMA = pa.schema(
    [
        *_IDENTITY,
        *_SWEEP,
        *_CONFIG,
        *_SCORES,
        ("n_networks", pa.int64()),
        ("network_scores", pa.string()),  # JSON: architecture → lists of scores, one per network
        ("matching_loss", pa.float64()),
        *_CLUSTERS,
        *_CLUSTER_SIZES,
        *_SECONDS,
        *_PROVENANCE,
        *_SELECTION_CONFIG,
        *_SELECTION_RESULTS,
    ]
)
"""One row a trial: who it is, the sweep it ran in, its configuration, its result, its origin.

Accuracies are fractions in [0, 1]; times are seconds. The last columns are those that only a
choice of real images has; a distillation has null there, and vice versa.
"""

_CURVE_SCHEMA = pa.schema(
    [
        ("trial_id", pa.string()),
        ("outer", pa.int64()),
        ("matching_loss", pa.float64()),
        ("accuracy_mean", pa.float64()),
        ("accuracy_std", pa.float64()),
        ("n_networks", pa.int64()),
        *_CLUSTERS,
        ("network_index", pa.int64()),
        ("epoch", pa.int64()),
        ("n_steps", pa.int64()),
        ("train_loss", pa.float64()),
        ("train_accuracy", pa.float64()),
        ("val_loss", pa.float64()),
        ("val_accuracy", pa.float64()),
    ]
)
"""Of a distillation one row per outer iteration and one for the start, by the columns of
`distill.trials.distillation`; of a choice of real images one per classifier and epoch, by those of
`distill.trials.selection`. The other kind's columns are null.
"""


def trial_schema() -> pa.Schema:
    """Returns the schema of the rows."""
    return _TRIAL_SCHEMA


def curve_schema() -> pa.Schema:
    """Returns the schema of the curves."""
    return _CURVE_SCHEMA
