"""Base classes of clusterers and clusterings, and their shared arithmetic.

A *clusterer* is a method: a frozen dataclass of hyper-parameters with their standard names. A
*clustering* is its result on the points of one class. Shapes: n points, d features, k clusters.
"""

import functools
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from distill.errors import SlowerWarning
from distill.runtime.devices import require_memory

NOISE = -1
"""Label of a point that belongs to no cluster."""

_BATCH_VALUES = 2**29
"""Largest number of values per batch of classes: 2 GiB in float32, ten classes of 5,000 × 2,048."""
_WHOLE_VALUES = 2**24
"""Largest number of values of points that are checked or summed at once: 64 MiB in float32."""
_BLOCK_VALUES = 2**19
"""Values in each block of more points than that, whose copies hardly count beside the points."""
_TRIANGLE_ROWS = 512
"""Rows per block of the upper triangle of distances; only diagonal blocks are computed in full."""


@dataclass(frozen=True, kw_only=True)
class Clustering:
    """A partition of the n points of one class into k clusters and noise.

    Attributes:
        labels: (n,) int64, the cluster of each point in 0 … k − 1, or −1 for noise. Every cluster
            has at least one point, unless the method documents otherwise.
        centers: (k, d), in the dtype of the points: the mean of each cluster, or its medoid for
            methods that have medoids.
        inertia: 0-d float64, the sum of *squared* Euclidean distances of the points that are not
            noise to their centers; None for methods that minimise something else.
        total_deviation: 0-d float64, the sum of *plain* Euclidean distances of the points to their
            medoids (Kaufman & Rousseeuw, 1990); None for methods without medoids.
        medoid_indices: (k,) int64, the indices of the medoids among the points; None for methods
            without medoids.
        n_iter: number of iterations of the method's outer loop; 0 for methods without one.
        masses: (k,) float64, what the clusters weigh in place of their sizes; None: their sizes.
        closeness: (n,) float64, by which the points of a cluster represent it, the largest first;
            None: by their distance to its center.

    Example:
        >>> clustering = Clustering(
        ...     labels=torch.tensor([0, 1, 1, NOISE]), centers=torch.tensor([[0.0], [2.5]])
        ... )
        >>> clustering.n_clusters, clustering.sizes, clustering.n_noise
        (2, tensor([1, 2]), 1)
    """

    labels: Tensor
    centers: Tensor
    inertia: Tensor | None = None
    total_deviation: Tensor | None = None
    medoid_indices: Tensor | None = None
    n_iter: int = 0
    masses: Tensor | None = None
    closeness: Tensor | None = None
    sizes: Tensor = field(init=False)
    """(k,) int64, the number of points of each cluster."""

    def __post_init__(self) -> None:
        # Noise is counted as cluster −1 and dropped: no host–device sync, unlike `bincount`.
        counts = self.labels.new_zeros(len(self.centers) + 1)
        counts.scatter_add_(0, self.labels + 1, torch.ones_like(self.labels))
        object.__setattr__(self, "sizes", counts[1:])

    @property
    def n_clusters(self) -> int:
        """Number of clusters found, k; it can differ from the requested number."""
        return len(self.centers)

    @property
    def n_noise(self) -> int:
        """Number of points in no cluster."""
        return int((self.labels == NOISE).sum())


