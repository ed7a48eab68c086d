"""What trials are called on the terminal and in tables."""

from typing import Any

from distill.config.distillation import CLUSTERER_OPTION_NAMES, Config, DistillationConfig
from distill.config.selection import SelectionConfig

_SELECTION_OPTIONS = (
    *("fraction", "embedding", "clusterer", "n_clusters", "grid_size", "pca_dim"),
    *("center", "augment_mode", "augment_copies", "equal_steps"),
)


def method_label(config: Config) -> str:
    """Returns the method with the parameters that were given for it, such as `dbscan eps=15`."""
    if isinstance(config, SelectionConfig):
        return " ".join(
            [config.selector, *_given(config, (*_SELECTION_OPTIONS, *CLUSTERER_OPTION_NAMES))]
        )
    if isinstance(config, DistillationConfig):
        label = " ".join([config.clusterer, *_given(config, CLUSTERER_OPTION_NAMES)])
        return label if config.embedding == "features" else f"{config.embedding}: {label}"
    raise TypeError(f"config must be of a known kind, got {type(config).__name__}")


def trial_label(config: Config) -> str:
    """Returns what tells a trial from the others of its sweep, in a few words."""
    values = config.to_dict()
    parts = [method_label(config)]
    parts += ["weighted"] * (values.get("weights", "none") != "none")
    parts += [f"ipc {values['ipc']}"] * (values["ipc"] is not None)
    parts += [values["protocol"]] * (values["protocol"] != "sound")
    return ", ".join([*parts, f"seed {values['seed']}"])


def _given(config: Config, names: Any) -> list[str]:
    values = {name: getattr(config, name) for name in names}
    return [
        name
        if value is True
        else f"{name}={value:g}"
        if isinstance(value, float)
        else f"{name}={value}"
        for name, value in values.items()
        if value is not None and value is not False
    ]
