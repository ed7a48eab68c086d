"""Losses on soft labels, by their formulas written out."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from torch import Tensor

from distill.evaluation.label_losses import SoftLabelLoss
from distill.evaluation.sgd import Batch
from distill.networks.build import build_network

GENERATOR = torch.Generator().manual_seed(5)
LOGITS = torch.randn(4, 3, generator=GENERATOR, dtype=torch.float64)
SOFT = torch.randn(6, 3, generator=GENERATOR, dtype=torch.float64) * 2
HARD = torch.tensor([0, 1, 2, 2, 1, 0])
ROWS, OTHERS = torch.tensor([5, 0, 3, 3]), torch.tensor([1, 2, 4, 0])
RATIO = torch.tensor(0.3, dtype=torch.float64)
IMAGES = torch.zeros(4, 1, 8, 8, dtype=torch.float64)
PLAIN = Batch(images=IMAGES, labels=ROWS)
MIXED = Batch(images=IMAGES, labels=ROWS, other_labels=OTHERS, ratio=RATIO)


def plain_kl(student: Tensor, target: Tensor, temperature: float) -> float:
    """The mean of T² Σ p log(p / q), by SciPy."""
    p = softmax(target.numpy() / temperature, axis=1)
    log_q = log_softmax(student.numpy() / temperature, axis=1)
    return float(temperature**2 * (p * (np.log(p) - log_q)).sum(axis=1).mean())


def plain_hard(student: Tensor, labels: Tensor) -> float:
    log_q = log_softmax(student.numpy(), axis=1)
    return float(-np.mean([log_q[i, label] for i, label in enumerate(labels.tolist())]))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kl_is_scaled_by_the_square_of_the_temperature(temperature: float) -> None:
    loss = SoftLabelLoss(hard=HARD, soft=SOFT, name="kl", temperature=temperature)

    assert float(loss(LOGITS, PLAIN)) == pytest.approx(
        plain_kl(LOGITS, SOFT[ROWS], temperature), rel=1e-12
    )


def test_cross_entropy_is_that_of_the_distributions() -> None:
    loss = SoftLabelLoss(hard=HARD, soft=SOFT, name="cross_entropy", temperature=7.0)
    p = softmax(SOFT[ROWS].numpy(), axis=1)
    expected = -(p * log_softmax(LOGITS.numpy(), axis=1)).sum(axis=1).mean()

    assert float(loss(LOGITS, PLAIN)) == pytest.approx(float(expected), rel=1e-12)


def test_mixture_adds_the_hard_labels_by_their_share() -> None:
    loss = SoftLabelLoss(hard=HARD, soft=SOFT, name="mixture", temperature=2.0, hard_share=0.25)
    expected = 0.25 * plain_hard(LOGITS, HARD[ROWS]) + 0.75 * plain_kl(LOGITS, SOFT[ROWS], 2.0)

    assert float(loss(LOGITS, PLAIN)) == pytest.approx(expected, rel=1e-12)


def test_cutmix_mixes_fixed_and_hard_labels_by_area() -> None:
    loss = SoftLabelLoss(hard=HARD, soft=SOFT, name="mixture", temperature=2.0, hard_share=0.25)
    parts = [
        0.25 * plain_hard(LOGITS, HARD[rows]) + 0.75 * plain_kl(LOGITS, SOFT[rows], 2.0)
        for rows in (ROWS, OTHERS)
    ]
    found = float(loss(LOGITS, MIXED))

    assert found == pytest.approx(0.3 * parts[0] + 0.7 * parts[1], rel=1e-12)


@pytest.mark.parametrize("name", ["kl", "cross_entropy", "mixture"])
@pytest.mark.parametrize("mixed", [False, True])
def test_weights_of_whole_numbers_are_copies_of_images(name: str, mixed: bool) -> None:
    """The mean over 4 images with weights of mean one is that over the images with copies."""
    loss = SoftLabelLoss(hard=HARD, soft=SOFT, name=name, temperature=2.0, hard_share=0.25)
    times = torch.tensor([2, 1, 1, 4])
    weights = times.double() / 2
    copies = torch.arange(4).repeat_interleave(times)
    batch = MIXED if mixed else PLAIN
    pasted = weights if mixed else None
    found = float(loss(LOGITS, replace(batch, weights=weights, other_weights=pasted)))
    repeated = Batch(
        images=IMAGES[copies],
        labels=ROWS[copies],
        other_labels=OTHERS[copies] if mixed else None,
        ratio=batch.ratio,
    )
    copied = loss(LOGITS[copies], repeated)

    assert found == pytest.approx(float(copied), rel=1e-12)


def test_a_pasted_fixed_label_has_the_weight_of_its_image() -> None:
    loss = SoftLabelLoss(hard=HARD, soft=SOFT, name="kl", temperature=2.0)
    weights, others = torch.tensor([2.0, 0, 1, 1]), torch.tensor([0.0, 3, 1, 0])
    each = [
        [plain_kl(LOGITS[i : i + 1], SOFT[rows[i : i + 1]], 2.0) for i in range(4)]
        for rows in (ROWS, OTHERS)
    ]
    expected = 0.3 * np.mean(weights.numpy() * each[0]) + 0.7 * np.mean(others.numpy() * each[1])

    batch = replace(MIXED, weights=weights.double(), other_weights=others.double())
    found = float(loss(LOGITS, batch))
    assert found == pytest.approx(float(expected), rel=1e-12)


def test_a_teacher_labels_the_images_that_the_student_sees() -> None:
    teacher = build_network(
        "convnet",
        n_classes=3,
        channels=1,
        image_size=(8, 8),
        generator=torch.Generator().manual_seed(0),
        width=4,
        depth=1,
    ).double()
    teacher.eval()
    images = torch.randn(4, 1, 8, 8, generator=GENERATOR, dtype=torch.float64)
    loss = SoftLabelLoss(hard=HARD, teacher=teacher, name="kl", temperature=3.0)
    student = LOGITS.clone().requires_grad_()

    found = loss(student, replace(MIXED, images=images))
    found.backward()

    expected = plain_kl(LOGITS, teacher(images).detach(), 3.0)
    assert float(found.detach()) == pytest.approx(
        expected, rel=1e-12
    )  # CutMix changes nothing here
    assert student.grad is not None
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_sure_soft_labels_are_hard_labels() -> None:
    one_hot = torch.eye(3, dtype=torch.float64)[HARD].clamp_min(1e-300).log()
    loss = SoftLabelLoss(hard=HARD, soft=one_hot, name="kl")

    assert float(loss(LOGITS, PLAIN)) == pytest.approx(plain_hard(LOGITS, HARD[ROWS]))
    assert math.isfinite(float(loss(LOGITS, PLAIN)))
