"""HTML from values: whatever is not markup already is escaped, so no name from data becomes any."""

import html
from collections.abc import Iterable

VOID = {"img", "input", "meta", "link", "br"}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *children: str | Iterable[str], **attributes: str | bool | None) -> Markup:
    """Returns an element.

    Args:
        name: of the element.
        children: `Markup`, texts (escaped), or iterables of both.
        attributes: `class_` stands for `class`, `aria_label` for `aria-label`;
            True stands for one without a value; None and False leave it out.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        is_plain = value is True
        words.append(attribute if is_plain else f'{attribute}="{html.escape(str(value))}"')
    opening = f"<{' '.join(words)}>"
    if name in VOID:
        return Markup(opening)
    return Markup(f"{opening}{joined(*children)}</{name}>")


def joined(*children: str | Iterable[str]) -> Markup:
    """Returns children one after the other."""
    return Markup("".join(_escaped(child) for child in children))


def _escaped(child: str | Iterable[str]) -> str:
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return html.escape(child)
    return "".join(_escaped(part) for part in child)
