"""Which picks and quotas go with which clusterer, for configurations of every kind."""

from distill.clustering.registry import CHOOSES_ITSELF, CLUSTERERS, WITH_NOISE
from distill.config.base import NEUTRAL_VALUES, Config
from distill.errors import UserError


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
    if pick == "medoid" and clusterer in WITH_NOISE:
        raise UserError(
            f"pick 'medoid' needs every image in a cluster, but clusterer {clusterer!r} leaves "
            "noise, which has no medoid; use another pick"
        )
    if pick == "medoid" and clusterer == "kmedoids":
        raise UserError(
            "pick 'medoid' changes nothing for clusterer 'kmedoids', whose centers are medoids; "
            "use pick nearest"
        )
