"""Scores and labels in, correlations out: SRCC, KRCC, PLCC, signed and on raw scores. Pure."""

from collections.abc import Callable
from typing import Any

import numpy as np

from magiqa.errors import UserError
from magiqa.stats.arrays import NAN, as_matrix, as_pair, centered, is_constant, members, ratio
from magiqa.stats.ranks import mid_ranks, tau_b

RAW = ("srcc", "krcc", "plcc")

WITHIN = "srcc_within"


def plcc(scores: Any, labels: Any) -> float:
    """Pearson's correlation of scores (N,) and labels (N,): in [-1, 1], signed; NaN if either is constant.

    Example:
        >>> round(plcc([1, 2, 3], [1, 2, 4]), 4)
        0.982
    """
    x, y = as_pair(scores, labels)
    if is_constant(x) or is_constant(y):
        return NAN
    unit = []
    for v in (x, y):
        v = centered(v)
        unit.append(v / np.linalg.norm(v))
    return float(np.clip(unit[0] @ unit[1], -1.0, 1.0))


def srcc(scores: Any, labels: Any) -> float:
    """Spearman's rank correlation, ties at their mid-rank: in [-1, 1], signed; NaN if either is constant.

    Example:
        >>> round(srcc([0.1, 0.2, 0.9], [3, 2, 1]), 12)
        -1.0
    """
    x, y = as_pair(scores, labels)
    return plcc(mid_ranks(x), mid_ranks(y))


def krcc(scores: Any, labels: Any) -> float:
    """Kendall's tau-b: in [-1, 1], signed; NaN if either is constant.

    Example:
        >>> round(krcc([1, 2, 3, 4], [1, 3, 2, 4]), 4)
        0.6667
    """
    x, y = as_pair(scores, labels)
    if is_constant(x) or is_constant(y):
        return NAN
    return tau_b(x, y)


def srcc_within(scores: Any, labels: Any, groups: Any) -> float:
    """The plain mean over groups of SRCC within a group, over the groups that `defined_groups` names.

    Note:
        Its expectation depends on the groups' size m: ((m - 2) rho + 3 tau) / (m + 1), for normal values of population
        SRCC 0.58 that is 0.53 at m = 10 and 0.50 at m = 5. Sets whose groups differ in size cannot be compared by it.
    """
    x, y = as_pair(scores, labels)
    values = [srcc(x[g], y[g]) for _, g in defined_groups(x, y, groups)]
    return float(np.mean(values)) if values else NAN


def defined_groups(scores: Any, labels: Any, groups: Any) -> list[tuple[str, np.ndarray]]:
    """Name and rows of each group in which SRCC is defined: three images or more, scores and labels that vary."""
    x, y = as_pair(scores, labels)
    return [
        (name, g)
        for name, g in members(groups, len(y))
        if len(g) >= 3 and not is_constant(x[g]) and not is_constant(y[g])
    ]


def images_within(scores: Any, labels: Any, groups: Any) -> np.ndarray:
    """Whether `srcc_within` of each row of scores (M, N) counts an image, as `defined_groups` says: bool (M, N)."""
    x, y = as_matrix(scores, labels)
    out = np.zeros(x.shape, bool)
    for _, g in members(groups, len(y)):
        if len(g) >= 3 and not is_constant(y[g]):
            out[:, g] = (x[:, g].min(axis=1) < x[:, g].max(axis=1))[:, None]
    return out


def leave_one_group_out(scores: Any, labels: Any, groups: Any) -> tuple[float, float, tuple[str, str]]:
    """Lowest and highest SRCC when one group is left out, and which group that was in each case.

    Example:
        >>> leave_one_group_out([1, 2, 3, 4, 1, 2], [1, 2, 3, 4, 9, 8], list("aabbcc"))[2]
        ('a', 'c')
    """
    x, y = as_pair(scores, labels)
    without = [(srcc(np.delete(x, g), np.delete(y, g)), name) for name, g in members(groups, len(x))]
    defined = [pair for pair in without if np.isfinite(pair[0])]
    if not defined:
        return NAN, NAN, ("", "")
    (low, lowest), (high, highest) = min(defined), max(defined)
    return low, high, (lowest, highest)


def srcc_many(scores: Any, labels: Any, groups: Any = None) -> np.ndarray:
    """SRCC of each row of scores (M, N) with labels (N,), or its mean within groups: (M,), signed."""
    x, y = as_matrix(scores, labels)
    if groups is None:
        return _srcc_rows(x, y)
    parts = [_srcc_rows(x[:, g], y[g]) for _, g in members(groups, len(y)) if len(g) >= 3]
    values = np.array(parts).reshape(len(parts), len(x))
    counted = np.isfinite(values)
    total, times = np.where(counted, values, 0.0).sum(axis=0), counted.sum(axis=0)
    return np.divide(total, times, out=np.full(len(x), NAN), where=times > 0)


def _srcc_rows(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    ranks, label_ranks = mid_ranks(x), mid_ranks(y)
    ranks -= ranks.mean(axis=1, keepdims=True)
    label_ranks -= label_ranks.mean()
    return ratio(ranks @ label_ranks, np.square(ranks).sum(axis=1) * (label_ranks @ label_ranks))


_POINT: dict[str, Callable[[Any, Any], float]] = {"srcc": srcc, "krcc": krcc, "plcc": plcc}


def check_statistic(statistic: str, groups: Any) -> None:
    """Refuse an unknown statistic, and the one within groups without groups."""
    if statistic not in _POINT and statistic != WITHIN:
        raise UserError(f"statistic={statistic} is not known: use {', '.join(_POINT)} or {WITHIN}")
    if statistic == WITHIN and groups is None:
        raise UserError(f"{WITHIN} needs groups: name the annotation's column that holds them")


def point_many(statistic: str, scores: Any, labels: Any, groups: Any = None) -> np.ndarray:
    """A statistic (srcc, krcc, plcc, srcc_within) of each row of scores (M, N) with labels (N,): (M,), signed."""
    check_statistic(statistic, groups)
    if statistic in ("srcc", WITHIN):
        return srcc_many(scores, labels, groups if statistic == WITHIN else None)
    x, y = as_matrix(scores, labels)
    return np.array([_POINT[statistic](row, y) for row in x])


def partial_srcc(x: Any, y: Any, given: Any) -> float:
    """SRCC of x (N,) and y (N,) with the ranks of `given`, (N,) or (N, K), regressed out of both: in [-1, 1].

    NaN where nothing is left that varies.

    Example:
        >>> z = np.arange(6.0)
        >>> round(partial_srcc(z + [0, 1.5, 0, 0, 1.5, 0], z + [0, 1.5, 0, 0, 1.5, 0], z), 6)
        1.0
    """
    controls = np.asarray(given, np.float64)
    controls = controls[:, None] if controls.ndim == 1 else controls
    ranks = mid_ranks(controls.T).T
    design = np.column_stack([np.ones(len(ranks)), ranks - ranks.mean(axis=0)])
    left = []
    for values in (x, y):
        rank = mid_ranks(np.asarray(values, np.float64))
        rest = rank - design @ np.linalg.lstsq(design, rank, rcond=None)[0]
        if np.linalg.norm(rest) <= 1e-9 * np.linalg.norm(rank):  # rounding of an exact fit
            return NAN
        left.append(rest)
    return plcc(*left)
