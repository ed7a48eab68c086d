"""Tables of selections: paper 2's, and real images in place of distilled ones.

In paper 2's tables a row is a selector and how many images it chooses. Trials with the recipe
`distillation` are evaluated as distilled images are: their tables, one for each number of images a
class, show *coresets* as the literature prints them beside distilled images.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from analysis.data.configs import PUBLISHED
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
from analysis.tables.layout import (
    WEIGHTED_QUESTION,
    Printed,
    Scope,
    Table,
    TableLayout,
    against_baseline,
    printed_order,
)
from analysis.tables.notes import INTERVAL, provenance_note
from analysis.tables.percent import percent
from analysis.tables.topics import AGREEMENT, BEST, SPREAD, TEST_IMAGES

REFERENCE_DATASET = "cifar10"
"""What the literature's numbers on coresets are of."""

PAPER_IMAGES, PAPER_SIZE = 15_000, 150
"""Photos of paper 2, and their height and width."""


class SelectionLayout(TableLayout):
    """The layout of paper 2's tables."""

    def published(self, scope: Scope) -> Printed:
        """Returns the paper's rows with its numbers."""
        del scope
        return _published()

    def is_papers(self, scope: Scope, row: Row, protocol: str) -> bool:
        """Whether trials of a row computed what the paper did: selector, sizes, 15,000 photos."""
        sizes = {t.n_images for t in row.trials if t.protocol == protocol and t.state == "ok"}
        return (
            protocol == PUBLISHED
            and bool(row.published)
            and not self.published_elsewhere(scope)
            and scope.setting["image_size"] == PAPER_SIZE
            and sizes == {PAPER_IMAGES}
        )

    def label(self, values: Values, options: str) -> str:
        """Returns the label of a row: `random 10 %`, `clustering 10 % (n_clusters 4)`."""
        selector, fraction, ipc = values
        parts = [self.method_label(selector)]
        if fraction is not None:
            parts.append(_percent_text(fraction))
        elif ipc is not None:
            parts.append(f"{ipc} a class")
        if options:
            parts.append(f"({options})")
        return " ".join(parts)

    def option_text(self, name: str, value: Any) -> str:
        """Returns an option in a label: `weighted` where images have weights in training."""
        return "weighted" if name == "weights_in" else super().option_text(name, value)

    def row_columns(self, scope: Scope, row: Row) -> dict[str, Any]:
        """Returns selector, number of images and options of a row."""
        del scope
        selector, fraction, ipc = row.values
        return {
            "selector": selector,
            "fraction": math.nan if fraction is None else fraction,
            "ipc": ipc,
            "options": self.shown_text(row.shown),
            "baseline": row.is_baseline,
        }

    def title(self, scope: Scope) -> str:
        """Returns what a table is of."""
        return ", ".join(
            [
                f"Paper 2: {texts.dataset_label(scope.setting['dataset'])}",
                *texts.setting_texts(scope.distinguishing),
            ]
        )

    def file_parts(self, scope: Scope) -> Sequence[str]:
        """Returns paper and data set."""
        return ("paper2", texts.dataset_word(scope.setting["dataset"]))

    def notes(self, table: Table) -> list[str]:
        """Returns what intervals, published and reproduced numbers are."""
        notes = [
            f"{INTERVAL} images: trained on, transformed ones included.",
            "published: on 15,000 photos of cats and dogs, one run each.",
        ]
        if table.rows["reproduced_seeds"].notna().any():
            notes.append(
                "reproduced: paper 2's protocol, its defects included: its clustering draws from "
                "the test images, too, and four times the number it says."
            )
        return notes

    def more_notes(self, table: Table) -> list[str]:
        """Returns how compared trials differ; the protocols may hold out different images."""
        return provenance_note(table.entries)


