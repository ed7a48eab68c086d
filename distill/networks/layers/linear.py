"""Linear layers and layer norms in the precision of their input; the weights keep theirs."""

import torch.nn.functional as F
from torch import Tensor, nn


class Linear(nn.Linear):
    """A linear layer in the precision of its input."""

    def forward(self, values: Tensor) -> Tensor:
        """Returns the (…, out) values of (…, in) ones, in the dtype of the input."""
        bias = None if self.bias is None else self.bias.to(values.dtype)
        return F.linear(values, self.weight.to(values.dtype), bias)


class LayerNorm(nn.LayerNorm):
    """An affine layer norm over the last dimension, in the precision of its input.

    Args:
        n_features: size of the last dimension.
    """

    def __init__(self, n_features: int) -> None:
        super().__init__(n_features)

    def forward(self, values: Tensor) -> Tensor:
        """Returns the normalised (…, d) values, in the dtype of the input."""
        weight, bias = self.weight.to(values.dtype), self.bias.to(values.dtype)
        return F.layer_norm(values, self.normalized_shape, weight, bias, self.eps)
