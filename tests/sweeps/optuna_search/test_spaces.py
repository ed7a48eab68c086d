"""Search spaces: the built-in ones on real data, and those of users."""

import re
from pathlib import Path
from typing import Any

import optuna
import pytest

from distill.clustering.registry import CHOOSES_ITSELF, CLUSTERERS
from distill.components import fields_of
from distill.config.distillation import DistillationConfig
from distill.datasets import ImageData
from distill.errors import UserError
from distill.networks.registry import PoolOptions
from distill.selection.registry import DIFFICULTIES, PICKS, QUOTAS
from distill.trials.runner import check
from sweeps.optuna_search import spaces
from sweeps.optuna_search.spaces import SPACES, Space, load_space

optuna.logging.set_verbosity(optuna.logging.WARNING)


def draw(space: Space, n: int = 40, seed: int = 1) -> list[tuple[Any, dict[str, Any]]]:
    """Configurations and parameters of trials at random."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    drawn = []
    for _ in range(n):
        trial = study.ask()
        config = space.config(trial)
        assert isinstance(config, space.config_class)
        drawn.append((config, trial.params))
    return drawn


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Writes a user's space; returns its path as a command gets it."""

    def write(text: str) -> str:
        path = tmp_path / "mine.py"
        path.write_text(text)
        return str(path)

    return write


def test_every_file_has_a_name() -> None:
    files = {path.stem for path in Path(spaces.__file__).parent.glob("*.py")} - {"__init__"}

    assert files == set(SPACES)


@pytest.mark.parametrize("name", SPACES)
def test_built_in_spaces_fit_the_default_data(name: str, digits: ImageData) -> None:
    space = load_space(name)
    searched = space.check()

    assert space.summary.endswith(".")
    assert set(space.first_point) <= set(searched)
    for config, params in draw(space):
        assert set(params) <= set(searched)
        assert (config.eval_split, config.val_fraction, config.dataset) == ("val", 0.1, "digits")
        check(config, digits)


def test_names_may_be_spelt_like_options() -> None:
    assert load_space("grid-size").name == load_space("grid_size").name == "grid_size"


def test_joint_asks_for_the_clusterers_own_parameters_only() -> None:
    common = {"clusterer", "weights", "weights_in"}
    common |= {"cluster_interval", "n_representatives", "lr_img", "networks"}
    of_pool = set(fields_of(PoolOptions))
    with_options = {"kmeans++", "kmedoids", "dbscan", "agglomerative", "birch"}
    with_options |= {"hdbscan", "gmm", "spectral", "bisecting_kmeans"}
    seen = set()
    for config, params in draw(load_space("joint"), n=200):
        assert ("weights_in" in params) == (config.weights == "size")
        picks = {"pick", "quota"} & set(params)
        assert picks == (set() if config.clusterer in CHOOSES_ITSELF else {"pick", "quota"})
        of_strata = {"n_strata", "prune_hardest"}
        by_strata = of_strata & set(params)
        assert by_strata == (of_strata if config["quota"] == "stratified" else set())
        by_strength = config.clusterer == "hdbscan" and config.weights == "size"
        assert ("strength_weights" in params) == by_strength
        needs = config["pick"] in ("hard", "easy", "middle") or config["quota"] == "stratified"
        assert ("difficulty" in params) == needs
        assert of_pool & set(params) == (of_pool if config.networks == "pool" else set())
        options = set(params) - common - picks - {"difficulty"} - of_pool - by_strata
        seen.add(config.clusterer)
        assert options <= set(fields_of(CLUSTERERS[config.clusterer].options))
        assert bool(options) == (config.clusterer in with_options)

    assert seen == with_options | {
        *("kmeans", "minibatch_kmeans"),
        *("facility_location", "k_center", "herding"),
    }


