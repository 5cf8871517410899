"""Scores of views in, one score an image out."""

from collections.abc import Callable

import numpy as np

from magiqa.errors import UserError

NAMED = ("mean", "median", "worst_tenth")

Pooling = str | Callable[[np.ndarray], float]


def pool(values: np.ndarray, how: Pooling = "mean") -> float:
    """One number an image from its views' values (V,): ``mean``, ``median``, ``worst_tenth``, or a function of yours.

    ``worst_tenth`` is the mean of the lowest ceil(V / 10) values.
    """
    if callable(how):
        return float(how(values))
    if how == "mean":
        return float(np.mean(values))
    if how == "median":
        return float(np.median(values))
    if how == "worst_tenth":
        return float(np.sort(values)[: -(-len(values) // 10)].mean())
    raise UserError(f"pooling={how} is not known: use mean, median or worst_tenth")


def pooled(values: np.ndarray, starts: np.ndarray, how: Pooling = "mean") -> np.ndarray:
    """One number an image from its views' values (..., M), images starting at ``starts`` (N,): (..., N)."""
    if how == "mean":
        counts = np.diff(np.append(starts, values.shape[-1]))
        return np.add.reduceat(values, starts, axis=-1) / counts
    return np.array([pool(part, how) for part in np.split(values, starts[1:])])
