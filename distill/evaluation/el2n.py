"""EL2N: difficulty of training images as the error norm of a few briefly trained networks.

The score of an image is the mean over the networks of ‖softmax − one-hot‖₂ after a few epochs of
training on all images. Cost: the training, and a pass over the images for each network.

References:
    Paul, Ganguli & Dziugaite, Deep learning on a data diet: finding important examples early in
    training, NeurIPS 2021, equation 2 (10 networks, 20 epochs).

Deviation: the networks are trained by the recipe of the trial, without the paper's schedule.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from distill.errors import DivergedError
from distill.selection.difficulty import difficulty_of


class ErrorNorms:
    """The scores of all images, computed network by network; `state` saves it between two.

    Args:
        outputs_of: trains the network of a number, 0, 1, …, from fresh weights and returns its
            (n, n_classes) outputs for all images.
        labels: (n,) int64 of the images.
        n_networks: networks.

    Example:
        >>> labels = torch.tensor([0, 1])
        >>> norms = ErrorNorms(lambda number: torch.zeros(2, 2), labels, n_networks=1)
        >>> norms.advance()
        >>> norms.done, norms.scores().round(decimals=4)  # √(½² + ½²)
        (True, tensor([0.7071, 0.7071], dtype=torch.float64))
    """

    def __init__(
        self, outputs_of: Callable[[int], Tensor], labels: Tensor, *, n_networks: int
    ) -> None:
        self._outputs_of = outputs_of
        self._labels = labels
        self.n_networks = n_networks
        self.n_done = 0
        self._sums = torch.zeros(len(labels), dtype=torch.float64)

    @property
    def done(self) -> bool:
        """Whether all networks are trained."""
        return self.n_done == self.n_networks

    def advance(self) -> None:
        """Trains a network and adds its norms.

        Raises:
            DivergedError: its outputs are no finite numbers.
        """
        outputs = self._outputs_of(self.n_done)
        if not bool(torch.isfinite(outputs).all()):
            raise DivergedError(
                f"the outputs of network {self.n_done + 1} of {self.n_networks} that is briefly "
                "trained for the difficulty are no longer finite numbers; lower its learning rate"
            )
        self._sums += difficulty_of(outputs, self._labels, "el2n").cpu()
        self.n_done += 1

    def scores(self) -> Tensor:
        """Returns the (n,) float64 means over all networks, on the CPU."""
        return self._sums / self.n_networks

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns what is needed to go on, as tensors and as values that JSON can hold."""
        return {"el2n_sums": self._sums}, {"n_el2n": self.n_done}

    def load_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Goes on from what `state` returned."""
        self._sums, self.n_done = tensors["el2n_sums"].cpu(), values["n_el2n"]
