"""Training on a distilled set in plain PyTorch: lines for the card of a set, a module beside it.

They follow the recipe of the evaluation (`distill.evaluation.scores`, `distill.augment`) and need
torch, pandas, pyarrow and Pillow, not this project. The module reads the set, enlarges its parts,
builds the ConvNet, has the loss with its augmentation and CutMix, and tests a network; the dozen
lines train a fresh one. The draws differ from those of this project, the distributions do not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import indent
from typing import Any

from distill.augment.siamese import GEOMETRIC, Augmentation
from distill.evaluation.scores import LR_DECAY
from distill.networks.base import first_padding

RECIPE = "training_recipe.py"
"""Name of the module's file, which the lines import from their folder.

`datasets` refuses a folder with a script of its own name, so it is one that folders rarely have.
"""


@dataclass(frozen=True, kw_only=True)
class LinesOf:
    """What the lines depend on.

    Attributes:
        recipe: the `eval_…` fields, `cutmix_prob` and `cutmix_beta` of a resolved configuration.
        network: options of the ConvNet: `width`, `depth`, `norm`, `pooling`.
        mean: of each channel, of pixels in [0, 1], that images are normalised by.
        std: standard deviation of each channel.
        image_size: (height, width) in pixels.
        n_classes: number of classes.
        factor: parts along each side of a multi-formation.
        is_weighted: whether images count by the column `weight`.

    Example:
        >>> recipe = {"eval_epochs": 300, "eval_batch_size": 64, "eval_lr": 0.1}
        >>> recipe |= {"eval_momentum": 0.9, "eval_weight_decay": 5e-4, "eval_augment": "none"}
        >>> recipe |= {"cutmix_prob": 0.0, "cutmix_beta": 1.0}
        >>> network = {"width": 32, "depth": 3, "norm": "instance", "pooling": "avg"}
        >>> size = {"image_size": (8, 8), "n_classes": 10, "factor": 1}
        >>> given = LinesOf(
        ...     recipe=recipe, network=network, mean=(0.3,), std=(0.4,), is_weighted=False, **size
        ... )
        >>> print(training_lines(given).splitlines()[1])
        from training_recipe import accuracy, convnet, distilled, loss
    """

    recipe: dict[str, Any]
    network: dict[str, Any]
    mean: Sequence[float]
    std: Sequence[float]
    image_size: tuple[int, int]
    n_classes: int
    factor: int
    is_weighted: bool

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return len(self.mean)


def training_lines(given: LinesOf) -> str:
    """Returns lines that train a network on `distilled.parquet`, run in its folder.

    They test on `test.parquet`, images and labels in the same layout.
    """
    recipe = given.recipe
    epochs = recipe["eval_epochs"]
    milestones = [2 * epochs // 3, 5 * epochs // 6]  # the same one twice counts twice
    optimizer = (
        f"lr={recipe['eval_lr']}, momentum={recipe['eval_momentum']}, "
        f"weight_decay={recipe['eval_weight_decay']}"
    )
    return f"""\
import torch
from training_recipe import accuracy, convnet, distilled, loss

training, network = distilled(), convnet()
optimizer = torch.optim.SGD(network.parameters(), {optimizer})
schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, {milestones}, gamma={LR_DECAY})
for _ in range({epochs}):
    for rows in torch.randperm(len(training[0])).split({recipe["eval_batch_size"]}):
        optimizer.zero_grad()
        loss(network, *(part[rows] for part in training)).backward()
        optimizer.step()
    schedule.step()
print(f"accuracy: {{100 * accuracy(network, 'test.parquet'):.2f}} %")
"""


def recipe_module(given: LinesOf) -> str:
    """Returns the text of `training_recipe.py`: the functions that the lines import."""
    parts = [_reading(given), _network(given), _augmentation(given), _mixing(given), _loss(given)]
    return "\n\n".join(part for part in parts if part)


def _reading(given: LinesOf) -> str:
    mode = {1: "L", 3: "RGB"}[given.channels]
    return f"""\
\"\"\"How networks are trained on the distilled images beside this file, in plain PyTorch.\"\"\"

import io

import numpy
import pandas
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

torch.set_default_device("cuda" if torch.cuda.is_available() else "cpu")
MEAN, STD = {_numbers(given.mean)}, {_numbers(given.std)}


def normalised(pixels):
    return (pixels - torch.tensor(MEAN).view(-1, 1, 1)) / torch.tensor(STD).view(-1, 1, 1)


