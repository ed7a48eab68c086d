"""Images of each class where classes are small."""

import re
from typing import Any

from distill.config.distillation import DistillationConfig, ResolvedDistillation
from distill.evaluation.class_sizes import (
    describe_caps,
    representatives_per_class,
    stored_per_class,
)


def config(**values: Any) -> ResolvedDistillation:
    return DistillationConfig(n_representatives=20, ipc=5, factor=2, **values).resolve()


def test_without_a_cap_every_class_gets_what_is_asked_for() -> None:
    assert stored_per_class(config(), [3, 9, 500]) == [5, 5, 5]
    assert representatives_per_class(config(), [3, 9, 500]) == [20, 20, 20]


def test_a_cap_takes_what_a_class_has() -> None:
    """A stored image starts from factor² = 4 images, so 9 images give two."""
    capped = config(on_small_class="cap")
    assert stored_per_class(capped, [3, 9, 19, 20, 500]) == [0, 2, 4, 5, 5]
    assert representatives_per_class(capped, [3, 9, 19, 20, 500]) == [3, 9, 19, 20, 20]


def test_noise_needs_no_images_to_start_from() -> None:
    capped = config(on_small_class="cap", init="noise")
    assert stored_per_class(capped, [3, 500]) == [5, 5]


def test_the_line_names_the_first_classes() -> None:
    lines = describe_caps(
        ["a", "b", "c", "d", "e"], [3, 90, 4, 5, 6], {"ipc": 10}, {"ipc": [3, 10, 4, 5, 6]}
    )
    assert len(lines) == 1
    assert re.fullmatch(
        r"4 classes give fewer images than asked for \(on_small_class cap\): 'a' \(3 training "
        r"images\): ipc 3 instead of 10; 'c' .*: ipc 4 instead of 10; 'd' .*; …",
        lines[0],
    )
    assert describe_caps(["a"], [30], {"ipc": 10}, {"ipc": [10]}) == []
