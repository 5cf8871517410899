"""Scores and labels in, agreement out: correlations, the logistic fit, bootstrap intervals. Pure.

Every statistic is signed. Resamples are counts (how often each image was drawn), so that ranks are taken anew in
each of them without sorting anything twice, and one set of resamples serves all statistics and scores.

Source: the 5-parameter logistic is that of Sheikh, Sabir and Bovik, IEEE TIP 15(11), 2006; variable projection:
Golub and Pereyra, SIAM J. Numer. Anal. 10(2), 1973; discordant pairs by merging: Knight, JASA 61(314), 1966.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.special import expit
from scipy.stats import kendalltau, norm, rankdata
from scipy.stats import t as student

from magiqa.errors import UserError

RAW = ("srcc", "krcc", "plcc")
FITTED = ("plcc_logistic", "rmse_logistic", "srcc_logistic")
WITHIN = "srcc_within"
MIN_FIT = 6  # one more than the logistic has parameters
MIN_DEFINED = 0.95  # share of resamples in which a statistic must be defined for it to have an interval
_BLOCK = 1 << 18  # numbers in a working block: 2 MB
NAN = float("nan")


def _pair(scores: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as finite float64 (N,)."""
    x, y = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise UserError(f"scores {x.shape} and labels {y.shape} must be two lists of one length")
    for name, values in (("scores", x), ("labels", y)):
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise UserError(
                f"{name}: {len(bad)} of {len(values)} values are NaN or infinite (first: row {bad[0]}); "
                "correct these rows or leave them out"
            )
    return x, y