def test_joint_gives_random_images_no_weights_in_training() -> None:
    drawn = draw(load_space("joint").narrowed({"clusterer": "random"}))

    assert {config["weights"] for config, _ in drawn} == {"none", "size"}
    assert {config["weights_in"] for config, _ in drawn} == {"matching"}
    assert {name for _, params in drawn for name in params}.isdisjoint({"weights_in", "pick"})


def test_the_space_of_picks_has_every_pick_quota_and_difficulty() -> None:
    seen: dict[str, set[Any]] = {"pick": set(), "quota": set(), "difficulty": set()}
    for config, params in draw(load_space("pick"), n=120):
        assert ("n_strata" in params) == (config["quota"] == "stratified")
        for name, values in seen.items():
            values.add(config[name])
    assert seen["pick"] == set(PICKS)
    assert seen["quota"] == set(QUOTAS)
    assert seen["difficulty"] == {None, *DIFFICULTIES}
    assert load_space("pick").first_point == {"pick": "nearest", "quota": "one"}


def test_ways_of_choosing_are_asked_for_their_own_parameters_only() -> None:
    compared = {"weights_in"}
    picked = {"pick", "quota", "difficulty", "n_strata", "prune_hardest"}
    options = {
        "random": set(),
        "cluster_grid": compared | {"clusterer", "n_clusters", "pca_dim", "grid_size"},
        "herding": compared | {"embedding"},
        "k_center": compared | {"embedding"},
        "nearest_center": compared | {"embedding", "clusterer", *picked},
    }
    seen = set()
    for config, params in draw(load_space("selection"), n=200):
        own = set(fields_of(CLUSTERERS[params.get("clusterer", "kmeans")].options))
        assert set(params) - picked - own == (
            {"selector", "fraction"} | options[config.selector] - picked
        )
        assert set(params) & picked <= options[config.selector]
        assert 0.02 <= config["fraction"] <= 0.5
        seen.add(config.selector)
    assert seen == set(options)

    by_number = load_space("selection").narrowed({"ipc": 10})
    assert {(config["fraction"], config["ipc"]) for config, _ in draw(by_number)} == {(None, 10)}
    assert "fraction" not in by_number.check()


def test_selections_search_clusterers_that_stay_cheap_with_their_options() -> None:
    seen: dict[str, set[Any]] = {"cluster_grid": set(), "nearest_center": set()}
    with_options = {"kmeans++", "kmedoids", "agglomerative", "hdbscan", "bisecting_kmeans"}
    for config, params in draw(load_space("selection"), n=200):
        if config.selector not in seen:
            continue
        clusterer = config["clusterer"]
        seen[config.selector].add(clusterer)
        own = set(params) & set(fields_of(CLUSTERERS[clusterer].options))
        assert bool(own) == (clusterer in with_options)
    expected = with_options | {"kmeans", "facility_location"}
    assert seen == {"cluster_grid": expected, "nearest_center": expected}


def test_selections_search_picks_strata_and_weights_where_they_mean_something() -> None:
    seen: dict[str, set[Any]] = {"weights_in": set(), "difficulty": set(), "quota": set()}
    for config, params in draw(load_space("selection"), n=400):
        assert ("weights_in" in params) == (config.selector != "random")
        offers = config.selector == "nearest_center" and config["clusterer"] != "facility_location"
        assert ("pick" in params) == ("quota" in params) == offers
        needs = config["pick"] in ("hard", "easy", "middle") or config["quota"] == "stratified"
        assert ("difficulty" in params) == (needs and config["embedding"] == "features")
        assert ("n_strata" in params) == (config["quota"] == "stratified")
        assert ("prune_hardest" in params) == (config["quota"] == "stratified")
        for name, values in seen.items():
            values.add(config[name])
    assert seen["weights_in"] == {"matching", "training"}
    assert seen["difficulty"] == {None, *DIFFICULTIES}
    assert seen["quota"] == {None, *QUOTAS}


CHOOSES = (*CHOOSES_ITSELF, "kmedoids_sklearn_extra", *CLUSTERERS.published_variants().values())


