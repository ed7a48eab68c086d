"""The optimiser of the synthetic images. Shapes: c channels, h, w pixels."""

import torch
from torch import Tensor


class ImageOptimizer:
    """SGD with momentum over the images of all classes as *one* parameter, one step per class.

    That is what IDC and DREAM run: after a class's own step its momentum goes on moving it through
    the steps of the other classes. Only the rows of a class depend on its gradient, so its decays
    are applied in closed form around its own step: after j foreign steps the momentum is μʲ b and
    the images have moved by −lr · b · (μ + … + μʲ). Equal to the sequential steps up to rounding.

    Args:
        images: (n_classes, ipc, c, h, w), changed in place.
        lr: learning rate.
        momentum: μ, in [0, 1).
    """

    def __init__(self, images: Tensor, *, lr: float, momentum: float) -> None:
        self.images = images
        self.lr = lr
        self.momentum = momentum
        self.buffer = torch.zeros_like(images)
        shape = (len(images), *[1] * (images.ndim - 1))
        powers = [momentum**j for j in range(len(images))]
        sums = [sum(powers[1 : n + 1]) for n in range(len(images))]
        # For n foreign steps: what is left of the momentum, and how far it has moved the images.
        self._left = torch.tensor(powers, dtype=torch.float64).to(images).view(shape)
        self._moved = torch.tensor(sums, dtype=torch.float64).to(images).view(shape) * lr

    @torch.no_grad()
    def begin(self, classes: slice) -> None:
        """Brings the images of classes up to date, before their gradient is taken.

        Args:
            classes: start and stop of consecutive labels.
        """
        self._decay(classes, classes.start, reverse=False)

    @torch.no_grad()
    def step(self, classes: slice, gradient: Tensor) -> None:
        """Takes the classes' own steps, and the ones in which the classes after each have theirs.

        Args:
            classes: labels; all classes step in the order 0 … n_classes − 1, each after its
                `begin`.
            gradient: (classes, ipc, c, h, w).
        """
        self.buffer[classes].mul_(self.momentum).add_(gradient)
        self.images[classes].sub_(self.buffer[classes], alpha=self.lr)
        self._decay(classes, len(self.images) - classes.stop, reverse=True)

    def _decay(self, classes: slice, fewest: int, *, reverse: bool) -> None:
        """Takes the foreign steps: `fewest` for one end of the classes, one more for each other."""
        which = slice(fewest, fewest + classes.stop - classes.start)
        moved, left = self._moved[which], self._left[which]
        if reverse:
            moved, left = moved.flip(0), left.flip(0)
        self.images[classes].sub_(self.buffer[classes] * moved)
        self.buffer[classes].mul_(left)
