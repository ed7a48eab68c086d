"""A small set as it is stored, before it is fitted to a data set."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from distill.errors import UserError, shortened

_SUM_TOLERANCE = 1e-3
"""Largest deviation from 1 of the sum of an image's probabilities, stored in float16 or more."""

_NUMBERS = (
    *(torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    *(torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
)
"""Types of tensors that are read: real numbers, one in each element."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredSet:
    """What the files of a small set hold; n stored images.

    Attributes:
        format: what the files were recognised as, for messages.
        images: (n, c, h, w), uint8 or floating point, in whatever range.
        labels: (n,) int64; of a set that has soft labels only, the class with the largest one.
        soft: (n, k) float32 log-probabilities or logits, of which a softmax makes soft labels;
            None: the set has none.
        soft_kind: what `soft` was stored as: `logits` or `probabilities`; empty without.
        weights: (n,) float32, at least 0; None: the set has none.
        class_names: in label order; None: the files have none.
        factor: parts along each side of a multi-formation; None: the files do not say.
        notes: what else the reader found, one phrase each.
        recipe: how the writer trained on it, as far as the files say.

    Example:
        >>> import torch
        >>> images = torch.zeros(4, 1, 8, 8)
        >>> stored = stored_set("tensors", images, torch.tensor([0, 0, 1, 1]))
        >>> stored.ipc, stored.n_classes
        (2, 2)
    """

    format: str
    images: Tensor
    labels: Tensor
    soft: Tensor | None = None
    soft_kind: str = ""
    weights: Tensor | None = None
    class_names: tuple[str, ...] | None = None
    factor: int | None = None
    notes: tuple[str, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_classes(self) -> int:
        """Number of classes, as far as the files say."""
        if self.class_names is not None:
            return len(self.class_names)
        return self.soft.shape[1] if self.soft is not None else int(self.labels.max()) + 1

    @property
    def ipc(self) -> int:
        """Stored images of the largest class."""
        return int(torch.bincount(self.labels).max())


def stored_set(
    set_format: str,
    images: Any,
    labels: Any,
    soft: Any = None,
    *,
    weights: Any = None,
    **others: Any,
) -> StoredSet:
    """Returns a set with its labels told apart.

    Args:
        set_format: what the files were recognised as.
        images: (n, c, h, w) tensor; of bool in the range 0 … 1.
        labels: (n,) whole numbers, as a tensor or a list, or (n, k) soft labels; None where there
            are only `soft` ones.
        soft: (n, k) soft labels beside hard ones; None: see `labels`.
        weights: (n,) tensor; None: the set has none.
        others: further attributes of `StoredSet`.

    Raises:
        UserError: a tensor is not dense or not of real numbers, shapes do not fit, a label is no
            whole number or out of range, or a value is not finite.
    """
    images = _checked_images(set_format, images)
    if soft is None and isinstance(labels, Tensor) and labels.ndim == 2:
        if labels.shape[1] == 1:
            labels = _dense("labels", labels)[:, 0]
        else:
            labels, soft = None, labels
    kind = ""
    if soft is not None:
        soft, kind = _log_labels(soft, len(images))
        labels = soft.argmax(dim=1) if labels is None else labels
    return StoredSet(
        format=set_format,
        images=images,
        labels=_checked_labels(labels, len(images)),
        soft=soft,
        soft_kind=kind,
        weights=None if weights is None else _dense("weights", weights).float(),
        **others,
    )


def _dense(name: str, given: Any) -> Tensor:
    """Returns a tensor on the CPU, without its history.

    Raises:
        UserError: it is no tensor, or is sparse, nested, without data or of other numbers.
    """
    if not isinstance(given, Tensor):
        raise UserError(f"{name} must be a tensor, got {type(given).__name__}")
    if given.is_nested or given.layout != torch.strided:
        found = "a nested one" if given.is_nested else f"one of layout {given.layout}"
    elif given.is_meta:
        found = "one without data (on the device meta)"
    elif given.dtype not in _NUMBERS:
        found = f"one of {given.dtype}"
    else:
        return given.detach().cpu()
    raise UserError(f"{name} must be a dense tensor of real numbers, got {found}")


def _checked_images(set_format: str, given: Any) -> Tensor:
    images = _dense(f"{set_format}: the images", given)
    if images.ndim != 4 or 0 in images.shape or images.shape[1] not in (1, 3):
        raise UserError(
            f"{set_format}: the images must have the shape (n, c, h, w) with c 1 or 3, "
            f"got {tuple(images.shape)}"
        )
    if images.dtype == torch.uint8:
        return images
    if not images.dtype.is_floating_point and images.dtype != torch.bool:
        images = images.long()
        if not 0 <= int(images.min()) <= int(images.max()) <= 255:
            raise UserError(
                f"{set_format}: whole-number pixels must be in 0 … 255, "
                f"got {int(images.min())} … {int(images.max())}"
            )
        return images.to(torch.uint8)
    images = images.float()
    n_bad = int((~images.isfinite()).sum())
    if n_bad:
        rows = (~images.isfinite()).flatten(1).any(dim=1).nonzero().flatten()
        raise UserError(
            f"{set_format}: {n_bad} pixels of {len(rows)} of {len(images)} images are NaN or "
            f"infinite (first: image {int(rows[0])}); make the set again without them"
        )
    return images


def _checked_labels(labels: Any, n: int) -> Tensor:
    """Returns n labels as int64; see `stored_set`."""
    if isinstance(labels, list | tuple):
        labels = _from_list(labels)
    if not isinstance(labels, Tensor) or labels.shape != (n,):
        shape = tuple(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
        raise UserError(f"there must be one label for each of the {n} images, got {shape}")
    labels = _dense("labels", labels)
    labels = labels.double() if labels.dtype.is_floating_point else labels
    whole: Tensor = labels.long()
    if labels.dtype.is_floating_point and bool((whole != labels).any()):
        raise UserError("hard labels must be whole numbers; soft labels have one column a class")
    least, largest = int(whole.min()), int(whole.max())
    if least < 0:
        raise UserError(f"labels must number the classes from 0, got {least}")
    if largest >= n:  # no data set has these classes: none may be empty
        raise UserError(
            f"labels go up to {largest}, but there are only {n} images: labels must number the "
            "classes from 0, and every class needs an image"
        )
    return whole


def _from_list(labels: list[Any] | tuple[Any, ...]) -> Tensor:
    """Returns a list of whole numbers as a tensor."""
    for label in labels:
        if not isinstance(label, Integral):
            raise UserError(f"labels in a list must be whole numbers, got {shortened(label)}")
    try:
        return torch.tensor([int(label) for label in labels], dtype=torch.int64)
    except (OverflowError, RuntimeError, ValueError):  # beyond 64 bits
        raise UserError(
            f"labels must number the classes from 0, got {shortened(max(labels, key=abs))}"
        ) from None


def _log_labels(given: Any, n: int) -> tuple[Tensor, str]:
    """Returns soft labels as values for a softmax, and what they were stored as."""
    if not isinstance(given, Tensor) or given.ndim != 2 or len(given) != n or given.shape[1] < 2:
        shape = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise UserError(f"soft labels must have the shape ({n}, classes), got {shape}")
    soft = _dense("soft labels", given).float()
    if not bool(soft.isfinite().all()):
        raise UserError("soft labels must be finite, got NaN or infinite ones")
    sums = soft.double().sum(dim=1)
    if bool((soft >= 0).all()) and bool(((sums - 1).abs() <= _SUM_TOLERANCE).all()):
        # The smallest normal number in place of 0, whose logarithm is infinite.
        return soft.clamp_min(torch.finfo(torch.float32).tiny).log(), "probabilities"
    return soft, "logits"
