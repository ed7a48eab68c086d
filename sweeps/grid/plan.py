"""Make a plan: the list of trials that a user asks for, from a grid and options.

The plan is a plain list of configurations, made before anything starts: the dry run, the count, the
estimate and the sweep itself read the same list.
"""

import contextlib
import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from distill.components import option_type
from distill.config.base import AnyConfig, Config
from distill.errors import MAX_SHOWN, UserError, require_known, shortened
from sweeps.cli.fields import excluded_by
from sweeps.cli.set_options import OTHER_OPTIONS
from sweeps.grid.grid import Grid

MAX_SEEDS = 1000
"""Most seeds of a plan: above it a seed was given where a number of seeds is expected."""

_ALIASES = {"weight": "weights"}
"""Names that tables use for fields, beside `method`."""

_WEIGHTED = ("t", "true")
_UNWEIGHTED = ("f", "false")


def make_plan(
    grid: Grid[AnyConfig],
    *,
    protocols: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    dataset: str | None = None,
    set_values: Mapping[str, str] | None = None,
    only: Sequence[str] = (),
    limit: int | None = None,
) -> list[AnyConfig]:
    """Returns the trials of a grid, all different, in the order they are to run.

    Seeds change slowest, so a sweep that is stopped early has been through as many methods as
    possible. A configuration that a protocol refuses is left out under that protocol: the published
    one refuses a linkage, as it has only paper 1's.

    Args:
        grid: the preset.
        protocols: `sound`, `published` or both; None: the grid's.
        seeds: None: the grid's.
        dataset: replaces the grid's; its sizes stay.
        set_values: fields of the configuration and their values as text, replacing the grid's. One
            that belongs to some methods only is set where these run.
        only: conditions as `select_only` takes them.
        limit: keep that many trials from the start.

    Raises:
        UserError: a name or value is unknown or not allowed, or nothing is left to run.
    """
    if limit is not None and limit < 1:
        raise UserError(f"--limit must be at least 1, got {limit}")
    kind = type(grid.configs[0])
    wanted_protocols = _known_protocols(kind, grid.protocols if protocols is None else protocols)
    changes = _parse_changes(kind, set_values or {})
    if dataset is None and grid.needs_dataset:
        raise UserError(
            f"preset {grid.name!r} is for images of your own: give --dataset, such as "
            "parquet:FILE or folder:DIR"
        )
    dataset_change = {} if dataset is None else {"dataset": dataset}
    parts: list[tuple[Sequence[int], list[dict[str, Any]]]]
    rows, main = (
        [
            _changed(kind, config.to_dict() | dataset_change, changes)
            for block in _blocks_of_equal_ipc(configs)
            for protocol in wanted_protocols
            for config in (_under if grid.protocols else _of)(block, protocol)
        ]
        for configs in (grid.configs, grid.main)
    )
    if seeds is None:
        further = range(grid.n_seeds, grid.n_main_seeds)
        parts = [(range(grid.n_seeds), rows), (further, main)]
    else:
        parts = [(seeds, rows)]
    plan = _without_duplicates(
        kind.from_dict(row | {"seed": seed})
        for part_seeds, part_rows in parts
        for seed in part_seeds
        for row in part_rows
    )
    if not plan:
        raise UserError(
            f"preset {grid.name!r} has no trials under protocol {' and '.join(wanted_protocols)}"
        )
    plan = select_only(plan, only)
    _require_effect(changes, plan)
    return plan[:limit]


def select_only(plan: Sequence[AnyConfig], only: Iterable[str]) -> list[AnyConfig]:
    """Returns the trials that meet all conditions.

    Args:
        plan: the trials to choose from, all of one kind.
        only: texts such as `method=dbscan|kmeans,ipc=10`: fields of the configuration (or `method`,
            `weight`) with the allowed values, as given or as resolved. Weights may
            be T (any) or F (none), as in the tables.

    Raises:
        UserError: a field is unknown, no trial has the value, or no trial meets all conditions.
    """
    kept = list(plan)
    texts = [part.strip() for text in only for part in text.rstrip(",").split(",")]
    for text in texts:
        key, equals, alternatives = (part.strip() for part in text.partition("="))
        if not (key and equals and alternatives):
            raise UserError(
                f"--only takes FIELD=VALUE, several separated by commas, got {shortened(text)}; "
                "for example --only method=dbscan,ipc=10"
            )
        name = _field_name(type(plan[0]), key, "field in --only")
        wanted = {
            value for word in alternatives.split("|") for value in _matched(plan, key, name, word)
        }
        kept = [config for config in kept if wanted & _values_of(config, name)]
    if not kept:
        raise UserError(
            f"no trial of the plan meets all of --only {','.join(texts)}; leave out a condition"
            if texts
            else "the plan is empty"
        )
    return kept


