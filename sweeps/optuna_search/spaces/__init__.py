"""Search spaces: the parameters of a search and their limits.

A space is one small Python file, in this folder or the user's:

    '''One line that says what is searched.'''

    BASE = {"dataset": "cifar10", "ipc": 10}    # fields that all trials share
    DEFAULT = {"lr_img": 5e-3}                  # optional: parameters of the first trial

    def suggest(trial):                         # fields of one trial, from trial.suggest_…
        return {"lr_img": trial.suggest_float("lr_img", 1e-4, 1e-1, log=True)}

`suggest` is ordinary code, so a parameter may depend on another ("define by run"). Name a parameter
as the field it sets: a field that the user fixes is then not sampled, and its range can be changed.
A field that is fixed but computed from parameters of other names keeps the fixed value, and those
parameters are searched in vain. An invalid combination is rejected by `raise optuna.TrialPruned`.

Trials are compared on validation images (`val_fraction` 0.1 unless the base has another). Fields
that decide which images are loaded belong into the base: a sweep loads them once.
"""

import dataclasses
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import optuna

from distill.config.base import Config
from distill.config.distillation import DistillationConfig
from distill.errors import UserError, require_known
from sweeps.cli.fields import excluded_by
from sweeps.optuna_search.spaces import dbscan, dbscan_eps, grid_size, joint, pick, selection

SPACES: dict[str, ModuleType] = {
    "dbscan": dbscan,
    "dbscan_eps": dbscan_eps,
    "joint": joint,
    "pick": pick,
    "grid_size": grid_size,
    "selection": selection,
}
"""The spaces that are chosen by name."""

_VALIDATION = {"eval_split": "val", "val_fraction": 0.1}

N_PROBES = 256
"""Points that a space is tried on before a search; at random, so that all branches are met."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """A search space, with the fields that the user fixed and the ranges that the user changed.

    Attributes:
        name: of a space in this folder, or the stem of a user's file.
        summary: one line.
        base: fields that all trials share.
        default: parameters of the first trial; empty: it is drawn like the others.
        suggest: returns the fields of one trial from Optuna's parameters.
        config_class: class of the configurations.
        fixed: fields with a value of the user's; no parameters of these names are sampled.
        ranges: parameter → (low, high), in place of the space's limits.
    """

    name: str
    summary: str
    base: Mapping[str, Any]
    default: Mapping[str, Any]
    suggest: Callable[[optuna.Trial], dict[str, Any]]
    config_class: type[Config] = DistillationConfig
    fixed: Mapping[str, Any] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for values in (self.base, self.fixed):
            known = self.config_class.declared_fields()
            for name in values:
                require_known(f"field of space {self.name!r}", name, known)
        if self.shared["eval_split"] != "val":
            raise UserError(
                f"space {self.name!r}: a search is judged on validation images, got eval_split "
                f"{self.shared['eval_split']!r}; the best are tested afterwards (--confirm)"
            )
        for name, (low, high) in self.ranges.items():
            if not low < high:
                raise UserError(f"range of {name} must be low:high, got {low:g}:{high:g}")
            if name in self._fixed:
                raise UserError(f"{name} has both a fixed value and a range; give one of them")

    def narrowed(
        self,
        fixed: Mapping[str, Any],
        ranges: Mapping[str, tuple[float, float]] | None = None,
    ) -> "Space":
        """Returns the space with fields fixed to values, and with other limits of parameters.

        Args:
            fixed: field → value. A fixed `eps` takes the place of `eps_quantile`, and vice versa.
                None is a value, too: the field's default.
            ranges: parameter → (low, high).

        Raises:
            UserError: a field is unknown, or a range is empty.
        """
        return dataclasses.replace(
            self, fixed={**self.fixed, **fixed}, ranges={**self.ranges, **(ranges or {})}
        )

    @property
    def shared(self) -> dict[str, Any]:
        """The fields that all trials share, fixed ones included; plain values."""
        return {**_VALIDATION, **self.base, **self._fixed}

    @property
    def _fixed(self) -> dict[str, Any]:
        given = [name for name, value in self.fixed.items() if value is not None]
        return dict.fromkeys(excluded_by(self.config_class, given)) | dict(self.fixed)

    @property
    def first_point(self) -> dict[str, Any]:
        """The parameters of the first trial, without those that are fixed or out of range."""
        unlimited = (float("-inf"), float("inf"))
        within = {
            name: not isinstance(value, int | float) or low <= value <= high
            for name, value in self.default.items()
            for low, high in [self.ranges.get(name, unlimited)]
        }
        return {
            name: value
            for name, value in self.default.items()
            if name not in self._fixed and within[name]
        }

    def config(self, trial: optuna.Trial) -> Config:
        """Returns the configuration of a trial, whose parameters are sampled meanwhile.

        Raises:
            UserError: the space cannot give one; the message names the values.
            TrialPruned: `suggest` raised it, to reject a combination of parameters.
        """
        narrowed = _NarrowedTrial(trial, self._fixed, self.ranges)
        try:
            suggested = self.suggest(cast("optuna.Trial", narrowed))
        except (UserError, optuna.TrialPruned):
            raise
        except Exception as error:
            raise UserError(
                f"space {self.name!r}: suggest raised {type(error).__name__}: {error} "
                f"(parameters so far: {trial.params})"
            ) from error
        if not isinstance(suggested, dict):
            raise UserError(
                f"space {self.name!r}: suggest must return a dictionary, got {suggested!r}"
            )
        try:
            self._check_group(suggested)
            return self.config_class.from_dict(
                {**_VALIDATION, **self.base, **suggested, **self._fixed}
            )
        except (UserError, TypeError) as error:
            raise UserError(
                f"space {self.name!r}: {error} (suggest returned {suggested})"
            ) from None

    def _check_group(self, suggested: Mapping[str, Any]) -> None:
        fields = self.config_class.static_fields()
        for name in suggested:
            if name in fields and fields[name].metadata["group"] == "data":
                raise UserError(f"{name} decides which images are loaded; move it into BASE")

    def check(self) -> list[str]:
        """Tries the space on random points, and on its default.

        Returns:
            The names of the parameters that are searched, in the order of their first use.

        Raises:
            UserError: a point gives no configuration, there is nothing to search, or a range is
                given for a parameter that is not searched.
        """
        names: dict[str, None] = {}
        for trial, _ in self._probes():
            names.update(dict.fromkeys(trial.params))
        if not names:
            raise UserError(f"space {self.name!r} has nothing to search: everything is fixed")
        for name in self.ranges:
            require_known(f"parameter of space {self.name!r}", name, names)
        return list(names)

    def examples(self) -> Iterator[Config]:
        """Yields the configurations of some points, always the same, the first point first.

        Raises:
            UserError: the space cannot give any.
        """
        return (config for _, config in self._probes())

    def example(self) -> Config:
        """Returns the configuration of the first point, or else of one at random.

        Raises:
            UserError: the space cannot give one.
        """
        return next(self.examples())

    def _probes(self) -> Iterator[tuple[optuna.Trial, Config]]:
        """Yields points, always the same, the first point first."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        study.enqueue_trial(self.first_point)
        n_rejected = 0
        for _ in range(N_PROBES):
            trial = study.ask()
            try:
                config = self.config(trial)
            except optuna.TrialPruned:
                n_rejected += 1
            else:
                yield trial, config
        if n_rejected == N_PROBES:
            raise UserError(f"space {self.name!r} rejects every one of {N_PROBES} points")


