"""What trials are called on the terminal and in tables."""

from typing import Any

from distill.config import CLUSTERER_OPTION_NAMES, Config, TrialConfig
from distill.subset_config import SubsetConfig

_SUBSET_OPTIONS = ("fraction", "clusterer", "n_clusters", "grid_size", "pca_dim", "augment_mode")


def method_label(config: Config) -> str:
    """Returns the method with the parameters that were given for it, such as `dbscan eps=15`."""
    if isinstance(config, SubsetConfig):
        return " ".join([config.arm, *_given(config, (*_SUBSET_OPTIONS, *CLUSTERER_OPTION_NAMES))])
    if isinstance(config, TrialConfig):
        return " ".join([config.clusterer, *_given(config, CLUSTERER_OPTION_NAMES)])
    raise TypeError(f"config must be of a known kind, got {type(config).__name__}")


def trial_label(config: Config) -> str:
    """Returns what tells a trial from the others of its sweep, in a few words."""
    parts = [method_label(config)]
    if isinstance(config, TrialConfig):
        parts += ["weighted"] * (config.weights != "none")
        parts += [config.embedding] * (config.embedding != "features")
        parts += [f"ipc {config.ipc}"]
    values = config.to_dict()
    parts += [values["protocol"]] * (values["protocol"] != "sound")
    return ", ".join([*parts, f"seed {values['seed']}"])


def _given(config: Config, names: Any) -> list[str]:
    values = {name: getattr(config, name) for name in names}
    return [
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in values.items()
        if value is not None
    ]
