"""The logistic fit of labels on scores. Pure.

Source: Sheikh, Sabir and Bovik, IEEE TIP 15(11), 2006.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from magiqa.errors import UserError
from magiqa.stats.arrays import NAN, as_pair, is_constant
from magiqa.stats.projection import Projected, merged, top

MIN_FIT = 6  # one more than the logistic has parameters


def logistic(x: Any, params: Sequence[float]) -> np.ndarray:
    """b1 (1/2 - 1/(1 + exp(b2 (x - b3)))) + b4 x + b5, elementwise, without overflow.

    Example:
        >>> logistic([-1e6, 0.0, 1e6], (2.0, 1.0, 0.0, 0.0, 3.0))
        array([2., 3., 4.])
    """
    x, (b1, b2, b3, b4, b5) = np.asarray(x, np.float64), params
    return b1 * (expit(b2 * (x - b3)) - 0.5) + b4 * x + b5


METHODS = ("monotone", "logistic4", "official", "unconstrained")

# what a reader must know of a fit that is not plainly ok
WORDS = {
    "at_bound": "as steep as allowed: a step would fit better",
    "step": "a step, not a transition: narrower than half the scores' interquartile range allows",
    "not_monotone": "not monotone over the scores: it rises and falls",
    "start_values": "did not converge: the start values stand in its place, as in the official code",
    "too_few": "fewer than six images",
}


@dataclass(frozen=True)
class LogisticFit:
    """The logistic fitted to scores and labels.

    Args:
        status: ``ok``; ``at_bound`` (monotone, logistic4: as steep as allowed); ``step`` (the others: steeper than
            that); ``not_monotone`` over the scores; ``too_few`` (fewer than six images); ``failed: reason``;
            ``start_values`` (official only: the fit failed and the start values are used in its place, as the official
            code does). `WORDS` says it to a reader.
        params: b1 to b5 of `logistic`; None where there is no fit. rmse: of the fitted values; NaN without a fit.
        method: one of `METHODS`.
    """

    status: str
    params: tuple[float, ...] | None
    rmse: float
    method: str = "monotone"

    def predict(self, scores: Any) -> np.ndarray:
        """Fitted values of scores (N,): (N,), in the label's unit; NaN without a fit."""
        x = np.asarray(scores, np.float64)
        return np.full(x.shape, np.nan) if self.params is None else logistic(x, self.params)


def _best(x: np.ndarray, y: np.ndarray) -> tuple[float, ...]:
    """Parameters of least squares; x and y vary."""
    middle, spread = _units(x)
    z, centered = (x - middle) / spread, y - y.mean()
    value, mean, weight = merged(z, centered, len(z))  # equal scores once, with weight: the same optimum
    if len(value) < 3:
        return _solve(x, y, 1.0 / spread, middle, straight=True)
    full = Projected(value, mean, weight)
    if full.total <= 1e-28 * float(np.sum(weight * mean**2)):
        return _solve(x, y, 1.0 / spread, middle, straight=True)
    coarse = Projected(*merged(z, centered, 200))
    rough = top(coarse.refine(*top(coarse.grid(), 16), 12), 5)
    sharp = top(full.steps(), 8)
    tried = full.refine(np.r_[rough[0], sharp[0]], np.r_[rough[1], sharp[1]], 6)
    gain, a, b3 = full.refine(*top(tried, 3), 200)
    k = int(np.argmax(gain))
    return _solve(x, y, float(np.exp(a[k])) / spread, middle + spread * float(b3[k]))


