"""The look of methods: colours, markers and dashes of one kind are told apart by everybody."""

import itertools
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.figures.bands import VARIANT_LINES, draw_band
from analysis.figures.style import look
from distill.clustering.registry import CLUSTERERS
from distill.components import known_names
from distill.config.selection import SelectionConfig

METHODS = tuple(name for name in CLUSTERERS if not name.endswith(("_published", "_sklearn_extra")))
SELECTORS = known_names(SelectionConfig.static_fields()["selector"])

MACHADO: dict[str, list[list[float]]] = {
    "normal": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
"""Linear sRGB as it is seen (Machado, Oliveira & Fernandes, A physiologically-based model for
simulation of color vision deficiency, IEEE TVCG 2009; severity 1)."""

TO_XYZ = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
]
"""Linear sRGB to CIE XYZ (IEC 61966-2-1, D65)."""

MARKER_KINDS = {
    **dict.fromkeys("o8hHp", "round"),
    **dict.fromkeys("^v<>", "triangle"),
    **dict.fromkeys("sDd", "square"),
    **dict.fromkeys("PX", "cross"),
    "*": "star",
}
DASH_KINDS = {4: "dash-dot", 6: "dash-dot-dot"}
LEAST = 10.0
LEAST_OF_OTHERS = 4.0


def lab(colour: str, vision: str) -> NDArray[np.float64]:
    """Returns CIELAB (D65) of a colour as it is seen."""
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(MACHADO[vision]) @ linear, 0, 1)
    xyz = np.array(TO_XYZ) @ seen / np.array(TO_XYZ).sum(axis=1)
    steps = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = steps.tolist()
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def difference(first: str, second: str, vision: str) -> float:
    """Returns the ΔE (1976) of the colours of two methods."""
    one, other = (lab(look(name).colour, vision) for name in (first, second))
    return float(np.linalg.norm(one - other))


def dash_kind(name: str) -> str:
    line = look(name).line
    if line == "-":
        return "solid"
    _, lengths = line
    if len(lengths) == 2:
        return "dotted" if lengths[0] <= 2 else "dashed"
    return DASH_KINDS[len(lengths)]


def test_colours_in_cielab_by_hand() -> None:
    """White, black and pure red of sRGB; deuteranopes see green much as an olive yellow."""
    assert lab("#ffffff", "normal") == pytest.approx([100, 0, 0], abs=1e-3)
    assert lab("#000000", "normal") == pytest.approx([0, 0, 0])
    assert lab("#ff0000", "normal") == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    assert lab("#ffffff", "deuteranopia") == pytest.approx([100, 0, 0], abs=1e-3)
    lightness, green_red, blue_yellow = lab("#00ff00", "deuteranopia")
    assert lightness > 80
    assert abs(green_red) < 20 < blue_yellow


@pytest.mark.parametrize("vision", MACHADO)
@pytest.mark.parametrize("names", [METHODS, SELECTORS])
def test_looks_of_one_kind_differ_in_colour_for_everybody(
    names: tuple[str, ...], vision: str
) -> None:
    for first, second in itertools.combinations(names, 2):
        markers = [MARKER_KINDS[look(name).marker] for name in (first, second)]
        is_one_kind = markers[0] == markers[1] or dash_kind(first) == dash_kind(second)
        least = LEAST if is_one_kind else LEAST_OF_OTHERS
        assert difference(first, second, vision) >= least, (first, second)


def test_no_two_methods_share_a_marker_or_dashes() -> None:
    for names in (METHODS, SELECTORS):
        assert len({look(name).marker for name in names}) == len(names)
    assert len({look(name).line for name in METHODS}) == len(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_no_two_variants_of_a_method_share_a_line(name: str) -> None:
    """Random images are drawn with long dashes, their first variant is not."""
    axes = Figure().subplots()
    points = pd.DataFrame({"x": [0, 1], "mean": 0.5, "minimum": 0.4, "maximum": 0.6, "seeds": 1})
    with mock.patch.object(axes, "plot", wraps=axes.plot) as plot:
        for variant in range(len(VARIANT_LINES)):
            draw_band(axes, points, "x", name=name, label="", variant=variant, scale=1.0)
    lines = [call.kwargs["linestyle"] for call in plot.call_args_list]

    assert lines[0] == look(name).line
    assert len(set(lines)) == len(lines)
    assert (lines[1] == "-") == (name != "kmeans")
