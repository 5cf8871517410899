"""Views against an independent implementation of the protocol, and every kind of file that a data set may hold."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from magiqa.errors import UnreadableImage, UserError
from magiqa.images import views
from magiqa.images.decode import open_image, read_image
from magiqa.images.views import CLIP_MEAN, CLIP_STD, KINDS, Resize, Views, cut, geometry, normalize


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth structure plus noise, so that no two windows and no two resizes agree by chance."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    base = 127 + 80 * np.sin(x / 17 + seed) * np.cos(y / 23)
    noisy = base[..., None] + rng.integers(-40, 40, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def views_of(image: Image.Image, views: Views, resize: Resize | None = None) -> np.ndarray:
    return np.concatenate(list(cut(image, views, resize)))


def reference(image: Image.Image, window: int = 224, stride: int = 128) -> torch.Tensor:
    """Torch's own unfold and interpolate on the whole normalized image: nothing shared with the package."""
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255
    pixels = (pixels - torch.tensor(CLIP_MEAN)[:, None, None]) / torch.tensor(CLIP_STD)[:, None, None]
    windows = pixels.unfold(1, window, stride).unfold(2, window, stride)
    windows = windows.permute(1, 2, 0, 3, 4).reshape(-1, 3, window, window)
    whole = torch.nn.functional.interpolate(
        pixels[None], (window, window), mode="bilinear", align_corners=False
    )
    return torch.cat([windows, whole])


@pytest.mark.parametrize("size", [(512, 512), (500, 333), (224, 224), (225, 480), (1024, 768), (640, 227)])
def test_windows_and_global_view_are_those_of_the_protocol(size):
    image = photo(*size)
    got, expected = views_of(image, Views()), reference(image).numpy()
    assert got.dtype == np.float32 and got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


