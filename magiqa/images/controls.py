"""Controls: predictors that know nothing of quality, and that a method must beat."""

import threading

import numpy as np
from PIL import Image

CONTROLS = ("width", "height", "bytes", "laplacian")

_BLOCK = 1 << 20  # pixels at a time
_ROWS = 2000  # squares of 1020 in 32 bits: 2,063 rows fit

# fresh memory for each image would cost more than the arithmetic, and all threads wait for it
_own = threading.local()


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
    rows = max(1, min(height - 2, _BLOCK // width, _ROWS))
    short, long = _scratch((rows + 2) * width)
    total = squares = 0
    for y in range(0, height - 2, rows):
        n = min(rows, height - 2 - y)
        gray = short[0, : (n + 2) * width].reshape(n + 2, width)
        sums = short[1, : n * (width - 2)].reshape(n, width - 2)
        inner = long[: sums.size].reshape(sums.shape)
        gray[...] = luma[y : y + n + 2]  # unsigned integers would wrap round
        np.multiply(gray[1:-1, 1:-1], -4, out=sums)
        sums += gray[:-2, 1:-1]
        sums += gray[2:, 1:-1]
        sums += gray[1:-1, :-2]
        np.add(sums, gray[1:-1, 2:], out=inner)
        # Whole numbers up to 1020: both sums are exact. No BLAS, whose threads would go on spinning beside an engine.
        total += int(inner.sum(axis=0, dtype=np.int32).sum(dtype=np.int64))
        squares += int(np.multiply(inner, inner, out=inner).sum(axis=0, dtype=np.int32).sum(dtype=np.int64))
    size = (height - 2) * (width - 2)
    return float((squares - total**2 / size) / size)


def _scratch(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Memory of this thread: int16 (2, N) and int32 (N,), N at least ``size``."""
    memory: tuple[np.ndarray, np.ndarray] | None = getattr(_own, "memory", None)
    if memory is None or memory[1].size < size:
        memory = _own.memory = np.empty((2, size), np.int16), np.empty(size, np.int32)
    return memory


def controls(image: Image.Image, n_bytes: int) -> np.ndarray:
    """Width, height, file bytes and Laplacian variance of the image as distributed: float64 (4,)."""
    return np.array([image.width, image.height, n_bytes, laplacian_variance(image)], dtype=np.float64)