@pytest.mark.parametrize(
    "clusterer", [name for name in CLUSTERERS if name != "agglomerative_published"]
)
def test_every_clusterer_can_be_fixed_in_searches(clusterer: str) -> None:
    nearest = {"selector": "nearest_center", "clusterer": clusterer}
    for space in (
        load_space("selection").narrowed(nearest),
        load_space("joint").narrowed({"clusterer": clusterer}),
    ):
        searched = set(space.check())

        assert ("weights_in" in searched) == (clusterer != "random")
        assert ("pick" in searched) == (clusterer not in CHOOSES)


def test_a_fixed_field_is_not_asked_for_and_wins() -> None:
    space = load_space("dbscan_eps").narrowed({"min_samples": 3, "ipc": 1})

    assert space.check() == ["eps"]
    for config, params in draw(space):
        assert set(params) == {"eps"}
        assert (config["min_samples"], config["ipc"]) == (3, 1)
        assert 1 <= params["eps"] <= 50
    assert space.first_point == {"eps": 15.0}
    assert space.shared["min_samples"] == 3


def test_a_fixed_eps_takes_the_place_of_its_quantile_and_back() -> None:
    by_eps = load_space("dbscan").narrowed({"eps": 15.0})
    by_quantile = load_space("dbscan_eps").narrowed({"eps_quantile": 0.5})

    assert by_eps.check() == by_quantile.check() == ["min_samples"]
    assert {(c["eps"], c["eps_quantile"]) for c, _ in draw(by_eps)} == {(15.0, None)}
    assert {(c["eps"], c["eps_quantile"]) for c, _ in draw(by_quantile)} == {(None, 0.5)}
    assert by_eps.first_point == {"min_samples": 2}


def test_a_fixed_choice_decides_which_parameters_there_are() -> None:
    space = load_space("joint").narrowed({"clusterer": "dbscan", "lr_img": None})

    assert {name for _, params in draw(space) for name in params} == {
        "eps_quantile",
        "min_samples",
        "weights",
        "weights_in",
        "pick",
        "quota",
        "difficulty",
        "n_strata",
        "prune_hardest",
        "cluster_interval",
        "n_representatives",
        "networks",
        *fields_of(PoolOptions),
    }
    assert {config.lr_img for config, _ in draw(space)} == {None}, "the default of the data set"


def test_ranges_replace_the_limits_of_the_space() -> None:
    space = load_space("dbscan_eps").narrowed({}, {"eps": (0.03, 0.3), "min_samples": (4, 5)})
    drawn = [params for _, params in draw(space)]

    assert all(0.03 <= params["eps"] <= 0.3 for params in drawn)
    assert min(params["eps"] for params in drawn) < 0.06, "still logarithmic"
    assert {params["min_samples"] for params in drawn} == {4, 5}
    assert space.first_point == {}, "15 and 2 are out of range"
    assert space.check() == ["eps", "min_samples"]


