"""Distortions: seeded, of every type and level, and the split that training must keep."""

import ast
from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut
from skimage.metrics import structural_similarity

from magiqa.errors import UserError
from magiqa.images.distortions import LEVELS, SEEN, UNSEEN, distort

PHOTO = np.ascontiguousarray(astronaut()[:224, 100:340])
ALL = SEEN + UNSEEN


@pytest.mark.parametrize("name", ALL)
def test_same_seed_same_pixels_of_the_same_shape(name: str) -> None:
    before = PHOTO.copy()
    first, second = distort(PHOTO, name, 3, seed=7), distort(PHOTO, name, 3, seed=7)
    assert np.array_equal(first, second)
    assert first.shape == PHOTO.shape and first.dtype == np.uint8
    assert np.array_equal(PHOTO, before)


@pytest.mark.parametrize("name", ALL)
def test_every_level_harms_more(name: str) -> None:
    ssim = [1.0] + [structural_similarity(PHOTO, distort(PHOTO, name, k), channel_axis=2) for k in LEVELS]
    assert (np.diff(ssim) < 0).all()


def test_noise_and_direction_follow_the_seed() -> None:
    for name in ("gaussian_noise", "impulse_noise", "motion_blur"):
        assert not np.array_equal(distort(PHOTO, name, 3, seed=1), distort(PHOTO, name, 3, seed=2))


def test_noise_has_the_strength_it_says() -> None:
    gray = np.full((256, 256, 3), 128, np.uint8)
    assert np.std(distort(gray, "gaussian_noise", 2).astype(float)) == pytest.approx(10.0, rel=0.02)
    flipped = (distort(gray, "impulse_noise", 5) != 128).any(-1).mean()
    assert flipped == pytest.approx(0.18, rel=0.03)


def test_quantization_leaves_as_many_values_as_it_says() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    assert len(np.unique(distort(ramp, "quantization", 5))) == 4


def test_motion_blur_spreads_along_a_line_of_its_length() -> None:
    dot = np.zeros((65, 65, 3), np.uint8)
    dot[32, 32] = 255
    spread = distort(dot, "motion_blur", 4, seed=3)[..., 0].astype(float)
    y, x = np.nonzero(spread > 2)
    assert 14 <= np.hypot(np.ptp(y), np.ptp(x)) <= 19  # 17 pixels, the ends' faint splats aside
    variances = np.linalg.eigvalsh(np.cov(np.stack([y, x])))
    assert variances[0] < 0.1 * variances[1]


def test_seen_and_unseen_do_not_meet_and_training_calls_no_unseen_type() -> None:
    assert len(UNSEEN) >= 3 and not set(SEEN) & set(UNSEEN)
    source = (Path(__file__).parents[2] / "scripts" / "train_demo.py").read_text()
    tree = ast.parse(source)
    texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    assert not texts & set(UNSEEN) and "UNSEEN" not in names and "SEEN" in names


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