def _matrix(scores: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Finite float64 (M, N) and (N,)."""
    x, y = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
    if x.ndim != 2:
        raise UserError(f"scores {x.shape} must be a matrix: a row a method, a column an image")
    for row in x:
        _pair(row, y)
    return x, y


def _names(values: Any, n: int, field: str) -> np.ndarray:
    out = np.asarray(values)
    if out.shape != (n,):
        raise UserError(f"{field} {out.shape} must hold one name for each of the {n} images")
    return out


def _constant(x: np.ndarray) -> bool:
    return len(x) < 2 or bool(x.min() == x.max())


def _centred(v: np.ndarray) -> np.ndarray:
    """Rows (..., N) less their means, scaled so that squares neither overflow nor vanish.

    A power of two scales exactly, and differences to the first value are exact near a large offset, whose mean is not.
    """
    v = np.ldexp(v, -np.frexp(np.abs(v).max(axis=-1, keepdims=True))[1])
    v = v - v[..., :1]
    v = v / np.maximum(np.abs(v).max(axis=-1, keepdims=True), np.finfo(float).tiny)
    return v - v.mean(axis=-1, keepdims=True)


# --- point values -----------------------------------------------------------------------------------------------


def plcc(scores: Any, labels: Any) -> float:
    """Pearson's correlation of scores (N,) and labels (N,): in [-1, 1], signed; NaN if either is constant.

    Example:
        >>> round(plcc([1, 2, 3], [1, 2, 4]), 4)
        0.982
    """
    x, y = _pair(scores, labels)
    if _constant(x) or _constant(y):
        return NAN
    unit = []
    for v in (x, y):
        v = _centred(v)
        unit.append(v / np.linalg.norm(v))
    return float(np.clip(unit[0] @ unit[1], -1.0, 1.0))


def srcc(scores: Any, labels: Any) -> float:
    """Spearman's rank correlation, ties at their mid-rank: in [-1, 1], signed; NaN if either is constant.

    Example:
        >>> round(srcc([0.1, 0.2, 0.9], [3, 2, 1]), 12)
        -1.0
    """
    x, y = _pair(scores, labels)
    return plcc(rankdata(x), rankdata(y))


def krcc(scores: Any, labels: Any) -> float:
    """Kendall's tau-b: in [-1, 1], signed; NaN if either is constant.

    Example:
        >>> round(krcc([1, 2, 3, 4], [1, 3, 2, 4]), 4)
        0.6667
    """
    x, y = _pair(scores, labels)
    if _constant(x) or _constant(y):
        return NAN
    return float(kendalltau(x, y, method="asymptotic").statistic)


def srcc_within(scores: Any, labels: Any, groups: Any) -> float:
    """The plain mean over groups of SRCC within a group, over the groups that `defined_groups` names."""
    x, y = _pair(scores, labels)
    values = [srcc(x[g], y[g]) for _, g in defined_groups(x, y, groups)]
    return float(np.mean(values)) if values else NAN


def _members(groups: Any, n: int) -> list[tuple[str, np.ndarray]]:
    """Groups in alphabetical order, with their rows."""
    names, key = np.unique(_names(groups, n, "groups"), return_inverse=True)
    return [(str(name), np.flatnonzero(key == g)) for g, name in enumerate(names)]


def defined_groups(scores: Any, labels: Any, groups: Any) -> list[tuple[str, np.ndarray]]:
    """Name and rows of each group in which SRCC is defined: three images or more, scores and labels that vary."""
    x, y = _pair(scores, labels)
    return [
        (name, g)
        for name, g in _members(groups, len(y))
        if len(g) >= 3 and not _constant(x[g]) and not _constant(y[g])
    ]


def leave_one_group_out(scores: Any, labels: Any, groups: Any) -> tuple[float, float, tuple[str, str]]:
    """Lowest and highest SRCC when one group is left out, and which group that was in each case.

    Example:
        >>> leave_one_group_out([1, 2, 3, 4, 1, 2], [1, 2, 3, 4, 9, 8], list("aabbcc"))[2]
        ('a', 'c')
    """
    x, y = _pair(scores, labels)
    without = [(srcc(np.delete(x, g), np.delete(y, g)), name) for name, g in _members(groups, len(x))]
    defined = [pair for pair in without if np.isfinite(pair[0])]
    if not defined:
        return NAN, NAN, ("", "")
    (low, lowest), (high, highest) = min(defined), max(defined)
    return low, high, (lowest, highest)


def srcc_many(scores: Any, labels: Any, groups: Any = None) -> np.ndarray:
    """SRCC of each row of scores (M, N) with labels (N,), or its mean within groups: (M,), signed."""
    x, y = _matrix(scores, labels)
    if groups is not None:
        return np.array([srcc_within(row, y, groups) for row in x])
    ranks, label_ranks = rankdata(x, axis=1), rankdata(y)
    ranks -= ranks.mean(axis=1, keepdims=True)
    label_ranks -= label_ranks.mean()
    return _ratio(ranks @ label_ranks, np.square(ranks).sum(axis=1) * (label_ranks @ label_ranks))


def _ratio(top: np.ndarray, below: np.ndarray) -> np.ndarray:
    """The quotient top / sqrt(below), within [-1, 1]; NaN where nothing varies."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, np.clip(top / np.sqrt(below), -1.0, 1.0), NAN)


# --- resamples --------------------------------------------------------------------------------------------------


def resample_counts(
    n: int, clusters: Any = None, groups: Any = None, resamples: int = 1000, seed: int = 0
) -> np.ndarray:
    """How often each of n images is drawn, in each resample.

    Args:
        n: number of images. clusters: (n,) names; whole clusters are drawn, as many as there are.
        groups: (n,) names; as many images are drawn within each group as it has. Not used if clusters are given.

    Returns:
        (resamples, n) unsigned integers. The same arguments give the same counts: methods scored on the same
        images are compared on the same resamples.

    Example:
        >>> resample_counts(4, resamples=100).sum(axis=1).tolist() == [4] * 100
        True
    """
    rng = np.random.default_rng(seed)
    if clusters is not None:
        _, unit = np.unique(_names(clusters, n, "clusters"), return_inverse=True)
        strata = [np.arange(unit.max() + 1)]
    else:
        unit = np.arange(n)
        strata = [unit] if groups is None else [g for _, g in _members(groups, n)]
    total = sum(len(s) for s in strata)
    # a row an image in memory: the kernels gather and add whole rows
    drawn = np.empty((total, resamples), np.uint16)
    block = max(1, 8 * _BLOCK // total)
    for start in range(0, resamples, block):
        width = min(block, resamples - start)
        for stratum in strata:
            size = len(stratum)
            cell = rng.integers(size, size=(width, size), dtype=np.int64) * width + np.arange(width)[:, None]
            times = np.bincount(cell.ravel(), minlength=size * width).reshape(size, width)
            drawn[stratum, start : start + width] = times
    return drawn[unit].T


def _blocks(counts: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Counts (R, N) in float64 blocks (N, width) of bounded size: a row an image."""
    resamples, n = counts.shape
    width = max(8, _BLOCK // max(n, 1))
    for start in range(0, resamples, width):
        part = slice(start, min(start + width, resamples))
        yield part, np.ascontiguousarray(counts[part].T, np.float64)


@dataclass(frozen=True)
class _Order:
    """A sort order of images, and where each run of equal values starts in it."""

    order: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, *keys: np.ndarray) -> "_Order":
        """By the first key, then the second."""
        order = np.lexsort(keys[::-1])
        new = np.zeros(len(order), bool)
        for key in keys:
            new[1:] |= key[order][1:] != key[order][:-1]
        return cls(order, np.flatnonzero(np.r_[True, new[1:]]))

    @property
    def ties(self) -> bool:
        return len(self.starts) < len(self.order)

    def runs(self, rows: np.ndarray) -> np.ndarray:
        """Rows (N, R) in sorted order, summed over runs of equal values: (T, R)."""
        rows = rows[self.order]
        return np.add.reduceat(rows, self.starts, axis=0) if self.ties else rows


def _cubes(rows: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij,ij->j", rows, rows, rows)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->j", a, b)


def _centred_ranks(counts: np.ndarray, by: _Order) -> tuple[np.ndarray, np.ndarray]:
    """Mid-ranks less their mean (N, R), and their sum of squares (R,), in resamples (N, R)."""
    drawn = by.runs(counts)
    rank = np.cumsum(drawn, axis=0)
    n = rank[-1].copy()
    rank -= 0.5 * (drawn + n)
    if by.ties:
        rank = np.repeat(rank, np.diff(np.r_[by.starts, len(by.order)]), axis=0)
    out = np.empty_like(counts)
    out[by.order] = rank
    return out, (n**3 - _cubes(drawn)) / 12.0


def _bootstrap_srcc(scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Ranks are halves of whole numbers: exact in float64."""
    orders, by_label = [_Order.of(x) for x in scores], _Order.of(labels)
    out = np.empty((len(scores), len(counts)))
    for part, c in _blocks(counts):
        weighted, label_squares = _centred_ranks(c, by_label)
        weighted *= c  # sums to 0 over the images, so that the scores' ranks need no centring
        own, cubes, n = _dot(weighted, c), _cubes(c), c.sum(axis=0)
        for m, by in enumerate(orders):
            drawn, weight = by.runs(c), by.runs(weighted)
            halves, tied = (_dot(weight, drawn), _cubes(drawn)) if by.ties else (own, cubes)
            upto = np.cumsum(drawn, axis=0, out=drawn)
            out[m, part] = _ratio(_dot(weight, upto) - 0.5 * halves, (n**3 - tied) / 12.0 * label_squares)
    return out


def _bootstrap_plcc(scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    def unit(v: np.ndarray) -> np.ndarray:
        v = _centred(v)
        spread = v.std(axis=-1, keepdims=True)
        return np.divide(v, spread, out=np.zeros_like(v), where=spread > 0)

    x, y = unit(scores), unit(labels)
    out = np.empty((len(scores), len(counts)))
    for part, c in _blocks(counts):
        n, mx, my = c.sum(axis=0), x @ c, y @ c
        vx, vy = np.square(x) @ c - mx**2 / n, np.square(y) @ c - my**2 / n
        # one image drawn every time leaves rounding, not variance
        vx, vy = np.where(vx > 1e-12 * n, vx, 0.0), np.where(vy > 1e-12 * n, vy, 0.0)
        out[:, part] = _ratio((x * y) @ c - mx * my / n, vx * vy)
    return out


def _merges(ranks: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """The steps of a merge sort of ranks (N,): they meet every pair once.

    Yields rows of the left and of the right halves, ordered by segment, then rank downwards; for each right row
    how many left rows come before it, and how many of those belong to earlier segments.
    """
    n, size = len(ranks), 1
    where = np.arange(n)
    while size < n:
        segment, is_left = where // (2 * size), (where // size) % 2 == 0
        order = np.lexsort((is_left, -ranks, segment))  # of equal ranks the right one first: not discordant
        left, right = order[is_left[order]], order[~is_left[order]]
        before = np.cumsum(is_left[order])[~is_left[order]]
        yield left, right, before, np.searchsorted(segment[left], segment[right])
        size *= 2


def _bootstrap_krcc(scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Knight's O(n log n) tau-b with counts as weights, a block of resamples at once. Exact."""

    def pairs(drawn: np.ndarray) -> np.ndarray:
        return 0.5 * (_dot(drawn, drawn) - drawn.sum(axis=0))

    out = np.empty((len(scores), len(counts)))
    by_label = _Order.of(labels)
    for m, x in enumerate(scores):
        by_score, both = _Order.of(x), _Order.of(x, labels)
        merges = list(_merges(rankdata(labels, "dense")[both.order]))
        for part, c in _blocks(counts):
            tied_x, tied_y, tied_xy = (pairs(by.runs(c)) for by in (by_score, by_label, both))
            c = c[both.order]
            discordant = np.zeros(c.shape[1])
            upto = np.zeros((len(c) + 1, c.shape[1]))
            for left, right, before, earlier in merges:
                np.cumsum(c[left], axis=0, out=upto[1 : len(left) + 1])
                higher = upto[before]
                higher -= upto[earlier]
                discordant += _dot(c[right], higher)
            n = c.sum(axis=0)
            every = 0.5 * n * (n - 1)
            top = every - tied_x - tied_y + tied_xy - 2.0 * discordant
            out[m, part] = _ratio(top, (every - tied_x) * (every - tied_y))
    return out


_POINT: dict[str, Callable[[Any, Any], float]] = {"srcc": srcc, "krcc": krcc, "plcc": plcc}
_BOOTSTRAP = {"srcc": _bootstrap_srcc, "krcc": _bootstrap_krcc, "plcc": _bootstrap_plcc}


def _check(statistic: str, groups: Any) -> None:
    if statistic not in _POINT and statistic != WITHIN:
        raise UserError(f"statistic={statistic} is not known: use {', '.join(_POINT)} or {WITHIN}")
    if statistic == WITHIN and groups is None:
        raise UserError(f"{WITHIN} needs groups: name the annotation's column that holds them")


def point_many(statistic: str, scores: Any, labels: Any, groups: Any = None) -> np.ndarray:
    """A statistic (srcc, krcc, plcc, srcc_within) of each row of scores (M, N) with labels (N,): (M,), signed."""
    _check(statistic, groups)
    if statistic in ("srcc", WITHIN):
        return srcc_many(scores, labels, groups if statistic == WITHIN else None)
    x, y = _matrix(scores, labels)
    return np.array([_POINT[statistic](row, y) for row in x])


def bootstrap_many(
    statistic: str, scores: Any, labels: Any, counts: np.ndarray, groups: Any = None
) -> np.ndarray:
    """A statistic (srcc, krcc, plcc, srcc_within) in every resample, ranked anew in each.

    Args:
        scores: (M, N), a row a method. labels: (N,). counts: (R, N), from `resample_counts`.

    Returns:
        (M, R), NaN where a resample leaves nothing that varies; srcc_within is over the groups in which it is
        defined both on the whole and in the resample. Rows share resamples: their differences are paired.
    """
    _check(statistic, groups)
    x, y = _matrix(scores, labels)
    if counts.ndim != 2 or counts.shape[1] != len(y):
        raise UserError(f"counts {counts.shape} must be (resamples, {len(y)})")
    if statistic != WITHIN:
        return _BOOTSTRAP[statistic](x, y, counts)
    total, used = np.zeros((len(x), len(counts))), np.zeros((len(x), len(counts)))
    for _, g in _members(groups, len(y)):
        rows = np.array(
            [m for m in range(len(x)) if len(g) >= 3 and not _constant(x[m, g]) and not _constant(y[g])], int
        )
        if len(rows):
            drawn = counts.T[g].T  # stays a row an image in memory
            empty = drawn.sum(axis=1) == 0
            values = _bootstrap_srcc(x[np.ix_(rows, g)], y[g], drawn)
            defined = np.isfinite(values) & ~empty
            total[rows] += np.where(defined, values, 0.0)
            used[rows] += defined
    return np.divide(total, used, out=np.full_like(total, NAN), where=used > 0)


def bootstrap_srcc_many(scores: Any, labels: Any, counts: np.ndarray, groups: Any = None) -> np.ndarray:
    """SRCC (its mean within groups, where given) of each row of scores (M, N) in each resample: (M, R)."""
    return bootstrap_many("srcc" if groups is None else WITHIN, scores, labels, counts, groups)


def interval(values: np.ndarray, level: float = 0.95, clusters: int | None = None) -> tuple[float, float]:
    """Percentile interval of resampled values (R,); NaN if they are defined in under 95 % of the resamples.

    Args:
        clusters: how many clusters were resampled, if clusters were. Few of them make the percentile interval too
            short (it covered 90 % with 8 clusters where it should 95 %): it is widened to the percentiles that a t
            interval of the mean would need, which covered 96 %. Without clusters the plain one holds.

    Source: Hesterberg, The American Statistician 69(4), 2015, section 5.2 (the expanded percentile interval).
    """
    defined = values[np.isfinite(values)]
    if len(defined) < max(1.0, MIN_DEFINED * len(values)) or (clusters is not None and clusters < 2):
        return NAN, NAN
    tail = (1.0 - level) / 2.0
    if clusters is not None:
        tail = float(norm.sf(student.isf(tail, clusters - 1) * np.sqrt(clusters / (clusters - 1))))
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return float(low), float(high)


def count_clusters(clusters: Any) -> int | None:
    """How many different clusters there are; None without any, for `interval`."""
    return None if clusters is None else len(np.unique(np.asarray(clusters)))


# --- the logistic fit ------------------------------------------------------------------------------------------


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
    """Distinct x ascending, mean y, weight; if there are more than `bins`, neighbours are merged into as many."""
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
    z, centred = (x - middle) / spread, y - y.mean()
    value, mean, weight = _merged(z, centred, len(z))  # equal scores once, with weight: the same optimum
    if len(value) < 3:
        return _solve(x, y, 1.0 / spread, middle, straight=True)
    full = _Projected(value, mean, weight)
    if full.total <= 1e-28 * float(np.sum(weight * mean**2)):
        return _solve(x, y, 1.0 / spread, middle, straight=True)
    coarse = _Projected(*_merged(z, centred, 200))
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
    x, y = _pair(scores, labels)
    if method not in ("best", "official"):
        raise UserError(f"fit={method} is not known: use best or official")
    if len(x) < MIN_FIT:
        return LogisticFit("too_few", None, NAN, method)
    if _constant(x) or _constant(y):
        return LogisticFit(
            f"failed: all {'scores' if _constant(x) else 'labels'} are equal", None, NAN, method
        )
    status, params = _official(x, y) if method == "official" else ("ok", _best(x, y))
    return _as_fit(status, params, x, y, method)


def _as_fit(status: str, params: tuple[float, ...], x: np.ndarray, y: np.ndarray, method: str) -> LogisticFit:
    with np.errstate(over="ignore", invalid="ignore"):
        rmse = float(np.sqrt(np.mean(np.square(logistic(x, params) - y))))
    if not np.isfinite(rmse):
        return LogisticFit("failed: no finite optimum", None, NAN, method)
    return LogisticFit(status, params, rmse, method)


# --- agreement -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """A statistic's value, its interval, and how many images it rests on; NaN where undefined."""

    value: float
    ci_low: float
    ci_high: float
    n: int


@dataclass(frozen=True)
class Agreement:
    """How scores agree with labels: `Estimate` by statistic, and the fit behind the logistic ones."""

    estimates: dict[str, Estimate]
    fit: LogisticFit

    def __getitem__(self, statistic: str) -> Estimate:
        return self.estimates[statistic]

    def rows(self) -> list[dict[str, Any]]:
        """Tidy: statistic, value, ci_low, ci_high, n."""
        return [
            {"statistic": name, "value": e.value, "ci_low": e.ci_low, "ci_high": e.ci_high, "n": e.n}
            for name, e in self.estimates.items()
        ]


def _fitted(fit: LogisticFit, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    if fit.params is None:
        return dict.fromkeys(FITTED, NAN)
    values = fit.predict(x)
    return {"plcc_logistic": plcc(values, y), "rmse_logistic": fit.rmse, "srcc_logistic": srcc(values, y)}


def agreement(
    scores: Any,
    labels: Any,
    *,
    groups: Any = None,
    clusters: Any = None,
    fit: str = "best",
    ci_fit: bool = False,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Agreement:
    """Every statistic of scores (N,) against labels (N,), higher = better in both, with bootstrap intervals.

    Args:
        groups: (N,) names: adds ``srcc_within``, the plain mean of SRCC over the groups in which it is defined.
        clusters: (N,) names: images that share a reference or a prompt are resampled together. Without them
            images are resampled one by one, for ``srcc_within`` within their group.
        fit: ``best`` or ``official``, see `fit_logistic`. ci_fit: intervals of the fitted statistics too, the
            curve refitted in each resample.

    Returns:
        srcc, krcc, plcc (raw, signed), plcc_logistic, rmse_logistic, srcc_logistic (of the fitted values),
        srcc_within; each with its percentile interval. NaN below three images and where nothing varies.
    """
    x, y = _pair(scores, labels)
    n = len(x)
    if ci_fit and fit == "official":
        raise UserError("ci_fit=true needs fit=best: the official fit often falls back on its start values")
    curve, units = fit_logistic(x, y, fit), count_clusters(clusters)
    values = {name: f(x, y) if n >= 3 else NAN for name, f in _POINT.items()} | _fitted(curve, x, y)
    sizes = dict.fromkeys(values, n)
    intervals = dict.fromkeys(values, (NAN, NAN))
    counts = resample_counts(n, clusters, None, resamples, seed) if n >= 3 else np.zeros((0, n), np.uint8)
    for name in RAW:
        if np.isfinite(values[name]):
            intervals[name] = interval(bootstrap_many(name, x[None], y, counts)[0], level, units)
    if ci_fit and curve.params is not None:
        for name, draws in _bootstrap_fitted(curve, x, y, counts).items():
            intervals[name] = interval(draws, level, units)
    if groups is not None:
        used = defined_groups(x, y, groups)
        sizes[WITHIN] = sum(len(g) for _, g in used)
        values[WITHIN] = srcc_within(x, y, groups)
        intervals[WITHIN] = (NAN, NAN)
        if used:
            if clusters is None:
                counts = resample_counts(n, None, groups, resamples, seed)
            intervals[WITHIN] = interval(bootstrap_many(WITHIN, x[None], y, counts, groups)[0], level, units)
    return Agreement({k: Estimate(values[k], *intervals[k], sizes[k]) for k in values}, curve)


def _bootstrap_fitted(
    curve: LogisticFit, x: np.ndarray, y: np.ndarray, counts: np.ndarray
) -> dict[str, np.ndarray]:
    """Fitted statistics in each resample, the curve refitted from the whole set's optimum."""
    out = {name: np.full(len(counts), NAN) for name in FITTED}
    for r, times in enumerate(counts):
        rows = np.repeat(np.arange(len(x)), times)
        xr, yr = x[rows], y[rows]
        if not _constant(xr) and not _constant(yr):
            for name, value in _fitted(_refit(curve, xr, yr), xr, yr).items():
                out[name][r] = value
    return out


def _refit(curve: LogisticFit, x: np.ndarray, y: np.ndarray) -> LogisticFit:
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


def by_group(
    scores: Any, labels: Any, groups: Any, *, clusters: Any = None, **options: Any
) -> Iterator[dict[str, Any]]:
    """Agreement within each group, groups in alphabetical order: rows group, statistic, value, ci_low, ci_high, n.

    Args: as `agreement`'s.
    """
    x, y = _pair(scores, labels)
    shared = None if clusters is None else _names(clusters, len(x), "clusters")
    for name, rows in _members(groups, len(x)):
        part = agreement(x[rows], y[rows], clusters=None if shared is None else shared[rows], **options)
        yield from ({"group": name, **row} for row in part.rows())
