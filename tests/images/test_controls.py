"""The controls beside SciPy's."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import laplace

from magiqa.images.controls import laplacian_variance


def expected(image: Image.Image) -> float:
    return float(laplace(np.asarray(image.convert("L")).astype(float))[1:-1, 1:-1].var())


def photo(height: int, width: int) -> Image.Image:
    rng = np.random.default_rng(height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(3, 3), (64, 50), (3, 1_200_000), (5000, 3), (1100, 1000), (2500, 4)])
def test_the_laplacians_variance_is_scipys_in_parts_as_in_one(size):
    assert laplacian_variance(photo(*size)) == pytest.approx(expected(photo(*size)), rel=1e-12)


def test_the_largest_differences_of_many_rows_do_not_overflow():
    board = Image.fromarray((np.indices((5000, 3)).sum(0) % 2 * 255).astype(np.uint8))
    assert laplacian_variance(board) == pytest.approx(expected(board), rel=1e-12)
    assert abs(laplacian_variance(board) - 1020**2) < 1  # each inner pixel is 1020 off its neighbors' sum
