"""The images of a trial: `load_dataset` takes a name and returns them on the device."""

from distill.datasets.images import ImageData
from distill.datasets.load import DATASET_NAMES, describe_source, load_dataset

__all__ = ["DATASET_NAMES", "ImageData", "describe_source", "load_dataset"]
