"""The recipes by which networks are trained on chosen images, with their options."""

from dataclasses import dataclass

from distill.components import Component, Registry, option


@dataclass(frozen=True, kw_only=True)
class ClassifierOptions:
    """Options of paper 2's recipe, see `distill.evaluation.classifier`."""

    epochs: int = option(20, "epochs of training on the chosen images", minimum=1)


@dataclass(frozen=True, kw_only=True)
class DistillationRecipeOptions:
    """Options of the recipe for distilled images, see `distill.evaluation.scores`."""

    eval_epochs: int = option(1000, "epochs of training on the chosen images", minimum=1)


RECIPES = Registry(
    "recipe",
    {
        "classifier": Component(options=ClassifierOptions),
        "distillation": Component(options=DistillationRecipeOptions),
    },
)
"""Names as in configurations, results and tables."""
