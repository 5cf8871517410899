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

Pixels = np.ndarray
Random = np.random.Generator


def _uint8(values: Pixels) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _blurred(values: Pixels, sigma: float) -> Pixels:
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(values.astype(np.float64), (sigma, sigma, 0), mode="reflect"))


def _through(rgb: Pixels, **options: object) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, **options)  # type: ignore[arg-type]
    return np.asarray(Image.open(buffer).convert("RGB"))


def _low_resolution(rgb: Pixels, shrink: float, _: Random) -> Pixels:
    height, width = rgb.shape[:2]
    small = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    shrunk = Image.fromarray(rgb).resize(small, Image.Resampling.BICUBIC)
    return np.asarray(shrunk.resize((width, height), Image.Resampling.BICUBIC))


def _motion_blur(rgb: Pixels, length: float, rng: Random) -> Pixels:
    from scipy import ndimage

    # a straight path through the pixel grid, drawn finely and splatted bilinearly, at a random angle
    length, angle = int(length), rng.uniform(0.0, np.pi)
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


def _impulse_noise(rgb: Pixels, share: float, rng: Random) -> Pixels:
    draw = rng.random(rgb.shape[:2])
    out = rgb.copy()
    out[draw < share / 2] = 0
    out[(draw >= share / 2) & (draw < share)] = 255
    return out


def _quantization(rgb: Pixels, values: float, _: Random) -> Pixels:
    steps = values - 1
    return _uint8(np.rint(rgb / 255.0 * steps) * (255.0 / steps))


def _contrast_loss(rgb: Pixels, contrast: float, _: Random) -> Pixels:
    mean = rgb.mean()
    return _uint8(mean + (rgb - mean) * contrast)


def _desaturation(rgb: Pixels, saturation: float, _: Random) -> Pixels:
    gray = rgb @ np.array([0.299, 0.587, 0.114])  # Rec. 601 luma
    return _uint8(gray[..., None] + (rgb - gray[..., None]) * saturation)


def _chromatic_aberration(rgb: Pixels, shift: float, _: Random) -> Pixels:
    shift, width = int(shift), rgb.shape[1]
    wide = np.pad(rgb, ((0, 0), (shift, shift), (0, 0)), mode="edge")
    return np.stack([wide[:, :width, 0], rgb[..., 1], wide[:, 2 * shift :, 2]], axis=-1)


def _pixelation(rgb: Pixels, side: float, _: Random) -> Pixels:
    height, width = rgb.shape[:2]
    small = Image.fromarray(rgb).resize(
        (int(-(-width // side)), int(-(-height // side))), Image.Resampling.BOX
    )
    return np.asarray(small.resize((width, height), Image.Resampling.NEAREST))


def _block_loss(rgb: Pixels, share: float, rng: Random) -> Pixels:
    height, width = rgb.shape[:2]
    draw = rng.random((-(-height // 16), -(-width // 16)))
    # the lowest draws: as many as the share says, and those of a milder level among them
    lost = draw <= np.sort(draw, axis=None)[max(0, round(share * draw.size) - 1)]
    out = rgb.copy()
    out[np.kron(lost, np.ones((16, 16), bool))[:height, :width]] = 128
    return out


Distortion = Callable[[Pixels, float, Random], Pixels]
# by name: the function, and its strength at each level
_LADDERS: dict[str, tuple[Distortion, tuple[float, ...]]] = {
    # sigma in pixels
    "gaussian_blur": (lambda rgb, sigma, _: _uint8(_blurred(rgb, sigma)), (0.7, 1.2, 2.0, 3.2, 5.0)),
    # sigma of 255
    "gaussian_noise": (
        lambda rgb, sigma, rng: _uint8(rgb + rng.normal(0.0, sigma, rgb.shape)),
        (5.0, 10.0, 18.0, 30.0, 48.0),
    ),
    # quality
    "jpeg": (lambda rgb, quality, _: _through(rgb, format="JPEG", quality=quality), (50, 28, 15, 9, 5)),
    # factor
    "low_resolution": (_low_resolution, (1.5, 2.0, 3.0, 4.5, 7.0)),
    # pixels
    "motion_blur": (_motion_blur, (3, 7, 11, 17, 27)),
    # share of pixels
    "impulse_noise": (_impulse_noise, (0.003, 0.01, 0.03, 0.08, 0.18)),
    # compression ratio
    "jpeg2000": (
        lambda rgb, rate, _: _through(
            rgb, format="JPEG2000", quality_mode="rates", quality_layers=[rate], irreversible=True
        ),
        (20, 40, 80, 150, 300),
    ),
    # values a channel
    "quantization": (_quantization, (24, 14, 9, 6, 4)),
    # exponent of values in [0, 1]
    "darkening": (lambda rgb, gamma, _: _uint8(255.0 * (rgb / 255.0) ** gamma), (1.3, 1.7, 2.3, 3.2, 4.5)),
    # factor, clipped: highlights burn out
    "brightening": (lambda rgb, gain, _: _uint8(rgb * gain), (1.2, 1.5, 1.9, 2.5, 3.5)),
    # of the distance to the image's mean
    "contrast_loss": (_contrast_loss, (0.75, 0.55, 0.4, 0.25, 0.12)),
    # of the distance to gray
    "desaturation": (_desaturation, (0.75, 0.5, 0.3, 0.12, 0.0)),
    # pixels, of red to one side and of blue to the other
    "chromatic_aberration": (_chromatic_aberration, (1, 2, 4, 7, 12)),
    # pixels that become one
    "pixelation": (_pixelation, (2, 3, 5, 8, 13)),
    # times what a Gaussian of sigma 1.5 takes away
    "oversharpening": (
        lambda rgb, gain, _: _uint8(rgb + gain * (rgb - _blurred(rgb, 1.5))),
        (1.0, 2.0, 4.0, 8.0, 16.0),
    ),
    # share of 16-pixel blocks
    "block_loss": (_block_loss, (0.01, 0.03, 0.07, 0.15, 0.3)),
}


def distort(rgb: Pixels, name: str, level: int, seed: int = 0) -> Pixels:
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
    if name not in _LADDERS:
        raise UserError(f"distortion {name!r} is not known: use {', '.join(_LADDERS)}")
    if level not in LEVELS:
        raise UserError(f"distortion level {level!r} must be a whole number from {LEVELS[0]} to {LEVELS[-1]}")
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise UserError(
            f"distort needs (H, W, 3) uint8 pixels, got {rgb.dtype} of shape {rgb.shape}; convert them"
        )
    function, strengths = _LADDERS[name]
    return function(rgb, strengths[level - 1], np.random.default_rng(seed))