class _NarrowedTrial:
    """An Optuna trial that samples no fixed parameter, and samples within changed limits."""

    def __init__(
        self,
        trial: optuna.Trial,
        fixed: Mapping[str, Any],
        ranges: Mapping[str, tuple[float, float]],
    ) -> None:
        self._trial = trial
        self._fixed = fixed
        self._ranges = ranges

    def suggest_float(self, name: str, low: float, high: float, **options: Any) -> Any:
        if name in self._fixed:
            return self._fixed[name]
        low, high = self._ranges.get(name, (low, high))
        return self._trial.suggest_float(name, low, high, **options)

    def suggest_int(self, name: str, low: int, high: int, **options: Any) -> Any:
        if name in self._fixed:
            return self._fixed[name]
        limits = self._ranges.get(name, (low, high))
        return self._trial.suggest_int(name, int(limits[0]), int(limits[1]), **options)

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        if name in self._fixed:
            return self._fixed[name]
        if name in self._ranges:
            raise UserError(f"{name} is a choice of {', '.join(map(str, choices))}, not a range")
        return self._trial.suggest_categorical(name, choices)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trial, name)


def load_space(name_or_path: str) -> Space:
    """Returns a space of this folder by its name, or a user's from a file that ends in `.py`.

    Raises:
        UserError: there is no such space, or the file holds none.
    """
    if name_or_path.endswith(".py"):
        return _space_of(Path(name_or_path).stem, _module_of(Path(name_or_path)))
    name = name_or_path.replace("-", "_")
    require_known("space", name, (*SPACES, "PATH.py"))
    return _space_of(name, SPACES[name])


def _module_of(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"space_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UserError(f"there is no space at {path}; give a Python file or {', '.join(SPACES)}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(
            f"space {path} cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    return module


def _space_of(name: str, module: ModuleType) -> Space:
    suggest = getattr(module, "suggest", None)
    if not callable(suggest):
        raise UserError(f"space {name!r} has no function suggest(trial)")
    dictionaries = {}
    for constant in ("BASE", "DEFAULT"):
        dictionaries[constant] = getattr(module, constant, {})
        if not isinstance(dictionaries[constant], dict):
            raise UserError(f"space {name!r}: {constant} must be a dictionary")
    return Space(
        name=name,
        summary=(module.__doc__ or "").strip().split("\n", 1)[0],
        base=dictionaries["BASE"],
        default=dictionaries["DEFAULT"],
        suggest=suggest,
        config_class=getattr(module, "CONFIG", DistillationConfig),
    )
