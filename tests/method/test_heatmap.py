"""A map of windows' scores, against closed form."""

import numpy as np

from magiqa.images.views import Views
from magiqa.method.heatmap import blend


def test_equal_scores_give_a_flat_map_and_uncovered_pixels_none():
    views = Views(window=32, stride=20)
    corners = views.boxes(100, 70)
    found = blend(np.full(len(corners), 0.7), corners, 32, (100, 70))
    covered = np.zeros((70, 100), bool)
    for x, y in corners:
        covered[y : y + 32, x : x + 32] = True
    assert found.shape == (70, 100) and found.dtype == np.float32
    np.testing.assert_allclose(found[covered], 0.7, rtol=1e-6)
    assert np.isnan(found[~covered]).all() and not covered.all()


def test_between_the_middles_of_overlapping_windows_the_map_is_linear():
    views = Views(window=32, stride=16, cover=True)
    corners = views.boxes(96, 64)
    values = np.array([3 * x - 2 * y for x, y in corners], float)
    found = blend(values, corners, 32, (96, 64))
    y, x = np.mgrid[16:48, 16:80]  # between the first and the last middle
    np.testing.assert_allclose(found[16:48, 16:80], 3 * (x - 15.5) - 2 * (y - 15.5), atol=1e-3)
