"""The emulated GPU does what CUDA does: errors, waiting, copies, graphs, counts."""

import pytest
import torch
from torch import Tensor

from tests.gpu.cuda import emulated_cuda
from tests.gpu.emulator import UseAfterFreeError

HAD_GPU = torch.cuda.is_available()


def test_tensors_of_both_devices_do_not_mix() -> None:
    with emulated_cuda():
        on_gpu, on_cpu = torch.ones(3, device="cuda"), torch.ones(3)
        with pytest.raises(RuntimeError, match="found at least two devices, cuda:0 and cpu"):
            on_gpu + on_cpu
        with pytest.raises(RuntimeError, match="same device as the indexed tensor"):
            on_cpu[torch.zeros(1, dtype=torch.int64, device="cuda")]
        with pytest.raises(TypeError, match="can't convert cuda:0"):
            on_gpu.numpy()
        assert (on_gpu + torch.tensor(1.0)).device == torch.device("cuda", 0)


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.cpu(),
        lambda x: x[torch.tensor([0, 1])],
        lambda _: torch.cuda.synchronize(),
        lambda _: torch.ones(2).to("cuda"),
    ],
)
def test_waiting_is_counted_once_and_named(read: object) -> None:
    with emulated_cuda() as gpu:
        tensor = torch.ones(3, device="cuda")
        assert gpu.counts.n_syncs == 0
        assert callable(read)
        read(tensor)
        assert gpu.counts.n_syncs == 1


def test_copies_from_pinned_and_pageable_memory_differ() -> None:
    with emulated_cuda() as gpu:
        host = torch.arange(4.0)
        pinned = host.pin_memory()
        on_gpu = pinned[1:].to("cuda", non_blocking=True)
        on_gpu.copy_(host[1:], non_blocking=True)

        assert (gpu.counts.pinned.total(), gpu.counts.n_pageable) == (1, 1)
        assert gpu.counts.n_syncs == 0
        assert on_gpu.tolist() == [1, 2, 3]


def test_kernels_bytes_and_operations_of_a_product() -> None:
    with emulated_cuda() as gpu:
        a, b = torch.ones(4, 5, device="cuda"), torch.ones(5, 6, device="cuda")
        gpu.reset()
        (a @ b).view(3, 8).t()

        assert gpu.counts.n_kernels == 1
        assert gpu.counts.n_bytes == 4 * (4 * 5 + 5 * 6 + 4 * 6)
        assert gpu.counts.operations == 2 * 4 * 5 * 6


def record(step: object) -> torch.cuda.CUDAGraph:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        assert callable(step)
        step()
    return graph


def test_a_graph_runs_on_the_same_memory_when_replayed_only() -> None:
    with emulated_cuda() as gpu:
        number, total = torch.full((1,), 2.0, device="cuda"), torch.zeros(1, device="cuda")
        graph = record(lambda: total.add_(number * 3))
        assert total.tolist() == [0]
        graph.replay()
        number.fill_(5)
        gpu.reset()
        graph.replay()

        assert gpu.counts.kernels == {"mul": 1, "add_": 1}
        assert gpu.counts.direct_launches == 0
        assert total.tolist() == [6 + 15]


def test_waiting_while_a_graph_is_captured_is_an_error() -> None:
    with emulated_cuda():
        number = torch.ones(1, device="cuda")
        with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
            record(number.item)


def test_a_number_of_the_host_in_a_graph_is_an_error() -> None:
    with emulated_cuda():
        number = torch.ones(1, device="cuda")
        with pytest.raises(RuntimeError, match="would become a constant of the graph"):
            record(lambda: number.mul_(torch.tensor(2.0)))


def test_a_graph_that_uses_freed_memory_is_an_error() -> None:
    with emulated_cuda():
        total, inputs = torch.zeros(1, device="cuda"), [torch.ones(1, device="cuda")]
        graph = record(lambda: total.add_(inputs[0]))
        inputs.clear()
        with pytest.raises(UseAfterFreeError, match=r"memory that was freed: \(1,\)"):
            graph.replay()


def test_gradients_are_those_of_the_cpu() -> None:
    points = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def second_derivative(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        (first,) = torch.autograd.grad(torch.sin(x).sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x)[0]

    with emulated_cuda():
        result = second_derivative(points.to("cuda"))
        assert result.is_cuda
        torch.testing.assert_close(result.cpu(), second_derivative(points))


def test_shapes_alone_count_the_same_work() -> None:
    counts = []
    for shapes_only in (False, True):
        with emulated_cuda(shapes_only=shapes_only) as gpu:
            images = torch.randn(2, 3, 8, 8).to("cuda")
            weight = torch.randn(4, 3, 3, 3, device="cuda", requires_grad=True)
            torch.nn.functional.conv2d(images, weight).relu().sum().backward()
            counts.append(gpu.counts)

    assert counts[0].kernels == counts[1].kernels
    assert counts[0].moved == counts[1].moved
    assert counts[0].operations == counts[1].operations > 0


def test_nothing_is_left_of_the_emulation() -> None:
    with emulated_cuda():
        assert torch.cuda.is_available()
    assert torch.cuda.is_available() == HAD_GPU
    assert type(torch.ones(2) + 1) is Tensor