class CoresetLayout(SelectionLayout):
    """The layout of tables of real images that are evaluated as distilled ones are."""

    def baseline_of(self, scope: Scope) -> Mapping[str, Any]:
        """Returns as many random images; a tenth where a table is of no number a class."""
        if scope.size is None:
            return self.baseline
        return {"selector": "random", "ipc": scope.size}

    def published(self, scope: Scope) -> Printed:
        """Returns the literature's rows with what it reports for as many images a class."""
        return _reported(scope.size)

    def published_elsewhere(self, scope: Scope) -> str:
        """Returns the literature's data set where it is another one."""
        if scope.setting["dataset"] == REFERENCE_DATASET:
            return ""
        return texts.DATASET_LABELS[REFERENCE_DATASET]

    def is_papers(self, scope: Scope, row: Row, protocol: str) -> bool:
        """Returns False: the literature's numbers come from other code."""
        del scope, row, protocol
        return False

    def label(self, values: Values, options: str) -> str:
        """Returns the label of a row, without the images a class, which are in the title."""
        selector, fraction, _ = values
        return super().label((selector, fraction, None), options)

    def title(self, scope: Scope) -> str:
        """Returns what a table is of."""
        dataset = texts.dataset_label(scope.setting["dataset"])
        parts = [f"Real images in place of distilled ones: {dataset}"]
        if scope.size is not None:
            parts.append(texts.images_per_class(scope.size))
        return ", ".join([*parts, *texts.setting_texts(scope.distinguishing)])

    def file_parts(self, scope: Scope) -> Sequence[str]:
        """Returns the data set and the images a class."""
        size = "" if scope.size is None else f"ipc{scope.size}"
        return ("coresets", texts.dataset_word(scope.setting["dataset"]), size)

    def notes(self, table: Table) -> list[str]:
        """Returns how images are evaluated, and what is reported."""
        return [
            f"Evaluated as distilled images are. {INTERVAL}",
            "reported: in the literature, for ConvNet-3 on CIFAR-10: random, k-means-selected and "
            "all training images.",
            *_clusterer_notes(table),
        ]

    def more_notes(self, table: Table) -> list[str]:
        """Returns what is reported for as many distilled images."""
        size = table.scope.size
        if size is None or self.published_elsewhere(table.scope):
            return provenance_note(table.entries)
        numbers = load_published("reference")
        distilled = numbers[numbers["method"].isna() & numbers["n_outer"].isna()]
        rows = distilled[distilled["ipc"] == size]
        reported = [f"{n} {percent(v)}" for n, v in zip(rows["row"], rows["value"], strict=True)]
        notes = [f"Reported for as many distilled images: {'; '.join(reported)}."]
        return [*(notes if reported else []), *provenance_note(table.entries)]


def _clusterer_notes(table: Table) -> list[str]:
    """Returns whose centers the chosen images are nearest to, unless a label says otherwise."""
    names = {
        table.layout.facts.label("clusterer", trial.config["clusterer"])
        for row in table.entries
        if row.values[0] == "nearest_center" and not row.shown
        for trial in row.trials
    }
    return [
        f"nearest center: of {name} clusters, unless it says otherwise." for name in sorted(names)
    ]


def _percent_text(fraction: float) -> str:
    return f"{100 * fraction:g} %"


@cache
def _published() -> Printed:
    """Returns paper 2's rows in its order, with its numbers."""
    printed: dict[Values, dict[str, float]] = {}
    numbers = load_published("paper2")
    columns = (numbers[name] for name in ("method", "fraction", "column", "value"))
    for selector, fraction, column, value in zip(*columns, strict=True):
        values = (selector, None if selector == "base" else fraction, None)
        printed.setdefault(values, {})[column] = value
    return printed


@cache
def _reported(ipc: int | None) -> Printed:
    """Returns the literature's rows of real images, with its numbers for so many a class.

    Only that of all images where a table is of no such number, but of fractions.
    """
    numbers = load_published("reference").dropna(subset=["method"])
    reported: dict[Values, dict[str, float]] = {}
    columns = (numbers[name] for name in ("method", "ipc", "column", "value"))
    for selector, of_ipc, column, value in zip(*columns, strict=True):
        if selector == "base":
            reported.setdefault((selector, None, None), {})[column] = value
        elif ipc is not None:
            row = reported.setdefault((selector, None, ipc), {})
            if of_ipc == ipc:
                row[column] = value
    return reported


