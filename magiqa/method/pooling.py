"""Scores of views in; one score an image, or a map over it, out. Pure."""

import re
from collections.abc import Callable, Sequence
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


def blend(
    values: np.ndarray, corners: Sequence[tuple[int, int]], window: int, size: tuple[int, int]
) -> np.ndarray:
    """A map of the windows' scores: at each pixel the mean of those that cover it, the nearest in the middle most.

    A window's weight falls linearly from its middle to its edges on either axis, so that between the middles of
    overlapping windows the map runs straight from one score to the other, without steps.

    Args:
        values: (W,) a score a window. corners: (x, y) of each, top left. window: their side. size: (width, height).

    Returns:
        float32 (height, width), between the lowest and the highest value; NaN where no window lies.

    Example:
        >>> blend(np.array([0.0, 1.0]), [(0, 0), (2, 0)], 4, (6, 4))[0].round(2).tolist()
        [0.0, 0.0, 0.25, 0.75, 1.0, 1.0]
    """
    ramp = np.minimum(np.arange(window), np.arange(window)[::-1]) + 0.5
    weight = np.outer(ramp, ramp) / (ramp.max() ** 2)
    total, weights = np.zeros(size[::-1]), np.zeros(size[::-1])
    for value, (x, y) in zip(values, corners, strict=True):
        total[y : y + window, x : x + window] += value * weight
        weights[y : y + window, x : x + window] += weight
    return np.divide(total, weights, out=np.full_like(total, np.nan), where=weights > 0).astype(np.float32)


def over_image(values: np.ndarray, boxes: np.ndarray, window: int, size: tuple[int, int]) -> np.ndarray:
    """A map of an image's size, from windows whose boxes are given in its own pixels.

    Args:
        values: (W,) a score a window. boxes: (W, 4) left, top, right, bottom, as `magiqa.images.views.geometry` has
            them: fractions where the image was resized before windows were cut. window: their side as cut.
        size: (width, height) of the image.

    Returns:
        float32 (height, width); blended at the size that windows were cut at, then brought to the image's own.
    """
    from PIL import Image

    across, down = window / (boxes[0, 2] - boxes[0, 0]), window / (boxes[0, 3] - boxes[0, 1])
    inner = round(size[0] * across), round(size[1] * down)
    corners = [(round(left * across), round(top * down)) for left, top, *_ in boxes]
    found = blend(values, corners, window, inner)
    return (
        found if inner == size else np.asarray(Image.fromarray(found).resize(size, Image.Resampling.BILINEAR))
    )
