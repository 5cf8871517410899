"""The logistic fit."""

import math

import numpy as np
import pytest
from scipy.optimize import curve_fit, differential_evolution
from scipy.special import expit

from magiqa.stats.agreement import agreement
from magiqa.stats.correlation import plcc
from magiqa.stats.logistic import PARAMETERS, fit_logistic, logistic, narrowest


def shapes(n: int, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    x, e = rng.normal(size=n), rng.normal(size=n)
    return {
        "sigmoid": (x, 3 / (1 + np.exp(-2 * x)) + 0.3 * e),
        "inverted": (x, -x + 0.5 * e),
        "saturating": (x, 3 / (1 + np.exp(-12 * (x - 0.5))) + 0.1 * e),
        "step": (x, 3.0 * (x > 0.3) + 0.1 * e),
        "ceiling": (1 / (1 + np.exp(-5 * x)), np.minimum(x, 0.2) + 0.05 * e),
        "exponential": (x, np.exp(x) + 0.1 * e),
        "cubic": (x, x**3 + 0.5 * e),
        "parabola": (x, x**2 + 0.1 * e),
        "pure noise": (x, e),
        "bytes": (np.exp(2 * x) * 1e5, x + 0.5 * e),
        "narrow probabilities": (0.5 + 0.01 * x, 50 + 10 * x + 5 * e),
        "ties": (x.round(0), x + 0.5 * e),
        "two values": ((x > 0).astype(float), x + e),
        "straight line": (x, 2 * x + 1),
        "exact": (x, logistic(x, (2, 3, 0.2, 0.5, 1))),
    }


def least_squares(x: np.ndarray, y: np.ndarray) -> float:
    """The least sum of squares of a logistic with a bound on its slope, by a global optimizer."""

    def squares(p: np.ndarray) -> float:
        u = np.exp(p[0]) * (x - p[1])
        bend = -expit(-u) if u.min() >= 0 else expit(u)  # keeps the digits of a small tail
        bend = bend - bend.mean()
        norm = float(bend @ bend)
        return float(np.sum((y - y.mean()) ** 2)) - (float(bend @ y) ** 2 / norm if norm > 1e-300 else 0.0)

    bounds = [
        (np.log(5e-3 / np.ptp(x)), -np.log(narrowest(x))),
        (x.min() - 5 * x.std(), x.max() + 5 * x.std()),
    ]
    return float(differential_evolution(squares, bounds, seed=0, tol=1e-12, maxiter=300).fun)


@pytest.mark.slow
@pytest.mark.parametrize("n", [15, 250])
@pytest.mark.parametrize("shape", shapes(6, 0))
def test_fit_is_no_worse_than_a_global_optimizer(shape, n):
    x, y = shapes(n, seed=n)[shape]
    fit = fit_logistic(x, y)
    ours = float(np.sum((fit.predict(x) - y) ** 2))
    assert fit.rmse == pytest.approx(math.sqrt(ours / n), abs=1e-12)
    assert ours <= least_squares(x, y) + 1e-6 * float(np.sum((y - y.mean()) ** 2))


@pytest.mark.parametrize("factor, shift", [(1e-6, 0.0), (1e6, -3e6), (-40.0, 7.0)])
def test_fit_follows_a_change_of_unit(factor, shift):
    for shape in ("sigmoid", "saturating", "bytes"):
        x, y = shapes(150, 3)[shape]
        rmse = fit_logistic(x, y).rmse
        assert fit_logistic(factor * x + shift * x.std(), y).rmse == pytest.approx(rmse, rel=1e-6)
        assert fit_logistic(x, 100 * y - 5).rmse == pytest.approx(100 * rmse, rel=1e-6)


@pytest.mark.parametrize("shape", shapes(6, 0))
def test_fit_is_monotone_and_takes_half_the_interquartile_range(shape):
    x, y = shapes(120, 5)[shape]
    fit = fit_logistic(x, y)
    curve = fit.predict(np.sort(x))
    assert (np.diff(curve) >= -1e-9 * np.ptp(y)).all() or (np.diff(curve) <= 1e-9 * np.ptp(y)).all()
    assert fit.params[1] <= 1.001 / narrowest(x) and fit.params[3] == 0


@pytest.mark.filterwarnings("ignore:Covariance of the parameters")
def test_fit_is_that_of_scipy_or_says_that_its_slope_is_at_the_bound():
    steepest = 0
    for seed in (*range(16, 24), 56, 152):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=60)
        y = 0.6 * x + 0.8 * rng.normal(size=60)
        four = curve_fit(
            lambda x, *b: logistic(x, (*b[:3], 0, b[3])), x, y, p0=(np.ptp(y), 1, 0, 0), maxfev=9999
        )[0]
        fit = fit_logistic(x, y)
        by_scipy = plcc(logistic(x, (*four[:3], 0, four[3])), y)
        assert (abs(plcc(fit.predict(x), y) - by_scipy) < 1e-4) == (fit.status == "ok"), (seed, fit)
        steepest += fit.status == "steepest"
    assert steepest == 3