# --- questions -----------------------------------------------------------------------------------


def _random_subsets(rows: Sequence[Row]) -> list[Pair]:
    """Returns each random subset that was published with the next smaller one."""
    fractions = {
        position: row.values[1]
        for position, row in enumerate(rows)
        if row.values[0] == "random" and row.published
    }
    by_size = sorted(fractions, key=lambda position: -fractions[position])
    return [
        Pair(
            row=larger,
            baseline=smaller,
            label=f"{_percent_text(fractions[larger])} − {_percent_text(fractions[smaller])}",
        )
        for larger, smaller in pairwise(by_size)
    ]


RANKING = Topic(
    name="ranking",
    title="The printed order of the rows, each less the next one (paired by seed)",
    subject="The printed order of rows",
    comparisons="neighbours in print",
)


SELECTORS = Topic(
    name="selectors",
    title="Ways of choosing training images, against random 10 % (paired by seed)",
    subject="Ways of choosing images",
    comparisons="comparisons with random 10 %",
)
ORDER = Topic(
    name="order",
    title="Random subsets, each less the next smaller (paired by seed)",
    subject="Random subsets",
    comparisons="comparisons with the next smaller",
)
WHY = Topic(
    name="why",
    title="What the accuracy of clustering 10 % is made of under the published protocol (each "
    "interval by itself: no verdicts; the choice on test images that were not trained on)",
    sentence="{table}, clustering 10 %: {cases}.",
)
CORESETS = Topic(
    name="coresets",
    title="Real images in place of distilled ones, against random ones (paired by seed)",
    subject="Real images in place of distilled ones",
    comparisons="comparisons with random ones",
)

_PAPER2 = SelectionLayout(
    kind="selection",
    row=(
        RowField(name="selector"),
        RowField(name="fraction", order=lambda fraction: -(fraction or 2)),
        RowField(name="ipc", order=lambda ipc: ipc or 0),
    ),
    baseline={"selector": "random", "fraction": 0.1},
    # The protocols may differ in these, and their rows are the same.
    variant_fields=("equal_steps", "norm_statistics", "val_fraction", "weights_in"),
    means=(
        MeanColumn(name="loss", number="loss"),
        MeanColumn(name="images", number="n_trained_on", is_count=True),
    ),
    shows_parameters=False,
    keys={"training images": "label"},
    questions=(
        Question(topic=RANKING, pairs=printed_order, protocols=(PUBLISHED,)),
        Question(
            topic=SELECTORS,
            pairs=against_baseline,
            differences="from random 10 %",
            names_untested=True,
        ),
        Question(topic=ORDER, pairs=_random_subsets, names_untested=True),
        WEIGHTED_QUESTION,
    ),
    further_findings="analysis.findings.selection:further_findings",
    further_topics=(AGREEMENT, WHY, BEST, SPREAD, TEST_IMAGES),
    figures="analysis.figures.selection:plots_of_table",
    images=Images(folder="samples", label="Images trained on"),
    marks=("clusterer", "selector"),
)

_CORESETS = CoresetLayout(
    kind="selection",
    row=_PAPER2.row,
    baseline=_PAPER2.baseline,
    variant_fields=_PAPER2.variant_fields,
    size_field="ipc",
    means=_PAPER2.means,
    shows_parameters=False,
    keys={"real images": "label"},
    headings={"sound": "here\nlast epoch (n)"},
    published_heading="reported",
    questions=(
        Question(
            topic=CORESETS,
            pairs=against_baseline,
            differences="from random",
            names_untested=True,
        ),
        WEIGHTED_QUESTION,
    ),
)

LAYOUT = dataclasses.replace(_PAPER2, special=(({"recipe": "distillation"}, _CORESETS),))
"""The layout of paper 2's tables, with that of coresets."""
