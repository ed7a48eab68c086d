"""Calibration: short trials on the machines of a sweep, to estimate its time before it starts."""

from collections.abc import Sequence
from typing import Any

import ray

from distill.config.base import Config
from distill.trials.runner import run
from sweeps.cli.display import SweepDisplay
from sweeps.cluster.shared_data import Arrays, data_key, from_arrays, share_data
from sweeps.cluster.worker import WorkOrder, claim_share, device_of, hide_gpus


def calibrate(
    configs: Sequence[Config],
    *,
    order: WorkOrder,
    cpus_per_trial: float,
    data_root: str,
    display: SweepDisplay,
) -> list[dict[str, Any]]:
    """Returns the rows of short trials; nothing is written.

    Args:
        configs: the short trials, see `sweeps.cost.calibration_configs`.
        order: how trials are run; its store is not used.
        cpus_per_trial: logical CPUs of a trial.
        data_root: folder of torchvision's data sets, on every node.
        display: shows the progress.

    Raises:
        UserError: images cannot be read, or a configuration does not fit them.
    """
    display.phase("reading the images")
    resources = {"num_cpus": min(cpus_per_trial, 1)}
    shared = share_data(configs, data_root, resources, execution=order.execution)
    task: Any = ray.remote(_run).options(num_cpus=cpus_per_trial, num_gpus=order.gpu_share)
    waiting = [task.remote(config, shared[data_key(config)], order) for config in configs]
    rows: list[dict[str, Any]] = []
    while waiting:
        display.phase(f"measuring short trials: {len(rows)} of {len(configs)} done")
        done, waiting = ray.wait(waiting, num_returns=1)
        rows += ray.get(done)
    return rows


def _run(config: Config, arrays: Arrays, order: WorkOrder) -> dict[str, Any]:
    hide_gpus(order)
    claim_share(order)
    return run(
        config,
        from_arrays(arrays),
        execution=order.execution,
        is_checked=True,
        device=device_of(order),
    ).row
