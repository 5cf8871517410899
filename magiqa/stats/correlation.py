"""Correlations of scores with labels: SRCC, KRCC and PLCC, signed and on raw scores; checks of arrays. Pure."""

from typing import Any

import numpy as np

from magiqa.errors import UserError

NAN = float("nan")


def as_pair(scores: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return both as finite float64 (N,)."""
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


def as_matrix(scores: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return finite float64 (M, N) and (N,): a row a method, a column an image."""
    x, y = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
    if x.ndim != 2:
        raise UserError(f"scores {x.shape} must be a matrix: a row a method, a column an image")
    for row in x:
        as_pair(row, y)
    return x, y


def as_names(values: Any, n: int, field: str) -> np.ndarray:
    """Return names as an array (N,)."""
    out = np.asarray(values)
    if out.shape != (n,):
        raise UserError(f"{field} {out.shape} must hold one name for each of the {n} images")
    return out


def is_constant(x: np.ndarray) -> bool:
    """Tell whether nothing varies in values (N,)."""
    return len(x) < 2 or bool(x.min() == x.max())


def centered(v: np.ndarray) -> np.ndarray:
    """Return values (N,) less their mean, scaled so that squares neither overflow nor vanish.

    A power of two scales exactly. Differences to the first value are exact near a large offset; its mean is not.
    """
    v = np.ldexp(v, -np.frexp(np.abs(v).max())[1])
    v = v - v[0]
    v = v / max(np.abs(v).max(), np.finfo(float).tiny)
    return v - v.mean()


def members(groups: Any, n: int) -> list[tuple[str, np.ndarray]]:
    """Return groups in alphabetical order, each with its rows."""
    names, key = np.unique(as_names(groups, n, "groups"), return_inverse=True)
    return [(str(name), np.flatnonzero(key == g)) for g, name in enumerate(names)]


def bins(values: Any, count: int) -> list[np.ndarray]:
    """Return the rows of each bin of values (N,), from low to high; bins hold about equally many images.

    Equal values stay in one bin, so that a bin can be larger or empty.
    """
    x = np.asarray(values, np.float64)
    key = np.searchsorted(np.quantile(x, np.linspace(0, 1, count + 1)[1:-1]), x)
    return [np.flatnonzero(key == k) for k in range(count)]


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
