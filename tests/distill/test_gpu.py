"""The loop on a GPU against the loop on the CPU; run with `uv run pytest -m gpu`.

Where there is no GPU, an emulated one is tested (`tests/gpu`).
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from distill.components import fields_of, known_names
from distill.config.distillation import ResolvedDistillation
from distill.config.selection import SelectionConfig
from distill.datasets import ImageData
from distill.dream.loop import Dream
from distill.errors import InterruptedTrialError
from distill.runtime.checkpoint import LocalFolder
from distill.runtime.execution import Execution
from distill.selection.registry import SELECTORS
from distill.trials.distilled_files import read_distilled
from distill.trials.runner import run
from tests.distill.clustering.blobs import blobs
from tests.distill.clustering.test_conformance import CASES, RUNNABLE, clusterer_of

SELECTOR_NAMES = known_names(SelectionConfig.static_fields()["selector"])

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("match", ["gradients", "both"])
@pytest.mark.parametrize("batching", ["class", "all"])
@pytest.mark.parametrize("graphs", ["on", "off"])
def test_inner_loops_in_float64_agree_with_the_cpu(
    digits: ImageData,
    tiny: Callable[..., ResolvedDistillation],
    match: str,
    batching: str,
    graphs: str,
) -> None:
    """Same generators, on the CPU in both cases, so the same draws; rounding alone differs.

    Enough loops that steps are recorded and replayed, over a clustering and a fresh network. A
    warning that a step cannot be recorded would be an error here.
    """
    config = tiny(weights="size", match=match, n_inner=6, n_outer=2, cluster_interval=3)
    execution = Execution(batching=batching, graphs=graphs)
    on_cpu = Dream(config, digits, dtype=torch.float64)
    on_gpu = Dream(config, digits.to("cuda"), dtype=torch.float64, execution=execution)
    for _ in range(10):
        on_cpu.inner_loop()
        on_gpu.inner_loop()

    torch.testing.assert_close(on_gpu.images.cpu(), on_cpu.images, rtol=0, atol=1e-9)
    assert float(on_gpu._loss_sum) == pytest.approx(float(on_cpu._loss_sum), rel=1e-9)
    assert bool(on_gpu.trainer._steps._recordings) == (graphs == "on")
    assert set(on_gpu.clock.seconds) == set(on_cpu.clock.seconds)


@pytest.mark.parametrize("batching", ["class", "all"])
def test_bfloat16_moves_the_images_as_float32_on_the_cpu_does(
    digits: ImageData, tiny: Callable[..., ResolvedDistillation], batching: str
) -> None:
    """The tolerance of `test_precision.py`; recorded steps hold the rounding, too."""
    config = tiny(n_inner=10, n_outer=1, weights="size", clusterer="random")
    execution = Execution(batching=batching, precision="bfloat16")
    dreams = [Dream(config, digits), Dream(config, digits.to("cuda"), execution=execution)]
    start = dreams[0].images.clone()
    for dream in dreams:
        for _ in range(10):
            dream.inner_loop()
    on_cpu, on_gpu = (dream.images.cpu() - start for dream in dreams)
    assert 0 < float((on_gpu - on_cpu).norm() / on_cpu.norm()) < 0.1


def test_an_evaluation_with_graphs_scores_as_without(
    digits: ImageData, tiny: Callable[..., ResolvedDistillation]
) -> None:
    config = tiny(n_outer=0, eval_epochs=12, eval_every=0)
    data = digits.to("cuda")
    rows = [run(config, data, execution=Execution(graphs=graphs)).row for graphs in ("on", "off")]

    assert rows[0]["test_loss_mean"] == pytest.approx(rows[1]["test_loss_mean"], rel=1e-3)


@pytest.mark.filterwarnings("ignore:.*runs on the CPU only:distill.errors.SlowerWarning")
@pytest.mark.parametrize("name", RUNNABLE)
def test_clusterings_in_float64_agree_with_the_cpu(name: str) -> None:
    points = blobs(4, n=80, d=6, k=5).double()
    on_gpu = clusterer_of(name).fit(points.cuda(), 6, torch.Generator().manual_seed(0))
    on_cpu = clusterer_of(name).fit(points, 6, torch.Generator().manual_seed(0))

    assert name in CASES
    assert torch.equal(on_gpu.labels.cpu(), on_cpu.labels)
    torch.testing.assert_close(on_gpu.centers.cpu(), on_cpu.centers)


@pytest.mark.filterwarnings("ignore:.*runs on the CPU only:distill.errors.SlowerWarning")
@pytest.mark.parametrize("name", RUNNABLE)
def test_many_classes_at_once_agree_with_each_on_the_cpu(name: str) -> None:
    classes = [blobs(seed, n=n) for seed, n in enumerate((80, 33, 150))]
    on_gpu, on_cpu = (
        clusterer_of(name).fit_classes(points, 6, torch.Generator().manual_seed(0))
        for points in ([class_points.cuda() for class_points in classes], classes)
    )

    for together, alone in zip(on_gpu, on_cpu, strict=True):
        assert torch.equal(together.labels.cpu(), alone.labels)
        torch.testing.assert_close(together.centers.cpu(), alone.centers, rtol=0, atol=1e-9)
        assert together.n_iter == alone.n_iter


def test_a_whole_trial_stops_and_resumes(
    digits: ImageData, tiny: Callable[..., ResolvedDistillation], tmp_path: Path
) -> None:
    data = digits.to("cuda")
    with pytest.raises(InterruptedTrialError):
        run(tiny(), data, checkpoint_folder=LocalFolder(tmp_path), should_stop=lambda: True)
    result = run(tiny(), data, checkpoint_folder=LocalFolder(tmp_path))

    assert result.row["status"] == "ok"
    assert result.row["device"] == torch.cuda.get_device_name()
    assert read_distilled(result.artifacts["distilled"]).images.shape == (10, 1, 8, 8)


@pytest.mark.parametrize("selector", SELECTOR_NAMES)
def test_every_selector_stops_and_resumes(digits: ImageData, tmp_path: Path, selector: str) -> None:
    """Nothing is drawn on the GPU, and pixels are the same there: the selection is the CPU's."""
    values = {"selector": selector, "classes": ["3", "8"], "epochs": 2}
    if "embedding" in fields_of(SELECTORS[selector].options):
        values["embedding"] = "pixels"
    config, data = SelectionConfig.from_dict(values), digits.to("cuda")
    folder = LocalFolder(tmp_path)
    with pytest.raises(InterruptedTrialError):
        run(config, data, checkpoint_folder=folder, should_stop=lambda: True)
    on_gpu = run(config, data, checkpoint_folder=folder)
    on_cpu = run(config, digits)

    assert on_gpu.row["status"] == "ok"
    selected = [
        result.artifacts["selections"]["times_selected"].to_pylist() for result in (on_gpu, on_cpu)
    ]
    assert selected[0] == selected[1]
    assert on_gpu.curve[0]["train_loss"] == pytest.approx(on_cpu.curve[0]["train_loss"], rel=0.01)


def test_features_are_trained_and_compared_on_the_gpu(digits: ImageData) -> None:
    config = SelectionConfig(selector="herding", classes=("3", "8"), epochs=2, feature_epochs=2)

    assert run(config, digits.to("cuda")).row["status"] == "ok"