def pixels_and_table(path):
    table = pandas.read_parquet(path)
    pictures = [Image.open(io.BytesIO(cell["bytes"]), formats=["PNG"]) for cell in table["image"]]
    pixels = torch.tensor(numpy.stack([numpy.atleast_3d(p.convert("{mode}")) for p in pictures]))
    return pixels.permute(0, 3, 1, 2) / 255, table


def read(path):
    pixels, table = pixels_and_table(path)
    return normalised(pixels), torch.tensor(table["label"].tolist())


def accuracy(network, path):
    images, labels = read(path)
    network.eval()
    with torch.no_grad():
        found = torch.cat([network(part).argmax(1) for part in images.split(256)])
    return (found == labels).float().mean().item()


{_distilled(given)}"""


def _distilled(given: LinesOf) -> str:
    """Returns the function `distilled`: images, labels and, where they count, weights."""
    factor = given.factor
    body = 'images, table = pixels_and_table("distilled.parquet")\n'
    columns = ["label", *(["weight"] if given.is_weighted else [])]
    if factor > 1:
        height, width = given.image_size
        part = f"{math.ceil(height / factor)}, {math.ceil(width / factor)}"
        if height % factor or width % factor:
            padding = f"(0, {-width % factor}, 0, {-height % factor})"
            body += f"images = F.pad(images, {padding}, value=0.5)\n"
        body += f"""\
# Each image holds {factor} × {factor} training images.
height, width = {part}
parts = [
    images[:, :, row * height : (row + 1) * height, column * width : (column + 1) * width]
    for row in range({factor})
    for column in range({factor})
]
images = F.interpolate(torch.cat(parts), size={given.image_size}, mode="bilinear")
"""
    repeated = f".repeat({factor**2})" if factor > 1 else ""
    values = [f'torch.tensor(table["{column}"].tolist()){repeated}' for column in columns]
    body += f"return normalised(images), {', '.join(values)}\n"
    return "def distilled():\n" + indent(body, "    ")


def _augmentation(given: LinesOf) -> str:
    """Returns the function `augment`; empty where nothing is changed."""
    augmentation = Augmentation(strategy=given.recipe["eval_augment"])
    names = augmentation.transforms
    body = []
    if "flip" in names:
        body.append(
            f"x = torch.where(torch.rand(n, 1, 1, 1) < {augmentation.flip_prob}, x.flip(3), x)\n"
        )
    if "color" in names:
        body.append(_color(augmentation, given.channels))
    if set(names) & set(GEOMETRIC):
        body.append(_geometric(augmentation, given.image_size))
    if "cutout" in names:
        body.append(_cutout(augmentation, given.image_size))
    if not body:
        return ""
    return "def augment(x):\n    n = len(x)\n" + indent("".join(body), "    ") + "    return x\n"


def _color(augmentation: Augmentation, channels: int) -> str:
    lines = f"x = x + {augmentation.brightness} * (torch.rand(n, 1, 1, 1) - 0.5)  # brightness\n"
    if channels > 1:
        lines += f"""\
grey = x.mean(1, keepdim=True)
x = grey + {augmentation.saturation} * torch.rand(n, 1, 1, 1) * (x - grey)  # saturation
"""
    return f"""\
{lines}middle = x.mean((1, 2, 3), keepdim=True)
x = middle + (torch.rand(n, 1, 1, 1) + {augmentation.contrast}) * (x - middle)  # contrast
"""


def _geometric(augmentation: Augmentation, image_size: tuple[int, int]) -> str:
    height, width = image_size
    rows, columns = (int(side * augmentation.crop_pad + 0.5) for side in image_size)
    smallest = 1 / augmentation.scale
    aspect = "" if height == width else f" * {height} / {width}"
    inverse = "" if height == width else f" * {width} / {height}"
    columns_shift = (
        f"move[:, 0, 2] = torch.randint(-{columns}, {columns + 1}, (n,)) * 2 / {width}\n"
    )
    cases = {
        "crop": columns_shift
        + f"move[:, 1, 2] = torch.randint(-{rows}, {rows + 1}, (n,)) * 2 / {height}\n",
        "scale": f"move[:, [0, 1], [0, 1]] = {smallest!r} + torch.rand(n, 2) * "
        f"{augmentation.scale - smallest!r}\n",
        "rotate": f"""\
