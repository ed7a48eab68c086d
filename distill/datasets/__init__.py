"""Data sets: load the images of a trial by name and put them on the device."""

from distill.datasets.images import ImageData, describe_notices
from distill.datasets.load import DATASET_NAMES, describe_source, load_dataset

__all__ = ["DATASET_NAMES", "ImageData", "describe_notices", "describe_source", "load_dataset"]
