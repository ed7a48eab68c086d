"""Names of methods: every one has a label, and every trial a row."""

import pytest

from analysis.data.methods import (
    BASELINE,
    LABELS,
    PAPER1_DBSCAN,
    PAPER1_ROWS,
    label,
    method_of,
    method_order,
    options_text,
    paper_options,
    weights_of,
)
from distill.config.distillation import CLUSTERER_OPTIONS, PUBLISHED_VARIANTS


def test_every_clusterer_has_a_label_of_its_own() -> None:
    assert LABELS.keys() == CLUSTERER_OPTIONS.keys()
    assert len(set(LABELS.values())) == len(LABELS)
    assert label("of_a_later_version") == "of_a_later_version"


def test_the_paper_has_nine_rows_and_a_baseline_among_them() -> None:
    assert len(PAPER1_ROWS) == 9
    assert BASELINE in PAPER1_ROWS
    assert {method for method, _ in PAPER1_ROWS} <= PUBLISHED_VARIANTS.keys()


@pytest.mark.parametrize(("name", "variant"), PUBLISHED_VARIANTS.items())
def test_a_published_variant_is_the_method_itself_under_the_published_protocol(
    name: str, variant: str
) -> None:
    assert method_of(variant, "published") == name
    assert method_of(variant, "sound") == variant
    assert method_of(name, "sound") == name


def test_weights() -> None:
    assert weights_of("size", "sound") == "T"
    assert weights_of("published", "published") == "T"
    assert weights_of("none", "sound") == "F"
    assert weights_of("none", "published") == "F"
    assert weights_of("published", "sound") == "inert"


def test_methods_sort_as_in_the_registry_and_unknown_ones_come_last() -> None:
    names = ["a_new_one", *reversed(CLUSTERER_OPTIONS)]

    assert sorted(names, key=method_order) == [*CLUSTERER_OPTIONS, "a_new_one"]


def test_options_as_text() -> None:
    assert options_text(PAPER1_DBSCAN) == "eps 15, min_samples 2"
    assert options_text(PAPER1_DBSCAN, ["min_samples"]) == "min_samples 2"
    assert options_text(paper_options("kmedoids")) == "fasterpam, lab"
    assert options_text(paper_options("kmeans")) == ""