def _monotone(x: np.ndarray, y: np.ndarray, line: bool) -> tuple[str, tuple[float, ...]]:
    """Status and parameters of least squares among curves that are monotone and no steeper than `narrowest` allows.

    Monotone everywhere is b1 and b4 of one sign. For fixed b2, b3 the problem is a quadratic in b1 and b4 over two
    quadrants: its optimum lies inside, and then is the unconstrained one, or on an axis: without the line, or the line
    alone. So the optimum is the best of three: feasible local optima with the line, the logistic alone, the line alone.
    """
    middle, spread = _units(x)
    z, lifted = (x - middle) / spread, y - y.mean()
    value, mean, weight = merged(z, lifted, len(z))
    straight = _solve(x, y, 1.0 / spread, middle, straight=True)
    if len(value) < 3:
        return "ok", straight
    width = narrowest(x) / spread
    total = float(np.sum(weight * mean**2))
    found = [(_error(x, y, straight), straight, False)] if line else []
    for with_line in (False, True) if line else (False,):
        full = Projected(value, mean, weight, with_line, width)
        if full.total <= 1e-28 * total:
            continue
        coarse = Projected(*merged(z, lifted, 200), with_line, width)
        gain, a, b3 = coarse.grid()
        if with_line:
            good = np.array(
                [_of_one_sign(_at(x, y, k, b, middle, spread, True)) for k, b in zip(a, b3, strict=True)]
            )
            gain, a, b3 = gain[good], a[good], b3[good]
        if not len(gain):
            continue
        tried = full.refine(*top(coarse.refine(*top((gain, a, b3), 8), 12), 4), 8)
        _, a, b3 = full.refine(*top(tried, 3), 200)
        for k, b in zip(a, b3, strict=True):
            params = _at(x, y, float(k), float(b), middle, spread, with_line)
            if _of_one_sign(params):
                found.append((_error(x, y, params), params, k >= full.steepest - 1e-6))
    if not found:
        return "ok", straight
    _, params, steep = min(found, key=lambda f: f[0])
    return ("at_bound" if steep else "ok"), params


def narrowest(x: np.ndarray) -> float:
    """The smallest 1 / b2: from 10 to 90 % the curve takes at least half the interquartile range of scores (N,).

    Where over half of the scores are equal, two thirds of their standard deviation stand for the half.
    """
    low, high = np.quantile(x, [0.25, 0.75])
    half = (high - low) / 2 if high > low else _units(x)[1] * 2 / 3
    return float(half) / (2 * np.log(9.0))


def _at(
    x: np.ndarray, y: np.ndarray, a: float, b3: float, middle: float, spread: float, line: bool
) -> tuple[float, ...]:
    """Parameters in the scores' own unit."""
    return _solve(x, y, float(np.exp(a)) / spread, middle + spread * b3, bent=not line)


def _of_one_sign(params: tuple[float, ...]) -> bool:
    """Monotone everywhere: b2 is positive."""
    return params[0] * params[3] >= 0


def _error(x: np.ndarray, y: np.ndarray, params: tuple[float, ...]) -> float:
    return float(np.sum(np.square(logistic(x, params) - y)))


def _judged(x: np.ndarray, params: tuple[float, ...]) -> str:
    """Status of a curve that was not held: a step, not monotone over the scores, or ok."""
    b1, b2 = params[:2]
    grid = np.unique(x)
    rises = np.diff(logistic(grid, params))
    size = 1e-9 * max(float(np.abs(rises).sum()), 1e-300)
    if b1 != 0 and abs(b2) > 1.0001 / narrowest(x):
        return "step"
    return "not_monotone" if (rises > size).any() and (rises < -size).any() else "ok"


def _units(x: np.ndarray) -> tuple[float, float]:
    """Median and standard deviation, the latter without overflow."""
    size = float(np.abs(x).max())
    return float(np.median(x)), float(np.std(x / size)) * size


def _solve(
    x: np.ndarray, y: np.ndarray, b2: float, b3: float, straight: bool = False, bent: bool = False
) -> tuple[float, ...]:
    """b1, b4, b5 by least squares, given b2 and b3. straight: b1 = 0; bent: b4 = 0."""
    size = float(np.abs(x).max())
    xc, yc = (x - x.mean()) / size, y - y.mean()
    line = float(xc @ xc)
    shape = expit(b2 * (x - b3)) - 0.5
    b1 = 0.0
    if not straight:
        off = shape - shape.mean()
        for _ in range(2):  # twice is enough for orthogonality in floating point
            off = off if bent else off - (off @ xc) / line * xc
            off = off - off.mean()
        b1 = float(off @ yc) / float(off @ off)
    rest = y - b1 * shape
    b4 = 0.0 if bent else float((rest - rest.mean()) @ xc) / line / size
    return b1, b2, b3, b4, float(np.mean(rest - b4 * x))


