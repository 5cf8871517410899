"""Which differences are real? Paired tests of methods on the same images. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from magiqa.errors import UserError
from magiqa.stats.arrays import NAN
from magiqa.stats.bootstrap import bootstrap_many, count_clusters, interval, resample_counts
from magiqa.stats.correlation import WITHIN, point_many, srcc

_MOST_RESAMPLES = 1_000_000


@dataclass(frozen=True)
class Paired:
    """The difference a - b of two methods in a statistic on the same n images.

    Args:
        p: two-sided; never under 2 / (resamples + 1).
    """

    statistic: str
    a: float
    b: float
    diff: float
    ci_low: float
    ci_high: float
    p: float
    n: int


def paired(
    scores_a: Any,
    scores_b: Any,
    labels: Any,
    *,
    statistic: str = "srcc",
    clusters: Any = None,
    groups: Any = None,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Paired:
    """Compare two methods by the paired percentile bootstrap, ranked anew in each resample.

    Args:
        scores_a, scores_b, labels: (N,), higher = better. statistic: srcc, krcc, plcc or srcc_within.
        clusters: (N,) names; whole clusters (references, prompts, generators) are resampled.
        groups: (N,) names, for srcc_within; without clusters images are resampled within their group.

    Returns:
        diff > 0 where a agrees better. p < 1 - level exactly where the interval leaves out 0, up to one resample.

    Example:
        >>> y = np.arange(50.0)
        >>> result = paired(y, -y, y, resamples=200)
        >>> round(result.diff, 6), result.p < 0.05
        (2.0, True)
    """
    rows = compare({"a": scores_a, "b": scores_b}, labels, statistic=statistic, clusters=clusters, groups=groups,
                   resamples=resamples, seed=seed, level=level)  # fmt: skip
    return rows[0].test


@dataclass(frozen=True)
class Pair:
    """One row of a table of comparisons: two names, their test, and p by Holm's correction over the table."""

    a: str
    b: str
    test: Paired
    p_holm: float


def compare(
    scores: Mapping[str, Any],
    labels: Any,
    *,
    reference: str | None = None,
    statistic: str = "srcc",
    clusters: Any = None,
    groups: Any = None,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> list[Pair]:
    """Paired tests of every two methods, or of each against one, on shared resamples, with Holm's correction.

    Args:
        scores: name -> (N,). reference: compare with this one only. Others: as `paired`'s.
    """
    names = list(scores)
    if reference is not None and reference not in names:
        raise UserError(f"reference={reference} is not among the compared scores: {', '.join(names)}")
    y = np.asarray(labels, np.float64)
    if len({len(np.asarray(s)) for s in scores.values()} | {len(y)}) != 1:
        raise UserError("compare: all scores and the labels must be of the same images: their numbers differ")
    matrix = np.stack([np.asarray(scores[name], np.float64) for name in names])
    within = groups if statistic == WITHIN else None
    counts = resample_counts(len(y), clusters, within, resamples, seed)
    point, draws = (
        point_many(statistic, matrix, y, groups),
        bootstrap_many(statistic, matrix, y, counts, groups),
    )
    units = count_clusters(clusters)
    tests = []
    for i, a in enumerate(names):
        for j, b in enumerate(names):
            if (reference is None and i < j) or (reference is not None and b == reference and i != j):
                difference = draws[i] - draws[j]
                low, high = interval(difference, level, units)
                diff = float(point[i] - point[j])
                p = bootstrap_p(difference, units)
                tests.append(
                    (a, b, Paired(statistic, float(point[i]), float(point[j]), diff, low, high, p, len(y)))
                )
    return [Pair(*row, p) for row, p in zip(tests, holm([row[2].p for row in tests]).tolist(), strict=True)]


def bootstrap_p(differences: np.ndarray, clusters: int | None = None) -> float:
    """Two-sided p of resampled differences (R,): twice the share on the smaller side of 0, at most 1.

    Args:
        clusters: how many were resampled, if clusters were: p is then that of the widened `interval`. In simulations
            at 5 % it called 2 % of equal methods different with 10 clusters and 4 % with 25, the plain one 6.5 and 7 %.

    Returns:
        At least 2 / (R + 1); NaN if under 95 % of the resamples are defined.
    """
    known = differences[np.isfinite(differences)]
    if not np.isfinite(interval(differences, clusters=clusters)[0]):
        return NAN
    tail = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return _widened(min(1.0, 2.0 * (tail + 1) / (len(known) + 1)), clusters)


def _widened(p: float, clusters: int | None) -> float:
    """The p of the widened interval, where clusters were resampled."""
    if clusters is None or p == 1.0:
        return p
    return float(2.0 * student.sf(norm.isf(p / 2) * np.sqrt((clusters - 1) / clusters), clusters - 1))


def resamples_for(p: float, clusters: int | None = None) -> int | None:
    """The fewest resamples whose smallest possible `bootstrap_p` is under p; None above a million of them.

    Example:
        >>> resamples_for(0.05), resamples_for(0.05, clusters=25), resamples_for(0.0005, clusters=8)
        (40, 56, None)
    """
    plain = p
    if clusters is not None:
        if clusters < 2:
            return None
        plain = 2.0 * norm.sf(student.isf(p / 2, clusters - 1) * np.sqrt(clusters / (clusters - 1)))
    if plain <= 2.0 / (_MOST_RESAMPLES + 1):
        return None
    return int(np.floor(2.0 / plain + 1e-9))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's step-down correction of p values (K,): (K,) adjusted, >= p; NaN stays and does not count as a test.

    Source: Holm, Scandinavian Journal of Statistics 6(2), 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p_values, np.float64)
    out = np.full(p.shape, NAN)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    stepped = np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1))
    out[order] = np.minimum(stepped, 1.0)
    return out


