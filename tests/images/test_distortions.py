"""Distortions: seeded, of every type and level, and the split that training must keep; controls."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import laplace
from skimage.data import astronaut
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from magiqa.errors import UserError
from magiqa.images.controls import laplacian_variance
from magiqa.images.distortions import LEVELS, MORE, SEEN, UNSEEN, distort

PHOTO = np.ascontiguousarray(astronaut()[:224, 100:340])
ALL = SEEN + UNSEEN + MORE


@pytest.mark.parametrize("name", ALL)
def test_same_seed_same_pixels_of_the_same_shape(name: str) -> None:
    before = PHOTO.copy()
    first, second = distort(PHOTO, name, 3, seed=7), distort(PHOTO, name, 3, seed=7)
    assert np.array_equal(first, second)
    assert first.shape == PHOTO.shape and first.dtype == np.uint8
    assert np.array_equal(PHOTO, before)


@pytest.mark.parametrize("name", ALL)
def test_every_level_harms_more(name: str) -> None:
    harmed = [distort(PHOTO, name, k) for k in LEVELS]
    ssim = [1.0] + [structural_similarity(PHOTO, h, channel_axis=2) for h in harmed]
    psnr = [peak_signal_noise_ratio(PHOTO, h) for h in harmed]
    assert (np.diff(ssim) < 0).all() and (np.diff(psnr) < 0).all()


def test_noise_has_the_strength_it_says() -> None:
    gray = np.full((256, 256, 3), 128, np.uint8)
    assert np.std(distort(gray, "gaussian_noise", 2).astype(float)) == pytest.approx(10.0, rel=0.02)
    flipped = (distort(gray, "impulse_noise", 5) != 128).any(-1).mean()
    assert flipped == pytest.approx(0.18, rel=0.03)


def test_what_exposure_color_and_sampling_do() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert distort(rgb, "darkening", 1).mean() < rgb.mean() < distort(rgb, "brightening", 1).mean()
    low = distort(rgb, "contrast_loss", 4).astype(float)
    assert (low.std(), low.mean()) == pytest.approx((rgb.std() / 4, rgb.mean()), rel=0.02)
    gray = distort(rgb, "desaturation", 5)
    np.testing.assert_allclose(gray[..., 0], np.asarray(Image.fromarray(rgb).convert("L")), atol=1)
    np.testing.assert_array_equal(distort(rgb, "chromatic_aberration", 3)[:, 4:, 0], rgb[:, :-4, 0])
    assert len(np.unique(distort(rgb, "pixelation", 4).reshape(-1, 3), axis=0)) <= 64
    assert len(np.unique(distort(rgb, "quantization", 5)[..., 0])) == 4
    lost = (distort(np.zeros((160, 160, 3), np.uint8), "block_loss", 5) == 128).all(-1)
    assert lost.mean() == pytest.approx(0.3)


def test_the_first_eight_types_keep_their_pixels() -> None:
    """The sample set and its labels are made of them: any other pixel would be another set."""
    digest = hashlib.sha256()
    for name in (
        "gaussian_noise",
        "impulse_noise",
        "low_resolution",
        "quantization",
    ):  # no codec's build in them
        for level in LEVELS:
            digest.update(distort(PHOTO, name, level, seed=11).tobytes())
    assert digest.hexdigest()[:16] == "91451478db3b339e"


def test_seen_and_unseen_do_not_meet_and_training_calls_no_unseen_type() -> None:
    assert len(UNSEEN) >= 3 and len({*SEEN, *UNSEEN, *MORE}) == len(SEEN + UNSEEN + MORE)
    source = (Path(__file__).parents[2] / "scripts" / "train_demo.py").read_text()
    words = set(re.findall(r"\w+", re.sub("#.*", "", source)))
    assert "SEEN" in words and not words & {*UNSEEN, *MORE, "UNSEEN", "MORE"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((PHOTO, "fog", 1), "distortion 'fog' is not known: use gaussian_blur"),
        ((PHOTO, "jpeg", 0), "distortion level 0 must be a whole number from 1 to 5"),
        ((PHOTO[..., 0], "jpeg", 1), r"needs \(H, W, 3\) uint8 pixels"),
        ((PHOTO / 255, "jpeg", 1), "got float64"),
    ],
)
def test_mistakes_are_named(arguments: tuple, message: str) -> None:
    with pytest.raises(UserError, match=message):
        distort(*arguments)


# --- controls beside SciPy's ---


def expected(image: Image.Image) -> float:
    return float(laplace(np.asarray(image.convert("L")).astype(float))[1:-1, 1:-1].var())


@pytest.mark.parametrize("size", [(3, 3), (64, 50), (3, 1_200_000), (5000, 3), (1100, 1000), (2500, 4)])
def test_the_laplacians_variance_is_scipys_in_parts_as_in_one(size):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    assert laplacian_variance(photo) == pytest.approx(expected(photo), rel=1e-12)


def test_the_largest_differences_of_many_rows_do_not_overflow():
    board = Image.fromarray((np.indices((5000, 3)).sum(0) % 2 * 255).astype(np.uint8))
    assert laplacian_variance(board) == pytest.approx(expected(board), rel=1e-12)
    assert abs(laplacian_variance(board) - 1020**2) < 1  # each inner pixel is 1020 off its neighbors' sum
