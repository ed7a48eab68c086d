"""Pools of networks: what is drawn, that they are trained once, and trials that draw from one."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from distill.config.distillation import DistillationConfig, ResolvedDistillation
from distill.datasets import ImageData
from distill.dream.loop import Dream
from distill.dream.network_pool import NetworkPool, trained_pool
from distill.errors import DivergedError, UserError
from distill.evaluation.shared_weights import cache_folder
from distill.networks.base import Network
from distill.runtime.execution import Execution
from distill.trials.runner import run

pytestmark = pytest.mark.lengthy

Tiny = Callable[..., ResolvedDistillation]
POOL = {"networks": "pool", "pool_networks": 2, "pool_epochs": 1}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("DREAM_SWEEP_CACHE", str(tmp_path / "cache"))


def members(n: int) -> list[dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    return [dict(torch.nn.Linear(3, 4).state_dict()) for _ in range(n)]


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_the_change_of_a_tensor_has_the_norm_that_the_strength_says(noise: float) -> None:
    (member,) = members(1)
    layer = torch.nn.Linear(3, 4)

    NetworkPool([member], noise=noise).draw(layer, torch.Generator().manual_seed(0))

    change = (layer.weight.detach() - member["weight"]).norm() / member["weight"].norm()
    assert float(change) == pytest.approx(noise, rel=1e-6)
    assert torch.equal(layer.bias, member["bias"]), "biases stay"


def test_all_members_are_drawn_and_the_same_by_equal_generators() -> None:
    pool, layer = NetworkPool(members(3), noise=0.1), torch.nn.Linear(3, 4)
    place = layer.weight.data_ptr()

    def drawn(seed: int) -> list[int]:
        generator, found = torch.Generator().manual_seed(seed), []
        for _ in range(30):
            pool.draw(layer, generator)
            distances = [float((layer.weight.detach() - m["weight"]).norm()) for m in pool.members]
            found.append(min(range(3), key=distances.__getitem__))
        return found

    assert set(drawn(0)) == {0, 1, 2}
    assert drawn(0) == drawn(0) != drawn(1)
    assert layer.weight.data_ptr() == place, "in place: recorded steps know the place"


def counted_epochs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Returns a list to which every training of a network of a pool is added."""
    trained: list[tuple[str, int]] = []
    train = Dream._briefly_trained

    def counted(self: Dream, purpose: str, number: int, *given: Any) -> Network:
        trained.append((purpose, number))
        return train(self, purpose, number, *given)

    monkeypatch.setattr(Dream, "_briefly_trained", counted)
    return trained


