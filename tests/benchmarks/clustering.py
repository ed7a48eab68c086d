"""What a clustering of the classes costs, beside what everybody uses, on whatever device is here.

    uv run python tests/benchmarks/clustering.py [METHOD …] [--device cuda] [--classes 10]
        [--n 5000] [--d 2048] [--k 128] [--threads 2] [--repeats 3] [--references none]

For every method: seconds here, seconds of the reference, their ratio (above 1: faster here), and
whether the results agree. Both do the same: k-means runs from the same start to the same tolerance,
DBSCAN has the same radius, K-Medoids the same starting medoids; those that scikit-learn computes
have its estimator with the same seed as reference. One after the other in turns, medians of
`--repeats`; CPU seconds (of all threads; on a CPU) beside the clock's, because other work may share
the machine. References: scikit-learn; `kmedoids` (Rust) on distances by scikit-learn; and for
k-means the plain loop over classes that one would write in torch, on the same device. On a GPU,
scikit-learn works on the first class alone, and only the result is compared.

Points are like rectified features: not negative, off-centre, of unequal scale, with heavy tails.

Then what a GPU would feel: operations and host–device syncs of ten small classes, together and
class by class; and k-means against the roofline: its products and bytes by the rates of a plain
matrix product and copy on this device, measured here.
"""

import argparse
import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import sklearn.cluster
import sklearn.mixture
import torch
from sklearn.metrics import euclidean_distances
from sklearn.metrics.pairwise import pairwise_distances
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from distill.clustering import kmedoids as own_kmedoids
from distill.clustering.base import Clusterer, Clustering, spawn_generators
from distill.clustering.dbscan import kth_neighbor_distances
from distill.clustering.fasterpam import fasterpam
from distill.clustering.gmm import GaussianMixture
from distill.clustering.hdbscan import HDBSCAN
from distill.clustering.kmeans import KMeans
from distill.clustering.labels import seed_of
from distill.clustering.registry import CLUSTERERS
from distill.clustering.scikit_kmeans import BisectingKMeans, MiniBatchKMeans
from distill.clustering.spectral import Spectral
from distill.errors import InfeasibleClusteringError
from tests.distill.clustering.partitions import same_partition

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "kmeans++": [{"n_local_trials": 1}, {"n_local_trials": 6}],
    "kmedoids": [{"medoid_algorithm": "fasterpam", "medoid_init": "lab"}],
    "dbscan": [{"eps_quantile": 0.5, "min_samples": 5}],
    "dbscan_published": [{"eps": None, "min_samples": 2}],
    "agglomerative": [{"linkage": name} for name in ("ward", "complete", "average", "single")],
    "birch": [{"threshold_quantile": 0.5, "branching_factor": 50}],
}
"""Options of every method that has any; an `eps` of None is set from the points."""

SYNCS = {
    "_local_scalar_dense",
    "nonzero",
    "equal",
    "bincount",
    "masked_select",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
}
"""Operations for which the host waits on a GPU."""
FREE = {"view", "_unsafe_view", "t", "transpose", "expand", "slice", "select", "unsqueeze"}
FREE |= {"squeeze", "split", "alias", "detach", "permute", "as_strided", "empty", "unbind", "chunk"}
"""Operations that launch nothing."""


def features(n: int, d: int, seed: int) -> Tensor:
    """Draws (n, d) float32 points of one class as a rectified layer, the same for all, gives them.

    A class has 40 overlapping modes.
    """
    layer, own = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1 + seed)
    modes = 1.5 * torch.randn(40, 32, generator=own)
    hidden = modes[torch.randint(40, (n,), generator=own)] + torch.randn(n, 32, generator=own)
    points = hidden @ torch.randn(32, d, generator=layer) / 32**0.5
    points += 0.7 * torch.randn(n, d, generator=own) + torch.randn(d, generator=layer)
    scale = torch.exp(0.8 * torch.randn(d, generator=layer))
    gain = torch.exp(0.2 * torch.randn(n, 1, generator=own))
    rectified: Tensor = points.relu() ** 1.3 * scale * gain
    return rectified


