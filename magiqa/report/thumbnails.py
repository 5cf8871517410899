"""Small copies of images for the report's page: found by name and size, laid out as tiles on a few JPEG sheets."""

import base64
import io
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from magiqa.images.decode import identify, read_image

# One JPEG a thousand tiles: no header a tile, one picture to decode. Sizes keep the page under about 15 MB.
TILES = ((3_500, 96), (8_000, 64))  # up to so many images: pixels of a tile's side

COLUMNS, PER_SHEET = 40, 1_000

LARGE = 224


@dataclass(frozen=True)
class Tiles:
    """Tiles row by row on sheets.

    Args:
        sheets: JPEGs as data URIs. sizes: (width, height) of each tile. place: each path's tile. side: a tile's side.
        total: images there were; those without a tile could not be read, or were left out to keep the page small.
    """

    sheets: list[str]
    sizes: list[tuple[int, int]]
    place: dict[Path, int]
    side: int
    total: int

    def data(self) -> dict[str, Any]:
        """What the page's script needs to show a tile."""
        widths, heights = [w for w, _ in self.sizes], [h for _, h in self.sizes]
        return {
            "size": self.side,
            "columns": COLUMNS,
            "per": PER_SHEET,
            "w": widths,
            "h": heights,
            "sheets": self.sheets,
        }


def make_tiles(paths: Iterable[Path]) -> Tiles:
    """Tiles of images, each once; at most 8,000, evenly spread."""
    files = list(dict.fromkeys(paths))
    total = len(files)
    most, side = next(((m, s) for m, s in TILES if total <= m), TILES[-1])
    if total > most:
        files = [files[i] for i in np.linspace(0, total - 1, most).round().astype(int)]
    sheets: list[str] = []
    sizes: list[tuple[int, int]] = []
    place: dict[Path, int] = {}
    for start in range(0, len(files), PER_SHEET):  # a sheet at a time bounds the memory
        batch = files[start : start + PER_SHEET]
        with ThreadPoolExecutor(2) as pool:
            made = list(pool.map(lambda path: thumbnail(path, side), batch))
        # unread images leave gaps, so that tile k always lies on sheet k // PER_SHEET
        sheet = Image.new("RGB", (COLUMNS * side, -(-len(batch) // COLUMNS) * side), (128, 128, 128))
        for k, (path, image) in enumerate(zip(batch, made, strict=True)):
            sizes.append(image.size if image is not None else (0, 0))
            if image is not None:
                place[path] = start + k
                sheet.paste(image, (k % COLUMNS * side, k // COLUMNS * side))
        sheets.append(data_uri(sheet, 60))
    return Tiles(sheets, sizes, place, side, total)


def thumbnail(path: Path, side: int) -> Image.Image | None:
    """A small RGB copy, at most `side` pixels a side; None for what Pillow cannot read."""
    try:
        file = identify(read_image(path), str(path))
        file.draft("RGB", (side, side))  # JPEG decodes at a fraction of its size
        image = file.convert("RGB")
        image.thumbnail((side, side), reducing_gap=2.0)
        return image
    except (OSError, ValueError, SyntaxError):
        return None


def data_uri(image: Image.Image, quality: int) -> str:
    """A JPEG as a data URI."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def locate(
    root: str, images: Sequence[str], sizes: Sequence[float | None], *, search: bool
) -> list[Path | None]:
    """Each image's file under a root; None where there is none, or its size is not the recorded one.

    Args:
        root: the data set's folder.
        images: names relative to the root, or to some folder in it; those that lead out of it find nothing.
        sizes: recorded file sizes in bytes: what is of another is another file. None where unknown: no file fits.
        search: look into the folders of the root too.
    """
    if not root:
        return [None] * len(images)
    found = [
        _fits(Path(root) / image, size) if _inside(root, image) else None
        for image, size in zip(images, sizes, strict=True)
    ]
    if not search or all(found):
        return found
    wanted = {Path(image).name for image, path in zip(images, found, strict=True) if path is None}
    inside: dict[str, list[Path]] = {}
    for folder, _, files in os.walk(root):
        for file in wanted.intersection(files):
            inside.setdefault(file, []).append(Path(folder) / file)
    for k, (image, size) in enumerate(zip(images, sizes, strict=True)):
        if found[k] is None:
            copies = sorted(p for p in inside.get(Path(image).name, []) if p.as_posix().endswith(f"/{image}"))
            found[k] = next((path for path in copies if _fits(path, size)), None)
    return found


def _inside(root: str, image: str) -> bool:
    """Whether a name, which may be a stranger's, stays below the root: what lies elsewhere is not for the page."""
    top = os.path.abspath(root)
    return os.path.abspath(os.path.join(top, image)).startswith(os.path.join(top, ""))


def _fits(path: Path, size: float | None) -> Path | None:
    try:
        actual = path.stat().st_size if path.is_file() else None
    except (OSError, ValueError):  # a name that no file can have
        return None
    return path if actual is not None and size is not None and np.isfinite(size) and actual == size else None
