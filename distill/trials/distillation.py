"""One trial from configuration to result: distil, evaluate, and be able to stop and go on anywhere.

A trial is a chain of small units of work, inner loops of the distillation and epochs of an
evaluation; between any two of them its whole state can be saved. Evaluations at chosen outer
iterations give the curve; the one at the end gives the result.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distill.clustering.sizes import SIZE_COLUMNS
from distill.config.distillation import DistillationConfig
from distill.datasets import ImageData
from distill.dream.loop import Dream, check_fit
from distill.dream.multiformation import decode
from distill.evaluation.recipe import evaluation_of, network_for
from distill.evaluation.scores import Evaluation, mean_and_std, score_columns
from distill.networks.precision import precision_of
from distill.runtime.checkpoint import Folder
from distill.runtime.execution import AUTOMATIC, Execution
from distill.trials.distilled_files import to_uint8
from distill.trials.runner import (
    Progress,
    check_whose_state,
    run_to_end,
    whose_state,
    without_prefix,
)

__all__ = ["CLUSTER_COLUMNS", "CURVE_COLUMNS", "Progress", "Trial", "TrialResult", "run_trial"]


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What a trial leaves behind.

    Attributes:
        row: one record: configuration, status, scores, losses, times, versions; see the README.
        curve: one record per outer iteration, and one for the start.
        images: (n_classes · ipc, c, h, w) uint8 on the CPU, class by class; None unless `ok`.
        labels: (n_classes · ipc,) int64.
    """

    row: dict[str, Any]
    curve: list[dict[str, Any]]
    images: Tensor | None
    labels: Tensor


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


class Trial:
    """A trial as a chain of units of work.

    Args:
        config: what to do.
        data: the images, on the device to run on.
        execution: how the arithmetic is carried out.

    Raises:
        UserError: the configuration does not fit the data.
        InfeasibleClusteringError: the clustering gives no initial images.
    """

    def __init__(
        self, config: DistillationConfig, data: ImageData, execution: Execution = AUTOMATIC
    ) -> None:
        self.config = config = config.resolved()
        self.data = data
        self.execution = execution
        check_fit(config, data)
        self._eval_networks = {
            name: network_for(config, data, name, torch.Generator())
            for name in dict.fromkeys((config.network, *config.eval_networks))
        }
        self.dream = Dream(config, data, execution=execution)
        self._points: dict[int, dict[str, Any]] = {}
        self.final_scores: dict[str, dict[str, list[float]]] = {}
        self.seconds_evaluating = 0.0
        self._evaluation: Evaluation | None = None
        self._inner_clock = _Clock()
        self._epoch_clock = _Clock()

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self._due() is None and self.dream.outer == self.config.n_outer

    @property
    def place(self) -> str:
        """Where the trial stands, for a message."""
        return f"outer iteration {self.dream.outer + 1} of {self.config.n_outer}"

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
        """Returns the (n_classes · ipc, c, h, w) uint8 images, as they are saved and evaluated."""
        return to_uint8(self.dream.images.flatten(end_dim=1))

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
        if outer == config.n_outer:
            missing = [name for name in self._eval_networks if name not in self.final_scores]
            return _EvaluationPlan(outer, missing[0], config.n_eval) if missing else None
        every = config.eval_every or 0
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
        empty = {"outer": outer} | dict.fromkeys(CURVE_COLUMNS[1:])
        return self._points.setdefault(outer, empty)

    def _new_evaluation(self, plan: _EvaluationPlan) -> Evaluation:
        config, data = self.config, self.data
        stored = self.stored_images()
        decoded = decode(stored.float() / 255, self.dream.factor)
        labels = torch.arange(data.n_classes, device=stored.device).repeat_interleave(config.ipc)
        return evaluation_of(
            config,
            data,
            self._eval_networks[plan.network_name],
            decoded,
            labels.repeat(self.dream.factor**2),
            n_networks=plan.n_networks,
            purpose=f"evaluation of {plan.network_name} at {plan.outer}",
            execution=self.execution,
        )

    def _finish_evaluation(self, plan: _EvaluationPlan, evaluation: Evaluation) -> None:
        scores = evaluation.scores
        if plan.network_name == self.config.network:
            mean, std = mean_and_std(scores.accuracies)
            self._point_of_curve(plan.outer).update(
                accuracy_mean=mean, accuracy_std=std, n_networks=len(scores.accuracies)
            )
        if plan.outer == self.config.n_outer:
            self.final_scores[plan.network_name] = {
                "accuracies": scores.accuracies,
                "best_accuracies": scores.best_accuracies,
                "losses": scores.losses,
            }

    def progress(self) -> Progress:
        """Returns where the trial stands."""
        n_outer, n_inner = int(self.config.n_outer or 0), int(self.config.n_inner or 1)
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
            outer=self.dream.outer,
            n_outer=n_outer,
            fraction=done / (done + left),
            matching_loss=self.dream.matching_loss,
            accuracy=evaluated["accuracy_mean"] if evaluated else None,
            accuracy_outer=evaluated["outer"] if evaluated else None,
            evaluating=self._due() is not None,
            seconds_per_outer=inner_seconds * n_inner if inner_seconds else None,
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
        n_outer, every = int(config.n_outer or 0), config.eval_every or 0
        due = range(0, n_outer, every) if every else range(0)
        n_points_left = sum(not self._is_evaluated(outer) for outer in due)
        n_final = len(self._eval_networks)
        n_final_left = n_final - len(self.final_scores)
        epochs = int(config.eval_epochs or 0)
        total = (len(due) * config.n_eval_curve + n_final * config.n_eval) * epochs
        left = (n_points_left * config.n_eval_curve + n_final_left * config.n_eval) * epochs
        if self._evaluation is not None:
            left -= self._evaluation.n_networks * epochs - self._evaluation.epochs_left
        return total - left, left

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns what is needed to go on between two units of work."""
        dream_tensors, dream_values = self.dream.state()
        tensors = {f"dream/{name}": tensor for name, tensor in dream_tensors.items()}
        values: dict[str, Any] = {
            **whose_state(self.config, self.data),
            "dream": dream_values,
            "curve": self.curve,
            "final_scores": self.final_scores,
            "seconds_evaluating": self.seconds_evaluating,
            "evaluation": None,
        }
        if self._evaluation is not None:
            own_tensors, values["evaluation"] = self._evaluation.state()
            tensors |= {f"evaluation/{name}": tensor for name, tensor in own_tensors.items()}
        return tensors, values

    def load_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Goes on from what `state` returned for an equal configuration and data set.

        Raises:
            UserError: the state belongs to another configuration or to other images.
        """
        check_whose_state(values, self.config, self.data)
        self.dream.load_state(without_prefix("dream/", tensors), values["dream"])
        self._points = {point["outer"]: point for point in values["curve"]}
        self.final_scores = dict(values["final_scores"])
        self.seconds_evaluating = values["seconds_evaluating"]
        self._evaluation = None
        plan = self._due()
        if values["evaluation"] is not None and plan is not None:
            self._evaluation = self._new_evaluation(plan)
            self._evaluation.load_state(
                without_prefix("evaluation/", tensors), values["evaluation"]
            )


