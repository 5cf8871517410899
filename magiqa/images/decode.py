"""Image files to pixels: Pillow's RGB, of several frames the first.

A file is a stranger's. It is opened only if it is a plain file, decoded only by the formats listed here (others start
programs, as EPS does, or are rarely tested), and refused before its pixels are made if there are too many.
"""

import errno
import importlib.util
import io
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features

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
    **({"AVIF": "AVIF (the first frame)"} if features.check("avif") else {}),
}
# pictures that a folder may hold and that cannot all be read: none is passed over in silence
OTHER_SUFFIXES = frozenset(
    {
        *(
            ".heic",
            ".heics",
            ".heif",
            ".heifs",
            ".hif",
            ".avif",
            ".avifs",
            ".avci",
            ".jxl",
            ".jxr",
            ".psd",
            ".psb",
        ),
        *(
            ".tga",
            ".exr",
            ".hdr",
            ".qoi",
            ".dng",
            ".cr2",
            ".cr3",
            ".crw",
            ".nef",
            ".nrw",
            ".arw",
            ".sr2",
            ".srf",
        ),
        *(
            ".orf",
            ".rw2",
            ".rwl",
            ".raf",
            ".pef",
            ".ptx",
            ".srw",
            ".raw",
            ".3fr",
            ".fff",
            ".iiq",
            ".cap",
            ".x3f",
        ),
        *(".erf", ".mef", ".mos", ".mrw", ".kdc", ".dcr", ".k25", ".gpr", ".bay"),
    }
)


def images_in(folder: Path, recursive: bool = False) -> list[str]:
    """Return the paths of a folder's images, by the suffixes of their names."""
    suffixes = {s for s, name in Image.registered_extensions().items() if name in (*FORMATS, "MPO")}
    suffixes |= OTHER_SUFFIXES
    inside = folder.rglob("*") if recursive else folder.iterdir()
    return [str(p) for p in sorted(inside) if p.suffix.lower() in suffixes and p.is_file()]


Alpha = Literal["white", "black", "drop", "refuse"]
Orientation = Literal["stored", "exif"]

_SKIP = "use on_error=skip to list and leave out"

_FILE_BYTES = 2 << 30  # no image of the pixels that are let through is larger

_opening = Lock()


@dataclass(frozen=True)
class Limits:
    """The share of an image file that is let through: its pixels, and its transparency and orientation.

    Args:
        pixels: of an image, as stored and as resized for its views: about 12 bytes of memory each, in every thread.
        whole: of a view that the backbone sees whole (``views.kinds=[whole]``): about 200 bytes of memory each (RN50).
        alpha: the color behind transparent pixels; ``drop`` shows the colors hidden in them; or ``refuse``.
        orientation: ``exif`` turns an image as its EXIF flag says, ``stored`` leaves it. preview: not to be scored.
    """

    pixels: int = 250_000_000
    whole: int = 32_000_000
    alpha: Alpha = "drop"
    orientation: Orientation = "stored"
    preview: bool = False

    def check(self, size: tuple[int, int], name: str, what: str = "") -> None:
        """Refuse a size that is too large.

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
    """Return an image whose header is read and checked, its pixels not yet decoded (of HEIC they are).

    Raises:
        UnreadableImage: the file is empty, of no known format, a preview, or of too many pixels.
    """
    if not data:
        raise UnreadableImage(f"{name}: the file is empty; fetch it again, or {_SKIP}")
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
        return _heic(data, name, limits)
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
    if _is_preview(image) and not limits.preview:
        raise UnreadableImage(
            f"{name}: its first picture is a reduced preview, as in raw files; export the whole one, or {_SKIP}"
        )
    return image


def _heic(data: bytes, name: str, limits: Limits) -> Image.Image:
    """Decode HEIC by pillow-heif, which is not registered with Pillow: that would change the whole program."""
    if importlib.util.find_spec("pillow_heif") is None:
        raise UnreadableImage(
            f"{name}: HEIC needs pillow-heif; pip install pillow-heif, convert it, or {_SKIP}"
        )
    import pillow_heif

    try:
        file = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
        limits.check(file.size, name)
        return Image.frombytes(file.mode, file.size, bytes(file.data), "raw", file.mode, file.stride)
    except UnreadableImage:
        raise
    except Exception as error:
        raise _undecodable(name, error) from None


def open_image(data: bytes, name: str, limits: Limits = LIMITS) -> Image.Image:
    """Decode an image file's bytes fully.

    Raises:
        UnreadableImage: as `identify` and `prepared`; the file is truncated.
    """
    image = identify(data, name, limits)
    try:
        image.load()
    except Exception as error:
        raise _undecodable(name, error) from None
    return prepared(image, name, limits)


def prepared(image: Image.Image, name: str, limits: Limits = LIMITS) -> Image.Image:
    """Return a decoded image that Pillow turns into 8-bit RGB without loss of what it shows.

    Of 16 bits the high bytes are taken. Transparency and orientation follow the limits.

    Raises:
        UnreadableImage: CIELAB, 32 bits in its one channel, or transparent where that is refused.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode.startswith(("I", "F")):
        raise UnreadableImage(
            f"{name}: 32 bits a channel (mode {image.mode}), which Pillow would clip; convert it to 8 or 16 bits"
        )
    if image.mode == "LAB":
        raise UnreadableImage(
            f"{name}: CIELAB, which Pillow does not convert to gray; save it as RGB, or {_SKIP}"
        )
    if limits.orientation == "exif":
        image = ImageOps.exif_transpose(image)
    if limits.alpha != "drop" and _transparent(image):
        if limits.alpha == "refuse":
            raise UnreadableImage(
                f"{name}: has transparent pixels; use alpha=white, black or drop, or {_SKIP}"
            )
        page = Image.new("RGBA", image.size, limits.alpha)
        image = Image.alpha_composite(page, image.convert("RGBA")).convert("RGB")
    return image


