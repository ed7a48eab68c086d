"""A trial's recipe put to use: its networks, and what a set of images scores under it."""

from collections.abc import Callable

import torch
from torch import Tensor

from distill.augment.siamese import Augmentation
from distill.config.distillation import ResolvedDistillation
from distill.config.evaluation import ResolvedEvaluation
from distill.config.seeds import derive_seed
from distill.datasets import ImageData
from distill.errors import InterruptedTrialError
from distill.evaluation.class_sizes import stored_per_class
from distill.evaluation.scores import Evaluation, TrainingRecipe
from distill.evaluation.sgd import BatchLoss, cross_entropy_loss
from distill.networks.base import Network
from distill.networks.build import build_network
from distill.networks.precision import set_precision
from distill.networks.registry import NETWORKS
from distill.runtime.execution import AUTOMATIC, Execution

RecipeConfig = ResolvedDistillation | ResolvedEvaluation
"""The configurations that have a recipe of training on small sets."""


SET_PURPOSE = "evaluation of a set"
"""Purpose of the evaluations of sets in files, which all have the same initial weights and order of
batches at a seed: also of those that a distillation started from."""


def network_for(
    config: RecipeConfig, data: ImageData, name: str, generator: torch.Generator
) -> Network:
    """Returns a network for the images of a trial, on their device.

    Args:
        config: gives the options of the network (width, depth, norm, pooling).
        data: gives channels, size and number of classes.
        name: architecture.
        generator: draws the weights.

    Raises:
        UserError: such a network cannot be built for such images.
    """
    network = build_network(
        name,
        n_classes=data.n_classes,
        channels=data.channels,
        image_size=data.image_size,
        generator=generator,
        **config.options_for(NETWORKS, name),
    )
    return network.to(data.train_images.device)


def evaluation_of(
    config: RecipeConfig,
    data: ImageData,
    network: Network,
    images: Tensor,
    labels: Tensor,
    *,
    n_networks: int,
    purpose: str,
    execution: Execution = AUTOMATIC,
    epochs: int | None = None,
    loss: BatchLoss = cross_entropy_loss,
    weights: Tensor | None = None,
) -> Evaluation:
    """Returns the evaluation of a small training set under a trial's recipe.

    Args:
        config: gives the recipe.
        data: gives the images to test on and the normalisation.
        network: of the architecture to train; its weights are drawn anew.
        images: (n, c, h, w), floating point in [0, 1], or uint8, which takes less memory.
        labels: (n,) int64, what `loss` takes.
        n_networks: networks to train.
        purpose: names the random streams; different purposes are independent.
        execution: how the arithmetic is carried out.
        epochs: of training; None: the recipe's.
        loss: of a batch.
        weights: (n,) by which the images count in training, with mean one; None: equally.
    """
    set_precision(network, execution.precision)
    on_test = config.eval_split == "test"
    recipe = TrainingRecipe(
        epochs=epochs or config.eval_epochs,
        batch_size=config.eval_batch_size,
        lr=config.eval_lr,
        momentum=config.eval_momentum,
        weight_decay=config.eval_weight_decay,
        augment=Augmentation(strategy=config.eval_augment),
        cutmix_prob=config.cutmix_prob,
        cutmix_beta=config.cutmix_beta,
    )
    return Evaluation(
        recipe,
        network,
        images if images.dtype == torch.uint8 else data.normalize(images),
        labels,
        test_images=data.test_images if on_test else data.val_images,
        test_labels=data.test_labels if on_test else data.val_labels,
        normalize=data.normalize,
        n_networks=n_networks,
        seed_of=lambda index, what: derive_seed(config.seed, purpose, index, what),
        execution=execution,
        loss=loss,
        weights=weights,
    )


def random_images_baseline(
    config: ResolvedDistillation, data: ImageData, should_stop: Callable[[], bool] = lambda: False
) -> list[float]:
    """Returns the accuracies of `n_eval` networks trained on `ipc` random real images a class.

    As many images as the distilled set stores, the same recipe; a fresh draw for every network, so
    that the spread is that of the draw, too.

    Raises:
        InterruptedTrialError: `should_stop` said so.
    """
    network = network_for(config, data, config.network, torch.Generator())
    class_indices = [indices.cpu() for indices in data.class_indices]
    n_stored = stored_per_class(config, [len(indices) for indices in class_indices])
    accuracies: list[float] = []
    for index in range(config.n_eval):
        purpose = f"baseline {index}"
        generator = torch.Generator().manual_seed(derive_seed(config.seed, purpose))
        chosen = torch.cat(
            [
                indices[torch.randperm(len(indices), generator=generator)[:n]]
                for indices, n in zip(class_indices, n_stored, strict=True)
            ]
        ).to(data.train_images.device)
        images, labels = data.train_images[chosen].float() / 255, data.train_labels[chosen]
        evaluation = evaluation_of(
            config, data, network, images, labels, n_networks=1, purpose=purpose
        )
        while not evaluation.done:
            evaluation.run_epoch()
            if should_stop():
                raise InterruptedTrialError("stopped in the evaluation of random real images")
        accuracies += evaluation.scores.accuracies
    return accuracies
