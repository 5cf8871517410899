"""Synthetic distortions of uint8 RGB arrays, by name and level 1 (mild) to 5 (strong); seeded, deterministic.

Each function turns (H, W, 3) uint8 into the same shape. ``SEEN`` are the mechanisms that the demo backbone was trained
on, ``UNSEEN`` are others that no training image had: directional blur, salt and pepper, a wavelet codec, few gray
levels. The split is frozen: ``scripts/train_demo.py`` must not call the unseen ones. ``MORE`` are for ``magiqa probe``:
exposure, color, sampling and what enhancement and transmission do; no data set of this package is made of them.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

from magiqa.errors import UserError

LEVELS = (1, 2, 3, 4, 5)

SEEN = ("gaussian_blur", "gaussian_noise", "jpeg", "low_resolution")

UNSEEN = ("motion_blur", "impulse_noise", "jpeg2000", "quantization")

MORE = (
    "darkening",
    "brightening",
    "contrast_loss",
    "desaturation",
    "chromatic_aberration",
    "pixelation",
    "oversharpening",
    "block_loss",
)

_SIGMA = (0.7, 1.2, 2.0, 3.2, 5.0)  # pixels

_NOISE = (5.0, 10.0, 18.0, 30.0, 48.0)  # of 255

_QUALITY = (50, 28, 15, 9, 5)

_SHRINK = (1.5, 2.0, 3.0, 4.5, 7.0)

_LENGTH = (3, 7, 11, 17, 27)  # pixels

_FLIPPED = (0.003, 0.01, 0.03, 0.08, 0.18)  # share of pixels

_RATE = (20, 40, 80, 150, 300)  # compression ratio

_STEPS = (24, 14, 9, 6, 4)  # values a channel

_DARKER = (1.3, 1.7, 2.3, 3.2, 4.5)  # exponent of values in [0, 1]

_BRIGHTER = (1.2, 1.5, 1.9, 2.5, 3.5)  # factor, clipped: highlights burn out

_CONTRAST = (0.75, 0.55, 0.4, 0.25, 0.12)  # of the distance to the image's mean

_SATURATION = (0.75, 0.5, 0.3, 0.12, 0.0)  # of the distance to gray

_SHIFT = (1, 2, 4, 7, 12)  # pixels, of red to one side and of blue to the other

_PIXEL = (2, 3, 5, 8, 13)  # pixels that become one

_SHARPEN = (1.0, 2.0, 4.0, 8.0, 16.0)  # times what a Gaussian of sigma 1.5 takes away

_LOST = (0.01, 0.03, 0.07, 0.15, 0.3)  # share of 16-pixel blocks


def _uint8(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _gaussian_blur(rgb: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    sigma = _SIGMA[level - 1]
    return _uint8(ndimage.gaussian_filter(rgb.astype(np.float64), (sigma, sigma, 0), mode="reflect"))


def _gaussian_noise(rgb: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    return _uint8(rgb + rng.normal(0.0, _NOISE[level - 1], rgb.shape))


def _through(rgb: np.ndarray, **options: object) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, **options)  # type: ignore[arg-type]
    return np.asarray(Image.open(buffer).convert("RGB"))


def _jpeg(rgb: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    return _through(rgb, format="JPEG", quality=_QUALITY[level - 1])


def _low_resolution(rgb: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    height, width = rgb.shape[:2]
    small = (max(1, round(width / _SHRINK[level - 1])), max(1, round(height / _SHRINK[level - 1])))
    shrunk = Image.fromarray(rgb).resize(small, Image.Resampling.BICUBIC)
    return np.asarray(shrunk.resize((width, height), Image.Resampling.BICUBIC))


def _motion_blur(rgb: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    # a straight path through the pixel grid, drawn finely and splatted bilinearly, at a random angle
    length, angle = _LENGTH[level - 1], rng.uniform(0.0, np.pi)
    kernel = np.zeros((length + 2, length + 2))
    steps = np.linspace(-(length - 1) / 2, (length - 1) / 2, 20 * length)
    y, x = (length + 1) / 2 + steps * np.sin(angle), (length + 1) / 2 + steps * np.cos(angle)
    for dy in (0, 1):
        for dx in (0, 1):
            iy, ix = np.floor(y).astype(int) + dy, np.floor(x).astype(int) + dx
            np.add.at(kernel, (iy, ix), (1 - np.abs(y - iy)) * (1 - np.abs(x - ix)))
    kernel /= kernel.sum()
    planes = [ndimage.convolve(rgb[..., c].astype(np.float32), kernel, mode="reflect") for c in range(3)]
    return _uint8(np.stack(planes, axis=-1))


def _impulse_noise(rgb: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    draw = rng.random(rgb.shape[:2])
    share = _FLIPPED[level - 1]
    out = rgb.copy()
    out[draw < share / 2] = 0
    out[(draw >= share / 2) & (draw < share)] = 255
    return out


def _jpeg2000(rgb: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    return _through(
        rgb, format="JPEG2000", quality_mode="rates", quality_layers=[_RATE[level - 1]], irreversible=True
    )


def _quantization(rgb: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    steps = _STEPS[level - 1] - 1
    return _uint8(np.rint(rgb / 255.0 * steps) * (255.0 / steps))


def _darkening(rgb: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    return _uint8(255.0 * (rgb / 255.0) ** _DARKER[level - 1])


def _brightening(rgb: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    return _uint8(rgb * _BRIGHTER[level - 1])


def _contrast_loss(rgb: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    mean = rgb.mean()
    return _uint8(mean + (rgb - mean) * _CONTRAST[level - 1])


def _desaturation(rgb: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    gray = rgb @ np.array([0.299, 0.587, 0.114])  # Rec. 601 luma
    return _uint8(gray[..., None] + (rgb - gray[..., None]) * _SATURATION[level - 1])


def _chromatic_aberration(rgb: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    shift = _SHIFT[level - 1]
    wide = np.pad(rgb, ((0, 0), (shift, shift), (0, 0)), mode="edge")
    width = rgb.shape[1]
    return np.stack([wide[:, :width, 0], rgb[..., 1], wide[:, 2 * shift :, 2]], axis=-1)


def _pixelation(rgb: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    height, width = rgb.shape[:2]
    side = _PIXEL[level - 1]
    small = Image.fromarray(rgb).resize((-(-width // side), -(-height // side)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.NEAREST))


def _oversharpening(rgb: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    values = rgb.astype(np.float64)
    detail = values - ndimage.gaussian_filter(values, (1.5, 1.5, 0), mode="reflect")
    return _uint8(values + _SHARPEN[level - 1] * detail)


def _block_loss(rgb: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    height, width = rgb.shape[:2]
    draw = rng.random((-(-height // 16), -(-width // 16)))
    # the lowest draws: as many as the share says, and those of a milder level among them
    lost = draw <= np.sort(draw, axis=None)[max(0, round(_LOST[level - 1] * draw.size) - 1)]
    out = rgb.copy()
    out[np.kron(lost, np.ones((16, 16), bool))[:height, :width]] = 128
    return out


_FUNCTIONS: dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    "gaussian_blur": _gaussian_blur,
    "gaussian_noise": _gaussian_noise,
    "jpeg": _jpeg,
    "low_resolution": _low_resolution,
    "motion_blur": _motion_blur,
    "impulse_noise": _impulse_noise,
    "jpeg2000": _jpeg2000,
    "quantization": _quantization,
    "darkening": _darkening,
    "brightening": _brightening,
    "contrast_loss": _contrast_loss,
    "desaturation": _desaturation,
    "chromatic_aberration": _chromatic_aberration,
    "pixelation": _pixelation,
    "oversharpening": _oversharpening,
    "block_loss": _block_loss,
}


def distort(rgb: np.ndarray, name: str, level: int, seed: int = 0) -> np.ndarray:
    """Distort (H, W, 3) uint8 by one mechanism; the same seed gives the same pixels.

    Args:
        rgb: the image. name: one of ``SEEN + UNSEEN + MORE``. level: 1 (mild) to 5 (strong).
        seed: of what is random in it.

    Raises:
        UserError: an unknown name or level, an array of another kind.

    Example:
        >>> flat = np.full((16, 16, 3), 100, np.uint8)
        >>> np.array_equal(distort(flat, "gaussian_blur", 3), flat)
        True
    """
    if name not in _FUNCTIONS:
        raise UserError(f"distortion {name!r} is not known: use {', '.join(_FUNCTIONS)}")
    if level not in LEVELS:
        raise UserError(f"distortion level {level!r} must be a whole number from {LEVELS[0]} to {LEVELS[-1]}")
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise UserError(
            f"distort needs (H, W, 3) uint8 pixels, got {rgb.dtype} of shape {rgb.shape}; convert them"
        )
    return _FUNCTIONS[name](rgb, level, np.random.default_rng(seed))
