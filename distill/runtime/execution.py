"""Execution options of a trial: speed, and what it leaves; they change results by rounding only."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distill.errors import SlowerWarning, require_known

if TYPE_CHECKING:
    import torch

BATCHINGS = ("auto", "class", "all")
GRAPHS = ("auto", "on", "off")
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Execution options; `auto` chooses by device.

    Attributes:
        batching: `all` passes all classes through the network at once, as far as memory allows
            (`distill.dream.loop.PASS_VALUES`), `class` one after the other; `auto` is `all`, which
            is as fast or faster at every size on a CPU (lab notes) and gives a GPU fewer and
            larger kernels (not yet measured). Networks with batch norm always run class by class.
        graphs: `on` records steps as CUDA graphs and replays them, `off` does not; `auto` is `on`
            on a GPU.
        precision: precision of the maps between the layers of a network, see
            `distill.networks.precision`. `auto` is float32 on every device, so that the rows of a
            sweep are comparable across nodes; bfloat16 is faster on hardware that supports it,
            within the tolerances of `tests/distill/networks/test_precision.py`. Rows record it.
        save_network: whether a trial leaves the network of its best epoch (`Result.network`).

    Raises:
        UserError: a value is unknown.

    Example:
        >>> import torch
        >>> execution = Execution(precision="bfloat16")
        >>> execution.batching, execution.uses_graphs(torch.device("cpu"))
        ('auto', False)
    """

    batching: str = "auto"
    graphs: str = "auto"
    precision: str = "auto"
    save_network: bool = False

    def __post_init__(self) -> None:
        require_known("batching", self.batching, BATCHINGS)
        require_known("graphs", self.graphs, GRAPHS)
        require_known("precision", self.precision, PRECISIONS)

    def uses_graphs(self, device: "torch.device") -> bool:
        """Returns whether to record steps on a device; warns if `on` is impossible."""
        if self.graphs == "on" and device.type != "cuda":
            warnings.warn(
                f"there are no CUDA graphs on {device}: steps run without them (--graphs auto does "
                "so without a warning)",
                SlowerWarning,
                stacklevel=2,
            )
        return device.type == "cuda" and self.graphs != "off"


AUTOMATIC = Execution()
