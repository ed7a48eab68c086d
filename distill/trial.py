"""One trial from configuration to result: distil, evaluate, and be able to stop and go on anywhere.

A trial is a chain of small units of work, inner loops of the distillation and epochs of an
evaluation; between any two of them its whole state can be saved. Evaluations at chosen outer
iterations give the curve; the one at the end gives the result.
"""

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distill.checkpoint import Folder, load_checkpoint, save_checkpoint
from distill.clustering.base import InfeasibleClusteringError
from distill.config import SCHEMA_VERSION, TrialConfig
from distill.datasets import ImageData
from distill.distilled import to_uint8
from distill.dream import DivergedError, Dream, check_fit
from distill.errors import InterruptedTrialError, UserError
from distill.evaluate import Evaluation, mean_and_std
from distill.multiformation import decode
from distill.provenance import provenance
from distill.scoring import evaluation_of, network_for


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a trial stands.

    Attributes:
        outer: outer iterations finished; `n_outer`: of how many.
        fraction: share of the estimated work that is done, in [0, 1].
        matching_loss: of the last finished outer iteration.
        accuracy: mean of the last finished evaluation, in [0, 1].
        accuracy_outer: the outer iteration that evaluation was made after.
        evaluating: whether networks are being trained on the synthetic images right now.
        seconds_per_outer: mean seconds of an outer iteration so far.
        seconds_left: estimate of the time to the end.
    """

    outer: int
    n_outer: int
    fraction: float
    matching_loss: float | None
    accuracy: float | None
    accuracy_outer: int | None
    evaluating: bool
    seconds_per_outer: float | None
    seconds_left: float | None


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

    Raises:
        UserError: the configuration does not fit the data.
        InfeasibleClusteringError: the clustering gives no initial images.
    """

    def __init__(self, config: TrialConfig, data: ImageData) -> None:
        self.config = config = config.resolved()
        self.data = data
        check_fit(config, data)
        self._eval_networks = {
            name: network_for(config, data, name, torch.Generator())
            for name in dict.fromkeys((config.network, *config.eval_networks))
        }
        self.dream = Dream(config, data)
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
            "trial_id": self.config.trial_id,
            "fingerprint": self.data.fingerprint,
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
        ours = {"trial_id": self.config.trial_id, "fingerprint": self.data.fingerprint}
        for name, value in ours.items():
            if values[name] != value:
                raise UserError(
                    f"the checkpoint has {name} {values[name]}, this trial has {value}: it belongs "
                    "to another configuration or other images; use another folder or --overwrite"
                )
        self.dream.load_state(_without_prefix("dream/", tensors), values["dream"])
        self._points = {point["outer"]: point for point in values["curve"]}
        self.final_scores = dict(values["final_scores"])
        self.seconds_evaluating = values["seconds_evaluating"]
        self._evaluation = None
        plan = self._due()
        if values["evaluation"] is not None and plan is not None:
            self._evaluation = self._new_evaluation(plan)
            self._evaluation.load_state(
                _without_prefix("evaluation/", tensors), values["evaluation"]
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
    config: TrialConfig,
    data: ImageData,
    *,
    checkpoint_folder: Folder | None = None,
    checkpoint_seconds: float = 5.0,
    on_progress: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    on_warning: Callable[[str], None] = lambda _: None,
) -> TrialResult:
    """Runs a trial, or what is left of it, to its end.

    Args:
        config: what to do.
        data: the images, on the device to run on.
        checkpoint_folder: where to save the state and look for one to go on from; None: nowhere.
            A state that cannot be saved (a full disk, a store out of reach) does not stop the
            trial: `on_warning` is told once of each reason, and the next save tries again.
        checkpoint_seconds: seconds of work between two checkpoints; more where saving is slow, so
            that it takes at most a twentieth of the time. 0: after every unit of work.
        on_progress: called after every unit of work; must be quick.
        should_stop: asked after every unit of work.
        on_warning: told of damaged checkpoints and of those that cannot be saved.

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
    started = dt.datetime.now(dt.UTC)
    start = time.perf_counter()
    status, message, trial, earlier = "ok", "", None, _Earlier()
    try:
        trial = Trial(config, data)
        earlier = _resume(trial, checkpoint_folder, on_warning)

        def save() -> None:
            if checkpoint_folder is not None:
                tensors, values = trial.state()
                values["total_seconds"] = earlier.seconds + time.perf_counter() - start
                values["n_resumes"] = earlier.n_resumes
                save_checkpoint(checkpoint_folder, tensors, values)

        saver = _Saver(save, checkpoint_seconds, on_warning)
        _work(trial, saver, on_progress, should_stop)
    except InfeasibleClusteringError as error:
        status, message = "infeasible", str(error)
    except DivergedError as error:
        status, message = "diverged", str(error)
    except torch.cuda.OutOfMemoryError as error:
        status, message = "out_of_memory", str(error).splitlines()[0]
    row = {
        "trial_id": config.trial_id,
        "schema_version": SCHEMA_VERSION,
        "status": status,
        "status_message": message,
        **config.resolved().to_dict(),
        **_scores_row(config, trial),
        "total_seconds": earlier.seconds + time.perf_counter() - start,
        "n_resumes": earlier.n_resumes,
        "started_at": started.isoformat(timespec="seconds"),
        "fingerprint": data.fingerprint,
        "n_corrupt": data.n_corrupt,
        **provenance(data.train_images.device),
    }
    ok = trial is not None and status == "ok"
    return TrialResult(
        row=row,
        curve=trial.curve if trial is not None else [],
        images=trial.stored_images().cpu() if ok and trial is not None else None,
        labels=torch.arange(data.n_classes).repeat_interleave(config.ipc),
    )


SAVING_SHARE = 1 / 20
"""Of a trial's time that saving its state may take, where the store is slow."""


