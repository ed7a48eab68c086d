"""Findings of paper 2: its claims, and what its best number is made of, by hand."""

from typing import Any

import pytest

from analysis.findings.claims import claims
from analysis.findings.findings import findings, in_short, markdown
from analysis.findings.selection import parts
from analysis.tables.build import Tables, build
from analysis.tables.layout import Table
from tests.analysis.results import Row, frame_of, selection_rows_of


def published(
    selector: str, accuracies: tuple[float, ...], n_images: int, **fields: float
) -> list[Row]:
    return selection_rows_of(
        selector, accuracies, {"n_trained_on": n_images}, protocol="published", **fields
    )


def clustering() -> list[Row]:
    """Two seeds, trained on four times a tenth of the images, 450 test images among them."""
    rows = published("cluster_grid", (0.89, 0.91), 5400)
    for row in rows:
        row |= {
            "test_seen_accuracy_mean": 0.99,
            "test_unseen_accuracy_mean": 0.85,
            "n_test_selected": 450,
        }
    return rows


def few() -> list[Row]:
    return published("random", (0.75, 0.75), 1350)


def many(fraction: float = 0.4, n_images: int = 5400) -> list[Row]:
    return published("random", (0.80, 0.82), n_images, fraction=fraction)


def paper_of(*rows: Row) -> Tables:
    return build(frame_of(rows))


def table_of(*rows: Row) -> Table:
    (found,) = paper_of(*rows).tables
    return found


def cases(paper: Tables, topic: str) -> dict[str, tuple[str, ...]]:
    found = findings(paper.tables)
    return {f.verdict: f.cases for f in found if f.topic.name == topic}


def of_the_paper(selector: str, accuracies: tuple[float | None, ...], **fields: Any) -> list[Row]:
    """Rows of the paper's computation: its protocol, 15,000 photos of 150×150."""
    values: Row = {"n_train": 13_500, "n_test": 1_500, "n_networks": 1, "n_trained_on": 1350}
    fields = {"protocol": "published", "image_size": 150, **fields}
    return selection_rows_of(selector, accuracies, values, **fields)


def test_ways_of_choosing_against_random_images() -> None:
    paper = paper_of(
        *selection_rows_of("base", (0.91,)),
        *selection_rows_of("random", (0.70, 0.72, 0.74)),
        *selection_rows_of("random", (0.80, 0.81, None), fraction=0.25),
        *selection_rows_of("cluster_grid", (0.72, 0.75, 0.76)),
        *selection_rows_of("herding", (0.6, 0.61, 0.62)),
    )

    found = cases(paper, "selectors")

    # Under the sound protocol nothing is said about the printed numbers.
    assert [case.split(" (")[0] for case in found["higher"]] == ["random 25 %", "clustering 10 %"]
    assert [case.split(" (")[0] for case in found["lower"]] == ["herding 10 %"]
    assert found["not tested"][0] == "base (all images) (+21.00, 1 pair)"
    assert "random 50 % (no pairs)" in found["not tested"]
    assert "printed" not in str(found)
    short = in_short(findings(paper.tables))
    assert short[0].startswith("Ways of choosing images: of 6 comparisons with random 10 %, 2 hi")
    assert len(short) == 2  # and the order of the random subsets


def test_the_papers_own_computation_against_its_numbers() -> None:
    paper = paper_of(
        *of_the_paper("random", (0.70, 0.72, 0.74)),
        *of_the_paper("random", (0.80, 0.81, 0.845), fraction=0.25),
        *of_the_paper("cluster_grid", (0.72, 0.75, 0.755)),
    )

    found = cases(paper, "selectors")

    # Printed: 0.8133 − 0.7553 and 0.8947 − 0.7553.
    (quarter, clustering_) = found["holds"]
    assert quarter.startswith("random 25 % (+9.83 ± ")
    assert "printed +5.80" in quarter
    assert clustering_.startswith("clustering 10 % (+2.17 ± ")
    assert "printed +13.94, outside this interval" in clustering_


@pytest.mark.parametrize("fields", [{"image_size": 48}, {"protocol": "sound"}])
def test_smaller_photos_are_findings_of_their_own(fields: dict[str, Any]) -> None:
    paper = paper_of(
        *of_the_paper("random", (0.70, 0.72, 0.74), **fields),
        *of_the_paper("random", (0.80, 0.81, 0.845), fraction=0.25, **fields),
    )

    assert "higher" in cases(paper, "selectors")
    assert "printed" not in str(cases(paper, "selectors"))


