"""Tables of evaluations: sets of any origin beside as many random real images, one row a set.

There is a table for each data set, number of images a class, way of labelling and recipe.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from analysis.data.configs import SOUND, Options
from analysis.tables import texts
from analysis.tables.declarations import (
    Images,
    MeanColumn,
    Pair,
    Question,
    Row,
    RowField,
    Topic,
)
from analysis.tables.layout import (
    WEIGHTED_QUESTION,
    Scope,
    Table,
    TableLayout,
    against_baseline,
)
from analysis.tables.notes import INTERVAL
from analysis.tables.percent import percent
from distill.config.evaluation import FILE
from distill.config.sets import SETS

BASELINE, ALL = "random", "all"

HARD = "hard"
"""Labels that are the classes themselves."""

_SUFFIXES = (".pt", ".pth", ".parquet")

_COMMON_NAMES = ("distilled", "decoded", "images_best", "set", "data_best")
"""Names of files that say nothing about the set in them: the folder is named, too."""


def set_label(name: str) -> str:
    """Returns the printed name of a set: of a way to choose real images, or of a file.

    Example:
        >>> set_label("random"), set_label("runs/kmeans/distilled.parquet"), set_label("a/dc.pt")
        ('random real images', 'kmeans/distilled', 'dc')
    """
    if name in SETS:
        return SETS.label(name)
    path = PurePath(name.split(",", 1)[0])
    stem = path.stem if path.suffix in _SUFFIXES else path.name
    label = f"{path.parent.name}/{stem}" if stem in _COMMON_NAMES else stem
    return f"{label} (file)" if label in map(SETS.label, SETS) else label


def set_row(name: str) -> str:
    """Returns what the row of a set is: a way to choose real images, or the name of a file.

    Of files without their folders: a set that was moved stays in its row, and sets of one name are
    variants, told apart by their content. A folder ends in `/`, so that no name of a file or
    folder is that of a way to choose.

    Example:
        >>> set_row("random"), set_row("/a/random.pt"), set_row("/a/random")
        ('random', 'random.pt', 'random/')
    """
    if name in SETS:
        return name
    path = PurePath(name.split(",", 1)[0])
    shown = path.name if path.suffix in _SUFFIXES else f"{path.name}/"
    return f"{path.parent.name}/{shown}" if path.stem in _COMMON_NAMES else shown


class EvaluationLayout(TableLayout):
    """The layout of the tables of evaluations."""

    def method_label(self, method: str) -> str:
        """Returns the printed name of a set."""
        return set_label(method)

    def changed_options(self, config: Mapping[str, Any]) -> Options:
        """Returns the options of a trial's set that are not the defaults.

        Of a set in files all that are given, without reading the files: results are analysed where
        these need not be.
        """
        if config["set"] in SETS:
            changed = super().changed_options(config)
            return tuple(pair for pair in changed if pair[0] != "ipc")
        values = ((name, config.get(name)) for name in self.option_names)
        return tuple(
            (name, value)
            for name, value in values
            if value not in (None, "", 0) and name != "ipc" and (name, value) != ("factor", 1)
        )

    def option_text(self, name: str, value: Any) -> str:
        """Returns an option in a label; a hash by its first digits, weights in training as such."""
        if name == "weights_in":
            return "weighted"
        return f"content {value[:6]}" if name == "set_hash" else super().option_text(name, value)

    def row_columns(self, scope: Scope, row: Row) -> dict[str, Any]:
        """Returns the set and its images a class, and how it is labelled."""
        return {
            "set": row.values[0],
            "label": row.label,
            "ipc": scope.size,
            "labels": scope.setting["labels"],
            "network": scope.setting["network"],
            "baseline": row.is_baseline,
        }

    def title(self, scope: Scope) -> str:
        """Returns what a table is of."""
        setting = scope.setting
        parts = [f"Sets judged on {texts.dataset_label(setting['dataset'])}"]
        if scope.size is not None:
            parts.append(texts.images_per_class(scope.size))
        others = {k: v for k, v in scope.distinguishing.items() if k not in self.title_fields}
        return ", ".join(
            [
                *parts,
                setting["network"],
                f"{setting['labels']} labels",
                *texts.setting_texts(others),
            ]
        )

    def file_parts(self, scope: Scope) -> Sequence[str]:
        """Returns data set, images a class, network and labels."""
        setting = scope.setting
        size = "" if scope.size is None else f"ipc{scope.size}"
        dataset = texts.dataset_word(setting["dataset"])
        return ("sets", dataset, size, setting["network"], setting["labels"])

    def notes(self, table: Table) -> list[str]:
        """Returns what intervals and the further columns are, and how good the teacher was."""
        notes = [
            INTERVAL,
            "cover: mean distance of a real image to the nearest of the set in its class; divers.: "
            "mean distance of two images of a class; both in units of the spread of a class, in "
            "features of a fixed random network. repr.: 1 − the shifts of the means of the "
            "classes; 1 − 1/n on average for n random images a class.",
        ]
        taught = sorted(
            {
                trial.numbers["teacher_accuracy"]
                for row in table.entries
                for trial in row.trials
                if trial.numbers["teacher_accuracy"] == trial.numbers["teacher_accuracy"]
            }
        )
        if taught:
            shown = ", ".join(percent(accuracy) for accuracy in taught[:3])
            notes.append(f"teacher's own accuracy: {shown} %.")
        return notes


def _against_random(rows: Sequence[Row]) -> list[Pair]:
    """Returns every set and the random images; all real images are a mark, not a rival."""
    return [pair for pair in against_baseline(rows) if rows[pair.row].values[0] != ALL]


def _files_and(rows: Sequence[Row], names: Collection[str]) -> list[Pair]:
    """Returns every set in files with every one of these ways to choose real images."""
    files = [i for i, row in enumerate(rows) if row.values[0] not in SETS]
    real = [i for i, row in enumerate(rows) if row.values[0] in names]
    return [
        Pair(row=i, baseline=j, label=f"{rows[i].label} − {rows[j].label}")
        for i in files
        for j in real
    ]


def _against_coresets(rows: Sequence[Row]) -> list[Pair]:
    return _files_and(rows, set(SETS) - {FILE, BASELINE, ALL})


def _against_all(rows: Sequence[Row]) -> list[Pair]:
    return _files_and(rows, {ALL})


SETS_TOPIC = Topic(
    name="sets",
    title="Sets, against as many random real images (paired by seed)",
    subject="Sets",
    comparisons="comparisons with as many random real images",
)

CORESETS_TOPIC = Topic(
    name="coresets",
    title="Sets in files, against coresets of real images (paired by seed)",
    subject="Sets in files against coresets",
    comparisons="comparisons with a coreset",
)
ALL_TOPIC = Topic(
    name="all images",
    title="Sets in files, against all real images (paired by seed)",
    subject="Sets in files against all real images",
    comparisons="comparisons with all real images",
)
LABELS_TOPIC = Topic(
    name="labels",
    title="Differences from random real images under these labels, less those under hard ones",
    subject="Labels",
    comparisons="differences from random images under other labels than hard ones",
)


def recipe_fields(layout: TableLayout, setting: Mapping[str, Any]) -> list[str]:
    """Returns the fields of a setting that it would have under hard labels, with its network.

    What a teacher brings is not among them, even where another network has options of that name.
    """
    facts = layout.facts
    of_labels = facts.implied_options("labels")
    hard = {name: value for name, value in setting.items() if name not in of_labels}
    hard |= {"protocol": SOUND, "labels": HARD}
    without = {"labels", *facts.inapplicable(hard)}
    return [name for name in layout.setting_fields if name not in without]


def label_fields(layout: TableLayout, setting: Mapping[str, Any]) -> list[str]:
    """Returns the labels and their options: those that are not of the recipe."""
    recipe = recipe_fields(layout, setting)
    return ["labels", *sorted(layout.facts.implied_options("labels").difference(recipe))]


LAYOUT = EvaluationLayout(
    kind="evaluation",
    row=(RowField(name="set", value=lambda name, _: set_row(name)),),
    baseline={"set": BASELINE},
    title_fields=("dataset", "network", "labels"),
    size_field="ipc",
    variant_fields=("weights_in",),
    means=(
        MeanColumn(name="cover", number="coverage"),
        MeanColumn(name="divers.", number="diversity"),
        MeanColumn(name="repr.", number="representativeness"),
    ),
    shows_parameters=False,
    keys={"set": "label"},
    headings={"reproduced": "reproduced\nlast epoch (n)", "sound": "here\nlast epoch (n)"},
    questions=(
        Question(topic=SETS_TOPIC, pairs=_against_random, differences="from random real images"),
        Question(topic=CORESETS_TOPIC, pairs=_against_coresets),
        Question(topic=ALL_TOPIC, pairs=_against_all),
        WEIGHTED_QUESTION,
    ),
    further_topics=(LABELS_TOPIC,),
    joint_findings="analysis.findings.labels:label_findings",
    joint_figures="analysis.figures.evaluation:plots",
    images=Images(folder="samples", label="Images trained on"),
)
"""The layout of the tables of evaluations."""