class Counter(TorchDispatchMode):
    """Counts operations that launch a kernel on a GPU, and those that the host waits for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.n_operations = self.n_syncs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.n_operations += name not in FREE
        boolean = name in ("index", "index_put_", "_index_put_impl_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        self.n_syncs += boolean or name in SYNCS
        return func(*args, **(kwargs or {}))


class Case(NamedTuple):
    """One method, and its reference if there is one."""

    name: str
    here: Callable[[], list[Clustering]]
    reference: Callable[[], Any] | None
    agree: Callable[[list[Clustering], Any], str]
    note: str


class Data(NamedTuple):
    """The classes: on the device, and as NumPy arrays for the references."""

    points: list[Tensor]
    arrays: list[np.ndarray[Any, Any]]
    k: int


def seeded() -> torch.Generator:
    """Returns the generator of every clustering."""
    return torch.Generator().manual_seed(0)


def cases(data: Data, names: Sequence[str], references: bool) -> list[Case]:
    """Returns the methods asked for, with all their options."""
    found = []
    for name in names:
        for options in OPTIONS.get(name, [{}]):
            options = dict(options)
            if name.startswith("dbscan"):
                reach = kth_neighbor_distances(data.points[0], options["min_samples"]).sort().values
                options.pop("eps_quantile", None)
                # Between two distances: at exactly one of them rounding would decide.
                options["eps"] = float(reach[len(reach) // 2 :][:2].mean())
            if name == "dbscan":
                options["eps_quantile"] = None
            own = CLUSTERERS.build(name, **options)
            shown = {key: round(v, 2) if isinstance(v, float) else v for key, v in options.items()}
            label = " ".join([name, *(str(value) for value in shown.values() if value is not None)])
            found.append(_case(label, name, own, data, references))
    return found


def _case(label: str, name: str, own: Clusterer, data: Data, references: bool) -> Case:
    def here() -> list[Clustering]:
        return own.fit_classes(data.points, data.k, seeded())

    kind = next((kind for kind in REFERENCES if name.startswith(kind)), None)
    if not references or kind is None:
        return Case(label, here, None, _labels_agree, "" if kind else "no reference")
    reference, agree, note = REFERENCES[kind](own, data)
    return Case(label, here, reference, agree, note)


def _labels_agree(ours: list[Clustering], theirs: list[Any]) -> str:
    same = [
        same_partition(mine.labels.cpu(), torch.from_numpy(np.asarray(labels)).long())
        for mine, labels in zip(ours, theirs, strict=False)
    ]
    return "equal partitions" if all(same) else f"{sum(same)} of {len(same)} partitions equal"


def _kmeans(own: Any, data: Data) -> tuple[Callable[[], Any], Callable[..., str], str]:
    generators = spawn_generators(seeded(), len(data.points))
    starts = own._starting_indices(data.points, data.k, generators)
    tol = [own.tol] * len(data.points)
    if not own.tol_relative:  # scikit-learn's is relative
        tol = [own.tol / float(x.var(dim=0, correction=0).mean()) for x in data.points]

    def reference() -> list[Any]:
        results = []
        for array, start, bound in zip(data.arrays, starts, tol, strict=False):
            begin = array[start.cpu().numpy()]
            if own.init == "k-means++":
                sklearn.cluster.kmeans_plusplus(
                    array, data.k, random_state=0, n_local_trials=own.n_local_trials
                )
            theirs = sklearn.cluster.KMeans(
                data.k, init=begin, n_init=1, tol=bound, max_iter=own.max_iter
            )
            results.append(theirs.fit(array))
        return results

    def agree(ours: list[Clustering], theirs: list[Any]) -> str:
        other = [
            int((mine.labels.cpu().numpy() != result.labels_).sum())
            for mine, result in zip(ours, theirs, strict=False)
        ]
        text = "equal labels" if not any(other) else f"{other} points in other clusters"
        excess = [
            float(mine.inertia) / result.inertia_ - 1  # type: ignore[arg-type]
            for mine, result in zip(ours, theirs, strict=False)
        ]
        n_iter = [(mine.n_iter, r.n_iter_) for mine, r in zip(ours, theirs, strict=False)]
        same = "same" if all(a == b for a, b in n_iter) else "OTHER"
        return (
            f"{text}, inertia {max(excess, key=abs):+.1e}, {same} iterations "
            f"{[a for a, _ in n_iter]}"
        )

    note = "start included in both" if own.init == "k-means++" else ""
    return reference, agree, "reference without its start" if own.init == "k-means||" else note


def _kmedoids(own: Any, data: Data) -> tuple[Callable[[], Any], Callable[..., str], str]:
    if importlib.util.find_spec("kmedoids") is None:
        raise SystemExit("kmedoids is missing: uv run --with kmedoids …, or --references none")
    import kmedoids  # noqa: PLC0415 - GPL, for tests alone

    swaps = own.algorithm == "fasterpam"
    method = kmedoids.fasterpam if swaps else kmedoids.alternating
    generators = spawn_generators(seeded(), len(data.points))
    starts = []
    for points, generator in zip(data.points, generators, strict=True):
        distances = own_kmedoids.euclidean_distances(points)
        if swaps:
            start = own_kmedoids.lab(distances[None], [len(points)], data.k, [generator])
            starts.append(start[0].cpu().numpy())
        else:
            starts.append(distances.sum(dim=1).argsort(stable=True)[: data.k].cpu().numpy())

    def reference() -> list[Any]:
        return [
            method(euclidean_distances(array), start, max_iter=300)
            for array, start in zip(data.arrays, starts, strict=False)
        ]

    def agree(ours: list[Clustering], theirs: list[Any]) -> str:
        ratios = [
            float(mine.total_deviation) / result.loss  # type: ignore[arg-type]
            for mine, result in zip(ours, theirs, strict=False)
        ]
        return f"total deviation {min(ratios):.5f} to {max(ratios):.5f} of theirs"

    return reference, agree, "distances in both, the start here only"


def _dbscan(own: Any, data: Data) -> tuple[Callable[[], Any], Callable[..., str], str]:
    def reference() -> list[Any]:
        method = sklearn.cluster.DBSCAN(eps=own.eps, min_samples=own.min_samples)
        return [method.fit(array) and method.labels_ for array in data.arrays]

    def agree(ours: list[Clustering], theirs: list[Any]) -> str:
        # Border points between clusters may differ: here they go to the nearest core point.
        texts: list[str] = []
        for mine, labels in zip(ours, theirs, strict=False):
            labels = torch.from_numpy(labels)
            core = torch.from_numpy(
                np.isin(np.arange(len(labels)), _core(data, len(texts), own), kind="table")
            )
            noise = torch.equal(mine.labels.cpu() == -1, labels == -1)
            same = same_partition(mine.labels.cpu()[core], labels[core])
            texts.append(
                f"{mine.n_clusters} clusters" if noise and same else "OTHER CORES OR NOISE"
            )
        return "equal cores and noise: " + ", ".join(texts)

    return reference, agree, ""


def _core(data: Data, which: int, own: Any) -> Any:
    reach = kth_neighbor_distances(data.points[which], own.min_samples).cpu().numpy()
    return np.flatnonzero(reach <= own.eps)


def _agglomerative(own: Any, data: Data) -> tuple[Callable[[], Any], Callable[..., str], str]:
    def reference() -> list[Any]:
        method = sklearn.cluster.AgglomerativeClustering(data.k, linkage=own.linkage)
        return [method.fit_predict(array.astype(np.float64)) for array in data.arrays]

    return reference, _labels_agree, ""


def _by_scikit(own: Any, data: Data) -> tuple[Callable[[], Any], Callable[..., str], str]:
    """Returns the estimator by itself for methods that scikit-learn computes.

    What is measured is then what this project adds to it: centers, masses, empty clusters.
    """
    seeds = [seed_of(generator) for generator in spawn_generators(seeded(), len(data.points))]

    def reference() -> list[Any]:
        labels = []
        for array, seed in zip(data.arrays, seeds, strict=False):
            double = array.astype(np.float64)
            centered = double - double.mean(axis=0)
            if isinstance(own, MiniBatchKMeans):
                centered = centered.astype(np.float32)
            labels.append(_estimator(own, data.k, seed, centered).fit_predict(centered))
        return labels

    return reference, _labels_agree, "the estimator is scikit-learn's in both"


def _estimator(own: Clusterer, k: int, seed: int, centered: np.ndarray[Any, Any]) -> Any:
    """Returns scikit-learn's estimator with the options of a clusterer."""
    match own:
        case HDBSCAN():
            smallest = own.min_cluster_size
            return sklearn.cluster.HDBSCAN(min_cluster_size=smallest, algorithm="brute", copy=True)
        case GaussianMixture():
            return sklearn.mixture.GaussianMixture(
                k,
                covariance_type="diag",
                init_params="k-means++",
                reg_covar=own.covariance_floor * float(centered.var(axis=0).mean()),
                max_iter=own.max_iter,
                random_state=seed,
            )
        case Spectral():
            return sklearn.cluster.SpectralClustering(
                k,
                affinity="nearest_neighbors",
                n_neighbors=own.n_neighbors,
                assign_labels="cluster_qr",
                random_state=seed,
            )
        case BisectingKMeans():
            return sklearn.cluster.BisectingKMeans(
                k, random_state=seed, bisecting_strategy=own.bisect
            )
        case MiniBatchKMeans():
            return sklearn.cluster.MiniBatchKMeans(
                k,
                random_state=seed,
                batch_size=own.minibatch_size,
                max_iter=own.max_iter,
                n_init=1,
            )
    raise TypeError(f"scikit-learn does not compute {own}")


