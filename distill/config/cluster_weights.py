"""Where weights by clusters have a meaning, for configurations of every kind."""

from distill.clustering.registry import EQUALLY_LARGE
from distill.config.base import Config
from distill.errors import UserError


def check_training_weights(config: Config, clusterer: str | None, remedy: str) -> None:
    """Checks that clusters weigh the images in training only where they differ in size.

    Args:
        config: any.
        clusterer: whose clusters give the weights in training; None: no clusters do.
        remedy: what else can be done, for the message.

    Raises:
        UserError: they do not differ.
    """
    if config.trains_with_weights and clusterer in EQUALLY_LARGE:
        raise UserError(
            f"weights_in {config['weights_in']!r} needs a clusterer that compares images, got "
            f"clusterer {clusterer!r}, whose images stand for equally many; {remedy}"
        )


def check_strength_weights(config: Config, obstacle: str, remedy: str) -> None:
    """Checks that membership strengths are not asked for where no clusters' weights act.

    Args:
        config: one in which none act.
        obstacle: fields and values because of which.
        remedy: what else can be done, for the message.

    Raises:
        UserError: they are.
    """
    if config["strength_weights"]:
        raise UserError(
            f"strength_weights has no effect: no weights of clusters act with {obstacle}; {remedy}"
        )