def test_the_printed_order_of_the_random_subsets() -> None:
    table = table_of(
        *of_the_paper("random", (0.84, 0.85, 0.86), fraction=0.5),
        *of_the_paper("random", (0.80, 0.82, 0.81), fraction=0.25),
        *of_the_paper("random", (0.70, 0.72, 0.71)),
    )

    numbers = claims(table)
    order = numbers[numbers["topic"] == "order"]

    # 0.04, 0.03, 0.05 and three times 0.10; printed 0.7480 − 0.8133 and 0.8133 − 0.7553.
    assert order["label"].tolist() == ["50 % − 25 %", "25 % − 10 %"]
    assert order["difference"].tolist() == pytest.approx([0.04, 0.10])
    assert order["published"].tolist() == pytest.approx([-0.0653, 0.0580])
    assert order["verdict"].tolist() == ["reverses", "holds"]


def test_what_the_published_clustering_is_made_of() -> None:
    found = parts(table_of(*clustering(), *many(), *few()))

    # Of each seed: 0.89 − 0.85, 0.91 − 0.85; 0.80 − 0.75, 0.82 − 0.75; 0.85 − 0.80, 0.85 − 0.82.
    # All have s = 0.01 · √2; t(1) = 12.7062.
    for part, mean in ((found.leak, 0.05), (found.size, 0.06), (found.choice, 0.04)):
        assert part.mean == pytest.approx(mean)
        assert part.high - part.mean == pytest.approx(0.127062, rel=1e-5)
        assert part.n == 2
    total = found.leak.mean + found.size.mean + found.choice.mean
    assert total == pytest.approx(0.90 - 0.75)


def test_the_parts_as_sentences() -> None:
    paper = paper_of(*clustering(), *many(), *few())

    assert cases(paper, "why")["measured"] == (
        "the leak: +5.00 ± 12.71 (2 seeds) of its 90.00 ± 12.71 on all test images, of which it "
        "was trained on 450 (accuracy there 99.00)",
        "the number of images: it was trained on 5,400, and random 40 %, as many, is "
        "+6.00 ± 12.71 (2 seeds) from random 10 %",
        "what is left for the choice itself, on test images it was not trained on: "
        "+4.00 ± 12.71 (2 seeds) from random 40 %",
    )
    text = markdown(findings(paper.tables))
    assert "- Paper 2: folder photos, published protocol, clustering 10 %: the leak: +5.00" in text
    assert "- measured: the leak: +5.00" in text


def test_the_nearest_random_subset_stands_in_for_one_of_the_size() -> None:
    paper = paper_of(
        *clustering(),
        *many(0.5, 6750),
        *published("random", (0.7, 0.7), 3375, fraction=0.25),
        *few(),
    )

    assert (
        "and random 50 %, 6,750, the nearest there is, is +6.00"
        in cases(paper, "why")["measured"][1]
    )


@pytest.mark.parametrize(
    ("rows", "n_sentences"),
    [
        ([], 0),
        ([*few(), *many()], 0),
        (clustering(), 1),
        ([*clustering(), *few()], 1),  # random 10 % is no measure of the size
        ([*clustering(), *many()], 1),  # … and what it is compared with
        (published("cluster_grid", (0.9,), 5400) + many() + few(), 1),  # nothing known of the leak
    ],
)
def test_missing_rows_give_no_sentence(rows: list[Row], n_sentences: int) -> None:
    paper = paper_of(*selection_rows_of("random", (0.7,)), *rows)

    assert len(cases(paper, "why").get("measured", ())) == n_sentences


def test_coresets_against_as_many_random_images() -> None:
    def rows(selector: str, accuracies: tuple[float, ...], ipc: int | None = 10) -> list[Row]:
        values: Row = {"dataset": "cifar10", "recipe": "distillation", "network": "convnet"}
        return selection_rows_of(selector, accuracies, **values, ipc=ipc)

    paper = paper_of(
        *rows("random", (0.30, 0.32, 0.31)),
        *rows("nearest_center", (0.40, 0.41, 0.42)),
        *rows("herding", (0.20, 0.22, 0.21)),
    )

    found = cases(paper, "coresets")

    # Reported, by other code: 0.415 − 0.310.
    assert found["higher"][0].startswith("nearest center (+10.00 ± ")
    assert found["lower"][0].startswith("herding (−10.00 ± ")
    assert "printed" not in str(found)
    assert cases(paper, "selectors") == {}
    (short,) = in_short(findings(paper.tables))
    assert short.startswith("Real images in place of distilled ones: of 3 comparisons with random")
