"""An image file in, its pixels out: Pillow's, without EXIF rotation, of a multi-frame file the first frame.

A file is a stranger's. It is opened only if it is a plain file, decoded only by the formats listed here (others start
programs, as EPS does, or are rarely tested), and refused before its pixels are made if there are too many.
"""

import errno
import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from PIL import Image, UnidentifiedImageError

from magiqa.errors import UnreadableImage

FORMATS = {
    "JPEG": "JPEG and MPO (the first picture)",  # of MPO, which Pillow opens as one
    "PNG": "PNG",
    "BMP": "BMP",
    "TIFF": "TIFF (the first page)",
    "WEBP": "WebP (the first frame)",
    "GIF": "GIF (the first frame)",
    "PPM": "PPM",
    "JPEG2000": "JPEG 2000",
}

_SKIP = "use on_error=skip to list and leave out"

_FILE_BYTES = 2 << 30  # no image of the pixels that are let through is larger

_opening = Lock()


@dataclass(frozen=True)
class Limits:
    """How many pixels are let through, so that a file cannot take all memory.

    Args:
        pixels: of an image, as stored and as resized for its views: about 12 bytes of memory each, in every thread.
        whole: of a view that the backbone sees whole (``views.kinds=[whole]``): about 200 bytes of memory each (RN50).
    """

    pixels: int = 250_000_000
    whole: int = 32_000_000

    def check(self, size: tuple[int, int], name: str, what: str = "") -> None:
        """Refuse a size.

        Raises:
            UnreadableImage: it has too many pixels; names the key that raises the limit.
        """
        count = size[0] * size[1]
        most, key = (self.whole, "max_whole_pixels") if what == "whole" else (self.pixels, "max_pixels")
        if count > most:
            raise UnreadableImage(
                f"{name}: {size[0]}x{size[1]} pixels{f' ({what})' if what else ''} are more than {key}={most}; set "
                f"{key}={count} if you have the memory, or {_SKIP}"
            )


LIMITS = Limits()


def identify(data: bytes, name: str, limits: Limits = LIMITS) -> Image.Image:
    """An image whose header is read and checked, its pixels not yet decoded.

    Raises:
        UnreadableImage: names the file when it is empty, of no known format, or of too many pixels.
    """
    if not data:
        raise UnreadableImage(f"{name}: the file is empty; fetch it again, or {_SKIP}")
    try:
        # Pillow's own limit, which is one for a whole process, is replaced by ours while it opens
        with _opening:
            theirs, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(io.BytesIO(data), formats=list(FORMATS))
            finally:
                Image.MAX_IMAGE_PIXELS = theirs
    except UnidentifiedImageError:
        raise UnreadableImage(
            f"{name}: not an image that is read here ({', '.join(w.partition(' (')[0] for w in FORMATS.values())}); "
            f"convert or replace it, or {_SKIP}"
        ) from None
    except Exception as error:  # Pillow's plugins raise what they like on a damaged file
        raise _undecodable(name, error) from None
    limits.check(image.size, name)
    return image


def open_image(data: bytes, name: str, limits: Limits = LIMITS) -> Image.Image:
    """Decode an image file's bytes fully.

    Raises:
        UnreadableImage: as `identify`; truncated, CIELAB, or has more than 8 bits in its one channel, which Pillow
            would clip (of 16-bit RGB it takes the high bytes, as 8-bit files hold).
    """
    image = identify(data, name, limits)
    try:
        image.load()
    except Exception as error:
        raise _undecodable(name, error) from None
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
            f"{name}: CIELAB, which Pillow does not convert to gray; save it as RGB, or {_SKIP}"
        )
    return image


def _undecodable(name: str, error: Exception) -> UnreadableImage:
    reason = " ".join(str(error).split()) or type(error).__name__
    return UnreadableImage(f"{name}: cannot be decoded ({reason}); replace it, or {_SKIP}")


_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFSOCK: "a socket",
}


def read_image(path: str | Path) -> bytes:
    """An image file's bytes: those of a plain file, or of one that links lead to.

    Raises:
        UnreadableImage: the file is missing or unreadable, or is a pipe, a device, a folder or a loop of links: these
            are never opened.
    """
    try:
        status = os.stat(path)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG and not status.st_size:  # files of /proc are, and some wait for ever
            return b""
        if kind == stat.S_IFREG and status.st_size <= _FILE_BYTES:
            with open(path, "rb", opener=_opener) as file:
                return file.read(status.st_size)
    except ValueError as error:  # a name that no file can have
        raise UnreadableImage(
            f"{str(path)!r}: cannot be a file's name ({error}); mend the name, or {_SKIP}"
        ) from None
    except OSError as error:
        reason = "a loop of links" if error.errno == errno.ELOOP else error.strerror
        reason = (
            "a link to a file that is not there"
            if os.path.islink(path) and error.errno == errno.ENOENT
            else reason
        )
        raise UnreadableImage(f"{path}: cannot be read ({reason}); restore it, or {_SKIP}") from None
    if kind == stat.S_IFREG:
        raise UnreadableImage(f"{path}: {status.st_size} bytes are no image's; replace it, or {_SKIP}")
    raise UnreadableImage(
        f"{path}: is {_KINDS.get(kind, 'no plain file')}, no image file; remove or replace it, or {_SKIP}"
    )


def _opener(path: str, flags: int) -> int:
    return os.open(
        path, flags | getattr(os, "O_NONBLOCK", 0)
    )  # what became a pipe meanwhile does not hold us
