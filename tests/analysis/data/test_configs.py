"""Facts about configurations: labels, order, options and what was chosen."""

import pytest

from analysis.data.configs import ConfigFacts, method_label, method_order
from distill.clustering.registry import CLUSTERERS
from distill.config.distillation import DistillationConfig
from distill.config.selection import SelectionConfig

DISTILLATION, SELECTION = ConfigFacts(DistillationConfig), ConfigFacts(SelectionConfig)


def test_every_clusterer_has_its_own_label() -> None:
    labels = {DISTILLATION.label("clusterer", name) for name in CLUSTERERS}

    assert len(labels) == len(CLUSTERERS)
    assert method_label("kmeans++") == "K-Means++"
    assert method_label("of_a_later_version") == "of_a_later_version"


@pytest.mark.parametrize(("name", "variant"), CLUSTERERS.published_variants().items())
def test_a_published_variant_counts_as_its_method(name: str, variant: str) -> None:
    def method(clusterer: str, protocol: str) -> str:
        values = {"clusterer": clusterer, "protocol": protocol}
        return str(DISTILLATION.chosen("clusterer", values))

    assert method(variant, "published") == name
    assert method(variant, "sound") == variant
    assert method(name, "sound") == name


def test_methods_sort_as_in_the_registry_and_unknown_ones_come_last() -> None:
    names = ["a_new_one", *sorted(CLUSTERERS, reverse=True)]

    assert sorted(names, key=method_order) == [*CLUSTERERS, "a_new_one"]
    by_field = sorted([*names, None], key=lambda n: DISTILLATION.order("clusterer", n))
    assert by_field == [*CLUSTERERS, "a_new_one", None]


def test_options_of_nested_components_are_implied() -> None:
    implied = SELECTION.implied_options("selector")

    assert {"fraction", "embedding", "feature_epochs", "clusterer", "min_samples"} <= implied
    assert not {"selector", "network", "width", "epochs", "val_fraction"} & implied
    values = {"protocol": "sound", "selector": "cluster_grid", "clusterer": "dbscan"}
    assert SELECTION.is_nested("min_samples", "selector", values)
    assert not SELECTION.is_nested("n_clusters", "selector", values)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ()),
        ({"clusterer": "dbscan"}, (("clusterer", "dbscan"),)),
        ({"clusterer": "dbscan", "eps": 3.0}, (("clusterer", "dbscan"), ("eps", 3.0))),
        ({"n_clusters": 4}, (("n_clusters", 4),)),
        ({"n_clusters": 2, "protocol": "published"}, ()),
        ({"selector": "of_a_later_version", "n_clusters": 4}, (("n_clusters", 4),)),
    ],
)
def test_options_that_differ_from_the_defaults(
    given: dict[str, object], expected: tuple[tuple[str, object], ...]
) -> None:
    values = {"protocol": "sound", "selector": "cluster_grid", **given}
    if values["selector"] == "cluster_grid":
        values = SelectionConfig.from_dict(values).resolve().to_dict()
    names = ("clusterer", "n_clusters", "eps", "eps_quantile", "min_samples")

    assert SELECTION.changed_options("selector", names, values) == expected
