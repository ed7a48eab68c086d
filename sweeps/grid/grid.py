"""A grid: the configurations of a named preset, and how they are multiplied."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic

from distill.config.base import AnyConfig

Row = dict[str, Any]
"""A method and its parameters, as fields of a configuration."""


@dataclass(frozen=True, kw_only=True)
class Grid(Generic[AnyConfig]):
    """A named list of configurations: each is run under every protocol, with every seed.

    Attributes:
        name: value of `--preset`.
        summary: one line for the help.
        configs: all of one kind, in the order of the tables; under the sound protocol unless
            `protocols` is None.
        n_seeds: seeds 0 … n_seeds − 1 unless others are asked for.
        main: those of the configurations that have more seeds; empty: none.
        n_main_seeds: of these, as `n_seeds`; they run after all others.
        protocols: unless others are asked for; None: each configuration has its own, and those
            that are asked for are kept.
        needs_dataset: whether the images are the user's: no data set is named.
    """

    name: str
    summary: str
    configs: tuple[AnyConfig, ...]
    n_seeds: int
    main: tuple[AnyConfig, ...] = ()
    n_main_seeds: int = 0
    protocols: tuple[str, ...] | None = ("sound",)
    needs_dataset: bool = False


def grid_configs(
    kind: type[AnyConfig],
    *,
    base: Mapping[str, Any],
    rows: Iterable[Row],
    ipcs: Iterable[int | None] = (None,),
) -> tuple[AnyConfig, ...]:
    """Returns every row at every number of images per class.

    Args:
        kind: class of the configurations.
        base: fields that all of them share.
        rows: the methods, in the order of the tables.
        ipcs: images per class; None: as the row, or the kind, has it.
    """
    rows = tuple(rows)
    return tuple(
        kind(**dict(base) | row | ({} if ipc is None else {"ipc": ipc}))
        for ipc in ipcs
        for row in rows
    )
