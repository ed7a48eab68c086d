"""From a grid and a user's options to the list of trials."""

import dataclasses
from collections.abc import Sequence

import pytest

from distill.config.distillation import DistillationConfig
from distill.errors import UserError
from sweeps.grid.grid import Grid, grid_configs
from sweeps.grid.plan import MAX_SEEDS, make_plan, parse_seeds, plan_digest

GRID = Grid(
    name="small",
    summary="a small grid",
    configs=grid_configs(
        DistillationConfig,
        base={"dataset": "digits", "n_outer": 1},
        rows=(
            {"clusterer": "kmeans", "weights": "size"},
            {"clusterer": "kmeans", "weights": "none"},
            {"clusterer": "dbscan", "weights": "none", "eps": 4.0},
            {"clusterer": "dbscan", "weights": "none", "eps_quantile": 0.25, "min_samples": 3},
            {"clusterer": "agglomerative", "weights": "none", "linkage": "single"},
            {
                "clusterer": "kmedoids",
                "weights": "none",
                "embedding": "gradients",
                "projection_dim": 16,
            },
        ),
        ipcs=(1, 10),
    ),
    n_seeds=2,
)


def methods(plan: Sequence[DistillationConfig]) -> list[str]:
    return [config.clusterer for config in plan]


def test_seeds_change_slowest_in_a_plan() -> None:
    plan = make_plan(GRID)

    assert [config.seed for config in plan] == [0] * 12 + [1] * 12
    assert [config.ipc for config in plan] == ([1] * 6 + [10] * 6) * 2
    assert methods(plan[:6]) == methods(plan[6:12])
    assert plan == make_plan(GRID)


def test_main_configurations_get_further_seeds_at_the_end() -> None:
    grid = dataclasses.replace(GRID, main=GRID.configs[:2], n_main_seeds=4)
    plan = make_plan(grid)

    assert plan[:24] == make_plan(GRID)
    assert [(config.seed, config.clusterer) for config in plan[24:]] == [
        (seed, config.clusterer) for seed in (2, 3) for config in GRID.configs[:2]
    ]
    assert make_plan(grid, seeds=[0, 1]) == plan[:24], "seeds that are asked for are for all"


def test_seeds_protocols_and_limit() -> None:
    plan = make_plan(GRID, seeds=[7, 3], protocols=["sound", "published", "sound"], limit=20)

    assert len(plan) == 20
    # Paper 1's variants do not have the parameters of two rows.
    assert [config.protocol for config in plan] == (
        ["sound"] * 6 + ["published"] * 4 + ["sound"] * 6 + ["published"] * 4
    )
    assert {config.seed for config in plan} == {7}
    assert methods(plan[6:10]) == ["kmeans", "kmeans", "dbscan", "kmedoids"]


def test_weights_make_two_trials_under_the_published_protocol_too() -> None:
    plan = make_plan(GRID, protocols=["published"], only=["method=kmeans,ipc=1"], seeds=[0])

    assert [config.resolve().weights for config in plan] == ["published", "none"]


def test_equal_trials_are_planned_once_at_the_first_place() -> None:
    plan = make_plan(GRID, set_values={"weights": "none", "eps": "2", "min_samples": "2"})

    assert methods(plan[:4]) == ["kmeans", "dbscan", "agglomerative", "kmedoids"]
    assert len(plan) == 4 * 2 * 2


def test_set_values_replace_those_of_the_grid() -> None:
    plan = make_plan(GRID, set_values={"n-outer": "0", "ipc": "5", "weight": "T", "lr_img": "1e-3"})

    assert {(c.n_outer, c.ipc, c.weights, c.lr_img) for c in plan} == {(0, 5, "size", 1e-3)}
    assert len(plan) == 5 * 2


def test_options_of_a_clusterer_are_set_where_it_runs() -> None:
    plan = make_plan(GRID, set_values={"linkage": "average", "min_samples": "7"}, seeds=[0])

    given = {(c.clusterer, c["linkage"], c["min_samples"]) for c in plan}
    assert {
        options for options in given if options[0] in ("agglomerative", "dbscan", "kmeans")
    } == {
        ("agglomerative", "average", None),
        ("dbscan", None, 7),
        ("kmeans", None, None),
    }


