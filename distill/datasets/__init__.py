"""The images of a trial: `load_dataset` takes a name and returns them on the device."""

from distill.datasets.images import ImageData
from distill.datasets.load import load_dataset

__all__ = ["ImageData", "load_dataset"]
