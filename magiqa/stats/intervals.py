"""Resampled values in, intervals out; and when there is none, why. Pure.

Source: widening: Hesterberg, The American Statistician 69(4), 2015, section 5.2 (the expanded percentile interval);
studentized bootstrap: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 5.2.
"""

from typing import Any

import numpy as np

from magiqa.stats.arrays import NAN, centered
from magiqa.stats.distributions import normal_quantile, normal_tail, student_quantile, student_tail

MIN_DEFINED = 0.95  # share of resamples in which a statistic must be defined for it to have an interval

MIN_UNITS = 5  # clusters, or images; fewer say too little about how they vary

_FEW = 10  # units, under which the bootstrap needs help from outside
_BLOCK = 1 << 18


def count_units(n: int, clusters: Any = None) -> int:
    """How many things were resampled: clusters where there are any, else the n images."""
    return n if clusters is None else len(np.unique(np.asarray(clusters)))


def as_student(z: Any, units: int) -> Any:
    """A deviation in normal standard deviations, as the one as rare in a mean of `units` with unknown spread.

    Example:
        >>> round(float(as_student(1.96, 1000)), 2), round(float(as_student(1.96, 8)), 2)
        (1.96, 2.53)
    """
    return student_quantile(normal_tail(z), units - 1) * np.sqrt(units / (units - 1))


def as_normal(t: Any, units: int) -> Any:
    """The inverse of `as_student`."""
    return normal_quantile(student_tail(np.asarray(t) * np.sqrt((units - 1) / units), units - 1))


