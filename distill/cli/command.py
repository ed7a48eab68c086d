"""What `python -m distill` does once its options are known to be right."""

import argparse
import csv
import io
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from distill.cli.display import Display
from distill.cli.options import execution_of
from distill.config.distillation import DistillationConfig
from distill.datasets import ImageData, load_dataset
from distill.dream.loop import check_fit
from distill.dream.multiformation import decode
from distill.errors import InterruptedTrialError, UserError
from distill.evaluation.recipe import random_images_baseline
from distill.evaluation.scores import mean_and_std
from distill.runtime.atomic import atomic_write
from distill.runtime.checkpoint import LocalFolder, remove_checkpoints
from distill.runtime.memory import keep_freed_memory
from distill.trials.distillation import CURVE_COLUMNS, TrialResult, run_trial
from distill.trials.distilled_files import save_distilled, save_sheet

RESULT_FILES = (
    "config.json",
    "result.json",
    "curve.csv",
    "distilled.parquet",
    "decoded.parquet",
    "distilled.png",
)


def run_command(options: argparse.Namespace, config: DistillationConfig) -> int:
    """Runs a trial into a folder; returns the exit code.

    Args:
        options: how to run (see `distill.__main__`).
        config: what to run; its defaults are filled in here.

    Raises:
        UserError: nothing was touched, or a folder could not be written to.
    """
    config = config.resolved()
    device = choose_device(options.device)
    if options.checkpoint_seconds < 0:
        raise UserError(f"checkpoint-seconds must be at least 0, got {options.checkpoint_seconds}")
    if options.threads is not None and options.threads < 1:
        raise UserError(f"threads must be at least 1, got {options.threads}")
    folder = Path(options.out) if options.out else _default_folder(config)
    if _is_finished(folder, config, overwrite=options.overwrite):
        _print_summary(json.loads((folder / "result.json").read_text()), folder)
        print("already finished; --overwrite starts anew")
        return 0
    with Display() as display:
        data = _load(config, options.data_root, device, display)
        check_fit(config, data)
        if data.n_corrupt:
            display.warn(f"left out {data.n_corrupt} images that cannot be decoded, such as")
            for place in data.corrupt[:3]:
                display.warn(f"  {place}")
        _prepare(folder, config, overwrite=options.overwrite)
        keep_freed_memory()
        if options.threads is not None or _is_small(config, data):
            torch.set_num_threads(options.threads or 1)
        with _stop_signals() as stop, _writing_to(folder):
            try:
                result, baseline = _run(config, data, folder, options, display, stop)
            except InterruptedTrialError as interruption:
                display.warn(f"{interruption}; the same command goes on from there")
                return 128 + stop[0]
    row = result.row | dict(zip(BASELINE_COLUMNS, mean_and_std(baseline), strict=True))
    row |= {"n_test": len(data.test_images), "n_classes": data.n_classes}
    row |= {"corrupt": list(data.corrupt)}
    with _writing_to(folder):
        _write(folder, config, data, result, row)
    _print_summary(row, folder)
    return 0 if row["status"] == "ok" else 1


def _run(
    config: DistillationConfig,
    data: ImageData,
    folder: Path,
    options: argparse.Namespace,
    display: Display,
    stop: list[int],
) -> tuple[TrialResult, list[float]]:
    """Runs the trial and, for comparison, networks on random real images."""
    display.phase("choosing the initial images")
    result = run_trial(
        config,
        data,
        checkpoint_folder=LocalFolder(folder / "checkpoints"),
        checkpoint_seconds=options.checkpoint_seconds,
        on_progress=display.trial,
        should_stop=lambda: bool(stop),
        on_warning=display.warn,
        execution=execution_of(options),
    )
    if not options.baseline or result.row["status"] != "ok":
        return result, []
    display.phase("training networks on random real images, for comparison")
    return result, random_images_baseline(config, data, lambda: bool(stop))


SMALL_IMAGE_VALUES = 2**13
"""Values of an image times width of the network, up to which one thread is used."""

BASELINE_COLUMNS = ("random_images_accuracy_mean", "random_images_accuracy_std")