@pytest.mark.parametrize(
    ("fixed", "ranges", "message"),
    [
        ({}, {"eps": (3.0, 3.0)}, "range of eps must be low:high, got 3:3"),
        ({}, {"epss": (1.0, 3.0)}, "unknown parameter of space 'dbscan_eps' 'epss'; did you mean"),
        ({"eps": 2.0}, {"eps": (1.0, 3.0)}, "eps has both a fixed value and a range"),
        ({"epss": 2.0}, {}, "unknown field of space 'dbscan_eps' 'epss'; did you mean 'eps'"),
        ({"eval_split": "test"}, {}, "judged on validation images, got eval_split 'test'"),
        ({"eps": -1.0}, {}, "space 'dbscan_eps': eps must be above 0, got -1.0 (suggest returned"),
        ({"clusterer": "kmeans"}, {}, "eps does not apply to clusterer 'kmeans'"),
        ({"eps": 2.0, "min_samples": 2}, {}, "nothing to search: everything is fixed"),
    ],
)
def test_bad_values_are_one_clear_line(
    fixed: dict[str, Any], ranges: dict[str, tuple[float, float]], message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        load_space("dbscan_eps").narrowed(fixed, ranges).check()
    assert "\n" not in str(caught.value)


def test_a_choice_has_no_range() -> None:
    with pytest.raises(UserError, match="weights is a choice of none, size, not a range"):
        load_space("joint").narrowed({}, {"weights": (0, 1)}).check()


def test_a_users_space(write: Any) -> None:
    path = write(
        '"""My own search.\n\nMore."""\n'
        "import optuna\n"
        'BASE = {"dataset": "cifar10", "val_fraction": 0.2, "eval_networks": ["resnet10"]}\n'
        'DEFAULT = {"lr_img": 0.005}\n'
        "def suggest(trial):\n"
        '    lr_img = trial.suggest_float("lr_img", 1e-3, 1e-1, log=True)\n'
        '    momentum = trial.suggest_float("momentum_img", 0.0, 0.9)\n'
        "    if momentum > 0.5 and lr_img > 1e-2:\n"
        '        raise optuna.TrialPruned("too fast")\n'
        '    return {"lr_img": lr_img, "momentum_img": momentum}\n'
    )
    space = load_space(path)

    assert (space.name, space.summary) == ("mine", "My own search.")
    assert space.check() == ["lr_img", "momentum_img"]
    config = space.config(optuna.trial.FixedTrial({"lr_img": 0.02, "momentum_img": 0.1}))  # type: ignore[arg-type]
    assert isinstance(config, DistillationConfig)
    assert (config.dataset, config.val_fraction) == ("cifar10", 0.2)
    assert (config.lr_img, config.momentum_img) == (0.02, 0.1)
    with pytest.raises(optuna.TrialPruned, match="too fast"):
        space.config(optuna.trial.FixedTrial({"lr_img": 0.02, "momentum_img": 0.8}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("BASE = {}", "space 'mine' has no function suggest(trial)"),
        ("suggest = 3", "space 'mine' has no function suggest(trial)"),
        ("BASE = []\ndef suggest(trial): ...", "space 'mine': BASE must be a dictionary"),
        ("def suggest(trial) return 3", "mine.py cannot be loaded: SyntaxError:"),
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of"),
        (
            "BASE = {'n_oute': 3}\ndef suggest(trial): ...",
            "unknown field of space 'mine' 'n_oute'; did you mean 'n_outer'?",
        ),
        (
            "BASE = {'eval_split': 'test'}\ndef suggest(trial): ...",
            "space 'mine': a search is judged on validation images",
        ),
        ("def suggest(trial): return 3", "space 'mine': suggest must return a dictionary, got 3"),
        (
            "def suggest(trial): return {'ipcc': trial.suggest_int('ipc', 1, 2)}",
            "space 'mine': unknown option 'ipcc'; did you mean 'ipc'?",
        ),
        (
            "def suggest(trial): return {'ipc': trial.suggest_int('ipc', 0, 0)}",
            "space 'mine': ipc must be at least 1, got 0 (suggest returned {'ipc': 0})",
        ),
        (
            "def suggest(trial): return {'ipc': trial.suggest_int('ipc', 1, 9) / [][0]}",
            "space 'mine': suggest raised IndexError: list index out of range (parameters so far",
        ),
        (
            "def suggest(trial): return {'image_size': trial.suggest_int('image_size', 8, 16)}",
            "image_size decides which images are loaded; move it into BASE",
        ),
    ],
)
def test_what_is_wrong_with_a_users_space_is_one_clear_line(
    write: Any, text: str, message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        load_space(write(text)).check()
    assert "\n" not in str(caught.value)


def test_there_is_no_such_space(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown space 'dbskan'; did you mean 'dbscan'\?"):
        load_space("dbskan")
    with pytest.raises(UserError, match=r"there is no space at .*gone\.py; give a Python file or"):
        load_space(str(tmp_path / "gone.py"))
