"""Cut decoded pixels into the views that the backbone sees (on a GPU: `magiqa.engines.device`, the same values).

Protocol (MA-CLIP, arXiv:2511.09948, zhix000/MA-CLIP at 9581a2c): Pillow's RGB without EXIF rotation, every full
window in row-major order from the top left, then the *global view*: the normalized image resized to the window's
size, bilinear, corners not aligned, no antialias.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image

from magiqa.checked import Checked, Least
from magiqa.errors import UserError
from magiqa.images.decode import LIMITS, Limits

KINDS = ("windows", "global", "whole", "center_crop")

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)

CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

Pixels = Image.Image | np.ndarray  # as decoded, or (H, W, 3) of uint8 or of float32 in [0, 1]

BLOCK = 16  # windows of a row that lie in memory: bounds the memory that a long panorama's row would take


@dataclass(frozen=True)
class Resize(Checked, key="dataset.resize"):
    """A resize that belongs to a data set's protocol, done by Pillow (antialiased) before views are cut.

    Args:
        mode: ``squash`` to size x size, or ``short_side`` to that size with the aspect kept.
        size: pixels.
        filter: ``bicubic`` or ``bilinear``.
    """

    mode: Literal["squash", "short_side"]
    size: Annotated[int, Least(1)]
    filter: Literal["bicubic", "bilinear"] = "bicubic"

    def __call__(self, image: Image.Image) -> Image.Image:
        """The resized image."""
        return image.resize(self.size_of(*image.size), FILTERS[self.filter])

    def size_of(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) that an image of that size becomes."""
        if self.mode == "squash":
            return self.size, self.size
        return int(self.size * width / min(width, height)), int(self.size * height / min(width, height))


