"""A pool of briefly trained networks, from which every outer iteration draws one.

The idea of Acc-DD: gradients of networks that have begun to learn say more about the images than
those of fresh ones, so that fewer outer iterations are needed (docs/performance.md has what was
measured). A drawn network is changed by noise, so that a few trained ones stand for many:
θ + s ‖θ‖ / ‖d‖ · d for every weight tensor θ of at least two dimensions, with d of standard normal
numbers and s the strength. Biases and the parameters of norms stay as they are.

The networks are trained once for all trials of equal data, network, recipe and seed
(`distill.evaluation.shared_weights`), each under a name of its own, so that trials that start at
the same time share the training. A trial that is resumed takes them again.

References:
    Zhang et al., Accelerating dataset distillation via model augmentation, CVPR 2023 (Acc-DD),
    whose code normalises the noise by tensor as well.

Deviations: the strength is fixed, where Acc-DD's code draws two of them for two directions; the
networks are trained by the recipe of the network update, with its CutMix.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from distill.config.distillation import ResolvedDistillation
from distill.datasets import ImageData
from distill.errors import DivergedError
from distill.evaluation.shared_weights import SharedWeights, Trained
from distill.networks.base import Network
from distill.networks.registry import NETWORKS
from distill.runtime import clock

VERSION = 1
"""Part of the hash: raised when the same configuration would mean other networks."""

_KIND = "pools"
_SECONDS = "seconds"

_RECIPE = (
    *("net_lr", "net_momentum", "net_weight_decay", "net_batch_size", "net_augment"),
    *("cutmix_prob", "cutmix_beta", "seed", "pool_epochs"),
)

Train = Callable[[int], Network]
"""Returns the network of a number, 0, 1, …, trained from fresh weights."""


class NetworkPool:
    """Trained networks to draw from.

    Args:
        members: state dicts of the networks.
        noise: strength of the change, at least 0.
        seconds: that the training of all took, in whichever trials.

    Example:
        >>> layer = torch.nn.Linear(2, 1)
        >>> pool = NetworkPool([{"weight": torch.ones(1, 2), "bias": torch.zeros(1)}], noise=0.0)
        >>> pool.draw(layer, torch.Generator())
        >>> layer.weight.tolist(), layer.bias.tolist()
        ([[1.0, 1.0]], [0.0])
    """

    def __init__(
        self, members: Sequence[Mapping[str, Tensor]], *, noise: float, seconds: float = 0.0
    ) -> None:
        self.members = members
        self.noise = noise
        self.seconds = seconds

    @torch.no_grad()
    def draw(self, network: torch.nn.Module, generator: torch.Generator) -> None:
        """Gives a network, in place, the changed weights of a member.

        Args:
            network: of the architecture of the members.
            generator: on the CPU; chooses the member and draws the noise.
        """
        which = int(torch.randint(len(self.members), (), generator=generator))
        network.load_state_dict(self.members[which])
        if self.noise == 0:
            return
        for parameter in network.parameters():
            if parameter.dim() > 1:
                drawn = torch.randn(parameter.shape, generator=generator).to(parameter)
                parameter.add_(self.noise * parameter.norm() / drawn.norm() * drawn)


def trained_pool(
    config: ResolvedDistillation, data: ImageData, train: Train, precision: str
) -> NetworkPool:
    """Returns the pool of a trial; trains what no other trial has trained, and waits for the rest.

    Args:
        config: of the trial, with networks `pool`.
        data: on which the networks are trained.
        train: trains one.
        precision: of the networks, see `precision_of`.

    Raises:
        DivergedError: the weights of a network are no finite numbers.
    """
    n_networks = config["pool_networks"]
    places = [
        SharedWeights(_KIND, _content(config, data, number, precision))
        for number in range(n_networks)
    ]
    found: dict[int, Trained] = {}
    while len(found) < n_networks:
        for number in set(range(n_networks)) - found.keys():
            trained = places[number].take()
            if trained is None and places[number].hold():
                trained = _trained(config, train, number)
                places[number].keep(trained.tensors, trained.notes)
            if trained is not None:
                found[number] = trained
    seconds = sum(float(found[number].notes[_SECONDS]) for number in range(n_networks))
    members = [found[number].tensors for number in range(n_networks)]
    return NetworkPool(members, noise=config["pool_noise"], seconds=seconds)


def _trained(config: ResolvedDistillation, train: Train, number: int) -> Trained:
    start = clock.timer()
    network = train(number)
    tensors = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise DivergedError(
            f"the weights of network {number + 1} of {config['pool_networks']} of the pool are no "
            f"longer finite numbers; lower net_lr (now {config.net_lr:g})"
        )
    return Trained(tensors, {_SECONDS: repr(clock.timer() - start)})


def _content(
    config: ResolvedDistillation, data: ImageData, number: int, precision: str
) -> dict[str, Any]:
    """Returns all that decides the weights of a network."""
    return {
        "version": VERSION,
        "images": data.fingerprint,
        "normalisation": [data.mean.tolist(), data.std.tolist()],
        "network": [config.network, config.options_for(NETWORKS, config.network)],
        "number": number,
        "precision": precision,
        **{name: config[name] for name in _RECIPE},
    }
