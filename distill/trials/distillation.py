"""A distillation: run the DREAM loop, evaluate, stop and resume anywhere.

Units of work are the inner loops of the distillation and the epochs of an evaluation. Evaluations
at chosen outer iterations give the curve; the one at the end gives the result.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from distill.clustering.sizes import SIZE_COLUMNS
from distill.config.distillation import DistillationConfig, ResolvedDistillation
from distill.datasets import ImageData
from distill.dream.loop import Dream, check_fit
from distill.dream.multiformation import decode
from distill.dream.set_start import start_set_of
from distill.evaluation.class_sizes import (
    describe_caps,
    representatives_per_class,
    stored_per_class,
)
from distill.evaluation.recipe import (
    SET_PURPOSE,
    evaluation_of,
    network_for,
    random_images_baseline,
)
from distill.evaluation.scores import Evaluation, mean_and_std, score_columns
from distill.kinds import CLUSTER_COLUMNS, KINDS
from distill.networks.precision import precision_of
from distill.runtime.execution import AUTOMATIC, Execution
from distill.trials.base import (
    Progress,
    Result,
    Trial,
    Warn,
    ignore,
    with_prefix,
    without_prefix,
)
from distill.trials.distilled_files import (
    distilled_table,
    parquet_bytes,
    read_distilled,
    to_uint8,
)
from distill.trials.image_sheet import sheet_png
from distill.trials.set_card import card_files, notes_of
from distill.trials.training_sets import set_notices

CURVE_COLUMNS = tuple(KINDS[DistillationConfig.kind].curve_columns)
"""Columns of the curve: one record per outer iteration, and one for the start."""

_FEWEST_BETWEEN = 0.25
"""Share of values between the bounds below which learnt images are saturated, as a multiple of that
of the training images: these may have many at the bounds themselves, such as black margins."""

_CHUNK = 1024
"""Images whose values are counted at a time."""


@dataclass
class _Clock:
    """Mean seconds of a unit of work, for the estimate of the time left."""

    seconds: float = 0.0
    n_units: int = 0

    def add(self, seconds: float) -> None:
        self.seconds += seconds
        self.n_units += 1

    @property
    def mean(self) -> float | None:
        return self.seconds / self.n_units if self.n_units else None


@dataclass
class _EvaluationPlan:
    """Which evaluation is due: of the `outer` iteration, by an architecture, with n networks."""

    outer: int
    network_name: str
    n_networks: int


class DistillationTrial(Trial):
    """A distillation as a chain of units of work; see `Trial`.

    Raises:
        InfeasibleClusteringError: the clustering gives no initial images.
    """

    reference_phase = "training networks on random real images, for comparison"

    def __init__(
        self,
        config: ResolvedDistillation,
        data: ImageData,
        *,
        execution: Execution = AUTOMATIC,
        on_warning: Warn = ignore,
    ) -> None:
        del on_warning
        self.config = config
        self.data = data
        self.execution = execution
        self._eval_networks = {
            name: network_for(config, data, name, torch.Generator())
            for name in dict.fromkeys((config.network, *config.eval_networks))
        }
        self.dream = Dream(config, data, execution=execution)
        self._points: dict[int, dict[str, Any]] = {}
        self.final_scores: dict[str, dict[str, list[float]]] = {}
        self._correct: list[str] = []
        self.seconds_evaluating = 0.0
        self._evaluation: Evaluation | None = None
        self._inner_clock = _Clock()
        self._epoch_clock = _Clock()

    @classmethod
    def check(cls, config: ResolvedDistillation, data: ImageData) -> None:
        """Checks that a configuration can be run on a data set; raises a UserError."""
        check_fit(config, data)

    @classmethod
    def notices(cls, config: ResolvedDistillation, data: ImageData) -> list[str]:
        """Returns lines about small classes, and about the set that the images start from."""
        sizes = [len(indices) for indices in data.class_indices]
        return _start_notices(config, data) + describe_caps(
            data.class_names,
            sizes,
            {"n_representatives": config.n_representatives, "ipc": config.ipc},
            {
                "n_representatives": representatives_per_class(config, sizes),
                "ipc": stored_per_class(config, sizes),
            },
        )

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self._due() is None and self.dream.outer == self.config.outer_iterations

    @property
    def place(self) -> str:
        """The outer iteration it is in, for messages."""
        return f"outer iteration {self.dream.outer + 1} of {self.config.outer_iterations}"

    def advance(self) -> None:
        """Does one unit of work: an inner loop, or an epoch of an evaluation."""
        start = time.perf_counter()
        plan = self._due()
        if plan is None:
            self._run_inner_loop()
            self._inner_clock.add(time.perf_counter() - start)
            return
        if self._evaluation is None:
            self._evaluation = self._new_evaluation(plan)
        self._evaluation.run_epoch()
        if self._evaluation.done:
            self._finish_evaluation(plan, self._evaluation)
            self._evaluation = None
        self._epoch_clock.add(time.perf_counter() - start)
        self.seconds_evaluating += time.perf_counter() - start

    def stored_images(self) -> Tensor:
        """Returns the (n_classes · ipc, c, h, w) uint8 images, as they are saved and evaluated.

        Fewer where small classes are capped.
        """
        return to_uint8(self.dream.stored_images())

    def _run_inner_loop(self) -> None:
        self.dream.inner_loop()
        if self.dream.inner == 0:
            self._point_of_curve(self.dream.outer).update(
                matching_loss=self.dream.matching_loss, **self.dream.cluster_statistics
            )

    def _due(self) -> _EvaluationPlan | None:
        """Returns the evaluation that comes before the next inner loop, if there is one."""
        outer, config = self.dream.outer, self.config
        if self.dream.inner > 0:
            return None
        if outer == config.outer_iterations:
            missing = [name for name in self._eval_networks if name not in self.final_scores]
            return _EvaluationPlan(outer, missing[0], config.n_eval) if missing else None
        every = config.eval_every
        if every == 0 or outer % every or self._is_evaluated(outer):
            return None
        return _EvaluationPlan(outer, config.network, config.n_eval_curve)

    @property
    def curve(self) -> list[dict[str, Any]]:
        """One record of `CURVE_COLUMNS` per outer iteration, in order."""
        return [self._points[outer] for outer in sorted(self._points)]

    def _is_evaluated(self, outer: int) -> bool:
        return outer in self._points and self._points[outer]["accuracy_mean"] is not None

    def _point_of_curve(self, outer: int) -> dict[str, Any]:
        if outer not in self._points:
            empty = {"outer": outer} | dict.fromkeys(CURVE_COLUMNS[1:])
            self._points[outer] = empty | {"seconds": self.dream.seconds}
        return self._points[outer]

    def _new_evaluation(self, plan: _EvaluationPlan) -> Evaluation:
        config, data = self.config, self.data
        # Without matching, the networks are those of the trials that go on from this start.
        is_start = config.match == "none" and plan.outer == config.outer_iterations
        outer = config.n_outer if is_start else plan.outer
        purpose = f"evaluation of {plan.network_name} at {outer}"
        if config.start_set is not None and plan.outer == config.outer_iterations:
            purpose = SET_PURPOSE  # as the set itself is judged
        stored = self.stored_images()
        decoded = decode(stored.float() / 255, self.dream.factor)
        labels, weights = self.dream.stored_labels(), self.dream.stored_weights
        n_parts = self.dream.factor**2
        return evaluation_of(
            config,
            data,
            self._eval_networks[plan.network_name],
            decoded,
            labels.repeat(n_parts),
            n_networks=plan.n_networks,
            purpose=purpose,
            execution=self.execution,
            weights=None if weights is None else weights.repeat(n_parts),
        )

    def _finish_evaluation(self, plan: _EvaluationPlan, evaluation: Evaluation) -> None:
        scores = evaluation.scores
        if plan.network_name == self.config.network:
            mean, std = mean_and_std(scores.accuracies)
            self._point_of_curve(plan.outer).update(
                accuracy_mean=mean, accuracy_std=std, n_networks=len(scores.accuracies)
            )
        if plan.outer == self.config.outer_iterations:
            self.final_scores[plan.network_name] = {
                "accuracies": scores.accuracies,
                "balanced_accuracies": scores.balanced_accuracies,
                "best_accuracies": scores.best_accuracies,
                "losses": scores.losses,
            }
            if plan.network_name == self.config.network:
                self._correct = scores.correct

    def progress(self) -> Progress:
        """Returns how far the distillation is."""
        n_outer, n_inner = self.config.outer_iterations, self.config.n_inner
        inner_done = self.dream.outer * n_inner + self.dream.inner
        inner_left = n_outer * n_inner - inner_done
        epochs_done, epochs_left = self._epochs()
        inner_seconds, epoch_seconds = self._inner_clock.mean, self._epoch_clock.mean
        known = (inner_seconds is not None or inner_left == 0) and epoch_seconds is not None
        inner_cost, epoch_cost = inner_seconds or 1.0, epoch_seconds or (inner_seconds or 1.0) / 10
        left = inner_left * inner_cost + epochs_left * epoch_cost
        done = inner_done * inner_cost + epochs_done * epoch_cost
        evaluated = self._last_evaluated
        return Progress(
            step=self.dream.outer,
            n_steps=n_outer,
            fraction=done / (done + left),
            loss=self.dream.matching_loss,
            accuracy=evaluated["accuracy_mean"] if evaluated else None,
            accuracy_step=evaluated["outer"] if evaluated else None,
            evaluating=self._due() is not None,
            seconds_per_step=inner_seconds * n_inner if inner_seconds else None,
            seconds_left=left if known else None,
        )

    @property
    def _last_evaluated(self) -> dict[str, Any] | None:
        """The newest point of the curve that has an accuracy."""
        evaluated = [outer for outer in self._points if self._is_evaluated(outer)]
        return self._points[max(evaluated)] if evaluated else None

    def _epochs(self) -> tuple[int, int]:
        """Returns how many epochs of evaluations are done, and how many are left."""
        config = self.config
        n_outer, every = config.outer_iterations, config.eval_every
        due = range(0, n_outer, every) if every else range(0)
        n_points_left = sum(not self._is_evaluated(outer) for outer in due)
        n_final = len(self._eval_networks)
        n_final_left = n_final - len(self.final_scores)
        epochs = config.eval_epochs
        total = (len(due) * config.n_eval_curve + n_final * config.n_eval) * epochs
        left = (n_points_left * config.n_eval_curve + n_final_left * config.n_eval) * epochs
        if self._evaluation is not None:
            left -= self._evaluation.n_networks * epochs - self._evaluation.epochs_left
        return total - left, left

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns what is needed to resume between two units of work."""
        dream_tensors, dream_values = self.dream.state()
        tensors = with_prefix("dream/", dream_tensors)
        values: dict[str, Any] = {
            "dream": dream_values,
            "curve": self.curve,
            "final_scores": self.final_scores,
            "correct": self._correct,
            "seconds_evaluating": self.seconds_evaluating,
            "evaluation": None,
        }
        if self._evaluation is not None:
            evaluation_tensors, values["evaluation"] = self._evaluation.state()
            tensors |= with_prefix("evaluation/", evaluation_tensors)
        return tensors, values

    def load_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Resumes from what `state` returned for an equal configuration and data set."""
        self.dream.load_state(without_prefix("dream/", tensors), values["dream"])
        self._points = {point["outer"]: point for point in values["curve"]}
        self.final_scores = dict(values["final_scores"])
        self._correct = list(values["correct"])
        self.seconds_evaluating = values["seconds_evaluating"]
        self._evaluation = None
        plan = self._due()
        if values["evaluation"] is not None and plan is not None:
            self._evaluation = self._new_evaluation(plan)
            self._evaluation.load_state(
                without_prefix("evaluation/", tensors), values["evaluation"]
            )

    def result_columns(self, *, is_ok: bool) -> dict[str, Any]:
        """Returns scores, losses, cluster statistics and seconds; see `distill.kinds`."""
        config = self.config
        final = self.final_scores.get(config.network, {})
        statistics = self.dream.cluster_statistics
        sizes = self.dream.cluster_size_columns()
        seconds = self.dream.clock.seconds
        return score_columns(final, config.eval_split) | {
            "n_networks": len(final.get("accuracies", [])),
            "network_scores": self.final_scores,
            "correct_images": self._correct or None,
            "matching_loss": self.dream.matching_loss,
            "saturated_share": saturated_share(self.stored_images()) if is_ok else None,
            **{name: statistics.get(name) for name in CLUSTER_COLUMNS},
            **{name: sizes.get(name) for name in SIZE_COLUMNS},
            **self.dream.quality_columns(),
            "precision": precision_of(self.dream.network),
            **{f"{part}_seconds": spent for part, spent in seconds.items()},
            "pool_seconds": self.dream.pool_seconds if config.networks == "pool" else None,
            "evaluation_seconds": self.seconds_evaluating,
        }

    def final_notices(self) -> list[str]:
        """Returns a line where the image optimiser drove nearly all pixels to the bounds."""
        between = 1 - saturated_share(self.stored_images())
        between_real = 1 - saturated_share(self.data.train_images)
        if not self.config.outer_iterations or between >= _FEWEST_BETWEEN * between_real:
            return []
        return [
            f"{1 - between:.0%} of the pixel values of the learnt images are 0 or 255, "
            f"of the training images {1 - between_real:.0%}: the images are saturated; lower "
            f"lr_img (now {self.config.lr_img:g})"
        ]

    @classmethod
    def extra_files(cls, config: ResolvedDistillation, result: Result) -> dict[str, bytes]:
        """Returns the card with its recipe, a picture, and the parts of a multi-formation."""
        table = result.artifacts["distilled"]
        distilled = read_distilled(table)
        files = {"distilled.png": sheet_png(*distilled[:3])}
        if config.factor > 1:
            n_parts, weights = config.factor**2, distilled.weights
            decoded = distilled_table(
                decode(distilled.images.float() / 255, config.factor),
                distilled.labels.repeat(n_parts),
                distilled.class_names,
                weights=None if weights is None else weights.repeat(n_parts),
                metadata=distilled.metadata | {"factor": "1"},
            )
            files["decoded.parquet"] = parquet_bytes(decoded)
        texts = card_files(config, result.row, table)
        return files | {name: text.encode() for name, text in texts.items()}

    @classmethod
    def reference_accuracies(
        cls, config: ResolvedDistillation, data: ImageData, should_stop: Callable[[], bool]
    ) -> list[float]:
        """Returns the accuracies of networks trained on as many random real images."""
        return random_images_baseline(config, data, should_stop)

    def artifacts(self) -> dict[str, pa.Table]:
        """Returns `distilled`: the (n_classes · ipc) images in the Hub's layout, class by class."""
        labels = self.dream.stored_labels().cpu()
        table = distilled_table(
            self.stored_images().cpu(),
            labels,
            self.data.class_names,
            weights=self.dream.stored_weights,
            metadata=notes_of(self.config, self.data),
        )
        return {"distilled": table}


