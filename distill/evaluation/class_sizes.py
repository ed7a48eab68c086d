"""How many images each class gets where classes have fewer training images than are asked for.

With `on_small_class` "error" every class gets what the configuration asks for, and a smaller class
is refused; with "cap" a class gets what it can give, and the others what they are asked for.
"""

from collections.abc import Sequence

from distill.config.distillation import ResolvedDistillation
from distill.datasets import ImageData
from distill.errors import UserError

_N_SHOWN = 3


def stored_per_class(config: ResolvedDistillation, class_sizes: Sequence[int]) -> list[int]:
    """Returns the synthetic images that are stored of each class: `ipc`, or fewer.

    A class starts from factor² real images for each stored one, unless it starts from noise or a
    set.

    Args:
        config: gives `ipc`, `factor`, `init` and `on_small_class`.
        class_sizes: training images of each class.
    """
    if config.on_small_class == "error" or not _starts_from_real(config):
        return [config.ipc] * len(class_sizes)
    return [min(config.ipc, size // config.factor**2) for size in class_sizes]


def _starts_from_real(config: ResolvedDistillation) -> bool:
    return config.init != "noise" and config.start_set is None


def representatives_per_class(
    config: ResolvedDistillation, class_sizes: Sequence[int]
) -> list[int]:
    """Returns the representatives (K) of each class: `n_representatives`, or fewer.

    Args:
        config: gives `n_representatives` and `on_small_class`.
        class_sizes: training images of each class.
    """
    if config.on_small_class == "error":
        return [config.n_representatives] * len(class_sizes)
    return [min(config.n_representatives, size) for size in class_sizes]


def check_class_sizes(config: ResolvedDistillation, data: ImageData) -> None:
    """Checks that every class has the training images that it is to give.

    Raises:
        UserError: a class is too small; with "cap" too small for a single stored image.
    """
    sizes = [len(indices) for indices in data.class_indices]
    smallest = min(range(len(sizes)), key=sizes.__getitem__)
    name, size = data.class_names[smallest], sizes[smallest]
    if config.on_small_class == "cap":
        if 0 in stored_per_class(config, sizes):
            raise UserError(
                f"class {name!r} has {size} training images, fewer than the "
                f"{config.factor**2} (factor²) that one stored image starts from; lower factor "
                f"(now {config.factor})"
            )
        return
    needs = {"n_representatives": ("representatives", config.n_representatives)}
    if _starts_from_real(config):
        needs["ipc · factor²"] = ("initial images", config.ipc * config.factor**2)
    for need, (what, k) in needs.items():
        if k > size:
            raise UserError(
                f"{need} asks for {k} {what} per class, but class "
                f"{name!r} has {size} training images; "
                f"{need} must be at most {size} (or set on_small_class to cap)"
            )


def describe_caps(
    class_names: Sequence[str],
    class_sizes: Sequence[int],
    wanted: dict[str, int],
    given: dict[str, Sequence[int]],
) -> list[str]:
    """Returns one line about the classes that give fewer images than asked for; none: no line.

    Args:
        class_names: in label order.
        class_sizes: training images of each class.
        wanted: name of a number (`ipc`) → what is asked for.
        given: the same name → what each class gives.
    """
    capped = [
        f"{class_names[label]!r} ({size} training images): "
        + ", ".join(
            f"{name} {given[name][label]} instead of {number}"
            for name, number in wanted.items()
            if given[name][label] < number
        )
        for label, size in enumerate(class_sizes)
        if any(given[name][label] < number for name, number in wanted.items())
    ]
    if not capped:
        return []
    shown = "; ".join(capped[:_N_SHOWN]) + ("; …" if len(capped) > _N_SHOWN else "")
    noun = "class gives" if len(capped) == 1 else "classes give"
    return [f"{len(capped)} {noun} fewer images than asked for (on_small_class cap): {shown}"]
