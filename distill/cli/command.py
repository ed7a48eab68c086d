"""Run one trial into a folder: what `python -m distill` does once its options are parsed."""

import csv
import io
import json
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

import torch

from distill.cli.display import Display
from distill.cli.options import RunOptions
from distill.config.base import Config
from distill.datasets import ImageData
from distill.datasets.images import with_classes
from distill.errors import InterruptedTrialError, UserError
from distill.evaluation.scores import mean_and_std
from distill.kinds import KINDS, config_from_dict, kind_of
from distill.runtime.atomic import atomic_write
from distill.runtime.checkpoint import LocalFolder, remove_checkpoints
from distill.runtime.devices import choose_device
from distill.runtime.memory import keep_freed_memory
from distill.runtime.signals import stop_signals
from distill.trials.base import Result
from distill.trials.distilled_files import parquet_bytes
from distill.trials.runner import check, load_images, notices_of, run, trial_class_of
from distill.trials.set_card import CARD
from distill.trials.training_lines import RECIPE

RECORD = "result.json"
"""File whose presence means that all others are complete."""

_SUFFIXES = (".json", ".csv", ".parquet", ".png", ".pt")
"""Of the files of a run, beside the card."""

BASELINE_COLUMNS = ("random_images_accuracy_mean", "random_images_accuracy_std")

SHOWN_DIFFERENCE = 0.02
"""Difference of accuracy and balanced accuracy from which both are printed."""

SMALL_IMAGE_VALUES = 2**13
"""Values of an image times width of the network, up to which one thread is used."""


def run_command(options: RunOptions, config: Config) -> int:
    """Runs a trial into a folder; returns the exit code.

    Args:
        options: where and how to run.
        config: what to run; its defaults are filled in here.

    Raises:
        UserError: nothing was touched, or a folder could not be written to.
    """
    config = config.resolve()
    device = choose_device(options.device)
    folder = Path(options.out) if options.out else _default_folder(config)
    if _is_finished(folder, config, overwrite=options.overwrite):
        with _reading_record(folder) as record:
            _print_summary(record, folder)
        print("already finished; --overwrite starts again")
        return 0
    with Display() as display:
        data = load_images(config, data_root=options.data_root, on_progress=display.loading)
        for notice in notices_of(config, data):
            display.warn(notice)
        check(config, data, options.execution)
        _prepare(folder, config, overwrite=options.overwrite)
        keep_freed_memory()
        if options.threads is not None or _is_small(config, data):
            torch.set_num_threads(options.threads or 1)
        with stop_signals() as received, _writing_to(folder):
            try:
                result, baseline = _run(config, data, device, folder, options, display, received)
            except InterruptedTrialError as interruption:
                display.warn(f"{interruption}; the same command resumes")
                return 128 + received[0]
    row = result.row | dict(zip(BASELINE_COLUMNS, mean_and_std(baseline), strict=True))
    row |= {"corrupt": list(data.corrupt), "damaged": list(data.damaged)}
    with _writing_to(folder):
        _write(folder, config, result, row)
    _print_summary(row, folder)
    return 0 if row["status"] == "ok" else 1


def _run(
    config: Config,
    data: ImageData,
    device: torch.device,
    folder: Path,
    options: RunOptions,
    display: Display,
    received: list[int],
) -> tuple[Result, list[float]]:
    """Runs the trial and, for comparison, networks on random real images."""
    display.phase("preparing the trial")
    result = run(
        config,
        data,
        checkpoint_folder=LocalFolder(folder / "checkpoints"),
        checkpoint_seconds=options.checkpoint_seconds,
        on_progress=display.trial,
        should_stop=lambda: bool(received),
        on_warning=display.warn,
        execution=options.execution,
        is_checked=True,
        device=device,
    )
    trial_class = trial_class_of(config)
    phase = trial_class.reference_phase
    if phase is None or not options.baseline or result.row["status"] != "ok":
        return result, []
    display.phase(phase)
    kept = with_classes(data, config.classes).to(device)
    return result, trial_class.reference_accuracies(config, kept, lambda: bool(received))


def _is_small(config: Config, data: ImageData) -> bool:
    """Whether one thread is as fast as two: then the other only waits for its turn.

    Where other programs keep a core busy, two threads that wait for each other at every small
    operation have been seen to take more than forty times as long (docs/lab-notes.md).
    """
    width = config["width"] if "width" in config.declared_fields() else None
    if width is None:
        return False
    return int(data.train_images[0].numel() * width) <= SMALL_IMAGE_VALUES


def _default_folder(config: Config) -> Path:
    dataset = config.dataset.split(":", 1)[0]
    ipc = config["ipc"] if "ipc" in config.declared_fields() else None
    method = str(config[config.method_field])  # of a set its path: the name of the first file
    parts = [dataset, PurePath(method.split(",", maxsplit=1)[0]).stem]
    parts += [] if ipc is None else [f"ipc{ipc}"]
    return Path("distilled") / "-".join([*parts, config.trial_id])