angle = torch.deg2rad((2 * torch.rand(n) - 1) * {augmentation.rotate})
move[:, 0, 0] = move[:, 1, 1] = angle.cos()
move[:, 0, 1], move[:, 1, 0] = -angle.sin(){aspect}, angle.sin(){inverse}
""",
        "translate": columns_shift,
    }
    named = [name for name in augmentation.transforms if name in GEOMETRIC]
    lines = "move = torch.eye(2, 3).repeat(n, 1, 1)\n"
    if len(named) == 1:
        lines += cases[named[0]]
    else:
        choice = f"{named!r}[torch.randint({len(named)}, ())]".replace("'", '"')
        lines += f"kind = {choice}  # one for the batch\n"
        for name in named:
            lines += f'if kind == "{name}":\n' + indent(cases[name], "    ")
    return lines + (
        "grid = F.affine_grid(move, x.shape, align_corners=False)\n"
        "x = F.grid_sample(x, grid, align_corners=False)\n"
    )


def _cutout(augmentation: Augmentation, image_size: tuple[int, int]) -> str:
    lines = "hidden = True\n"
    for side, shape in zip(image_size, ("(1, 1, -1, 1)", "(1, 1, 1, -1)"), strict=True):
        box = int(side * augmentation.cutout + 0.5)
        lines += f"""\
first = torch.randint(0, {side + 1 - box % 2}, (n, 1, 1, 1)) - {box // 2}
place = torch.arange({side}).view{shape} - first
hidden = hidden & (place >= 0) & (place < {box})
"""
    return lines + "x = x.masked_fill(hidden, 0)\n"


def _mixing(given: LinesOf) -> str:
    """Returns the function `cutmix`; empty without it."""
    recipe = given.recipe
    if recipe["cutmix_prob"] == 0:
        return ""
    return f"""\
def cutmix(x, partners):
    beta = torch.tensor({float(recipe["cutmix_beta"])})
    side = (1 - torch.distributions.Beta(beta, beta).sample().item()) ** 0.5
    rows, columns = (
        slice(max(center - int(side * length) // 2, 0), center + int(side * length) // 2)
        for length in x.shape[2:]
        for center in [torch.randint(length, ()).item()]
    )
    mixed = x.clone()
    mixed[:, :, rows, columns] = x[partners][:, :, rows, columns]
    return mixed, 1 - x[0, 0, rows, columns].numel() / x[0, 0].numel()
"""


def _loss(given: LinesOf) -> str:
    """Returns the function `loss`, of a batch of the training set."""
    recipe = given.recipe
    weights = ", weights" if given.is_weighted else ""
    is_augmented = bool(Augmentation(strategy=recipe["eval_augment"]).transforms)
    taken = "    x = augment(x)\n" if is_augmented else ""
    if recipe["cutmix_prob"] > 0:
        picked = ", weights[partners]" if given.is_weighted else ""
        body = f"""\
    if torch.rand(()) >= {recipe["cutmix_prob"]}:
        return cross_entropy(network(x), labels{weights})
    partners = torch.randperm(len(x))
    x, share = cutmix(x, partners)
    logits = network(x)
    first = cross_entropy(logits, labels{weights})
    return share * first + (1 - share) * cross_entropy(logits, labels[partners]{picked})
"""
    else:
        body = f"    return cross_entropy(network(x), labels{weights})\n"
    value = (
        '(weights * F.cross_entropy(logits, labels, reduction="none")).mean()'
        if given.is_weighted
        else "F.cross_entropy(logits, labels)"
    )
    return f"""\
def cross_entropy(logits, labels{weights}):
    return {value}


def loss(network, x, labels{weights}):
{taken}{body}"""


def _network(given: LinesOf) -> str:
    """Returns the lines that make a ConvNet, whose default initial weights are this project's."""
    width, depth, norm, pooling = (given.network[n] for n in ("width", "depth", "norm", "pooling"))
    extra = first_padding(given.channels, given.image_size)
    shrinks = 1 if pooling == "none" else 2**depth
    height, columns = ((side + 2 * extra) // shrinks for side in given.image_size)
    norms = {"instance": f"nn.GroupNorm({width}, {width})", "batch": f"nn.BatchNorm2d({width})"}
    poolings = {"avg": "nn.AvgPool2d(2)", "max": "nn.MaxPool2d(2)"}
    padding = "1" if not extra else f"{1 + extra} if block == 0 else 1"
    layers = [
        f"nn.Conv2d({given.channels} if block == 0 else {width}, {width}, 3, padding={padding})",
        *([norms[norm]] if norm in norms else []),
        "nn.ReLU()",
        *([poolings[pooling]] if pooling in poolings else []),
    ]
    listed = "".join(f"        {layer},\n" for layer in layers)
    return f"""\
def convnet():
    layers = []
    for block in range({depth}):
        layers += [
{indent(listed, "    ")}\
        ]
    classifier = nn.Linear({width * height * columns}, {given.n_classes})
    return nn.Sequential(*layers, nn.Flatten(), classifier)
"""


def _numbers(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:.8g}" for value in values) + "]"
