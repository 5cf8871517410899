"""A statistic with its sampling error: the part that each image, or each cluster of images, has in it. Pure.

The part of a unit is what the statistic owes to it beyond the average. It is the unit's influence function over the
number of units; for clusters it is what changes when the cluster is left out (the jackknife). The squares of all parts
add up to the variance. Statistics of the same units can be subtracted, and so can their parts: that is a paired test.

Source: influence functions: Hampel, JASA 69(346), 1974; of Spearman's correlation: Croux and Dehon, Statistical Methods
and Applications 19(4), 2010; jackknife: Efron and Stein, Annals of Statistics 9(3), 1981.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit

from magiqa.stats.correlation import NAN, centered, ranks
from magiqa.stats.family import MIN_UNITS, freedom, quantile, standard_error


@dataclass(frozen=True)
class Sampled:
    """Values (M,) of a statistic, and the parts (M, U) that U units have in their errors; NaN where undefined."""

    values: np.ndarray
    parts: np.ndarray

    def __getitem__(self, rows: Any) -> "Sampled":
        return Sampled(self.values[rows], self.parts[rows])

    def __sub__(self, other: "Sampled") -> "Sampled":
        return Sampled(self.values - other.values, self.parts - other.parts)

    def mix(self, weights: np.ndarray) -> "Sampled":
        """Return weighted sums of the rows, weights (P, M)."""
        return Sampled(weights @ self.values, weights @ self.parts)

    def intervals(self, wider: np.ndarray | float = 1.0) -> np.ndarray:
        """Return 95 % intervals (M, 2), by Student's t; NaN for fewer than five units, and where nothing varies.

        Args:
            wider: factors (M,) of the standard error.
        """
        enough = np.isfinite(self.parts).all(axis=1) & ((self.parts != 0).sum(axis=1) >= MIN_UNITS)
        half = np.where(enough, quantile(freedom(self.parts)) * standard_error(self.parts) * wider, NAN)
        return np.stack([self.values - half, self.values + half], axis=1)

    def correlation_intervals(self, wider: np.ndarray | float = 1.0) -> np.ndarray:
        """Return intervals (M, 2) of correlations: as `intervals`, on Fisher's scale."""
        with np.errstate(divide="ignore", invalid="ignore"):
            on_scale = Sampled(np.arctanh(self.values), self.parts / (1 - self.values[:, None] ** 2))
            return np.tanh(on_scale.intervals(wider))


def stacked(some: Sequence[Sampled]) -> Sampled:
    """Return the rows of several as one."""
    return Sampled(np.concatenate([s.values for s in some]), np.concatenate([s.parts for s in some]))


