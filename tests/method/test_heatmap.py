"""A map of windows' scores, against closed form."""

import numpy as np
import pytest

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


def test_a_map_stays_between_its_windows_scores_and_each_shows_at_its_own_place():
    rng = np.random.default_rng(0)
    corners = Views(window=16, stride=8, cover=True).boxes(50, 41)
    values = rng.normal(size=len(corners))
    found = blend(values, corners, 16, (50, 41))
    assert values.min() - 1e-6 <= found.min() and found.max() <= values.max() + 1e-6
    assert found[0, 0] == pytest.approx(values[0], rel=1e-6)  # one window alone covers the corner
    assert found[-1, -1] == pytest.approx(values[-1], rel=1e-6)
