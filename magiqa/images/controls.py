"""Controls: predictors that know nothing of quality, and that a method must beat."""

import numpy as np
from PIL import Image

CONTROLS = ("width", "height", "bytes", "laplacian")

_BLOCK = 1 << 20  # pixels at a time


def laplacian_variance(image: Image.Image) -> float:
    """Variance of the 4-neighbor Laplacian of luma (Pillow's ``L``, 0..255) over the inner pixels; 0 if none.

    Example:
        >>> laplacian_variance(Image.new("RGB", (8, 8), "red"))
        0.0
    """
    luma = np.asarray(image.convert("L"))
    height, width = luma.shape
    if min(luma.shape) < 3:
        return 0.0
    total = squares = 0  # of whole numbers up to 1020: exact
    rows = max(1, _BLOCK // width)
    for y in range(0, height - 2, rows):
        gray = luma[y : y + rows + 2].astype(np.int16)  # unsigned integers would wrap round
        sums = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:] - 4 * gray[1:-1, 1:-1]
        total += int(sums.sum(dtype=np.int64))
        squares += int(np.square(sums, dtype=np.int32).sum(dtype=np.int64))
    size = (height - 2) * (width - 2)
    return float((squares - total**2 / size) / size)


def controls(image: Image.Image, n_bytes: int) -> np.ndarray:
    """Width, height, file bytes and Laplacian variance of the image as distributed: float64 (4,)."""
    return np.array([image.width, image.height, n_bytes, laplacian_variance(image)], dtype=np.float64)
