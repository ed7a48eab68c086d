"""One trial from configuration to result: distil, evaluate, and be able to stop and go on anywhere.

A trial is a chain of small units of work, inner loops of the distillation and epochs of an
evaluation; between any two of them its whole state can be saved. Evaluations at chosen outer
iterations give the curve; the one at the end gives the result.
"""

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distill.augment import Augmentation
from distill.checkpoint import load_checkpoint, save_checkpoint
from distill.clustering.base import InfeasibleClusteringError
from distill.config import SCHEMA_VERSION, TrialConfig, derive_seed
from distill.datasets import ImageData
from distill.distilled import to_uint8
from distill.dream import DivergedError, Dream, network_options
from distill.errors import UserError
from distill.evaluate import Evaluation, TrainingRecipe, mean_and_std
from distill.multiformation import decode
from distill.networks import Network, build_network
from distill.provenance import provenance


class InterruptedTrialError(Exception):
    """The trial was asked to stop; its state is saved if it had a checkpoint folder."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a trial stands.

    Attributes:
        outer: outer iterations finished; `n_outer`: of how many.
        fraction: share of the estimated work that is done, in [0, 1].
        matching_loss: of the last finished outer iteration.
        accuracy: mean of the last finished evaluation, in [0, 1].
        evaluating: whether networks are being trained on the synthetic images right now.
        seconds_per_outer: mean seconds of an outer iteration so far.
        seconds_left: estimate of the time to the end.
    """

    outer: int
    n_outer: int
    fraction: float
    matching_loss: float | None
    accuracy: float | None
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


