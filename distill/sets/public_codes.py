"""The forms in which the public codes of dataset distillation store their sets with `torch.save`.

- DC, DSA, DM (Zhao & Bilen, 2021, 2023; also DC-BENCH): `{"data": [[images, labels], …],
  "accs_all_exps": …}`, one pair for each repetition; images normalised.
- IDC, DREAM (Kim et al., 2022; Liu et al., 2023): `[images, targets]`; images in [0, 1], with
  multi-formation: the factor is not in the file.
- MTT (Cazenavette et al., 2022) and its successors with soft labels (DATM): two files with a tensor
  each, `images_best.pt` and `labels_best.pt`, or the folder with them; images normalised.
- Dictionaries with images and labels, hard or soft, under usual names.

Hard labels may be lists of whole numbers in place of tensors.
"""

from collections.abc import Callable, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

from torch import Tensor

from distill.errors import UserError
from distill.sets.stored import StoredSet, stored_set
from distill.sets.tensor_files import describe, load_tensors

_IMAGES = ("images", "image", "data", "images_syn", "image_syn", "syn_images", "x")
_LABELS = ("labels", "label", "targets", "target", "labels_syn", "label_syn", "syn_labels", "y")
_SOFT = ("soft_labels", "soft_label", "logits", "probabilities")
_WEIGHTS = ("weights", "weight")

FORMS = "DC's dictionary, IDC's [images, targets], MTT's two files, or {'images': …, 'labels': …}"
"""What is recognised, for messages."""


def read_tensor_file(path: Path, repetition: int = 0) -> StoredSet:
    """Returns the set in one file of `torch.save`.

    Args:
        path: of the file.
        repetition: which pair of DC's dictionary, counted from 0.

    Raises:
        UserError: the file is in none of the forms, has no such repetition, or its tensors do not
            fit together.
    """
    value = load_tensors(path)
    found = _dc(value, repetition)
    if found is not None:
        return found
    for recognised in (_idc, _dictionary):
        found = recognised(value)
        if found is not None:
            check_single(path, repetition)
            return found
    raise UserError(f"{path} holds {describe(value)}; it must hold {FORMS}")


def check_single(path: Path, repetition: int) -> None:
    """Raises a UserError where another repetition than the first is asked of a single set."""
    if repetition:
        raise UserError(
            f"repetition {repetition} does not exist: {path} holds one set, only the files of DC, "
            "DSA and DM hold several; leave repetition out"
        )


def read_two_files(images: Path, labels: Path) -> StoredSet:
    """Returns MTT's set: a file with a tensor of images, one with a tensor of labels.

    Raises:
        UserError: a file holds no tensor, or these do not fit together.
    """
    tensors = [load_tensors(path) for path in (images, labels)]
    for path, value in zip((images, labels), tensors, strict=True):
        if not isinstance(value, Tensor):
            raise UserError(f"{path} must hold one tensor, but holds {describe(value)}")
    return stored_set("MTT tensors", tensors[0], tensors[1])


def _dc(value: Any, repetition: int) -> StoredSet | None:
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        return None
    pairs = value["data"]
    if not pairs or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise UserError("DC tensors: 'data' must be a list of [images, labels]")
    if repetition >= len(pairs):
        raise UserError(
            f"DC tensors: repetition {repetition} does not exist; the file has {len(pairs)}, "
            "counted from 0"
        )
    notes = () if len(pairs) == 1 else (f"repetition {repetition} of {len(pairs)}",)
    return stored_set("DC/DSA/DM tensors", *pairs[repetition], notes=notes)


def _idc(value: Any) -> StoredSet | None:
    is_pair = isinstance(value, list | tuple) and len(value) == 2
    if not is_pair or not (_is_tensor(value[0]) and _is_labels(value[1])):
        return None
    return stored_set("IDC/DREAM tensors", *value)


def _dictionary(value: Any) -> StoredSet | None:
    if not isinstance(value, dict):
        return None
    images = _first(value, _IMAGES)
    labels = _first(value, _LABELS, _is_labels)
    soft, weights = _first(value, _SOFT), _first(value, _WEIGHTS)
    if images is None or (labels is None and soft is None):
        return None
    return stored_set("tensors by name", images, labels, soft, weights=weights)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _is_labels(value: Any) -> bool:
    """Whether a value is a tensor or a list of whole numbers."""
    is_list = isinstance(value, list | tuple) and len(value) > 0
    return _is_tensor(value) or (is_list and all(isinstance(one, Integral) for one in value))


def _first(
    values: Mapping[Any, Any],
    names: tuple[str, ...],
    fits: Callable[[Any], bool] = _is_tensor,
) -> Any:
    """Returns the value of the first of some names that has one that fits; None without."""
    found = {str(key).lower(): value for key, value in values.items()}
    return next((found[name] for name in names if fits(found.get(name))), None)