@dataclass(frozen=True)
class Views(Checked, key="views"):
    """The views of an image that the backbone sees.

    Args:
        kinds: any of ``windows``, ``global`` (whole image squashed to one window), ``whole`` (the image at its
            native size, CLIP-IQA's input), ``center_crop`` (CLIP's own: short side resized bicubic, center cut).
        window: side of a window in pixels. stride: between windows' corners.
        cover: add windows flush with the right and bottom edge where the stride leaves a remainder.
        take: how many of the n windows are taken: the first, and then each (n // take)th (LIQE); all where there are
            fewer. With ``seed``, so many windows lie at random (UniQA), without regard to ``stride`` and ``cover``:
            the same places in every image of a size.
        small: what to do with an image that has a side under the window size: ``error``, or ``upscale`` its short
            side to the window size (bicubic).
    """

    kinds: tuple[Literal["windows", "global", "whole", "center_crop"], ...] = ("windows", "global")
    window: Annotated[int, Least(1)] = 224
    stride: Annotated[int, Least(1)] = 128
    cover: bool = False
    small: Literal["error", "upscale"] = "error"
    take: Annotated[int, Least(1)] | None = None
    seed: Annotated[int, Least(0)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seed is not None and self.take is None:
            raise UserError(f"views.seed={self.seed} draws windows at random: set views.take to their number")
        if not self.kinds or len(set(self.kinds)) != len(self.kinds):
            raise UserError(f"views.kinds={list(self.kinds)} must name some of {', '.join(KINDS)}, each once")

    def boxes(self, width: int, height: int) -> list[tuple[int, int]]:
        """Top left corners (x, y) of the windows of an image, row-major.

        Example:
            >>> Views().boxes(512, 300)
            [(0, 0), (128, 0), (256, 0)]
            >>> Views(cover=True).boxes(300, 224)
            [(0, 0), (76, 0)]
        """

        def starts(side: int) -> list[int]:
            places = list(range(0, side - self.window + 1, self.stride))
            if self.cover and places and places[-1] + self.window < side:
                places.append(side - self.window)
            return places

        if self.seed is not None:
            sides = np.maximum(np.array([width, height]) - self.window + 1, 0)
            drawn = [(int(x), int(y)) for x, y in self.draws() * sides] if sides.all() else []
            return sorted(drawn, key=lambda corner: corner[::-1])
        corners = [(x, y) for y in starts(height) for x in starts(width)]
        if self.take is None or len(corners) <= self.take:
            return corners
        return [corners[i * (len(corners) // self.take)] for i in range(self.take)]

    def draws(self) -> np.ndarray:
        """Return the places of random windows (take, 2), each in [0, 1)."""
        return np.random.default_rng(self.seed).random((self.take or 0, 2))

    def plain(self) -> dict[str, Any]:
        """Return the fields, JSON-able; later ones only where they are set, so that keys of the cache stay."""
        later = ("take", "seed")
        fields = asdict(self) | {"kinds": list(self.kinds)}
        return {name: value for name, value in fields.items() if name not in later or value is not None}

    def upscales(self, width: int, height: int) -> bool:
        """Tell if an image of that size has a side too short for a window that these views need."""
        return min(width, height) < self.window and not set(self.kinds) <= {"whole", "center_crop"}

    def labels(self, width: int, height: int) -> list[str]:
        """A name for each view of an image of that size (after its resize), in the order of the views."""
        out: list[str] = []
        for kind in self.kinds:
            out += [f"window {x},{y}" for x, y in self.boxes(width, height)] if kind == "windows" else [kind]
        return out


def normalize(pixels: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Pixels (..., H, W, 3), 8-bit or float32 in [0, 1], to normalized float32 (..., 3, H, W).

    A float32 pixel of n / 255 gives the same bits as an 8-bit one of n.
    """
    out = np.empty((*pixels.shape[:-3], 3, *pixels.shape[-3:-1]), np.float32)
    if pixels.dtype == np.float32:
        for channel in range(3):
            np.subtract(pixels[..., channel], mean[channel], out=out[..., channel, :, :])
            out[..., channel, :, :] /= std[channel]
        return out
    values = np.arange(256, dtype=np.float32) / np.float32(255)
    table = (values - mean[:, None]) / std[:, None]  # a pixel has 256 values: looked up, not computed
    for channel in range(3):
        np.take(table[channel], pixels[..., channel], out=out[..., channel, :, :], mode="clip")
    return out


def taps(side: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pixels (size,) that a bilinear resize from ``side`` reads: lower, upper, weight of the upper."""
    scale = float(np.float32(side) / np.float32(size))  # float32, then one rounding: torch's multiply-add
    place = np.maximum((np.arange(size) + 0.5) * scale - 0.5, 0).astype(np.float32)
    low = place.astype(np.int64)
    return low, np.minimum(low + 1, side - 1), (place - low).astype(np.float32)


def global_view(pixels: np.ndarray, size: int, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """The normalized image (H, W, 3) resized to (1, 3, size, size): bilinear, corners not aligned, no antialias.

    Only the rows and columns that the interpolation reads are normalized, so that a large photo costs no more
    than a small one. Equal to ``torch.nn.functional.interpolate`` of the whole normalized image, to rounding.
    """
    top, bottom, wy = taps(pixels.shape[0], size)
    left, right, wx = taps(pixels.shape[1], size)
    wy = wy[:, None]
    lines = [pixels.take(y, axis=0) for y in (top, bottom)]
    rows = [normalize(line.take(x, axis=1), mean, std) for line in lines for x in (left, right)]
    upper = (1 - wx) * rows[0] + wx * rows[1]
    lower = (1 - wx) * rows[2] + wx * rows[3]
    return ((1 - wy) * upper + wy * lower)[None]


def _pixels(image: Image.Image) -> np.ndarray:
    """A decoded image's pixels, copied once."""
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _resized(pixels: np.ndarray, resize: Resize, name: str, limits: Limits) -> np.ndarray:
    """8-bit pixels as Pillow resizes them; float32 ones a channel at a time, not rounded, kept in [0, 1]."""
    height, width = pixels.shape[:2]
    limits.check(resize.size_of(width, height), name, f"resized from {width}x{height}")
    if pixels.dtype == np.uint8:
        return np.asarray(resize(Image.fromarray(pixels)))
    planes = [np.asarray(resize(Image.fromarray(pixels[..., c]))) for c in range(3)]
    return np.clip(np.stack(planes, axis=-1), 0.0, 1.0)


@dataclass(frozen=True)
class Sheet:
    """Pixels that some views of an image are cut from.

    Args:
        pixels: (H, W, 3), uint8 or float32 in [0, 1].
        kind: ``windows`` at ``corners`` (x, y), row-major; ``global``, all squashed to a window's size; or ``whole``,
            as they are.
    """

    pixels: np.ndarray
    kind: Literal["windows", "global", "whole"]
    corners: tuple[tuple[int, int], ...] = ((0, 0),)


def sheets(
    image: Pixels,
    views: Views,
    resize: Resize | None = None,
    *,
    name: str = "image",
    limits: Limits = LIMITS,
) -> Iterator[Sheet]:
    """Return the pixels that views are cut from, in the order of ``views.kinds``, before normalization.

    Args:
        image: as decoded, or pixels (H, W, 3), uint8 or float32 in [0, 1]. resize: the data set's own, first.
        name: for messages. limits: of the pixels that are resized to, or seen whole.

    Raises:
        UserError: a side is under the window size and ``views.small`` is ``error``.
        UnreadableImage: what it is resized to, or a whole image, has more pixels than ``limits`` allows.
    """
    pixels = _pixels(image) if isinstance(image, Image.Image) else image
    if resize is not None:
        pixels = _resized(pixels, resize, name, limits)
    height, width = pixels.shape[:2]
    if views.upscales(width, height):
        if views.small == "error":
            raise UserError(
                f"{name}: {width}x{height} has a side under the window size {views.window}; "
                "use views.small=upscale, or a smaller views.window"
            )
        pixels = _resized(pixels, Resize("short_side", views.window), name, limits)
        height, width = pixels.shape[:2]
    if "whole" in views.kinds:
        limits.check((width, height), name, "whole")
    for kind in views.kinds:
        if kind == "windows":
            yield Sheet(pixels, kind, tuple(views.boxes(width, height)))
        elif kind == "center_crop":
            small = _resized(pixels, Resize("short_side", views.window), name, limits)
            yield Sheet(small, "windows", (_center(small.shape[1], small.shape[0], views.window),))
        else:
            yield Sheet(pixels, kind)


def cut(
    image: Pixels,
    views: Views,
    resize: Resize | None = None,
    *,
    name: str = "image",
    mean: tuple[float, ...] = CLIP_MEAN,
    std: tuple[float, ...] = CLIP_STD,
    limits: Limits = LIMITS,
) -> Iterator[np.ndarray]:
    """Cut an image into its views, one after the other, in the order of ``views.kinds``.

    A generator, so that the windows of a very large photo never lie in memory together.

    Args:
        image, resize, name, limits: see `sheets`. mean, std: the backbone's.

    Yields:
        float32 (1, 3, H, W), normalized; at most ``BLOCK`` windows of a row lie in memory.

    Raises:
        UserError, UnreadableImage: see `sheets`.
    """
    mean_, std_ = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    size = views.window
    for sheet in sheets(image, views, resize, name=name, limits=limits):
        pixels = sheet.pixels
        if sheet.kind == "global":
            yield global_view(pixels, size, mean_, std_)
        elif sheet.kind == "whole":
            yield normalize(pixels[None], mean_, std_)
        else:
            for y in dict.fromkeys(y for _, y in sheet.corners):
                row = [x for x, top in sheet.corners if top == y]
                for start in range(
                    0, len(row), BLOCK
                ):  # windows of a row overlap: their pixels are normalized once
                    first, last = row[start], row[start : start + BLOCK][-1]
                    band = normalize(pixels[y : y + size, first : last + size], mean_, std_)
                    for x in row[start : start + BLOCK]:
                        yield band[None, :, :, x - first : x - first + size]


def _center(width: int, height: int, size: int) -> tuple[int, int]:
    return round((width - size) / 2), round((height - size) / 2)


def size_cut(width: int, height: int, views: Views, resize: Resize | None = None) -> tuple[int, int]:
    """(width, height) of an image when its views are cut: after the data set's resize, and where it is upscaled."""
    w, h = resize.size_of(width, height) if resize is not None else (width, height)
    return Resize("short_side", views.window).size_of(w, h) if views.upscales(w, h) else (w, h)


def geometry(
    width: int, height: int, views: Views, resize: Resize | None = None
) -> list[tuple[str, float, float, float, float]]:
    """Return the place of each view in its image: (kind, left, top, right, bottom), in pixels of the image.

    Whole numbers, unless the image is resized before views are cut.

    Example:
        >>> geometry(300, 224, Views())
        [('windows', 0.0, 0.0, 224.0, 224.0), ('global', 0.0, 0.0, 300.0, 224.0)]
    """
    w, h = size_cut(width, height, views, resize)
    size = views.window
    out: list[tuple[str, float, float, float, float]] = []
    for kind in views.kinds:
        boxes = [(0.0, 0.0, float(w), float(h))]
        within = w, h
        if kind == "windows":
            boxes = [(x, y, x + size, y + size) for x, y in views.boxes(w, h)]
        elif kind == "center_crop":
            within = Resize("short_side", size).size_of(w, h)
            x, y = _center(*within, size)
            boxes = [(x, y, x + size, y + size)]
        sx, sy = width / within[0], height / within[1]
        out += [(kind, b[0] * sx, b[1] * sy, b[2] * sx, b[3] * sy) for b in boxes]
    return out


def view_mask(kinds: Sequence[str], wanted: Sequence[str], count: int) -> np.ndarray:
    """Tell for each of an image's views (count,) if its kind is wanted. Each kind but windows has one view.

    Example:
        >>> view_mask(["windows", "global"], ["global"], 4).tolist()
        [False, False, False, True]
    """
    windows = count - (len(kinds) - 1)
    return np.concatenate([np.full(windows if k == "windows" else 1, k in wanted) for k in kinds])
