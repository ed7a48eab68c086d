"""The card of a distilled set: `README.md` in the form of the Hub's dataset cards.

The head says where the images are, so that `datasets.load_dataset(FOLDER)` reads the folder as it
is; then recipe, normalisation, score, and lines that train on the set with the module of the recipe
beside the card (`distill.trials.training_lines`). Written to folders of single runs and exported
sets.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import stats

from distill.components import fields_of
from distill.config.distillation import ResolvedDistillation
from distill.datasets import ImageData
from distill.errors import MAX_SHOWN, UserError, printable
from distill.markdown import markdown_text
from distill.networks.registry import NETWORKS
from distill.trials.distilled_files import DistilledSet, noted_in, read_distilled, with_notes
from distill.trials.training_lines import RECIPE, LinesOf, recipe_module, training_lines

CARD = "README.md"
"""Name of the file, which the Hub and `datasets` look for."""

CONFIDENCE = 0.95

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))
"""Images below which a data set is in one of the Hub's categories of size."""

_RECIPE = (
    *("n_eval", "eval_epochs", "eval_batch_size", "eval_lr", "eval_momentum"),
    *("eval_weight_decay", "eval_augment", "cutmix_prob", "cutmix_beta"),
)
"""Fields of the recipe by which networks are trained on the set."""

_METHOD = (
    *("clusterer", "weights", "weights_in", "embedding", "n_representatives", "pick", "quota"),
    *("init", "match", "network", "networks", "protocol", "seed"),
)
"""Fields that say how the set was made."""

_MATCHING = ("metric", "n_outer", "n_inner", "lr_img", "augment", "cluster_interval")
"""Fields that act where images are matched."""


def notes_of(config: ResolvedDistillation, data: ImageData) -> dict[str, str]:
    """Returns what a distilled set's file notes: trial, factor, normalisation and recipe."""
    recipe = {name: str(config[name]) for name in ("network", *_RECIPE)}
    known = {"trial_id": config.trial_id, "factor": str(config.factor)}
    return recipe | known | normalisation_of(data)


def normalisation_of(data: ImageData) -> dict[str, str]:
    """Returns mean and standard deviation of each channel, of pixels in [0, 1], as notes."""
    return {name: _joined(getattr(data, name).tolist()) for name in ("mean", "std")}


def with_normalisation(table: pa.Table, data: ImageData) -> pa.Table:
    """Returns the table of a set with the normalisation noted, which earlier versions did not."""
    return with_notes(table, normalisation_of(data))


def has_normalisation(table: pa.Table) -> bool:
    """Whether the table of a set notes the normalisation."""
    return {"mean", "std"} <= noted_in(table).keys()


def card_files(
    config: ResolvedDistillation, row: Mapping[str, Any], table: pa.Table
) -> dict[str, str]:
    """Returns the card of a distilled set, and the module of its recipe, by the files' names.

    Args:
        config: that made it.
        row: of the trial: `network_scores` as the trial gives them, `eval_split`.
        table: the set, with the normalisation noted. With multi-formation its images are in
            `decoded.parquet`, too.

    Raises:
        UserError: the normalisation is not noted.
    """
    if not has_normalisation(table):
        raise UserError(f"the set of trial {config.trial_id} does not note its normalisation")
    stored = read_distilled(table)
    lines_of = _lines_of(config, stored)
    name = _text(_dataset_name(config.dataset))
    classes = ", ".join(_text(class_name) for class_name in stored.class_names)
    parts = [
        _head(len(stored.labels), _dataset_name(config.dataset), has_decoded=config.factor > 1),
        f"# {name}, distilled to {config.ipc} image{'s' * (config.ipc > 1)} per class",
        f"{len(stored.labels)} {'learnt ' if config.outer_iterations else ''}images of "
        f"{len(stored.class_names)} classes ({classes}), "
        f"{'×'.join(map(str, stored.images.shape[1:]))}, 8 bit. `label` is the class"
        + (", `weight` how much an image counts in training" if stored.weights is not None else "")
        + ".",
        *_format(config),
        "## Recipe",
        _origin(config, name),
        _table(_method(config)),
        "## Normalisation",
        "Networks see (pixel / 255 − mean) / std of each channel: mean "
        f"{stored.metadata['mean'].replace(',', ', ')}, std "
        f"{stored.metadata['std'].replace(',', ', ')}.",
        "## Score",
        _score(row),
        _table({key: config[key] for key in _RECIPE}),
        "## How to train on it",
        *_training(config, lines_of),
    ]
    return {CARD: "\n\n".join(parts) + "\n", RECIPE: recipe_module(lines_of)}


def _head(n_images: int, name: str, *, has_decoded: bool) -> str:
    size = next((text for limit, text in _SIZES if n_images < limit), "100K<n<1M")
    configs = {"default": "distilled.parquet"}
    configs |= {"decoded": "decoded.parquet"} if has_decoded else {}
    listed = "\n".join(
        f"- config_name: {config}\n  data_files:\n  - split: train\n    path: {path}"
        for config, path in configs.items()
    )
    return f"""\
---
# license: choose one; that of the data set counts, too
pretty_name: {_quoted(f"{name}, distilled")}
task_categories:
- image-classification
size_categories:
- {size}
tags:
- dataset-distillation
configs:
{listed}
---"""


