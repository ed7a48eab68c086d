"""Fixtures for the whole suite."""

import os
import signal
from collections.abc import Callable, Iterator

import pytest
import torch

from distill.config.distillation import DistillationConfig, ResolvedDistillation
from distill.datasets import ImageData, load_dataset
from tests.gpu.cuda import emulated_cuda

# Read when Ray is imported: its workers shall be this very environment, not one that uv makes anew.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")

HAS_GPU = torch.cuda.is_available()
if not HAS_GPU:  # read when Triton is imported: its kernels shall run, on the CPU
    os.environ["TRITON_INTERPRET"] = "1"

# The tests' tensors are tiny: a second thread only waits, and badly so on a busy machine.
torch.set_num_threads(1)


# A script that starts the suite in the background makes it ignore SIGINT, nohup SIGHUP; commands
# that tests interrupt would inherit that, but do not inherit a handler.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps what trials share out of the user's folder, and what is there out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DREAM_SWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _gpu(request: pytest.FixtureRequest) -> Iterator[None]:
    """Gives tests marked `gpu` an emulated GPU where there is none."""
    if HAS_GPU or request.node.get_closest_marker("gpu") is None:
        yield
        return
    with emulated_cuda():
        yield


@pytest.fixture(scope="session")
def digits() -> ImageData:
    """The embedded data set, with a validation split."""
    return load_dataset("digits", val_fraction=0.1)


@pytest.fixture
def tiny() -> Callable[..., ResolvedDistillation]:
    """A resolved configuration that runs in about a second; every field can be set."""

    def build(**changes: object) -> ResolvedDistillation:
        values: dict[str, object] = {
            "ipc": 1,
            "factor": 2,
            "width": 8,
            "depth": 2,
            "n_representatives": 8,
            "n_outer": 2,
            "n_inner": 2,
            "n_net_batches": 1,
            "net_batch_size": 16,
            "eval_epochs": 2,
            "eval_every": 1,
            "n_eval": 2,
            "val_fraction": 0.1,
        }
        return DistillationConfig.from_dict(values | changes).resolve()

    return build


NOT_FAST = ("slow", "gpu", "service", "ray", "lengthy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives the mark `fast` to every test without a mark that says that it is not."""
    for item in items:
        if not any(item.get_closest_marker(name) for name in NOT_FAST):
            item.add_marker(pytest.mark.fast)
