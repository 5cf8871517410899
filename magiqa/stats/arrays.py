"""Check scores, labels and names: finite, of one length. Pure."""

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
