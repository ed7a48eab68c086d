"""Difficulty by hand and by SciPy, and EL2N as a mean over networks."""

import math

import numpy as np
import pytest
import torch
from scipy import special

from distill.errors import DivergedError, UserError
from distill.evaluation.el2n import ErrorNorms
from distill.selection.difficulty import difficulty_of
from distill.selection.registry import DIFFICULTIES

LOGITS = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.5], [1.0, 1.0, 1.0]])
LABELS = torch.tensor([0, 2, 1])


def test_scores_are_those_of_scipy() -> None:
    logits, labels = LOGITS.double().numpy(), LABELS.numpy()
    shares = special.softmax(logits, axis=1)
    rows = np.arange(3)
    expected = {
        "el2n": np.linalg.norm(shares - np.eye(3)[labels], axis=1),
        "loss": -special.log_softmax(logits, axis=1)[rows, labels],
        "margin": np.array([-1.0, 2.5, 0.0]),  # 1 − 2, 3 − 0.5, 1 − 1
    }
    assert expected.keys() == set(DIFFICULTIES)
    for name, values in expected.items():
        found = difficulty_of(LOGITS, LABELS, name)
        assert found.dtype == torch.float64
        assert found.tolist() == pytest.approx(values.tolist())


def test_a_right_and_sure_image_is_easy_and_a_wrong_one_hard() -> None:
    sure = torch.tensor([[30.0, -30.0], [-30.0, 30.0]])
    labels = torch.tensor([0, 0])
    assert difficulty_of(sure, labels, "el2n").tolist() == pytest.approx([0, math.sqrt(2)])
    assert difficulty_of(sure, labels, "loss").tolist() == pytest.approx([0, 60])
    assert difficulty_of(sure, labels, "margin").tolist() == [-60, 60]


def test_unknown_scores_are_refused() -> None:
    with pytest.raises(UserError, match=r"unknown difficulty 'x' \(known: el2n, loss, margin\)"):
        difficulty_of(LOGITS, LABELS, "x")


def test_error_norms_are_means_over_networks_and_resume() -> None:
    def outputs_of(number: int) -> torch.Tensor:
        return LOGITS * number

    norms = ErrorNorms(outputs_of, LABELS, n_networks=3)
    expected = sum(difficulty_of(LOGITS * i, LABELS, "el2n") for i in range(3)) / 3
    norms.advance()
    tensors, values = norms.state()
    again = ErrorNorms(outputs_of, LABELS, n_networks=3)
    again.load_state({name: tensor.clone() for name, tensor in tensors.items()}, values)
    while not again.done:
        again.advance()
    assert torch.equal(again.scores(), torch.as_tensor(expected))


def test_outputs_that_are_not_finite_are_reported() -> None:
    norms = ErrorNorms(lambda _: LOGITS * math.nan, LABELS, n_networks=1)
    with pytest.raises(DivergedError, match="network 1 of 1 that is briefly trained"):
        norms.advance()