@pytest.mark.parametrize(
    ("name", "text", "eps", "quantile"),
    [("eps", "2", 2.0, None), ("eps_quantile", "0.1", None, 0.1)],
)
def test_one_radius_replaces_the_other(
    name: str, text: str, eps: float | None, quantile: float | None
) -> None:
    plan = make_plan(GRID, set_values={name: text}, only=["method=dbscan"])

    assert {(config["eps"], config["eps_quantile"]) for config in plan} == {(eps, quantile)}


def test_taking_a_radius_back_leaves_the_other_as_it_is() -> None:
    plan = make_plan(GRID, set_values={"eps": "none"}, only=["method=dbscan"], seeds=[0])

    assert [(c["eps"], c["eps_quantile"]) for c in plan[:2]] == [(None, None), (None, 0.25)]


def test_option_of_one_protocol_is_set_under_that_protocol_only() -> None:
    plan = make_plan(
        GRID,
        protocols=["published", "sound"],
        set_values={"eps_quantile": "0.1"},
        only=["method=dbscan,ipc=1"],
        seeds=[0],
    )

    # Both sound rows now have this radius; they differ in min_samples.
    assert [(config.protocol, config["eps"], config["eps_quantile"]) for config in plan] == [
        ("published", 4.0, None),
        ("sound", None, 0.1),
        ("sound", None, 0.1),
    ]


def test_a_projection_goes_with_gradients_only() -> None:
    projected = make_plan(GRID, set_values={"projection_dim": "8"}, seeds=[0])
    features = make_plan(GRID, set_values={"embedding": "features"}, seeds=[0])
    everywhere = make_plan(
        GRID, set_values={"embedding": "gradients", "projection_dim": "8"}, seeds=[0]
    )

    assert [config["projection_dim"] for config in projected[:6]] == [None] * 5 + [8]
    assert {(config.embedding, config["projection_dim"]) for config in features} == {
        ("features", None)
    }
    assert {(config.embedding, config["projection_dim"]) for config in everywhere} == {
        ("gradients", 8)
    }


@pytest.mark.parametrize(
    ("only", "n_trials"),
    [
        (["method=dbscan"], 8),
        (["method=dbscan,ipc=10"], 4),
        (["method=dbscan", "ipc=10"], 4),
        (["clusterer = kmeans | dbscan , seed=1"], 8),
        (["weight=T"], 4),
        (["weights=false"], 20),
        (["eps=4"], 4),
        (["eps_quantile=0.25"], 4),
        (["min-samples=2"], 4),  # a default, not asked for by the grid
        (["embedding=gradients"], 4),
        (["linkage=single|none,ipc=1"], 12),
        (["n_representatives=64"], 24),
    ],
)
def test_only_keeps_what_meets_all_conditions(only: list[str], n_trials: int) -> None:
    assert len(make_plan(GRID, only=only)) == n_trials