def saturated_share(images: Tensor) -> float:
    """Returns the share of the values of 8-bit images that are 0 or 255, in [0, 1].

    Args:
        images: (n, c, h, w) uint8, n at least 1.

    Example:
        >>> import torch
        >>> saturated_share(torch.tensor([0, 1, 255, 255], dtype=torch.uint8).view(1, 1, 2, 2))
        0.75
    """
    chunks = images.split(_CHUNK)
    return sum(int(((part == 0) | (part == 255)).sum()) for part in chunks) / images.numel()


def _start_notices(config: ResolvedDistillation, data: ImageData) -> list[str]:
    """Returns what the set that the images start from is, and what of it is not used."""
    if config.start_set is None:
        return []
    small = start_set_of(config, data)
    lines = set_notices(config.start_set, small, data)
    unused = {"soft labels": small.soft is not None, "weights": small.weights is not None}
    names = " and ".join(name for name, is_there in unused.items() if is_there)
    if names:
        lines.append(f"set {config.start_set}: its {names} are not used, only images and classes")
    half_level = 0.5 / 255  # what rounding to 8 bits hides
    beyond = (small.images < -half_level) | (small.images > 1 + half_level)
    outside = float(beyond.float().mean())
    if outside > 0:
        lines.append(
            f"set {config.start_set}: {100 * outside:.2g} % of its pixels are outside 0 … 1 and "
            "clamped to it"
        )
    return lines
