"""Provenance of a row: what the machine and the versions are."""

import platform

import torch

from distill.kinds import COMMON_COLUMNS
from distill.runtime.provenance import processor, provenance


def test_the_columns_are_those_of_a_row() -> None:
    found = provenance(torch.device("cpu"))

    assert found.keys() <= COMMON_COLUMNS.keys()
    assert found["device"] == "cpu"
    assert found["python_version"] == platform.python_version()
    assert all(value is not None for name, value in found.items() if name != "git_commit")


def test_a_processor_is_its_model_and_the_instructions_that_are_used() -> None:
    model, _, capability = processor().rpartition(", ")

    assert model
    assert capability == torch.backends.cpu.get_cpu_capability()
