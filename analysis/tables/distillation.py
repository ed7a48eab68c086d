"""Tables of distillations: paper 1's, in which a row is a clusterer with or without weights."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import pandas as pd

from analysis.data.configs import PUBLISHED, SOUND, Options
from analysis.data.published import load_published
from analysis.tables import texts
from analysis.tables.declarations import (
    Images,
    MeanColumn,
    Pair,
    Question,
    Row,
    RowField,
    Topic,
    Values,
)
from analysis.tables.evaluation import set_label
from analysis.tables.layout import (
    Printed,
    Scope,
    Table,
    TableLayout,
    against_variant,
    printed_order,
)
from analysis.tables.notes import INTERVAL
from analysis.tables.topics import AGREEMENT, BEST, QUALITY, RANKS, SPREAD, TEST_IMAGES
from distill.clustering.registry import CLUSTERERS
from distill.components import fields_of
from distill.config.base import DATA_FIELDS
from distill.config.defaults import default_lr_img
from distill.config.distillation import DistillationConfig
from distill.config.sets import START_SET, StoredSetOptions
from distill.networks.registry import PoolOptions
from distill.selection.registry import DIFFICULTIES, PICKS, QUOTAS, StratifiedOptions

WEIGHTS = ("T", "F", "inert")
"""With weights, without, and with paper 1's, which have no effect, outside its own protocol."""

_START = f"{START_SET}:"
_SET_FIELDS = tuple(fields_of(StoredSetOptions))
"""Options of a set that a trial starts from."""

VARIANT_LABELS = {
    ("init", "clusters"): "",
    ("init", "kmeans"): "K-Means start",
    ("init", "centroids"): "centroid start",
    ("init", "random"): "random start",
    ("init", "noise"): "start from noise",
    ("match", "gradients"): "",
    ("match", "none"): "start only",
    ("weights_in", "matching"): "",
    ("weights_in", "training"): "weights in training",
    ("weights_in", "both"): "weights in matching and training",
    ("pick", "nearest"): "",
    **{("pick", name): f"{name} picks" for name in PICKS if name != "nearest"},
    ("quota", "one"): "",
    **{("quota", name): f"{name} quotas" for name in QUOTAS if name != "one"},
    **{("difficulty", name): f"by {DIFFICULTIES.label(name)}" for name in DIFFICULTIES},
    ("networks", "fresh"): "",
    ("networks", "pool"): "pool of networks",
}
"""What the label of a row says of its start, of what is matched by which networks and where weights
act."""

PICK_OPTIONS = tuple(
    dict.fromkeys(
        name
        for options in (StratifiedOptions, *(DIFFICULTIES[d].options for d in DIFFICULTIES))
        for name in fields_of(options)
    )
)
"""Options of picks and quotas."""

PAPER_DATASET, PAPER_EMBEDDING = "cifar10", "features"
"""What the published numbers are of, whatever a table is of."""

SAME_COMPUTATION = {
    *DATA_FIELDS,
    *("classes", "embedding", "projection_dim", "ipc", "n_eval", "n_eval_curve", "eval_every"),
    *("eval_networks", "eval_split"),
}
"""Settings that may differ from the paper's without making it another computation."""


def weights_of(weights: str, protocol: str) -> str:
    """Returns `T`, `F` or `inert` for the weights of a trial.

    The paper's inert weights are its `T` rows. Under the sound protocol, where `T` are weights
    that act, they are apart.
    """
    if weights == "none":
        return "F"
    return "T" if weights == "size" or protocol == PUBLISHED else "inert"