class _Saver:
    """Saves a trial's state now and then.

    Args:
        save: saves it; may raise an OSError.
        seconds: of work between two saves; 0: after every unit of work.
        on_warning: told when the state cannot be saved.
    """

    def __init__(
        self, save: Callable[[], None], seconds: float, on_warning: Callable[[str], None]
    ) -> None:
        self._save = save
        self._on_warning = on_warning
        self._told: set[tuple[type[OSError], int | None]] = set()
        self._seconds = self._interval = seconds
        self._last = time.monotonic()

    def save_if_due(self) -> None:
        """Saves when enough time has passed; tells once of each reason why it cannot."""
        if time.monotonic() - self._last > self._interval:
            self.save(quiet=True)

    def save(self, *, quiet: bool = False) -> None:
        """Saves; tells why it cannot, if `quiet` only of a reason not told before."""
        start = time.monotonic()
        try:
            self._save()
        except OSError as error:
            reason = (type(error), error.errno)  # not the text: it may name a new file each time
            if not quiet or reason not in self._told:
                self._on_warning(f"the state of the trial cannot be saved: {error}")
            self._told.add(reason)
        self._last = time.monotonic()
        if self._seconds > 0:
            self._interval = max(self._seconds, (self._last - start) / SAVING_SHARE)


def _work(
    trial: Trial,
    saver: _Saver,
    on_progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> None:
    while not trial.done:
        trial.advance()
        on_progress(trial.progress())
        if should_stop():
            saver.save()
            if not trial.done:
                raise InterruptedTrialError(
                    f"stopped in outer iteration {trial.dream.outer + 1} of {trial.config.n_outer}"
                )
        else:
            saver.save_if_due()


@dataclass(frozen=True, kw_only=True)
class _Earlier:
    """What came before this process took the trial on."""

    seconds: float = 0.0
    n_resumes: int = 0


def _resume(trial: Trial, folder: Folder | None, on_warning: Callable[[str], None]) -> _Earlier:
    """Loads the newest sound checkpoint, if there is one; returns what came before it."""
    found = load_checkpoint(folder, on_warning) if folder is not None else None
    if found is None:
        return _Earlier()
    tensors, values = found
    trial.load_state(tensors, values)
    return _Earlier(seconds=values["total_seconds"], n_resumes=values["n_resumes"] + 1)


def _scores_row(config: TrialConfig, trial: Trial | None) -> dict[str, Any]:
    """Returns the result columns, always all of them; those that do not exist are None.

    Args:
        config: of the trial.
        trial: None if it could not even start.
    """
    final_scores = trial.final_scores if trial is not None else {}
    final = final_scores.get(config.network, {})
    row: dict[str, Any] = {}
    for split in ("test", "val"):
        scores = final if split == config.eval_split else {}
        for name, key in (
            ("accuracy", "accuracies"),
            ("accuracy_best", "best_accuracies"),
            ("loss", "losses"),
        ):
            mean, std = mean_and_std(scores.get(key, []))
            row |= {f"{split}_{name}_mean": mean, f"{split}_{name}_std": std}
    statistics = trial.dream.cluster_statistics if trial is not None else {}
    seconds = trial.dream.seconds if trial is not None else {}
    return row | {
        "n_networks": len(final.get("accuracies", [])),
        "network_scores": final_scores,
        "matching_loss": trial.dream.matching_loss if trial is not None else None,
        **{name: statistics.get(name) for name in CLUSTER_COLUMNS},
        **{f"{part}_seconds": seconds.get(part) for part in ("clustering", "matching", "network")},
        "evaluation_seconds": trial.seconds_evaluating if trial is not None else None,
    }


def _without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
