"""Image files of strangers: only plain files are opened, only listed formats decoded, in bounded memory."""

import hashlib
import io
import os
import re
import resource
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from magiqa.errors import UnreadableImage
from magiqa.features.images import identity
from magiqa.images.decode import FORMATS, Limits, identify, open_image, read_image
from magiqa.images.views import Resize, Views, cut


def encoded(kind: str, frames: int = 1, size: tuple[int, int] = (40, 30)) -> bytes:
    """An image file whose first frame is red, every other one blue."""
    out = io.BytesIO()
    pictures = [Image.new("RGB", size, color) for color in ["red", *["blue"] * (frames - 1)]]
    more = {"save_all": True, "append_images": pictures[1:]} if frames > 1 else {}
    pictures[0].save(out, kind, **more)
    return out.getvalue()


FRAMES = {**dict.fromkeys(FORMATS, 1), "MPO": 3, "TIFF": 3, "WEBP": 3, "GIF": 3, "PNG": 3}


@pytest.mark.parametrize("kind", FRAMES)
def test_the_first_frame_of_each_format_is_read_whatever_the_file_is_called(kind):
    image = open_image(encoded(kind, FRAMES[kind]), "x.txt").convert("RGB")
    assert image.size == (40, 30)
    assert np.abs(np.asarray(image).mean(axis=(0, 1)) - [255, 0, 0]).max() < 6


OTHER = {
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n(touch executed) system\nshowpage\n%%EOF\n",
    "XBM": b"#define a_width 8\n#define a_height 8\n",
    **{kind: encoded(kind) for kind in ("PCX", "TGA", "ICO", "SGI", "PDF")},
}


@pytest.mark.parametrize("kind", OTHER)
def test_no_other_format_is_opened(kind):
    with pytest.raises(
        UnreadableImage, match=r"photo.jpg: not an image that is read here \(JPEG and MPO, PNG"
    ):
        open_image(OTHER[kind], "photo.jpg")


