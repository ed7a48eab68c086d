"""Tensors from files of `torch.save`, without running any code that they hold.

Only tensors, numbers, texts, lists and dictionaries are read (`torch.load(weights_only=True)`), and
NumPy scalars, which the public codes store beside their images.
"""

import codecs
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distill.errors import UserError, one_line, shortened

SUFFIXES = (".pt", ".pth")
"""Suffixes of files of `torch.save`."""

_SCALAR: Any = np.float64(0).__reduce__()[0]
_SCALAR_TYPES = (*"?bhilqBHILQefd",)
_ALLOWED: list[Any] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),  # NumPy 1
    (_SCALAR, "numpy._core.multiarray.scalar"),
    (np.dtype, "numpy.dtype"),
    *{type(np.dtype(code)) for code in _SCALAR_TYPES},
    (codecs.encode, "_codecs.encode"),  # how pickle's protocol 2 writes the bytes of a scalar
]
"""What NumPy scalars are made of; nothing of it runs code of the file."""

_FOREIGN = re.compile(r"(?:GLOBAL|class) ([\w.]+)")


def load_tensors(path: Path) -> Any:
    """Returns what `torch.save` wrote to a file.

    Args:
        path: of the file.

    Raises:
        UserError: it is no such file, is damaged, or holds more than plain values.
    """
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = _FOREIGN.search(str(error))
        what = f"it needs {found[1]}" if found else _first_line(error)
        raise UserError(
            f"{path} holds more than tensors, numbers, texts, lists and dictionaries ({what}), and "
            "code in a file is never run; save the images and labels again with "
            "torch.save([images, labels], PATH)"
        ) from None
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path} is not a readable file of torch.save: {_first_line(error)}"
        ) from None


def describe(value: Any) -> str:
    """Returns what a file holds, for messages: `a dictionary with data, accs_all_exps`."""
    if isinstance(value, dict):
        return f"a dictionary with {', '.join(shortened(key) for key in list(value)[:6])}"
    if isinstance(value, list | tuple):
        inside = ", ".join(type(one).__name__ for one in value[:6])
        return f"a list of {len(value)} ({inside})"
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return one_line(ValueError(lines[0][:200])) if lines else type(error).__name__