CLUSTER_COLUMNS = (
    "n_representatives_mean",
    "n_clusters_mean",
    "largest_cluster_mean",
    "noise_mean",
)
CURVE_COLUMNS = (
    "outer",
    "matching_loss",
    "accuracy_mean",
    "accuracy_std",
    "n_networks",
    *CLUSTER_COLUMNS,
)


def run_trial(
    config: DistillationConfig,
    data: ImageData,
    *,
    checkpoint_folder: Folder | None = None,
    checkpoint_seconds: float = 5.0,
    on_progress: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    on_warning: Callable[[str], None] = lambda _: None,
    execution: Execution = AUTOMATIC,
) -> TrialResult:
    """Runs a trial, or what is left of it, to its end.

    Args:
        config: what to do.
        data: the images, on the device to run on.
        checkpoint_folder: where to save the state and look for one to go on from; None: nowhere.
            A state that cannot be saved does not stop the trial, see `run_to_end`.
        checkpoint_seconds: seconds of work between two checkpoints; more where saving is slow. 0:
            after every unit of work.
        on_progress: called after every unit of work; must be quick.
        should_stop: asked after every unit of work.
        on_warning: told of damaged checkpoints and of those that cannot be saved.
        execution: how the arithmetic is carried out; on a resumed trial it may differ.

    Returns:
        The result; also for trials whose status is `infeasible`, `diverged` or `out_of_memory`.
        Their scores are None.

    Raises:
        UserError: the configuration does not fit the data, or the checkpoints belong to another
            trial.
        OSError: the checkpoint folder cannot be read.
        InterruptedTrialError: `should_stop` said so; the state is saved, unless `on_warning` was
            told that it cannot be.
    """
    run = run_to_end(
        lambda: Trial(config, data, execution),
        checkpoint_folder=checkpoint_folder,
        checkpoint_seconds=checkpoint_seconds,
        on_progress=on_progress,
        should_stop=should_stop,
        on_warning=on_warning,
    )
    trial = run.work
    row = {
        **run.identity_columns(config),
        **_scores_row(config, trial),
        **run.origin_columns(data),
    }
    ok = trial is not None and run.status == "ok"
    return TrialResult(
        row=row,
        curve=trial.curve if trial is not None else [],
        images=trial.stored_images().cpu() if ok and trial is not None else None,
        labels=torch.arange(data.n_classes).repeat_interleave(config.ipc),
    )


def _scores_row(config: DistillationConfig, trial: Trial | None) -> dict[str, Any]:
    """Returns the result columns, always all of them; those that do not exist are None.

    Args:
        config: of the trial.
        trial: None if it could not even start.
    """
    final_scores = trial.final_scores if trial is not None else {}
    final = final_scores.get(config.network, {})
    statistics = trial.dream.cluster_statistics if trial is not None else {}
    sizes = trial.dream.cluster_size_columns() if trial is not None else {}
    seconds = trial.dream.clock.seconds if trial is not None else {}
    return score_columns(final, config.eval_split) | {
        "n_networks": len(final.get("accuracies", [])),
        "network_scores": final_scores,
        "matching_loss": trial.dream.matching_loss if trial is not None else None,
        **{name: statistics.get(name) for name in CLUSTER_COLUMNS},
        **{name: sizes.get(name) for name in SIZE_COLUMNS},
        "precision": precision_of(trial.dream.network) if trial is not None else None,
        **{f"{part}_seconds": seconds.get(part) for part in ("clustering", "matching", "network")},
        "evaluation_seconds": trial.seconds_evaluating if trial is not None else None,
    }
