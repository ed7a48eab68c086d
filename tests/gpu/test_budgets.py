"""What the parts of a trial ask of a GPU stays within limits, counted by an emulated one.

A limit that is exceeded for a good reason is raised here, with the reason in the lab notes.
`tests/benchmarks/gpu_counts.py` prints the figures.
"""

import sys
from collections.abc import Iterator

import pytest
import torch

from distill.config.distillation import DistillationConfig
from distill.dream.loop import Dream
from distill.runtime.graphs import WARM_UP
from tests.benchmarks import gpu_counts
from tests.benchmarks.gpu_counts import counted, data_on, evaluation_of, warm_up
from tests.benchmarks.reference import ReferenceLoop
from tests.gpu.budgets import Budget
from tests.gpu.cuda import emulated_cuda
from tests.gpu.emulator import Capture, Emulator

MATCHING = Budget(kernels=690, direct=6, gigabytes=14.6, pinned=2, pool=1.4)
"""Of all classes, in two passes, at ipc 10, width 128, 128 representatives, CIFAR-10's shape."""

NETWORK_UPDATE = Budget(kernels=970, direct=7, gigabytes=11.1, pinned=1, pool=0.19)
"""Of 16 batches of 128 images."""

EVALUATION_EPOCH = Budget(kernels=490, direct=2, gigabytes=2.2, pinned=1, pool=0.09)
"""Of seven batches of at most 64 images."""


@pytest.fixture
def gpu() -> Iterator[Emulator]:
    with emulated_cuda(shapes_only=True) as emulator:
        yield emulator


def published_dream() -> Dream:
    values = {"dataset": "cifar10", "clusterer": "random", "init": "noise", "ipc": 10}
    dream = Dream(DistillationConfig.from_dict(values).resolve(), data_on(10))
    warm_up(dream)
    return dream


def test_an_inner_loop_stays_within_its_budgets(gpu: Emulator) -> None:
    dream = published_dream()
    assert dream.config["width"] == 128

    matching = counted(gpu, dream.match_all)
    MATCHING.check(matching)
    assert matching.replays == len(dream._passes)
    update = counted(gpu, dream.update_network)
    NETWORK_UPDATE.check(update)
    assert update.replays == 1  # of all batches

    loop = ReferenceLoop(dream)
    public = [counted(gpu, loop.matching), counted(gpu, loop.network_update)]
    here = [matching, update]
    for name, times in (("n_bytes", 2.6), ("bound", 2.2), ("n_kernels", 4.3)):
        of_public, of_here = (sum(getattr(one, name) for one in both) for both in (public, here))
        assert of_public >= times * of_here, name


def test_the_passes_of_a_matching_share_the_memory_of_the_largest(
    gpu: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    replay = gpu.replay

    def noted(capture: Capture) -> None:
        sizes.append(capture.pool.peak)
        replay(capture)

    monkeypatch.setattr(gpu, "replay", noted)
    dream = published_dream()
    first, second, _ = sizes  # after each recording: two passes, a network update

    assert [len(range(10)[classes]) for classes in dream._passes] == [6, 4]
    assert first == second > 2**30
    (of_matching,) = (pool for pool in gpu.pools.values() if pool.peak == first)
    assert of_matching.allocated < first / 100  # nothing is kept from one step to the next


def test_one_more_wait_or_copy_exceeds_the_budget(gpu: Emulator) -> None:
    dream = published_dream()
    update = dream.update_network

    def with_a_wait() -> None:
        update()
        dream._loss_sum.item()

    with pytest.raises(AssertionError, match=r"1 waits: .*test_budgets.py:\d+ with_a_wait"):
        NETWORK_UPDATE.check(counted(gpu, with_a_wait))

    def with_a_pageable_copy() -> None:
        update()
        dream._labels.copy_(torch.arange(10), non_blocking=True)

    with pytest.raises(AssertionError, match=r"pageable copies: .* with_a_pageable_copy"):
        NETWORK_UPDATE.check(counted(gpu, with_a_pageable_copy))


def test_the_table_of_counts_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--points", "120", "--features", "8", "--clusters", "5", "--places"]
    monkeypatch.setattr(sys, "argv", ["gpu_counts.py", "kmeans", *options])
    n_threads = torch.get_num_threads()
    gpu_counts.main()
    torch.set_num_threads(n_threads)
    head, row, *places = capsys.readouterr().out.splitlines()

    columns = "kernels direct GB ms ms TF32 bound waits pageable pinned pool GB"
    assert head.split() == columns.split()
    assert row.startswith("kmeans (")
    assert int(row.split()[-4]) == sum(int(p.split()[0]) for p in places if " syncs: " in p)


def test_an_evaluation_epoch_stays_within_its_budget(gpu: Emulator) -> None:
    evaluation = evaluation_of(10, 128)
    for _ in range(WARM_UP + 1):
        evaluation.run_epoch()
    assert not evaluation.recipe.tests_after(evaluation.epoch)

    epoch = counted(gpu, evaluation.run_epoch)
    EVALUATION_EPOCH.check(epoch)
    assert epoch.replays == 1


def test_a_test_of_a_network_waits_for_its_results_alone(gpu: Emulator) -> None:
    """Sum of losses, images right by class and one by one: not a read a batch."""
    evaluation = evaluation_of(10, 16)
    evaluation._test()  # the first compares kernels with layers
    test = counted(gpu, evaluation._test)

    assert test.n_syncs <= 4, test.syncs
    assert test.n_pageable == 0
