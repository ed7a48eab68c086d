"""Peak memory of every method at the largest class size that it is meant for."""

import subprocess
import sys

import pytest

from tests.paths import ROOT

N_POINTS = 20_000
N_FEATURES = 256
LIMIT_GB = 8.0

PROGRAM = """
import torch
from tests.memory_peak import peak_kib
from distill.clustering.{module} import {name}
from tests.distill.clustering.blobs import blobs

points = blobs(0, n={n}, d={d}, k=50, dtype=torch.float32)
generator = torch.Generator().manual_seed(0)
{name}({fields}).fit(points[:100], 10, generator)  # What libraries take once is not counted.
before = peak_kib()
result = {name}({fields}).fit(points, 128, generator)
after = peak_kib()
print(result.n_clusters, (after - before) / 1e6)  # Linux counts in kB.
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize(
    ("module", "name", "fields"),
    [
        ("agglomerative", "Agglomerative", "linkage='ward'"),
        ("agglomerative", "Agglomerative", "linkage='complete'"),
        ("agglomerative", "Agglomerative", "linkage='average'"),
        ("agglomerative", "Agglomerative", "linkage='single'"),
        ("birch", "Birch", "threshold_quantile=0.5"),
        ("dbscan", "DBSCAN", "eps_quantile=0.5"),
        ("gmm", "GaussianMixture", "max_iter=3"),
        ("hdbscan", "HDBSCAN", ""),
        ("kmeans", "KMeans", ""),
        ("kmedoids", "KMedoids", ""),
        ("medoid_cover", "FacilityLocation", ""),
        ("medoid_cover", "HerdingCover", ""),
        ("medoid_cover", "KCenterCover", ""),
        ("random_partition", "RandomPartition", ""),
        ("scikit_kmeans", "BisectingKMeans", ""),
        ("scikit_kmeans", "MiniBatchKMeans", ""),
        ("spectral", "Spectral", ""),
    ],
)
def test_peak_memory(module: str, name: str, fields: str) -> None:
    program = PROGRAM.format(module=module, name=name, fields=fields, n=N_POINTS, d=N_FEATURES)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    n_clusters, gigabytes = done.stdout.split()
    print(f"{name}({fields}): {gigabytes} GB, {n_clusters} clusters")
    assert int(n_clusters) > 1
    assert float(gigabytes) < LIMIT_GB


COPIES = """
import torch
from tests.memory_peak import peak_kib
from distill.clustering.scikit_kmeans import MiniBatchKMeans

generator = torch.Generator().manual_seed(0)
MiniBatchKMeans().fit(torch.rand(2000, 8), 10, generator)  # What libraries take once.
points = torch.rand({n}, {d}, generator=generator).add_(100)
before = peak_kib()
MiniBatchKMeans(max_iter=1).fit(points, 16, generator)
after = peak_kib()
print((after - before) * 1024 / points.nbytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_mini_batches_take_one_copy_of_the_points() -> None:
    """One centered copy, and blocks and labels of some 40 MB: half of these points."""
    done = subprocess.run(
        [sys.executable, "-c", COPIES.format(n=300_000, d=64)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert 0.9 < float(done.stdout) < 2  # 8 with copies in float64, and sorted for duplicates


PICKS = """
import torch
from tests.memory_peak import peak_kib
from distill.clustering.kmeans import KMeans
from distill.selection.picks import build_picking
from distill.selection.registry import PICKS
from distill.selection.representatives import Picks, select
from tests.distill.clustering.blobs import blobs

points = blobs(0, n={n}, d={d}, k=50, dtype=torch.float32)
scores = torch.rand(len(points), dtype=torch.float64)
generator = torch.Generator().manual_seed(0)
clustering = KMeans().fit(points, 2, generator)  # large clusters: the most for medoids
before = peak_kib()
options = dict(n_strata=10, prune_hardest=0.1)
for pick in PICKS:
    picking = build_picking(pick, "stratified", options)
    picks = Picks(picking=picking, difficulty=scores, generator=generator)
    assert len(select(points, clustering, 1000, "quota", generator, picks).indices) == 1000
after = peak_kib()
print((after - before) / 1e6)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_peak_memory_of_picks() -> None:
    program = PICKS.format(n=N_POINTS, d=N_FEATURES)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < LIMIT_GB
