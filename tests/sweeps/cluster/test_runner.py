"""The Ray adapter on a real Ray in this process; its GPUs are there by name only."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.tune.search import Searcher

from distill.config.base import Config
from distill.config.distillation import DistillationConfig
from distill.errors import UserError
from sweeps.cli.display import SweepDisplay
from sweeps.cluster.connection import Cluster, connect
from sweeps.cluster.runner import Outcome, point_of, run_trials
from sweeps.cluster.shared_data import (
    data_key,
    fetch_data,
    from_arrays,
    read_data,
    share_data,
)
from sweeps.cluster.worker import WorkOrder
from sweeps.store.store import Store
from tests.sweeps.cluster.patience import TEST_SECONDS

pytestmark = [pytest.mark.ray, pytest.mark.timeout(TEST_SECONDS)]

Tiny = Callable[..., DistillationConfig]


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield
    ray.shutdown()


def run(
    source: Any, store: Store, data_for: list[DistillationConfig] | None = None, **order: Any
) -> Outcome:
    with SweepDisplay("test", None, 0) as display:
        return run_trials(
            source,
            data_for=data_for or source,
            order=WorkOrder(store=store, sweep="test", **order),
            cpus_per_trial=1,
            data_root="data",
            max_concurrent=4,
            display=display,
        )


def test_connecting_starts_a_ray_and_stops_it() -> None:
    with connect(None) as cluster:
        assert ray.is_initialized()
        assert cluster.is_local
        assert cluster.n_nodes == 1
        assert cluster.cpus >= 1
        assert str(cluster).startswith("this machine: ")
    assert not ray.is_initialized()


@pytest.mark.usefixtures("local_ray")
def test_a_plan_becomes_rows(tiny: Tiny, store: Store) -> None:
    """Two sets of images, one trial that cannot be, four that share a GPU by quarters."""
    plan = [tiny(seed=seed, clusterer=name) for seed in (0, 1) for name in ("kmeans", "random")]
    plan += [tiny(val_fraction=0.2), tiny(clusterer="dbscan", eps=1e-6, min_samples=5)]
    outcome = run(plan, store, gpu_share=0.25, device="cpu")

    infeasible = plan[-1].trial_id
    assert store.failures() == {}
    assert outcome.signal_number is None
    assert outcome.stopped is None
    assert store.statuses() == {
        config.trial_id: "infeasible" if config.trial_id == infeasible else "ok" for config in plan
    }
    row = store.read_row(plan[0].trial_id)
    assert row is not None
    assert (row["gpu_share"], row["device"]) == (0.25, "cpu")


@pytest.mark.usefixtures("local_ray")
def test_a_searcher_is_asked_until_it_has_no_more(tiny: Tiny, store: Store) -> None:
    class Countdown(Searcher):
        def __init__(self) -> None:
            super().__init__(metric="fraction", mode="max")
            self.left = 3
            self.completed: list[str] = []

        def suggest(self, trial_id: str) -> Any:
            if self.left == 0:
                return Searcher.FINISHED
            self.left -= 1
            return {"point": point_of(tiny(seed=self.left))}

        def on_trial_complete(
            self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
        ) -> None:
            self.completed.append((result or {})["status"])

        def save(self, checkpoint_path: str) -> None:
            pass

        def restore(self, checkpoint_path: str) -> None:
            pass

    searcher = Countdown()
    run(searcher, store, data_for=[tiny()])

    expected = {tiny(seed=seed).trial_id for seed in range(3)}
    assert set(store.statuses()) == expected
    assert searcher.completed == ["ok"] * 3


class Witness(SweepDisplay):
    """Notes what the driver hears."""

    def __init__(self) -> None:
        super().__init__("test", None, 0)
        self.begun: list[str] = []
        self.reports: list[dict[str, Any]] = []

    def started(self, config: Config) -> None:
        self.begun.append(config.trial_id)
        super().started(config)

    def reported(self, result: dict[str, Any]) -> None:
        self.reports.append(result)
        super().reported(result)


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("order", [{}, {"gpu_share": 0.25, "device": "cpu"}])
def test_trials_start_in_the_order_of_the_plan(
    tiny: Tiny, store: Store, order: dict[str, Any]
) -> None:
    """One at a time, in the same process and in processes of their own."""
    plan = [tiny(seed=seed, eval_epochs=1) for seed in (3, 1, 4)]
    with Witness() as display:
        run_trials(
            plan,
            data_for=plan,
            order=WorkOrder(store=store, sweep="test", **order),
            cpus_per_trial=2,
            data_root="data",
            max_concurrent=None,
            display=display,
        )

    assert display.begun == [config.trial_id for config in plan]


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(("gpu_share", "often"), [(0.0001, False), (0.25, True)])
def test_many_trials_at_once_report_rarely(
    tiny: Tiny, store: Store, gpu_share: float, often: bool
) -> None:
    """Where 10,000 trials have a place a report in 100 seconds, by 4 after every iteration."""
    config = tiny(n_outer=4, n_inner=10, n_representatives=64, eval_every=0)
    with Witness() as display:
        run_trials(
            [config],
            data_for=[config],
            order=WorkOrder(
                store=store, sweep="test", gpu_share=gpu_share, device="cpu", report_seconds=0.0
            ),
            cpus_per_trial=1,
            data_root="data",
            max_concurrent=None,
            display=display,
        )

    running = [report for report in display.reports if report["status"] == "running"]
    before = [report for report in running if report.get("curve_step") is None]
    assert (len(before) > 1) == often, "a new point of the curve, at the end, comes at once"
    assert before, "the first at once"


@pytest.mark.usefixtures("local_ray")
def test_images_are_read_once_and_shared(tiny: Tiny) -> None:
    configs = [tiny(seed=seed) for seed in range(3)]
    shared = share_data([*configs, tiny(val_fraction=0.2)], "data", {"num_cpus": 1})

    assert set(shared) == {data_key(configs[0]), data_key(tiny(val_fraction=0.2))}
    first, second = (ray.get(shared[data_key(config)]) for config in configs[:2])
    address = [arrays["train_images"].__array_interface__["data"] for arrays in (first, second)]
    assert address[0] == address[1], "the same memory"
    assert address[0][1], "read-only"
    data = from_arrays(first)
    assert data.train_images.data_ptr() == address[0][0], "no copy"


@pytest.mark.usefixtures("local_ray")
def test_images_that_do_not_come_are_read_by_the_trial(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They are lost, and the task that would read them again waits for a CPU."""
    nowhere: Any = ray.remote(lambda: None).options(resources={"nowhere": 1})
    never = nowhere.remote()
    monkeypatch.setattr("sweeps.cluster.shared_data.FETCH_SECONDS", 0.1)
    monkeypatch.chdir(tmp_path)  # it changes into the folder that paths start from
    data = fetch_data(never, tiny(), "data", str(tmp_path))

    assert data.fingerprint == read_data(tiny(), "data").fingerprint
    monkeypatch.setattr("sweeps.cluster.shared_data.FETCH_SECONDS", 1000.0)
    again = fetch_data(never, tiny(seed=1), "data", str(tmp_path))
    assert again.train_images.data_ptr() == data.train_images.data_ptr(), "not read again"
    ray.cancel(never)


