"""Least squares of a logistic by variable projection: all but its width and its place are solved for. Pure.

Source: Golub and Pereyra, SIAM J. Numer. Anal. 10(2), 1973.
"""

import numpy as np
from scipy.special import expit


class Projected:
    """The fit as a problem in a = log b2 and b3 alone: b1, b4, b5 are solved for. x ascends, in units of its spread.

    b2 > 0 loses nothing: turning its sign turns that of b1. With everything projected off (1, x), the sum of squares
    is |y|^2 - (phi.y)^2 / |phi|^2, phi the logistic: its last term is the *gain*. K candidates go through at once.
    """

    reach = 14.0  # b3 this many 1 / b2 beyond the scores: the logistic is an exponential to six digits

    def __init__(
        self, x: np.ndarray, y: np.ndarray, weights: np.ndarray, line: bool = True, narrowest: float = 0.0
    ) -> None:
        self.x, self.root = x, np.sqrt(weights)
        columns = [self.root, self.root * x] if line else [self.root]
        self.basis = np.linalg.qr(np.stack(columns, axis=1))[0]
        self.y = self.off(self.root * y)
        self.total = float(self.y @ self.y)
        self.low, self.high = float(x[0]), float(x[-1])
        self.flattest = float(np.log(5e-3 / (self.high - self.low)))  # a cubic by then
        step = float(np.log(50.0 / np.diff(x).min()))  # a step by then
        self.steepest = max(-np.log(narrowest), self.flattest + 1.0) if narrowest else step

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
            da = new_a - a[live]  # and the best dc for this da, where a is held at its end
            stopped = (new_a == self.flattest) | (new_a == self.steepest)
            dc = np.clip((gc - ac * da) / cc, -8.0, 8.0)
            held = np.where(stopped, np.clip(c + dc, -self.reach, self.reach), held)
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
        narrow = min(self.steepest, float(np.log(8.0 / np.median(np.diff(x)))))
        for a in np.append(np.arange(self.flattest + 1.5, narrow, 0.7), narrow):
            width = float(np.exp(-a))
            beyond = width * np.array([1.0, 3.0, 8.0])
            inside = np.unique(np.round(between * 2 / width)) * width / 2  # two candidates a width
            b3 = np.r_[self.low - beyond[::-1], inside, self.high + beyond]
            gain = self.gain(np.full(len(b3), a), b3)
            found += [(gain[k], a, b3[k]) for k in peaks(gain, 3)]
        return tuple(np.array(found).T)

    def steps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gain, a, b3 of steps between two scores and of their smoother kin: the limit b2 -> infinity, exactly."""
        x, n = self.x, len(self.x)
        # with phi = 1 above a gap: phi.y and |phi|^2 off (1, x) from sums over what lies above
        product, *along = (np.cumsum((self.root * v)[::-1])[::-1][1:] for v in (self.y, *self.basis.T))
        square = np.cumsum((self.root**2)[::-1])[::-1][1:] - along[0] ** 2 - along[1] ** 2
        seen = square > 1e-12 * float(self.root @ self.root)
        gain = np.divide(product**2, square, out=np.zeros_like(square), where=seen)
        at = np.array(peaks(gain, 6), int)
        a, b3 = [], []
        for k in (1, 4, 16, 64):  # about as wide as k gaps
            span = x[np.minimum(at + (k + 1) // 2, n - 1)] - x[np.maximum(at + 1 - (k + 1) // 2, 0)]
            a.append(np.log((12.0 if k == 1 else 4.0) / span))
            b3.append((x[at] + x[at + 1]) / 2)
        flat_a, flat_b3 = np.concatenate(a), np.concatenate(b3)
        return self.gain(flat_a, flat_b3), flat_a, flat_b3


def peaks(values: np.ndarray, k: int) -> list[int]:
    """Where the k highest local maxima lie."""
    padded = np.r_[-1.0, values, -1.0]
    tops = np.flatnonzero((values >= padded[:-2]) & (values >= padded[2:]))
    return [int(i) for i in tops[np.argsort(-values[tops], kind="stable")][:k]]


def merged(x: np.ndarray, y: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct x ascending, mean y, weight; if there are more than `bins`, neighbors are merged into as many."""
    value, key, times = np.unique(x, return_inverse=True, return_counts=True)
    weight, total = times.astype(float), np.bincount(key, y)
    if len(value) > bins:
        part = (np.arange(len(value)) * bins) // len(value)
        value, total = np.bincount(part, weight * value), np.bincount(part, total)
        weight = np.bincount(part, weight)
        value = value / weight
    return value, total / weight, weight


def top(found: tuple[np.ndarray, np.ndarray, np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """The a and b3 of the k highest gains that differ."""
    gain, a, b3 = found
    order = np.argsort(-gain, kind="stable")
    gain = gain[order]
    new = np.r_[True, gain[1:] < gain[:-1] * (1 - 1e-7)] if len(gain) else np.zeros(0, bool)
    return a[order][new][:k], b3[order][new][:k]
