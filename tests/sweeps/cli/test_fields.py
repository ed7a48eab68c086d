"""Fields of configurations by their part."""

from distill.config.distillation import DistillationConfig
from distill.config.selection import SelectionConfig
from sweeps.cli.fields import excluded_by, method_variants, without_seed_repetitions
from sweeps.grid.distillation_presets import EXTENDED
from sweeps.grid.plan import make_plan


def test_configurations_that_differ_in_the_seed_only_are_kept_once() -> None:
    plan = make_plan(EXTENDED, seeds=[7, 3], set_values={"n_outer": "10"})
    n_rows = len(plan) // 2

    assert without_seed_repetitions(plan) == plan[:n_rows], "the first of each, in order"
    first, other = DistillationConfig(), DistillationConfig(ipc=1000)
    selection = SelectionConfig()
    mixed = [first, other, selection, selection.replace(seed=1), first.replace(seed=5)]
    assert without_seed_repetitions(mixed) == mixed[:3]


def test_options_exclude_each_other_both_ways() -> None:
    assert excluded_by(DistillationConfig, ["eps"]) == {"eps_quantile"}
    assert excluded_by(DistillationConfig, ["eps_quantile", "ipc"]) == {"eps"}
    assert excluded_by(SelectionConfig, ["ipc"]) == {"fraction"}
    assert excluded_by(SelectionConfig, ["eps", "eps_quantile"]) == set()


def test_variants_of_a_method_are_its_fields_of_fixed_values() -> None:
    assert method_variants(DistillationConfig) == ["weights"]
    assert method_variants(SelectionConfig) == []
