"""Range of stored pixel values that becomes 0 … 255: the option `value_range`.

Standard library only: configurations check it without torch.
"""

import re

from distill.errors import UserError

_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"
_RANGE = re.compile(rf"\s*({_NUMBER})\s*[:,-]\s*({_NUMBER})\s*", re.ASCII)


def parse_value_range(text: str) -> tuple[float, float]:
    """Returns the lowest and the highest value of a range `LOW:HIGH`.

    `LOW,HIGH` and `LOW-HIGH` are understood, too.

    Args:
        text: two numbers, the first below the second.

    Raises:
        UserError: it is no such range.

    Example:
        >>> parse_value_range("0:4095")
        (0.0, 4095.0)
    """
    match = _RANGE.fullmatch(text)
    low, high = (float(number) for number in match.groups()) if match else (0.0, 0.0)
    if not low < high < float("inf"):
        raise UserError(
            f"value_range must be LOW:HIGH with LOW below HIGH, got {text!r}; "
            "write for example 0:4095 for images of 12 bits"
        )
    return low, high


def canonical_value_range(text: str) -> str:
    """Returns the one spelling of a range that configurations keep.

    Args:
        text: see `parse_value_range`.

    Raises:
        UserError: it is no such range.

    Example:
        >>> canonical_value_range("0, 4095.0")
        '0:4095'
    """
    return ":".join(f"{value:.15g}" for value in parse_value_range(text))
