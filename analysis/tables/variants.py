"""Trials of a table grouped into rows: by their values, and by the variant of their method."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from analysis.data.configs import PUBLISHED, SOUND, Options
from analysis.data.trials import TrialRecord
from analysis.tables.declarations import Row, Values
from analysis.tables.layout import Printed, Scope, TableLayout

Variant = Options
"""The options of a trial that are not the defaults of its method under its protocol."""

RowKey = tuple[Values, Variant]


class RowGrouping:
    """The rows of one table.

    A row holds the trials with the same values and the same variant of the method. One variant of
    each method is the usual one. Published numbers are in its row, and so are trials with the
    defaults of the published protocol.

    Args:
        layout: of the table.
        scope: of the table.
        trials: of the table, by seed and trial_id.
    """

    def __init__(self, layout: TableLayout, scope: Scope, trials: Sequence[TrialRecord]) -> None:
        self._layout = layout
        self._trials = trials
        self._known: dict[int, tuple[Values, Variant, Options]] = {}
        self.published: Printed = layout.published(scope)
        self._baseline = layout.baseline_of(scope)

    @cached_property
    def rows(self) -> list[Row]:
        """The rows in their order: published ones and the baseline, then the others."""
        layout, by_key = self._layout, self._by_key
        base_values = tuple(self._baseline.get(field.name) for field in layout.row_fields)
        first = [
            (values, self._usual.get(values[0], ())) for values in (*self.published, base_values)
        ]
        others = [key for key in by_key if key not in first]
        shown = self._shown_options([*first, *others])
        others.sort(key=lambda key: layout.values_order(key[0], shown[key[0][0], key[1]]))
        return [
            Row(
                values=values,
                options=self._options.get((values[0], variant), ()),
                shown=shown[values[0], variant],
                label=layout.label(values, layout.shown_text(shown[values[0], variant])),
                is_usual=variant == self._usual.get(values[0], ()),
                is_baseline=(values, variant) == first[-1],
                published=self.published.get(values, {})
                if variant == self._usual.get(values[0], ())
                else {},
                trials=tuple(by_key.get((values, variant), ())),
            )
            for values, variant in dict.fromkeys([*first, *others])
        ]

    def _facts(self, trial: TrialRecord) -> tuple[Values, Variant, Options]:
        """Returns the values of the row of a trial, its variant, and all its options."""
        found = self._known.get(id(trial.config))
        if found is None:
            layout, config = self._layout, trial.config
            found = layout.values(config), layout.changed_options(config), layout.options(config)
            self._known[id(config)] = found
        return found

    @cached_property
    def _by_key(self) -> dict[RowKey, list[TrialRecord]]:
        by_key: dict[RowKey, list[TrialRecord]] = {}
        for trial in self._trials:
            values, variant, _ = self._facts(trial)
            if trial.protocol == PUBLISHED and not variant:
                variant = self._usual[values[0]]
            by_key.setdefault((values, variant), []).append(trial)
        return by_key

    @cached_property
    def _usual(self) -> dict[str, Variant]:
        """The usual variant of every method.

        That of `TableLayout.usual_options` where there are trials of it, else the defaults; else
        the variant with the fewest changed options, of these the one with most results. Trials
        under the published protocol decide only where there are no others.
        """
        by_method: dict[str, list[TrialRecord]] = {}
        for trial in self._trials:
            by_method.setdefault(self._facts(trial)[0][0], []).append(trial)
        usual = {}
        for method, of_method in by_method.items():
            trials = [trial for trial in of_method if trial.protocol == SOUND] or of_method
            counts: Counter[Variant] = Counter()
            for trial in trials:
                counts[self._facts(trial)[1]] += trial.state == "ok"
            given = self._layout.usual_options.get(method)
            wanted = [()] if given is None else [self._variant_of(method, given), ()]
            nearest = min(counts, key=lambda v: (len(v), -counts[v], str(v)))
            usual[method] = next((variant for variant in wanted if variant in counts), nearest)
        return usual

    def _variant_of(self, method: str, options: Mapping[str, Any]) -> Variant:
        values = {"protocol": SOUND, self._layout.row_fields[0].name: method, **options}
        return self._layout.changed_options(values)

    @cached_property
    def _options(self) -> dict[tuple[str, Variant], Options]:
        """All options of each variant of a method, of its sound trials if there are any."""
        options: dict[tuple[str, Variant], Options] = {}
        for protocol in (SOUND, PUBLISHED):
            for (values, variant), trials in self._by_key.items():
                first = next((trial for trial in trials if trial.protocol == protocol), None)
                if first is not None:
                    options.setdefault((values[0], variant), self._facts(first)[2])
        return options

    def _shown_options(self, keys: Iterable[RowKey]) -> dict[tuple[str, Variant], Options]:
        """Returns the options that the labels of variants show.

        They are those in which a variant differs from the usual one; of the usual one, where it is
        labelled, those in which any other variant differs from it.
        """
        by_method: dict[str, dict[Variant, Options]] = {}
        for values, variant in keys:
            options = self._options.get((values[0], variant), ())
            by_method.setdefault(values[0], {})[variant] = options
        shown: dict[tuple[str, Variant], Options] = {}
        for method, variants in by_method.items():
            usual = self._usual.get(method, ())
            main = variants.get(usual, ())
            others = [set(options) for variant, options in variants.items() if variant != usual]
            for variant, options in variants.items():
                if variant != usual:
                    shown[method, variant] = self._different(method, variant, options, main)
                elif self._layout.labels_usual:
                    differing = [pair for pair in main if any(pair not in o for o in others)]
                    shown[method, variant] = tuple(differing)
                else:
                    shown[method, variant] = ()
        return shown

    def _different(self, method: str, variant: Variant, options: Options, main: Options) -> Options:
        """Returns the options of a variant that differ from the usual ones, without implied ones.

        A component that a method uses implies the defaults of the component's options.
        """
        field, changed = self._layout.row_fields[0].name, dict(variant)
        values = {"protocol": SOUND, field: method, **dict(options)}
        differing = tuple(
            (name, value)
            for name, value in options
            if (name, value) not in main
            and (name in changed or not self._layout.facts.is_nested(name, field, values))
        )
        names = dict(options)
        return differing or tuple((name, None) for name, _ in main if name not in names)
