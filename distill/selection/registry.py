"""The selectors by the names of the selectors."""

from collections.abc import Callable

from distill.clustering.base import Clusterer
from distill.clustering.registry import build_clusterer
from distill.config.selection import SelectionConfig
from distill.selection.base import Selector
from distill.selection.cluster_grid import ClusterGrid, PublishedClusterGrid
from distill.selection.herding import Herding
from distill.selection.k_center import KCenter
from distill.selection.nearest_center import NearestCenter
from distill.selection.plain import AllImages, RandomImages, RepeatedDraws


def _clusterer(config: SelectionConfig) -> Clusterer:
    return build_clusterer(str(config.clusterer), **config.clusterer_options)


def _cluster_grid(config: SelectionConfig) -> Selector:
    kind = PublishedClusterGrid if config.protocol == "published" else ClusterGrid
    return kind(
        clusterer=_clusterer(config),
        n_clusters=int(config.n_clusters or 1),
        pca_dim=int(config.pca_dim or 1),
        grid_size=config.grid_size,
    )


def _augmentation(config: SelectionConfig) -> Selector:
    if config.protocol == "published":
        return RepeatedDraws(n_draws=int(config.augment_copies or 1))
    return RandomImages()


SELECTORS: dict[str, Callable[[SelectionConfig], Selector]] = {
    "base": lambda _: AllImages(),
    "random": lambda _: RandomImages(),
    "cluster_grid": _cluster_grid,
    "augmentation": _augmentation,
    "herding": lambda _: Herding(),
    "k_center": lambda _: KCenter(),
    "nearest_center": lambda config: NearestCenter(
        clusterer=_clusterer(config),
        n_clusters=config.n_clusters,
        medoids=config.center == "medoid",
    ),
}
"""Every selector by the name it has in configurations, results and tables."""


def build_selector(config: SelectionConfig) -> Selector:
    """Builds the selector of a selector.

    Args:
        config: its defaults are filled in here.
    """
    config = config.resolved()
    return SELECTORS[config.selector](config)