def png(width: int, height: int) -> bytes:
    """A PNG that claims a size, and holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_bomb_is_refused_before_its_pixels_are_made_and_the_key_raises_the_limit():
    with pytest.raises(UnreadableImage, match=r"bomb\.png: 60000x60000 pixels .* set max_pixels=3600000000"):
        open_image(png(60_000, 60_000), "bomb.png")
    small = encoded("PNG")
    with pytest.raises(UnreadableImage, match="40x30 pixels are more than max_pixels=1199"):
        open_image(small, "x", Limits(pixels=1199))
    assert open_image(small, "x", Limits(pixels=1200)).size == (40, 30)
    assert identify(png(20_000, 10_000), "phone.png").size == (20_000, 10_000)


STRIP = Image.new("RGB", (1, 60_000))


@pytest.mark.parametrize(
    ("image", "views", "resize", "message"),
    [
        (
            STRIP,
            Views(small="upscale"),
            None,
            "x: 224x13440000 pixels (resized from 1x60000) are more than max_pixels",
        ),
        (
            STRIP,
            Views(kinds=("center_crop",)),
            None,
            "x: 224x13440000 pixels (resized from 1x60000) are more than",
        ),
        (
            STRIP,
            Views(),
            Resize("short_side", 512),
            "x: 512x30720000 pixels (resized from 1x60000) are more than",
        ),
        (
            Image.new("RGB", (300, 200)),
            Views(kinds=("whole",)),
            None,
            "x: 300x200 pixels (whole) are more than max_whole_pixels=59999",
        ),
    ],
)
def test_views_past_a_limit_are_not_made(image, views, resize, message):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnreadableImage, match=re.escape(message)):
        next(cut(image, views, resize, name="x", limits=Limits(whole=59_999)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


SPECIAL = {
    "is a named pipe, no image file": os.mkfifo,
    "is a device, no image file": lambda path: path.symlink_to("/dev/zero"),
    "is a folder, no image file": lambda path: path.mkdir(),
    "cannot be read (a loop of links)": lambda path: path.symlink_to(path),
    "cannot be read (a link to a file that is not there)": lambda path: path.symlink_to(
        path.parent / "nothing"
    ),
    "the file is empty": lambda path: path.symlink_to(
        "/proc/kmsg"
    ),  # reading it waits for the kernel's next message
    "cannot be read (No such file or directory)": lambda path: None,
}


@pytest.mark.parametrize("answer", SPECIAL)
def test_what_is_no_plain_file_is_answered_as_what_it_is_and_never_waited_for(tmp_path, answer):
    path = tmp_path / "x.jpg"
    SPECIAL[answer](path)
    with pytest.raises(UnreadableImage, match=f"^{re.escape(f'{path}: {answer}')}"):
        open_image(read_image(path), str(path))


# --- what phones, cameras and generators make -------------------------------------------------------------------------

RGBA = np.dstack(
    [np.random.default_rng(0).integers(0, 256, (30, 40, 3)), np.indices((30, 40)).sum(0) % 2 * 255]
)


def saved(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    image = Image.fromarray(pixels.astype(np.uint8)) if isinstance(pixels, np.ndarray) else pixels
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def pixels(data: bytes, **options) -> np.ndarray:
    return np.asarray(open_image(data, "x", Limits(**options)).convert("RGB"))


@pytest.mark.parametrize(("alpha", "page"), [("white", 255), ("black", 0), ("drop", None)])
def test_transparent_pixels_show_the_page_and_not_their_hidden_colors(alpha, page):
    rgb = RGBA[..., :3]
    expected = rgb if page is None else np.where(RGBA[..., 3:] > 0, rgb, page)
    np.testing.assert_array_equal(pixels(saved(RGBA), alpha=alpha), expected)
    with pytest.raises(UnreadableImage, match="x: has transparent pixels; use alpha=white, black or drop"):
        pixels(saved(RGBA), alpha="refuse")


def flagged(flag: int) -> bytes:
    tag = Image.Exif()
    tag[0x0112] = flag
    return saved(RGBA[..., :3], exif=tag)


@pytest.mark.parametrize(
    ("flag", "turn"), [(1, lambda p: p), (3, lambda p: p[::-1, ::-1]), (6, lambda p: np.rot90(p, -1))]
)
def test_an_exif_flag_turns_an_image_only_where_that_is_asked_for(flag, turn):
    np.testing.assert_array_equal(pixels(flagged(flag)), RGBA[..., :3])
    np.testing.assert_array_equal(pixels(flagged(flag), orientation="exif"), turn(RGBA[..., :3]))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_of_16_bit_gray_the_high_bytes_count(kind):
    gray = RGBA[..., 0].astype(np.uint16) * 257
    np.testing.assert_array_equal(pixels(saved(Image.fromarray(gray), kind))[..., 0], RGBA[..., 0])


def test_a_preview_is_never_scored_in_place_of_the_picture():
    preview = saved(RGBA[..., :3], "TIFF", tiffinfo={254: 1})
    with pytest.raises(UnreadableImage, match=r"photo.dng: its first picture is a reduced preview"):
        open_image(preview, "photo.dng")
    assert (
        identity(preview) != hashlib.sha256(preview).hexdigest()
    )  # features of earlier versions are not taken


HEIC = b"\x00\x00\x00\x1cftypheic\x00\x00\x00\x00mif1heicmiaf" + bytes(600)


def test_heic_names_what_it_needs_or_is_decoded(monkeypatch):
    with monkeypatch.context() as context, pytest.raises(UnreadableImage, match="pip install pillow-heif"):
        context.setattr("importlib.util.find_spec", lambda name: None)
        open_image(HEIC, "IMG_0001.HEIC")
    heif = pytest.importorskip("pillow_heif")
    out, before = io.BytesIO(), "HEIF" in Image.OPEN  # imageio registers it where a test imports it
    heif.from_pillow(Image.new("RGB", (64, 48), "red")).save(out, quality=90)
    assert np.abs(pixels(out.getvalue()).mean(axis=(0, 1)) - [255, 0, 0]).max() < 6
    assert ("HEIF" in Image.OPEN) == before  # other programs in this process open what they opened before


@pytest.mark.parametrize(
    ("data", "changing"),
    [
        (saved(RGBA[..., :3]), []),
        (saved(RGBA), [{"alpha": "white"}, {"alpha": "black"}]),
        (flagged(6), [{"orientation": "exif"}]),
        (b"junk", []),
    ],
)
def test_only_an_image_that_an_option_changes_has_another_identity(data, changing):
    options = [{}, {"alpha": "white"}, {"alpha": "black"}, {"alpha": "refuse"}, {"orientation": "exif"}]
    sha256 = hashlib.sha256(data).hexdigest()
    assert [o for o in options if identity(data, Limits(**o)) != sha256] == changing
    assert len({identity(data, Limits(**o)) for o in changing}) == len(changing)
