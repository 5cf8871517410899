"""Scores, labels and names as the statistics take them: finite, of one length."""

from typing import Any

import numpy as np

from magiqa.errors import UserError

NAN = float("nan")


def as_pair(scores: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as finite float64 (N,)."""
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
    """Finite float64 (M, N) and (N,)."""
    x, y = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
    if x.ndim != 2:
        raise UserError(f"scores {x.shape} must be a matrix: a row a method, a column an image")
    for row in x:
        as_pair(row, y)
    return x, y


def as_names(values: Any, n: int, field: str) -> np.ndarray:
    """Names as an array (N,)."""
    out = np.asarray(values)
    if out.shape != (n,):
        raise UserError(f"{field} {out.shape} must hold one name for each of the {n} images")
    return out


def is_constant(x: np.ndarray) -> bool:
    """Whether nothing varies in values (N,)."""
    return len(x) < 2 or bool(x.min() == x.max())


def centered(v: np.ndarray) -> np.ndarray:
    """Rows (..., N) less their means, scaled so that squares neither overflow nor vanish.

    A power of two scales exactly, and differences to the first value are exact near a large offset, whose mean is not.
    """
    v = np.ldexp(v, -np.frexp(np.abs(v).max(axis=-1, keepdims=True))[1])
    v = v - v[..., :1]
    v = v / np.maximum(np.abs(v).max(axis=-1, keepdims=True), np.finfo(float).tiny)
    return v - v.mean(axis=-1, keepdims=True)


def members(groups: Any, n: int) -> list[tuple[str, np.ndarray]]:
    """Groups in alphabetical order, with their rows."""
    names, key = np.unique(as_names(groups, n, "groups"), return_inverse=True)
    return [(str(name), np.flatnonzero(key == g)) for g, name in enumerate(names)]


def ratio(top: np.ndarray, below: np.ndarray) -> np.ndarray:
    """The quotient top / sqrt(below), within [-1, 1]; NaN where nothing varies."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, np.clip(top / np.sqrt(below), -1.0, 1.0), NAN)
