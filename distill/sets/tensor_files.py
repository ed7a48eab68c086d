"""Tensors from files of `torch.save`, without running any code that they hold.

Only tensors, numbers, texts, lists and dictionaries are read (`torch.load(weights_only=True)`), and
NumPy scalars, which the public codes store beside their images.
"""

import codecs
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distill.errors import UserError, one_line, shortened

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

_PLAIN = "tensors, numbers, texts, lists and dictionaries"
"""What is read."""

_NO_MAGIC = "Invalid magic number"
"""In the message of torch for a pickle that `torch.save` did not write."""

_FOREIGN = re.compile(r"(?:GLOBAL|class) ([\w.]+)")


def load_tensors(path: Path) -> Any:
    """Returns what `torch.save` wrote to a file.

    Args:
        path: of the file.

    Raises:
        UserError: it is no such file, is damaged, or holds more than plain values.
    """
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_ALLOWED):
            warnings.simplefilter("ignore")  # of torch, about forms that are refused anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its text advises weights_only=False
        found = _FOREIGN.search(str(error))
        if found is None:
            raise _no_torch_file(path) from None
        raise UserError(
            f"{path} holds more than {_PLAIN} (it needs {found[1]}), and code in a file is never "
            "run; save the images and labels again with torch.save([images, labels], PATH)"
        ) from None
    except Exception as error:  # torch raises a dozen different types for damaged files
        if _NO_MAGIC in str(error):
            raise _no_torch_file(path) from None
        raise UserError(f"{path} is not a readable file of torch.save: {_reason(error)}") from None


def _no_torch_file(path: Path) -> UserError:
    return UserError(
        f"{path} is no file of torch.save, or holds more than {_PLAIN}; save the images and labels "
        "with torch.save([images, labels], PATH)"
    )


def describe(value: Any) -> str:
    """Returns what a file holds, for messages: `a dictionary with 'data' (list)`."""
    if isinstance(value, dict):
        parts = [f"{shortened(k)} ({type(one).__name__})" for k, one in list(value.items())[:6]]
        return f"a dictionary with {', '.join(parts)}"
    if isinstance(value, list | tuple):
        inside = ", ".join(type(one).__name__ for one in value[:6])
        return f"a list of {len(value)} ({inside})"
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def _reason(error: Exception) -> str:
    """Returns the first sentence of a message; those that follow guess at causes."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    if not lines:
        return "it ends too early" if isinstance(error, EOFError) else type(error).__name__
    return one_line(ValueError(lines[0].partition(". ")[0][:200]))