def _birch(own: Any, data: Data) -> tuple[Callable[[], Any], Callable[..., str], str]:
    thresholds = [own._threshold(points) for points in data.points]

    def reference() -> list[Any]:
        labels = []
        for array, threshold in zip(data.arrays, thresholds, strict=False):
            method = sklearn.cluster.Birch(
                threshold=threshold, branching_factor=own.branching_factor, n_clusters=data.k
            )
            double = array.astype(np.float64)
            labels.append(method.fit_predict(double - double.mean(axis=0)))
        return labels

    return reference, _labels_agree, "the threshold's quantile here only"


REFERENCES: dict[str, Callable[[Any, Data], tuple[Callable[[], Any], Callable[..., str], str]]] = {
    "kmeans": _kmeans,
    "kmedoids": _kmedoids,
    "dbscan": _dbscan,
    "agglomerative": _agglomerative,
    "birch": _birch,
    **dict.fromkeys(
        ("hdbscan", "gmm", "spectral", "bisecting_kmeans", "minibatch_kmeans"), _by_scikit
    ),
}


def plain_torch_kmeans(points: list[Tensor], starts: list[Tensor], max_iter: int = 300) -> Any:
    """The loop over classes that one writes in torch, with k-means' usual tolerance."""
    results = []
    for own, centers in zip(points, starts, strict=True):
        tol = 1e-4 * own.var(dim=0, correction=0).mean()
        labels, n_iter, settled = own.new_full((len(own),), -1, dtype=torch.int64), 0, False
        while n_iter < max_iter and not settled:
            n_iter += 1
            previous, labels = labels, torch.cdist(own, centers).argmin(dim=1)
            sums = torch.zeros_like(centers).index_add_(0, labels, own)
            sizes = torch.bincount(labels, minlength=len(centers))
            updated = torch.where(sizes[:, None] > 0, sums / sizes[:, None].clamp_min(1), centers)
            shift = (updated - centers).square().sum()
            centers = updated
            settled = torch.equal(labels, previous) or bool(shift <= tol)
        results.append((torch.cdist(own, centers).argmin(dim=1), n_iter))
    return results