def parse_seeds(text: str) -> list[int]:
    """Reads the seeds of `--seeds`, without repetitions.

    Args:
        text: `5` is five seeds, 0 to 4. With a comma these and no others: `3,7` or `3,`; ranges
            include both ends: `10-14` or `0-4,10`.

    Raises:
        UserError: the text is none of that, or asks for no or very many seeds.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 1 and not parts[-1]:
        parts.pop()
    ranges: list[range] = []
    for part in parts:
        match = re.fullmatch(r"(\d{1,18})(?:\s*-\s*(\d{1,18}))?", part, re.ASCII)
        if match is None:
            raise UserError(
                f"--seeds must be a number of seeds (5), seeds (3,7 or 3,) or a range (10-14), "
                f"got {shortened(text)}"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise UserError(f"--seeds: the range {part} runs backwards; write {last}-{first}")
        counted = len(parts) == 1 and "," not in text and match[2] is None
        ranges.append(range(first) if counted else range(first, last + 1))
    n_seeds = sum(map(len, ranges))
    if n_seeds == 0:
        raise UserError(
            f"--seeds must ask for at least 1 seed, got {shortened(text)}; for seed 0 write 0,"
        )
    if n_seeds > MAX_SEEDS:
        hint = f"; for the one seed {parts[0]} write {parts[0]}," if parts[0].isdigit() else ""
        raise UserError(
            f"--seeds {text[:MAX_SHOWN]} asks for {n_seeds} seeds, more than {MAX_SEEDS}{hint}"
        )
    return list(dict.fromkeys(itertools.chain.from_iterable(ranges)))


def plan_digest(configs: Iterable[Config]) -> str:
    """Returns 16 hexadecimal digits that name a set of trials, whatever their order."""
    ids = sorted({config.trial_id for config in configs})
    return hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16]


def _without_duplicates(configs: Iterable[AnyConfig]) -> list[AnyConfig]:
    unique: dict[str, AnyConfig] = {}
    for config in configs:
        unique.setdefault(config.trial_id, config)
    return list(unique.values())


def _known_protocols(kind: type[Config], protocols: Sequence[str] | None) -> list[str]:
    """Returns the protocols without repetitions; None: all that there are."""
    known = option_type(kind.static_fields()["protocol"]).words
    if protocols is None:
        return list(known)
    for name in protocols:
        require_known("protocol", name, known)
    if not protocols:
        raise UserError(f"--protocol needs at least one of {', '.join(known)}")
    return list(dict.fromkeys(protocols))


def _blocks_of_equal_ipc(configs: Iterable[AnyConfig]) -> list[list[AnyConfig]]:
    groups = itertools.groupby(configs, key=lambda config: config.to_dict().get("ipc"))
    return [list(block) for _, block in groups]


def _of(configs: Iterable[AnyConfig], protocol: str) -> Iterator[AnyConfig]:
    """Yields the configurations that are under a protocol."""
    yield from (config for config in configs if config.protocol == protocol)


def _under(configs: Iterable[AnyConfig], protocol: str) -> Iterator[AnyConfig]:
    """Yields configurations under a protocol, without those that it refuses."""
    for config in configs:
        with contextlib.suppress(UserError):
            yield config.replace(protocol=protocol)


def _parse_changes(kind: type[Config], set_values: Mapping[str, str]) -> dict[str, Any]:
    changes = {}
    for key, text in set_values.items():
        name = _field_name(kind, key, "field in --set")
        if name == kind.method_field:
            raise UserError(
                f"--set does not take {key}: choose among the methods of the preset with "
                "--only method=…"
            )
        if name in OTHER_OPTIONS:
            raise UserError(f"--set does not take {key}: {OTHER_OPTIONS[name]}")
        if name == "weights" and text.lower() in _WEIGHTED + _UNWEIGHTED:
            text = "size" if text.lower() in _WEIGHTED else "none"
        if name in changes:
            raise UserError(f"--set {name} is given twice; give it once")
        changes[name] = kind.parse_value(name, text)
    return changes


def _changed(
    kind: type[Config], values: Mapping[str, Any], changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the fields of a trial with those changes that apply to it."""
    if not changes:
        return dict(values)
    without_meaning = kind.inapplicable({**values, **changes})
    applied = {name: value for name, value in changes.items() if name not in without_meaning}
    given = [name for name, value in applied.items() if value is not None]
    left_out = without_meaning | (excluded_by(kind, given) - applied.keys())
    return {name: value for name, value in values.items() if name not in left_out} | applied


def _require_effect(changes: Mapping[str, Any], plan: Sequence[Config]) -> None:
    """Raises a UserError for a change that applies to no trial of the plan."""
    kind = type(plan[0])
    without_meaning = set(changes)
    for config in plan:
        if not without_meaning:
            return
        without_meaning &= kind.inapplicable(config.to_dict())
    for name in sorted(without_meaning):
        methods = dict.fromkeys(str(config[kind.method_field]) for config in plan)
        raise UserError(
            f"--set {name} changes no trial of the plan: it belongs to {kind.owners(name)}; "
            f"the plan has {kind.method_field} {', '.join(methods)}"
        )


def _field_name(kind: type[Config], key: str, what: str) -> str:
    """Returns the field or option of a name in any of its spellings; `what` is for the error."""
    fields = kind.declared_fields()
    aliases = {"method": kind.method_field} | {
        alias: name for alias, name in _ALIASES.items() if name in fields
    }
    name = key.strip().replace("-", "_")
    name = aliases.get(name, name)
    require_known(what, name, (*aliases, *fields))
    return name


def _matched(plan: Sequence[Config], key: str, name: str, text: str) -> set[Any]:
    """Returns the values of a field that match a word of `--only`."""
    text = text.strip()
    present = dict.fromkeys(
        value for config in plan for value in sorted(_values_of(config, name), key=str)
    )
    if name == "weights" and text.lower() in _WEIGHTED + _UNWEIGHTED:
        weighted = text.lower() in _WEIGHTED
        matched = {value for value in present if (value != "none") == weighted}
    elif text.lower() == "none" and None in present:  # not given, or of other components
        matched = {None}
    else:
        matched = {type(plan[0]).parse_value(name, text)} & set(present)
    if not matched:
        require_known(f"{key} in --only", text, [_as_text(value) for value in present])
    return matched


def _values_of(config: Config, name: str) -> set[Any]:
    """Returns the value of a field or option as it was given and as it resolves."""
    asked, resolved = config[name], config.resolve()[name]
    return {resolved} if asked is None else {asked, resolved}


def _as_text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
