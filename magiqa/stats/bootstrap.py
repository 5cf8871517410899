"""Resamples, and a statistic in each of them. Pure.

Resamples are counts (how often each image was drawn), so that ranks are taken anew in each of them without sorting
anything twice, and one set of resamples serves all statistics and scores.

Source: discordant pairs by merging: Knight, JASA 61(314), 1966.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from magiqa.errors import UserError
from magiqa.stats.arrays import NAN, as_matrix, as_names, centered, is_constant, members, ratio
from magiqa.stats.correlation import WITHIN, check_statistic
from magiqa.stats.ranks import dense_ranks

_BLOCK = 1 << 18  # numbers in a working block: 2 MB

_DEEP = 8  # longer runs of equal values are summed by one reduction over all rows


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
        _, unit = np.unique(as_names(clusters, n, "clusters"), return_inverse=True)
        strata = [np.arange(unit.max() + 1)]
    else:
        unit = np.arange(n)
        strata = [unit] if groups is None else [g for _, g in members(groups, n)]
    total = sum(len(s) for s in strata)
    # a row an image in memory: the kernels gather and add whole rows
    drawn = np.empty((total, resamples), np.uint16)
    block = max(1, 8 * _BLOCK // total)
    for start in range(0, resamples, block):
        width = min(block, resamples - start)
        for stratum in strata:
            size = len(stratum)
            drawn[stratum, start : start + width] = _times(rng.integers(size, size=(width, size))).T
    return drawn.T if clusters is None else drawn[unit].T


def _times(places: np.ndarray) -> np.ndarray:
    """How often each of S places stands in each row (R, S) of them: (R, S)."""
    rows, size = places.shape
    if size > 1024:  # a row at a time, whose counts stay at hand
        return np.stack([np.bincount(row, minlength=size) for row in places]).astype(np.uint16)
    places = places + size * np.arange(rows)[:, None]
    return np.bincount(places.ravel(), minlength=rows * size).reshape(rows, size)


def _blocks(counts: np.ndarray, kind: Any = np.float64) -> Iterator[tuple[slice, np.ndarray]]:
    """Counts (R, N) as numbers of a kind, in blocks (N, width) of bounded size: a row an image."""
    resamples, n = counts.shape
    width = max(16, _BLOCK // max(n, 1))
    for start in range(0, resamples, width):
        part = slice(start, min(start + width, resamples))
        yield part, np.ascontiguousarray(counts[part].T, kind)


def _whole(counts: np.ndarray) -> Any:
    """The kind of whole numbers that holds twice a rank times a count: 32 bits are gathered and summed fastest."""
    drawn = int(counts.sum(axis=1, dtype=np.int64).max(initial=0))
    return np.int32 if 2 * drawn * int(counts.max(initial=0)) < 2**31 else np.int64


@dataclass(frozen=True)
class _Order:
    """A sort order of images, and where each run of equal values starts in it.

    Args:
        more: the runs of two images or more with the place of the second, of three or more with the third, ...; None
            where runs are so long that summing them all at once is faster.
    """

    order: np.ndarray
    starts: np.ndarray
    more: list[tuple[np.ndarray, np.ndarray]] | None

    @classmethod
    def of(cls, *keys: np.ndarray) -> "_Order":
        """By the first key, then the second."""
        order = np.lexsort(keys[::-1])
        new = np.zeros(len(order), bool)
        for key in keys:
            new[1:] |= key[order][1:] != key[order][:-1]
        starts = np.flatnonzero(np.r_[True, new[1:]])
        sizes = np.diff(np.append(starts, len(order)))
        longer = [np.flatnonzero(sizes > k) for k in range(1, min(int(sizes.max(initial=0)), _DEEP + 1))]
        deep = sizes.max(initial=0) > _DEEP
        more = None if deep else [(at, starts[at] + k) for k, at in enumerate(longer, 1)]
        return cls(order, starts, more)

    @property
    def ties(self) -> bool:
        return len(self.starts) < len(self.order)

    def runs(self, rows: np.ndarray, kind: Any = None) -> np.ndarray:
        """Rows (N, R) in sorted order, summed over runs of equal values: (T, R), of a kind that holds the sums."""
        kind = kind or rows.dtype
        if self.more is None:
            return np.add.reduceat(np.take(rows, self.order, axis=0), self.starts, axis=0, dtype=kind)
        out = np.take(rows, self.order[self.starts], axis=0).astype(kind, copy=False)
        for runs, places in self.more:
            out[runs] += np.take(rows, self.order[places], axis=0)
        return out


def _cubes(rows: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij,ij->j", rows, rows, rows)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->j", a, b)


def _doubled_ranks(counts: np.ndarray, by: _Order) -> tuple[np.ndarray, np.ndarray]:
    """Twice the mid-ranks less their mean (N, R), and their sum of squares, not doubled (R,), in resamples (N, R).

    Whole numbers, of the counts' kind.
    """
    drawn = by.runs(counts)
    rank = np.cumsum(drawn, axis=0, dtype=counts.dtype)
    n = rank[-1].copy()
    rank *= 2
    rank -= drawn
    rank -= n
    run = np.empty(len(by.order), int)  # of each image
    run[by.order] = np.repeat(np.arange(len(by.starts)), np.diff(np.r_[by.starts, len(by.order)]))
    drawn = drawn.astype(np.float64)
    return np.take(rank, run, axis=0), (n.astype(np.float64) ** 3 - _cubes(drawn)) / 12.0


def _bootstrap_srcc(scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Ranks are halves of whole numbers: exact in float64."""
    orders, by_label, whole = [_Order.of(x) for x in scores], _Order.of(labels), _whole(counts)
    out = np.empty((len(scores), len(counts)))
    for part, c in _blocks(counts, whole):
        weighted, label_squares = _doubled_ranks(c, by_label)
        weighted *= c  # sums to 0 over the images, so that the scores' ranks need no centring
        exact = c.astype(np.float64)
        own, cubes, n = _dot(weighted.astype(np.float64), exact), _cubes(exact), exact.sum(axis=0)
        for m, by in enumerate(orders):
            # a run of equal scores may hold half of all ranks: their sum is beyond 32 bits
            drawn, weight = by.runs(c), by.runs(weighted, np.float64)
            halves, tied = own, cubes
            if by.ties:
                exact = drawn.astype(np.float64)
                halves, tied = _dot(weight, exact), _cubes(exact)
            upto = np.cumsum(drawn, axis=0, dtype=whole, out=drawn).astype(np.float64)
            twice = _dot(weight, upto) - 0.5 * halves
            out[m, part] = ratio(0.5 * twice, (n**3 - tied) / 12.0 * label_squares)
    return out


