"""Seeds of independent random streams."""

import hashlib
import json


def derive_seed(*parts: object) -> int:
    """Returns a seed in [0, 2⁶³) from a trial's seed and the purposes it is for.

    Streams of different purposes are independent, also where their numbers are neighbours.
    """
    text = json.dumps([str(part) for part in parts])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