@pytest.mark.usefixtures("local_ray")
def test_configuration_that_does_not_fit_stops_the_sweep_first(tiny: Tiny, store: Store) -> None:
    with pytest.raises(UserError, match=r"has 125 training images.* \(data set digits\)"):
        run([tiny(), tiny(ipc=1000)], store)
    with pytest.raises(UserError, match=r"missing\.parquet"):
        run([tiny(dataset="parquet:missing.parquet")], store)
    assert store.statuses() == {}


@pytest.mark.usefixtures("local_ray")
def test_a_full_disk_stops_the_sweep(tiny: Tiny, small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("1m")
    store = Store(disk / "results")
    store.create()
    plan = [tiny(seed=seed, n_outer=4) for seed in range(3)]
    (disk / "filler").write_bytes(bytes(1_000_000))
    hungry = threading.Thread(target=fill, args=(disk / "more",), daemon=True)
    hungry.start()
    outcome = run(plan, store)

    assert outcome.stopped is not None
    assert outcome.stopped.startswith(f"results cannot be written to {store.uri}")
    assert store.statuses() == {}


def fill(path: Path) -> None:
    """Takes whatever is free, again and again."""
    with path.open("wb", buffering=0) as file:
        while path.exists():
            try:
                file.write(bytes(1024))
            except OSError:
                time.sleep(0.01)


def test_what_fits_on_a_cluster() -> None:
    local = Cluster(n_nodes=1, cpus=8, gpus=1, most_cpus=8, most_gpus=1, is_local=True)
    local.check_fits(8, 1)
    with pytest.raises(UserError, match="a trial asks for 9 CPUs, this machine has 8"):
        local.check_fits(9, 0)
    with pytest.raises(UserError, match="a trial asks for 2 GPUs, this machine has 1"):
        local.check_fits(1, 2)
    assert local.slots(1, 0) == 8
    assert local.slots(1, 0.25) == 4
    assert local.slots(4, 0.25) == 2

    pool = Cluster(n_nodes=3, cpus=0, gpus=0, most_cpus=0, most_gpus=0, is_local=False)
    pool.check_fits(4, 1)  # an autoscaler may bring such a node
    assert str(pool) == "3 nodes: 0 CPUs, 0 GPUs"
