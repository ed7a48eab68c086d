"""Staged tensors: one asynchronous copy from pinned memory, same values."""

import torch

from distill.runtime.staging import stage
from tests.gpu.cuda import emulated_cuda

HOST = [
    torch.arange(5),
    torch.empty(0, 3),
    torch.rand((), dtype=torch.float64),
    torch.tensor([True, False, True]),
    torch.rand(4, 6)[:, ::2],
    torch.rand(1).expand(7),
]


def test_on_the_cpu_tensors_are_returned_as_they_are() -> None:
    assert all(a is b for a, b in zip(stage(HOST, torch.device("cpu")), HOST, strict=True))


def test_all_host_tensors_go_to_the_gpu_in_one_copy_without_waiting() -> None:
    with emulated_cuda() as gpu:
        there = torch.ones(2, device="cuda")
        gpu.reset()
        staged = stage([*HOST, there], there.device)

        assert gpu.counts.pinned.total() == 1
        assert gpu.counts.n_syncs == gpu.counts.n_pageable == 0
        assert staged[-1] is there
        for on_gpu, on_host in zip(staged, HOST, strict=False):
            assert on_gpu.device == there.device
            assert (on_gpu.dtype, on_gpu.shape) == (on_host.dtype, on_host.shape)
            assert torch.equal(on_gpu.cpu(), on_host)


def test_nothing_is_copied_where_all_is_on_the_gpu() -> None:
    with emulated_cuda() as gpu:
        there = torch.ones(2, device="cuda")
        gpu.reset()
        assert stage([there], there.device)[0] is there
        assert gpu.counts.n_kernels == gpu.counts.pinned.total() == 0
