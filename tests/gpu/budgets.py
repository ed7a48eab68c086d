"""Upper limits of what a part of the work may ask of a GPU."""

from dataclasses import dataclass

from tests.gpu.counts import Counts


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits, each of them a measured number with a margin of a tenth or less.

    Attributes:
        kernels: launched, those of replayed graphs included.
        direct: launched one by one by the host.
        gigabytes: read and written.
        waits: times that the host waits for the device.
        pageable: asynchronous copies from pageable memory.
        pinned: asynchronous copies from pinned memory.
        pool: gigabytes that its graphs keep.
    """

    kernels: int
    direct: int
    gigabytes: float
    waits: int = 0
    pageable: int = 0
    pinned: int = 0
    pool: float = 0.0

    def check(self, counts: Counts) -> None:
        """Compares counts with the limits.

        Raises:
            AssertionError: one is exceeded; names the places of waits and copies.
        """
        assert counts.n_kernels <= self.kernels, f"{counts.n_kernels} kernels: {counts.kernels}"
        assert counts.direct_launches <= self.direct, f"{counts.direct_launches} direct launches"
        moved = counts.n_bytes / 1e9
        assert moved <= self.gigabytes, f"{moved:.3f} gigabytes: {counts.moved}"
        assert counts.n_syncs <= self.waits, f"{counts.n_syncs} waits: {counts.syncs}"
        assert counts.n_pageable <= self.pageable, f"pageable copies: {counts.pageable}"
        assert counts.pinned.total() <= self.pinned, f"pinned copies: {counts.pinned}"
        pool = counts.pool / 1e9
        assert pool <= self.pool, f"its graphs keep {pool:.6f} gigabytes"
