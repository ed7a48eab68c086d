"""Texts of users, such as names of classes, in Markdown."""

import re

_ENTITY = re.compile(r"&(?=#?\w+;)")


def markdown_text(text: str) -> str:
    r"""Returns a text as Markdown that shows it: markup, HTML and mathematics are escaped.

    Example:
        >>> markdown_text("a_b <i> $x$ &amp; c")
        'a\\_b \\<i\\> \\$x\\$ &amp;amp; c'
    """
    text = _ENTITY.sub("&amp;", text)
    for character in "\\`*_[]<>|$":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", " ")