def interval(values: np.ndarray, units: int, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of resampled values (R,), widened for few units.

    Args:
        units: how many images or clusters were resampled. Few of them make the percentile interval too short: it is
            widened to the percentiles that a t interval of the mean would need.

    Returns:
        NaN if the values are defined in under 95 % of the resamples, with fewer than five units, and where no
        resample differs from another: that all resamples agree is no certainty.
    """
    defined = values[np.isfinite(values)]
    if units < MIN_UNITS or len(defined) < max(1.0, MIN_DEFINED * len(values)):
        return NAN, NAN
    if np.ptp(defined) <= 1e-12:
        return NAN, NAN
    tail = float(normal_tail(as_student(normal_quantile((1.0 - level) / 2.0), units)))
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return float(low), float(high)


def too_skewed(values: np.ndarray, name: str) -> str:
    """Whether values (N,) are too skewed for an interval of a Pearson correlation: the reason, or nothing.

    Where the 95th percentile lies over four times as far from the median as the 5th (or the other way round) and the
    kurtosis exceeds 3.5, a sample says too little of how far the longer tail reaches. Tails that both sides have widen
    the interval and withhold nothing: withheld where tails show, it would be printed where they happen to hide. Of
    1,000 normal or bounded samples of 50 none is withheld, of lognormal ones (sigma 1.3) over nine tenths.

    Example:
        >>> x = np.linspace(-2, 2, 100)
        >>> too_skewed(x, "scores"), too_skewed(np.exp(3 * x), "scores")
        ('', 'scores too skewed for an interval of PLCC')
    """
    if len(values) < MIN_UNITS:
        return ""
    low, median, high = np.quantile(values, [0.05, 0.5, 0.95])
    lopsided = abs(high + low - 2 * median) > 0.6 * (high - low)
    return f"{name} too skewed for an interval of PLCC" if lopsided and kurtosis(values) > 3.5 else ""


def too_heavy(values: np.ndarray, name: str) -> str:
    """Whether the tails of values (N,) are too heavy for a test of two methods' PLCC: the reason, or nothing.

    Skewness beyond 4 sqrt(6 / n) and 1.5, or kurtosis beyond 3 + 28 / sqrt(n) and 5. Tests of scores with such tails
    reject up to 13 % of true nulls; those of scores that happen to hide them do not, as equal methods hide them alike.

    Example:
        >>> x = np.linspace(-2, 2, 100)
        >>> too_heavy(x, "scores"), too_heavy(x**9, "scores")
        ('', 'scores too heavy-tailed for a test of PLCC')
    """
    z = centered(values)
    n, square = len(z), float(np.mean(np.square(z)))
    if n < MIN_UNITS or square == 0:
        return ""
    skewness = float(np.mean(z**3)) / square**1.5
    heavy = abs(skewness) > max(1.5, 4 * np.sqrt(6 / n)) or kurtosis(values) > max(5.0, 3 + 28 / np.sqrt(n))
    return f"{name} too heavy-tailed for a test of PLCC" if heavy else ""


def widened(*values: np.ndarray, units: int) -> float:
    """By how much heavy tails of any of values (N,) widen what is said of PLCC.

    The fourth root of kurtosis / 3; kurtosis / 3 itself of under ten units, which show little of the tails.

    Example:
        >>> x = np.arange(9.0)
        >>> [round(widened(x, x**5, units=n), 2) for n in (100, 5)], widened(x, units=5)
        ([1.09, 1.4], 1.0)
    """
    return float(max(1.0, *(kurtosis(v) / 3 for v in values)) ** (0.25 if units >= _FEW else 1.0))


def mean_band(
    values: np.ndarray, counts: np.ndarray, at: np.ndarray, clusters: Any = None, level: float = 0.95
) -> tuple[float, float]:
    """Interval of the mean of values (N,) over some of the images (N,) bool, in resamples (R, N) of all of them.

    Widened for the images or clusters that lie among these.
    """
    with np.errstate(invalid="ignore"):
        drawn = counts.T[at].T @ values[at] / counts.T[at].sum(axis=0)
    inside = None if clusters is None else np.asarray(clusters)[at]
    return interval(drawn, count_units(int(at.sum()), inside), level)


def kurtosis(values: np.ndarray) -> float:
    """Fourth moment of values (N,) over the square of the second: 3 of a normal; NaN where nothing varies."""
    z = centered(values)
    square = float(np.mean(np.square(z)))
    return float(np.mean(z**4)) / square**2 if square > 0 else NAN


def too_few(n: int, clusters: Any = None, what: str = "clusters") -> str:
    """Whether there are too few images or clusters to resample: the reason, or nothing.

    Example:
        >>> too_few(60, ["a", "b"] * 30, "references"), too_few(60)
        ('2 references, fewer than 5', '')
    """
    units = count_units(n, clusters)
    if units >= MIN_UNITS:
        return ""
    return f"{units} {'images' if clusters is None else what}, fewer than {MIN_UNITS}"


def shifted(
    value: float,
    values: np.ndarray,
    units: int,
    level: float = 0.95,
    within: tuple[float, float] = (-1.0, 1.0),
) -> tuple[float, float]:
    """The percentile interval moved by value - mean of the resamples: for a statistic that resampling biases.

    With fewer than ten units it reaches at least as far as Student's t: so few give too few different resamples.

    Args:
        within: what the statistic can be.
    """
    if not np.isfinite(values).any():
        return NAN, NAN
    low, high = interval(values + (value - np.nanmean(values)), units, level)
    if MIN_UNITS <= units < _FEW:
        half = as_student(normal_quantile((1 - level) / 2), units) * np.nanstd(values, ddof=1)
        low, high = np.minimum(low, value - half), np.maximum(high, value + half)
    return float(np.clip(low, *within)), float(np.clip(high, *within))


def studentized_plcc(
    scores: np.ndarray, labels: np.ndarray, counts: np.ndarray, clusters: Any = None, level: float = 0.95
) -> tuple[float, float]:
    """As `studentized_plcc_many`, of one row of scores (N,)."""
    return studentized_plcc_many(scores[None], labels, counts, clusters, level)[0]


def studentized_plcc_many(
    scores: np.ndarray, labels: np.ndarray, counts: np.ndarray, clusters: Any = None, level: float = 0.95
) -> list[tuple[float, float]]:
    """Intervals of Pearson's correlation by the studentized bootstrap on Fisher's scale.

    Each resample's atanh(r) is less the whole set's and over the standard error of its own, which skewed values need:
    where their tails are thinly drawn, the error is underrated together with r. An image's influence is
    z_x z_y - r (z_x^2 + z_y^2) / 2, six monomials whose weights the resample gives; a cluster's is the sum over its
    images. So the standard error of every resample comes from one product of counts with outer products.
    It is `widened` for heavy tails.

    Args:
        scores, labels: (M, N) and (N,) that vary. counts: (R, N) from `resample_counts` with the same clusters.
    """
    first = key = None
    if clusters is not None:
        _, first, key = np.unique(np.asarray(clusters), return_index=True, return_inverse=True)
        counts = counts[:, first]
    units = counts.shape[1]
    if units < MIN_UNITS:
        return [(NAN, NAN)] * len(scores)
    y = centered(labels) / centered(labels).std()
    pairs = np.triu_indices(6)

    def monomials(x: np.ndarray) -> np.ndarray:
        x = centered(x) / centered(x).std()
        sums = np.stack([x * y, x * x, y * y, x, y, np.ones(len(x))], axis=1)
        return sums if key is None else np.stack([np.bincount(key, v) for v in sums.T], axis=1)

    out: list[tuple[float, float]] = []
    width = len(pairs[0]) + 6
    several = max(1, 8 * _BLOCK // (6 * units))  # rows at a time: counts are converted once for all of them
    step = max(1, 4 * _BLOCK // len(counts))  # units at a time, whose counts lie together
    for at in range(0, len(scores), several):
        sums = np.stack([monomials(x) for x in scores[at : at + several]], axis=1)  # (U, m, 6)
        drawn, whole = np.zeros((len(counts), sums.shape[1] * width)), np.zeros(sums.shape[1] * width)
        for k in range(0, units, step):
            some = sums[k : k + step]
            both = np.concatenate([some, some[..., pairs[0]] * some[..., pairs[1]]], axis=2)
            both = both.reshape(len(some), -1)
            drawn += counts[:, k : k + step].astype(np.float64) @ both
            whole += both.sum(axis=0)
        for k in range(sums.shape[1]):
            own = slice(k * width, (k + 1) * width)
            wider = widened(scores[at + k], labels, units=units)
            out.append(_studentized(whole[own], drawn[:, own], units, level, wider))
    return out


def _studentized(
    whole_sums: np.ndarray, drawn: np.ndarray, units: int, level: float, wider: float
) -> tuple[float, float]:
    """From the products' sums over all units (27,), and in each resample (R, 27)."""
    r, error = _plcc_error(drawn)
    (whole,), (whole_error,) = _plcc_error(whole_sums[None])
    with np.errstate(all="ignore"):
        z, at = np.arctanh(r), np.arctanh(whole)
        t = (z - at) / error
    t = t[np.isfinite(t)]
    if not np.isfinite(at) or whole_error <= 1e-12 or len(t) < MIN_DEFINED * len(drawn):
        return NAN, NAN
    low, high = np.quantile(t, [(1.0 + level) / 2.0, (1.0 - level) / 2.0])
    sides = interval(r, units, level)  # whichever reaches further: few units are short in both
    with np.errstate(divide="ignore"):
        ends = np.arctanh(
            [
                max(
                    np.fmin(np.tanh(at - low * whole_error), sides[0]), -1.0
                ),  # widened, a side may pass the end
                min(np.fmax(np.tanh(at - high * whole_error), sides[1]), 1.0),
            ]
        )
    low, high = np.tanh(at + wider * (ends - at))
    return float(low), float(high)


def _plcc_error(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pearson's r (R,) and the standard error of atanh(r), from sums of monomials and of their products."""
    n = drawn[:, 5]
    xy, xx, yy, mx, my = (drawn[:, k] / n for k in range(5))
    with np.errstate(all="ignore"):
        vx, vy = xx - mx**2, yy - my**2
        s = np.sqrt(vx * vy)
        r = (xy - mx * my) / s
        weights = np.stack(
            [
                1 / s,
                -r / (2 * vx),
                -r / (2 * vy),
                -my / s + r * mx / vx,
                -mx / s + r * my / vy,
                mx * my / s - r / 2 * (mx**2 / vx + my**2 / vy),
            ]
        )
        first, second = np.triu_indices(6)
        twice = np.where(first == second, 1.0, 2.0)
        square = np.einsum("kr,kr,rk,k->r", weights[first], weights[second], drawn[:, 6:], twice)
        return r, np.sqrt(np.maximum(square, 0.0)) / n / (1 - r**2)