def _bootstrap_plcc(scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    def unit(v: np.ndarray) -> np.ndarray:
        v = centered(v)
        spread = v.std(axis=-1, keepdims=True)
        return np.divide(v, spread, out=np.zeros_like(v), where=spread > 0)

    x, y = unit(scores), unit(labels)
    out = np.empty((len(scores), len(counts)))
    for part, c in _blocks(counts):
        n, mx, my = c.sum(axis=0), x @ c, y @ c
        vx, vy = np.square(x) @ c - mx**2 / n, np.square(y) @ c - my**2 / n
        # one image drawn every time leaves rounding, not variance
        vx, vy = np.where(vx > 1e-12 * n, vx, 0.0), np.where(vy > 1e-12 * n, vy, 0.0)
        out[:, part] = ratio((x * y) @ c - mx * my / n, vx * vy)
    return out


@dataclass(frozen=True)
class _Merges:
    """A merge sort of ranks (N,), which meets every pair once: within blocks, then block by block while they merge.

    Args:
        higher: (B, size, size), 1 where the earlier of two places of a block has the higher rank.
        first: the places in each block by rank, downwards. steps: for each merging of two halves, how many of the left
            half rank higher than each of the right, as places in cumulative sums with a 0 before; and the order it
            leaves. Both are read onward, or in two places at once, so that no step waits for memory.
    """

    higher: np.ndarray
    first: np.ndarray
    steps: list[tuple[np.ndarray, np.ndarray]]

    @classmethod
    def of(cls, ranks: np.ndarray) -> "_Merges":
        """Of ranks >= 1; places are added behind them, which are never drawn, so that all blocks are of one size."""
        blocks = 2 ** max(0, int(np.ceil(np.log2(len(ranks) / 64))))
        rank = np.zeros((blocks, -(-len(ranks) // blocks)), int)
        rank.ravel()[: len(ranks)] = ranks
        higher = np.triu(rank[:, :, None] > rank[:, None, :], 1).astype(np.float32)
        order = np.argsort(-rank, axis=1, kind="stable")
        first, steps = _flat(order), []
        rank = np.take_along_axis(rank, order, axis=1)
        while len(rank) > 1:
            left, right = rank[::2], rank[1::2]
            half = left.shape[1]
            # of equal ranks the right one first: not discordant
            order = np.argsort(-np.concatenate([2 * left, 2 * right + 1], axis=1), axis=1, kind="stable")
            came = np.cumsum(order < half, axis=1)
            before = came[order >= half].reshape(right.shape)  # the right half keeps its order
            steps.append((_flat(before, half + 1), _flat(order)))
            rank = np.take_along_axis(np.concatenate([left, right], axis=1), order, axis=1)
        return cls(higher, first, steps)

    def discordant(self, counts: np.ndarray) -> np.ndarray:
        """Pairs drawn (W,) whose earlier image ranks higher, in resamples (N, W)."""
        width, half = counts.shape[1], self.higher.shape[1]
        c = np.zeros((len(self.first), width))
        c[: len(counts)] = counts
        blocks = c.astype(np.float32).reshape(-1, half, width)  # exact: sums of a block's counts
        out = _dot(c, (self.higher @ blocks).reshape(c.shape))
        c = np.take(c, self.first, axis=0)
        for before, order in self.steps:
            pairs = c.reshape(-1, 2, half, width)
            upto = np.zeros((len(pairs), half + 1, width))
            np.cumsum(pairs[:, 0], axis=1, out=upto[:, 1:])
            higher = np.take(upto.reshape(-1, width), before, axis=0)
            out += np.einsum("sij,sij->j", pairs[:, 1], higher.reshape(-1, half, width))
            c, half = np.take(c, order, axis=0), 2 * half
        return out


def _flat(places: np.ndarray, stride: int = 0) -> np.ndarray:
    """Places in each of S rows as places in all rows, laid end to end."""
    return (places + (stride or places.shape[1]) * np.arange(len(places))[:, None]).ravel()


def _bootstrap_krcc(scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Knight's O(n log n) tau-b with counts as weights, a block of resamples at once. Exact."""

    def pairs(drawn: np.ndarray) -> np.ndarray:
        return 0.5 * (_dot(drawn, drawn) - drawn.sum(axis=0))

    out = np.empty((len(scores), len(counts)))
    by_label, rank = _Order.of(labels), dense_ranks(labels)
    for m, x in enumerate(scores):
        by_score, both = _Order.of(x), _Order.of(x, labels)
        merges = _Merges.of(rank[both.order])
        for part, c in _blocks(counts):
            tied_x, tied_y, tied_xy = (
                pairs(by.runs(c) if by.ties else c) for by in (by_score, by_label, both)
            )
            n = c.sum(axis=0)
            every = 0.5 * n * (n - 1)
            top = every - tied_x - tied_y + tied_xy - 2.0 * merges.discordant(np.take(c, both.order, axis=0))
            out[m, part] = ratio(top, (every - tied_x) * (every - tied_y))
    return out


_BOOTSTRAP = {"srcc": _bootstrap_srcc, "krcc": _bootstrap_krcc, "plcc": _bootstrap_plcc}


def bootstrap_many(
    statistic: str, scores: Any, labels: Any, counts: np.ndarray, groups: Any = None
) -> np.ndarray:
    """A statistic (srcc, krcc, plcc, srcc_within) in every resample, ranked anew in each.

    Args:
        scores: (M, N), a row a method. labels: (N,). counts: (R, N), from `resample_counts`.

    Returns:
        (M, R), NaN where a resample leaves nothing that varies; srcc_within is over the groups in which it is
        defined both on the whole and in the resample, each with the weight images drawn / images: a group inside a
        cluster that was drawn twice counts twice. Rows share resamples: their differences are paired.
    """
    check_statistic(statistic, groups)
    x, y = as_matrix(scores, labels)
    if counts.ndim != 2 or counts.shape[1] != len(y):
        raise UserError(f"counts {counts.shape} must be (resamples, {len(y)})")
    if statistic != WITHIN:
        return _BOOTSTRAP[statistic](x, y, counts)
    total, used = np.zeros((len(x), len(counts))), np.zeros((len(x), len(counts)))
    for _, g in members(groups, len(y)):
        rows = np.array(
            [m for m in range(len(x)) if len(g) >= 3 and not is_constant(x[m, g]) and not is_constant(y[g])],
            int,
        )
        if len(rows):
            drawn = counts.T[g].T  # stays a row an image in memory
            weight = drawn.sum(axis=1) / len(g)
            values = _bootstrap_srcc(x[np.ix_(rows, g)], y[g], drawn)
            defined = np.isfinite(values) & (weight > 0)
            total[rows] += np.where(defined, values * weight, 0.0)
            used[rows] += defined * weight
    return np.divide(total, used, out=np.full_like(total, NAN), where=used > 0)


def bootstrap_srcc_many(scores: Any, labels: Any, counts: np.ndarray, groups: Any = None) -> np.ndarray:
    """SRCC (its mean within groups, where given) of each row of scores (M, N) in each resample: (M, R)."""
    return bootstrap_many("srcc" if groups is None else WITHIN, scores, labels, counts, groups)


def bootstrap_partial(x: np.ndarray, y: np.ndarray, given: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`partial_srcc` of x (N,) and y (N,) given (N, K), ranked anew in every resample: (R,), NaN where undefined.

    From the products of all ranks with each other: what is left of the first two is a Schur complement.
    """
    orders = [_Order.of(v) for v in (x, y, *given.T)]
    out = np.empty(len(counts))
    for part, c in _blocks(counts):
        ranks = [0.5 * _doubled_ranks(c, by)[0] for by in orders]
        products = np.empty((c.shape[1], len(ranks), len(ranks)))
        for i, one in enumerate(ranks):
            weighted = one * c
            for j, other in enumerate(ranks):
                products[:, i, j] = _dot(weighted, other)
        across = products[:, :2, 2:]
        inverse = np.linalg.pinv(products[:, 2:, 2:], rcond=1e-12, hermitian=True)
        left = products[:, :2, :2] - across @ inverse @ across.transpose(0, 2, 1)
        squares = np.stack(
            [np.where(left[:, k, k] > 1e-12 * products[:, k, k], left[:, k, k], 0.0) for k in (0, 1)]
        )
        out[part] = ratio(left[:, 0, 1], squares[0] * squares[1])
    return out
