"""Fusion in closed form on both sides of q_sim = q_mag; pooling; a map of windows' scores."""

import numpy as np
import pytest

from magiqa.errors import UserError
from magiqa.images.views import Views
from magiqa.method.fusion import Adaptive, Fixed, Product
from magiqa.method.pooling import blend, pool

RNG = np.random.default_rng(3)
Q_SIM, Q_MAG = (
    RNG.uniform(0, 1, 500),
    RNG.uniform(0, 2, 500),
)  # both sides: similarity above and below magnitude
PARAMETERS = [(1.0, 0.6, 1.0), (0.0, 0.0, 0.0), (0.2, 2.0, 3.0), (-1.0, 4.0, -2.0), (1.0, 1.0, 10.0)]


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_adaptive_is_the_softmax_form(parameters):
    base_sim, base_mag, alpha = parameters
    assert (Q_SIM > Q_MAG).sum() > 50 and (Q_SIM < Q_MAG).sum() > 50
    d = Q_SIM - Q_MAG
    e_sim, e_mag = np.exp(base_sim + alpha * d), np.exp(base_mag - alpha * d)
    w_sim, w_mag = e_sim / (e_sim + e_mag), e_mag / (e_sim + e_mag)
    q, w = Adaptive(*parameters)(Q_SIM, Q_MAG)
    np.testing.assert_allclose(w, w_sim, rtol=1e-12)
    np.testing.assert_allclose(1 - w, w_mag, rtol=0, atol=1e-14)
    np.testing.assert_allclose(q, w_sim * Q_SIM + w_mag * Q_MAG, rtol=1e-12)


def test_worked_examples_by_hand_on_both_sides():
    """At the defaults w_sim = sigmoid(0.4 + 2 d): d = 0.5 -> sigmoid(1.4), d = -0.5 -> sigmoid(-0.6)."""
    q, w = Adaptive()(np.array([1.0, 0.5, 0.7]), np.array([0.5, 1.0, 0.7]))
    np.testing.assert_allclose(w, [0.802183888558582, 0.354343693774205, 0.598687660112452], rtol=1e-12)
    np.testing.assert_allclose(q, [0.901091944279291, 0.822828153112898, 0.7], rtol=1e-12)


def test_extremes_neither_overflow_nor_turn_into_nan():
    wild = np.array([-1e300, -1e6, -750.0, 0.0, 750.0, 1e6, 1e300])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        np.testing.assert_array_equal(Adaptive(0, 0)(wild, np.zeros(7))[1], [0, 0, 0, 0.5, 1, 1, 1])
        q, w = Adaptive(alpha=1e3)(np.array([0.0, 1.0, 1e6]), np.array([1e6, 0.0, 0.0]))
    np.testing.assert_array_equal(w, [0, 1, 1])
    np.testing.assert_array_equal(q, [1e6, 1, 1e6])


def test_fixed_and_product():
    for w in (0.0, 0.3, 1.0):
        q, w_sim = Fixed(w)(Q_SIM, Q_MAG)
        np.testing.assert_allclose(q, w * Q_SIM + (1 - w) * Q_MAG, rtol=1e-15)
        np.testing.assert_array_equal(w_sim, np.full(500, w))
    q, w_sim = Product()(Q_SIM, Q_MAG)
    np.testing.assert_array_equal(q, Q_SIM * Q_MAG)
    assert np.isnan(w_sim).all()  # no weight exists: never a number


def test_pooling():
    values = np.array([5.0, 1.0, 3.0, 2.0])
    assert pool(values) == 2.75 and pool(values, "median") == 2.5 and pool(values, "worst_tenth") == 1.0
    assert pool(np.arange(11.0)[::-1], "worst_tenth") == 0.5  # the two lowest of eleven
    assert pool(np.array([4.0]), "worst_tenth") == 4.0
    assert pool(np.arange(10.0), "worst_20") == 0.5 and pool(np.arange(11.0), "worst_20") == 1.0
    with pytest.raises(UserError, match=r"^pooling=max is not known: use mean"):
        pool(values, "max")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adaptive(base_sim=float("nan")), "fusion.base_sim=nan must be a finite number"),
        (lambda: Adaptive(alpha="1"), "fusion.alpha=1 must be a finite number"),
        (lambda: Fixed(1.5), "fusion.w_sim=1.5 must lie between 0 and 1"),
    ],
)
def test_fusions_check_themselves(make, message):
    with pytest.raises(UserError, match=f"^{message}$"):
        make()


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
