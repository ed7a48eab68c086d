"""SGD with momentum for the synthetic images. Shapes: c channels, h, w pixels."""

import torch
from torch import Tensor


class ImageOptimizer:
    """SGD with momentum over the images of all classes as *one* parameter, one step per class.

    As in IDC and DREAM, the momentum of a class also moves its images in the steps of the other
    classes. Only the rows of a class depend on its gradient, so these moves are applied in closed
    form before and after the step of the class: after j steps of other classes the momentum is μʲ b
    and the images have moved by −lr · b · (μ + … + μʲ). The result equals that of sequential steps
    up to rounding.

    Args:
        images: (n_classes, ipc, c, h, w), changed in place.
        lr: learning rate.
        momentum: μ, in [0, 1).

    Example:
        >>> images = torch.zeros(2, 1, 1, 1, 1)
        >>> optimizer = ImageOptimizer(images, lr=1.0, momentum=0.5)
        >>> for label in range(2):
        ...     optimizer.begin(slice(label, label + 1))
        ...     optimizer.step(slice(label, label + 1), torch.ones(1, 1, 1, 1, 1))
        >>> images.flatten()
        tensor([-1.5000, -1.0000])
    """

    def __init__(self, images: Tensor, *, lr: float, momentum: float) -> None:
        self.images = images
        self.lr = lr
        self.momentum = momentum
        self.buffer = torch.zeros_like(images)
        shape = (len(images), *[1] * (images.ndim - 1))
        powers = [momentum**j for j in range(len(images))]
        sums = [sum(powers[1 : n + 1]) for n in range(len(images))]
        # Per number of steps of other classes: remaining momentum, and distance of the images.
        self._remaining = torch.tensor(powers, dtype=torch.float64).to(images).view(shape)
        self._moved = torch.tensor(sums, dtype=torch.float64).to(images).view(shape) * lr

    @torch.no_grad()
    def begin(self, classes: slice) -> None:
        """Applies the steps of the preceding classes, before the gradient of these is computed.

        Args:
            classes: start and stop of consecutive labels.
        """
        self._decay(classes, classes.start, reverse=False)

    @torch.no_grad()
    def step(self, classes: slice, gradient: Tensor) -> None:
        """Applies the steps of some classes, then the steps of the classes after each of them.

        Args:
            classes: start and stop of consecutive labels; all classes step in the order
                0 … n_classes − 1, each after its `begin`.
            gradient: (classes, ipc, c, h, w).
        """
        self.buffer[classes].mul_(self.momentum).add_(gradient)
        self.images[classes].sub_(self.buffer[classes], alpha=self.lr)
        self._decay(classes, len(self.images) - classes.stop, reverse=True)

    def _decay(self, classes: slice, fewest: int, *, reverse: bool) -> None:
        """Applies steps of other classes: `fewest` to the first class, one more to each further.

        Args:
            classes: start and stop of consecutive labels.
            fewest: number of steps for the first class, or for the last with `reverse`.
            reverse: whether the number decreases with the label.
        """
        n_steps = slice(fewest, fewest + classes.stop - classes.start)
        moved, remaining = self._moved[n_steps], self._remaining[n_steps]
        if reverse:
            moved, remaining = moved.flip(0), remaining.flip(0)
        self.images[classes].sub_(self.buffer[classes] * moved)
        self.buffer[classes].mul_(remaining)