def _transparent(image: Image.Image) -> bool:
    """Tell whether a decoded image has a pixel that is not opaque."""
    if not image.has_transparency_data:
        return False
    return bool(np.asarray(image.convert("RGBA").getchannel("A")).min() < 255)


def _is_preview(image: Image.Image) -> bool:
    """Tell whether the first picture of a TIFF is a reduced one (NewSubfileType)."""
    return image.format == "TIFF" and getattr(image, "tag_v2", {}).get(254) in (1, 3, 5, 7)


def traits(data: bytes) -> str:
    """Name the options that change an image file's pixels: "alpha", "orientation", both, or "-"; or "preview"."""
    names = []
    try:
        image = identify(data, "", Limits(preview=True))
        if _is_preview(image):
            return "preview"
        if image.has_transparency_data and _transparent(image):
            names.append("alpha")
        flagged = image.format == "TIFF" or any(
            word in data for word in (b"Exif", b"eXIf", b"tiff:Orientation")
        )
        if flagged and image.getexif().get(274, 1) in range(2, 9):
            names.append("orientation")
    except Exception:  # told with the file's name when it is decoded
        return "-"
    return " ".join(names) or "-"


def picture_notes(counts: Mapping[str, int], limits: Limits) -> list[str]:
    """Return what a user should know of images by their `traits`."""
    notes = []
    if turned := counts.get("orientation"):
        way = (
            "turned upright"
            if limits.orientation == "exif"
            else "scored as stored; orientation=exif turns them"
        )
        notes.append(f"{turned} images carry an EXIF orientation: {way}")
    if transparent := counts.get("alpha"):
        way = "their hidden colors count" if limits.alpha == "drop" else f"shown on {limits.alpha}"
        notes.append(f"{transparent} images have transparent pixels: {way} (alpha={limits.alpha})")
    return notes


def changes(traits: str, limits: Limits) -> str:
    """Return the options that give an image with these traits other pixels than the default ones, "" if none does.

    Example:
        >>> changes("alpha", Limits(alpha="white")), changes("alpha", Limits()), changes("-", Limits(alpha="white"))
        ('alpha=white', '', '')
    """
    words = [f"alpha={limits.alpha}"] if "alpha" in traits and limits.alpha in ("white", "black") else []
    words += ["preview"] if traits == "preview" else []  # which earlier versions scored
    words += ["orientation=exif"] if "orientation" in traits and limits.orientation == "exif" else []
    return " ".join(words)


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
    """Return the bytes of a plain file, or of one that links lead to.

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
