"""JSON for other programs: one object on standard output, all other text on standard error."""

import contextlib
import json
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any


@contextlib.contextmanager
def json_output(*, enabled: bool) -> Iterator[dict[str, Any]]:
    """Prints one JSON object when the context ends without an error.

    Args:
        enabled: whether to; else nothing is changed or printed.

    Yields:
        The object, to be filled. Meanwhile whatever is printed goes to standard error.
    """
    document: dict[str, Any] = {}
    if not enabled:
        yield document
        return
    output = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        yield document
    print(json_text(document), file=output, flush=True)


def json_text(document: Mapping[str, Any]) -> str:
    """Returns a JSON object in one line; numbers that are not finite are null."""
    return json.dumps(_finite(document), ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
