"""Ranks, and Kendall's tau from them, by sorting alone: ``scipy.stats`` takes a second to import. Pure.

Source: tau-b: Kendall, Biometrika 33(3), 1945; discordant pairs bit by bit of the ranks, as a radix sort meets them.
"""

from collections.abc import Callable

import numpy as np


def _runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A sort order of values (N,), and where each run of equal ones starts in it."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    return order, np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]][: len(values)])


def _ranked(values: np.ndarray, of_runs: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    order, starts = _runs(values)
    sizes = np.diff(np.append(starts, len(values)))
    found = of_runs(starts, sizes)
    out = np.empty(len(values), found.dtype)
    out[order] = np.repeat(found, sizes)
    return out


def mid_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 along the last axis of (..., N), of equal values the mean of theirs; float64.

    Example:
        >>> mid_ranks(np.array([3.0, 1.0, 3.0])).tolist()
        [2.5, 1.0, 2.5]
    """
    if values.ndim > 1:
        return np.stack([mid_ranks(row) for row in values]) if len(values) else np.empty(values.shape)
    return _ranked(values, lambda starts, sizes: starts + 0.5 * (sizes + 1))


def dense_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 of values (N,), without gaps: equal values have one rank; whole numbers.

    Example:
        >>> dense_ranks(np.array([3.0, 1.0, 3.0])).tolist()
        [2, 1, 2]
    """
    return _ranked(values, lambda starts, sizes: np.arange(1, len(starts) + 1))


def discordant(ranks: np.ndarray) -> int:
    """Pairs i < j of whole ranks (N,) with the higher one first, in N log N.

    From the highest bit down: pairs that agree in all bits above differ first in this one. Each bit sorts on.
    """
    total = 0
    for bit in reversed(range(int(ranks.max(initial=0)).bit_length())):
        one = (ranks >> bit & 1).astype(bool)
        starts = np.flatnonzero(np.diff(ranks >> bit + 1, prepend=-1))
        sizes = np.diff(np.append(starts, len(ranks)))
        ones = np.cumsum(one) - one
        ones -= np.repeat(ones[starts], sizes)  # before each, in its group
        total += int(ones[~one].sum())
        zeros = np.repeat(sizes - np.add.reduceat(one, starts, dtype=int), sizes)
        inside = np.arange(len(ranks)) - np.repeat(starts, sizes)
        to = np.repeat(starts, sizes) + np.where(one, zeros + ones, inside - ones)
        sorted_on = np.empty_like(ranks)
        sorted_on[to] = ranks
        ranks = sorted_on
    return total


def tau_b(x: np.ndarray, y: np.ndarray) -> float:
    """Kendall's tau-b of values (N,) and (N,) that both vary: in [-1, 1]."""

    def tied(*keys: np.ndarray) -> int:
        order = np.lexsort(keys)
        new = np.zeros(len(order), bool)
        for key in keys:
            new[1:] |= key[order][1:] != key[order][:-1]
        sizes = np.diff(np.append(np.flatnonzero(np.r_[True, new[1:]]), len(order)))
        return int((sizes * (sizes - 1) // 2).sum())

    n = len(x)
    every, tied_x, tied_y = n * (n - 1) // 2, tied(x), tied(y)
    swapped = discordant(dense_ranks(y)[np.lexsort((y, x))])
    surplus = every - tied_x - tied_y + tied(x, y) - 2 * swapped
    return float(np.clip(surplus / np.sqrt(every - tied_x) / np.sqrt(every - tied_y), -1.0, 1.0))
