"""Names and order of paper 1's methods in tables and figures.

In data a method has its name in the registry (`kmeans`), one spelling for life; what is printed
for it stands here, and nowhere else.
"""

from collections.abc import Iterable
from typing import Any

from distill.config.distillation import CLUSTERER_OPTIONS, PUBLISHED_VARIANTS

LABELS = {
    "kmeans": "K-Means",
    "kmeans++": "K-Means++",
    "kmedoids": "K-Medoids",
    "dbscan": "DBSCAN",
    "agglomerative": "Agglomerative",
    "birch": "BIRCH",
    "random": "Random",
    "kmeans_published": "K-Means, the paper's",
    "kmeans++_published": "K-Means++, the paper's",
    "kmedoids_published": "K-Medoids, the paper's",
    "kmedoids_sklearn_extra": "K-Medoids, scikit-learn-extra",
    "dbscan_published": "DBSCAN, the paper's",
    "agglomerative_published": "Agglomerative, the paper's",
}
"""What is printed for a clusterer."""

PAPER1_ROWS = (
    ("kmeans", "T"),
    ("kmeans", "F"),
    ("kmeans++", "T"),
    ("kmeans++", "F"),
    ("kmedoids", "T"),
    ("kmedoids", "F"),
    ("dbscan", "T"),
    ("dbscan", "F"),
    ("agglomerative", "F"),
)
"""Method and weights of the rows of the paper's tables, in its order."""

BASELINE = ("kmeans", "F")

WEIGHTS = ("T", "F", "inert")
"""With weights, without, and with paper 1's, which have no effect, outside its own protocol."""

Options = tuple[tuple[str, Any], ...]
"""The hyper-parameters of a clusterer: pairs of name and value, in the order of the registry."""

PAPER1_DBSCAN: Options = (("eps", 15.0), ("min_samples", 2))

_ORDER = {name: position for position, name in enumerate(CLUSTERER_OPTIONS)}
_SOUND_NAMES = {variant: name for name, variant in PUBLISHED_VARIANTS.items()}


def method_of(clusterer: str, protocol: str) -> str:
    """Returns the method whose row a trial belongs to.

    Under the published protocol a configuration names what really ran (`kmeans_published`): that
    is the row of `kmeans`. Under the sound one such a name is a method of its own.
    """
    return _SOUND_NAMES.get(clusterer, clusterer) if protocol == "published" else clusterer


def weights_of(weights: str, protocol: str) -> str:
    """Returns `T`, `F` or `inert` for the weights of a trial.

    The paper's inert weights are its `T` rows; under the sound protocol, where `T` are weights
    that act, they are something else again.
    """
    if weights == "none":
        return "F"
    return "T" if weights == "size" or protocol == "published" else "inert"


def method_order(method: str) -> tuple[int, str]:
    """Sorts methods as the registry does; unknown ones, of other versions, come last."""
    return _ORDER.get(method, len(_ORDER)), method


def default_options(method: str) -> Options:
    """Returns the hyper-parameters that the registry gives a clusterer."""
    options = CLUSTERER_OPTIONS.get(method, {})
    return tuple((name, value) for name, value in options.items() if value is not None)


def paper_options(method: str) -> Options:
    """Returns the hyper-parameters that stand for the paper's row of a method."""
    return PAPER1_DBSCAN if method == "dbscan" else default_options(method)


def label(method: str) -> str:
    """Returns what is printed for a method."""
    return LABELS.get(method, method)


def options_text(options: Options, names: Iterable[str] | None = None) -> str:
    """Returns hyper-parameters as they are printed: `eps 15, min_samples 2`; words stand alone.

    Args:
        options: of one clusterer.
        names: those that are printed; None: all.
    """
    shown = options if names is None else [pair for pair in options if pair[0] in set(names)]
    return ", ".join(
        value if isinstance(value, str) else f"{name} {value:g}" for name, value in shown
    )