def test_networks_are_trained_once_for_trials_that_need_the_same(
    digits: ImageData, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = counted_epochs(monkeypatch)
    first = Dream(tiny(**POOL), digits)
    assert sorted(trained) == [("pool", 0), ("pool", 1)]
    second = Dream(tiny(**POOL, clusterer="random", ipc=2, pool_noise=0.0), digits)
    assert len(trained) == 2
    assert first._pool is not None
    assert second._pool is not None
    assert first.pool_seconds == second.pool_seconds > 0, "of whoever trained them"
    for one, other in zip(first._pool.members, second._pool.members, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)

    Dream(tiny(**POOL | {"pool_networks": 3}), digits)
    assert trained[2:] == [("pool", 2)], "a larger pool has the smaller one's networks"
    Dream(tiny(**POOL, seed=1), digits)
    Dream(tiny(**POOL | {"pool_epochs": 2}), digits)
    Dream(tiny(**POOL, net_lr=0.02), digits)
    Dream(tiny(**POOL, width=4), digits)
    Dream(tiny(**POOL), digits, execution=Execution(precision="bfloat16"))
    assert len(trained) == 3 + 5 * 2, "another seed, recipe, network or precision is another pool"


def test_the_same_networks_are_trained_again_where_the_cache_is_gone(
    digits: ImageData, tiny: Tiny
) -> None:
    first = Dream(tiny(**POOL), digits)
    for file in (cache_folder() / "pools").iterdir():
        file.unlink()
    second = Dream(tiny(**POOL), digits)

    pairs = zip(first.network.parameters(), second.network.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_networks_that_others_train_are_waited_for(
    digits: ImageData, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another machine: its lease is there; meanwhile this trial trains the other network."""
    config = tiny(**POOL)
    Dream(config, digits)
    files = sorted((cache_folder() / "pools").glob("*.safetensors"))
    contents = {file: file.read_bytes() for file in files}
    for file in files:
        file.unlink()
    lease = {"holder": "other", "host": "another-machine", "pid": 1, "seconds": None, "at": 0}
    files[0].with_suffix(".lease").write_text(json.dumps(lease))
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            files[0].write_bytes(contents[files[0]])

    monkeypatch.setattr("distill.evaluation.shared_weights.time.sleep", sleep)
    trained = counted_epochs(monkeypatch)
    Dream(config, digits)

    assert len(waits) == 3
    assert len(trained) == 1


def test_every_outer_iteration_draws_a_network(digits: ImageData, tiny: Tiny) -> None:
    dream = Dream(tiny(**POOL, n_outer=3, n_inner=1, n_net_batches=0, pool_noise=0.3), digits)
    assert dream._pool is not None
    seen = []
    for _ in range(3):
        dream.inner_loop()
        seen.append(torch.cat([p.detach().flatten() for p in dream.network.parameters()]))

    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])
    untouched = dict(dream._pool.members[0])
    name = next(name for name in untouched if untouched[name].dim() > 1)
    distances = [
        float((dream.network.state_dict()[name] - member[name]).norm() / member[name].norm())
        for member in dream._pool.members
    ]
    assert min(distances) == pytest.approx(0.3, rel=1e-5)


def test_a_trial_with_a_pool_resumes_bit_for_bit(digits: ImageData, tiny: Tiny) -> None:
    config = tiny(**POOL, n_outer=3)
    whole, first = Dream(config, digits), Dream(config, digits)
    for _ in range(3):
        first.inner_loop()
    resumed = Dream(config, digits)
    resumed.load_state(*first.state())
    for _ in range(6):
        whole.inner_loop()
    for _ in range(3):
        resumed.inner_loop()

    assert torch.equal(resumed.images, whole.images)


def test_row_and_curve_say_what_the_pool_cost(digits: ImageData, tiny: Tiny) -> None:
    result = run(tiny(**POOL), digits)
    row, curve = result.row, result.curve
    spent = sum(row[f"{part}_seconds"] for part in ("clustering", "matching", "network", "pool"))

    assert row["status"] == "ok"
    assert row["pool_seconds"] > 0
    assert [point["outer"] for point in curve] == [0, 1, 2]
    seconds = [point["seconds"] for point in curve]
    assert row["pool_seconds"] < seconds[0] < seconds[1] < seconds[2]
    assert seconds[2] == pytest.approx(spent)
    fresh = run(tiny(), digits)
    assert fresh.row["pool_seconds"] is None
    assert 0 < fresh.curve[0]["seconds"] < fresh.curve[-1]["seconds"]


def test_a_network_that_diverges_ends_the_trial(digits: ImageData, tiny: Tiny) -> None:
    config = tiny(**POOL)
    broken = Dream(config, digits).network
    torch.nn.init.constant_(broken.classifier.weight, float("nan"))
    with pytest.raises(DivergedError, match=r"network 1 of 2 of the pool .* lower net_lr"):
        trained_pool(config.replace(seed=7), digits, lambda _: broken, "float32")


def test_fresh_networks_are_what_trials_had_before() -> None:
    assert DistillationConfig().networks == "fresh"
    assert DistillationConfig(networks="fresh").trial_id == DistillationConfig().trial_id
    assert DistillationConfig(networks="pool").trial_id != DistillationConfig().trial_id


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"networks": "x"}, r"unknown networks 'x' \(known: fresh, pool\)"),
        (
            {"pool_networks": 3},
            "pool_networks does not apply to networks 'fresh', only to networks",
        ),
        ({"networks": "pool", "pool_networks": 0}, "pool_networks must be at least 1, got 0"),
        ({"networks": "pool", "pool_epochs": 0}, "pool_epochs must be at least 1, got 0"),
        ({"networks": "pool", "pool_noise": -0.1}, "pool_noise must be at least 0, got -0.1"),
        (
            {"networks": "pool", "protocol": "published"},
            "the published protocol has fresh networks, got networks 'pool'; use protocol sound",
        ),
    ],
)
def test_bad_values_are_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        DistillationConfig(**values)
