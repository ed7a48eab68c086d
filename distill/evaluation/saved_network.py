"""Networks of classifiers as files that `torch.load(…, weights_only=True)` reads.

    saved = torch.load("network.pt", weights_only=True)
    network = build_network(saved["network"], generator=torch.Generator(), **saved["arguments"])
    network.eval().load_state_dict(saved["weights"])

`network((pixels / 255 - mean) / std)` then gives the logits of (n, c, h, w) images, with `mean` and
`std` of the file, one value per channel. Its accuracy is that of the file, also after training with
recomputed norm statistics (`distill.evaluation.classifier`): these are in the weights.
"""

from io import BytesIO

import torch

from distill.config.selection import ResolvedSelection
from distill.datasets import ImageData
from distill.evaluation.classifier_evaluation import ClassifierEvaluation
from distill.networks.registry import NETWORKS


def network_bytes(
    evaluation: ClassifierEvaluation, config: ResolvedSelection, data: ImageData
) -> bytes | None:
    """Returns the file of the network of the best epoch; None where it is not kept.

    Args:
        evaluation: that trained it.
        config: of the trial.
        data: of its classes.

    Returns:
        What `torch.save` makes of a dictionary of plain values and tensors: `weights`, `network`
        and `arguments` for `distill.networks.build.build_network`, `class_names` in the order of
        the logits, `mean` and `std` of the input, `network_index`, `epoch` (from 1) and `accuracy`
        in [0, 1] of the best epoch, `split` that it was scored on, `trial_id`.
    """
    best = evaluation.best
    if best is None:
        return None
    is_scaled = config.network == "photo_cnn"  # takes pixels in [0, 1] as they are
    saved = {
        "weights": evaluation.best_weights,
        "network": config.network,
        "arguments": {
            "n_classes": data.n_classes,
            "channels": data.channels,
            "image_size": data.image_size,
            **config.options_for(NETWORKS, config.network),
        },
        "class_names": list(data.class_names),
        "mean": [0.0] * data.channels if is_scaled else data.mean.tolist(),
        "std": [1.0] * data.channels if is_scaled else data.std.tolist(),
        "network_index": best.network_index,
        "epoch": best.epoch,
        "accuracy": best.accuracy,
        "split": "test" if config.protocol == "published" else "val",
        "trial_id": config.trial_id,
    }
    content = BytesIO()
    torch.save(saved, content)
    return content.getvalue()
