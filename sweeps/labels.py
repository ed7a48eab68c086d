"""What trials are called in tables and on the terminal."""

from distill.config import CLUSTERER_OPTION_NAMES, TrialConfig


def method_label(config: TrialConfig) -> str:
    """Returns the clusterer with the parameters that were given for it, such as `dbscan eps=15`."""
    given = {name: getattr(config, name) for name in CLUSTERER_OPTION_NAMES}
    options = [
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in given.items()
        if value is not None
    ]
    return " ".join([config.clusterer, *options])


def trial_label(config: TrialConfig) -> str:
    """Returns what tells a trial from the others of its sweep, in a few words."""
    parts = [method_label(config)]
    if config.weights != "none":
        parts.append("weighted")
    if config.embedding != "features":
        parts.append(config.embedding)
    if config.protocol != "sound":
        parts.append(config.protocol)
    return ", ".join([*parts, f"ipc {config.ipc}", f"seed {config.seed}"])