def meng(scores_a: Any, scores_b: Any, labels: Any) -> tuple[float, float]:
    """Meng, Rosenthal and Rubin's test on SRCC: z and two-sided p. For comparison only.

    Note:
        Made for Pearson's correlation. On ranks it rejects 7 to 15 % of true nulls at 5 %: decide with `paired`.

    Source: Meng, Rosenthal and Rubin, Psychological Bulletin 111(1), 1992.
    """
    ra, rb, rx = srcc(scores_a, labels), srcc(scores_b, labels), srcc(scores_a, scores_b)
    n, mean = len(np.asarray(labels)), (ra**2 + rb**2) / 2
    if not np.isfinite([ra, rb, rx]).all() or n <= 3:
        return NAN, NAN
    if rx == 1 or max(abs(ra), abs(rb)) == 1:
        return (0.0, 1.0) if ra == rb else (NAN, NAN)
    f = min(1.0, (1 - rx) / (2 * (1 - mean)))
    h = (1 - f * mean) / (1 - mean)
    z = (np.arctanh(ra) - np.arctanh(rb)) * np.sqrt((n - 3) / (2 * (1 - rx) * h))
    return float(z), float(2 * norm.sf(abs(z)))


@dataclass(frozen=True)
class Regime:
    """Two methods within one bin of the labels, [low, high]."""

    low: float
    high: float
    test: Paired


def regimes(
    scores_a: Any, scores_b: Any, labels: Any, *, bins: int = 3, clusters: Any = None, **options: Any
) -> list[Regime]:
    """Paired tests within bins of the labels of about equal size, from low to high.

    Note:
        SRCC within a bin falls because the range is cut: the values of two bins cannot be compared, only the two
        methods inside one bin. Equal labels stay in one bin.
    """
    a, b, y = (np.asarray(v, np.float64) for v in (scores_a, scores_b, labels))
    shared = None if clusters is None else np.asarray(clusters)
    edges = np.quantile(y, np.linspace(0, 1, bins + 1)[1:-1])
    which = np.searchsorted(edges, y, side="left")
    out = []
    for k in range(bins):
        rows = np.flatnonzero(which == k)
        if len(rows) < 3:
            raise UserError(f"bins={bins}: bin {k + 1} holds {len(rows)} images, need 3; use fewer bins")
        inside = None if shared is None else shared[rows]
        test = paired(a[rows], b[rows], y[rows], clusters=inside, **options)
        out.append(Regime(float(y[rows].min()), float(y[rows].max()), test))
    return out
