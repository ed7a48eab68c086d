"""Trials that share a real GPU. Run with `uv run pytest -m gpu`."""

from collections.abc import Callable, Iterator

import pytest
import ray
import torch

from distill.config.distillation import DistillationConfig
from sweeps.cli.display import SweepDisplay
from sweeps.cluster.runner import run_trials
from sweeps.cluster.worker import WorkOrder
from sweeps.store.store import Store, load_results

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=4, num_gpus=1, include_dashboard=False)
    yield
    ray.shutdown()


def run(plan: list[DistillationConfig], store: Store, gpu_share: float) -> None:
    with SweepDisplay("gpu", len(plan), 0) as display:
        run_trials(
            plan,
            data_for=plan,
            order=WorkOrder(store=store, sweep="gpu", gpu_share=gpu_share),
            cpus_per_trial=1,
            data_root="data",
            max_concurrent=None,
            display=display,
        )


def test_four_trials_share_a_gpu(tiny: Callable[..., DistillationConfig], store: Store) -> None:
    run([tiny(seed=seed, val_fraction=0.0) for seed in range(4)], store, 0.25)

    results = load_results(store.uri)
    assert list(results["status"]) == ["ok"] * 4
    assert set(results["device"]) == {torch.cuda.get_device_name()}


def test_an_oversize_trial_becomes_a_row_and_its_neighbours_live(
    tiny: Callable[..., DistillationConfig], store: Store
) -> None:
    """A hundredth of the memory, some hundred megabytes, is too little for the wide network."""
    total = torch.cuda.get_device_properties(0).total_memory
    wide = int((total / 100 / 4 / 9) ** 0.5)  # one layer's weights take all of the share
    small, large = tiny(val_fraction=0.0), tiny(width=wide, val_fraction=0.0)
    run([small, large], store, 0.01)

    assert store.statuses() == {small.trial_id: "ok", large.trial_id: "out_of_memory"}


def test_trials_without_a_share_stay_off_the_gpu(
    tiny: Callable[..., DistillationConfig], store: Store
) -> None:
    run([tiny(val_fraction=0.0)], store, 0.0)

    assert list(load_results(store.uri)["device"]) == ["cpu"]
