"""Scores of views in, one score an image out."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from magiqa.errors import UserError

WORDS = "mean, median, worst_tenth or worst_N (the mean of the lowest N percent)"

Pooling = str | Callable[[np.ndarray], float]


def worst_percent(how: Any) -> int:
    """Return N of ``worst_N``, 10 of ``worst_tenth``, and 0 of anything else."""
    match = re.fullmatch(r"worst_([1-9]\d?)", str(how))
    return 10 if how == "worst_tenth" else int(match[1]) if match else 0


def known(how: Any) -> bool:
    """Return whether `pool` knows a name, or is given a function."""
    return callable(how) or how in ("mean", "median") or bool(worst_percent(how))


def pool(values: np.ndarray, how: Pooling = "mean") -> float:
    """Return one number for an image from its views' values (V,).

    Args:
        how: ``mean``, ``median``, ``worst_N``: the mean of the lowest ceil(V N / 100) values, or a function of yours.
    """
    if callable(how):
        return float(how(values))
    if percent := worst_percent(how):
        return float(np.sort(values)[: -(-len(values) * percent // 100)].mean())
    if how not in ("mean", "median"):
        raise UserError(f"pooling={how} is not known: use {WORDS}")
    return float(np.mean(values) if how == "mean" else np.median(values))


def pooled(values: np.ndarray, starts: np.ndarray, how: Pooling = "mean") -> np.ndarray:
    """Return one number for each image from its views' values: (..., M), images at ``starts`` (N,) -> (..., N)."""
    if how == "mean":
        counts = np.diff(np.append(starts, values.shape[-1]))
        return np.add.reduceat(values, starts, axis=-1) / counts
    rows = values.reshape(-1, values.shape[-1])
    images = [[pool(part, how) for part in np.split(row, starts[1:])] for row in rows]
    return np.array(images).reshape(*values.shape[:-1], len(starts))