class DistillationLayout(TableLayout):
    """The layout of paper 1's tables, one for each data set, images a class and embedding."""

    def published(self, scope: Scope) -> Printed:
        """Returns the paper's rows, with numbers where it has some for as many images a class."""
        return _published(int(scope.setting["ipc"]))

    def published_elsewhere(self, scope: Scope) -> str:
        """Returns data set and embedding of the paper's tables, as far as they differ."""
        where = []
        if scope.setting["dataset"] != PAPER_DATASET:
            where.append(texts.DATASET_LABELS[PAPER_DATASET])
        if scope.setting["embedding"] != PAPER_EMBEDDING:
            where.append(PAPER_EMBEDDING)
        return ", ".join(where)

    def is_papers(self, scope: Scope, row: Row, protocol: str) -> bool:
        """Whether trials of a row computed what the paper did: clusterer, data set and sizes."""
        variants = self.facts.registry("clusterer")
        assert variants is not None
        ran = {t.config["clusterer"] for t in row.trials if t.protocol == protocol}
        return (
            protocol == PUBLISHED
            and bool(row.published)
            and is_papers_computation(scope.setting)
            and ran <= set(variants.published_variants().values())
        )

    def option_text(self, name: str, value: Any) -> str:
        """Returns an option in a label; words stand alone, usual starts and losses not at all."""
        if (name, value) in VARIANT_LABELS:
            return VARIANT_LABELS[name, value]
        if name == "init":
            return f"start from {set_label(value.removeprefix(_START))}"
        if name == "set_hash":
            return f"content {value[:6]}"
        return texts.options_text([(name, value)])

    def changed_options(self, config: Mapping[str, Any]) -> Options:
        """Returns the options of a trial that are not the defaults.

        Those of a set that it starts from without reading the files: results are analysed where
        these need not be.
        """
        if not str(config.get("init")).startswith(_START):
            return super().changed_options(config)
        start = ("init", *_SET_FIELDS)
        others = super().changed_options({**config, **dict.fromkeys(start)})
        given = ((name, config.get(name)) for name in start)
        return (*((n, v) for n, v in given if v not in (None, "", 0, ())), *others)

    def label(self, values: Values, options: str) -> str:
        """Returns the label of a row."""
        if (values[0], options) == ("random", VARIANT_LABELS["match", "none"]):
            return "Random real images"
        return super().label(values, options)

    def row_columns(self, scope: Scope, row: Row) -> dict[str, Any]:
        """Returns what a row is of, and what its published numbers are of."""
        return {
            **{name: scope.setting[name] for name in self.title_fields},
            **super().row_columns(scope, row),
            "published_task": f"{PAPER_DATASET}, {PAPER_EMBEDDING}",
        }

    def title(self, scope: Scope) -> str:
        """Returns what a table is of."""
        parts = [
            texts.dataset_label(scope.setting["dataset"]),
            texts.images_per_class(scope.setting["ipc"]),
            f"clustering of {scope.setting['embedding']}",
            *texts.setting_texts(scope.distinguishing),
        ]
        return ", ".join(parts)

    def title_prefix(self, scope: Scope) -> str:
        """Returns which of the paper's tables this is, if it is one."""
        published = load_published("paper1")
        names = published["table"][published["ipc"] == scope.setting["ipc"]]
        if self.published_elsewhere(scope) or not len(names):
            return "Paper 1: "
        return f"Paper 1, {names.iloc[0]}: "

    def file_parts(self, scope: Scope) -> Sequence[str]:
        """Returns paper, data set, images a class and embedding."""
        setting = scope.setting
        dataset = texts.dataset_word(setting["dataset"])
        return ("paper1", dataset, f"ipc{setting['ipc']}", setting["embedding"])

    def notes(self, table: Table) -> list[str]:
        """Returns what weights, intervals and reproduced scores are."""
        notes = [f"T: weighted by cluster size, F: without weights. {INTERVAL}"]
        if table.rows["reproduced_seeds"].notna().any():
            notes.append(
                "reproduced: paper 1's protocol, its defects included (its weights have no "
                "effect, its Agglomerative is single linkage), and like it the best of four tests "
                "on the test images."
            )
        return notes

    def more_notes(self, table: Table) -> list[str]:
        """Returns how trials differ from the paper's, and the options of the clusterers."""
        notes = []
        baseline = dict(table.entries[table.baseline].options)
        variant = {name: baseline[name] for name in self.variant_fields if name in baseline}
        others = _other_settings({**table.setting, **variant})
        if others:
            notes.append(f"Not the paper's settings: {', '.join(others)}.")
        if table.rows["published_accuracy"].isna().all():
            ipc = table.setting["ipc"]
            notes.append(f"The paper printed nothing for {ipc} images a class.")
        return [*notes, *super().more_notes(table), *_parameter_note(self, table.rows)]


def is_papers_computation(setting: Mapping[str, Any]) -> bool:
    """Whether trials of a setting computed what the paper did, so that its numbers can result."""
    is_papers = (setting["dataset"], setting["embedding"]) == (PAPER_DATASET, PAPER_EMBEDDING)
    return is_papers and not _other_settings(setting)


def _other_settings(setting: Mapping[str, Any]) -> list[str]:
    """Returns the settings that make these trials another computation than the paper's."""
    ipc, image_size = int(setting["ipc"]), setting["image_size"]
    paper = dict(_papers_setting(ipc))
    if setting["lr_img"] == default_lr_img(setting["dataset"], ipc, image_size):
        paper["lr_img"] = setting["lr_img"]
    return [
        f"{name} {texts.value_text(value)} (paper {texts.value_text(paper.get(name))})"
        for name, value in setting.items()
        if name not in SAME_COMPUTATION and value is not None and value != paper.get(name)
    ]


