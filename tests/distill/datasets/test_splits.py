"""Words that tell a split, and the line that says what was taken for what."""

import pytest

from distill.datasets.rows import Part
from distill.datasets.splits import SPLIT_WORDS, describe_parts, exact_part, parts_in


def test_words_are_those_of_the_hub() -> None:
    """https://huggingface.co/docs/hub/datasets-file-names-and-splits#keywords"""
    by_part = {part: {w for w, p in SPLIT_WORDS.items() if p == part} for part in Part}
    assert by_part == {
        Part.TRAIN: {"train", "training"},
        Part.VAL: {"validation", "valid", "val", "dev"},
        Part.TEST: {"test", "testing", "eval", "evaluation"},
    }


@pytest.mark.parametrize("word", SPLIT_WORDS)
@pytest.mark.parametrize("name", ["{}", "{}-0", "x.{}", "0_{}_1", "my {}", "{}2", "cifar10-{}-00"])
def test_a_word_counts_between_separators_in_any_case(word: str, name: str) -> None:
    for text in (word, word.upper(), word.title()):
        assert parts_in(name.format(text)) == {SPLIT_WORDS[word]}


@pytest.mark.parametrize(
    "name", ["trains", "latest", "contest", "evaluate", "value", "device", "trainé", "pretraining"]
)
def test_a_part_of_a_word_does_not_count(name: str) -> None:
    assert parts_in(name) == set()
    assert exact_part(name) is None


def test_many_names_are_counted() -> None:
    names = {Part.TRAIN: [f"train-{i}" for i in range(12)], Part.TEST: ["test-0"]}
    assert describe_parts(names) == (
        "taken for training: 12 (train-0, train-1, train-2, …); for test: test-0"
    )