def _is_finished(folder: Path, config: Config, *, overwrite: bool) -> bool:
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
        found = config_from_dict(json.loads(record.read_text()))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{record} is not a trial's configuration ({error}); name another folder"
        ) from None
    if overwrite:
        return False
    if found.trial_id != config.trial_id:
        raise UserError(
            f"--out {folder} belongs to another configuration ({_differences(found, config)}); "
            "name another folder, or --overwrite to replace it"
        )
    if not (folder / RECORD).exists():
        return False
    with _reading_record(folder) as result:
        return bool(result["status"] == "ok")


@contextmanager
def _reading_record(folder: Path) -> Iterator[dict[str, Any]]:
    """Gives the result that a folder holds; what is wrong with it is a UserError."""
    path = folder / RECORD
    try:
        yield json.loads(path.read_text())
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged ({type(error).__name__}: {error}); --overwrite starts the trial "
            "again, or name another folder"
        ) from None


def _differences(found: Config, wanted: Config) -> str:
    before = {"kind": found.kind, **found.resolve().to_dict()}
    now = {"kind": wanted.kind, **wanted.to_dict()}
    changed = [name for name in {**now, **before} if now.get(name) != before.get(name)]
    shown = [f"{name} {before.get(name)} there, {now.get(name)} here" for name in changed[:3]]
    return "; ".join(shown) + ("; …" if len(changed) > 3 else "")


def _prepare(folder: Path, config: Config, *, overwrite: bool) -> None:
    """Makes the folder, removes what an overwritten run left, and writes the configuration."""
    with _writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if overwrite:
            for path in folder.iterdir():
                if path.suffix in _SUFFIXES or path.name in (CARD, RECIPE):
                    path.unlink()
            remove_checkpoints(LocalFolder(folder / "checkpoints"))
        content = _json({"kind": config.kind, **config.to_dict()})
        atomic_write(folder / "config.json", content)


def _write(folder: Path, config: Config, result: Result, row: dict[str, Any]) -> None:
    """Writes the files of a result, the record last."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(kind_of(config).curve_columns))
    writer.writeheader()
    writer.writerows(result.curve)
    atomic_write(folder / "curve.csv", text.getvalue().encode())
    for name, table in result.artifacts.items():
        atomic_write(folder / f"{name}.parquet", parquet_bytes(table))
    if result.network is not None:
        atomic_write(folder / "network.pt", result.network)
    if result.artifacts:
        for name, content in trial_class_of(config).extra_files(config, result).items():
            atomic_write(folder / name, content)
    atomic_write(folder / RECORD, _json(row))
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
            f"--out {folder} cannot be written to: {error}; the same command resumes "
            "from the last checkpoint once it can"
        ) from None


def _print_summary(row: dict[str, Any], folder: Path) -> None:
    print(_title(row))
    if row["status"] != "ok":
        print(f"  {row['status']}: {row['status_message']}", file=sys.stderr)
        print(f"  the record is in {folder}/{RECORD}")
        return
    split = row["eval_split"]
    networks = f"{row['n_networks']} networks, last epoch"
    best = row[f"{split}_accuracy_best_mean"]
    if best is not None:
        networks += f"; best of several tests {100 * best:.1f} %"
    lines = {}
    if row[f"{split}_accuracy_mean"] is not None:
        lines[f"{split} accuracy"] = f"{_percent(row, f'{split}_accuracy')}   ({networks})"
    if _is_balance_shown(row, split):
        shown = _percent(row, f"{split}_balanced_accuracy")
        lines["balanced accuracy"] = f"{shown}   (mean of the classes' own accuracies)"
    for name, scores in row["network_scores"].items():
        if name != row.get("network"):
            mean, std = mean_and_std(scores["accuracies"])
            lines[f"on {name}"] = _percent({"_mean": mean, "_std": std}, "")
    if row.get(BASELINE_COLUMNS[0]) is not None:
        shown = _percent(row, "random_images_accuracy")
        lines["random real images"] = f"{shown}   (same number, same recipe)"
    lines["chance"] = f"{100 / row['n_classes']:5.1f} %"
    lines["time"] = f"{row['total_seconds']:5.0f} s on {row['device']}"
    for label, text in lines.items():
        print(f"  {label:<20}{text}")
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    written = f"written to {folder}/: {', '.join(files)}"
    width = shutil.get_terminal_size().columns  # 80 where it is unknown
    wrapped = textwrap.wrap(written, width - 4, break_long_words=False, break_on_hyphens=False)
    print("  " + "\n    ".join(wrapped))


def _is_balance_shown(row: dict[str, Any], split: str) -> bool:
    """Whether the balanced accuracy says something else than the accuracy."""
    accuracy = row[f"{split}_accuracy_mean"]
    balanced = row.get(f"{split}_balanced_accuracy_mean")
    if accuracy is None or balanced is None:
        return False
    return bool(abs(balanced - accuracy) >= SHOWN_DIFFERENCE)


def _title(row: dict[str, Any]) -> str:
    method = row[KINDS[row["kind"]].config.method_field]
    parts = [f"{row['dataset']}: {method}"]
    if row.get("ipc") is not None:
        parts.append(f"{row['ipc']} images per class")
    return ", ".join([*parts, f"{row['protocol']} protocol", f"seed {row['seed']}"])


def _percent(row: dict[str, Any], name: str) -> str:
    mean, std = row[f"{name}_mean"], row[f"{name}_std"]
    return f"{100 * mean:5.1f}" + (f" ± {100 * std:.1f} %" if std is not None else " %")
