"""The 5-parameter logistic fit of labels on scores. Pure.

Source: Sheikh, Sabir and Bovik, IEEE TIP 15(11), 2006; variable projection: Golub and Pereyra, SIAM J. Numer. Anal.
10(2), 1973.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.special import expit

from magiqa.errors import UserError
from magiqa.stats.arrays import NAN, as_pair, is_constant

MIN_FIT = 6  # one more than the logistic has parameters


def logistic(x: Any, params: Sequence[float]) -> np.ndarray:
    """b1 (1/2 - 1/(1 + exp(b2 (x - b3)))) + b4 x + b5, elementwise, without overflow.

    Example:
        >>> logistic([-1e6, 0.0, 1e6], (2.0, 1.0, 0.0, 0.0, 3.0))
        array([2., 3., 4.])
    """
    x, (b1, b2, b3, b4, b5) = np.asarray(x, np.float64), params
    return b1 * (expit(b2 * (x - b3)) - 0.5) + b4 * x + b5


@dataclass(frozen=True)
class LogisticFit:
    """The 5-parameter logistic fitted to scores and labels.

    Args:
        status: ``ok``; ``too_few`` (fewer than six images); ``failed: reason``; ``start_values`` (official only:
            the fit failed and the start values are used in its place, as the official code does).
        params: b1 to b5 of `logistic`; None where there is no fit. rmse: of the fitted values; NaN without a fit.
        method: ``best`` or ``official``.
    """

    status: str
    params: tuple[float, ...] | None
    rmse: float
    method: str = "best"

    def predict(self, scores: Any) -> np.ndarray:
        """Fitted values of scores (N,): (N,), in the label's unit; NaN without a fit."""
        x = np.asarray(scores, np.float64)
        return np.full(x.shape, np.nan) if self.params is None else logistic(x, self.params)


