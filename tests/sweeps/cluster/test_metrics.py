"""Metrics of a sweep as Prometheus reads them from a real Ray; the board asks for no others."""

import json
import logging
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import ray

from distill.config.distillation import DistillationConfig
from sweeps.cli.display import SweepDisplay
from sweeps.cluster.metrics import FINISHED, NAMES, PART_SECONDS, SweepMetrics
from sweeps.cluster.runner import run_trials
from sweeps.cluster.worker import WorkOrder
from sweeps.store.store import Store
from tests.paths import ROOT
from tests.sweeps.cluster.patience import LIMIT_SECONDS, TEST_SECONDS

pytestmark = [pytest.mark.ray, pytest.mark.timeout(TEST_SECONDS)]

BOARD = ROOT / "cluster_configs" / "grafana_dream_sweep.json"

COUNTERS = {PART_SECONDS, FINISHED}


@pytest.fixture(scope="module")
def metrics_url() -> Iterator[str]:
    """Address of the metrics of a local Ray, which it exports every second."""
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _system_config={"metrics_report_interval_ms": 1000},
    )
    (node,) = ray.nodes()
    yield f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}"
    ray.shutdown()


def exported(url: str) -> dict[tuple[str, frozenset[str]], float]:
    """Returns the project's metrics: (name, tags such as `state="ok"`) → value."""
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - our own Ray
        text = response.read().decode()
    found = re.findall(r"^(ray_dream_sweep_\w+)\{(.*)\} (\S+)$", text, flags=re.MULTILINE)
    return {
        (name, frozenset(re.findall(r'\w+="[^"]*"', tags))): float(value)
        for name, tags, value in found
    }


def value_of(
    metrics: dict[tuple[str, frozenset[str]], float], name: str, *tags: str
) -> float | None:
    """Returns the one value of a metric with some tags; None: it is not exported yet."""
    values = [v for (n, found), v in metrics.items() if n == name and set(tags) <= found]
    assert len(values) <= 1, values
    return values[0] if values else None


def test_a_sweep_exports_its_metrics(
    metrics_url: str, tiny: Callable[..., DistillationConfig], store: Store
) -> None:
    plan = [tiny(), tiny(seed=1), tiny(clusterer="dbscan", eps=1e-6, min_samples=5)]
    with SweepDisplay("test", len(plan), 0) as display:
        run_trials(
            plan,
            data_for=plan,
            order=WorkOrder(store=store, sweep="a sweep"),
            cpus_per_trial=1,
            data_root="data",
            max_concurrent=2,
            display=display,
        )
    rows, tag = store.results(), 'sweep="a sweep"'
    wanted = {
        **{
            ("ray_dream_sweep_trials", f'state="{state}"'): n
            for state, n in {"ok": 2, "infeasible": 1, "running": 0, "waiting": 0}.items()
        },
        ("ray_dream_sweep_finished_total", tag): 3,
        ("ray_dream_sweep_part_seconds_total", 'part="total"'): pytest.approx(
            rows["total_seconds"].sum(), rel=0.01
        ),
    }

    def found(metrics: dict[tuple[str, frozenset[str]], float]) -> dict[Any, float | None]:
        return {(name, other): value_of(metrics, name, tag, other) for name, other in wanted}

    deadline = time.monotonic() + LIMIT_SECONDS
    # Every value is exported by itself, some seconds later on a busy machine.
    while found(metrics := exported(metrics_url)) != wanted and time.monotonic() < deadline:
        time.sleep(0.5)

    assert found(metrics) == wanted
    accuracy = value_of(metrics, "ray_dream_sweep_accuracy", tag)
    assert any(accuracy == pytest.approx(a) for a in rows["test_accuracy_mean"].dropna())
    assert {name for name, _ in metrics} == names_in_prometheus()


def names_in_prometheus() -> set[str]:
    """Returns the names under which Ray exports the metrics."""
    return {f"ray_{name}_total" if name in COUNTERS else f"ray_{name}" for name in NAMES}


def test_the_board_asks_only_for_metrics_that_are_exported() -> None:
    board = json.loads(BOARD.read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    named = {name for query in queries for name in re.findall(r"\bray_dream_sweep_\w+", query)}

    assert len(queries) >= len(NAMES)
    assert named <= names_in_prometheus()
    for name in NAMES:
        assert any(f"ray_{name}" in query for query in queries), name


def test_metrics_that_cannot_be_set_are_turned_off_with_one_warning() -> None:
    warnings: list[str] = []
    metrics = SweepMetrics(5, 1, warnings.append)  # type: ignore[arg-type]  # Ray refuses it

    metrics.started("a")
    metrics.reported("a", {"status": "ok", "numbers": {"kind": "k", "total_seconds": 1.0}})
    metrics.ended("a")
    metrics.close()

    (warning,) = warnings
    assert warning.startswith("metrics are off: TypeError: Tag values must be str")
