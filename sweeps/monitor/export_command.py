"""`dream-sweep export RESULTS TRIAL FOLDER`: a finished trial's distilled set as a folder.

What a single run leaves of it: the images, the card, a picture and the configuration. Exit codes:
0; 2 bad usage, a trial that is unknown or left no distilled set, or a folder with other files.
"""

# ruff: noqa: PLC0415 - torch takes seconds to import: only where a set is written
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distill.cli.options import OneLineParser, ParsedOption
from distill.config.base import Config
from distill.errors import UserError, one_line
from distill.kinds import KINDS
from distill.parsing import path, path_or_uri, plain_text
from distill.runtime.atomic import atomic_write
from sweeps.cli.program import run_command
from sweeps.monitor.trial_names import find_trial
from sweeps.store.store import Store

ARTIFACT = "distilled"
"""Name of the artifact that is exported, and of its file."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code.

    Args:
        arguments: of the command line; None: those of this process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return run_command(lambda: _main(given))


def export_parser() -> OneLineParser:
    """Returns the parser of the command."""
    parser = OneLineParser(
        prog="dream-sweep export",
        usage="uv run dream-sweep export RESULTS TRIAL FOLDER [options]",
        description="Write the distilled set of a finished trial to a folder, with its card: "
        "datasets.load_dataset(FOLDER) reads it as it is.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "results",
        metavar="RESULTS",
        action=ParsedOption,
        parse=path_or_uri,
        help="folder or URI of the results",
    )
    parser.add_argument(
        "trial",
        metavar="TRIAL",
        action=ParsedOption,
        parse=plain_text,
        help="trial_id, or a beginning that only it has",
    )
    parser.add_argument(
        "folder", metavar="FOLDER", action=ParsedOption, parse=path, help="a new or empty folder"
    )
    parser.add_argument(
        "--data-root",
        action=ParsedOption,
        parse=path,
        metavar="DIR",
        default="data",
        help="folder of torchvision's data sets, read for sets of earlier versions, which do not "
        "note their normalisation",
    )
    return parser


def _main(arguments: list[str]) -> int:
    parsed = export_parser().parse_args(arguments)
    store, folder = Store(parsed.results), Path(parsed.folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists already; name a new or empty folder")
    try:
        store.check()
        trial_id = find_trial(parsed.trial, store)
        row, table = _row(store, trial_id), _table(store, trial_id)
    except OSError as error:
        raise UserError(f"results {store.shown} cannot be read: {error}") from None
    config = _config(row)
    files = _files(config, row, _normalised(table, config, parsed.data_root))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            atomic_write(folder / name, content)
    except OSError as error:
        raise UserError(f"{folder} cannot be written to: {error}") from None
    print(f"trial {trial_id} is in {folder}: {', '.join(sorted(files))}")
    return 0


def _row(store: Store, trial_id: str) -> dict[str, Any]:
    row = store.read_row(trial_id)
    if row is None:
        raise UserError(f"trial {trial_id} is not finished; its set is there once it is")
    return row


def _table(store: Store, trial_id: str) -> pa.Table:
    """Returns the distilled set of a trial.

    Raises:
        UserError: it has none.
    """
    try:
        content = store.read_file(f"{ARTIFACT}/{trial_id}.parquet")
    except FileNotFoundError:
        raise UserError(
            f"trial {trial_id} left no distilled set; only distillations with status ok do"
        ) from None
    try:
        return pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True).read()
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"the distilled set of trial {trial_id} is damaged ({one_line(error)}); to make it "
            "again, delete its file in trials/ and run the sweep"
        ) from None


def _normalised(table: pa.Table, config: Config, data_root: str) -> pa.Table:
    """Returns the set with its normalisation noted, from the data set where it is not.

    Raises:
        UserError: the data set cannot be read.
    """
    from distill.trials.runner import load_images
    from distill.trials.set_card import has_normalisation, with_normalisation

    if has_normalisation(table):
        return table
    try:
        return with_normalisation(table, load_images(config, data_root=data_root))
    except UserError as error:
        raise UserError(
            f"the set of trial {config.trial_id} does not note its normalisation, and its data set "
            f"cannot be read: {one_line(error)}"
        ) from None


def _config(row: Mapping[str, Any]) -> Config:
    """Returns the configuration of a row."""
    kind = KINDS[row["kind"]]
    return kind.config.from_dict({name: row[name] for name in kind.config_columns}).resolve()


def _files(config: Config, row: Mapping[str, Any], table: pa.Table) -> dict[str, bytes]:
    """Returns the files of the folder by name."""
    from distill.trials.base import Result
    from distill.trials.distilled_files import parquet_bytes
    from distill.trials.runner import trial_class_of

    scores = {"network_scores": json.loads(row["network_scores"])}
    result = Result(row={**row, **scores}, curve=[], artifacts={ARTIFACT: table})
    record = json.dumps({"kind": config.kind, **config.to_dict()}, indent=2, ensure_ascii=False)
    return {
        f"{ARTIFACT}.parquet": parquet_bytes(table),
        "config.json": f"{record}\n".encode(),
        **trial_class_of(config).extra_files(config, result),
    }


if __name__ == "__main__":
    sys.exit(main())