def choose_device(name: str) -> torch.device:
    """Returns the device of a name: `auto` is the first GPU where there is one, else the CPU.

    Raises:
        UserError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}")
    n_gpus = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= n_gpus:
        raise UserError(f"device {name} is not there: torch sees {n_gpus} GPUs; use --device cpu")
    return device


def _is_small(config: DistillationConfig, data: ImageData) -> bool:
    """Whether one thread is as fast as two: then the other only waits for its turn (see LOG.md).

    Where other programs keep a core busy, two threads that wait for each other at every small
    operation have been seen to take more than forty times as long.
    """
    return data.train_images[0].numel() * int(config.width or 0) <= SMALL_IMAGE_VALUES


def _default_folder(config: DistillationConfig) -> Path:
    dataset = config.dataset.split(":", 1)[0]
    return Path("distilled") / f"{dataset}-{config.clusterer}-ipc{config.ipc}-{config.trial_id}"


def _is_finished(folder: Path, config: DistillationConfig, *, overwrite: bool) -> bool:
    """Whether the folder holds the finished result of this configuration, to be kept.

    Raises:
        UserError: the folder belongs to something else.
    """
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise UserError(f"--out {folder} is a file; name a folder")
    record = folder / "config.json"
    if not record.exists():
        if any(folder.iterdir()):
            raise UserError(f"--out {folder} holds other files; name a new or empty folder")
        return False
    try:
        theirs = DistillationConfig.from_dict(json.loads(record.read_text()))
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{record} is not a trial's configuration ({error}); name another folder"
        ) from None
    if overwrite:
        return False
    if theirs.trial_id != config.trial_id:
        raise UserError(
            f"--out {folder} belongs to another configuration ({_differences(theirs, config)}); "
            "name another folder, or --overwrite to replace it"
        )
    result = folder / "result.json"
    return result.exists() and json.loads(result.read_text())["status"] == "ok"


def _differences(theirs: DistillationConfig, ours: DistillationConfig) -> str:
    there, here = theirs.resolved().to_dict(), ours.to_dict()
    changed = [name for name in here if here[name] != there[name]]
    shown = [f"{name} {there[name]} there, {here[name]} here" for name in changed[:3]]
    return "; ".join(shown) + ("; …" if len(changed) > 3 else "")


def _load(
    config: DistillationConfig, data_root: str, device: torch.device, display: Display
) -> ImageData:
    return load_dataset(
        config.dataset,
        data_root=data_root,
        image_size=config.image_size,
        val_fraction=config.val_fraction,
        test_fraction=config.test_fraction,
        split_seed=config.split_seed,
        on_corrupt=config.on_corrupt,
        device=device,
        on_progress=display.loading,
    )


def _prepare(folder: Path, config: DistillationConfig, *, overwrite: bool) -> None:
    """Makes the folder, removes what an overwritten run left, and notes the configuration."""
    with _writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if overwrite:
            for name in RESULT_FILES:
                (folder / name).unlink(missing_ok=True)
            remove_checkpoints(LocalFolder(folder / "checkpoints"))
        atomic_write(folder / "config.json", _json(config.to_dict()))


def _write(
    folder: Path,
    config: DistillationConfig,
    data: ImageData,
    result: TrialResult,
    row: dict[str, Any],
) -> None:
    """Writes the files of a result, `result.json` last: its presence means that all are there."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, CURVE_COLUMNS)
    writer.writeheader()
    writer.writerows(result.curve)
    atomic_write(folder / "curve.csv", text.getvalue().encode())
    if result.images is not None:
        factor = int(config.factor or 1)
        metadata = {"trial_id": config.trial_id, "factor": str(factor)}
        names = data.class_names
        save_distilled(
            folder / "distilled.parquet", result.images, result.labels, names, metadata=metadata
        )
        if factor > 1:
            save_distilled(
                folder / "decoded.parquet",
                decode(result.images.float() / 255, factor),
                result.labels.repeat(factor**2),
                names,
                metadata=metadata | {"factor": "1"},
            )
        save_sheet(folder / "distilled.png", result.images, result.labels, names)
    atomic_write(folder / "result.json", _json(row))
    if row["status"] == "ok":
        remove_checkpoints(LocalFolder(folder / "checkpoints"))


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    """Turns a full disk, a read-only folder and the like into one clear line."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"--out {folder} cannot be written to: {error}; the same command goes on "
            "from the last checkpoint once it can"
        ) from None


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM in a list instead of dying of them; a second one does kill."""
    received: list[int] = []
    previous: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(number)
        signal.signal(number, previous[number])

    for stop in (signal.SIGINT, signal.SIGTERM):
        previous[stop] = signal.signal(stop, note)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _print_summary(row: dict[str, Any], folder: Path) -> None:
    print(
        f"{row['dataset']}: {row['clusterer']}, {row['ipc']} images per class, "
        f"{row['protocol']} protocol, seed {row['seed']}"
    )
    if row["status"] != "ok":
        print(f"  {row['status']}: {row['status_message']}", file=sys.stderr)
        print(f"  the record is in {folder}/result.json")
        return
    split = row["eval_split"]
    best = f"best of four tests {100 * row[f'{split}_accuracy_best_mean']:.1f} %"
    networks = f"{row['n_networks']} networks, last epoch; {best}"
    lines = {f"{split} accuracy": f"{_percent(row, f'{split}_accuracy')}   ({networks})"}
    for name, scores in row["network_scores"].items():
        if name != row["network"]:
            mean, std = mean_and_std(scores["accuracies"])
            lines[f"on {name}"] = _percent({"_mean": mean, "_std": std}, "")
    if row.get(BASELINE_COLUMNS[0]) is not None:
        shown = _percent(row, "random_images_accuracy")
        lines["random real images"] = f"{shown}   (same number, same recipe)"
    lines["chance"] = f"{100 / row['n_classes']:5.1f} %"
    lines["time"] = f"{row['total_seconds']:5.0f} s on {row['device']}"
    for label, text in lines.items():
        print(f"  {label:<20}{text}")
    print(f"  written to {folder}/: {', '.join(n for n in RESULT_FILES if (folder / n).exists())}")


def _percent(row: dict[str, Any], name: str) -> str:
    mean, std = row[f"{name}_mean"], row[f"{name}_std"]
    return f"{100 * mean:5.1f}" + (f" ± {100 * std:.1f} %" if std is not None else " %")
