"""Which differences are real? Paired tests of methods on the same images. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from magiqa.errors import UserError
from magiqa.stats.bootstrap import bootstrap_many, resample_counts
from magiqa.stats.correlation import WITHIN, images_within, point_many
from magiqa.stats.intervals import count_units, too_few, too_heavy, widened
from magiqa.stats.p_values import family

OTHER_GROUPS = "defined in other groups than what it is compared with"


@dataclass(frozen=True)
class Paired:
    """The difference a - b of two methods in a statistic on the same n images.

    Args:
        n: images that both count; of srcc_within those in groups where it is defined.
        p: two-sided; under 1 - level exactly where the interval leaves out 0; never under 1 / (resamples + 1).
        withheld: why there is no interval and no p; empty where there are.
    """

    statistic: str
    a: float
    b: float
    diff: float
    ci_low: float
    ci_high: float
    p: float
    n: int
    withheld: str = ""


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
    """Compare two methods by the paired bootstrap, ranked anew in each resample.

    Args:
        scores_a, scores_b, labels: (N,), higher = better. statistic: srcc, krcc, plcc or srcc_within.
        clusters: (N,) names; whole clusters (references, prompts, generators) are resampled.
        groups: (N,) names, for srcc_within; without clusters images are resampled within their group.

    Returns:
        diff > 0 where a agrees better.

    Example:
        >>> y = np.arange(50.0)
        >>> result = paired(y % 49, -y, y, resamples=200)
        >>> round(result.diff, 2), result.p < 0.05
        (1.88, True)
    """
    rows = compare({"a": scores_a, "b": scores_b}, labels, statistic=statistic, clusters=clusters, groups=groups,
                   resamples=resamples, seed=seed, level=level)  # fmt: skip
    return rows[0].test


@dataclass(frozen=True)
class Pair:
    """One row of a table of comparisons: two names, their test, and what holds for the whole table at once.

    Args:
        p_adjusted, low, high: from the largest deviation of the whole table, see `family`. floor: the smallest
            p_adjusted that these resamples could give.
    """

    a: str
    b: str
    test: Paired
    p_adjusted: float
    low: float
    high: float
    floor: float


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
    """Paired tests of every two methods, or of each against one, on shared resamples, one by one and all at once.

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
    point = point_many(statistic, matrix, y, groups)
    draws = bootstrap_many(statistic, matrix, y, counts, groups)
    pairs = [
        (i, j)
        for i in range(len(names))
        for j in range(len(names))
        if (reference is None and i < j) or (reference is not None and names[j] == reference and i != j)
    ]
    counted = images_within(matrix, y, groups) if statistic == WITHIN else np.ones(matrix.shape, bool)
    reasons = [
        why_no_test(statistic, matrix[[i, j]], y, clusters)
        or ("" if np.array_equal(counted[i], counted[j]) else OTHER_GROUPS)
        for i, j in pairs
    ]
    values = np.array(
        [np.nan if r else point[i] - point[j] for (i, j), r in zip(pairs, reasons, strict=True)]
    )
    drawn = np.array([draws[i] - draws[j] for i, j in pairs]).reshape(len(pairs), -1)
    units = count_units(len(y), clusters)
    if statistic == "plcc":
        drawn *= np.array([[widened(matrix[i], matrix[j], y, units=units)] for i, j in pairs])
    found = family(values, drawn, units, level)
    out = []
    for k, (i, j) in enumerate(pairs):
        test = Paired(
            statistic,
            float(point[i]),
            float(point[j]),
            float(point[i] - point[j]),
            float(found.low[k]),
            float(found.high[k]),
            float(found.p[k]),
            int((counted[i] & counted[j]).sum()),
            reasons[k] or found.withheld[k],
        )
        p, low, high = (float(v[k]) for v in (found.p_adjusted, found.low_all, found.high_all))
        out.append(Pair(names[i], names[j], test, p, low, high, found.floor))
    return out


def paired_row(pair: Pair) -> dict[str, Any]:
    """A pair as a row of ``comparison.csv``."""
    t = pair.test
    return {
        "a": pair.a,
        "b": pair.b,
        "statistic": t.statistic,
        "value_a": t.a,
        "value_b": t.b,
        "diff": t.diff,
        "diff_low": t.ci_low,
        "diff_high": t.ci_high,
        "p": t.p,
        "p_adjusted": pair.p_adjusted,
        "ci_simultaneous_low": pair.low,
        "ci_simultaneous_high": pair.high,
        "p_floor": pair.floor,
        "n": t.n,
        "withheld": t.withheld,
    }


def why_no_test(statistic: str, scores: np.ndarray, labels: np.ndarray, clusters: Any = None) -> str:
    """Why methods (M, N) cannot be tested against each other; empty where they can."""
    reason = too_few(len(labels), clusters)
    if not reason and statistic == "plcc":
        reason = next(
            filter(
                None, (too_heavy(v, w) for v, w in [*((s, "scores") for s in scores), (labels, "labels")])
            ),
            "",
        )
    return reason


def bins(labels: Any, count: int = 3) -> list[tuple[float, float, np.ndarray]]:
    """Bins of the labels (N,) of about equal size, from low to high: lowest and highest label, and the rows.

    Note:
        SRCC within a bin falls because the range is cut: the values of two bins cannot be compared, only two methods
        inside one bin. Equal labels stay in one bin.
    """
    y = np.asarray(labels, np.float64)
    edges = np.quantile(y, np.linspace(0, 1, count + 1)[1:-1])
    which = np.searchsorted(edges, y, side="left")
    out = []
    for k in range(count):
        rows = np.flatnonzero(which == k)
        if len(rows) < 3:
            raise UserError(f"bins={count}: bin {k + 1} holds {len(rows)} images, need 3; use fewer bins")
        out.append((float(y[rows].min()), float(y[rows].max()), rows))
    return out
