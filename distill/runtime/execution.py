"""How the arithmetic of a trial is carried out; results agree up to rounding, whatever it is."""

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
    """Choices of speed, by device unless forced.

    Attributes:
        batching: `all` passes all classes through the network at once, as far as memory allows
            (`dream.PASS_VALUES`), `class` one after the other; `auto` is `all`, which is as fast or
            faster at every size on a CPU (LOG.md) and leaves a GPU fewer and larger kernels (by
            reasoning, not yet measured). Networks with batch norm go class by class.
        graphs: whether steps are recorded as CUDA graphs and replayed; `auto`: on a GPU.
        precision: of the maps between a network's layers (see `networks.precision`). `auto` is
            float32 on every device, so that the rows of a sweep are alike whatever nodes they ran
            on; bfloat16 is faster where there are units for it, within the tolerances that
            `tests/test_precision.py` states. Rows tell which it was.

    Raises:
        UserError: a choice is unknown.
    """

    batching: str = "auto"
    graphs: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        require_known("batching", self.batching, BATCHINGS)
        require_known("graphs", self.graphs, GRAPHS)
        require_known("precision", self.precision, PRECISIONS)

    def uses_graphs(self, device: "torch.device") -> bool:
        """Whether steps are recorded on a device; warns where they should be and cannot."""
        if self.graphs == "on" and device.type != "cuda":
            warnings.warn(
                f"there are no CUDA graphs on {device}: steps run one by one (--graphs auto is "
                "silent about it)",
                SlowerWarning,
                stacklevel=2,
            )
        return device.type == "cuda" and self.graphs != "off"


AUTOMATIC = Execution()