def seconds(run: Callable[[], Any], device: torch.device) -> tuple[float, float, Any]:
    """Returns wall seconds, CPU seconds and the result of one call."""
    _synchronize(device)
    wall, cpu = time.perf_counter(), time.process_time()
    result = run()
    _synchronize(device)
    return time.perf_counter() - wall, time.process_time() - cpu, result


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def turns(
    runs: dict[str, Callable[[], Any]], repeats: int, device: torch.device
) -> dict[str, tuple[float, float, Any]]:
    """Runs all in turns; returns the medians of their wall and CPU seconds, and a result."""
    taken: dict[str, list[tuple[float, float, Any]]] = {name: [] for name in runs}
    if device.type == "cuda":  # A first call compiles and allocates.
        taken["here"].append(seconds(runs["here"], device))
        taken["here"].clear()
    for _ in range(repeats):
        for name, run in runs.items():
            taken[name].append(seconds(run, device))
    return {
        name: (
            statistics.median(wall for wall, _, _ in times),
            statistics.median(cpu for _, cpu, _ in times),
            times[-1][2],
        )
        for name, times in taken.items()
    }


def measure(data: Data, names: Sequence[str], repeats: int, references: bool) -> None:
    """Prints a line for every method."""
    device = data.points[0].device
    print(f"{'method':<36}{'here s':>9}{'(CPU)':>9}{'ref. s':>9}{'(CPU)':>9}{'ratio':>8}{'CPU':>7}")
    for case in cases(data, names, references):
        runs: dict[str, Callable[[], Any]] = {"here": case.here}
        if case.reference is not None:
            runs["reference"] = case.reference
        try:
            taken = turns(runs, repeats if device.type == "cpu" else 1, device)
        except InfeasibleClusteringError as error:
            print(f"{case.name:<36}   infeasible: {error}", flush=True)
            continue
        wall, cpu, ours = taken["here"]
        if case.reference is None:
            print(f"{case.name:<36}{wall:9.3f}{cpu:9.2f}   {case.note}", flush=True)
            continue
        ref_wall, ref_cpu, theirs = taken["reference"]
        ratios = f"{ref_wall / wall:8.2f}{ref_cpu / cpu:7.2f}" if device.type == "cpu" else " " * 15
        text = ", ".join(part for part in (case.agree(ours, theirs), case.note) if part)
        print(f"{case.name:<36}{wall:9.3f}{cpu:9.2f}{ref_wall:9.3f}{ref_cpu:9.2f}{ratios}  {text}")


