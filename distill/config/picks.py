"""Which picks and quotas go with which clusterer, for configurations of every kind."""

from distill.clustering.registry import CHOOSES_ITSELF, CLUSTERERS, WITH_NOISE
from distill.config.base import NEUTRAL_VALUES, Config
from distill.errors import UserError

_WITH_MEDOIDS = ("kmedoids", "kmedoids_published", "kmedoids_sklearn_extra", *CHOOSES_ITSELF)
"""Clusterers whose centers are images."""


def chooses_otherwise(config: Config) -> bool:
    """Whether images are picked inside clusters otherwise than one nearest to each center."""
    return any(config[n] not in (None, NEUTRAL_VALUES[n]) for n in ("pick", "quota"))


def offers_picks(clusterer: str | None) -> bool:
    """Whether the clusters of a clusterer (None: the default one) offer images to pick from."""
    has_rule = clusterer == "kmedoids_sklearn_extra" or clusterer in (
        CLUSTERERS.published_variants().values()
    )
    return not has_rule and clusterer not in CHOOSES_ITSELF


def check_picks(config: Config, clusterer: str) -> None:
    """Checks that pick and quota have a meaning for a clusterer.

    Raises:
        UserError: they have not, or the protocol is the published one.
    """
    if not chooses_otherwise(config):
        return
    pick, quota = config["pick"] or "nearest", config["quota"] or "one"
    given = f"pick {pick!r} with quota {quota!r}"
    if config.protocol == "published":
        raise UserError(
            f"the published protocol has no picks and quotas, got {given}; use protocol sound"
        )
    if not offers_picks(clusterer):
        raise UserError(
            f"{given} needs a clusterer whose clusters offer several images, but clusterer "
            f"{clusterer!r} chooses the images itself; leave pick and quota out"
        )
    if pick == "medoid":
        check_medoids(clusterer, "pick 'medoid'", "use another pick")


def check_medoids(clusterer: str, given: str, fix: str) -> None:
    """Checks that the clusters of a clusterer have medoids, and not as their centers.

    Args:
        clusterer: its name.
        given: what asks for medoids, for the message.
        fix: what to do about it.

    Raises:
        UserError: they have none, or no others.
    """
    if clusterer in WITH_NOISE:
        raise UserError(
            f"{given} needs every image in a cluster, but clusterer {clusterer!r} leaves noise, "
            f"which has no medoid; {fix}"
        )
    if clusterer in _WITH_MEDOIDS:
        raise UserError(
            f"{given} changes nothing for clusterer {clusterer!r}, whose centers are images "
            f"already; {fix}"
        )