def test_global_view_upsamples_like_torch_too():
    image = photo(100, 61)
    got = views_of(image, Views(kinds=("global",), window=160, small="upscale"))
    upscaled = image.resize((int(160 * 100 / 61), 160), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(got, reference(upscaled, 160)[-1:].numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("cover", [False, True])
@pytest.mark.parametrize("size", [(512, 512), (500, 333), (224, 224), (352, 225), (1024, 300)])
def test_labels_and_boxes_say_which_pixels_a_view_holds(size, cover):
    image = photo(*size)
    views = Views(kinds=("global", "windows"), cover=cover)
    got, labels = views_of(image, views), views.labels(*size)
    assert labels[0] == "global" and len(labels) == len(got)
    mean, std = np.float32(CLIP_MEAN), np.float32(CLIP_STD)
    for view, label, (x, y) in zip(got[1:], labels[1:], views.boxes(*size), strict=True):
        assert label == f"window {x},{y}"
        crop = np.asarray(image.crop((x, y, x + 224, y + 224)))
        np.testing.assert_array_equal(view, normalize(crop, mean, std))


@pytest.mark.parametrize("size", [(512, 512), (500, 333), (224, 224), (352, 225), (353, 480)])
def test_cover_reaches_every_pixel_and_adds_nothing_where_the_stride_already_does(size):
    seen = np.zeros(size[::-1], bool)
    boxes = Views(cover=True).boxes(*size)
    for x, y in boxes:
        assert x + 224 <= size[0] and y + 224 <= size[1]
        seen[y : y + 224, x : x + 224] = True
    assert seen.all()
    assert len(set(boxes)) == len(boxes)
    assert set(Views().boxes(*size)) <= set(boxes)
    if all((s - 224) % 128 == 0 for s in size):
        assert boxes == Views().boxes(*size)


def test_a_small_image_is_an_error_unless_upscaled():
    image = photo(300, 120)
    with pytest.raises(UserError) as error:
        next(cut(image, Views(), name="a.png"))
    assert str(error.value) == (
        "a.png: 300x120 has a side under the window size 224; use views.small=upscale, or a smaller views.window"
    )
    upscaled = image.resize((560, 224), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(views_of(image, Views(small="upscale")), views_of(upscaled, Views()))
    # kinds that need no window take it as it is
    both = list(cut(image, Views(kinds=("whole", "center_crop"))))
    assert [b.shape for b in both] == [(1, 3, 120, 300), (1, 3, 224, 224)]


def test_resize_of_the_data_set_comes_before_the_size_check():
    assert len(views_of(photo(100, 90), Views(), Resize("squash", 448))) == 5


@pytest.mark.parametrize(
    "size", [(512, 512), (500, 333), (333, 500), (224, 225), (640, 227), (301, 1000), (97, 60)]
)
def test_center_crop_is_open_clips_own_transform(size):
    import open_clip

    image = photo(*size)
    own = open_clip.image_transform(224, is_train=False)(image)
    got = views_of(image, Views(kinds=("center_crop",)))
    np.testing.assert_allclose(got[0], own.numpy(), rtol=0, atol=1e-6)


def test_resizes_are_pillows():
    image = photo(640, 481)
    for size in (448, 224):
        squashed = Resize("squash", size)(image)
        np.testing.assert_array_equal(squashed, image.resize((size, size), Image.Resampling.BICUBIC))
    short = Resize("short_side", 512, "bilinear")(image)
    assert short.size == (681, 512)
    np.testing.assert_array_equal(short, image.resize((681, 512), Image.Resampling.BILINEAR))


def test_exif_rotation_is_ignored():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = photo(300, 240)
    turned = open_image(encoded(image, "JPEG", quality=95, exif=exif), "a.jpg")
    plain = open_image(encoded(image, "JPEG", quality=95), "b.jpg")
    assert turned.size == (300, 240)
    np.testing.assert_array_equal(views_of(turned, Views()), views_of(plain, Views()))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_other_modes_become_rgb_as_pillow_does(mode):
    image = photo(256, 230).convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(7)  # alpha is dropped, not composed
    data = encoded(image, "TIFF" if mode == "CMYK" else "PNG")
    got = views_of(open_image(data, "a"), Views())
    np.testing.assert_array_equal(got, views_of(Image.open(io.BytesIO(data)).convert("RGB"), Views()))
    assert got.shape == (2, 3, 224, 224)


def test_float_images_are_refused_and_sixteen_bit_rgb_keeps_its_high_bytes():
    with pytest.raises(UnreadableImage, match="32 bits a channel"):
        open_image(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "f.tif")
    import zlib

    values = np.random.default_rng(0).integers(0, 65536, (9, 7, 3)).astype(">u2")
    raw = b"".join(b"\0" + row.tobytes() for row in values)

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    png = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", struct.pack(">IIBBBBB", 7, 9, 16, 2, 0, 0, 0))
    png += part(b"IDAT", zlib.compress(raw)) + part(b"IEND", b"")
    np.testing.assert_array_equal(open_image(png, "a.png"), values >> 8)


def test_bad_files_say_which_and_what_to_do(tmp_path):
    remedy = "use on_error=skip to list and leave out"
    with pytest.raises(UnreadableImage) as error:
        open_image(b"", "e.jpg")
    assert str(error.value) == f"e.jpg: the file is empty; fetch it again, or {remedy}"
    with pytest.raises(UnreadableImage) as error:
        open_image(b"no image at all\n", "t.jpg")
    message = str(error.value)
    assert message.startswith("t.jpg: not an image that is read here (JPEG and MPO, PNG, ")
    assert message.endswith(f"); convert or replace it, or {remedy}")
    with pytest.raises(
        UnreadableImage, match=rf"^c\.jpg: cannot be decoded \(.*truncated.*\); replace it, or {remedy}$"
    ):
        open_image(encoded(photo(300, 300), "JPEG")[:4000], "c.jpg")
    with pytest.raises(UnreadableImage) as error:
        read_image(tmp_path / "none.png")
    assert str(error.value) == (
        f"{tmp_path / 'none.png'}: cannot be read (No such file or directory); restore it, or {remedy}"
    )


def test_cielab_is_an_unreadable_image_not_a_traceback_of_pillow():
    data = encoded(Image.new("LAB", (300, 300), (50, 130, 130)), "TIFF")
    with pytest.raises(UnreadableImage) as error:
        open_image(data, "a.tif")
    assert str(error.value) == (
        "a.tif: CIELAB, which Pillow does not convert to gray; save it as RGB, "
        "or use on_error=skip to list and leave out"
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG2000", "PPM"])
def test_a_file_cut_anywhere_is_unreadable_or_complete_never_another_exception(format):
    data = encoded(photo(40, 30), format)
    pixels = np.asarray(open_image(data, "a").convert("RGB"))
    for length in [*range(1, min(len(data), 200)), *range(200, len(data), 97)]:
        try:
            image = open_image(data[:length], "a.img")
        except UnreadableImage as error:
            assert str(error).startswith("a.img: ") and "\n" not in str(error)
        else:  # only what follows the pixels is missing
            np.testing.assert_array_equal(image.convert("RGB"), pixels)


@pytest.mark.slow
def test_a_large_image_is_cut_lazily_in_small_blocks(monkeypatch):
    normalized = []
    plain = views.normalize
    monkeypatch.setattr(views, "normalize", lambda p, *a: (normalized.append(p.nbytes), plain(p, *a))[1])
    image = photo(9000, 400)
    blocks = cut(image, Views())
    assert normalized == []
    first = next(blocks)
    assert len(normalized) == 1 and len(first) <= 16
    rest = list(blocks)
    assert len(first) + sum(map(len, rest)) == len(Views().labels(9000, 400)) == 2 * 69 + 1
    assert max(normalized) <= 16 * 224 * 224 * 3  # the global view normalizes only the pixels that it reads


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Views(kinds=()),
            "views.kinds=[] must name some of windows, global, whole, center_crop, each once",
        ),
        (lambda: Views(kinds=("windows", "windows")), "views.kinds=['windows', 'windows'] must name some of"),
        (lambda: Views(kinds=("window",)), "views.kinds[0]=window is not known: use windows, global"),
        (lambda: Views(window=0), "views.window=0 must be a whole number from 1"),
        (lambda: Views(stride=0), "views.stride=0 must be a whole number from 1"),
        (lambda: Views(small="skip"), "views.small=skip is not known: use error, upscale"),
        (lambda: Resize("crop", 3), "dataset.resize.mode=crop is not known: use squash, short_side"),
        (lambda: Resize("squash", 0), "dataset.resize.size=0 must be a whole number from 1"),
        (
            lambda: Resize("squash", 9, "box"),
            "dataset.resize.filter=box is not known: use bicubic, bilinear",
        ),
    ],
)
def test_specifications_check_themselves(make, message):
    with pytest.raises(UserError) as error:
        make()
    assert str(error.value).startswith(message)


def test_paths_may_be_text_or_path(tmp_path):
    file = tmp_path / "a b.png"
    file.write_bytes(b"x")
    assert read_image(str(file)) == read_image(Path(file)) == b"x"


@pytest.mark.parametrize("kinds", [("windows", "global"), ("whole",), ("center_crop",), KINDS])
def test_float_pixels_of_n_255_give_the_bits_of_8_bit_ones(kinds):
    image = photo(500, 333)
    pixels = np.asarray(image).astype(np.float32) / np.float32(255)
    v = Views(kinds=kinds)
    names = [kind for kind, *_ in geometry(500, 333, v)]
    for kind, got, expected in zip(names, cut(pixels, v), cut(image, v), strict=True):
        # resized to the crop: Pillow rounds 8-bit pixels after each of its two passes, float ones never
        atol = 1.5 / 255 / min(CLIP_STD) if kind == "center_crop" else 0
        np.testing.assert_allclose(got, expected, rtol=0, atol=atol)


def test_float_pixels_are_upscaled_as_8_bit_ones_but_for_their_rounding():
    image = photo(100, 61)
    pixels = np.asarray(image).astype(np.float32) / np.float32(255)
    v = Views(small="upscale")
    got, expected = np.concatenate(list(cut(pixels, v))), views_of(image, v)
    # Pillow rounds 8-bit pixels after each of its two passes
    np.testing.assert_allclose(got, expected, atol=1.5 / 255 / min(CLIP_STD))
    assert not np.array_equal(got, expected)


def test_geometry_says_where_views_lie():
    image = photo(600, 448)
    pixels = np.asarray(image)
    v = Views(kinds=("windows", "global", "whole"), cover=True)
    boxes = geometry(600, 448, v)
    blocks = [view for block in cut(image, v) for view in block]
    assert [b[0] for b in boxes] == ["windows"] * (len(boxes) - 2) + ["global", "whole"]
    assert len(boxes) == len(blocks)
    for (_, *box), view in zip(boxes[:-2], blocks, strict=False):
        left, top, right, bottom = map(int, box)
        part = normalize(pixels[top:bottom, left:right], np.float32(CLIP_MEAN), np.float32(CLIP_STD))
        np.testing.assert_array_equal(view, part)
    assert boxes[-1] == ("whole", 0, 0, 600, 448)


def test_geometry_goes_back_through_resizes():
    half = geometry(896, 448, Views(kinds=("windows",)), Resize("squash", 448))
    assert half[0] == ("windows", 0, 0, 448, 224) and half[1] == ("windows", 256, 0, 704, 224)
    ((kind, *box),) = geometry(672, 448, Views(kinds=("center_crop",)))
    assert kind == "center_crop" and box == pytest.approx([112, 0, 560, 448])
    (_, *first), *_ = geometry(100, 50, Views(kinds=("windows",), small="upscale"))
    assert first == pytest.approx([0, 0, 50, 50])


def test_windows_are_evenly_spaced_or_at_random_in_row_major_order():
    assert Views(stride=32, take=15).boxes(256, 256) == Views(stride=32).boxes(256, 256)  # four in all
    every = Views(stride=32).boxes(512, 480)
    assert Views(stride=32, take=15).boxes(512, 480) == [every[6 * i] for i in range(15)]  # 90 in all
    random = Views(kinds=("windows",), take=40, seed=3)
    boxes = random.boxes(240, 230)  # many share a row
    assert boxes == sorted(boxes, key=lambda c: (c[1], c[0])) and boxes != Views(take=40, seed=4).boxes(
        240, 230
    )
    assert all(0 <= x <= 16 and 0 <= y <= 6 for x, y in boxes)
    pixels = np.random.default_rng(0).integers(0, 256, (230, 240, 3), dtype=np.uint8)
    views = np.concatenate(list(cut(pixels, random, mean=(0.0,) * 3, std=(1.0,) * 3)))
    for view, (x, y) in zip(views, boxes, strict=True):
        np.testing.assert_allclose(
            view, pixels[y : y + 224, x : x + 224].transpose(2, 0, 1) / np.float32(255)
        )