def measure_swaps(data: Data, repeats: int) -> None:
    """FasterPAM alone: the same distances and the same start for both."""
    import kmedoids  # noqa: PLC0415 - GPL, for tests alone

    points = data.points[0]
    distances = own_kmedoids.euclidean_distances(points)
    array = distances.cpu().numpy()
    start = own_kmedoids.lab(distances[None], [len(points)], data.k, [seeded()])[0]
    runs: dict[str, Callable[[], Any]] = {
        "here": lambda: fasterpam(distances, start, 300),
        "reference": lambda: kmedoids.fasterpam(array, start.cpu().numpy(), 300, n_cpu=1),
        "distances": lambda: own_kmedoids.euclidean_distances(points),
        "theirs": lambda: pairwise_distances(data.arrays[0]),
    }
    taken = turns(runs, repeats, points.device)
    medoids, n_iter = taken["here"][2]
    theirs = taken["reference"][2]
    cost = float(distances[medoids].amin(dim=0).double().sum())
    print("\nFasterPAM on one class, swaps alone (CPU s):", end=" ")
    print(f"here {taken['here'][1]:.3f}, reference {taken['reference'][1]:.3f}, ", end="")
    print(
        f"passes {n_iter} and {theirs.n_iter}, total deviation {cost / theirs.loss:.5f} of theirs"
    )
    print("its distances (CPU s):", end=" ")
    print(f"here {taken['distances'][1]:.3f}, scikit-learn {taken['theirs'][1]:.3f}")


def measure_loop(data: Data, repeats: int) -> None:
    """k-means against the plain loop over classes, and against the roofline."""
    method, device = KMeans(), data.points[0].device
    generators = spawn_generators(seeded(), len(data.points))
    indices = method._starting_indices(data.points, data.k, generators)
    starts = [own[start] for own, start in zip(data.points, indices, strict=True)]
    runs: dict[str, Callable[[], Any]] = {
        "here": lambda: method.fit_classes(data.points, data.k, seeded()),
        "here, together": lambda: method.fit_classes(data.points, data.k, seeded(), together=True),
        "here, class by class": lambda: method.fit_classes(
            data.points, data.k, seeded(), together=False
        ),
        "plain torch": lambda: plain_torch_kmeans(data.points, starts),
    }
    taken = turns(runs, repeats, device)
    plain = taken["plain torch"]
    print("\nk-means against a plain torch loop over the classes, same start and tolerance")
    for name, (wall, cpu, _) in taken.items():
        print(f"  {name:<24}{wall:9.3f} s{cpu:9.2f} s CPU{plain[0] / wall:9.2f} ×")
    n_iters = [result.n_iter for result in taken["here"][2]]
    print(f"  iterations here {n_iters}, there {[n_iter for _, n_iter in plain[2]]}; ", end="")
    print(_labels_agree(taken["here"][2], [labels.cpu().numpy() for labels, _ in plain[2]]))
    _roofline(data, n_iters, taken["here"][0], repeats)


