"""Training the classifier: batches, Adam, what it learns, statistics of batch norms, its state."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from distill.config.seeds import derive_seed
from distill.config.selection import SelectionConfig
from distill.datasets import ImageData
from distill.datasets.images import with_classes
from distill.evaluation.classifier import N_NORM_BATCHES, Classifier, epoch_batches, n_batches_of
from distill.networks.build import build_network
from distill.networks.photo_cnn import PhotoCNN


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def two(digits: ImageData) -> ImageData:
    return with_classes(digits, ("3", "8"))


def classifier(data: ImageData, **changes: object) -> Classifier:
    return Classifier(SelectionConfig.from_dict(changes).resolve(), data, purpose="test")


@pytest.mark.parametrize(
    ("n", "sizes"), [(64, [32, 32]), (70, [32, 32, 6]), (65, [32, 32]), (5, [5]), (32, [32])]
)
def test_batches_of_an_epoch(n: int, sizes: list[int]) -> None:
    """A last batch of a single image is left out."""
    batches = epoch_batches(n, 32, None, generator())

    assert [len(batch) for batch in batches] == sizes
    assert n_batches_of(n, 32) == len(sizes)
    rows = torch.cat(batches).tolist()
    assert len(set(rows)) == len(rows) >= n - 1


def test_over_time_no_image_is_left_out() -> None:
    stream = generator()
    rows = {row for _ in range(9) for batch in epoch_batches(5, 2, None, stream) for row in batch}

    assert len({int(row) for row in rows}) == 5


def test_as_many_batches_as_wanted_in_several_passes() -> None:
    batches = epoch_batches(10, 4, 8, generator())
    times = torch.bincount(torch.cat(batches), minlength=10)

    assert [len(batch) for batch in batches] == [4, 4, 2, 4, 4, 2, 4, 4]
    assert int(times.min()) >= 2
    assert int(times.max()) == 3
    assert len(epoch_batches(10, 4, 2, generator())) == 2


def test_an_epoch_is_adam_on_the_binary_cross_entropy(two: ImageData) -> None:
    """In float32 and another memory layout, so equal but for rounding that Adam can enlarge."""
    trained = classifier(two, batch_size=20, lr=1e-4)
    images, labels = two.train_images[:60], two.train_labels[:60]
    epoch = trained.run_epoch(images, labels)

    streams = {
        what: generator(derive_seed(0, "test", what)) for what in ("weights", "batches", "dropout")
    }
    network = build_network(
        "photo_cnn", n_classes=2, channels=1, image_size=(8, 8), generator=streams["weights"]
    )
    assert isinstance(network, PhotoCNN)
    network.dropout.generator = streams["dropout"]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, betas=(0.9, 0.999), eps=1e-7)
    losses = []
    for batch in torch.randperm(60, generator=streams["batches"]).split(20):
        features = network.features(images[batch].float() / 255)
        logit = F.linear(features, network.classifier.weight, network.classifier.bias)[:, 0]
        loss = F.binary_cross_entropy_with_logits(logit, labels[batch].float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    assert epoch.n_steps == 3
    assert epoch.loss == pytest.approx(sum(losses) / 3, rel=1e-3)
    expected = dict(network.named_parameters())
    for name, weights in trained.network.named_parameters():
        # A bias before a batch norm has no gradient but rounding, which Adam blows up.
        if weights.ndim > 1 or "classifier" in name:
            assert float((weights - expected[name]).detach().abs().mean()) < 1e-6, name


def test_a_weighted_epoch_is_adam_on_weighted_losses(two: ImageData) -> None:
    trained = classifier(two, network="convnet", width=8, depth=2, batch_size=20)
    trained.network.double()
    trained._to_input = lambda images: two.normalize(images).double()
    images, labels = two.train_images[:60], two.train_labels[:60]
    weights = torch.rand(60, generator=generator(2), dtype=torch.float64) ** 3
    weights = weights / weights.mean()
    twin = build_network(
        "convnet",
        n_classes=2,
        channels=1,
        image_size=(8, 8),
        width=8,
        depth=2,
        generator=generator(derive_seed(0, "test", "weights")),
    ).double()
    adam = torch.optim.Adam(twin.parameters(), lr=1e-3, eps=1e-7)
    total = 0.0
    stream = generator(derive_seed(0, "test", "batches"))
    for batch in torch.randperm(60, generator=stream).split(20):
        log_probabilities = twin(two.normalize(images[batch]).double()).log_softmax(dim=1)
        each = -log_probabilities[torch.arange(20), labels[batch]]
        loss = (weights[batch] * each).sum() / 20
        adam.zero_grad()
        loss.backward()
        adam.step()
        total += loss.item() / 3

    epoch = trained.run_epoch(images, labels, weights=weights)

    assert epoch.loss == pytest.approx(total, rel=1e-9)
    for name, expected in twin.named_parameters():
        # A bias before a norm has no gradient but rounding, which Adam blows up.
        if expected.ndim > 1 or "classifier" in name:
            value = trained.network.get_parameter(name)
            torch.testing.assert_close(value, expected, rtol=1e-7, atol=1e-9)


def test_equal_weights_train_a_classifier_bit_for_bit_as_none(two: ImageData) -> None:
    networks = []
    for weights in (None, torch.ones(64)):
        trained = classifier(two)
        trained.run_epoch(two.train_images[:64], two.train_labels[:64], weights=weights)
        networks.append(trained.network)
    for plain, weighted in zip(*(network.parameters() for network in networks), strict=True):
        assert torch.equal(plain, weighted)


def test_it_learns_two_digits_in_seconds(two: ImageData) -> None:
    trained = classifier(two)
    epochs = [trained.run_epoch(two.train_images, two.train_labels) for _ in range(12)]
    trained.prepare_to_score(two.train_images)
    accuracy, loss, *_ = trained.score(two.test_images, two.test_labels)

    assert epochs[-1].accuracy > 0.95
    assert epochs[-1].loss < epochs[0].loss
    assert accuracy > 0.9
    assert 0 < loss < 0.3


def test_running_statistics_spoil_a_short_training(two: ImageData) -> None:
    """The same weights, scored with either: the reason for recomputing them."""
    accuracies = {}
    for statistics in ("running", "recomputed"):
        trained = classifier(two, norm_statistics=statistics)
        for _ in range(8):
            trained.run_epoch(two.train_images, two.train_labels)
        trained.prepare_to_score(two.train_images)
        accuracies[statistics] = trained.score(two.test_images, two.test_labels)[0]

    assert accuracies["recomputed"] > accuracies["running"] + 0.2


def test_recomputed_statistics_are_those_of_the_training_images(two: ImageData) -> None:
    trained = classifier(two, batch_size=16)
    trained.run_epoch(two.train_images[:64], two.train_labels[:64])
    trained.prepare_to_score(two.train_images[:64])
    first = trained.network.blocks[0]
    assert isinstance(first, nn.Sequential)
    convolution, norm = first[0], first[1]
    assert isinstance(norm, nn.BatchNorm2d)
    maps = convolution(trained.to_input(two.train_images[:64])).detach()

    torch.testing.assert_close(norm.running_mean, maps.mean(dim=(0, 2, 3)), rtol=0, atol=1e-5)
    # The mean of the variances within 4 batches of 16 lacks what the batch means differ by.
    torch.testing.assert_close(norm.running_var, maps.var(dim=(0, 2, 3)), rtol=0.2, atol=1e-6)
    assert norm.momentum == 0.01


def test_scoring_in_between_does_not_change_the_training(two: ImageData) -> None:
    images, labels = two.train_images[:100], two.train_labels[:100]
    plain, looked_at = (classifier(two) for _ in range(2))
    for _ in range(3):
        plain.run_epoch(images, labels)
        looked_at.run_epoch(images, labels)
        looked_at.prepare_to_score(images)
        looked_at.score(two.val_images, two.val_labels)

    for weights, others in zip(
        plain.network.parameters(), looked_at.network.parameters(), strict=True
    ):
        assert torch.equal(weights, others)


def test_statistics_come_from_a_bounded_number_of_batches(two: ImageData) -> None:
    trained = classifier(two, batch_size=2)
    n_batches = 0

    def count(*_: object) -> None:
        nonlocal n_batches
        n_batches += 1

    trained.network.register_forward_hook(count)
    trained.prepare_to_score(two.train_images.repeat(3, 1, 1, 1))

    assert len(two.train_images) * 3 / 2 > N_NORM_BATCHES == n_batches


def test_the_convnet_takes_normalised_images(two: ImageData) -> None:
    trained = classifier(two, network="convnet", width=8, depth=2)
    images = two.train_images[:10]
    before = {name: tensor.clone() for name, tensor in trained.network.state_dict().items()}
    trained.prepare_to_score(images)

    torch.testing.assert_close(trained.to_input(images), two.normalize(images))
    assert all(torch.equal(before[k], v) for k, v in trained.network.state_dict().items())
    assert trained.features(images).shape == (10, 8 * 2 * 2)


def test_batch_norms_of_any_network_are_recomputed(two: ImageData) -> None:
    """Also without the option `norm_statistics`, which only the photo CNN has."""
    trained = classifier(two, network="convnet", width=8, depth=2, norm="batch")
    images = two.train_images[:64]
    trained.run_epoch(images, two.train_labels[:64])
    convolution, norm = trained.network.get_submodule("blocks.0")[:2]  # type: ignore[index]
    assert isinstance(norm, nn.BatchNorm2d)
    maps = convolution(trained.to_input(images)).detach()

    for _ in range(2):
        trained.prepare_to_score(images)
        torch.testing.assert_close(norm.running_mean, maps.mean(dim=(0, 2, 3)), rtol=0, atol=1e-5)


def test_pixels_of_the_photo_cnn_are_in_0_to_1(two: ImageData) -> None:
    assert torch.equal(
        classifier(two).to_input(two.train_images[:5]), two.train_images[:5].float() / 255
    )


@pytest.mark.parametrize("changes", [{}, {"network": "convnet", "width": 8, "depth": 2}])
def test_its_state_carries_everything_on(two: ImageData, changes: dict[str, object]) -> None:
    images, labels = two.train_images[:50], two.train_labels[:50]
    trained = classifier(two, **changes)
    trained.run_epoch(images, labels)
    state = {name: tensor.clone() for name, tensor in trained.state().items()}
    expected = [trained.run_epoch(images, labels) for _ in range(2)]
    other = classifier(two, seed=5, **changes)
    other.load_state(state)

    assert [other.run_epoch(images, labels) for _ in range(2)] == expected
    for weights, others in zip(
        trained.network.parameters(), other.network.parameters(), strict=True
    ):
        assert torch.equal(weights, others)


def test_many_images_are_scored_in_chunks_with_the_same_result(two: ImageData) -> None:
    trained = classifier(two)
    whole = trained.score(two.test_images, two.test_labels)
    trained._chunk_size = 7

    *numbers, correct = trained.score(two.test_images, two.test_labels)
    assert numbers == pytest.approx(whole[:-1], rel=1e-6)
    assert correct == whole.correct


def test_purposes_have_streams_of_their_own(two: ImageData) -> None:
    config = SelectionConfig().resolve()
    first, second = (Classifier(config, two, purpose=purpose) for purpose in ("a", "b"))

    assert not torch.equal(first.network.classifier.weight, second.network.classifier.weight)
    assert not torch.equal(first.batches.get_state(), second.batches.get_state())


def test_a_last_batch_of_one_image_does_no_harm(two: ImageData) -> None:
    data = dataclasses.replace(two, train_images=two.train_images[:33])
    epoch = classifier(data).run_epoch(data.train_images, two.train_labels[:33])

    assert epoch.n_steps == 1
