"""The logistic fit of MOS on scores. Pure.

Source: VQEG, Final report on the validation of objective models of video quality assessment, phase II, 2003 (four
parameters); Sheikh, Sabir and Bovik, IEEE TIP 15(11), 2006 (five).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from magiqa.errors import UserError
from magiqa.stats.correlation import NAN, as_pair, is_constant

MIN_FIT = 6  # images

PARAMETERS = {"logistic4": 4, "official": 5}  # number of parameters of each fit

# what a reader must know of a fit that is not plainly ok
WORDS = {
    "step": "a step fits better than any transition",
    "steepest": "the steepest curve that the fit may take; an unbounded fit has another PLCC",
    "not_monotone": "not monotone over the scores: it rises and falls",
    "start_values": "did not converge: the start values stand in its place, as in the official code",
    "too_few": "fewer than six images",
}


def logistic(x: Any, params: Sequence[float]) -> np.ndarray:
    """Return b1 (1/2 - 1/(1 + exp(b2 (x - b3)))) + b4 x + b5, elementwise, without overflow.

    Example:
        >>> logistic([-1e6, 0.0, 1e6], (2.0, 1.0, 0.0, 0.0, 3.0))
        array([2., 3., 4.])
    """
    x, (b1, b2, b3, b4, b5) = np.asarray(x, np.float64), params
    return b1 * (expit(b2 * (x - b3)) - 0.5) + b4 * x + b5


def fit_title(method: str) -> str:
    """Return the name of a fit with its number of parameters.

    Example:
        >>> fit_title("logistic4")
        'logistic4, 4 parameters'
    """
    return f"{method}, {PARAMETERS[method]} parameters"


@dataclass(frozen=True)
class LogisticFit:
    """The logistic fitted to scores and MOS.

    Args:
        status: ``ok``; ``step`` (logistic4: a step fits better than any transition it may take; official: steeper than
            a transition); ``steepest`` (logistic4: at the bound of its slope); ``not_monotone`` over the scores;
            ``too_few`` (fewer than six images); ``failed: reason``; ``start_values`` (official: the fit failed and the
            start values stand in its place, as the official code does). `WORDS` says it to a reader.
        params: b1 to b5 of `logistic`; None where there is no fit. rmse: of the fitted values; NaN without a fit.
        method: one of `PARAMETERS`.
    """

    status: str
    params: tuple[float, ...] | None
    rmse: float
    method: str = "logistic4"

    def predict(self, scores: Any) -> np.ndarray:
        """Return the fitted values of scores (N,), in the unit of the MOS; NaN without a fit."""
        x = np.asarray(scores, np.float64)
        return np.full(x.shape, NAN) if self.params is None else logistic(x, self.params)


def fit_logistic(scores: Any, labels: Any, method: str = "logistic4", turned: bool = False) -> LogisticFit:
    """Fit a logistic to scores (N,) and labels (N,) by least squares.

    Args:
        method: ``logistic4``: b1 (1/2 - 1/(1 + exp(b2 (x - b3)))) + b5, no steeper than `narrowest` allows;
            ``official``: with b4 x, by the procedure of MA-CLIP's code: curve_fit from (max MOS, min MOS, mean score,
            0.1, 0.1), and the start values where that fails.
        turned: the labels were negated when they were read (DMOS). The official code fits them as published.

    Note:
        An inverted predictor comes out upright. Changes of unit and reversal of the scores do not change the fitted
        values, except with ``official``.
    """
    x, y = as_pair(scores, labels)
    if method not in PARAMETERS:
        raise UserError(f"fit={method} is not known: use {', '.join(PARAMETERS)}")
    if len(x) < MIN_FIT:
        return LogisticFit("too_few", None, NAN, method)
    if is_constant(x) or is_constant(y):
        equal = "scores" if is_constant(x) else "labels"
        return LogisticFit(f"failed: all {equal} are equal", None, NAN, method)
    if method == "logistic4":
        params = _four(x, y)
        steepest = params[1] > 0.9999 / narrowest(x)
        is_step = _step_error(x, y) < _error(x, y, params) * (1 - 1e-9)
        status = "step" if is_step else "steepest" if steepest else "ok"
    else:
        status, params = _official(x, -y if turned else y)
        if turned:
            params = (-params[0], params[1], params[2], -params[3], -params[4])
        if status == "ok":
            status = _shape(x, params)
    with np.errstate(over="ignore", invalid="ignore"):
        rmse = float(np.sqrt(_error(x, y, params) / len(x)))
    if not np.isfinite(rmse):
        return LogisticFit("failed: no finite optimum", None, NAN, method)
    return LogisticFit(status, params, rmse, method)


def narrowest(x: np.ndarray) -> float:
    """Return the smallest 1 / b2: from 10 to 90 % the curve takes at least half the interquartile range of scores (N,).

    Where over half of the scores are equal, two thirds of their standard deviation stand for the half.
    """
    low, high = np.quantile(x, [0.25, 0.75])
    half = (high - low) / 2 if high > low else np.std(x) * 2 / 3
    return float(half) / (2 * np.log(9.0))


def _four(x: np.ndarray, y: np.ndarray) -> tuple[float, ...]:
    """Return the parameters of least squares of the four-parameter logistic.

    For a given slope b2 and middle b3, b1 and b5 follow from a straight line. So the search has two dimensions: a grid
    on at most 200 averages, then Levenberg and Marquardt's method from its highest peaks.
    """
    from scipy.ndimage import maximum_filter
    from scipy.optimize import least_squares

    middle, size = (
        float(x.min() / 2 + x.max() / 2),
        float(np.std(x / np.abs(x).max())) * float(np.abs(x).max()),
    )
    order = np.argsort(x, kind="stable")
    z, scale = (x[order] - middle) / size, float(y.std())
    target = (y[order] - y.mean()) / scale
    reach = float(z[-1] - z[0])
    low, high = np.log(5e-3 / reach), -np.log(narrowest(x) / size)

    def inside(slope: float, place: float) -> float:
        """Keep the middle of the curve near the scores: beyond, it is an exponential to six digits."""
        furthest = np.exp(slope) * reach / 2 + 14
        return float(np.clip(place, -furthest, furthest))

    def curve(at: Any, where: np.ndarray) -> np.ndarray:
        """Return the centered logistic of slope exp(at[0]) and place at[1]; digits of a small tail are kept."""
        u = np.exp(at[0]) * where - inside(at[0], at[1])
        sign = -1.0 if u[0] >= 0 else 1.0
        shape = sign * expit(sign * u)
        return shape - shape.mean()

    def errors(at: np.ndarray) -> np.ndarray:
        shape = curve(at, z)
        return target - shape * (shape @ target) / max(float(shape @ shape), 1e-300)

    blocks = np.array_split(np.arange(len(z)), min(len(z), 200))
    coarse, mean = (np.array([v[b].mean() for b in blocks]) for v in (z, target))
    grid = []
    for slope in np.linspace(low, high, 12):
        places = np.linspace(-1, 1, 61) * (np.exp(slope) * reach / 2 + 14)
        grid.append([(slope, place) for place in places])
    shapes = np.array([[curve(at, coarse) for at in row] for row in grid])
    gains = np.square(shapes @ mean) / np.maximum(np.square(shapes).sum(axis=-1), 1e-300)
    peaks = sorted(
        zip(*np.nonzero(gains == maximum_filter(gains, 3)), strict=True), key=lambda at: -gains[at]
    )
    peaks = [*peaks[:4], (len(grid) - 1, int(gains[-1].argmax()))]  # and the best of the steepest
    bounds = ([low, -np.inf], [high, np.inf])
    fits = [least_squares(errors, grid[i][k], bounds=bounds, ftol=1e-12, xtol=1e-12) for i, k in peaks]
    slope, place = min(fits, key=lambda fit: fit.cost).x
    place = inside(slope, place)
    shape = curve((slope, place), z)
    b1, b2, b3 = (
        float(shape @ target) / float(shape @ shape) * scale,
        np.exp(slope) / size,
        place / np.exp(slope),
    )
    b3 = middle + size * b3
    return b1, float(b2), float(b3), 0.0, float(np.mean(y - b1 * (expit(b2 * (x - b3)) - 0.5)))


def _error(x: np.ndarray, y: np.ndarray, params: Sequence[float]) -> float:
    return float(np.sum(np.square(logistic(x, params) - y)))


def _step_error(x: np.ndarray, y: np.ndarray) -> float:
    """Return the sum of squares of the best step: one mean below a score, one above."""
    order = np.argsort(x, kind="stable")
    sums, n = np.cumsum(y[order] - y.mean())[:-1], len(x)
    cuts = np.flatnonzero(np.diff(x[order]) > 0)
    below = cuts + 1.0
    return float(np.sum(np.square(y - y.mean())) - np.max(sums[cuts] ** 2 * n / (below * (n - below))))


def _shape(x: np.ndarray, params: Sequence[float]) -> str:
    """Return the status of an official curve: a step, not monotone over the scores, or ok."""
    rises = np.diff(logistic(np.unique(x), params))
    size = 1e-9 * max(float(np.abs(rises).sum()), 1e-300)
    if params[0] != 0 and abs(params[1]) > 1.0001 / narrowest(x):
        return "step"
    return "not_monotone" if (rises > size).any() and (rises < -size).any() else "ok"


def _official(x: np.ndarray, y: np.ndarray) -> tuple[str, tuple[float, ...]]:
    """Follow the official code to the letter: zhix000/MA-CLIP at 9581a2c.

    Its curve_fit is MINPACK's lmdif through leastsq, which is called here. curve_fit also estimates a covariance, and
    warns where it cannot; silencing a warning would change the filters of the whole process, for other threads too.
    """
    from scipy.optimize import leastsq

    def errors(b: np.ndarray) -> np.ndarray:
        model = b[0] * (0.5 - 1.0 / (1.0 + np.exp(b[1] * (x - b[2])))) + b[3] * x + b[4]
        return model - y

    start = (float(y.max()), float(y.min()), float(x.mean()), 0.1, 0.1)
    with np.errstate(all="ignore"):
        try:
            fit, _, _, _, code = leastsq(errors, np.array(start), maxfev=10000, full_output=True)
        except (ValueError, TypeError):
            return "start_values", start
    if code not in (1, 2, 3, 4):
        return "start_values", start
    return "ok", tuple(float(b) for b in fit)