class Clusterer(ABC):
    """A clustering method. Subclasses are final frozen dataclasses that implement `_fit` only.

    Subclasses of `BatchClusterer` implement `_fit_batch` instead.

    Attributes:
        uses_points: whether the result depends on the points, not only on their number.
        runs_on_cpu: whether it runs on the CPU only, where points of a GPU are copied; a
            `SlowerWarning` says so once.

    Example:
        >>> from distill.clustering.kmeans import KMeans
        >>> clusterer: Clusterer = KMeans()
        >>> points = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
        >>> clustering = clusterer.fit(points, 2, torch.Generator().manual_seed(0))
        >>> sorted(clustering.sizes.tolist())
        [2, 2]
    """

    uses_points: ClassVar[bool] = True
    runs_on_cpu: ClassVar[bool] = False

    def fit(self, points: Tensor, n_clusters: int, generator: torch.Generator) -> Clustering:
        """Clusters the points of one class.

        Args:
            points: (n, d) floating point, finite, on any device. Not modified.
            n_clusters: number of clusters, in [1, n]. Methods that determine the number (DBSCAN)
                ignore it.
            generator: the only source of randomness, on the CPU or on the device of the points.
                The same generator state gives the same result on the same device.

        Raises:
            ValueError: the points are not an (n, d) floating-point matrix of finite numbers with
                n and d at least 1, or `n_clusters` is outside [1, n].
            InfeasibleClusteringError: the method finds no cluster at all.
            InsufficientMemoryError: it needs a matrix that does not fit into memory.
        """
        check_points(points, n_clusters)
        self._warn_of_cpu(points.device)
        return self._fit(points, n_clusters, generator)

    def fit_classes(
        self,
        points: Sequence[Tensor],
        n_clusters: int,
        generator: torch.Generator,
        *,
        together: bool | None = None,
    ) -> list[Clustering]:
        """Clusters several classes, which may differ in size.

        Every class has a separate generator, seeded from `generator` in class order, so that the
        result for one class does not depend on the numbers that others consume.

        Args:
            points: one (n_c, d) tensor per class.
            n_clusters: number of clusters per class, at most the size of the smallest class.
            generator: see `fit`.
            together: whether a `BatchClusterer` works on several classes at once. The default is
                True on a GPU, which one class does not fill and whose launches of small operations
                dominate (not measured), and False on a CPU, where the blocks of one class stay in
                the caches (measured, see the lab notes). The result is the same.

        Raises:
            ValueError: see `fit`.
            InfeasibleClusteringError: the method finds no cluster in a class.
        """
        generators = spawn_generators(generator, len(points))
        for class_points in points:
            check_points(class_points, n_clusters)
        self._warn_of_cpu(points[0].device)
        if together is None:
            together = points[0].is_cuda
        if not (together and isinstance(self, BatchClusterer)):
            return [
                self._fit(class_points, n_clusters, class_generator)
                for class_points, class_generator in zip(points, generators, strict=True)
            ]
        clusterings: list[Clustering] = []
        for group in _groups(points):
            clusterings += self._fit_batch(points[group], n_clusters, generators[group])
        return clusterings

    def _warn_of_cpu(self, device: torch.device) -> None:
        if self.runs_on_cpu and device.type != "cpu":
            warn_of_cpu(type(self).__name__, device.type)

    @abstractmethod
    def _fit(self, points: Tensor, n_clusters: int, generator: torch.Generator) -> Clustering:
        """Implements `fit` for checked arguments."""


@functools.cache
def warn_of_cpu(name: str, device_type: str) -> None:
    """Warns once for each method that it runs on the CPU, though the points are elsewhere.

    Args:
        name: of the method.
        device_type: where the points are, such as `cuda`.
    """
    warnings.warn(
        f"{name} runs on the CPU only: points on {device_type} are copied there at every "
        "clustering, slower (k-means, K-Medoids, DBSCAN, agglomerative clustering and greedy "
        "medoids run on GPUs)",
        SlowerWarning,
        stacklevel=4,
    )


class BatchClusterer(Clusterer):
    """A clustering method that can work on several classes at once. Subclasses are final.

    A method that runs on a GPU's own library implements `_fit_batch`.
    """

    def _fit(self, points: Tensor, n_clusters: int, generator: torch.Generator) -> Clustering:
        return self._fit_batch([points], n_clusters, [generator])[0]

    @abstractmethod
    def _fit_batch(
        self, points: Sequence[Tensor], n_clusters: int, generators: Sequence[torch.Generator]
    ) -> list[Clustering]:
        """Implements `fit` for one or more classes on one device, with one generator per class."""


def _groups(points: Sequence[Tensor]) -> list[slice]:
    """Splits the classes into runs whose padded points and distances fit into `_BATCH_VALUES`."""
    groups, first = [], 0
    for last in range(1, len(points) + 1):
        n = max(len(class_points) for class_points in points[first : last + 1])
        n_values = (last + 1 - first) * n * (n + points[0].shape[1])
        if last == len(points) or n_values > _BATCH_VALUES:
            groups.append(slice(first, last))
            first = last
    return groups


def check_points(points: Tensor, n_clusters: int) -> None:
    """Checks the arguments of `Clusterer.fit`.

    Raises:
        ValueError: the points or the number of clusters are invalid.
    """
    if points.ndim != 2 or 0 in points.shape:
        raise ValueError(
            "points must be an (n, d) matrix with n and d at least 1, "
            f"got shape {tuple(points.shape)}"
        )
    if not points.is_floating_point():
        raise ValueError(f"points must be floating point, got {points.dtype}")
    if not all(bool(torch.isfinite(block).all()) for block in points.split(_block_rows(points))):
        bad_rows = (~torch.isfinite(points).all(dim=1)).sum()
        raise ValueError(f"points must be finite, got NaN or infinity in {int(bad_rows)} rows")
    if not 1 <= n_clusters <= len(points):
        raise ValueError(
            f"n_clusters must be in [1, {len(points)}] for {len(points)} points, got {n_clusters}"
        )


