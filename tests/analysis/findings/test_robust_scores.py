"""DD-Ranking's scores, by hand."""

import math
import statistics
from typing import Any

import pytest
from scipy import stats

from analysis.findings.robust_scores import (
    augmentation_robust_score,
    label_robust_score,
    robust_scores,
    score_lines,
)
from tests.analysis.results import Row, evaluation_rows_of, frame_of

PLAIN: dict[str, Any] = {"eval_augment": "none", "cutmix_prob": 0.0}


def score(x: float) -> float:
    """DD-Ranking's normalisation, written out."""
    return (math.exp(x) - math.exp(-1)) / (math.exp(1) - math.exp(-1))


def rows(with_all: bool = True) -> list[Row]:
    found = evaluation_rows_of("random", (0.2, 0.3), ipc=1)
    found += evaluation_rows_of("random", (0.4, 0.4), ipc=1, labels="teacher")
    found += evaluation_rows_of("dc.pt", (0.3, 0.34))
    found += evaluation_rows_of("dc.pt", (0.5, 0.6), labels="teacher")
    found += evaluation_rows_of("random", (0.1, 0.2), ipc=1, **PLAIN)
    found += evaluation_rows_of("dc.pt", (0.24, 0.26), **PLAIN)
    if with_all:
        found += evaluation_rows_of("all", (0.8, 0.9))
    return found


def test_scores_follow_the_formulas_seed_by_seed() -> None:
    found = {
        (row["score"], row["labels"]): row
        for row in robust_scores(frame_of(rows())).to_dict("records")
    }
    assert len(found) == 3

    expected = {
        # HLR = 0.85 − (0.3, 0.34); IOR hard = (0.1, 0.04), teacher = (0.1, 0.2).
        ("lrs", "hard"): [score(0.5 * 0.1 - 0.5 * 0.55), score(0.5 * 0.04 - 0.5 * 0.51)],
        ("lrs", "teacher"): [score(0.5 * 0.1 - 0.5 * 0.55), score(0.5 * 0.2 - 0.5 * 0.51)],
        # Without augmentation: (0.14, 0.06).
        ("ars", "hard"): [score(0.5 * 0.1 + 0.5 * 0.14), score(0.5 * 0.04 + 0.5 * 0.06)],
    }
    for key, values in expected.items():
        row = found[key]
        half = stats.t.ppf(0.975, 1) * statistics.stdev(values) / math.sqrt(2)
        assert row["value"] == pytest.approx(statistics.fmean(values))
        assert row["high"] - row["value"] == pytest.approx(half)
        assert (row["seeds"], row["ipc"], row["label"]) == (2, 1, "dc")
    assert found["lrs", "teacher"]["recovery"] == pytest.approx(0.53)
    assert found["lrs", "teacher"]["improvement"] == pytest.approx(0.15)
    assert found["ars", "hard"]["improvement_plain"] == pytest.approx(0.1)


def test_no_score_without_the_trials_that_it_needs() -> None:
    found = robust_scores(frame_of(rows(with_all=False)))
    assert set(found["score"]) == {"ars"}
    assert robust_scores(frame_of([])).empty
    assert score_lines(robust_scores(frame_of([]))) == []


def test_other_recipes_are_never_mixed() -> None:
    """A network that has only the set has no score, whatever another network's random images."""
    alone = evaluation_rows_of("dc.pt", (0.3, 0.34), network="resnet10")
    found = robust_scores(frame_of([*rows(), *alone]))
    assert set(found["network"]) == {"convnet"}


def test_a_teacher_of_another_network_has_no_part_in_the_recipe() -> None:
    """Options of a convnet that teaches an MLP hid the scores of its labels."""
    network: dict[str, Any] = {"network": "mlp"}
    found = robust_scores(
        frame_of(
            [
                *evaluation_rows_of("all", (0.8, 0.9), **network),
                *evaluation_rows_of("random", (0.4, 0.4), ipc=1, labels="teacher", **network),
                *evaluation_rows_of("dc.pt", (0.3, 0.34), **network),
                *evaluation_rows_of("dc.pt", (0.5, 0.6), labels="teacher", **network),
            ]
        )
    )
    assert list(zip(found["score"], found["labels"], strict=True)) == [("lrs", "teacher")]
    assert found["improvement"][0] == pytest.approx(0.15)


def test_ends_of_the_scale() -> None:
    best = {"all_hard": 0.0, "set_hard": 1.0, "set_any": 1.0, "random_any": 0.0}
    worst = {"all_hard": 1.0, "set_hard": 0.0, "set_any": 0.0, "random_any": 1.0}
    assert label_robust_score(**best) == pytest.approx(1)
    assert label_robust_score(**worst) == pytest.approx(0)
    assert augmentation_robust_score(improvement=0, improvement_plain=0) == pytest.approx(score(0))


def test_lines_name_every_score() -> None:
    lines = score_lines(robust_scores(frame_of(rows())))
    assert len(lines) == 1 + 3
    assert lines[1].startswith("  ARS ")
    assert "(2)  dc, ipc 1, convnet, hard labels" in lines[1]


def test_sets_of_one_name_are_told_apart() -> None:
    other: dict[str, Any] = {"set_hash": "ffff456789abcdef"}
    again = [
        *evaluation_rows_of("elsewhere/dc.pt", (0.2, 0.24), **other),
        *evaluation_rows_of("elsewhere/dc.pt", (0.4, 0.5), labels="teacher", **other),
    ]
    found = robust_scores(frame_of([*rows(), *again]))

    assert set(found["label"]) == {"dc (content 012345)", "dc (content ffff45)"}