@cache
def _papers_setting(ipc: int) -> Mapping[str, Any]:
    return DistillationConfig(dataset=PAPER_DATASET, ipc=ipc).resolve().to_dict()


@cache
def _published(ipc: int) -> Printed:
    numbers = load_published("paper1")
    printed: dict[Values, dict[str, float]] = {}
    columns = (numbers[name] for name in ("method", "weights", "ipc", "column", "value"))
    for method, weights, of_ipc, column, value in zip(*columns, strict=True):
        row = printed.setdefault((method, weights), {})
        if of_ipc == ipc:
            row[column] = value
    return printed


def _parameter_note(layout: TableLayout, rows: pd.DataFrame) -> list[str]:
    """Returns the options of the methods whose labels do not show them."""
    found = []
    for method, of_method in rows.groupby("method", sort=False):
        if of_method["label"].nunique() > 1:
            continue
        sound, published = (
            next(filter(None, of_method[f"{prefix}_parameters"]), "")
            for prefix in ("sound", "reproduced")
        )
        text = sound or published
        if published not in ("", text):
            text += f" (published protocol: {published})"
        if text:
            found.append(f"{layout.method_label(str(method))} {text}")
    return [f"Parameters: {'; '.join(found)}."] if found else []


# --- questions -----------------------------------------------------------------------------------


def _with_and_without_weights(rows: Sequence[Row]) -> list[Pair]:
    """Returns every row with weights and that of the same variant without."""
    keys = [(row.values[0], row.shown, row.values[1]) for row in rows]
    return [
        Pair(row=i, baseline=keys.index((method, shown, "F")), label=rows[i].label)
        for i, (method, shown, weights) in enumerate(keys)
        if weights == "T" and (method, shown, "F") in keys
    ]


def _weights_in_training(rows: Sequence[Row]) -> list[Pair]:
    """Returns every row whose weights act in training and that of the same variant without any."""
    return against_variant(
        rows, "weights_in", "matching", values_of=lambda values: (values[0], "F")
    )


def _methods(rows: Sequence[Row]) -> list[Pair]:
    """Returns every method without weights and the baseline."""
    return [pair for pair in _unweighted(rows) if _is_method(rows[pair.row], rows[pair.baseline])]


def _controls(rows: Sequence[Row]) -> list[Pair]:
    """Returns every other row without weights and the baseline."""
    methods = _methods(rows)
    return [pair for pair in _unweighted(rows) if pair not in methods]


def _unweighted(rows: Sequence[Row]) -> list[Pair]:
    baseline = next(i for i, row in enumerate(rows) if row.is_baseline)
    return [
        Pair(row=i, baseline=baseline, label=row.label)
        for i, row in enumerate(rows)
        if row.values[1] == "F" and not row.is_baseline
    ]


def _is_method(row: Row, baseline: Row) -> bool:
    """Whether a row is a method by itself: not a control, nor a defect of the paper.

    Controls have no matching, or another start, pick or network than the baseline. A method that
    finds too few clusters to start from them and so has the start of k-means is none. The paper's
    clusterings stand for its defects where they are chosen by name.
    """
    method, options, usual = row.values[0], dict(row.options), dict(baseline.options)
    changed = {
        name for name in LAYOUT.variant_fields if options.get(name) not in (None, usual.get(name))
    }
    if method in CLUSTERERS.published_variants().values():
        return False
    has_start_of_kmeans = changed == {"init"} and options["init"] == "kmeans"
    return not changed or (has_start_of_kmeans and method != "random")


def _code_and_method(rows: Sequence[Row]) -> list[Pair]:
    """Returns every clustering of the paper's code and the method of that name, same options.

    The usual variant of the method where there are several, as of linkages.
    """
    method_of = {variant: name for name, variant in CLUSTERERS.published_variants().items()}
    pairs = []
    for i, row in enumerate(rows):
        values = (method_of.get(row.values[0]), *row.values[1:])
        of_name = [
            j
            for j, other in enumerate(rows)
            if other.values == values and set(row.options) <= set(other.options)
        ]
        if of_name:
            baseline = min(of_name, key=lambda j: not rows[j].is_usual)
            pairs.append(Pair(row=i, baseline=baseline, label=row.label))
    return pairs