def _roofline(data: Data, n_iters: list[int], wall: float, repeats: int) -> None:
    """Prints the share of what the device's measured rates would allow."""
    own, k = data.points[0], data.k
    device, (n, d) = own.device, own.shape
    centers, copy = own[:k].clone(), torch.empty_like(own)
    times = turns(
        {"here": lambda: own @ centers.T, "copy": lambda: copy.copy_(own)}, 4 * repeats, device
    )
    rows = sum(len(x) * (done + 1) for x, done in zip(data.points, n_iters, strict=True))
    flops, n_bytes = 2.0 * rows * d * k, 2.0 * rows * d * own.element_size()
    rate, bandwidth = 2.0 * n * d * k / times["here"][0], 2 * own.nbytes / times["copy"][0]
    bound = max(flops / rate, n_bytes / bandwidth)
    print(f"  measured: {rate / 1e9:.0f} GFLOP/s in products, {bandwidth / 1e9:.1f} GB/s in copies")
    print(
        f"  Lloyd as published: {flops / 1e9:.0f} GFLOP, {n_bytes / 1e9:.1f} GB, "
        f"{bound:.3f} s at these rates: {bound / wall:.2f} of the roofline "
        "(above 1 where what did not move is skipped)"
    )


def count(names: Sequence[str]) -> None:
    """Prints operations and syncs of ten small classes, together and class by class.

    Methods that run on the CPU only have none.
    """
    print("\noperations / host–device syncs for ten classes of 180 to 225 points, 32-d, k = 12,")
    print("counted on the CPU; k-means as on a GPU, and by iteration of the slowest class")
    classes = [features(180 + 5 * index, 32, index) for index in range(10)]
    for name in names:
        for options in OPTIONS.get(name, [{}]):
            options = {"eps": None, **options} if name.startswith("dbscan") else dict(options)
            if name == "dbscan_published":
                options["eps"] = float(kth_neighbor_distances(classes[0], 5).median())
            own = CLUSTERERS.build(name, **options)
            if own.runs_on_cpu:
                continue
            texts = []
            for together in (True, False):
                with Counter() as counter:
                    results = own.fit_classes(classes, 12, seeded(), together=together)
                text = f"{counter.n_operations:7d} / {counter.n_syncs:5d}"
                if name == "kmeans":
                    rounds = max(result.n_iter for result in results)
                    text += f" ({counter.n_operations / rounds:.0f} an iteration)"
                texts.append(text)
            title = " ".join([name, *(str(v) for v in options.values() if isinstance(v, str))])
            print(f"  {title:<34} together {texts[0]}   class by class {texts[1]}")


def main() -> None:
    """Runs the benchmark and prints its figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    runnable = [name for name in CLUSTERERS if name != "kmedoids_sklearn_extra"]
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"of {', '.join(runnable)}")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--references", choices=["all", "none"], default="all")
    for name, default in (("classes", 10), ("n", 5000), ("d", 2048), ("k", 128)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    unknown = set(args.methods) - set(runnable)
    if unknown:
        parser.error(f"unknown methods {sorted(unknown)}; known: {', '.join(runnable)}")
    names = args.methods or runnable
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    points = [features(args.n, args.d, seed) for seed in range(args.classes)]
    arrays = [own.numpy() for own in points[: args.classes if device.type == "cpu" else 1]]
    data = Data([own.to(device) for own in points], arrays, args.k)
    where = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{where}, {args.threads} threads, torch {torch.__version__}: {args.classes} classes of ")
    print(f"{args.n} points, {args.d}-d, float32, k = {args.k}; medians of {args.repeats}")
    if "kmedoids_sklearn_extra" not in names:
        print("left out: kmedoids_sklearn_extra, a library of its own in its own environment")
    with threadpool_limits(args.threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn, where it finds fewer clusters
        measure(data, names, args.repeats, args.references == "all")
        if "kmedoids" in names and args.references == "all" and device.type == "cpu":
            measure_swaps(data, args.repeats)
        if "kmeans" in names:
            measure_loop(data, args.repeats)
    count(names)


if __name__ == "__main__":
    main()
