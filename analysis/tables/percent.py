"""Fractions as they are printed: in percent, with two digits and a proper minus."""

import math


def percent(fraction: float, *, signed: bool = False) -> str:
    """Returns a fraction in percent, without the sign %; the empty text for NaN."""
    if math.isnan(fraction):
        return ""
    text = f"{100 * fraction:+.2f}" if signed else f"{100 * fraction:.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")


def plus_minus(half_width: float) -> list[str]:
    """Returns half of an interval as a word to add to its mean; nothing for NaN."""
    return [] if math.isnan(half_width) else [f"± {percent(half_width)}"]


def points_text(fraction: float) -> str:
    """Returns a difference of accuracies in points: `1 point`, `0.5 points`."""
    return f"{100 * fraction:g} point{'' if math.isclose(fraction, 0.01) else 's'}"
