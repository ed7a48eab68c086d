"""Training fresh networks on a small set, and testing them."""

import base64
import dataclasses
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from distill.augment.cutmix import cutmix
from distill.augment.siamese import Augmentation
from distill.config.seeds import derive_seed
from distill.datasets import ImageData
from distill.evaluation.scores import Evaluation, TrainingRecipe, mean_and_std, score_network
from distill.evaluation.sgd import NetworkTrainer
from distill.networks.base import Network, reset_parameters
from distill.networks.build import build_network
from distill.runtime.execution import Execution

RECIPE = TrainingRecipe(
    epochs=8,
    batch_size=16,
    lr=0.05,
    momentum=0.9,
    weight_decay=5e-4,
    augment=Augmentation(strategy="color_crop_scale_rotate"),
    cutmix_prob=0.5,
    cutmix_beta=1.0,
)


def network(width: int = 8) -> Network:
    return build_network(
        "convnet",
        n_classes=10,
        channels=1,
        image_size=(8, 8),
        width=width,
        depth=2,
        generator=torch.Generator().manual_seed(0),
    )


def evaluation(
    data: ImageData,
    recipe: TrainingRecipe = RECIPE,
    n_networks: int = 2,
    n: int = 40,
    weights: Tensor | None = None,
) -> Evaluation:
    return Evaluation(
        recipe,
        network().to(data.train_images.device),
        data.normalize(data.train_images[:n]),
        data.train_labels[:n],
        test_images=data.test_images,
        test_labels=data.test_labels,
        normalize=data.normalize,
        n_networks=n_networks,
        seed_of=lambda index, what: derive_seed(3, index, what),
        weights=weights,
    )


def run(trained: Evaluation) -> Evaluation:
    while not trained.done:
        trained.run_epoch()
    return trained


def test_the_learning_rate_falls_twice() -> None:
    recipe = dataclasses.replace(RECIPE, epochs=1000, lr=0.01)

    assert [recipe.lr_at(epoch) for epoch in (0, 665, 666, 832, 833, 999)] == pytest.approx(
        [0.01, 0.01, 0.002, 0.002, 0.0004, 0.0004]
    )
    assert [epoch + 1 for epoch in range(1000) if recipe.tests_after(epoch)] == [
        250,
        500,
        750,
        1000,
    ]


@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 7])
def test_the_last_epoch_is_always_tested(epochs: int) -> None:
    assert dataclasses.replace(RECIPE, epochs=epochs).tests_after(epochs - 1)


def test_accuracy_and_loss_by_hand(digits: ImageData) -> None:
    trained = network()
    images, labels = digits.test_images[:7], digits.test_labels[:7]
    logits = trained.eval()(digits.normalize(images))
    hits = sum(int(row.argmax()) == int(label) for row, label in zip(logits, labels, strict=True))

    accuracy, loss, _, correct = score_network(
        trained, images, labels, digits.normalize, chunk_size=3
    )

    assert accuracy == hits / 7
    assert loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    bits = np.unpackbits(np.frombuffer(base64.b64decode(correct), np.uint8), count=7)
    assert bits.tolist() == (logits.argmax(dim=1) == labels).int().tolist()


def test_balanced_accuracy_by_hand(digits: ImageData) -> None:
    """Mean recall of the classes that have images: 6 of class a, 2 of class b, none of others."""
    trained = network().eval()
    predicted = trained(digits.normalize(digits.test_images)).argmax(dim=1)
    a, b = torch.bincount(predicted).topk(2).indices.tolist()
    rows = torch.cat([torch.nonzero(predicted == c)[:n, 0] for c, n in ((a, 5), (b, 3))])
    labels = torch.tensor([a] * 5 + [a] + [b] * 2)  # the sixth is wrong
    score = score_network(trained, digits.test_images[rows], labels, digits.normalize, chunk_size=3)
    assert score.accuracy == 7 / 8
    assert score.balanced_accuracy == pytest.approx((5 / 6 + 1) / 2, rel=1e-12)


