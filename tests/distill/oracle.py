"""Reference implementation of the matching loop, class by class with a double backward.

It follows the description of IDC step by step, with torch's SGD over the images of all classes as
one parameter. It shares with the package only parts that have separate tests: the augmentation and
the networks.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.augment.cutmix import cutmix
from distill.dream.loop import Dream


def run_oracle(dream: Dream, n_loops: int) -> tuple[Tensor, Tensor, list[float]]:
    """Runs `n_loops` inner loops from the state of a `Dream`, which is not changed.

    No clustering may be due in them. Returns the images (n_classes, ipc, c, h, w), the parameters
    of the network as one vector, and the mean loss over the classes of every loop.
    """
    config, data = dream.config, dream.data
    network = copy.deepcopy(dream.network)
    generators = {name: clone(generator) for name, generator in dream.generators.items()}
    images = dream.images.detach().clone().requires_grad_()
    image_sgd = torch.optim.SGD([images], lr=float(config.lr_img or 0), momentum=0.5)
    image_sgd.state[images]["momentum_buffer"] = dream.image_optimizer.buffer.clone()
    net_sgd = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for copied, original in zip(network.parameters(), dream.network.parameters(), strict=True):
        buffer = dream.trainer.optimizer.state[original].get("momentum_buffer")
        if buffer is not None:
            net_sgd.state[copied]["momentum_buffer"] = buffer.clone()

    losses = []
    for _ in range(n_loops):
        total = 0.0
        for label in range(data.n_classes):
            indices, weights = dream.representatives[label]
            real = normalize(dream, data.train_images[indices].double() / 255)
            synthetic = normalize(dream, cut_and_enlarge(images[label], dream.factor))
            if len(synthetic) > config.batch_syn_max:
                order = torch.randperm(len(synthetic), generator=generators["batches"])
                synthetic = synthetic[order[: config.batch_syn_max]]
            both = dream.augment(
                torch.cat([real, synthetic]), generators["augmentation"], shared=True
            )
            loss = loss_of(network, both, len(real), label, weights, str(config.metric))
            image_sgd.zero_grad()
            loss.backward()
            image_sgd.step()
            total += loss.item()
        losses.append(total / data.n_classes)
        train_on_real_images(dream, network, net_sgd, generators)
    parameters = torch.cat([p.detach().flatten() for p in network.parameters()])
    return images.detach(), parameters, losses


def loss_of(
    network: torch.nn.Module, both: Tensor, n_real: int, label: int, weights: Tensor, metric: str
) -> Tensor:
    """Returns the distance of two gradients in all parameters of four dimensions."""
    parameters = list(network.parameters())
    labels = torch.full((len(both),), label)
    each = F.cross_entropy(network(both[:n_real].detach()), labels[:n_real], reduction="none")
    if len(weights):
        each = each * weights
    real = torch.autograd.grad(each.sum() / n_real, parameters)
    synthetic_loss = F.cross_entropy(network(both[n_real:]), labels[n_real:])
    synthetic = torch.autograd.grad(synthetic_loss, parameters, create_graph=True)
    total = torch.zeros((), dtype=both.dtype)
    for target, gradient in zip(real, synthetic, strict=True):
        if target.ndim != 4:
            continue
        if metric == "mse":
            total = total + ((target - gradient) ** 2).sum()
        elif metric == "l1":
            total = total + (target - gradient).abs().sum()
        else:
            for row, other in zip(target, gradient, strict=True):
                lengths = (row**2).sum().sqrt() * (other**2).sum().sqrt()
                total = total + 1 - (row * other).sum() / (lengths + 1e-6)
    return total


def cut_and_enlarge(images: Tensor, factor: int) -> Tensor:
    """Returns decoded images by multi-formation, for sides that the factor divides."""
    part = images.shape[-1] // factor
    cut = [
        images[:, :, i * part : (i + 1) * part, j * part : (j + 1) * part]
        for i in range(factor)
        for j in range(factor)
    ]
    size = images.shape[-2:]
    return F.interpolate(torch.cat(cut), size=size, mode="bilinear", align_corners=False)


def train_on_real_images(
    dream: Dream,
    network: torch.nn.Module,
    sgd: torch.optim.SGD,
    generators: dict[str, torch.Generator],
) -> None:
    """Runs one pass of network updates over shuffled images."""
    config, data = dream.config, dream.data
    order = torch.randperm(len(data.train_images), generator=generators["batches"])
    for number in range(int(config.n_net_batches or 0)):
        start = number * config.net_batch_size
        batch = order[start : start + config.net_batch_size]
        inputs = normalize(dream, data.train_images[batch].double() / 255)
        inputs = dream.trainer.recipe.augment(inputs, generators["augmentation"], shared=False)
        labels = data.train_labels[batch]
        if torch.rand((), generator=generators["augmentation"]) < config.cutmix_prob:
            inputs, others, ratio = cutmix(inputs, labels, generators["augmentation"], beta=1.0)
            logits = network(inputs)
            loss = F.cross_entropy(logits, labels) * ratio
            loss = loss + F.cross_entropy(logits, others) * (1 - ratio)
        else:
            loss = F.cross_entropy(network(inputs), labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()


def normalize(dream: Dream, images: Tensor) -> Tensor:
    """Returns (images − mean) / std, per channel."""
    mean = dream.data.mean.double().view(1, -1, 1, 1)
    return (images - mean) / dream.data.std.double().view(1, -1, 1, 1)


def clone(generator: torch.Generator) -> torch.Generator:
    """Returns a generator of the same numbers."""
    copied = torch.Generator()
    copied.set_state(generator.get_state())
    return copied