def image_parts(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the part (N,) of each image in the SRCC of scores (N,) and labels (N,), with ties at their mid-rank."""
    return _rank_parts(np.stack([scores, labels]), np.eye(2))


def partial_parts(scores: np.ndarray, labels: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return the part (N,) of each image in `partial_srcc`, given controls (N, K)."""
    columns = np.vstack([scores, labels, given.T])
    rank = np.stack([ranks(c) - (len(labels) + 1) / 2 for c in columns])
    slopes = np.linalg.lstsq(rank[2:].T, rank[:2].T, rcond=None)[0].T
    return _rank_parts(columns, np.hstack([np.eye(2), -slopes]))


def _rank_parts(columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the parts (N,) in the correlation of two weighted sums of ranks: columns (C, N), weights (2, C).

    An image acts on a covariance of ranks twice: by its own ranks, and by those of all images above it.
    """
    n = columns.shape[1]
    keys = [np.unique(c, return_inverse=True)[1] for c in columns]
    rank = np.stack([(ranks(c) - (n + 1) / 2) / n for c in columns])
    sums = weights @ rank

    def above(key: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Mean over all images of v where their value is higher, half of it where it is equal."""
        at = np.bincount(key, v)
        return (at.sum() - np.cumsum(at) + 0.5 * at)[key] / n

    def covariance(a: int, b: int) -> tuple[float, np.ndarray]:
        part = sums[a] * sums[b]
        for c, key in enumerate(keys):
            part = part + above(key, weights[a, c] * sums[b] + weights[b, c] * sums[a])
        return float(np.mean(sums[a] * sums[b])), part - part.mean()

    (across, parts), (one, own), (two, other) = covariance(0, 1), covariance(0, 0), covariance(1, 1)
    value = across / np.sqrt(one * two)
    return (parts / np.sqrt(one * two) - value / 2 * (own / one + other / two)) / n


def jackknife(without: np.ndarray) -> np.ndarray:
    """Return the parts (..., K) of K units from the statistic without each of them."""
    units = without.shape[-1]
    return (without.mean(axis=-1, keepdims=True) - without) * (units - 1) / units


def plcc_without(scores: np.ndarray, labels: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Return PLCC without each unit (K,); unit: the number (N,) of each image's."""
    a, b = centered(scores), centered(labels)
    sums = np.stack([np.bincount(unit, v) for v in (np.ones(len(a)), a, b, a * a, b * b, a * b)])
    n, sa, sb, aa, bb, ab = sums.sum(axis=1, keepdims=True) - sums
    with np.errstate(divide="ignore", invalid="ignore"):
        one, two = aa - sa**2 / n, bb - sb**2 / n
        return np.where((one > 1e-12 * aa) & (two > 1e-12 * bb), (ab - sa * sb / n) / np.sqrt(one * two), NAN)


def srcc_without(scores: np.ndarray, labels: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Return SRCC without each unit (K,), ranked anew each time; unit: the number (N,) of each image's."""
    keys = [np.unique(v, return_inverse=True)[1] for v in (scores, labels)]
    whole = [ranks(v) for v in (scores, labels)]
    order = np.argsort(unit, kind="stable")
    out = []
    for rows in np.split(order, np.cumsum(np.bincount(unit))[:-1]):
        left = []
        for key, rank in zip(keys, whole, strict=True):
            count = np.bincount(key[rows], minlength=int(key.max()) + 1)
            rank = rank - (np.cumsum(count) - 0.5 * count)[key]  # less the images of the unit below
            rank -= (len(unit) - len(rows) + 1) / 2
            rank[rows] = 0.0
            left.append(rank)
        a, b = left
        norm = np.sqrt((a @ a) * (b @ b))
        out.append(a @ b / norm if norm > 0 else NAN)
    return np.array(out)


WITHOUT = {"srcc": srcc_without, "plcc": plcc_without}


def without(statistic: Callable[[np.ndarray], float], unit: np.ndarray) -> np.ndarray:
    """Return any statistic of rows of images without each unit (K,)."""
    return np.array([statistic(np.flatnonzero(unit != k)) for k in range(unit.max() + 1)])


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return the area under the ROC curve: the share of pairs in which the positive value is higher, ties half.

    Example:
        >>> auroc(np.array([3.0, 2.0]), np.array([1.0, 2.0]))
        0.875
    """
    n, m = len(positive), len(negative)
    total = ranks(np.concatenate([positive, negative]))[:n].sum()
    return float((total - n * (n + 1) / 2) / (n * m)) if n and m else NAN


def auroc_interval(
    pristine: np.ndarray, distorted: np.ndarray, of_pristine: np.ndarray, of_distorted: np.ndarray
) -> tuple[float, float, float]:
    """Return AUROC with its 95 % interval, by the jackknife over references, on the logit scale.

    Args:
        of_pristine, of_distorted: the number of each image's reference, from 0 on.

    Returns:
        The value, and the ends of its interval: NaN for fewer than five references, and where AUROC is 0 or 1.
    """
    value, units = auroc(pristine, distorted), int(of_pristine.max()) + 1
    if not 0 < value < 1 or units < 2:
        return value, np.nan, np.nan
    without = [auroc(pristine[of_pristine != k], distorted[of_distorted != k]) for k in range(units)]
    parts = jackknife(np.array([without])) * np.sqrt(units / (units - 1))
    ((low, high),) = Sampled(logit(np.array([value])), parts / (value * (1 - value))).intervals()
    return value, float(expit(low)), float(expit(high))
