"""The dry run's text: what a small plan looks like, to the letter, and what it must say."""

import pytest

from distill.config.distillation import DistillationConfig
from sweeps.cost import Estimate, estimate
from sweeps.grid.distillation_presets import PRESETS
from sweeps.grid.dry_run import WIDTH, describe_plan
from sweeps.grid.grid import Grid, grid_configs
from sweeps.grid.plan import make_plan

GRID = Grid(
    name="small",
    summary="",
    configs=grid_configs(
        DistillationConfig,
        base={"dataset": "digits"},
        rows=(
            {"clusterer": "kmeans", "weights": "size"},
            {"clusterer": "dbscan", "weights": "none", "eps": 2.5, "min_samples": 3},
            {"clusterer": "birch", "weights": "none", "embedding": "gradients"},
        ),
        ipcs=(1, 10),
    ),
    n_seeds=3,
)
PLAN = make_plan(GRID)
NOTHING_KNOWN = estimate(PLAN, [])


def ids(plan: list[DistillationConfig]) -> list[str]:
    return [config.trial_id for config in plan]


def estimate_of(seconds: dict[str, float | None], **sums: float | None) -> Estimate:
    known = [value for value in seconds.values() if value is not None]
    return Estimate(
        seconds=seconds,
        n_unknown=len(seconds) - len(known),
        trial_hours=sum(known) / 3600,
        wall_hours=sum(known) / 7200,
        gpu_hours=sums.get("gpu_hours"),
        cost=sums.get("cost"),
    )


def describe(plan: list[DistillationConfig], **changes: object) -> str:
    arguments: dict[str, object] = {
        "finished": {},
        "failed": (),
        "to_do": set(ids(plan)),
        "estimate": NOTHING_KNOWN,
        "resources": "this machine: 2 CPUs, 0 GPUs; 2 trials at once",
    }
    return describe_plan(plan, **(arguments | changes))  # type: ignore[arg-type]


def test_a_plan_of_which_nothing_is_done() -> None:
    assert describe(PLAN) == (
        """\
18 trials: digits, protocol sound, ipc 1 and 10, seeds 0–2

 method                        weights  trials
 ─────────────────────────────────────────────
 kmeans                        size          6
 dbscan eps=2.5 min_samples=3  none          6
 gradients: birch              none          6

 total                                      18

resources  this machine: 2 CPUs, 0 GPUs; 2 trials at once
time       unknown: no trial like these has been measured; --calibrate does it
"""
    )


def test_a_plan_that_is_under_way() -> None:
    kmeans, dbscan, birch = (ids(PLAN[first::3]) for first in range(3))
    to_do = {*kmeans[1:], *dbscan[3:], *birch[1:]}
    seconds: dict[str, float | None] = dict.fromkeys(birch[2:])
    seconds |= {birch[1]: 50.0}
    seconds |= dict.fromkeys(kmeans[1:], 60.0) | dict.fromkeys(dbscan[3:], 9000.0)

    text = describe(
        PLAN,
        finished={kmeans[0]: "ok", dbscan[0]: "infeasible", dbscan[1]: "ok", birch[0]: "ok"},
        failed={dbscan[2], birch[1]},
        to_do=to_do,
        estimate=estimate_of(seconds | dict.fromkeys(birch[2:]), gpu_hours=1234.56, cost=2469.12),
    )

    assert text == (
        """\
18 trials: digits, protocol sound, ipc 1 and 10, seeds 0–2

 method                        weights  trials  done  failed  to do     time
 ───────────────────────────────────────────────────────────────────────────
 kmeans                        size          6     1       0      5    5 min
 dbscan eps=2.5 min_samples=3  none          6     2       1      3    7.5 h
 gradients: birch              none          6     1       1      5   > 50 s

 total                                      18     4       2     13  > 7.6 h

resources  this machine: 2 CPUs, 0 GPUs; 2 trials at once
finished   3 ok, 1 infeasible
time       more than 3.8 h; one after the other 7.6 h
GPU hours  more than 1,234.6
cost       more than 2,469.12
unknown    4 trials not in these sums: none like them has been measured
failed     1 trial not tried again without --retry-failed
"""
    )


def test_a_plan_that_is_done() -> None:
    text = describe(
        PLAN, finished=dict.fromkeys(ids(PLAN), "ok"), to_do=(), estimate=estimate([], [])
    )

    assert "\nto do      nothing\n" in text
    assert "unknown" not in text
    assert "?" not in text


def test_long_lines_are_broken_at_spaces() -> None:
    plan = make_plan(GRID, seeds=range(0, 60, 2), only=["method=kmeans"])

    lines = describe(plan, resources="a GPU " * 20).splitlines()

    assert lines[0].endswith(" 8, 10, 12,")
    assert lines[1].startswith("  14, 16, ")
    assert lines[-3].startswith("resources  a GPU a GPU")
    assert lines[-2].startswith("           GPU a GPU")
    assert max(map(len, lines)) <= WIDTH


def test_both_protocols_are_told_apart() -> None:
    plan = make_plan(
        GRID, protocols=["published", "sound"], seeds=[0, 2, 3, 7], only=["method=kmeans,ipc=1"]
    )

    lines = describe(plan, estimate=None).splitlines()

    assert lines[0] == "8 trials: digits, protocol published and sound, ipc 1, seeds 0, 2, 3 and 7"
    assert lines[2].split() == ["method", "protocol", "weights", "trials"]
    assert [line.split() for line in lines[4:6]] == [
        ["kmeans", "published", "size", "4"],
        ["kmeans", "sound", "size", "4"],
    ]
    assert not any(line.startswith("time") for line in lines)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("done", [False, True])
def test_every_preset_fits_a_terminal_and_names_every_method(name: str, done: bool) -> None:
    plan = make_plan(PRESETS[name], protocols=["published", "sound"])
    n_done = len(plan) // 2 if done else 0

    text = describe(
        plan,
        finished=dict.fromkeys(ids(plan[:n_done]), "ok"),
        to_do=set(ids(plan[n_done:])),
        estimate=estimate_of(dict.fromkeys(ids(plan[n_done:]), 1e6)),
    )

    assert max(map(len, text.splitlines())) <= WIDTH
    assert {config.clusterer for config in plan} <= set(text.replace(":", "").split())
    assert "…" not in text
    assert text == "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3.4, " 3 s"),
        (99.0, " 99 s"),
        (101.0, " 2 min"),
        (5999.0, " 100 min"),
        (6001.0, " 1.7 h"),
        (36_000.0, " 10 h"),
        (7_200_000.0, " 2,000 h"),
    ],
)
def test_times_are_readable(seconds: float, text: str) -> None:
    config = PLAN[0].replace()

    lines = describe([config], estimate=estimate_of({config.trial_id: seconds})).splitlines()

    assert lines[4].endswith(text)
