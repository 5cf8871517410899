"""Tests and intervals of one difference, and of many at once. Pure.

Each row is tested by t = difference / standard error. A whole table is tested by the largest |t| of its rows, whose
distribution follows from the correlations between the rows (single-step max-T). Rows that rise and fall together, as
101 settings of one parameter do, then cost little more than one test.

Few units estimate these correlations badly: all pairs of ten methods on five clusters of unequal size had a difference
called significant in 14 % of tables without one. So each row keeps a share of its own, (3 / degrees of freedom)^2, that
rises and falls with no other row. Then it is 4 %. With hundreds of images the share is nothing.

Source: Hothorn, Bretz and Westfall, Biometrical Journal 50(3), 2008; degrees of freedom: Satterthwaite, Biometrics
Bulletin 2(6), 1946.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from magiqa.stats.correlation import NAN

SIGNIFICANCE = 0.05  # of every test; intervals have the level 1 - SIGNIFICANCE

MIN_UNITS = 5  # images or clusters; fewer say too little about how they vary

_DRAWS = 10_000  # of the largest |t| of a table

_NOTHING = 1e-12  # a difference that rounding leaves between two equal rows


def standard_error(parts: np.ndarray) -> np.ndarray:
    """Return the standard error (M,) of values whose parts are (M, U)."""
    return np.sqrt(np.square(parts).sum(axis=-1))


def freedom(parts: np.ndarray) -> np.ndarray:
    """Return the degrees of freedom (M,) of a standard error from parts (M, U).

    It is one less than the number of units. It is smaller where few units carry most of the error, as heavy tails and
    unequal clusters do.

    Example:
        >>> freedom(np.array([[1.0, -1.0] * 8, [1.0, -1.0] + [0.1, -0.1] * 7])).round(1).tolist()
        [15.0, 5.3]
    """
    units = (parts != 0).sum(axis=-1)
    square, fourth = np.square(parts).sum(axis=-1), np.square(np.square(parts)).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = units * fourth / np.square(square) - 1
        return np.fmax(np.fmin(units - 1, np.where(excess > 0, 2 * units / excess, np.inf)), 1.0)


def quantile(degrees: np.ndarray, z: float | None = None) -> np.ndarray:
    """Return the t (M,) that is as rare as a normal deviation z; by default that of one two-sided test."""
    tail = SIGNIFICANCE / 2 if z is None else ndtr(-z)
    return -stdtrit(degrees, tail)


@dataclass(frozen=True)
class Family:
    """Differences (M,) tested one by one and together; NaN where a row is not tested.

    Args:
        withheld: the reason why a row is not tested; empty where it is.
        low, high, p: of each row alone. low_all, high_all, p_adjusted: of all rows at once. p is below `SIGNIFICANCE`
            exactly where its interval leaves out 0, in both cases. p_adjusted lies between p and Bonferroni's M p.
    """

    withheld: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    low_all: np.ndarray
    high_all: np.ndarray
    p_adjusted: np.ndarray


def family(values: np.ndarray, parts: np.ndarray) -> Family:
    """Test differences against 0.

    Args:
        values: (M,) differences. parts: (M, U), the part of each unit (image or cluster) in their errors.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> result = family(np.array([0.5, 0.0]), rng.normal(0, 0.01, (2, 200)))
        >>> (result.p_adjusted < SIGNIFICANCE).tolist(), bool(result.low_all[0] > 0)
        ([True, False], True)
    """
    words = tuple(_untestable(v, p) for v, p in zip(values, parts, strict=True))
    tested = np.array([not w for w in words], bool)
    values, parts = values[tested], parts[tested]
    error, degrees = standard_error(parts), freedom(parts)
    p = 2 * stdtr(degrees, -np.abs(values) / error)
    z = -ndtri(p / 2)  # |t| as a normal deviation, so that rows of different degrees of freedom compare
    own = -ndtri(SIGNIFICANCE / 2)
    together, adjusted = own, p
    if len(values) > 1:
        largest = np.sort(_largest(parts / error[:, None], np.square(np.fmin(3 / degrees, 1.0))[:, None]))
        reached = len(largest) - np.searchsorted(largest, z - 1e-12)
        drawn = (1 + reached) / (len(largest) + 1)
        adjusted = np.clip(np.fmin(drawn, len(values) * p), p, 1.0)
        # |z| must exceed this for `drawn` to be below SIGNIFICANCE
        critical = largest[-int(np.ceil(SIGNIFICANCE * (len(largest) + 1))) + 1]
        together = max(own, min(critical, -ndtri(SIGNIFICANCE / 2 / len(values))))
    half, half_all = quantile(degrees, own) * error, quantile(degrees, together) * error
    columns = np.full((6, len(words)), NAN)
    columns[:, tested] = values - half, values + half, p, values - half_all, values + half_all, adjusted
    return Family(words, *columns)


def _largest(directions: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return draws of the largest of M correlated normal deviations.

    Args:
        directions: unit vectors (M, U), whose products are the correlations. own: (M, 1), the share of a deviation's
            variance that is independent of all others.
    """
    root, rng = np.linalg.qr(directions.T)[1].T, np.random.default_rng(0)

    def draw(count: int) -> np.ndarray:
        return rng.standard_normal((count, 500))

    blocks = [
        np.abs(np.sqrt(1 - own) * (root @ draw(root.shape[1])) + np.sqrt(own) * draw(len(own))).max(axis=0)
        for _ in range(_DRAWS // 500)
    ]
    return np.concatenate(blocks)


def _untestable(value: float, parts: np.ndarray) -> str:
    """Return why a difference cannot be tested; empty where it can."""
    if not np.isfinite(value) or not np.isfinite(parts).all():
        return "undefined"
    if standard_error(parts) <= _NOTHING:
        return "never differ" if abs(value) <= _NOTHING else "the same difference for every image"
    units = int((parts != 0).sum())
    return f"{units} images or clusters, fewer than {MIN_UNITS}" if units < MIN_UNITS else ""