class _Projected:
    """The fit as a problem in a = log b2 and b3 alone: b1, b4, b5 are solved for. x ascends, in units of its spread.

    b2 > 0 loses nothing: turning its sign turns that of b1. With everything projected off (1, x), the sum of squares
    is |y|^2 - (phi.y)^2 / |phi|^2, phi the logistic: its last term is the *gain*. K candidates go through at once.
    """

    reach = 14.0  # b3 this many 1 / b2 beyond the scores: the logistic is an exponential to six digits

    def __init__(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> None:
        self.x, self.root = x, np.sqrt(weights)
        self.basis = np.linalg.qr(np.stack([self.root, self.root * x], axis=1))[0]
        self.y = self.off(self.root * y)
        self.total = float(self.y @ self.y)
        self.low, self.high = float(x[0]), float(x[-1])
        self.flattest = float(np.log(5e-3 / (self.high - self.low)))  # a cubic by then
        self.steepest = float(np.log(50.0 / np.diff(x).min()))  # a step by then

    def off(self, v: np.ndarray) -> np.ndarray:
        """Rows (..., N) less their projection on (1, x)."""
        return v - (v @ self.basis) @ self.basis.T

    def phi(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The logistic of u (K, N) projected off (1, x), its square (K,), its product with y (K,)."""
        # beyond the scores it is a constant and a small exponential: keep the digits of the latter
        sign = np.where(u[:, :1] >= 0, -1.0, 1.0)
        phi = self.off(self.root * sign * expit(sign * u))
        return phi, np.einsum("kn,kn->k", phi, phi), phi @ self.y

    def gain(self, a: np.ndarray, b3: np.ndarray) -> np.ndarray:
        """The sum of squares that each logistic takes away beyond the straight line: (K,)."""
        _, square, product = self.phi(np.exp(a)[:, None] * (self.x - b3[:, None]))
        seen = square > 1e-24 * float(self.root @ self.root)
        return np.divide(product**2, square, out=np.zeros_like(square), where=seen)

    def refine(self, a: np.ndarray, b3: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Levenberg-Marquardt with Kaufman's Jacobian from K starts: gain, a, b3."""
        a, b3 = np.clip(a, self.flattest, self.steepest), b3.copy()
        best, damp, live = self.gain(a, b3), np.full(len(a), 1e-3), np.arange(len(a))
        stalled = np.zeros(len(a), int)
        for _ in range(steps):
            anchor, slope = np.clip(b3[live], self.low, self.high)[:, None], np.exp(a[live])[:, None]
            c = (slope * (b3[live][:, None] - anchor))[:, 0]
            lever = slope * (self.x - anchor)
            u = lever - c[:, None]
            phi, square, product = self.phi(u)
            square = np.maximum(square, 1e-300)
            b1 = product / square
            turn = self.root * expit(u) * expit(-u) * b1[:, None]
            by_a, by_c = (
                j - (np.einsum("kn,kn->k", j, phi) / square)[:, None] * phi
                for j in (self.off(turn * lever), self.off(-turn))
            )
            rest = self.y - b1[:, None] * phi
            ga, gc = (np.einsum("kn,kn->k", j, rest) for j in (by_a, by_c))
            grow = 1.0 + damp[live]
            aa, cc = (np.einsum("kn,kn->k", j, j) * grow + 1e-300 for j in (by_a, by_c))
            ac = np.einsum("kn,kn->k", by_a, by_c)
            det = np.maximum(aa * cc - ac**2, 1e-300)
            dc = np.clip((aa * gc - ac * ga) / det, -8.0, 8.0)
            held = np.clip(c + dc, -self.reach, self.reach)
            da = (ga - ac * (held - c)) / aa  # the best da for this dc, also where c is held at its end
            new_a = np.clip(a[live] + np.clip(da, -1.5, 1.5), self.flattest, self.steepest)
            new_b3 = anchor[:, 0] + held * np.exp(-new_a)
            gain = self.gain(new_a, new_b3)
            better = gain > best[live]
            small = gain - best[live] < 1e-12 * self.total
            up = live[better]
            a[up], b3[up], best[up] = new_a[better], new_b3[better], gain[better]
            damp[live] = np.where(better, np.maximum(damp[live] / 10, 1e-12), damp[live] * 6)
            stalled[live] = np.where(better & ~small, 0, stalled[live] + 1 + better)
            live = live[stalled[live] < 6]
            if not len(live):
                break
        return best, a, b3

    def grid(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gain, a, b3 of the local optima over b3 at each of many widths."""
        x = self.x
        between = np.r_[x, x[:-1] + np.diff(x) / 2]
        found = []
        for a in np.arange(self.flattest + 1.5, float(np.log(8.0 / np.median(np.diff(x)))) + 0.7, 0.7):
            width = float(np.exp(-a))
            beyond = width * np.array([1.0, 3.0, 8.0])
            inside = np.unique(np.round(between * 2 / width)) * width / 2  # two candidates a width
            b3 = np.r_[self.low - beyond[::-1], inside, self.high + beyond]
            gain = self.gain(np.full(len(b3), a), b3)
            found += [(gain[k], a, b3[k]) for k in _peaks(gain, 3)]
        return tuple(np.array(found).T)

    def steps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gain, a, b3 of steps between two scores and of their smoother kin: the limit b2 -> infinity, exactly."""
        x, n = self.x, len(self.x)
        # with phi = 1 above a gap: phi.y and |phi|^2 off (1, x) from sums over what lies above
        product, *along = (np.cumsum((self.root * v)[::-1])[::-1][1:] for v in (self.y, *self.basis.T))
        square = np.cumsum((self.root**2)[::-1])[::-1][1:] - along[0] ** 2 - along[1] ** 2
        seen = square > 1e-12 * float(self.root @ self.root)
        gain = np.divide(product**2, square, out=np.zeros_like(square), where=seen)
        at = np.array(_peaks(gain, 6), int)
        a, b3 = [], []
        for k in (1, 4, 16, 64):  # about as wide as k gaps
            span = x[np.minimum(at + (k + 1) // 2, n - 1)] - x[np.maximum(at + 1 - (k + 1) // 2, 0)]
            a.append(np.log((12.0 if k == 1 else 4.0) / span))
            b3.append((x[at] + x[at + 1]) / 2)
        flat_a, flat_b3 = np.concatenate(a), np.concatenate(b3)
        return self.gain(flat_a, flat_b3), flat_a, flat_b3


def _peaks(values: np.ndarray, k: int) -> list[int]:
    """Where the k highest local maxima lie."""
    padded = np.r_[-1.0, values, -1.0]
    tops = np.flatnonzero((values >= padded[:-2]) & (values >= padded[2:]))
    return [int(i) for i in tops[np.argsort(-values[tops], kind="stable")][:k]]


def _merged(x: np.ndarray, y: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct x ascending, mean y, weight; if there are more than `bins`, neighbors are merged into as many."""
    value, key, times = np.unique(x, return_inverse=True, return_counts=True)
    weight, total = times.astype(float), np.bincount(key, y)
    if len(value) > bins:
        part = (np.arange(len(value)) * bins) // len(value)
        value, total = np.bincount(part, weight * value), np.bincount(part, total)
        weight = np.bincount(part, weight)
        value = value / weight
    return value, total / weight, weight


def _top(found: tuple[np.ndarray, np.ndarray, np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """The a and b3 of the k highest gains that differ."""
    gain, a, b3 = found
    order = np.argsort(-gain, kind="stable")
    gain = gain[order]
    new = np.r_[True, gain[1:] < gain[:-1] * (1 - 1e-7)] if len(gain) else np.zeros(0, bool)
    return a[order][new][:k], b3[order][new][:k]


def _best(x: np.ndarray, y: np.ndarray) -> tuple[float, ...]:
    """Parameters of least squares; x and y vary."""
    middle, spread = _units(x)
    z, centered = (x - middle) / spread, y - y.mean()
    value, mean, weight = _merged(z, centered, len(z))  # equal scores once, with weight: the same optimum
    if len(value) < 3:
        return _solve(x, y, 1.0 / spread, middle, straight=True)
    full = _Projected(value, mean, weight)
    if full.total <= 1e-28 * float(np.sum(weight * mean**2)):
        return _solve(x, y, 1.0 / spread, middle, straight=True)
    coarse = _Projected(*_merged(z, centered, 200))
    rough = _top(coarse.refine(*_top(coarse.grid(), 16), 12), 5)
    sharp = _top(full.steps(), 8)
    tried = full.refine(np.r_[rough[0], sharp[0]], np.r_[rough[1], sharp[1]], 6)
    gain, a, b3 = full.refine(*_top(tried, 3), 200)
    k = int(np.argmax(gain))
    return _solve(x, y, float(np.exp(a[k])) / spread, middle + spread * float(b3[k]))


def _units(x: np.ndarray) -> tuple[float, float]:
    """Median and standard deviation, the latter without overflow."""
    size = float(np.abs(x).max())
    return float(np.median(x)), float(np.std(x / size)) * size


def _solve(x: np.ndarray, y: np.ndarray, b2: float, b3: float, straight: bool = False) -> tuple[float, ...]:
    """b1, b4, b5 by least squares, given b2 and b3."""
    size = float(np.abs(x).max())
    xc, yc = (x - x.mean()) / size, y - y.mean()
    line = float(xc @ xc)
    shape = expit(b2 * (x - b3)) - 0.5
    b1 = 0.0
    if not straight:
        off = shape - shape.mean()
        for _ in range(2):  # twice is enough for orthogonality in floating point
            off = off - (off @ xc) / line * xc
            off = off - off.mean()
        b1 = float(off @ yc) / float(off @ off)
    rest = y - b1 * shape
    b4 = float((rest - rest.mean()) @ xc) / line / size
    return b1, b2, b3, b4, float(np.mean(rest - b4 * x))


def _official(x: np.ndarray, y: np.ndarray) -> tuple[str, tuple[float, ...]]:
    """The official code's procedure to the letter: zhix000/MA-CLIP at 9581a2c."""

    def model(x: np.ndarray, *b: float) -> np.ndarray:
        return b[0] * (0.5 - 1.0 / (1.0 + np.exp(b[1] * (x - b[2])))) + b[3] * x + b[4]

    start = (float(y.max()), float(y.min()), float(x.mean()), 0.1, 0.1)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)
        try:
            found, _ = curve_fit(model, x, y, p0=start, maxfev=10000)
        except (RuntimeError, ValueError, TypeError):
            return "start_values", start
    return "ok", tuple(float(b) for b in found)


def fit_logistic(scores: Any, labels: Any, method: str = "best") -> LogisticFit:
    """Fit b1 (1/2 - 1/(1 + exp(b2 (x - b3)))) + b4 x + b5 to scores (N,) and labels (N,).

    Args:
        method: ``best`` finds the least-squares optimum, by variable projection over (b2, b3) from a grid;
            ``official`` does what MA-CLIP's code does: curve_fit from (max MOS, min MOS, mean score, 0.1, 0.1), and
            on failure the start values.

    Note:
        The fitted values need not be monotone in the scores, and an inverted predictor comes out upright.
    """
    x, y = as_pair(scores, labels)
    if method not in ("best", "official"):
        raise UserError(f"fit={method} is not known: use best or official")
    if len(x) < MIN_FIT:
        return LogisticFit("too_few", None, NAN, method)
    if is_constant(x) or is_constant(y):
        return LogisticFit(
            f"failed: all {'scores' if is_constant(x) else 'labels'} are equal", None, NAN, method
        )
    status, params = _official(x, y) if method == "official" else ("ok", _best(x, y))
    return _as_fit(status, params, x, y, method)


def _as_fit(status: str, params: tuple[float, ...], x: np.ndarray, y: np.ndarray, method: str) -> LogisticFit:
    with np.errstate(over="ignore", invalid="ignore"):
        rmse = float(np.sqrt(np.mean(np.square(logistic(x, params) - y))))
    if not np.isfinite(rmse):
        return LogisticFit("failed: no finite optimum", None, NAN, method)
    return LogisticFit(status, params, rmse, method)


def refit(curve: LogisticFit, x: np.ndarray, y: np.ndarray) -> LogisticFit:
    """The local optimum near a fit."""
    assert curve.params is not None
    b2, b3 = curve.params[1:3]
    middle, spread = _units(x)
    value, mean, weight = _merged((x - middle) / spread, y - y.mean(), len(x))
    straight = len(value) < 3
    if not straight:
        start = np.array([np.log(abs(b2) * spread)]), np.array([(b3 - middle) / spread])
        _, a, at = _Projected(value, mean, weight).refine(*start, 20)
        b2, b3 = float(np.exp(a[0])) / spread, middle + spread * float(at[0])
    return _as_fit("ok", _solve(x, y, b2, b3, straight), x, y, "best")