def test_without_augmentation_it_is_plain_sgd(digits: ImageData) -> None:
    """The twin: torch's own loop over shuffled batches, one network."""
    recipe = dataclasses.replace(RECIPE, augment=Augmentation(strategy="none"), cutmix_prob=0.0)
    trained = run(evaluation(digits, recipe, n_networks=1))
    twin = network()
    reset_parameters(twin, torch.Generator().manual_seed(derive_seed(3, 0, "weights")))
    generator = torch.Generator().manual_seed(derive_seed(3, 0, "batches"))
    sgd = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    images, labels = digits.normalize(digits.train_images[:40]), digits.train_labels[:40]
    for epoch in range(8):
        for group in sgd.param_groups:
            group["lr"] = 0.05 if epoch < 5 else 0.01 if epoch < 6 else 0.002
        order = torch.randperm(40, generator=generator)
        for start in range(0, 40, 16):
            batch = order[start : start + 16]
            torch.rand((), generator=generator)  # the draw for CutMix
            sgd.zero_grad()
            F.cross_entropy(twin(images[batch]), labels[batch]).backward()
            sgd.step()

    for weights, expected in zip(trained.network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(weights, expected)


def weights_for(n: int) -> Tensor:
    """Returns positive weights of very different size, with mean one."""
    weights = torch.rand(n, generator=torch.Generator().manual_seed(8), dtype=torch.float64) ** 3
    return weights / weights.mean()


@pytest.mark.parametrize("cutmix_prob", [0.0, 1.0])
@pytest.mark.parametrize("strategy", ["none", "color_crop_scale_rotate"])
def test_weighted_training_is_plain_sgd_on_weighted_losses(
    digits: ImageData, strategy: str, cutmix_prob: float
) -> None:
    """The twin: every image's loss by hand; a pasted label has the weight of its image."""
    augment = Augmentation(strategy=strategy)
    recipe = dataclasses.replace(RECIPE, augment=augment, cutmix_prob=cutmix_prob, epochs=2)
    images, labels = digits.normalize(digits.train_images[:40]).double(), digits.train_labels[:40]
    weights = weights_for(40)
    trained = network().double()
    trainer = NetworkTrainer(
        trained,
        recipe,
        lambda batch: (images[batch], labels[batch]),
        images[0].numel(),
        Execution(),
        weights=weights,
    )
    twin = network().double()
    sgd = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    generators = [torch.Generator().manual_seed(4) for _ in range(2)]
    batches = torch.arange(40).split(8)
    trainer.train(batches, generators[0])  # all at once
    for batch in batches:
        taken, own = images[batch], labels[batch]
        if strategy != "none":
            taken = augment(taken, generators[1], shared=False)
        torch.rand((), generator=generators[1])  # whether to mix
        parts = [(1.0, torch.arange(len(batch)))]
        if cutmix_prob:
            taken, positions, ratio = cutmix(taken, torch.arange(len(batch)), generators[1])
            parts = [(float(ratio), parts[0][1]), (1 - float(ratio), positions)]
        log_probabilities = twin(taken).log_softmax(dim=1)
        loss = torch.zeros((), dtype=torch.float64)
        for i in range(len(batch)):
            for share, sources in parts:
                j = int(sources[i])
                loss = loss - share * weights[batch[j]] * log_probabilities[i, own[j]] / len(batch)
        sgd.zero_grad()
        loss.backward()
        sgd.step()

    for values, expected in zip(trained.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(values, expected, rtol=1e-12, atol=1e-14)


def test_equal_weights_train_bit_for_bit_as_none(digits: ImageData) -> None:
    ones = torch.ones(40, dtype=torch.float64)
    plain, weighted = (run(evaluation(digits, weights=weights)) for weights in (None, ones))
    assert plain.scores == weighted.scores
    for values, expected in zip(
        weighted.network.parameters(), plain.network.parameters(), strict=True
    ):
        assert torch.equal(values, expected)


def test_weights_are_equivalent_to_repeated_images(digits: ImageData) -> None:
    """Whole numbers, one batch a step: the set with copies gives the same weights."""
    times = torch.tensor([1, 3, 2, 1, 1, 4])
    images, labels = digits.normalize(digits.train_images[:6]).double(), digits.train_labels[:6]
    results = []
    for rows, weights in (
        (torch.arange(6), times.double() / times.double().mean()),
        (torch.arange(6).repeat_interleave(times), None),
    ):
        trained = network().double()
        recipe = dataclasses.replace(RECIPE, augment=Augmentation(strategy="none"), cutmix_prob=0.0)
        trainer = NetworkTrainer(
            trained,
            recipe,
            lambda batch, rows=rows: (images[rows][batch], labels[rows][batch]),  # type: ignore[misc]
            images[0].numel(),
            Execution(),
            weights=weights,
        )
        for _ in range(5):
            trainer.train([torch.arange(len(rows))], torch.Generator())
        results.append(list(trained.parameters()))
    for weighted, repeated in zip(*results, strict=True):
        torch.testing.assert_close(weighted, repeated, rtol=1e-10, atol=1e-12)


def test_weights_go_with_the_images_through_shuffling(digits: ImageData) -> None:
    """Images of weight zero have no influence on a network without weight decay."""
    recipe = dataclasses.replace(RECIPE, batch_size=8, augment=Augmentation(strategy="none"))
    weights = torch.tensor([2.0, 0.0]).repeat(20)
    plain = run(evaluation(digits, recipe, 1, weights=weights))
    changed = dataclasses.replace(digits, train_images=digits.train_images.clone())
    changed.train_images[1:40:2] = 255 - changed.train_images[1:40:2]
    recipe = dataclasses.replace(recipe, cutmix_prob=0.0)
    without_mixing = [
        run(evaluation(data, recipe, 1, weights=weights)).scores for data in (digits, changed)
    ]
    assert without_mixing[0] == without_mixing[1]
    assert plain.scores != without_mixing[0], "mixed images carry the pixels of others"


def test_training_on_real_images_learns(digits: ImageData) -> None:
    trained = run(evaluation(digits, dataclasses.replace(RECIPE, epochs=30), 1, n=400))

    assert trained.scores.accuracies[0] > 0.7, "chance is 0.1"


def test_the_best_of_four_is_kept_apart_from_the_last(digits: ImageData) -> None:
    trained = run(evaluation(digits, n_networks=3))

    for last, best in zip(trained.scores.accuracies, trained.scores.best_accuracies, strict=True):
        assert best >= last
    assert len(set(trained.scores.accuracies)) > 1, "the networks differ"


def test_the_same_seeds_give_the_same_scores(digits: ImageData) -> None:
    assert run(evaluation(digits)).scores == run(evaluation(digits)).scores


def test_networks_do_not_depend_on_how_many_there_are(digits: ImageData) -> None:
    one, three = (run(evaluation(digits, n_networks=n)).scores.accuracies for n in (1, 3))

    assert three[0] == one[0]


@pytest.mark.parametrize("n_epochs", [0, 3, 8, 11])
def test_a_resumed_evaluation_ends_where_a_whole_one_does(digits: ImageData, n_epochs: int) -> None:
    first = evaluation(digits)
    for _ in range(n_epochs):
        first.run_epoch()
    tensors, values = first.state()
    saved: dict[str, Tensor] = {name: tensor.clone() for name, tensor in tensors.items()}
    values = json.loads(json.dumps(values))
    resumed = evaluation(digits)
    resumed.load_state(saved, values)

    assert resumed.epochs_left == 16 - n_epochs
    assert run(resumed).scores == run(evaluation(digits)).scores


def test_mean_and_std_of_few_values() -> None:
    assert mean_and_std([]) == (None, None)
    assert mean_and_std([0.5]) == (0.5, None)
    mean, std = mean_and_std([0.4, 0.6])
    assert mean == 0.5
    assert std == pytest.approx(0.1 * 2**0.5)