def _origin(config: ResolvedDistillation, name: str) -> str:
    dream = "[clustering-based dataset distillation](https://arxiv.org/abs/2302.14416) (DREAM)"
    made = f"Made by {dream}" if config.outer_iterations else f"The start of {dream}, not matched,"
    return f"{made} on {name}, trial `{config.trial_id}`; `config.json` has all options:"


def _method(config: ResolvedDistillation) -> dict[str, Any]:
    """Returns the fields that made the set, with the options of the chosen components."""
    fields = [*_METHOD, *(_MATCHING if config.outer_iterations else ())]
    declared = config.static_fields()
    options = [name for name in config.to_dict() if name not in declared]
    values = {name: config[name] for name in (*fields, *sorted(options))}
    return {name: value for name, value in values.items() if value is not None}


def _format(config: ResolvedDistillation) -> list[str]:
    lines = ['```python\nimport datasets\n\ndatasets.load_dataset("FOLDER")\n```']
    if config.factor > 1:
        n = config.factor
        lines.append(
            f"Each image holds {n} × {n} training images, which are enlarged to full size: those "
            "of the configuration `decoded`."
        )
    return lines


def _score(row: Mapping[str, Any]) -> str:
    """Returns the accuracy of the network of the trial and of the further ones, with intervals."""
    lines = [
        f"Accuracy on {row['eval_split']} images after the last epoch, with the "
        f"{CONFIDENCE:.0%} interval of the mean over the networks:",
        "| network | accuracy | interval | networks |\n| --- | --- | --- | --- |",
    ]
    for network, scores in row["network_scores"].items():
        accuracies = scores["accuracies"]
        low, high = interval(accuracies)
        shown = "–" if math.isnan(low) else f"{100 * low:.2f} … {100 * high:.2f} %"
        mean = f"{100 * np.mean(accuracies):.2f} %"
        lines[-1] += f"\n| {network} | {mean} | {shown} | {len(accuracies)} |"
    lines.append("Each network was trained on the set by this recipe:")
    return "\n\n".join(lines)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Returns the 95 % interval of the mean by Student's t; NaN for fewer than two values.

    Example:
        >>> low, high = interval([0.5, 0.6, 0.7])
        >>> round(low, 4), round(high, 4)
        (0.3516, 0.8484)
    """
    n = len(values)
    if n < 2:
        return math.nan, math.nan
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * stats.sem(values))
    mean = float(np.mean(values))
    return mean - half, mean + half


def _lines_of(config: ResolvedDistillation, stored: DistilledSet) -> LinesOf:
    options = fields_of(NETWORKS["convnet"].options)
    is_convnet = config.network == "convnet"
    network = {
        name: config[name] if is_convnet else declared.default for name, declared in options.items()
    }
    mean, std = ([float(x) for x in stored.metadata[n].split(",")] for n in ("mean", "std"))
    height, width = stored.images.shape[2:]
    return LinesOf(
        recipe={name: config[name] for name in _RECIPE},
        network=network,
        mean=mean,
        std=std,
        image_size=(height, width),
        n_classes=len(stored.class_names),
        factor=config.factor,
        is_weighted=stored.weights is not None,
    )


def _training(config: ResolvedDistillation, given: LinesOf) -> list[str]:
    size = "×".join(map(str, (given.channels, *given.image_size)))
    text = (
        "Plain PyTorch, with pandas, pyarrow and Pillow to read images, run in this folder; "
        f"`{RECIPE}` beside this card has the network, the augmentation, the loss and the test. "
        "A run trains one network; the score is the mean over several. "
        "`test.parquet` are your test images, "
        f"{size} as these, in the same layout."
    )
    if config.network != "convnet":
        text += f" The lines train a ConvNet; the score above is that of {config.network}."
    return [text, f"```python\n{training_lines(given)}```"]


def _table(values: Mapping[str, Any]) -> str:
    rows = [f"| {name} | {_shown(name, value)} |" for name, value in values.items()]
    return "\n".join(["| option | value |", "| --- | --- |", *rows])


def _shown(name: str, value: Any) -> str:
    """Returns a value without the folders of a path: cards are published."""
    if name == "init" and str(value).startswith("set:"):
        return "set:" + ",".join(PurePath(p).name for p in str(value)[4:].split(","))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _dataset_name(dataset: str) -> str:
    """Returns the name of a data set; of one in files those of the files, not their folders."""
    _, colon, places = dataset.partition(":")
    if not colon:
        return dataset
    return ", ".join(PurePath(place.partition("=")[2] or place).name for place in places.split(","))


def _text(name: str) -> str:
    """Returns the name of a class or data set, which may hold anything, as Markdown."""
    shown = name if len(name) <= MAX_SHOWN else f"{name[:MAX_SHOWN]}…"
    return markdown_text(printable(shown))


def _quoted(text: str) -> str:
    """Returns a text for YAML."""
    text = printable(text)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _joined(values: Sequence[float]) -> str:
    return ",".join(f"{value:.8g}" for value in values)