def _printed_methods(rows: Sequence[Row]) -> list[Pair]:
    """Returns each printed row without weights and the next lower one in print."""
    places = [i for i, row in enumerate(rows) if row.values[1] == "F"]
    return [
        Pair(row=places[pair.row], baseline=places[pair.baseline], label=pair.label)
        for pair in printed_order([rows[i] for i in places])
    ]


RANKING = Topic(
    name="ranking",
    title="The printed order of the methods, each less the next one (paired by seed)",
    subject="The printed order of methods",
    comparisons="neighbours in print",
)
WEIGHTS_IN_TRAINING = Topic(
    name="weights-in-training",
    title="Weights in training, against the same method without weights (paired by seed)",
    subject="Weights in training",
    comparisons="comparisons with and without",
)
METHODS = Topic(
    name="methods",
    title="Methods without weights, against K-Means F (paired by seed)",
    subject="Methods",
    comparisons="comparisons with K-Means F",
)
CONTROLS = Topic(
    name="controls",
    title="Controls and variants without weights, against K-Means F (paired by seed)",
    subject="Controls and variants",
    comparisons="comparisons with K-Means F",
)
CODE = Topic(
    name="code",
    title="Clusterings as paper 1's code ran them, against the methods that it names (paired by "
    "seed)",
    subject="Clusterings of paper 1's code",
    comparisons="comparisons with the method of that name",
)
WEIGHTS_TOPIC = Topic(
    name="weights",
    title="Weights by cluster size (T − F, paired by seed)",
    subject="Weights",
    comparisons="comparisons with and without",
)
INTERACTION = Topic(
    name="weights and images a class",
    title="Weights by cluster size at more images a class (T − F there, less T − F here)",
    subject="Weights against images a class",
    comparisons="comparisons of T − F at two sizes",
)
LEVEL = Topic(
    name="level",
    title="The published protocol, against the printed accuracies",
    subject="The published protocol",
    comparisons="printed accuracies",
)
LOSSES = Topic(
    name="losses",
    title="Matching losses, not comparable between methods: level (mean of the last quarter) and "
    "step (mean absolute change from one iteration to the next there, in % of the level)",
)
TIME = Topic(
    name="time",
    title="Seconds of distillation to an accuracy (geometric means, each interval by itself: no "
    "verdicts)",
)

LAYOUT = DistillationLayout(
    kind="distillation",
    row=(
        RowField(name="clusterer", column="method"),
        RowField(name="weights", value=weights_of, order=WEIGHTS.index),
    ),
    baseline={"clusterer": "kmeans", "weights": "F"},
    variant_fields=(
        *("init", *_SET_FIELDS, "match", "weights_in"),
        *("pick", "quota", *PICK_OPTIONS),
        *("networks", *fields_of(PoolOptions)),
    ),
    usual_options={"dbscan": {"eps": 15.0, "min_samples": 2}},
    title_fields=("dataset", "ipc", "embedding"),
    reproduced_score="accuracy_best",
    means=(MeanColumn(name="loss", number="matching_loss"),),
    labels_usual=True,
    keys={"method": "label", "weights": "weights"},
    headings={"reproduced": "reproduced\nbest of 4 (n)", "sound": "sound\nlast epoch (n)"},
    questions=(
        Question(topic=RANKING, pairs=_printed_methods, protocols=(PUBLISHED,)),
        Question(topic=METHODS, pairs=_methods, differences="methods from K-Means F"),
        Question(
            topic=CONTROLS,
            pairs=_controls,
            differences="controls and variants from K-Means F",
            joins_first=True,
        ),
        Question(topic=CODE, pairs=_code_and_method, protocols=(SOUND,)),
        Question(
            topic=WEIGHTS_TOPIC,
            pairs=_with_and_without_weights,
            differences="T from F of the same method",
            pooled="mean over methods",
        ),
        Question(
            topic=WEIGHTS_IN_TRAINING,
            pairs=_weights_in_training,
            differences="weights in training from F",
        ),
    ),
    further_findings="analysis.findings.distillation:further_findings",
    further_topics=(
        AGREEMENT,
        LEVEL,
        BEST,
        SPREAD,
        TEST_IMAGES,
        LOSSES,
        INTERACTION,
        RANKS,
        QUALITY,
    ),
    joint_findings="analysis.findings.joint:joint_findings",
    joint_tables="analysis.tables.quality:joint_tables",
    remark="analysis.findings.distillation:published_noise",
    figures="analysis.figures.distillation:plots_of_table",
    joint_figures="analysis.figures.distillation:joint_plots",
    sweep_figures="analysis.figures.growth:plots",
    images=Images(folder="distilled", label="Distilled images"),
)
"""The layout of paper 1's tables."""
