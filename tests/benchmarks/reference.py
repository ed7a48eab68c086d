"""The loop and the evaluation as the public codes run them: what the benchmarks compare with.

Class by class, a double backward through the network, losses and accuracies read back at every
step, real images through a `DataLoader`, one network after the other. Written from the description
of IDC (Kim et al., ICML 2022) and DREAM (Liu et al., ICCV 2023); the same draws as `distill`, so
that both end with the same images.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from distill.augment.cutmix import cutmix
from distill.dream.loop import Dream
from distill.dream.matching import distance
from distill.dream.multiformation import decode
from distill.evaluation.scores import Evaluation
from distill.networks.base import Network
from distill.networks.layers.instance_norm import InstanceNorm
from distill.networks.layers.norm_relu_pool import NormReluPool
from distill.networks.layers.pooling import AveragePool
from distill.networks.precision import set_precision


class PlainPool(torch.nn.Module):
    """The pooling of the public codes."""

    def forward(self, maps: Tensor) -> Tensor:
        """Returns the means of every 2×2 pixels."""
        return F.avg_pool2d(maps, 2)


def plain_network(network: Network) -> Network:
    """Returns a copy of a network with PyTorch's own norm and pooling, in full precision."""
    network = copy.deepcopy(network)
    set_precision(network, "float32")
    for module in list(network.modules()):
        for name, layer in module.named_children():
            if isinstance(layer, AveragePool):
                setattr(module, name, PlainPool())
            elif isinstance(layer, NormReluPool):
                layers = (_plain_norm(layer), torch.nn.ReLU(), PlainPool())
                setattr(module, name, torch.nn.Sequential(*layers))
            elif isinstance(layer, InstanceNorm):
                setattr(module, name, _plain_norm(layer))
    return network


def _plain_norm(layer: InstanceNorm) -> torch.nn.GroupNorm:
    plain = torch.nn.GroupNorm(layer.num_groups, layer.num_channels)
    plain.weight, plain.bias = layer.weight, layer.bias
    return plain


def accuracies(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Returns top-1 and top-5 accuracy, read back: the public codes do so at every step."""
    top = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels.view(-1, 1)
    return top[:, :1].float().sum().item(), top.float().sum().item()


def train_epoch(
    network: Network,
    optimizer: torch.optim.Optimizer,
    loader: DataLoader[tuple[Tensor, ...]],
    augment: object,
    cutmix_prob: float,
    cutmix_beta: float,
    generator: torch.Generator,
    device: torch.device,
) -> float:
    """Trains for an epoch; returns the mean loss."""
    network.train()
    total = 0.0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        images = augment(images, generator, shared=False)  # type: ignore[operator]
        if torch.rand((), generator=generator).item() < cutmix_prob:
            images, others, ratio = cutmix(images, labels, generator, beta=cutmix_beta)
            logits = network(images)
            loss = F.cross_entropy(logits, labels) * ratio
            loss = loss + F.cross_entropy(logits, others) * (1 - ratio)
        else:
            logits = network(images)
            loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
        accuracies(logits.detach(), labels)
    return total


class ReferenceLoop:
    """The inner loops of a `Dream`, from where it stands; no clustering may be due in them."""

    def __init__(self, dream: Dream) -> None:
        self.dream = dream
        self.device = dream.device
        self.network = plain_network(dream.network)
        self.generators = {name: torch.Generator() for name in dream.generators}
        for name, own in dream.generators.items():
            self.generators[name].set_state(own.get_state())
        self.images = dream.images.detach().clone().requires_grad_()
        config, data = dream.config, dream.data
        self.image_sgd = torch.optim.SGD(
            [self.images], lr=config.lr_img, momentum=config.momentum_img
        )
        self.net_sgd = torch.optim.SGD(
            self.network.parameters(),
            lr=config.net_lr,
            momentum=config.net_momentum,
            weight_decay=config.net_weight_decay,
        )
        # As the public codes keep them: normalised, in floating point.
        self.real = data.normalize(data.train_images.to(dream.dtype) / 255)
        self.convolutions = [p for p in self.network.parameters() if p.ndim == 4]

    def matching(self) -> list[float]:
        """Matches class by class; returns the losses."""
        return [self._match(label) for label in range(self.dream.data.n_classes)]

    def network_update(self) -> None:
        """Trains the network on some batches of real images."""
        config, data = self.dream.config, self.dream.data
        order = torch.randperm(len(data.train_images), generator=self.generators["batches"])
        order = order[: config.n_net_batches * config.net_batch_size]
        loader = DataLoader(
            TensorDataset(self.real.cpu(), data.train_labels.cpu()),
            batch_size=config.net_batch_size,
            sampler=order.tolist(),
        )
        train_epoch(
            self.network,
            self.net_sgd,
            loader,
            self.dream.trainer.recipe.augment,
            config.cutmix_prob,
            config.cutmix_beta,
            self.generators["augmentation"],
            self.device,
        )

    def _match(self, label: int) -> float:
        dream, config = self.dream, self.dream.config
        indices, weights = dream.representatives[label]
        real = self.real[indices]
        synthetic = dream.data.normalize(decode(self.images[label], dream.factor))
        if len(synthetic) > config.batch_syn_max:
            order = torch.randperm(len(synthetic), generator=self.generators["batches"])
            synthetic = synthetic[order[: config.batch_syn_max].to(self.device)]
        both = dream.augment(
            torch.cat([real, synthetic]), self.generators["augmentation"], shared=True
        )
        labels = torch.full((len(both),), label, device=self.device)
        n = len(real)
        each = F.cross_entropy(self.network(both[:n].detach()), labels[:n], reduction="none")
        if len(weights):
            each = each * weights
        # Two losses over all parameters, of which only the convolutions' gradients are compared.
        parameters = list(self.network.parameters())
        real_grads = torch.autograd.grad(each.mean(), parameters)
        loss = F.cross_entropy(self.network(both[n:]), labels[n:])
        grads = torch.autograd.grad(loss, parameters, create_graph=True)
        total = torch.zeros((), dtype=both.dtype, device=self.device)
        for ours, theirs in zip(grads, real_grads, strict=True):
            if ours.ndim == 4:
                total = total + distance(ours, theirs.detach(), config.metric)
        self.image_sgd.zero_grad()
        total.backward()
        self.image_sgd.step()
        return total.item()


def reference_optimizer(evaluation: Evaluation) -> torch.optim.SGD:
    """Returns the optimiser of the network of an evaluation."""
    recipe = evaluation.recipe
    return torch.optim.SGD(
        evaluation.network.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )


def reference_epoch(
    evaluation: Evaluation, optimizer: torch.optim.SGD, loader: DataLoader[tuple[Tensor, ...]]
) -> None:
    """One epoch of the current network of an evaluation, the public codes' way, without tests."""
    recipe = evaluation.recipe
    train_epoch(
        evaluation.network,
        optimizer,
        loader,
        recipe.augment,
        recipe.cutmix_prob,
        recipe.cutmix_beta,
        evaluation.generator,
        evaluation.images.device,
    )
