"""Predictors that know nothing of quality: what a method must beat before its number means something."""

import numpy as np
from PIL import Image

CONTROLS = ("width", "height", "bytes", "laplacian")


def laplacian_variance(image: Image.Image) -> float:
    """Variance of the 4-neighbor Laplacian of luma (Pillow's ``L``, 0..255) over the inner pixels; 0 if none.

    Example:
        >>> laplacian_variance(Image.new("RGB", (8, 8), "red"))
        0.0
    """
    luma = np.asarray(image.convert("L")).astype(np.int16)  # unsigned integers would wrap round
    if min(luma.shape) < 3:
        return 0.0
    inner = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * luma[1:-1, 1:-1]
    # Whole numbers up to 1020: both sums are exact. No BLAS, whose threads would go on spinning beside an engine.
    squares, total = int(np.square(inner, dtype=np.int32).sum(dtype=np.int64)), int(inner.sum(dtype=np.int64))
    return float((squares - total**2 / inner.size) / inner.size)


def controls(image: Image.Image, n_bytes: int) -> np.ndarray:
    """Width, height, file bytes and Laplacian variance of the image as distributed: float64 (4,)."""
    return np.array([image.width, image.height, n_bytes, laplacian_variance(image)], dtype=np.float64)
