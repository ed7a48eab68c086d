"""Random image batches for the tests of augmentation."""

import math

import torch
from torch import Tensor

BELOW_ONE = math.nextafter(1.0, 0.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    """Returns images off-centre and of unequal scale, as real data are."""
    scale = torch.linspace(0.5, 3.0, shape[0], dtype=torch.float64)[:, None, None, None]
    values = torch.randn(shape, generator=generator(seed), dtype=torch.float64) * scale + 0.7
    return values.to(dtype)