@dataclass
class _Timing:
    inner: _Clock = field(default_factory=_Clock)
    epoch: _Clock = field(default_factory=_Clock)


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
        if config.eval_split == "val" and len(data.val_images) == 0:
            raise UserError(
                f"data set {data.name!r} gives no validation images; raise val_fraction"
            )
        self._eval_networks = {
            name: self._build_eval_network(name)
            for name in dict.fromkeys((config.network, *config.eval_networks))
        }
        self.dream = Dream(config, data)
        self.curve: list[dict[str, Any]] = []
        self.final_scores: dict[str, dict[str, list[float]]] = {}
        self.seconds_evaluating = 0.0
        self._evaluation: Evaluation | None = None
        self._timing = _Timing()

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
            self._timing.inner.add(time.perf_counter() - start)
            return
        if self._evaluation is None:
            self._evaluation = self._new_evaluation(plan)
        self._evaluation.run_epoch()
        if self._evaluation.done:
            self._finish_evaluation(plan, self._evaluation)
            self._evaluation = None
        self._timing.epoch.add(time.perf_counter() - start)
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

    def _is_evaluated(self, outer: int) -> bool:
        return any(p["outer"] == outer and p["accuracy_mean"] is not None for p in self.curve)

    def _point_of_curve(self, outer: int) -> dict[str, Any]:
        for point in self.curve:
            if point["outer"] == outer:
                return point
        self.curve.append({"outer": outer} | dict.fromkeys(CURVE_COLUMNS[1:]))
        return self.curve[-1]

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

    def _build_eval_network(self, name: str) -> Network:
        network = build_network(
            name, **network_options(self.config, self.data), generator=torch.Generator()
        )
        return network.to(self.data.train_images.device)

    def progress(self) -> Progress:
        """Returns where the trial stands."""
        n_outer, n_inner = int(self.config.n_outer or 0), int(self.config.n_inner or 1)
        inner_done = self.dream.outer * n_inner + self.dream.inner
        inner_left = n_outer * n_inner - inner_done
        epochs_left, epochs_done = self._epochs_left(), self._timing.epoch.n_units
        inner_seconds, epoch_seconds = self._timing.inner.mean, self._timing.epoch.mean
        known = (inner_seconds is not None or inner_left == 0) and epoch_seconds is not None
        inner_cost, epoch_cost = inner_seconds or 1.0, epoch_seconds or (inner_seconds or 1.0) / 10
        left = inner_left * inner_cost + epochs_left * epoch_cost
        done = inner_done * inner_cost + epochs_done * epoch_cost
        scored = [p["accuracy_mean"] for p in self.curve if p["accuracy_mean"] is not None]
        return Progress(
            outer=self.dream.outer,
            n_outer=n_outer,
            fraction=done / (done + left) if done + left else 1.0,
            matching_loss=self.dream.matching_loss,
            accuracy=scored[-1] if scored else None,
            evaluating=self._due() is not None,
            seconds_per_outer=inner_seconds * n_inner if inner_seconds else None,
            seconds_left=left if known else None,
        )

    def _epochs_left(self) -> int:
        config = self.config
        n_outer, every = int(config.n_outer or 0), config.eval_every or 0
        epochs = int(config.eval_epochs or 0)
        points = [
            outer
            for outer in (range(0, n_outer, every) if every else ())
            if outer >= self.dream.outer and not self._is_evaluated(outer)
        ]
        n_final = len(self._eval_networks) - len(self.final_scores)
        left = (len(points) * config.n_eval_curve + n_final * config.n_eval) * epochs
        if self._evaluation is not None:
            left -= self._evaluation.n_networks * epochs - self._evaluation.epochs_left
        return left

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
        self.curve = list(values["curve"])
        self.final_scores = dict(values["final_scores"])
        self.seconds_evaluating = values["seconds_evaluating"]
        self._evaluation = None
        plan = self._due()
        if values["evaluation"] is not None and plan is not None:
            self._evaluation = self._new_evaluation(plan)
            self._evaluation.load_state(
                _without_prefix("evaluation/", tensors), values["evaluation"]
            )

    def scores_row(self) -> dict[str, Any]:
        """Returns the result columns; those that do not exist are None."""
        row: dict[str, Any] = {}
        final = self.final_scores.get(self.config.network, {})
        for split in ("test", "val"):
            scores = final if split == self.config.eval_split else {}
            for name, key in (
                ("accuracy", "accuracies"),
                ("accuracy_best", "best_accuracies"),
                ("loss", "losses"),
            ):
                mean, std = mean_and_std(scores.get(key, []))
                row |= {f"{split}_{name}_mean": mean, f"{split}_{name}_std": std}
        row |= {
            "n_networks": len(final.get("accuracies", [])),
            "network_scores": self.final_scores,
            "matching_loss": self.dream.matching_loss,
            **{name: self.dream.cluster_statistics.get(name) for name in CLUSTER_COLUMNS},
            "clustering_seconds": self.dream.seconds["clustering"],
            "matching_seconds": self.dream.seconds["matching"],
            "network_seconds": self.dream.seconds["network"],
            "evaluation_seconds": self.seconds_evaluating,
        }
        return row


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
    checkpoint_folder: Path | None = None,
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
        checkpoint_seconds: seconds of work between two checkpoints.
        on_progress: called after every unit of work; must be quick.
        should_stop: asked after every unit of work.
        on_warning: told of damaged checkpoints.

    Returns:
        The result; also for trials whose status is `infeasible`, `diverged` or `out_of_memory`.
        Their scores are None.

    Raises:
        UserError: the configuration does not fit the data, or the checkpoints belong to another
            trial.
        InterruptedTrialError: `should_stop` said so; the state is saved.
    """
    started = dt.datetime.now(dt.UTC)
    start = time.perf_counter()
    status, message, trial, earlier_seconds = "ok", "", None, 0.0
    try:
        trial = Trial(config, data)
        earlier_seconds = _resume(trial, checkpoint_folder, on_warning)

        def save() -> None:
            if checkpoint_folder is not None:
                tensors, values = trial.state()
                values["total_seconds"] = earlier_seconds + time.perf_counter() - start
                save_checkpoint(checkpoint_folder, tensors, values)

        _work(trial, save, checkpoint_seconds, on_progress, should_stop)
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
        **(trial.scores_row() if trial is not None else {}),
        "total_seconds": earlier_seconds + time.perf_counter() - start,
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


def _work(
    trial: Trial,
    save: Callable[[], None],
    checkpoint_seconds: float,
    on_progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> None:
    last_save = time.monotonic()
    while not trial.done:
        trial.advance()
        on_progress(trial.progress())
        stop = should_stop()
        if stop or time.monotonic() - last_save > checkpoint_seconds:
            save()
            last_save = time.monotonic()
        if stop and not trial.done:
            raise InterruptedTrialError(
                f"stopped in outer iteration {trial.dream.outer + 1} of {trial.config.n_outer}"
            )


def _resume(trial: Trial, folder: Path | None, on_warning: Callable[[str], None]) -> float:
    """Loads the newest sound checkpoint, if there is one; returns the seconds spent before it."""
    found = load_checkpoint(folder, on_warning) if folder is not None else None
    if found is None:
        return 0.0
    trial.load_state(*found)
    return float(found[1]["total_seconds"])


def evaluation_of(
    config: TrialConfig,
    data: ImageData,
    network: Network,
    images: Tensor,
    labels: Tensor,
    *,
    n_networks: int,
    purpose: str,
) -> Evaluation:
    """Returns the evaluation of a small training set under a trial's recipe.

    Args:
        config: resolved.
        data: gives the images to test on and the normalisation.
        network: of the architecture to train; its weights are drawn anew.
        images: (n, c, h, w) floating point in [0, 1].
        labels: (n,) int64.
        n_networks: networks to train.
        purpose: names the random streams; different purposes are independent.
    """
    on_test = config.eval_split == "test"
    recipe = TrainingRecipe(
        epochs=int(config.eval_epochs or 0),
        batch_size=config.eval_batch_size,
        lr=float(config.eval_lr or 0),
        momentum=config.eval_momentum,
        weight_decay=config.eval_weight_decay,
        augment=Augmentation(strategy=config.eval_augment or "none"),
        cutmix_prob=config.cutmix_prob,
        cutmix_beta=config.cutmix_beta,
    )
    return Evaluation(
        recipe,
        network,
        data.normalize(images),
        labels,
        test_images=data.test_images if on_test else data.val_images,
        test_labels=data.test_labels if on_test else data.val_labels,
        normalize=data.normalize,
        n_networks=n_networks,
        seed_of=lambda index, what: derive_seed(config.seed, purpose, index, what),
    )


def random_images_baseline(
    config: TrialConfig, data: ImageData, should_stop: Callable[[], bool] = lambda: False
) -> list[float]:
    """Returns the accuracies of `n_eval` networks trained on `ipc` random real images a class.

    As many images as the distilled set stores, the same recipe; a fresh draw for every network, so
    that the spread is that of the draw, too.

    Raises:
        InterruptedTrialError: `should_stop` said so.
    """
    config = config.resolved()
    network = build_network(
        config.network, **network_options(config, data), generator=torch.Generator()
    ).to(data.train_images.device)
    accuracies: list[float] = []
    for index in range(config.n_eval):
        purpose = f"baseline {index}"
        generator = torch.Generator().manual_seed(derive_seed(config.seed, purpose))
        chosen = torch.cat(
            [
                indices[torch.randperm(len(indices), generator=generator)[: config.ipc]]
                for indices in (own.cpu() for own in data.class_indices)
            ]
        ).to(data.train_images.device)
        images, labels = data.train_images[chosen].float() / 255, data.train_labels[chosen]
        evaluation = evaluation_of(
            config, data, network, images, labels, n_networks=1, purpose=purpose
        )
        while not evaluation.done:
            evaluation.run_epoch()
            if should_stop():
                raise InterruptedTrialError("stopped in the evaluation of random real images")
        accuracies += evaluation.scores.accuracies
    return accuracies


def _without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