def test_only_takes_names_as_asked_for_and_as_resolved() -> None:
    asked = make_plan(GRID, protocols=["published"], only=["method=kmeans,weight=size"])
    resolved = make_plan(
        GRID, protocols=["published"], only=["method=kmeans_published,weight=published"]
    )
    short = make_plan(GRID, protocols=["published"], only=["method=kmeans,weight=true"])

    assert asked == resolved == short
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ("method=dbscn", "unknown method in --only 'dbscn'; did you mean 'dbscan'? (known: kmeans"),
        ("method=birch", "unknown method in --only 'birch'"),
        ("method=kmeans|dbscn", "unknown method in --only 'dbscn'; did you mean 'dbscan'?"),
        ("ipc=50", "unknown ipc in --only '50'; did you mean '10'? (known: 1, 10)"),
        ("ipc=ten", "ipc must be a whole number, got 'ten'"),
        ("eps=3", "unknown eps in --only '3' (known: none, 4)"),
        ("methd=kmeans", "unknown field in --only 'methd'; did you mean 'method'?"),
        ("dbscan", "--only takes FIELD=VALUE, several separated by commas, got 'dbscan'"),
        ("method=", "--only takes FIELD=VALUE, several separated by commas, got 'method='"),
        (
            "method=dbscan,weight=T",
            "no trial of the plan meets all of --only method=dbscan,weight=T",
        ),
    ],
)
def test_conditions_that_cannot_be_met(only: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        make_plan(GRID, only=[only])

    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("set_values", "message"),
    [
        ({"clusterer": "dbscan"}, "--set does not take clusterer: choose among the methods"),
        ({"method": "dbscan"}, "--set does not take method: choose among the methods"),
        ({"seed": "3"}, "--set does not take seed: use --seeds"),
        ({"dataset": "mnist"}, "--set does not take dataset: use --dataset"),
        ({"protocol": "sound"}, "--set does not take protocol: use --protocol"),
        ({"widht": "8"}, "unknown field in --set 'widht'; did you mean 'width'?"),
        ({"width": "wide"}, "width must be a whole number, got 'wide'"),
        ({"width": "0"}, "width must be at least 1, got 0"),
        (
            {"branching_factor": "5"},
            "--set branching_factor changes no trial of the plan: it belongs to clusterer birch; "
            "the plan has clusterer kmeans, dbscan, agglomerative, kmedoids",
        ),
        ({"eps": "1", "eps_quantile": "0.5"}, "give eps or eps_quantile, not both"),
        (
            {"embedding": "features", "projection_dim": "4"},
            "--set projection_dim changes no trial of the plan: it belongs to embedding",
        ),
        ({"eval_split": "val"}, "set val_fraction"),
    ],
)
def test_values_that_cannot_be_set(set_values: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as error:
        make_plan(GRID, set_values=set_values)

    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_option_without_effect_because_of_only_is_an_error() -> None:
    with pytest.raises(UserError, match="--set eps changes no trial of the plan"):
        make_plan(GRID, set_values={"eps": "3"}, only=["method=kmeans"])


def test_an_empty_plan_is_an_error() -> None:
    linkage_only = dataclasses.replace(GRID, name="x", configs=GRID.configs[4:5])

    with pytest.raises(UserError, match="preset 'x' has no trials under protocol published"):
        make_plan(linkage_only, protocols=["published"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "--limit must be at least 1, got 0"),
        ({"protocols": ["soundd"]}, "unknown protocol 'soundd'; did you mean 'sound'?"),
        ({"protocols": []}, "--protocol needs at least one of sound, published"),
        ({"dataset": "cifar"}, "unknown dataset 'cifar'; did you mean 'cifar10'?"),
    ],
)
def test_other_bad_options(options: dict[str, list[str]], message: str) -> None:
    with pytest.raises(UserError) as error:
        make_plan(GRID, **options)  # type: ignore[arg-type]

    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("1", [0]),
        ("5", [0, 1, 2, 3, 4]),
        (" 2 ", [0, 1]),
        ("3,7", [3, 7]),
        ("7,3", [7, 3]),
        ("3,", [3]),
        ("0,", [0]),
        ("10-14", [10, 11, 12, 13, 14]),
        ("10-10", [10]),
        ("0-2,7", [0, 1, 2, 7]),
        ("3,1-4", [3, 1, 2, 4]),
    ],
)
def test_seeds(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--seeds must be a number of seeds (5), seeds (3,7 or 3,) or a range (10-14), got ''"),
        ("-1", "or a range (10-14), got '-1'"),
        ("1.5", "or a range (10-14), got '1.5'"),
        ("3,,4", "or a range (10-14), got '3,,4'"),
        (",", "or a range (10-14), got ','"),
        ("1-2-3", "or a range (10-14), got '1-2-3'"),
        ("²", "or a range (10-14), got '²'"),
        ("9" * 30, "or a range (10-14), got"),
        ("14-10", "--seeds: the range 14-10 runs backwards; write 10-14"),
        ("0", "--seeds must ask for at least 1 seed, got '0'; for seed 0 write 0,"),
        ("1234", "asks for 1234 seeds, more than 1000; for the one seed 1234 write 1234,"),
        ("0-999999999999", f"asks for 1000000000000 seeds, more than {MAX_SEEDS}"),
    ],
)
def test_seeds_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        parse_seeds(text)

    assert message in str(error.value)


def test_the_digest_names_a_set_of_trials() -> None:
    plan = make_plan(GRID)

    assert plan_digest(plan) == plan_digest(reversed(plan)) == plan_digest(plan + plan[:1])
    assert plan_digest(plan) != plan_digest(plan[:-1])
    assert len(plan_digest(plan)) == 16