@pytest.mark.parametrize("method", PARAMETERS)
def test_fit_says_why_there_is_none(method):
    assert fit_logistic([1, 2, 3], [1, 2, 3], method).status == "too_few"
    assert fit_logistic(np.ones(9), np.arange(9), method).status == "failed: all scores are equal"
    fit = fit_logistic(np.arange(9), np.ones(9), method)
    assert fit.params is None and math.isnan(fit.rmse) and np.isnan(fit.predict([1.0])).all()


def official_procedure(y_label: np.ndarray, y_output: np.ndarray) -> tuple[bool, np.ndarray]:
    """The official evaluation, written down from its description: converged, parameters."""

    def curve(x, b1, b2, b3, b4, b5):
        return b1 * (0.5 - 1 / (1 + np.exp(b2 * (x - b3)))) + b4 * x + b5

    start = [np.max(y_label), np.min(y_label), np.mean(y_output), 0.1, 0.1]
    with np.errstate(all="ignore"):
        try:
            return True, curve_fit(curve, y_output, y_label, p0=start, maxfev=10000)[0]
        except RuntimeError:
            return False, np.array(start)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Covariance of the parameters")
def test_official_fit_is_the_official_procedure_failure_included():
    # Where the last digit of a score moves the official result, no two runs of it agree (rounding depends on where
    # arrays lie in memory): such fits are left out, and both ends of the procedure must still be met.
    outcomes = set()
    for x, y in shapes(60, 0).values():
        for labels in (y, y - y.min(), 1 + 9 * (y - y.min()) / np.ptp(y)):  # lowest 0: b2 starts at 0
            converged, params = official_procedure(labels, x)
            beside = [official_procedure(labels, np.nextafter(x, end)) for end in (-np.inf, np.inf)]
            if any(c != converged or not np.allclose(p, params, rtol=1e-6) for c, p in beside):
                continue
            fit = fit_logistic(x, labels, "official")
            assert (fit.status == "start_values") == (not converged)
            assert fit.params == pytest.approx(tuple(params), rel=1e-6)
            outcomes.add(converged)
            if not converged and labels.min() == 0:  # of the start values, only a line is left
                result = agreement(x, labels, fit="official")["plcc_logistic"]
                assert result.value == pytest.approx(plcc(0.1 * x, labels))
    assert outcomes == {True, False}


def test_official_fit_of_labels_turned_round_is_that_of_the_labels_as_published():
    x, y = shapes(80, 2)["sigmoid"]
    as_published = 9 - y
    turned, direct = (
        fit_logistic(x, -as_published, "official", turned=True),
        fit_logistic(x, as_published, "official"),
    )
    np.testing.assert_allclose(turned.predict(x), -direct.predict(x))
    assert turned.rmse == pytest.approx(direct.rmse)