def _official(x: np.ndarray, y: np.ndarray) -> tuple[str, tuple[float, ...]]:
    """The official code's procedure to the letter: zhix000/MA-CLIP at 9581a2c.

    Its curve_fit is MINPACK's lmdif through leastsq, which is called here: curve_fit also estimates a covariance, and
    warns where it cannot; silencing a warning would change the filters of the whole process, for other threads too.
    """
    from scipy.optimize import leastsq

    def errors(b: np.ndarray) -> np.ndarray:
        model = b[0] * (0.5 - 1.0 / (1.0 + np.exp(b[1] * (x - b[2])))) + b[3] * x + b[4]
        return model - y

    start = (float(y.max()), float(y.min()), float(x.mean()), 0.1, 0.1)
    with np.errstate(all="ignore"):
        try:
            found, _, _, _, code = leastsq(errors, np.array(start), maxfev=10000, full_output=True)
        except (ValueError, TypeError):
            return "start_values", start
    if code not in (1, 2, 3, 4):
        return "start_values", start
    return "ok", tuple(float(b) for b in found)


def fit_logistic(scores: Any, labels: Any, method: str = "monotone", turned: bool = False) -> LogisticFit:
    """Fit b1 (1/2 - 1/(1 + exp(b2 (x - b3)))) + b4 x + b5 to scores (N,) and labels (N,), by least squares.

    Args:
        method: ``monotone``, as VQEG asks of a mapping: b1 and b4 of one sign, and no steeper than `narrowest` allows;
            ``logistic4``: the same with b4 = 0; ``unconstrained``: any curve, steps and sawteeth too; ``official``:
            what MA-CLIP's code does: curve_fit from (max MOS, min MOS, mean score, 0.1, 0.1), and on failure the start
            values.
        turned: the labels were negated when they were read (DMOS): the official code fits them as published.

    Note:
        An inverted predictor comes out upright. Changes of unit and reversal of the scores do not change the fitted
        values, but for ``official``.

    Source: VQEG, Final report on the validation of objective models of video quality assessment, phase II, 2003 (a
        monotone mapping); Sheikh, Sabir and Bovik (the formula).
    """
    x, y = as_pair(scores, labels)
    if method not in METHODS:
        raise UserError(f"fit={method} is not known: use {', '.join(METHODS)}")
    if len(x) < MIN_FIT:
        return LogisticFit("too_few", None, NAN, method)
    if is_constant(x) or is_constant(y):
        return LogisticFit(
            f"failed: all {'scores' if is_constant(x) else 'labels'} are equal", None, NAN, method
        )
    if method == "official":
        status, params = _official(x, -y if turned else y)
        if turned:
            params = (-params[0], params[1], params[2], -params[3], -params[4])
    elif method == "unconstrained":
        status, params = "ok", _best(x, y)
    else:
        status, params = _monotone(x, y, line=method == "monotone")
    if status == "ok" and method in ("official", "unconstrained"):
        status = _judged(x, params)
    return _as_fit(status, params, x, y, method)


def _as_fit(status: str, params: tuple[float, ...], x: np.ndarray, y: np.ndarray, method: str) -> LogisticFit:
    with np.errstate(over="ignore", invalid="ignore"):
        rmse = float(np.sqrt(np.mean(np.square(logistic(x, params) - y))))
    if not np.isfinite(rmse):
        return LogisticFit("failed: no finite optimum", None, NAN, method)
    return LogisticFit(status, params, rmse, method)
