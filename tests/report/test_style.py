"""Figures are told apart in gray and with color vision deficiencies."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from skimage.color import deltaE_ciede2000, rgb2lab

from magiqa.report.style import DASHES, SERIES

# Machado, Oliveira and Fernandes (2009), severity 1.0, of linear RGB
DEFICIENCIES = {
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def seen(color: str, kind: str) -> np.ndarray:
    """A color in Lab, as it looks with a deficiency."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(DEFICIENCIES[kind]) @ linear, 0, 1)
    back = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return rgb2lab(back[None, None])[0, 0]


def test_series_differ_in_lightness():
    light = [float(rgb2lab(np.array(to_rgb(color))[None, None])[0, 0, 0]) for color in SERIES]
    assert min(abs(a - b) for a, b in combinations(light, 2)) > 6
    assert min(abs(a - b) for a, b in combinations(light[:4], 2)) > 11  # what most figures have
    assert max(light) < 75  # against white paper


def test_no_series_is_a_line_of_dots_which_marks_a_reference():
    for _, strokes in DASHES[1:]:
        assert max(strokes[::2]) >= 2.5 and sum(strokes[::2]) > sum(strokes[1::2])


@pytest.mark.parametrize("kind", DEFICIENCIES)
def test_series_are_told_apart_with_color_vision_deficiencies(kind):
    gaps = [deltaE_ciede2000(seen(a, kind), seen(b, kind)) for a, b in combinations(SERIES, 2)]
    assert min(gaps) > 10
