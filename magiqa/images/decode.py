"""An image file in, the views that the backbone sees out.

Protocol (MA-CLIP, arXiv:2511.09948, zhix000/MA-CLIP at 9581a2c): Pillow's RGB without EXIF rotation, every full
window in row-major order from the top left, then the *global view*: the normalized image resized to the window's
size, bilinear, corners not aligned, no antialias.
"""

import io
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from magiqa.errors import UnreadableImage


def open_image(data: bytes, name: str) -> Image.Image:
    """Decode an image file's bytes fully.

    Raises:
        UnreadableImage: names the file when it is empty, truncated, no image, CIELAB, or has more than 8 bits in its
            one channel, which Pillow would clip (of 16-bit RGB it takes the high bytes, as 8-bit files hold).
    """
    if not data:
        raise UnreadableImage(
            f"{name}: the file is empty; fetch it again, or use on_error=skip to list and leave out"
        )
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except UnidentifiedImageError:
        raise UnreadableImage(
            f"{name}: not an image that Pillow reads; replace it, or use on_error=skip to list and leave out"
        ) from None
    except Exception as error:  # Pillow's plugins raise what they like on a damaged file
        raise UnreadableImage(
            f"{name}: cannot be decoded ({error}); replace it, or use on_error=skip to list and leave out"
        ) from None
    return supported(image, name)


def supported(image: Image.Image, name: str) -> Image.Image:
    """An image that Pillow turns into 8-bit RGB without loss of what it shows.

    Raises:
        UnreadableImage: CIELAB, or more than 8 bits in its one channel.
    """
    if image.mode.startswith(("I", "F")):
        raise UnreadableImage(
            f"{name}: more than 8 bits a channel (mode {image.mode}), which Pillow would clip; convert it to 8 bits"
        )
    if image.mode == "LAB":
        raise UnreadableImage(
            f"{name}: CIELAB, which Pillow does not convert to gray; save it as RGB, or use on_error=skip to list and "
            "leave out"
        )
    return image


def read_image(path: str | Path) -> bytes:
    """An image file's bytes.

    Raises:
        UnreadableImage: the file is missing or unreadable.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UnreadableImage(
            f"{path}: cannot be read ({error.strerror}); restore it, or use on_error=skip to list and leave out"
        ) from None
