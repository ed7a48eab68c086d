"""A process's share of the memory of an emulated GPU, from Ray's share to the row of a trial."""

import gc
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from distill.config.distillation import DistillationConfig
from distill.datasets import ImageData
from distill.runtime.devices import available_bytes_on
from distill.runtime.graphs import WARM_UP, StepGraphs
from sweeps.cluster.worker import WorkOrder, memory_fraction, run_and_store
from sweeps.store.store import Store, load_results
from tests.gpu.cuda import emulated_cuda

MIB = 2**20


def test_memory_is_that_of_living_tensors() -> None:
    with emulated_cuda(total_memory=8 * MIB):
        first = torch.zeros(MIB, dtype=torch.uint8, device="cuda")
        second = first + 1
        del second
        view = first[10:]
        del first

        assert torch.cuda.memory_allocated() == MIB
        assert torch.cuda.max_memory_allocated() == 2 * MIB
        assert torch.cuda.mem_get_info() == (7 * MIB, 8 * MIB)
        del view
        torch.cuda.reset_peak_memory_stats()
        assert torch.cuda.max_memory_allocated() == torch.cuda.memory_allocated() == 0


def test_a_process_gets_no_more_than_its_share() -> None:
    with emulated_cuda(total_memory=8 * MIB):
        torch.cuda.set_per_process_memory_fraction(0.25)
        kept = torch.zeros(MIB, dtype=torch.uint8, device="cuda")

        assert available_bytes_on(kept.device) == MIB
        with pytest.raises(torch.cuda.OutOfMemoryError, match="Tried to allocate 1048577 bytes"):
            torch.zeros(MIB + 1, dtype=torch.uint8, device="cuda")
        torch.zeros(MIB, dtype=torch.uint8, device="cuda")


def test_recordings_of_a_step_share_their_memory() -> None:
    """As much as the one that needs most; freed with the last of them."""
    with emulated_cuda(total_memory=64 * MIB) as gpu:
        result = torch.zeros((), device="cuda")

        def step(n_mib: int, shift: torch.Tensor) -> None:
            values = torch.zeros(n_mib * MIB // 4, device="cuda") + shift  # twice as much
            result.copy_(values.sum())

        steps = StepGraphs(step, result.device, enabled=True)
        pools = []
        for n_mib in (2, 8, 4):
            for _ in range(WARM_UP + 2):
                steps(n_mib, torch.ones(()))
            (pool,) = gpu.pools.values()
            pools.append(pool.peak)
        assert float(result) == 4 * MIB // 4

        assert pools[0] == pytest.approx(4 * MIB, abs=100)
        assert pools[1] == pools[2] == pytest.approx(16 * MIB, abs=100)
        assert torch.cuda.memory_reserved() == pytest.approx(16 * MIB, abs=1000)
        assert torch.cuda.memory_allocated() < 1000
        available = available_bytes_on(result.device)
        assert available == torch.cuda.mem_get_info()[0] == pytest.approx(48 * MIB, abs=1000)
        with pytest.raises(torch.cuda.OutOfMemoryError):
            torch.zeros(49 * MIB, dtype=torch.uint8, device="cuda")
        del steps, pool
        gc.collect()
        assert available_bytes_on(result.device) == pytest.approx(64 * MIB, abs=1000)
        torch.zeros(49 * MIB, dtype=torch.uint8, device="cuda")


@pytest.mark.lengthy
@pytest.mark.parametrize(
    ("width", "total", "status"),
    [
        (8, 256 * MIB, "ok"),
        (1024, 256 * MIB, "out_of_memory"),  # the weights of a layer take all of it
        (8, MIB // 2, "out_of_memory"),  # the images do not fit
    ],
)
def test_a_trial_that_needs_more_than_its_share_is_a_row(
    width: int,
    total: int,
    status: str,
    digits: ImageData,
    tiny: Callable[..., DistillationConfig],
    tmp_path: Path,
) -> None:
    """A share is a quarter, of which half is for the context: 32 MiB of 256."""
    store = Store(tmp_path / "results")
    store.create()
    share = 0.25
    config = tiny(width=width, val_fraction=0.0)
    order = WorkOrder(store=store, sweep="gpu", gpu_share=share, device="cuda")
    with emulated_cuda(total_memory=total) as gpu:
        run_and_store(config, lambda: digits, order, lambda _: None)
        allowed = memory_fraction(share, total)
        assert gpu.fraction == allowed

    (row,) = load_results(store.uri).to_dict("records")
    assert row["status"] == status
    assert row["device"] == "Emulated GPU"
    if status == "out_of_memory":
        assert row["status_message"].startswith("CUDA out of memory. Tried to allocate")
    else:
        assert 0 < row["peak_memory_bytes"] <= allowed * total
