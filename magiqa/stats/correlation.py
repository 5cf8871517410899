"""Correlations of scores with labels: SRCC, KRCC and PLCC, signed and on raw scores. Pure."""

from typing import Any

import numpy as np

from magiqa.stats.arrays import NAN, as_pair, centered, is_constant, members


def ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks from 1 of values (N,); equal values share the mean of theirs.

    Example:
        >>> ranks(np.array([3.0, 1.0, 3.0])).tolist()
        [2.5, 1.0, 2.5]
    """
    _, key, times = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(times) - 0.5 * (times - 1))[key]


def plcc(scores: Any, labels: Any) -> float:
    """Pearson's correlation of scores (N,) and labels (N,): in [-1, 1], signed; NaN if either is constant.

    Example:
        >>> round(plcc([1, 2, 3], [1, 2, 4]), 4)
        0.982
    """
    x, y = as_pair(scores, labels)
    if is_constant(x) or is_constant(y):
        return NAN
    a, b = (v / np.linalg.norm(v) for v in (centered(x), centered(y)))
    return float(np.clip(a @ b, -1.0, 1.0))


def srcc(scores: Any, labels: Any) -> float:
    """Spearman's rank correlation, ties at their mid-rank: in [-1, 1], signed; NaN if either is constant.

    Example:
        >>> round(srcc([0.1, 0.2, 0.9], [3, 2, 1]), 12)
        -1.0
    """
    x, y = as_pair(scores, labels)
    return plcc(ranks(x), ranks(y))


def krcc(scores: Any, labels: Any) -> float:
    """Kendall's tau-b: in [-1, 1], signed; NaN if either is constant.

    Example:
        >>> round(krcc([1, 2, 3, 4], [1, 3, 2, 4]), 4)
        0.6667
    """
    from scipy.stats import kendalltau  # takes half a second to import

    x, y = as_pair(scores, labels)
    return NAN if is_constant(x) or is_constant(y) else float(kendalltau(x, y).statistic)


def defined_groups(scores: Any, labels: Any, groups: Any) -> list[np.ndarray]:
    """Return the rows of each group in which SRCC is defined: three images or more, scores and labels that vary."""
    x, y = as_pair(scores, labels)
    return [
        g
        for _, g in members(groups, len(y))
        if len(g) >= 3 and not is_constant(x[g]) and not is_constant(y[g])
    ]


def srcc_within(scores: Any, labels: Any, groups: Any) -> float:
    """The plain mean over groups of SRCC within a group, over the groups in which it is defined.

    Note:
        Its expectation depends on the groups' size m: ((m - 2) rho + 3 tau) / (m + 1). For normal values of population
        SRCC 0.58 that is 0.53 at m = 10 and 0.50 at m = 5. Sets whose groups differ in size cannot be compared by it.
    """
    x, y = as_pair(scores, labels)
    values = [srcc(x[g], y[g]) for g in defined_groups(x, y, groups)]
    return float(np.mean(values)) if values else NAN


def partial_srcc(scores: Any, labels: Any, given: Any) -> float:
    """SRCC of scores (N,) and labels (N,) with the ranks of `given` (N, K) regressed out of both: in [-1, 1].

    NaN where nothing is left that varies.
    """
    x, y = as_pair(scores, labels)
    columns = np.asarray(given, np.float64).T
    design = np.column_stack([np.ones(len(x)), *(ranks(c) - (len(x) + 1) / 2 for c in columns)])
    left = []
    for rank in (ranks(x), ranks(y)):
        rest = rank - design @ np.linalg.lstsq(design, rank, rcond=None)[0]
        if np.linalg.norm(rest) <= 1e-9 * np.linalg.norm(rank):  # rounding of an exact fit
            return NAN
        left.append(rest)
    return plcc(*left)
