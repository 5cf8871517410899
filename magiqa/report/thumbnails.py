"""Small copies of images for the gallery: named files below the data set's folder, of the recorded size."""

import base64
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from magiqa.images.decode import identify, read_image

LARGE = 224


def thumbnail(path: Path, side: int) -> Image.Image | None:
    """Return an RGB copy of at most ``side`` pixels a side; None for what Pillow cannot read."""
    try:
        file = identify(read_image(path), str(path))
        file.draft("RGB", (side, side))  # JPEG decodes at a fraction of its size
        image = file.convert("RGB")
        image.thumbnail((side, side), reducing_gap=2.0)
        return image
    except (OSError, ValueError, SyntaxError):
        return None


def data_uri(image: Image.Image, quality: int) -> str:
    """Return a JPEG as a data URI."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def image_folders(layout: str) -> list[str]:
    """Return the folders of images that a data set's layout names, relative to its root.

    Example:
        >>> image_folders("data.csv; images in ./, images/")
        ['', './', 'images/']
    """
    words = re.search(r"images in ([^(]*)", layout)
    return [
        "",
        *(part.strip() for part in (words[1].split(",") if words else []) if part.strip().endswith("/")),
    ]


def locate(
    root: str, images: Sequence[str], sizes: Sequence[float | None], folders: Sequence[str] = ("",)
) -> list[Path | None]:
    """Return each image's file below a root; None where there is none, or its size is not the recorded one.

    Only named files are looked for: no folder is searched.

    Args:
        images: names relative to the root or to one of the folders; a name that leads out of the root has no file.
        sizes: recorded file sizes in bytes. No file fits an unknown size.
    """
    if not root:
        return [None] * len(images)
    return [
        next((path for folder in folders if (path := _file(root, os.path.join(folder, image), size))), None)
        for image, size in zip(images, sizes, strict=True)
    ]


def _file(root: str, name: str, size: float | None) -> Path | None:
    top = os.path.abspath(root)
    path = os.path.abspath(os.path.join(top, name))
    if not path.startswith(os.path.join(top, "")) or size is None or not np.isfinite(size):
        return None
    try:
        return Path(path) if os.path.isfile(path) and os.path.getsize(path) == size else None
    except (OSError, ValueError):  # a name that no file can have
        return None
