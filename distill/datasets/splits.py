"""Which split a file or folder belongs to, by the words in its name.

The words are those of the Hugging Face Hub, in any case; a word stands between characters that are
not letters (`dev-0`, `eval_2020`, `Test`; not `trains` or `latest`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from distill.datasets.rows import PART_NAMES, Part

SPLIT_WORDS: Mapping[str, Part] = {
    **dict.fromkeys(("train", "training"), Part.TRAIN),
    **dict.fromkeys(("validation", "valid", "dev", "val"), Part.VAL),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), Part.TEST),
}
"""Word → split, as on the Hub (https://huggingface.co/docs/hub/datasets-file-names-and-splits)."""

UNLABELED_WORDS = frozenset({"unlabeled", "unlabelled"})
"""Names of folders whose images belong to no class (STL-10)."""

_LETTERS = re.compile(r"[^\W\d_]+")
_N_SHOWN = 3


def parts_in(name: str) -> set[Part]:
    """Returns the splits that the words of a name stand for; usually none or one.

    Example:
        >>> parts_in("dev-0.parquet"), parts_in("trains.parquet")
        ({<Part.VAL: 1>}, set())
    """
    words = _LETTERS.findall(name.lower())
    return {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}


def exact_part(name: str) -> Part | None:
    """Returns the split of a name that is one of the words as a whole."""
    return SPLIT_WORDS.get(name.lower())


def describe_parts(
    names: Mapping[Part, Sequence[str]],
    left_out: Iterable[str] = (),
    *,
    why: str = "",
    tests_on_val: bool = False,
) -> str:
    """Returns the line that says what was taken for what.

    Args:
        names: of the files or folders of each split.
        left_out: of those that were not read.
        why: reason for leaving these out.
        tests_on_val: whether the validation images are the test images.

    Example:
        >>> describe_parts({Part.TRAIN: ["Train"], Part.TEST: ["Test"]}, ["extra"])
        'taken for training: Train; for test: Test; left out: extra'
    """
    shown = {part: PART_NAMES[part] for part in Part}
    if tests_on_val:
        shown[Part.VAL] = shown[Part.TEST]
    texts = [f"for {shown[part]}: {_listed(names[part])}" for part in Part if names.get(part)]
    if tests_on_val:
        texts[-1] += (
            " (there is no test split, so the validation images are the test images, as is usual "
            "for ImageNet; --val-fraction holds validation images out of the training images)"
        )
    elif not names.get(Part.TEST):
        texts.append("for test: a part of the training images (--test-fraction)")
    unread = list(left_out)
    if unread:
        texts.append(f"left out: {_listed(unread)}" + (f" ({why})" if why else ""))
    return "taken " + "; ".join(texts)


def _listed(names: Sequence[str]) -> str:
    if len(names) <= _N_SHOWN:
        return ", ".join(names)
    return f"{len(names)} ({', '.join(names[:_N_SHOWN])}, …)"