def spawn_generators(generator: torch.Generator, n: int) -> list[torch.Generator]:
    """Returns n generators on the same device, seeded by numbers drawn from `generator`."""
    device = generator.device
    seeds = torch.randint(2**63 - 1, (n,), generator=generator, device=device, dtype=torch.int64)
    return [torch.Generator(device=device).manual_seed(seed) for seed in seeds.tolist()]


def cluster_means(points: Tensor, labels: Tensor, n_clusters: int) -> Tensor:
    """Returns the (k, d) means of the clusters; noise (label −1) is left out.

    Sums are computed in float64 and rounded once, so that the result does not depend on the order
    of a device's additions (up to the last bit of float32). The mean of an empty cluster is zero.
    """
    sums = torch.zeros(n_clusters, points.shape[1], dtype=torch.float64, device=points.device)
    sizes = torch.zeros(n_clusters, dtype=torch.int64, device=points.device)
    for block, block_labels in _blocks(points, labels):
        member = block_labels != NOISE
        owners = block_labels[member]
        sums.index_add_(0, owners, block[member].double())
        sizes += torch.bincount(owners, minlength=n_clusters)
    sizes = sizes.clamp_min(1)
    return (sums / sizes[:, None]).to(points.dtype)


def inertia_of(points: Tensor, labels: Tensor, centers: Tensor) -> Tensor:
    """Returns the 0-d float64 sum of squared distances to the centers, without noise."""
    total = torch.zeros((), dtype=torch.float64, device=points.device)
    for block, block_labels in _blocks(points, labels):
        member = block_labels != NOISE
        differences = block[member].double().sub_(centers[block_labels[member]])
        total += differences.square_().sum()
    return total


def _blocks(points: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields blocks of (n, d) points with their labels."""
    n_rows = _block_rows(points)
    yield from zip(points.split(n_rows), labels.split(n_rows), strict=True)


def _block_rows(points: Tensor) -> int:
    """Returns the rows of a block.

    All on a GPU, where every block would be a wait of the host, and of few points, as the threads
    of a CPU wait for each other at every block.
    """
    n, d = points.shape
    return n if points.is_cuda or n * d <= _WHOLE_VALUES else max(1, _BLOCK_VALUES // d)


@contextmanager
def without_tf32() -> Iterator[None]:
    """Disables TF32, whose 10-bit mantissa would change the order of neighbours."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def require_memory_for_pairs(
    points: Tensor, n_pairs: int, bytes_per_pair: int, n_points: int
) -> None:
    """Raises an error where values for pairs of points do not fit into memory.

    Call it before anything is allocated.

    Args:
        points: on the device that the values are on.
        n_pairs: number of pairs.
        bytes_per_pair: bytes of all values of a pair that are in memory at the same time.
        n_points: points of the largest class, for the message.

    Raises:
        InsufficientMemoryError: they do not fit; the message says what can be done.
    """
    require_memory(
        n_pairs * bytes_per_pair,
        points.device,
        f"the distances between the {n_points:,} points of a class",
        "take fewer images (--train-per-class), or a clusterer without such a matrix, such as "
        "hdbscan or minibatch_kmeans",
        how=f"{bytes_per_pair} bytes a pair",
    )


def squared_distances(points: Tensor, others: Tensor) -> Tensor:
    """Returns the (n, m) squared Euclidean distances by one matrix product, clamped at zero.

    Both sets are first centred on the mean of `points`: the expansion ‖x‖² − 2⟨x, y⟩ + ‖y‖² loses
    digits in proportion to ‖x‖², so it must not be applied to data far from the origin. The product
    is computed in the dtype of the points.
    """
    mean = points.mean(dim=0)
    points, others = points - mean, others - mean
    with without_tf32():
        products = points @ others.T
    squares = points.square().sum(dim=1)[:, None] + others.square().sum(dim=1)
    return squares.sub_(products, alpha=2).clamp_min_(0)


def pairwise_squares(points: Tensor) -> Tensor:
    """Returns the (n, n) squared Euclidean distances between all points, exactly symmetric.

    It takes half the operations of `squared_distances`: for every block of rows, only the part to
    the right of the diagonal is computed, and mirrored. The diagonal is zero.
    """
    n = len(points)
    points = points - points.mean(dim=0)
    norms = points.square().sum(dim=1)
    squares = points.new_empty(n, n)
    n_rows = max(1, min(_TRIANGLE_ROWS, 2**26 // n))
    for first in range(0, n, n_rows):
        last = min(first + n_rows, n)
        with without_tf32():
            block = torch.addmm(norms[first:], points[first:last], points[first:].T, alpha=-2)
        block.add_(norms[first:last, None]).clamp_min_(0)
        squares[first:last, first:] = block
        squares[first:, first:last] = block.T
        diagonal_block = squares[first:last, first:last]
        diagonal_block.copy_(torch.maximum(diagonal_block, diagonal_block.T))
    return squares.fill_diagonal_(0)
