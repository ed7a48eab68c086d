"""Read a small set in whatever form it was stored."""

from distill.errors import UserError
from distill.sets.content import TENSOR_SUFFIXES, read_paths
from distill.sets.image_files import read_class_folders, read_parquet_file
from distill.sets.public_codes import check_single, read_tensor_file, read_two_files
from distill.sets.stored import StoredSet


def read_set(name: str, repetition: int = 0) -> StoredSet:
    """Returns the set that a path names.

    Forms: a Parquet file in the Hub's layout (this project's `distilled.parquet` among them), a
    folder with one folder of images for each class, files of `torch.save` in the forms of the
    public codes (`distill.sets.public_codes`), a folder with `distilled.parquet`, one Parquet file
    or MTT's two.

    Args:
        name: a path, or `IMAGES.pt,LABELS.pt`.
        repetition: which of the sets of a file with several (DC, DSA, DM), counted from 0.

    Raises:
        UserError: there is no such set or repetition, its form is unknown, or its parts do not fit
            together.

    Example:
        >>> import pathlib, tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "set.pt")
        ...     torch.save([torch.rand(2, 3, 8, 8), torch.tensor([0, 1])], path)
        ...     read_set(str(path)).format
        'IDC/DREAM tensors'
    """
    path, *others = read_paths(name)
    suffix = "" if path.is_dir() else path.suffix.lower()
    if suffix in TENSOR_SUFFIXES and not others:
        return read_tensor_file(path, repetition)
    check_single(path, repetition)
    if others:
        return read_two_files(path, *others)
    if path.is_dir():
        return read_class_folders(path)
    if suffix == ".parquet":
        return read_parquet_file(path)
    raise UserError(
        f"unknown format of the set {path}: known are .parquet, .pt and .pth files and folders of "
        "images with one folder a class"
    )
