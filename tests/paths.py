"""Places that tests read from."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
"""The root of the repository."""

SHARED_DATA = ROOT.resolve().parent / "shared" / "data"
"""Real images beside the repository; absent on most machines."""
